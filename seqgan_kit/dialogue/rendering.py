"""A chat template came along with its tokenizer: a program, in a sandbox, that is given so much time and no more."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, TemplateError, nodes
from transformers import PreTrainedTokenizerBase

from seqgan_kit.errors import UserError, one_line

MOST = 200_000  # characters of a template, and of what it makes for each character of the messages and one of its own
SECONDS = 5.0  # for the messages of one history
MEND = "correct the tokenizer's chat_template, or delete it: histories are then joined by their end tokens"


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises UserError for a chat template of a size that none has, or one that computes what takes for ever."""
    found: Any = tokenizer.chat_template
    for template in found.values() if isinstance(found, dict) else [found]:
        if len(str(template)) > MOST:
            raise UserError(f"the tokenizer's chat template has {len(str(template))} characters, not {MOST}: {MEND}")
        with contextlib.suppress(TemplateError):  # told by who renders it
            if any(Environment(extensions=["jinja2.ext.loopcontrols"]).parse(str(template)).find_all(nodes.Pow)):
                raise UserError(f"the tokenizer's chat template computes powers: {MEND}")


def render(tokenizer: PreTrainedTokenizerBase, messages: list[Any], asking: bool) -> str:
    """The messages as text, up to where the reply begins if asking. Raises TemplateError where the template refuses
    them, and UserError where it fails, or takes too long."""
    try:
        with _at_most(SECONDS):
            text = tokenizer.apply_chat_template(messages, add_generation_prompt=asking, tokenize=False)
    except TemplateError:
        raise
    except TimeoutError:
        raise UserError(f"the tokenizer's chat template takes more than {SECONDS:g} s for a history: {MEND}") from None
    except Exception as error:  # whatever a program raises
        raise UserError(f"the tokenizer's chat template fails ({one_line(error)}): {MEND}") from error
    if not isinstance(text, str) or len(text) > MOST + 100 * sum(len(message["content"]) for message in messages):
        raise UserError(f"the tokenizer's chat template makes too long a text of a history: {MEND}")
    return text


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError inside after so many seconds; only a main thread can be told so."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TimeoutError

    before, started = signal.signal(signal.SIGALRM, stop), time.monotonic()
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # somebody else's
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 0.01))
