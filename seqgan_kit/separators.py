"""What separates the fields of a table in a text file, where it is not what the file's name says.

Spreadsheets write `;` into .csv where numbers have a decimal comma, and name tables of tabs .csv, too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import islice

NAMED = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
LOOKED_AT = 1000  # rows
TOLD = re.compile(r"\ufeff?sep=(.)\r?\n?", re.IGNORECASE)  # Excel's first line


def separator(lines: list[str], usual: str) -> str:
    """What separates the fields: the usual, unless the first line is Excel's `sep=;`, or another one divides it, and
    that one alone, into as many fields as every row after it.

    lines: of the file. usual: of files with this suffix.
    """
    first = next((line for line in lines if line.strip()), "")
    if told := TOLD.fullmatch(first):
        return told[1]
    others = [one for one in NAMED if one in first and _even(lines, one)] if usual not in first else []
    return others[0] if len(others) == 1 else usual


def undivided(names: Sequence[str]) -> str:
    """For the end of a message, that the only name of a column looks like several."""
    other = next((f"{word} ({one!r})" for one, word in NAMED.items() if one in names[0]), "") if len(names) == 1 else ""
    return other and f"; line 1 looks divided by {other}: give all rows as many, and they are read so"


def _even(lines: list[str], separator: str) -> bool:
    try:
        rows = [row for row in islice(csv.reader(lines, delimiter=separator, strict=True), LOOKED_AT) if row]
    except csv.Error:
        return False
    return len(rows) > 1 and len({len(row) for row in rows}) == 1
