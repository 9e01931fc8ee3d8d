"""The exception that stands for a user's mistake, and what its messages are made of; and that of a stopped run."""

from __future__ import annotations

import functools
import traceback
from typing import Any


class UserError(Exception):
    """What was wrong, where, and what to do, in one line. The command line prints it without a traceback."""


class Stopped(Exception):
    """The run was asked to stop, and has saved; says how to resume."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM came while a step was evaluated; what the evaluation had found so far is of no use."""


def one_line(error: BaseException, most: int = 200) -> str:
    """What another exception says, in one line of at most so many characters; its class where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def where_raised(error: BaseException) -> str:
    """The file and line of the innermost call."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{place.filename}, line {place.lineno}"


def name_of(part: Any) -> str:
    """The import path of a function, of a class, with its options filled in or not, or of what something is."""
    if isinstance(part, functools.partial):  # jsonargparse has the class among the arguments
        part = next((given for given in part.args if isinstance(given, type)), part.func)
    part = part if hasattr(part, "__qualname__") else type(part)
    return f"{getattr(part, '__module__', '')}.{part.__qualname__}".lstrip(".")
