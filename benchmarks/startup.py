"""How long the commands take that one waits for: python benchmarks/startup.py [--other CHECKOUT] [--repeats 5]

CPU seconds of a whole process, user and system, nearly all of which are imports: what a newcomer's help takes, and a
few samples of an LSTM. With another checkout, of an earlier commit for instance, both take turns with one Python.

A line each: command, median here, median there, ratio. --record writes results/startup.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import in_turns, machine

HERE = Path(__file__).resolve().parents[1]
SMALL = (
    "--data.sentences", "200", "--likelihood.steps", "20", "--discriminator.steps", "2", "--adversarial.rounds", "2",
    "--control.enabled", "false", "--evaluation.samples", "20",
)  # fmt: skip


def command(checkout: Path, *words: str) -> tuple[float, float]:
    """Wall and CPU seconds of `seqgan-kit WORDS` in its own process."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "seqgan_kit.cli", *words],
        check=True, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="Checkout that is compared with this one")
    parser.add_argument("--repeats", type=int, default=5, help="Times that each command runs (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="Write results/startup.json")
    options = parser.parse_args()
    checkouts = {"here": HERE} | ({"other": options.other.resolve()} if options.other else {})
    record: dict[str, Any] = {"machine": machine(1), "repeats": options.repeats, "commands": {}}
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        command(HERE, "train", "text", "--run.folder", run, *SMALL)
        commands = {
            "--help": ("--help",),
            "train text --help": ("train", "text", "--help"),
            "sample --help": ("sample", "--help"),
            "sample RUN --count 5": ("sample", run, "--count", "5"),
        }
        print(f"{'# CPU seconds':<24}" + "".join(f"{name:>10}" for name in checkouts), flush=True)
        for name, words in commands.items():
            turns = {where: (lambda where=where, words=words: command(checkouts[where], *words)) for where in checkouts}
            found = in_turns(turns, options.repeats, 1)
            record["commands"][name] = found
            cpu = [statistics.median(found[where]["cpus"]) for where in checkouts]
            ratio = f"{cpu[-1] / cpu[0]:>10.2f} times" if options.other else ""
            print(f"{name:<24}" + "".join(f"{value:>10.2f}" for value in cpu) + ratio, flush=True)
    if options.record:
        path = Path(__file__).parent / "results" / "startup.json"
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
