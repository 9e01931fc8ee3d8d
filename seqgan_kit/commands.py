"""What the commands on a run folder share: options that several have, and their checks."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from seqgan_kit.bounds import SAMPLE, Bound, Count, NotNegative, PositiveShare, Seed, Whole, check_fits
from seqgan_kit.files import record_line

SHOWN = 8  # unknown words, at most

Read = Callable[..., tuple[Any, str]]
"""Further options -> the configuration of a run with them, and its YAML."""


class Drawn(Protocol):
    """How evaluations while training draw: so many samples, by this seed."""

    @property
    def samples(self) -> int: ...
    @property
    def seed(self) -> int: ...


def add_seed(parser: ArgumentParser, of: str, as_in_training: bool = False) -> None:
    """--seed: 0 where it is not given, or None, which stands for that of the evaluations while training."""
    if as_in_training:
        parser.add_argument("--seed", type=Seed, help=f"Seed of {of} (default: as in training)")
    else:
        parser.add_argument("--seed", type=Seed, default=0, help=f"Seed of {of} (default: %(default)s)")


def add_samples(parser: ArgumentParser, of: str) -> None:
    """--samples, None where it is not given."""
    text = f"Number of {of}; more make the metrics surer (default: as in training)"
    parser.add_argument("--samples", type=Count, help=text)


def add_unit(parser: ArgumentParser) -> None:
    """--unit, None where it is not given."""
    text = "What metrics count: words, characters, or the tokenizer's tokens (default: as in training)"
    parser.add_argument("--unit", choices=("words", "characters", "tokens"), help=text)


def add_drawing(parser: ArgumentParser, of: str, unknown: bool = True) -> None:
    """--seed, --temperature, --top_k and --top_p, of what draws tokens; unknown: and --unknown."""
    add_seed(parser, f"the {of} that are drawn")
    text = (
        f"Temperature of sampling: below 1 likelier {of}, above 1 more various ones, 0 always the likeliest token "
        "(default: %(default)s)"
    )
    parser.add_argument("--temperature", type=NotNegative, default=1.0, help=text)
    parser.add_argument("--top_k", type=Whole, default=0, help="Draw from the k likeliest tokens only (default: all)")
    text = "Draw from the fewest tokens that reach this probability together (default: %(default)s, all)"
    parser.add_argument("--top_p", type=PositiveShare, default=1.0, help=text)
    if unknown:
        text = "Also draw the token of unknown words, as often as the model would (default: never)"
        parser.add_argument("--unknown", action="store_true", help=text)


def add_json(parser: ArgumentParser) -> None:
    """--json, of what prints records."""
    text = "Print a JSON object a line, with line breaks and tabs as they are (default: a text a line, these escaped)"
    parser.add_argument("--json", action="store_true", help=text)


def print_record(as_json: bool, **fields: str) -> None:
    """One line: the fields by name as JSON, or with tabs between them."""
    print(json.dumps(fields, ensure_ascii=False) if as_json else record_line(*fields.values()))


def tell_unknown_words(words: Sequence[str], read_as: str) -> None:
    """What the user wrote and the model does not know, beside the output."""
    if words:
        shown = ", ".join(words[:SHOWN]) + (", ..." if len(words) > SHOWN else "")
        some = "1 word is" if len(words) == 1 else f"{len(words)} words are"
        print(f"{some} unknown to the model, and read as {read_as}: {shown}", file=sys.stderr)


def tell_never_drawn(name: str, expected: float) -> None:
    """That a token was not drawn, and about how often it would have been, beside the output."""
    if expected >= 0.5:
        told = f"about {expected:.0f} times {name} would have been drawn, and was not; --unknown draws it"
        print(told, file=sys.stderr)


def asked(command: str, options: Namespace, training: Drawn, least: int = 2) -> tuple[int, int]:
    """--samples and --seed of an evaluation, as in training where they are not given. Raises UserError."""
    samples = training.samples if options.samples is None else options.samples
    seed = training.seed if options.seed is None else options.seed
    Bound(least).check(f"{command} --samples", samples)
    check_fits(f"{command} --samples", samples, SAMPLE)
    return samples, seed


def is_main_process() -> bool:
    """Of the processes that torchrun launched, the one that tells the user."""
    return int(os.environ.get("RANK", "0")) == 0
