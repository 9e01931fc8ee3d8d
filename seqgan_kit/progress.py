"""Bars of work that may take a while: none in the first second, a line now and then in a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def bar(items: Iterable[T] | None, what: str, total: int | None = None, unit: str = "it", scale: bool = False) -> Any:
    """A tqdm bar that shows itself after a second and goes when it is done; of the main process alone.

    items: what is gone through; None: the caller updates it. scale: whether numbers are written as 1.2M.
    """
    watched = sys.stderr.isatty()
    return tqdm(
        items, what, total, leave=False, delay=1.0, unit=unit, unit_scale=scale, dynamic_ncols=True,
        mininterval=0.1 if watched else 10.0, disable=os.environ.get("RANK", "0") != "0",
    )  # fmt: skip


def as_fits(shown: Any, text: str, least: int = 8) -> str:
    """Those parts of a postfix, between commas, that leave a bar of `least` columns in its line; D is the discriminator
    where not all of them do."""
    width = None if shown.disable else shown.format_dict["ncols"]
    if not width:
        return text
    bare = tqdm.format_meter(**{**shown.format_dict, "ncols": 0, "postfix": None})
    room = width - len(bare) - least - 4
    if len(text) <= room:
        return text
    found = ""
    for part in text.replace("discriminator_", "D ").split(", "):
        longer = f"{found}, {part}" if found else part
        found = longer if len(longer) <= room else found
    return found
