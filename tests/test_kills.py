"""The campaign of kills, a short one: the whole is benchmarks/results/kills.json."""

from __future__ import annotations

from pathlib import Path

import pytest

import kills


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text, GPT-2 with dropout", "encoder"])
def test_killed_at_random_a_run_ends_equal(tmp_path: Path, kind: str) -> None:
    """Eight times SIGKILL, aimed at steps, files and starts: no step is lost beyond the interval, no bit differs."""
    found = kills.campaign(8, 3, [kind], tmp_path, lambda *_: None)[kind]
    assert not found.faults
    assert found.kills == 8
    assert found.most_steps_made_again <= kills.INTERVAL
    assert not found.steps_lost_beyond_interval


def test_the_campaign_sees_what_is_wrong(tmp_path: Path) -> None:
    """A folder without run.json, a file that was cut, and a checkpoint that is damaged are counted."""
    run, found = tmp_path / "run", kills.Found()
    (run / "checkpoints" / "00000003").mkdir(parents=True)
    (run / "run.json").write_text('{"task": ')
    kills.looked_at(run, found)
    kills.position(run, found)
    assert (found.damaged_files, len(found.faults)) == (2, 2)
