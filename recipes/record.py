"""Keeps what a recipe measured: run folders -> recipes/results/NAME.json -> the tables of recipes/README.md.

python recipes/record.py NAME RUN [RUN ...]   record these runs, one per seed, and renew the tables
python recipes/record.py                      renew the tables from the records
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PHASES = ("maximum_likelihood", "adversarial", "control")
TITLES = ("maximum likelihood", "adversarial", "likelihood for as long")
DROPPED = ("eval/self_bleu4", "eval/self_bleu5", "eval/distinct1")  # from the table, not from the record


def record(runs: list[Path]) -> list[dict[str, Any]]:
    """What each finished run was, and its last evaluation in each phase."""
    found = []
    for run in runs:
        phases: dict[str, dict[str, Any]] = {}
        for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
            last = phases.setdefault(line["phase"], {"metrics": {}})
            last |= {"steps": line["step"], "seconds": line["seconds"]}
            last["metrics"] |= {name: value for name, value in line.items() if name.startswith("eval/")}
        found.append({**json.loads((run / "run.json").read_text()), "phases": phases})
    return found


def table(runs: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over the seeds of each metric, a column a phase."""
    if not runs:
        return "(not measured yet)"
    phases = [phase for phase in PHASES if phase in runs[0]["phases"]]
    titles = [TITLES[PHASES.index(phase)] for phase in phases]
    lines = ["| held metric | " + " | ".join(titles) + " |", "|---" * (len(phases) + 1) + "|"]
    for name in runs[0]["phases"][phases[0]]["metrics"]:
        if name not in DROPPED:
            cells = [_spread([run["phases"][phase]["metrics"][name] for run in runs]) for phase in phases]
            lines.append(f"| {name.removeprefix('eval/')} | " + " | ".join(cells) + " |")
    steps = [" | ".join(str(runs[0]["phases"][phase]["steps"]) for phase in phases)]
    lines.append(f"| steps | {steps[0]} |")
    minutes = statistics.mean(max(phase["seconds"] for phase in run["phases"].values()) for run in runs) / 60
    seeds = ", ".join(str(run["seed"]) for run in runs)
    first = runs[0]
    lines.append("")
    lines.append(
        f"Seeds {seeds}; {minutes:.0f} minutes a run on {first['threads']} thread(s) of {first['device']} in "
        f"{first['processes']} process(es); torch {first['versions']['torch']}, commit {str(first['commit'])[:9]}."
    )
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def renew(text: str) -> str:
    """The README's text with every table between its marks made anew from its record."""

    def put(match: re.Match[str]) -> str:
        runs = json.loads((HERE / "results" / f"{match[1]}.json").read_text())
        return f"<!-- table {match[1]} -->\n{table(runs)}\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", put, text, flags=re.DOTALL)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.exit(__doc__)
    if len(sys.argv) > 2:
        path = HERE / "results" / f"{sys.argv[1]}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record([Path(run) for run in sys.argv[2:]]), indent=1) + "\n")
    readme = HERE / "README.md"
    readme.write_text(renew(readme.read_text()))
