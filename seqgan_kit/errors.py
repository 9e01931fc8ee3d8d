"""The exception that stands for a user's mistake, and what its messages are made of; and that of a stopped run."""

from __future__ import annotations


class UserError(Exception):
    """What was wrong, where, and what to do, in one line. The command line prints it without a traceback."""


class Stopped(Exception):
    """The run was asked to stop, and has saved; says how to resume."""


def one_line(error: BaseException, most: int = 200) -> str:
    """What another exception says, in one line of at most so many characters; its class where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def check_seed(seed: int, option: str = "--seed") -> None:
    """Raises UserError for what NumPy takes for no seed."""
    if not 0 <= seed < 2**32:
        raise UserError(f"{option} {seed}: give a number from 0 to {2**32 - 1}")
