"""What several test files need."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.networks import device_sizes
from seqgan_kit.report import curves

os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start, too: everything here is tiny
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="seqgan_kit_state_")  # nothing is remembered in the user's home
torch.set_num_threads(1)
FIGURE = curves.figure


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """One run in an empty folder, on one thread of the CPU; register parts, then `engine.restore()`."""
    with Engine(RunConfig(folder=str(tmp_path / "run"), device="cpu", threads=1), "test") as running:
        yield running


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives the CPU other `device_sizes.Sizes`, by name."""

    def tune(**sizes: float) -> None:
        monkeypatch.setitem(device_sizes.SIZES, "cpu", replace(device_sizes.SIZES["cpu"], **sizes))  # type: ignore[arg-type]

    return tune


@pytest.fixture(scope="session", autouse=True)
def without_curves() -> Iterator[None]:
    """Reports have no curves, which take longer than the runs here, but where a test uses `with_curves`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "figure", lambda *_: "")
        yield


@pytest.fixture
def with_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have their curves."""
    monkeypatch.setattr(curves, "figure", FIGURE)
