"""One HTML page for a run: it opens from disk, without a network."""

from seqgan_kit.report.metrics import read_metrics
from seqgan_kit.report.page import write_report

__all__ = ["read_metrics", "write_report"]
