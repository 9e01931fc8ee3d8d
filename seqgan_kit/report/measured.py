"""What the metrics of a run count, and of how much: `measured` in its run.json. Only what is alike is compared."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import read_bytes, read_record
from seqgan_kit.old_names import renamed

MEASURED = "measured"
PICTURES, NUMBERS = "pictures", "numbers"
LANGUAGE = ("text", "dialogue")
PER_TOKEN = ("nll_gen", "perplexity")  # metrics whose unit is the tokenizer's
PER_TOKEN_OR_WORD = ("nll_word", "nll_character", "perplexity_")
GROUPS = ("data", "generator", "evaluation")
FEW = 1e-3  # a share of unknown tokens that hardly changes a likelihood
WHAT = {"counted": "metrics of {}", "samples": "metrics of {} samples"}
DATA = {"corpus": "are of", "held_out": "hold out"}


class Measured(NamedTuple):
    """What the metrics of a run are of; what a run of an earlier version does not say is None.

    unit: what BLEU, distinct-n and the like count. samples: drawn at an evaluation. texts: held out. corpus, held_out:
    fingerprints of all texts, and of those held out; no corpus where texts are generated. tokens: the tokenizer's kind.
    unknown: share of the held-out tokens that the tokenizer does not know.
    notes: what else is said beside the metrics. replies: at most one sample is drawn for each held-out text.
    """

    unit: str
    samples: int | None = None
    texts: int | None = None
    corpus: str | None = None
    held_out: str | None = None
    tokens: str | None = None
    unknown: float | None = None
    notes: Sequence[str] = ()
    replies: bool = False

    @property
    def counted(self) -> str:
        """The unit; of tokens, whose."""
        return self.unit if self.unit != "tokens" or self.tokens is None else f"tokens ({self.tokens})"

    def head(self) -> str:
        """For the head of a table: `words, 1000 samples, 100 held-out texts`."""
        samples = self.samples
        if self.replies and None not in (samples, self.texts):
            samples = min(samples or 0, self.texts or 0)
        counts = ((samples, "samples"), (self.texts, "held-out texts"))
        return ", ".join([self.counted, *(f"{count} {what}" for count, what in counts if count is not None)])


KINDS: dict[str, Any] = {
    **dict.fromkeys(("unit", "corpus", "held_out", "tokens"), str),
    **{"samples": int, "texts": int, "unknown": (int, float), "notes": list, "replies": bool},
}


def measured_of(record: dict[str, Any], place: str) -> Measured:
    """What a file says its metrics are of. Raises UserError, which names the place, where that can't be read."""
    found = record[MEASURED]
    fits = isinstance(found, dict) and isinstance(found.get("unit"), str)
    if not fits or not all(value is None or isinstance(value, KINDS.get(key, ())) for key, value in found.items()):
        raise UserError(f"{place}: what is {MEASURED} can't be read: use a newer version, or copy that file again")
    return Measured(**found | {"notes": list(map(str, found.get("notes") or ()))})


def read_measured(run: Path) -> Measured | None:
    """Of a run of text or dialogue; None of another one. Of an earlier version's, what its options tell.

    Such a run counted the tokens of its tokenizer: words where that took all words, else `tokens`.
    """
    record = read_record(run) if (run / "run.json").is_file() else {}
    if MEASURED in record:
        return measured_of(record, str(run / "run.json"))
    if record.get("task") not in LANGUAGE or not (run / "config.yaml").is_file():
        return None
    return _of_options(_options(run))


def compared(run: Path) -> Measured | None:
    """What must be alike in runs that are compared: as `read_measured`, and the number of pictures of images."""
    found = read_measured(run)
    if found is not None or read_record(run).get("task") != "images":
        return found
    return Measured(PICTURES, (_options(run).get("evaluation") or {}).get("samples"))


def _options(run: Path) -> dict[str, Any]:
    import yaml  # which takes its time, and not every command needs it

    path = run / "config.yaml"
    try:
        plan = yaml.safe_load(renamed(read_bytes(path).decode()))
        if isinstance(plan, dict) and all(isinstance(plan.get(name) or {}, dict) for name in GROUPS):
            return plan
        raise ValueError("no groups of options")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} can't be read ({one_line(error)}): copy it again") from error


def _of_options(plan: dict[str, Any]) -> Measured:
    data, model = plan.get("data") or {}, (plan.get("generator") or {}).get("model")
    kind, limit = data.get("tokenizer", "word"), data.get("vocabulary")
    numbers = data.get("tokens") or (data.get("path") is None and data.get("world") == "oracle")
    unit = "words" if (kind, limit, model) == ("word", None, None) and not numbers else "tokens"
    samples = (plan.get("evaluation") or {}).get("samples")
    if numbers:
        return Measured(unit, samples, tokens=NUMBERS)
    return Measured(unit, samples, tokens=tokens_named(kind, limit) if model is None else f"of {model}")


def tokens_named(kind: str, limit: int | None) -> str:
    """The kind of a tokenizer that was made from the texts."""
    return kind if limit is None else f"{kind}, at most {limit}"


def check_resumed(run: Path, before: Measured | None, now: Measured) -> None:
    """Raises UserError where a resumed run would be evaluated otherwise than its earlier phases were."""
    for option in ("samples", "unit"):
        was, is_ = getattr(before, option, None), getattr(now, option)
        if was is not None and was != is_:
            raise UserError(
                f"{run} was evaluated with --evaluation.{option} {was} so far, and numbers by {is_} could not stand "
                f"beside them: give --evaluation.{option} {was}, or train a new run"
            )


Known = tuple[Path, int, Measured | None]
"""A run's folder, its seed, and what its metrics are of."""


def unlike(groups: Sequence[Sequence[Known]]) -> tuple[str, bool] | None:
    """Why metrics of these runs must not stand side by side; None where they may. And whether it is the data: otherwise
    the same models can be measured alike.

    Runs of one group repeat one another, so each seed may hold out other texts; those of one seed hold out the same.
    """
    said = [[(run, seed, one) for run, seed, one in group if one is not None] for group in groups]
    flat = [one for group in said for one in group]
    for (first, _, one), (run, _, other) in itertools.pairwise(flat):
        for name, what in WHAT.items():
            if None not in (a := getattr(one, name), b := getattr(other, name)) and a != b:
                return f"{first} has {what.format(a)}, {run} {what.format(b)}", False
    for group in said[1:]:
        pairs = [(one, other) for one in said[0] for other in group if one[1] == other[1]]
        for (first, _, one), (run, _, other) in pairs or zip(said[0][:1], group[:1], strict=False):
            for name, what in DATA.items() if pairs else [("corpus", "are of")]:
                if None not in (a := getattr(one, name), b := getattr(other, name)) and a != b:
                    return f"{first} and {run} {what} other texts", True
    return None


def advice(runs: Sequence[Path], task: str, of_data: bool, samples: int | None) -> str:
    """What to do where runs are unlike."""
    if of_data:
        return (
            "train them anew on the same texts, with the same --data.held_out_path (or --data.held_out and seeds) and "
            "without --data.max_length, which counts tokens"
        )
    unit = " and --evaluation.unit" if task in LANGUAGE else ""
    anew = f"train anew with the same --evaluation.samples, as {samples or 1000},{unit}".rstrip(",")
    if task != "text":
        return anew
    names = " ".join(map(str, runs))
    return (
        f"measure the models alike, which compare then shows: seqgan-kit sweep {names} --unit words --samples "
        f"{samples or 1000}; or {anew}"
    )


def apart(name: str, first: Measured | None, other: Measured | None) -> str | None:
    """Why one metric of two runs, alike otherwise, must not stand side by side; None where it may."""
    if first is None or other is None or first.tokens == other.tokens:
        return None
    if name in PER_TOKEN:
        return "by tokens of other kinds"
    unknown = max(first.unknown or 0, other.unknown or 0)
    if name.startswith(PER_TOKEN_OR_WORD) and unknown > FEW:
        return (
            f"{unknown:.2%} of the held-out tokens are unknown to one of them, which cost it less than the words would"
        )
    return None


def notes(measured: Measured | None) -> list[str]:
    """What is said below a table of a run's metrics."""
    if measured is None:
        return []
    unknown = (
        f"{measured.unknown or 0:.2%} of the held-out tokens are unknown to the tokenizer: NLL is not of these words"
    )
    old = "of an earlier version: the unit is what its options tell, which texts it held out is not recorded"
    earlier = [old] if measured.texts is None and measured.unit != PICTURES else []
    return [*earlier, *([unknown] if measured.unknown else []), *measured.notes]
