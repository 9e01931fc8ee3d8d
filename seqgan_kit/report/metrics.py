"""What a report knows of metrics.jsonl: its rows, and what the metrics and phases of each use mean."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqgan_kit.errors import UserError

PREFIX, INTERVAL = "eval/", "_interval"
NOT_METRICS = ("phase", "step", "total", "seconds")

# A metric's name without "eval/" and final digits, the better direction (-1 lower, +1 higher, 0 none), what it is.
KNOWN = (
    ("nll_gen", -1, "of held-out text, nats per token"),
    ("nll_oracle", -1, "of samples under the oracle, nats per token"),
    ("nll", -1, "of the training data, nats per token or action"),
    ("bleu", +1, "overlap with held-out text: quality"),
    ("self_bleu", -1, "overlap of samples: low is diverse"),
    ("distinct", +1, "share of different n-grams: high is diverse"),
    ("grammatical", +1, "share of samples that the grammar accepts"),
    ("consistent", +1, "share of samples that contradict nothing"),
    ("return_greedy", +1, "the environment's own, of the likeliest actions"),
    ("return_sampled", +1, "the environment's own, of drawn actions"),
    ("return", +1, "the environment's own, of the episodes trained on"),
    ("reward", 0, "mean reward that the generator receives"),
    ("discriminator_accuracy", 0, "share it gets right; at 0.5 it cannot tell"),
    ("discriminator_loss", 0, "what the discriminator minimises"),
    ("episode_length", 0, "steps of the episodes trained on"),
    ("entropy", 0, "of the policy's actions, nats: 0 is no choice left"),
    ("divergence", 0, "KL between the policy before and after a step"),
    ("step_fraction", 0, "of a whole TRPO step; 0: none was good"),
    ("explained_variance", +1, "share of the returns' variance that the value knows"),
)
ADVERSARIAL = "adversarial"
CONTROLS = {
    "control": "control: maximum likelihood for as long",
    "frozen_control": "control: discriminator never trained",
}
RETURNS = ("return_greedy", "return_sampled", "return")  # what the returns of baselines.json compare with


class Row(NamedTuple):
    """What is known about one step of one phase."""

    step: float
    total: float
    values: dict[str, float]


Phases = dict[str, list[Row]]  # In the order in which the phases began.
Baselines = dict[str, tuple[float, float]]  # Name -> mean return and half of its 95 % interval.


def read_metrics(path: Path) -> Phases:
    """Rows of each phase. A resumed run repeats the steps since its checkpoint: the later line counts."""
    phases: dict[str, dict[float, Row]] = {}
    lines = path.read_bytes().split(b"\n")  # The last one is empty unless a process was killed while writing it.
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line, parse_int=float)
            phase, step = str(entry["phase"]), float(entry["step"])
            total = float(entry.get("total", step))
            if not (math.isfinite(step) and math.isfinite(total)):
                raise ValueError("step or total is not finite")
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            message = f"{path}, line {number}: not a JSON object with a phase and a step; correct or delete that line."
            raise UserError(message) from error
        rows = phases.setdefault(phase, {})
        while rows and next(reversed(rows)) > step:
            rows.popitem()
        known = rows[step].values if step in rows else {}
        new = {key: value for key, value in entry.items() if isinstance(value, float) and key not in NOT_METRICS}
        rows[step] = Row(step, total, known | new)
    return {phase: list(rows.values()) for phase, rows in phases.items()}


def read_baselines(path: Path) -> Baselines:
    """What random actions and the expert earn; empty where there is no such file, as for text."""
    if not path.is_file():
        return {}
    try:
        known = json.loads(path.read_bytes())
        return {str(name): (float(one["mean"]), float(one["interval"])) for name, one in known.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: no baselines with mean and interval; correct or delete that file.") from error


def baselines_of(metric: str, baselines: Baselines) -> Baselines:
    """Those that a metric can be compared with."""
    known = baselines if metric.removeprefix(PREFIX) in RETURNS else {}
    return {name: pair for name, pair in known.items() if math.isfinite(pair[0])}


def length(rows: list[Row]) -> float:
    """Steps that a phase has or will have."""
    return max(1.0, rows[-1].step, rows[-1].total)


def curve(rows: list[Row], metric: str) -> np.ndarray:
    """Steps and values of one metric, (N, 2); N is 0 where the phase lacks it."""
    return np.array([(row.step, row.values[metric]) for row in rows if metric in row.values]).reshape(-1, 2)


def about(metric: str) -> tuple[int, int, str]:
    """Rank, better direction and meaning of a metric; an unknown one ranks last."""
    name = metric.removeprefix(PREFIX).rstrip("0123456789").rstrip("_")
    ranked = ((rank, direction, meaning) for rank, (known, direction, meaning) in enumerate(KNOWN) if known == name)
    return next(ranked, (len(KNOWN), 0, ""))


def metrics_of(phases: Phases) -> list[str]:
    """The evaluated metrics, then those of training; each as ranked, then by name. Intervals belong to theirs."""
    names = {name for rows in phases.values() for row in rows for name in row.values}
    shown = [name for name in names if name.removesuffix(INTERVAL) not in names - {name}]
    return sorted(shown, key=lambda name: (not name.startswith(PREFIX), about(name)[0], name))


def title(name: str) -> str:
    """A phase or metric as a reader would write it."""
    return CONTROLS.get(name) or name.removeprefix(PREFIX).replace("_", " ")


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:#.4g}".removesuffix(".")
