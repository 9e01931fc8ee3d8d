"""Talking to a generator of replies in a terminal."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

from seqgan_kit.errors import UserError
from seqgan_kit.files import checked, record_line
from seqgan_kit.worlds.dialogues import ASSISTANT, USER, Message

NAMES = {USER: "you> ", ASSISTANT: "bot> "}
HOTTEST = 100.0
HELP = f"""\
/reset            forgets all that was said
/undo             takes back what you said last, and the reply
/history          shows what was said
/temperature X    how surprising replies are: 1 as learned, 0 always the likeliest, at most {HOTTEST:g}
/help             shows this
/quit             ends, as Ctrl-D does
Ctrl-C stops a reply; what it said until then is kept. At the prompt it clears the line, and given twice it ends."""


def pieces(ids: Iterator[int], decode: Callable[[list[int]], str]) -> Iterator[str]:
    """The text of growing ids in pieces, each as soon as it is known: together they are `decode` of all ids.

    All ids are decoded every time, as the text of one may depend on those before it: a joining space, a letter of
    several bytes. So while the text ends in the replacement character, the rest of a letter is waited for. Should a
    decoder change what is already out, the text goes on from where the two part.
    """
    read: list[int] = []
    out = ""
    for token in ids:
        read.append(token)
        text = decode(read)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            yield from _rest(text, out)
            out = text
    if read:
        yield from _rest(decode(read), out)


def _rest(text: str, out: str) -> Iterator[str]:
    """What a text has after what it begins with in common with another, if anything."""
    pairs = enumerate(zip(text, out, strict=False))
    rest = text[next((i for i, (a, b) in pairs if a != b), min(len(text), len(out))) :]
    if rest:
        yield rest


@dataclass
class Chat:
    """A conversation: reads a line, gives the reply as it is made, and so on until the input ends.

    reply: from the messages so far, the last one the user's, and the temperature, to the pieces of a reply.
    input, output: without a terminal as input there is nothing but the replies in the output, one a line, whose own
        line breaks are escaped.
    messages: what was said, always a user's and an assistant's in turn. An empty reply is shown as "(no reply)", and it
    and what it was to are not kept, for no generator has learned from silence.
    unknown: the words of a message that the generator does not know, which are told once, beside the output.
    """

    reply: Callable[[list[Message], float], Iterator[str]]
    temperature: float = 1.0
    input: TextIO = field(default_factory=lambda: sys.stdin)
    output: TextIO = field(default_factory=lambda: sys.stdout)
    messages: list[Message] = field(default_factory=list)
    unknown: Callable[[str], list[str]] = lambda text: []
    errors: TextIO = field(default_factory=lambda: sys.stderr)
    announced: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Until /quit, the end of the input, or Ctrl-C twice at the prompt."""
        interrupted = False
        while True:
            try:
                line = self._read()
                interrupted = False
                if line is None or line.strip() == "/quit":
                    break
                self._take(line)
            except KeyboardInterrupt:
                self._label("\n")
                if interrupted or not self.interactive:
                    break
                interrupted = True
                self._label("(once more ends the chat)\n")
        self._label("bye\n")

    def _take(self, line: str) -> None:
        try:
            line = checked(line, "what was typed").strip()
        except UserError as error:
            line = self._not_text(error).strip()
        if line.startswith("/"):
            self._write(self._command(*line.split()) + "\n")
        elif line:
            self._tell_unknown(line)
            self._answer(line)

    def _not_text(self, error: UserError) -> str:
        """Tells it to who sits there, and is a blank line; raises it in a pipe, where each line has its reply."""
        if not self.interactive:
            raise error
        self._write(f"({error})\n")
        return " "

    def _tell_unknown(self, text: str) -> None:
        words = [word for word in self.unknown(text) if word not in self.announced]
        if words:
            self.announced.update(words)
            self.errors.write(f"(the model does not know {', '.join(words)})\n")
            self.errors.flush()

    def _read(self) -> str | None:
        """A line, or None at the end of the input."""
        try:
            if self.interactive and self.input is sys.stdin and self.output is sys.stdout:
                with contextlib.suppress(ImportError):
                    import readline  # noqa: F401 (gives `input` its arrow keys and its memory of lines)
                return input(NAMES[USER])
            self._label(NAMES[USER])
            line = self.input.readline()
        except EOFError:
            line = ""
        except UnicodeDecodeError as error:
            return self._not_text(UserError(f"what was typed is not {error.encoding} text: {error.reason}"))
        if not line:
            self._label("\n")
        return line or None

    def _answer(self, text: str) -> None:
        said: list[str] = []
        self._label(NAMES[ASSISTANT])
        with contextlib.suppress(KeyboardInterrupt):
            for piece in self.reply([*self.messages, {"role": USER, "content": text}], self.temperature):
                shown = piece if said else piece.lstrip()
                if shown:
                    said.append(shown)
                    self._write(shown if self.interactive else record_line(shown))
        self._write("\n" if said else "(no reply)\n")
        if said:
            self.messages.append({"role": USER, "content": text})
            self.messages.append({"role": ASSISTANT, "content": "".join(said).rstrip()})

    def _command(self, name: str, *values: str) -> str:
        """What there is to say about it."""
        if name == "/temperature":
            return self._set_temperature(*values)
        if values and name in ("/reset", "/undo", "/history", "/help", "/quit"):
            return f"{name} takes nothing after it"
        if name == "/reset":
            self.messages.clear()
            return "all forgotten"
        if name == "/undo":
            undone = self.messages[-2:]
            del self.messages[-2:]
            return f"took back: {undone[0]['content']}" if undone else "nothing was said"
        if name == "/history":
            return "\n".join(NAMES[m["role"]] + record_line(m["content"]) for m in self.messages) or "nothing was said"
        return HELP if name == "/help" else f"there is no {name}; /help shows what there is"

    def _set_temperature(self, *values: str) -> str:
        try:
            (value,) = map(float, values)
        except ValueError:
            value = math.nan
        if values and not 0.0 <= value <= HOTTEST:
            return f"/temperature takes one number from 0 to {HOTTEST:g}, such as /temperature 0.7"
        if values:
            self.temperature = value
        return f"temperature {self.temperature:g}"

    @property
    def interactive(self) -> bool:
        return self.input.isatty()

    def _label(self, text: str) -> None:
        """Writes what only a person at a terminal should see."""
        if self.interactive:
            self._write(text)

    def _write(self, text: str) -> None:
        self.output.write(text)
        self.output.flush()
