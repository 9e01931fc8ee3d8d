"""What a report knows of a run: rows of metrics.jsonl, samples, and what the metrics and phases of each use mean."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqgan_kit.errors import UserError
from seqgan_kit.files import parsed, read_bytes
from seqgan_kit.report.measured import Measured, read_measured

PREFIX, INTERVAL = "eval/", "_interval"
NOT_METRICS = ("phase", "step", "total", "seconds")

# What a picture of the shapes world is asked about, and what is meant by the share of pictures that answer.
SHOWN = {
    "colours": "share of pictures with the colours that the caption says",
    "shapes": "share of pictures with the shapes that the caption says",
    "colours_and_shapes": "share with the right shape in the right colour",
    "sizes": "share of pictures with the sizes that the caption says",
    "positions": "share with everything where the caption says",
    "all": "share of pictures that show all that the caption says",
}
CLASSES = "class_accuracy"
# A metric's name without "eval/" and final digits, the better direction (-1 lower, +1 higher, 0 none), what it is.
KNOWN = (
    ("nll_gen", -1, "of held-out text under the generator (NLL-test), nats per token"),
    ("nll_word", -1, "of held-out text under the generator, nats per word, whatever the tokenizer"),
    ("nll_character", -1, "of held-out text under the generator, nats per character, whatever the tokenizer"),
    ("unknown", 0, "share of tokens that are the unknown one; real data: of held-out text"),
    ("nll_oracle", -1, "of samples under the oracle, nats per token"),
    ("nll", -1, "of the training data, nats per token or action"),
    ("bleu", +1, "overlap with held-out text: quality"),
    ("self_bleu", -1, "overlap of samples, leave-one-out: low is diverse"),
    ("distinct", +1, "share of different n-grams: high is diverse"),
    ("novel", 0, "share of n-grams that the training set lacks"),
    ("novel_sentences", 0, "share of sentences that the training set lacks"),
    ("ngram_distance", -1, "from held-out text, of n-grams, without bias; 0: none, below 0: chance; ± 95 %"),
    ("js", -1, "Jensen-Shannon divergence of n-grams from held-out text, nats"),
    ("frechet_embedding", -1, "from held-out text, of Gaussians in an embedder's vectors"),
    ("mauve", +1, "likeness to held-out text in an embedder's vectors, 0 to 1"),
    (CLASSES, +1, "share of samples that an independent classifier finds of their class"),
    ("grammatical", +1, "share of samples that the grammar accepts"),
    ("consistent", +1, "share of samples that contradict nothing"),
    ("perplexity", -1, "of held-out human replies, per token"),
    ("perplexity_word", -1, "of held-out human replies, per word, whatever the tokenizer"),
    ("perplexity_character", -1, "of held-out human replies, per character, whatever the tokenizer"),
    ("right", +1, "share of replies that answer their question rightly"),
    ("said", +1, "share of replies that answer some question"),
    ("adversarial_success", +1, "share of replies that an evaluator gets wrong: at best 0.5"),
    ("machine_versus_random", +1, "evaluator's accuracy: replies and random human ones"),
    ("human_versus_random", +1, "the same of human replies: should be 1"),
    ("human_versus_human", 0, "evaluator's accuracy on halves of human replies: 0.5"),
    ("machine_versus_machine", 0, "evaluator's accuracy on halves of replies: 0.5"),
    ("ere", -1, "evaluator reliability error: distance from what should be"),
    ("repetition", -1, "share of replies or texts that repeat three words (characters, tokens)"),
    ("most_frequent", -1, "share of replies that are the commonest one"),
    ("length", 0, "words (characters, tokens) of a reply or text"),
    *((name, +1, meaning) for name, meaning in SHOWN.items()),
    *((f"unseen_{name}", +1, "the same, of combinations that training lacks") for name in SHOWN),
    ("r_precision", +1, "share nearer to their own caption than to 99 others, to a matcher's eye"),
    ("r_precision_real", +1, "the same of real pictures: what the matcher can do"),
    ("clip_score", +1, "CLIP's likeness of picture and caption, 0 to 100"),
    ("pictures", 0, "how many are compared by their features"),
    ("held_out_pictures", 0, "how many they are compared with"),
    ("joint_distance", -1, "of pictures and captions together from held-out ones; 0: none, below 0: chance; ± 95 %"),
    ("frechet_distance", -1, "from held-out pictures, of Gaussians in features"),
    ("kernel_distance", -1, "from held-out pictures, of features; 0: none, below 0: chance; ± 95 %"),
    ("inception_score", +1, "pictures are clear and differ; not compared with real ones"),
    ("precision", +1, "share of samples among the real pictures: quality"),
    ("recall", +1, "share of real pictures among the samples: diversity"),
    ("diversity", 0, "difference of a caption's pictures, root mean square of 0 to 1"),
    ("return_greedy", +1, "the environment's own, of the likeliest actions"),
    ("return_sampled", +1, "the environment's own, of drawn actions"),
    ("return", +1, "the environment's own, of the episodes trained on"),
    ("reward", 0, "mean reward that the generator receives"),
    ("discriminator_accuracy", 0, "share it gets right; at 0.5 it cannot tell"),
    ("discriminator_fresh", 0, "the same of samples that it has not learnt from yet"),
    ("discriminator_mismatched", 0, "share of captions that do not fit which it finds out"),
    ("discriminator_alone", 0, "share it gets right of pictures without their captions"),
    ("discriminator_loss", 0, "what the discriminator minimises"),
    ("generator_loss", -1, "what the generator minimises; its opponent moves it, too"),
    ("generator_gradient_norm", 0, "length of the generator's gradient before clipping"),
    ("matched", +1, "share of pictures nearest to their own caption in the batch"),
    ("episode_length", 0, "steps of the episodes trained on"),
    ("entropy", 0, "of the policy's actions or tokens, nats: 0 is no choice left"),
    ("divergence", 0, "KL, nats: of a policy's step, or of captions as they are drawn"),
    ("step_fraction", 0, "of a whole TRPO step; 0: none was good"),
    ("explained_variance", +1, "share of the returns' variance that the value knows"),
)
COUNTS = ("pictures", "held_out_pictures")
ADVERSARIAL, SECOND = "adversarial", "second_stage"
SECOND_PREFIX = "second_"  # of baselines that belong to the second stage alone
CONTROLS = {
    "control": "control: maximum likelihood for as long",
    "frozen_control": "control: discriminator never trained",
}
TITLES = CONTROLS | {"style": "style encoder"}
CONVENTION = "self_bleu is leave-one-out: each sample against all others of it; compare equal numbers of samples only"
RETURNS = ("return_greedy", "return_sampled", "return")  # what the returns of baselines.json compare with


class Row(NamedTuple):
    """What is known about one step of one phase."""

    step: float
    total: float
    values: dict[str, float]


Phases = dict[str, list[Row]]  # In the order in which the phases began.
Pair = tuple[float, float]  # Mean and half of its 95 % interval; NaN where that is unknown.
Baselines = dict[str, Pair | dict[str, float]]  # Name -> its mean return, or the values of its metrics.


def read_metrics(path: Path) -> Phases:
    """Rows of each phase. A resumed run repeats the steps since its checkpoint: the later line counts."""
    phases: dict[str, dict[float, Row]] = {}
    lines = read_bytes(path).split(b"\n")  # The last one is empty unless a process was killed while writing it.
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = parsed(line, parse_int=float)
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


Saved = Sequence[tuple[int, Path]]
"""Steps, in order, and the files with the samples of each."""


def saved_samples(run: Path) -> dict[str, Saved]:
    """What RUN/samples holds of each phase."""
    files: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted((run / "samples").glob("*.txt")):
        if path.is_file() and (match := re.fullmatch(r"(.+)-(\d+)", path.stem)):
            files.setdefault(match[1], []).append((int(match[2]), path))
    return {phase: sorted(saved) for phase, saved in files.items()}


def spread(saved: Saved, most: int) -> Saved:
    """At most so many of them, evenly spaced, the first and the last among them."""
    return [saved[int(i)] for i in np.linspace(0, len(saved) - 1, min(len(saved), most)).round()]


def read_baselines(path: Path) -> Baselines:
    """What random actions and the expert earn, or what real pictures score; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        known = parsed(read_bytes(path))
        measured = read_measured(path.parent)
        return {_counted(name, one, measured): _baseline(one) for name, one in known.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: no baselines with mean and interval; correct or delete that file.") from error


def _counted(name: str, found: dict[str, Any], measured: Measured | None) -> str:
    """A baseline's name, with the number of its texts where that is another one than the samples'."""
    count = None if measured is None else found.get("samples")
    return name if measured is None or count in (None, measured.samples) else f"{name} ({count} texts)"


def _baseline(found: dict[str, Any]) -> Pair | dict[str, float]:
    if "metrics" in found:
        return {str(name): float(value) for name, value in found["metrics"].items()}
    return float(found["mean"]), float(found["interval"])


def baselines_of(metric: str, baselines: Baselines) -> dict[str, Pair]:
    """Those that a metric can be compared with."""
    name = metric.removeprefix(PREFIX)
    known: dict[str, Pair] = {}
    for baseline, found in baselines.items():
        if isinstance(found, dict):
            known |= (
                {baseline: (found[name], found.get(name + INTERVAL, math.nan))}
                if name in found and metric.startswith(PREFIX)
                else {}
            )
        elif name in RETURNS:
            known[baseline] = found
    return {baseline: pair for baseline, pair in known.items() if math.isfinite(pair[0])}


def baseline_title(name: str) -> str:
    """A baseline as a reader would write it."""
    return f"{name.removeprefix(SECOND_PREFIX)} (second stage)" if name.startswith(SECOND_PREFIX) else name


def length(rows: list[Row]) -> float:
    """Steps that a phase has or will have."""
    return max(1.0, rows[-1].step, rows[-1].total)


def curve(rows: list[Row], metric: str) -> np.ndarray:
    """Steps and values of one metric, (N, 2); N is 0 where the phase lacks it."""
    return np.array([(row.step, row.values[metric]) for row in rows if metric in row.values]).reshape(-1, 2)


def about(metric: str) -> tuple[int, int, str]:
    """Rank, better direction and meaning of a metric; an unknown one ranks last."""
    name = metric.removeprefix(PREFIX).rstrip("0123456789").rstrip("_")
    name = CLASSES if name.startswith(f"{CLASSES}_") else name  # a label follows
    ranked = ((rank, direction, meaning) for rank, (known, direction, meaning) in enumerate(KNOWN) if known == name)
    return next(ranked, (len(KNOWN), 0, ""))


def metrics_of(phases: Phases) -> list[str]:
    """The evaluated metrics, then those of training; each as ranked, then by name. Intervals belong to theirs."""
    names = {name for rows in phases.values() for row in rows for name in row.values}
    shown = [name for name in names if name.removesuffix(INTERVAL) not in names - {name}]
    return sorted(shown, key=lambda name: (not name.startswith(PREFIX), about(name)[0], name))


def title(name: str) -> str:
    """A phase or metric as a reader would write it."""
    return TITLES.get(name) or name.removeprefix(PREFIX).replace("_", " ")


def phase_title(phase: str) -> str:
    """A phase in a column's head."""
    return {"control": "likelihood for as long"}.get(phase, title(phase))


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:#.4g}".removesuffix(".")
