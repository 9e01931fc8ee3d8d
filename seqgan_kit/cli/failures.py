"""What the command line makes of refusals of the system: of memory, of files, of its own output."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys

ROOM, ALLOWED = "make room there", "give a folder that you may write to, and files that you may read"
REFUSED = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), ROOM)
REFUSED |= dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), ALLOWED)
REFUSED |= {errno.ENAMETOOLONG: "give a shorter name", errno.ENOENT: "check the path; was it moved or deleted?"}
"""What to do where the system refuses a file."""


def leave_output() -> None:
    """Nobody takes what is printed: Python would complain of it again as it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def asked_for(error: BaseException) -> str:
    """How much was asked for, where the message says it."""
    found = re.search(r"allocate ([\d.]+) ?(\w+)", str(error))
    if found is None:
        return ""
    number, unit = found.groups()
    return f" (it asks for {int(number) / 1e9:.1f} GB)" if unit == "bytes" else f" (it asks for {number} {unit})"


def out_of_memory(error: BaseException) -> bool:
    """PyTorch has no class of its own for that of the processor."""
    told = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return told or any(words in str(error) for words in ("can't allocate memory", "Storage size calculation"))
