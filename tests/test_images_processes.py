"""Two real processes paint as one does on the joined batch, and stay equal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import runs
import two_painters
from test_processes import by_two

Found = tuple[dict[str, Tensor], list[dict[str, Tensor]]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What two_painters.py finds: by one process on whole batches, and by each of two on halves of them."""
    out = tmp_path_factory.mktemp("steps")
    two_painters.find_steps(out)
    print(by_two("two_painters", out, "steps")[-2000:])
    two = [load_file(out / f"rank-{rank}-of-2.safetensors") for rank in range(2)]
    return load_file(out / "rank-0-of-1.safetensors"), two


def of(found: Found, start: str) -> list[str]:
    one, two = found
    names = [name for name in one if name.startswith(start)]
    assert names
    for rank in two:
        assert f"{start.partition(':')[0]}: failed" not in rank
        assert set(names) <= rank.keys()
    return names


@pytest.mark.slow
@pytest.mark.parametrize("name", two_painters.EXACT)
def test_half_batches_equal_one_process_s(found: Found, name: str) -> None:
    """Gradients, weights and running statistics of both players to 1e-5 of one process's; on both ranks, exactly."""
    one, two = found
    largest = 0.0
    for key in of(found, f"{name}: g") + of(found, f"{name}: discriminator"):
        assert two[0][key].equal(two[1][key]), key
        largest = max(largest, ((one[key] - two[0][key]).abs() / one[key].abs().max().clamp_min(1)).max().item())
    print(f"{name}: greatest difference {largest:.1e}")
    # second derivatives of normalisation by a few numbers: one process in another order differs by as much
    assert largest <= (1e-4 if name == "synchronised, R1" else 1e-5)
    for player in ("generator", "discriminator"):
        sizes = [one[key].abs().max().item() for key in of(found, f"{name}: gradient {player}")]
        assert max(sizes) > 1e-3


@pytest.mark.slow
def test_ranks_stay_equal_with_batch_normalisation_of_their_own(found: Found) -> None:
    """Weights on both ranks are the same bit for bit, though each has normalised its own half."""
    one, two = found
    weights = [name for name in of(found, "batch: ") if "gradient" in name or "running" not in name]
    assert all(two[0][key].equal(two[1][key]) for key in weights)
    assert any(not torch.allclose(one[key], two[0][key]) for key in weights), "and not what one process finds"


@pytest.mark.slow
@pytest.mark.parametrize("name", two_painters.CASES)
def test_players_train_in_training_mode(found: Found, name: str) -> None:
    """After a score and after an evaluation on one process, networks are in training again, on all processes."""
    one, two = found
    names = of(found, f"{name}: trained")
    assert len(names) == 3
    for each in (one, *two):
        assert [each[key].item() for key in names] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["near", "far"])
def test_synchronised_normalisation_is_that_of_the_joined_batch(found: Found, where: str) -> None:
    """Numbers, their gradients, those of the weights, and running statistics; also where means are far from 0."""
    one, two = found
    for key in of(found, f"normalisation {where}"):
        joined = one[key]
        if key.endswith(("output", "gradient of input")):
            halves = torch.empty_like(joined)
            halves[0::2], halves[1::2] = two[0][key], two[1][key]
        else:
            halves = two[0][key]
            assert halves.equal(two[1][key])
        assert (halves - joined).abs().max() <= 1e-3 * max(1, joined.abs().max().item())


@pytest.mark.slow
@pytest.mark.parametrize("average", ["0.9", "0"])
def test_a_run_of_two_processes_stays_equal(tmp_path: Path, average: str) -> None:
    """All phases: ranks see other pictures, of which each epoch has each once, and end with equal networks."""
    run = tmp_path / "run"
    words = runs.tiny_images(
        run, "--run.processes", "2", "--generator.average", average, "--generator.synchronised", "true",
        "--adversarial.interpolation", "0.5", "--discriminator.matching", "4", "--joint.steps", "4",
        "--adversarial.rounds", "8", "--second.rounds", "4", "--style.steps", "4", "--evaluation.every", "4",
    )  # fmt: skip
    assert str(run / "report.html") in by_two("two_painters", tmp_path, "train", *words)
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    assert len(first["sums"]) == (6 if average == "0" else 8)
    assert first["sums"] == second["sums"]
    assert len(first["seen"]) == len(second["seen"])
    assert not {value for batch in first["seen"] for value in batch} <= {v for batch in second["seen"] for v in batch}
    assert all(not set(a) & set(b) for a, b in zip(first["seen"], second["seen"], strict=True))
