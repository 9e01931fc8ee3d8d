"""benchmarks/gpu.py, which nobody can try without a GPU, rehearsed on a CPU and on the pretend device."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import runs
from pretend_device import DEVICE, plugged_in

TINY = ("--device", "cpu", "--tiny", "--seconds", "200", "--least", "1")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(runs.ROOT / "benchmarks"))
    import gpu

    return gpu


@pytest.mark.slow
def test_its_parts_run_on_a_cpu(benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What one part lacks is noted, the others' numbers are there, with the share of what the device can do."""
    only = ["limits", "speed of lstm", "speed of pictures", "speed of dialogue", "text, Gumbel, fp32"]
    out = tmp_path / "gpu.json"
    assert benchmark.main([*TINY, "--trl", str(tmp_path / "none"), "--out", str(out), "--only", *only]) == 1
    found: dict[str, Any] = json.loads(out.read_text())["parts"]
    assert {*found} == {*only, "whole"}
    assert "none" in found["speed of dialogue"]["trl"]["error"]
    assert "failed: speed of dialogue;" in capsys.readouterr().out
    assert {"train_seconds", "resume_seconds", "evaluate_seconds"} <= found["text, Gumbel, fp32"].keys()
    for precision in ("fp32", "bf16"):
        assert found["speed of lstm"][precision]["sampling"]["tokens_per_second"] > 0
        assert found["speed of lstm"][precision]["sampling"]["share_of_bandwidth"] > 0
        assert 0 < found["speed of pictures"][precision]["share_of_products"] < 1
        assert found["speed of dialogue"][precision]["replies_per_second"] > 0


def test_no_time_is_noted(benchmark: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    assert benchmark.main(["--device", "cpu", "--seconds", "0", "--out", str(out)]) == 0
    found = json.loads(out.read_text())["parts"]
    assert {json.dumps(one) for name, one in found.items() if name != "whole"} == {'{"skipped": "no time was left"}'}
    assert len(found) > 20


def test_a_worker_that_dies_is_followed_by_another(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the part at which it died is noted."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, os, sys\n"
        "for name in json.loads(sys.argv[-1]):\n"
        "    if name == 'dies': os._exit(9)\n"
        "    print(json.dumps({'part': name, 'found': {'seconds': 1}, 'seconds': 1}), flush=True)\n"
    )
    monkeypatch.setattr(benchmark, "__file__", str(script))
    monkeypatch.setattr(benchmark, "parts", lambda: dict.fromkeys(["one", "dies", "two"]))
    out = tmp_path / "gpu.json"
    assert benchmark.main(["--device", "cpu", "--seconds", "60", "--out", str(out)]) == 1
    found = json.loads(out.read_text())["parts"]
    assert [*found] == ["one", "dies", "two", "whole"]
    assert found["dies"] == {"error": "the process ended"}
    assert found["two"]["seconds"] == 1


def test_the_pretend_device_agrees_with_the_cpu(benchmark: ModuleType) -> None:
    """In float32 and bfloat16; what is compared are outputs and gradients."""
    import gpu_checks
    import torch

    with plugged_in():
        found = gpu_checks.agreement(gpu_checks.Where(DEVICE, tiny=True))
    assert len(found) == 16
    assert all(one["agrees"] for one in found.values()), found
    torch.manual_seed(0)
    network = torch.nn.Linear(2, 2)
    values = gpu_checks.outcome(network, lambda n, given: n(given[0]), (torch.ones(1, 2),), torch.device("cpu"), None)
    assert torch.equal(values[1], torch.ones(2, 2))


@pytest.mark.slow
def test_a_use_in_bfloat16_on_the_pretend_device(benchmark: ModuleType) -> None:
    import gpu_checks

    with plugged_in():
        found = gpu_checks.used("text, GPT-2", "bf16", gpu_checks.Where(DEVICE, tiny=True))
    assert found["evaluate_seconds"] > 0
    assert found["device"] == "pretend:0"
