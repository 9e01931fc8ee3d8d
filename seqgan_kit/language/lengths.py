"""Sequences that are too long: dropped, cut or refused, before they fill the memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Literal

import psutil

from seqgan_kit.errors import UserError
from seqgan_kit.tables import Intake

TooLong = Literal["error", "drop", "cut"]

PLACE = 9  # bytes of a token in a row: its number and whether it counts
LONGEST, OUTLIER = 10_000, 20  # tokens of a sequence, and times the usual length, up to which nobody is asked


def fitting(
    place: Callable[[int], str],
    sequences: Sequence[Sequence[int]],
    limit: int | None,
    too_long: TooLong,
    unit: str,
    counted: str,
    option: str,
    intake: Intake | None = None,
) -> list[int]:
    """Which of the sequences are left, some of them perhaps to be cut. Raises UserError for one over the limit, unless
    `too_long` says otherwise, and where none is left.

    place: where each stands. unit, counted, option: what they, their tokens and the limit are called in messages.
    intake: counts them.
    """
    lengths = list(map(len, sequences))
    _refuse_outlier(place, lengths, limit, unit, counted, option)
    longer = [i for i, length in enumerate(lengths) if limit is not None and length > limit]
    if not longer or too_long == "cut":
        if intake is not None:
            intake.repaired[f"cut to {limit} {counted}"] += len(longer)
        return list(range(len(lengths)))
    if too_long == "error":
        others = ", or --data.too_long drop or cut" if len(longer) < len(lengths) else ""
        raise UserError(
            f"{place(longer[0])}: {lengths[longer[0]]} {counted}, over the limit of {limit} ({len(longer)} of "
            f"{len(lengths)} {unit} are): give {option} {max(lengths)}{others}"
        )
    if len(longer) == len(lengths):
        raise UserError(
            f"{place(0)} and all others: none of {len(lengths)} {unit} has at most {limit} tokens: "
            f"give {option} {min(lengths)} or more"
        )
    if intake is not None:
        intake.dropped[f"over {limit} {counted}"] += len(longer)
        intake.used -= len(longer)
    return sorted(set(range(len(lengths))) - set(longer))


def _refuse_outlier(
    place: Callable[[int], str], lengths: Sequence[int], limit: int | None, unit: str, counted: str, option: str
) -> None:
    """Raises UserError where a sequence is far longer than the others: all rows are filled up to it, and samples are
    drawn as long, so that it would take all the memory, and the first step for ever."""
    longest, usual = max(lengths, default=0), statistics.median_low(lengths or [0])
    needed = len(lengths) * min(longest, limit or longest) * PLACE / 2**30
    if needed > (free := psutil.virtual_memory().available / 2**30):
        raise UserError(
            f"{place(lengths.index(longest))}: {longest} {counted}; {len(lengths)} {unit}, each filled up to that, "
            f"take {needed:.0f} GB, and {free:.0f} GB are free: give {option} {max(1, usual)} with --data.too_long "
            "drop or cut"
        )
    if limit is not None or longest <= max(LONGEST, OUTLIER * usual):
        return
    over = sum(length > OUTLIER * usual for length in lengths)
    raise UserError(
        f"{place(lengths.index(longest))}: {longest} {counted}, where half of {len(lengths)} {unit} have {usual} at "
        f"most, and all would take as much time and memory as the longest: give {option} {OUTLIER * max(usual, 1)} "
        f"with --data.too_long drop or cut ({over} are longer), or {option} {longest} if that is meant"
    )
