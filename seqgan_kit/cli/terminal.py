"""What is printed: a token, a caption or a name of a stranger's can't move the cursor or write over what is there."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from seqgan_kit.files import printable

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_BAR = re.compile(r"(?:\r|\n|\x1b\[A)*")  # how a progress bar begins what it writes


class Plain:
    """A stream whose control characters are written as escapes, as \\u001b; bars: but those of a progress bar, and
    colours, which libraries give their warnings, are left out."""

    def __init__(self, stream: Any, bars: bool) -> None:
        self._stream, self._bars = stream, bars

    def write(self, text: str) -> int:
        begins, rest = "", text
        if self._bars:
            begins = _BAR.match(text)[0]  # type: ignore[index]
            rest = _COLOUR.sub("", text[len(begins) :])
        self._stream.write(begins + printable(rest))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def plain_output() -> Iterator[None]:
    """Inside, all that is printed is plain."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Plain(before[0], bars=False), Plain(before[1], bars=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
