"""What several test files need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.networks import tuning


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """One run in an empty folder, on one thread of the CPU; register parts, then `engine.restore()`."""
    with Engine(RunConfig(folder=str(tmp_path / "run"), device="cpu", threads=1), "test") as running:
        yield running


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives the CPU other `tuning.Sizes`, by name."""

    def tune(**sizes: float) -> None:
        monkeypatch.setitem(tuning.SIZES, "cpu", replace(tuning.SIZES["cpu"], **sizes))  # type: ignore[arg-type]

    return tune
