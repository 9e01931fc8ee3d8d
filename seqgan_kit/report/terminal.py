"""What a terminal shows of a run: tables of its scores, samples, and where everything is."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from seqgan_kit.files import read_record
from seqgan_kit.report.measured import notes, read_measured
from seqgan_kit.report.metrics import (
    ADVERSARIAL,
    CONVENTION,
    COUNTS,
    INTERVAL,
    PREFIX,
    about,
    phase_title,
    read_baselines,
    read_metrics,
)

SHOWN = 8  # samples

Scores = Mapping[str, float]
"""Metric, without "eval/" -> value."""


def aligned(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    every = [head, *body]
    widths = [max(len(row[i]) for row in every) for i in range(len(head))]
    return [
        "   ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in every
    ]


def scores_table(corner: str, columns: Mapping[str, Scores]) -> str:
    """A row for each metric that any column has, in the order of the report."""
    names = {name for scores in columns.values() for name in scores}
    shown = [name for name in names if name.removesuffix(INTERVAL) not in names - {name}]
    body = [
        [name, *(_cell(name, scores) for scores in columns.values())]
        for name in sorted(shown, key=lambda name: (about(name)[0], name))
    ]
    return "\n".join(aligned([corner, *columns], body))


def _cell(name: str, scores: Scores) -> str:
    """A value with its interval, if it has one."""
    if name not in scores:
        return "-"
    width = f" ± {scores[name + INTERVAL]:.4f}" if name + INTERVAL in scores else ""
    return f"{scores[name]:.{0 if name in COUNTS else 4}f}{width}"


def last_scores(run: Path, intervals: bool = False) -> dict[str, dict[str, float]]:
    """The last value of each evaluated metric in each phase, in the order of the report."""
    found: dict[str, dict[str, float]] = {}
    for phase, rows in read_metrics(run / "metrics.jsonl").items():
        values = {name: value for row in rows for name, value in row.values.items()}
        evaluated = [name for name in values if name.startswith(PREFIX) and (intervals or not name.endswith(INTERVAL))]
        if evaluated:
            ordered = sorted(evaluated, key=lambda name: about(name)[0])
            found[phase] = {name.removeprefix(PREFIX): values[name] for name in ordered}
    return found


def scored_baselines(run: Path) -> dict[str, dict[str, float]]:
    """What real data, say, scores: the baselines that have metrics."""
    return {name: found for name, found in read_baselines(run / "baselines.json").items() if isinstance(found, dict)}


def print_phases(run: Path) -> None:
    """What maximum likelihood, the game and its control ended with, beside real data where that was measured."""
    last = last_scores(run, intervals=True)
    columns: dict[str, Scores] = {
        phase_title(phase): last[phase] for phase in ("maximum_likelihood", ADVERSARIAL, "control") if phase in last
    }
    columns |= scored_baselines(run)
    measured = read_measured(run)
    print(f"\nmetrics of {measured.head()}" if measured is not None else "")
    print(scores_table("held metric", columns))
    print("".join(f"{note}\n" for note in notes(measured)), end="")
    if any(name.startswith("self_bleu") for scores in columns.values() for name in scores):
        print(CONVENTION)


def print_samples(run: Path, what: str) -> None:
    """The first of the file of samples of RUN/model; else of the newest one, of the game if it has any."""
    best = read_record(run).get("best") or {}
    chosen = run / "samples" / f"{best.get('phase')}-{best.get('step', 0):06d}.txt"
    files = [path for path in (run / "samples").glob("*.txt") if path.is_file()]
    newest = max((file for file in files if file.name.startswith(f"{ADVERSARIAL}-")), default=max(files, default=None))
    newest = chosen if chosen.is_file() else newest
    if newest is None:
        print(f"\n{run / 'samples'} has no {what}, which were there: draw some with the command below")
        return
    print(f"\n{what} ({newest}):")
    print("".join(f"  {line}\n" for line in newest.read_text("utf-8", errors="replace").splitlines()[:SHOWN]))


def print_places(run: Path, *commands: str) -> None:
    """Where the model and the report are, and what to do next."""
    print(f"model   {run / 'model'}")
    print(f"report  {run / 'report.html'}")
    for command in commands:
        print(f"next    seqgan-kit {command}")
