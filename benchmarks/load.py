"""What much data costs: python benchmarks/load.py [--other CHECKOUT] [--lines 2000000]

CPU seconds, user and system, and the greatest memory of a process that reads a file of short lines, of one whose words
are 200,000 different ones, that makes a report of 100,000 lines of metrics, and that prepares the evaluation of a tenth
of the lines. Imports are not counted as time. With another checkout, of an earlier commit for instance, both take turns
with one Python.

A line each: work, CPU seconds and GB here, the same there. --record writes results/load.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import machine

HERE = Path(__file__).resolve().parents[1]
BEGIN = """
import importlib, json, resource, sys, time
from pathlib import Path

def module(*names):
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue

path = Path(sys.argv[1])
load = module("seqgan_kit.text.sources").load
config = module("seqgan_kit.text.data_config", "seqgan_kit.text.sources").DataConfig
evaluation = vars(module("seqgan_kit.text.evaluation"))
write_report = module("seqgan_kit.report").write_report
"""
CLOCK = """
before, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
{work}
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
print(json.dumps({{"cpu": cpu, "wall": time.perf_counter() - wall, "gb": after.ru_maxrss * 1024 / 1e9}}))
"""
READ = BEGIN + CLOCK.format(work="source = load(config(path=str(path)), 0)")
EVALUATE = (
    BEGIN
    + "source = load(config(path=str(path)), 0)\n"
    + CLOCK.format(work="(evaluation.get('TextEvaluation') or evaluation['Evaluation'])(source)")
)
REPORT = BEGIN + CLOCK.format(work="write_report(path)")


def measured(checkout: Path, code: str, path: Path) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code, str(path)]
    found = subprocess.run(words, check=True, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return result


def write_lines(path: Path, lines: int, words: int) -> None:
    rng = random.Random(0)
    with open(path, "w") as file:
        for _ in range(lines):
            file.write(" ".join(f"w{rng.randrange(words)}" for _ in range(6)) + "\n")


def write_metrics(run: Path, lines: int) -> None:
    run.mkdir()
    rng = random.Random(0)
    with open(run / "metrics.jsonl", "w") as file:
        for step in range(1, lines + 1):
            values = {"loss": rng.random(), "accuracy": rng.random()} | ({} if step % 500 else {"eval/bleu5": 0.3})
            place = {"phase": "maximum_likelihood", "step": step, "total": lines, "seconds": step / 10}
            file.write(json.dumps({**place, "samples_per_second": 1.0, **values}) + "\n")
    (run / "run.json").write_text(json.dumps({"task": "text", "seconds": lines / 10, "finished": True}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="Checkout that is compared with this one")
    parser.add_argument("--lines", type=int, default=2_000_000, help="Lines of the file (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="Write results/load.json")
    options = parser.parse_args()
    checkouts = {"here": HERE} | ({"other": options.other.resolve()} if options.other else {})
    record: dict[str, Any] = {"machine": machine(1), "lines": options.lines, "work": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lines(folder / "lines.txt", options.lines, 20_000)
        write_lines(folder / "some.txt", options.lines // 10, 20_000)
        write_lines(folder / "words.txt", options.lines // 10, 200_000)
        write_metrics(folder / "run", 100_000)
        record["megabytes"] = round((folder / "lines.txt").stat().st_size / 1e6, 1)
        works = {
            f"read {options.lines:,} lines": (READ, "lines.txt"),
            f"read {options.lines // 10:,} lines of 200,000 words": (READ, "words.txt"),
            f"evaluation of {options.lines // 10:,} lines": (EVALUATE, "some.txt"),
            "report of 100,000 lines of metrics": (REPORT, "run"),
        }
        print(f"{'# CPU seconds, GB':<42}" + "".join(f"{where:>16}" for where in checkouts), flush=True)
        for what, (code, file) in works.items():
            found = {where: measured(checkout, code, folder / file) for where, checkout in checkouts.items()}
            record["work"][what] = found
            print(
                f"{what:<42}" + "".join(f"{one['cpu']:>9.1f} {one['gb']:>6.2f}" for one in found.values()), flush=True
            )
    if options.record:
        path = Path(__file__).parent / "results" / "load.json"
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
