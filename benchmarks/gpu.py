"""Everything that needs a GPU, in one script of at most eight minutes: python benchmarks/gpu.py

  python benchmarks/gpu.py --device cpu --tiny       the same on a CPU, at sizes that show that it works
  python benchmarks/gpu.py --trl /path/bin/python    with trl's RLOO beside, of an environment of its own (see
                                                     dialogue_peers.py); else of this one, if it is there

  limits       what the device can do: matrix products in bf16, TF32 and float32, copies, launches
  agreement    outputs and gradients of the same weights and samples, on the CPU and there in float32 and bf16
  each use     trains for a few steps in float32 and bf16, is resumed and evaluated, by the commands
  speed        of text (LSTM and GPT-2), dialogue (a model of GPT-2 small's size), pictures and environments: rate,
               kernel launches, peak memory, and the share of what the device can do; then the CPU's, in the same run

Parts run in a process of their own, which goes on with the next one when a part fails; where it dies, or a part takes
too long, another process goes on. What is left when --seconds are over is noted as skipped. --out is written after each
part.

On a machine without what the kit needs beside PyTorch, Accelerate and transformers, carry wheels of gymnasium,
farama-notifications, cloudpickle, jsonargparse, docstring-parser, typeshed-client, nltk and pyyaml.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
PART = 100.0  # seconds that one part may take
LEAST = 20.0  # seconds that must be left for another one


def parts() -> dict[str, Any]:
    """By name: functions of (Where) -> numbers, in the order in which they are worth the time."""
    import gpu_checks as checks
    import gpu_speed as speed

    uses = {
        f"{name}, {precision}": partial(checks.used, name, precision)
        for precision in checks.PRECISIONS
        for name in checks.USES
    }
    measured = {f"speed of {one.__name__}": one for one in (speed.lstm, speed.dialogue, speed.gpt2, speed.pictures)}
    return {
        "limits": speed.limits,
        "agreement": checks.agreement,
        **{name: one for name, one in uses.items() if name.endswith("fp32")},
        **measured,
        "speed of environments": speed.environments,
        **{name: one for name, one in uses.items() if name.endswith("bf16")},
        **{f"{name}, on the CPU": partial(on_cpu, one) for name, one in measured.items()},
        "speed of environments, on the CPU": partial(on_cpu, speed.environments),
    }


def on_cpu(part: Any, where: Any) -> dict[str, Any]:
    from dataclasses import replace

    import torch

    found: dict[str, Any] = part(replace(where, device=torch.device("cpu")))
    return found


def worker(names: list[str], device: str, tiny: bool, trl: str | None) -> None:
    """Runs parts, and tells a line of each on stdout."""
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed

    def tell(**words: Any) -> None:
        print(json.dumps(words), file=told, flush=True)

    import torch
    from gpu_checks import Where

    where, known = Where(torch.device(device), tiny, trl), parts()
    for name in names:
        tell(begun=name)
        began = time.monotonic()
        try:
            found: dict[str, Any] = known[name](where)
        except BaseException as error:
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}"[:2000]}
            if "CUDA error" in str(error) or isinstance(error, KeyboardInterrupt):
                tell(part=name, found=found, seconds=time.monotonic() - began)
                raise SystemExit(1) from error  # the device answers this process no more
        tell(part=name, found=found, seconds=time.monotonic() - began)


class Run:
    """Parts that are done one after another by workers, until the time is over."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.ends = options, time.monotonic() + options.seconds
        self.record: dict[str, Any] = {"device": options.device, "tiny": options.tiny, **machine(), "parts": {}}

    def keep(self, name: str, found: dict[str, Any]) -> None:
        self.record["parts"][name] = found
        out = Path(self.options.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = out.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.record, indent=1) + "\n")
        unfinished.replace(out)
        failed = "  FAILED" if "error" in json.dumps(found) else ""
        print(f"{self.options.seconds - self.left():5.0f} s  {name}{failed}", flush=True)

    def left(self) -> float:
        return self.ends - time.monotonic()

    def all(self, names: list[str]) -> None:
        while names and self.left() > self.options.least:
            names = self.some(names)
        for name in names:
            self.keep(name, {"skipped": "no time was left"})

    def some(self, names: list[str]) -> list[str]:
        """By one worker; what is left when it has ended, at least one fewer."""
        given = ["--device", self.options.device, *(["--tiny"] if self.options.tiny else [])]
        given += ["--trl", self.options.trl] if self.options.trl else []
        words = [sys.executable, __file__, *given, "--worker", json.dumps(names)]
        lines: queue.Queue[str | None] = queue.Queue()
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            output = process.stdout

            def read() -> None:
                for line in output:
                    lines.put(line)
                lines.put(None)

            threading.Thread(target=read, daemon=True).start()
            left, why = list(names), "the process ended"
            while left:
                try:
                    line = lines.get(timeout=max(0.1, min(PART, self.left() - self.options.least / 2)))
                except queue.Empty:
                    why = f"took more than {PART:.0f} s, or all that was left"
                    break
                if line is None:
                    break
                told = json.loads(line)
                if "part" in told:
                    left.remove(told["part"])
                    self.keep(told["part"], {**told["found"], "took": told["seconds"]})
                    if self.left() < self.options.least:
                        break
            else:
                process.wait(60)
                return []
            process.kill()
        if self.left() < self.options.least and why == "the process ended":
            return left
        self.keep(left[0], {"error": why})
        return left[1:]


def machine() -> dict[str, Any]:
    import importlib.metadata
    import platform

    found: dict[str, Any] = {}
    for name in ("torch", "accelerate", "transformers", "numpy", "seqgan_kit"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    words = ["git", "-C", str(HERE), "rev-parse", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return {"versions": found | {"python": platform.python_version()}, "commit": commit, "cores": os.cpu_count()}


def shares(record: dict[str, Any]) -> None:
    """Beside each rate of products the share of what the device can do, and of each speed what the CPU takes."""
    known = record["parts"].get("limits", {})
    for name, part in record["parts"].items():
        on_the_cpu = record["parts"].get(f"{name}, on the CPU", {})
        for precision, found in part.items():
            limit = known.get(f"{'bf16' if precision == 'bf16' else 'tf32'}_tflop_per_second")
            for one, beside in pairs(found, on_the_cpu.get(precision)):
                if limit and not name.endswith("on the CPU"):
                    one["share_of_products"] = one["tflop_per_second"] / limit
                    if "gb_per_second" in one:
                        one["share_of_bandwidth"] = one["gb_per_second"] / known["gb_per_second"]
                if beside:
                    one["times_as_fast_as_the_cpu"] = beside["seconds"] / one["seconds"]


def pairs(found: Any, beside: Any) -> list[tuple[dict[str, Any], Any]]:
    """All that was measured in a tree of numbers, with what stands at its place in another one."""
    if not isinstance(found, dict):
        return []
    other = beside if isinstance(beside, dict) else {}
    if "tflop_per_second" in found:
        return [(found, other if "seconds" in other else None)]
    return [pair for name, inner in found.items() for pair in pairs(inner, other.get(name))]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu", "mps"])
    parser.add_argument("--seconds", type=float, default=470.0)
    parser.add_argument("--least", type=float, default=LEAST, help="seconds that must be left to begin with a part")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--trl", help="Python of an environment that has trl")
    parser.add_argument("--only", nargs="*", default=[], help="parts whose name contains one of these")
    parser.add_argument("--out", default=str(HERE / "results" / "gpu.json"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        worker(json.loads(options.worker), options.device, options.tiny, options.trl)
        return 0
    run = Run(options)
    names = [name for name in parts() if not options.only or any(word in name for word in options.only)]
    run.all([name for name in names if options.device != "cpu" or not name.endswith("on the CPU")])
    shares(run.record)
    run.keep("whole", {"seconds": options.seconds - run.left()})
    failed = [name for name, found in run.record["parts"].items() if "error" in json.dumps(found)]
    compared = run.record["parts"].get("agreement", {}).items()
    off = [name for name, one in compared if isinstance(one, dict) and not one.get("agrees", True)]
    print(f"written: {options.out}; failed: {', '.join(failed) or 'none'}; off the CPU: {', '.join(off) or 'none'}")
    return 1 if failed or off else 0


if __name__ == "__main__":
    sys.exit(main())
