"""The chat, as a person at a terminal and as a pipe see it."""

from __future__ import annotations

import io
import os
import pty
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from seqgan_kit.dialogue.chat import HELP, Chat, pieces
from seqgan_kit.errors import UserError
from seqgan_kit.language.tokenizers import train_tokenizer
from seqgan_kit.worlds.dialogues import Message

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0  # seconds, for what takes a tenth of one
# output is buffered, as a person's is
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", "TERM": "xterm", "INPUTRC": os.devnull}


class Terminal(io.StringIO):
    """Lines that are typed; "^C" is an interrupt."""

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:
        line = super().readline()
        if line == "^C\n":
            raise KeyboardInterrupt
        return line


def echo(messages: list[Message], temperature: float) -> Iterator[str]:
    """How many messages there are, and the last one's words; stops being able to at "boom", an interrupt."""
    yield f" {len(messages)}"
    for word in messages[-1]["content"].split():
        if word == "boom":
            raise KeyboardInterrupt
        yield f" {word}"


def talk(*lines: str, terminal: bool = True, reply=echo) -> tuple[Chat, str]:  # type: ignore[no-untyped-def]
    """The chat after these lines, and what it wrote."""
    text = "".join(f"{line}\n" for line in lines)
    output = io.StringIO()
    chat = Chat(reply, input=Terminal(text) if terminal else io.StringIO(text), output=output)
    chat.run()
    return chat, output.getvalue()


def contents(chat: Chat) -> list[str]:
    assert [m["role"] for m in chat.messages] == ["user", "assistant"] * (len(chat.messages) // 2)
    return [m["content"] for m in chat.messages]


def test_a_conversation() -> None:
    """A reply follows a line, with all messages before it; blank lines are no lines; the end of the input is an end."""
    chat, written = talk("hello", "", "  ", " how are you ")
    assert written == "you> bot> 1 hello\nyou> you> you> bot> 3 how are you\nyou> \nbye\n"
    assert contents(chat) == ["hello", "1 hello", "how are you", "3 how are you"]


def test_piped() -> None:
    """Without a terminal, the output is a line for each line that is not blank, and nothing else."""
    chat, written = talk("hello", "", "how are you", terminal=False)
    assert written == "1 hello\n3 how are you\n"
    assert len(chat.messages) == 4


def test_interrupted() -> None:
    """An interrupt stops a reply, of which is kept what was said; at the prompt it clears the line, and the next one in
    a row ends the chat."""
    chat, written = talk("a b boom c", "^C", "on", "^C", "^C", "never")
    once = "you> \n(once more ends the chat)\n"
    assert written == f"you> bot> 1 a b\n{once}you> bot> 3 on\n{once}you> \nbye\n"
    assert contents(chat) == ["a b boom c", "1 a b", "on", "3 on"]
    assert talk("a", "^C", "never", terminal=False)[1] == "1 a\n3 ^C\n5 never\n", (
        "in a pipe it is a line like any other"
    )


@pytest.mark.parametrize("said", [[], ["", " ", "\n"]])
def test_an_empty_reply_is_shown_and_not_kept(said: list[str]) -> None:
    """Nothing, or only white space, is no reply; in a pipe it has its line too."""
    for terminal in (True, False):
        chat, written = talk("hello", "/history", terminal=terminal, reply=lambda messages, temperature: iter(said))
        assert contents(chat) == []
        assert "(no reply)\n" in written
        assert "nothing was said\n" in written


def test_an_interrupt_before_the_first_word_is_an_empty_reply() -> None:
    """As Ctrl-C may come while the history is read."""

    def reply(messages: list[Message], temperature: float) -> Iterator[str]:
        raise KeyboardInterrupt

    chat, written = talk("hello", reply=reply)
    assert contents(chat) == []
    assert written.startswith("you> bot> (no reply)\nyou> ")


def test_white_space_around_a_reply_is_not_kept() -> None:
    """Byte-level tokenizers begin a word with its space."""
    chat, written = talk(
        "hello", terminal=False, reply=lambda messages, temperature: iter(["", " ", " so", " be it", " "])
    )
    assert contents(chat) == ["hello", "so be it"]
    assert written == "so be it \n"


def test_undo_reset_and_history() -> None:
    """/undo takes back an exchange, /reset all of them, and /history shows those that are left."""
    chat, written = talk("a", "b", "/undo", "/history", terminal=False)
    assert written.splitlines()[2:] == ["took back: b", "you> a", "bot> 1 a"]
    assert contents(chat) == ["a", "1 a"]
    chat, written = talk("a", "b", "/reset", "/history", "/undo", "c", terminal=False)
    assert written.splitlines()[2:] == ["all forgotten", "nothing was said", "nothing was said", "1 c"]
    assert contents(chat) == ["c", "1 c"]


def test_quit_and_help() -> None:
    """/quit ends although lines follow; /help names every command."""
    chat, written = talk("/help", "/quit", "a")
    assert written == f"you> {HELP}\nyou> bye\n"
    assert all(name in HELP for name in ("/reset", "/undo", "/history", "/temperature", "/help", "/quit", "Ctrl-C"))
    assert not chat.messages


@pytest.mark.parametrize("line", ["/temperature hot", "/temperature -1", "/temperature nan", "/temperature 1 2"])
def test_a_temperature_that_is_none(line: str) -> None:
    """Says what a temperature is, and leaves it."""
    for nonsense in (line, "/temperature inf", "/temperature 1e9"):
        chat, written = talk(nonsense, terminal=False)
        assert written == "/temperature takes one number from 0 to 100, such as /temperature 0.7\n"
        assert chat.temperature == 1.0


def test_temperature_reaches_the_reply() -> None:
    """From the next reply on; alone, the command tells what it is."""
    told = []

    def reply(messages: list[Message], temperature: float) -> Iterator[str]:
        told.append(temperature)
        yield "yes"

    _, written = talk("a", "/temperature 0.25", "b", "/temperature", "/temperature 0", "c", terminal=False, reply=reply)
    assert told == [1.0, 0.25, 0.0]
    assert written.splitlines() == ["yes", "temperature 0.25", "yes", "temperature 0.25", "temperature 0", "yes"]


@pytest.mark.parametrize("line", ["/", "/bye", "/resett", "/reset now", "/quit now", "/history 3"])
def test_an_unknown_command(line: str) -> None:
    """Is told from a message, does nothing, and ends nothing."""
    chat, written = talk("a", line, "b", terminal=False)
    assert contents(chat) == ["a", "1 a", "b", "3 b"]
    name = line.split()[0]
    assert written.splitlines()[1] in (
        f"there is no {name}; /help shows what there is",
        f"{name} takes nothing after it",
    )


def test_a_reply_is_not_given_the_chat_s_own_list() -> None:
    """What a reply does to the messages is lost, so that the history is what was said."""

    def reply(messages: list[Message], temperature: float) -> Iterator[str]:
        messages.clear()
        yield "mine"

    assert contents(talk("a", "b", reply=reply)[0]) == ["a", "mine", "b", "mine"]


def test_input_that_is_not_text() -> None:
    """Is the user's mistake."""
    bytes_ = io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8")
    with pytest.raises(UserError, match="utf-8"):
        Chat(echo, input=bytes_, output=io.StringIO()).run()


def test_bytes_that_python_kept_as_half_characters() -> None:
    """As it does where the locale is C: told in a pipe as a mistake, at a terminal so that one can go on."""
    line = b"caf\xe9".decode("utf-8", "surrogateescape")
    with pytest.raises(UserError, match=r"what was typed is not UTF-8 \(byte 0xe9 after 'caf'\)"):
        talk(line, terminal=False)
    chat, written = talk(line, "hello")
    assert "(what was typed is not UTF-8 (byte 0xe9 after 'caf'): write it in UTF-8)\nyou> bot> 1 hello\n" in written
    assert contents(chat) == ["hello", "1 hello"]


@pytest.mark.parametrize("terminal", [True, False])
def test_unknown_words_are_told_once_beside_the_replies(terminal: bool) -> None:
    """Each once, before the reply, and not in the output of a pipe."""
    output, errors = io.StringIO(), io.StringIO()
    lines = "a cat\na cat and a dog\na dog\n"
    chat = Chat(
        echo, input=Terminal(lines) if terminal else io.StringIO(lines), output=output, errors=errors,
        unknown=lambda text: [word for word in text.split() if word in ("cat", "dog")],
    )  # fmt: skip
    chat.run()
    assert errors.getvalue() == "(the model does not know cat)\n(the model does not know dog)\n"
    assert "know" not in output.getvalue()


# what a chat in a process of its own says: words for as long as it may, one for every byte in the pipe
PROGRAM = """
import fcntl, os, sys, termios
if sys.stdin.isatty():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is for this process
from seqgan_kit.dialogue.chat import Chat

def reply(messages, temperature):
    for word in ["one", " two", " three", " four"]:
        yield word
        os.read(int(sys.argv[1]), 1)

Chat(reply).run()
"""


class Person:
    """At the terminal of a process that runs PROGRAM."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        readable, self.gate = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(readable)],
            **dict.fromkeys(("stdin", "stdout", "stderr"), slave),  # type: ignore[call-overload]
            pass_fds=[readable],
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs the tests may ignore it
            env={**os.environ, **ENVIRONMENT},
        )
        os.close(slave)
        os.close(readable)
        self.seen = ""

    def types(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def interrupts(self) -> None:
        """At the prompt, once keys are waited for: what comes just before, Python hears with the next key only."""
        time.sleep(0.3)
        self.types("\x03")

    def allows(self, words: int) -> None:
        os.write(self.gate, b"." * words)

    def sees(self, text: str) -> None:
        """Waits until the text comes, and forgets all up to and with it."""
        limit = time.monotonic() + PATIENCE
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, limit - time.monotonic()))
            assert ready, f"{text!r} did not come, but {self.seen!r}"
            try:
                read = os.read(self.master, 1000)
            except OSError:  # Linux's way of saying that the other side is closed
                read = b""
            assert read, f"{text!r} did not come before the end, but {self.seen!r}"
            self.seen += read.decode()
        self.seen = self.seen.split(text, 1)[1]

    def leaves(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.gate)


@pytest.fixture
def person() -> Iterator[Person]:
    someone = Person()
    yield someone
    someone.leaves()


def test_words_are_seen_as_they_are_said(person: Person) -> None:
    """A word comes before the next one is made; then the prompt again, and Ctrl-D ends the chat politely."""
    person.sees("you> ")
    person.types("hello\r")
    person.sees("bot> one")
    for word in (" two", " three", " four"):
        assert word not in person.seen
        person.allows(1)
        person.sees(word)
    person.allows(1)
    person.sees("you> ")
    person.types("\x04")
    person.sees("bye")
    assert person.process.wait(PATIENCE) == 0


def test_ctrl_c_stops_a_reply_and_then_the_chat(person: Person) -> None:
    """What was said until then is in the history; at the prompt it clears the line, and twice it ends without a
    traceback."""
    person.sees("you> ")
    person.types("hello\r")
    person.allows(1)
    person.sees("bot> one two")
    person.types("\x03")
    person.sees("you> ")
    person.types("/history\r")
    person.sees("you> hello")
    person.sees("bot> one two\r\n")
    person.sees("you> ")
    person.types("again\r")
    person.allows(4)
    person.sees("four")
    person.sees("you> ")
    person.types("never said")
    person.sees("never said")
    person.interrupts()
    person.sees("(once more ends the chat)")
    person.sees("you> ")
    person.types("/undo\r")
    person.sees("took back: again")
    person.sees("you> ")
    for seen in ("(once more ends the chat)\r\nyou> ", "bye"):
        person.interrupts()
        person.sees(seen)
    assert "Traceback" not in person.seen
    assert person.process.wait(PATIENCE) == 0


def test_a_pipe_ends_at_its_end() -> None:
    """Of a process, too, the output is the replies and nothing else."""
    readable, gate = os.pipe()
    os.write(gate, b"." * 8)
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(readable)],
        input="hello\n\nagain\n",
        capture_output=True,
        text=True,
        pass_fds=[readable],
        timeout=PATIENCE,
        env={**os.environ, **ENVIRONMENT},
    )
    os.close(readable)
    os.close(gate)
    assert (found.returncode, found.stdout, found.stderr) == (0, "one two three four\n" * 2, "")


CORPUS = ["the cat sat .", "naïve café, 東京 is far", "👍🏽 so it is"]


def byte_level() -> Tokenizer:
    """Every byte is a token, so most letters of CORPUS take several."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.mark.parametrize("text", CORPUS)
def test_pieces_of_bytes_are_whole_letters(text: str) -> None:
    """A letter of several bytes comes with its last one, and not in part."""
    tokenizer = byte_level()
    found = list(pieces(iter(tokenizer.encode(text).ids), tokenizer.decode))
    assert found == list(text)


@pytest.mark.parametrize("kind", ["word", "character", "sentencepiece", "bytes"])
def test_pieces_are_the_text(kind: str) -> None:
    """Together they are what decoding gives, of any ids at all, among them bytes that are no text."""
    tokenizer = byte_level() if kind == "bytes" else train_tokenizer(kind, CORPUS)  # type: ignore[arg-type]
    size = tokenizer.get_vocab_size() if kind == "bytes" else len(tokenizer)  # type: ignore[union-attr, arg-type]
    generator = random.Random(0)
    for _ in range(100):
        ids = [generator.randrange(size) for _ in range(generator.randrange(20))]
        found = list(pieces(iter(ids), tokenizer.decode))
        assert "".join(found) == tokenizer.decode(ids)
        assert all(found)


def test_words_come_one_by_one() -> None:
    """Each with the space that joins it, as soon as its id does."""
    tokenizer = train_tokenizer("word", CORPUS)
    ids = iter(tokenizer("the cat sat .").input_ids)
    found = pieces(ids, tokenizer.decode)
    assert next(found) == "the"
    assert len(list(ids)) == 3  # the others have not been asked for
    assert list(pieces(iter(tokenizer("the cat sat .").input_ids), tokenizer.decode)) == ["the", " cat", " sat", " ."]


def test_pieces_where_decoding_changes_its_mind() -> None:
    """The text goes on from where it parts from what is already out, and nothing of it is lost."""
    texts = {1: "do", 2: "do n", 3: "don't", 4: "don't go"}
    assert list(pieces(iter([7] * 4), lambda ids: texts[len(ids)])) == ["do", " n", "n't", " go"]


def test_an_incomplete_letter_at_the_end_is_not_held_back_for_ever() -> None:
    """The replacement character comes when no more ids do."""
    assert list(pieces(iter(b"a\xe6\x9d"), lambda ids: bytes(ids).decode(errors="replace"))) == ["a", "\ufffd"]
