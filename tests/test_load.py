"""Much data, and how long a run takes: read fast, refused before it fills the memory, and sized to a time."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import sys
from dataclasses import dataclass, field, replace
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ

import pytest
import yaml

from seqgan_kit import progress
from seqgan_kit.engine.budget import Part, Taken, afterwards, budgeted, parsed, predicted
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.errors import UserError
from seqgan_kit.language import encoding, lengths
from seqgan_kit.language.held_out import divide
from seqgan_kit.language.metrics import References, bleu, novelty
from seqgan_kit.language.tokenizers import train_tokenizer

ODD = [
    "a b",
    "a </s> b",
    "</s>",
    "a</s>b",
    "new a",
    "a<unk>",
    "<unk> b",
    "a\x1cb",
    "b\u3000a\u00a0 a",
    "",
    " a ",
    "x\u200bb",
]


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_a_dictionary_reads_as_its_tokenizer(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in a text: special tokens, unknown words, white space of every kind."""
    monkeypatch.setattr(encoding, "AT_ONCE", at_once)
    texts = ODD * 2
    for kind in ("word", "character", "sentencepiece"):
        tokenizer = train_tokenizer(kind, ["a b c", "b c b", "a a"], None if kind != "sentencepiece" else 20)  # type: ignore[arg-type]
        assert encoding.token_ids(tokenizer, texts, "reading") == tokenizer(texts, **encoding.PLAIN)["input_ids"]
    assert encoding._dictionary(train_tokenizer("word", ["a b"])) is not None
    assert encoding._dictionary(train_tokenizer("character", ["a b"])) is None


def test_a_sequence_far_longer_than_the_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(longest: int, limit: int | None = None, usual: int = 4) -> list[int]:
        some = [[1] * usual] * 9 + [[1] * longest]
        return lengths.fitting(lambda i: f"own.txt line {i + 1}", some, limit, "cut", "sentences", "tokens", "--x")

    assert kept(lengths.LONGEST) == kept(15_000, usual=800) == kept(15_000, limit=20) == list(range(10))
    with pytest.raises(UserError, match=r"line 10: 10001 tokens.* have 4 at most.* --x 80 with .*\(1 are longer\)"):
        kept(lengths.LONGEST + 1)
    monkeypatch.setattr(lengths, "PLACE", 2**50)
    with pytest.raises(
        UserError, match=r"line 10: 5 tokens; 10 sentences.* take \d+ GB, and \d+ GB are free: give --x 4"
    ):
        kept(5)


def test_a_division_without_groups_is_that_with_them() -> None:
    """Where all differ, equal ones need no search; a label of each, held out already, changes nothing."""
    keys = list(range(200))
    random.Random(1).shuffle(keys)
    assert divide("x", keys, 0.3, 7) == divide("x", keys, 0.3, 7, labels=["a"] * 200)


def test_references_for_novelty_alone() -> None:
    rng = random.Random(0)
    some = [[rng.choice("abcde") for _ in range(rng.randrange(7))] for _ in range(60)]
    few = References(some[:40], 4, clipped=False)
    assert novelty(some[40:], few) == novelty(some[40:], References(some[:40], 4))
    with pytest.raises(ValueError, match="novelty alone"):
        bleu(some[40:], few, (2,))


def test_bars_fit_a_terminal_of_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the names and numbers of a game, and a bar that can still be seen."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        patch.setattr("seqgan_kit.engine.phases.tqdm.monitor_interval", 0)
        with Engine(RunConfig(folder=str(tmp_path / "run"), device="cpu", log_every=1), "test") as engine:
            engine.restore()
            for _ in engine.steps("adversarial", 97):
                engine.log({f"discriminator_{name}": 123.456 for name in ("accuracy", "loss", "mismatched")}, 10)
                if engine.counters.get("adversarial", 0) == 3:
                    break
        for _ in progress.bar(
            range(3), "a work of a rather long name that goes on and on and on and on", unit=" pictures"
        ):
            pass
        terminal.flush()
        shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[\w", "", shown))
    assert max(map(len, lines)) <= 80
    assert any(re.search(r"\|.{8,}\|.*D accuracy=123", line) for line in lines)


def test_what_a_run_took_is_known_while_it_runs(engine: Engine) -> None:
    """A killed run has its time, phases and memory as of its last checkpoint."""
    engine.phases.config = replace(engine.config, checkpoint_steps=1)
    engine.restore()
    for step in engine.steps("cloning", 4):
        engine.log({"loss": 1.0})
        if step == 2:
            break
    found = json.loads((engine.folder / "run.json").read_text())
    assert found["seconds"] > 0
    assert 0.05 < found["peak"]["memory"] < 100
    assert not found["finished"]
    assert found["phases"]["cloning"]["steps"] == 2


PARTS = [
    Part("likelihood", "a.steps", 100, every=50),
    Part("warm_up", "b.steps", 20, every=None),
    Part("game", "b.rounds", 400, unit=10, every=4, between=0.5),
    Part("control", every=50, as_long_as=("warm_up", "game"), like="likelihood"),
]
TAKEN = {"likelihood": Taken(1, 10), "warm_up": Taken(2, 0), "game": Taken(5, 8), "control": Taken(1, 10)}


def test_what_phases_take() -> None:
    """The control as long as the game, in steps of its own; evaluations between and at the end."""
    assert predicted(PARTS, TAKEN, 1.0) == {
        "likelihood": 100 + 10 + 10,
        "warm_up": 40,
        "game": 200 + 8 + 9 * 4,
        "control": 240 + 10 + 4 * 10,
    }


def test_what_comes_after_a_phase() -> None:
    assert "; then warm_up, game, control (not timed yet" in afterwards(PARTS, "likelihood", 1, 100, {}).replace(
        " and", ","
    )
    assert afterwards(PARTS, "game", 5.0, 40, {"likelihood": 100, "warm_up": 40}) == "; then control (about 4 min 0 s)"
    assert afterwards(PARTS, "control", 5.0, 40, {}) == afterwards([], "game", 5.0, 40, {}) == ""


@pytest.mark.parametrize("word", ["", "10", "0s", "ten minutes", "-5m", "1e9h", "nanm"])
def test_what_is_no_time(word: str) -> None:
    with pytest.raises(UserError, match=r"--run\.budget"):
        parsed(word)


@dataclass(frozen=True)
class A:
    steps: int = 100


@dataclass(frozen=True)
class B:
    steps: int = 20
    rounds: int = 400


@dataclass(frozen=True)
class Config:
    run: RunConfig = field(default_factory=RunConfig)
    a: A = field(default_factory=A)
    b: B = field(default_factory=B)


def _pretended(config: Config) -> Path:
    """A run whose run.json says that it took what TAKEN has."""
    assert config.run.budget is None
    assert config.run.folder is not None
    counts = {"likelihood": config.a.steps, "warm_up": config.b.steps, "game": config.b.rounds // 10}
    phases = {name: (count, count * TAKEN[name].step, TAKEN[name].evaluation) for name, count in counts.items()}
    phases["control"] = (9, 9.0, 10.0)
    Path(config.run.folder).mkdir()
    found = {name: {"steps": n, "updating": u, "seconds": u + e} for name, (n, u, e) in phases.items()}
    (Path(config.run.folder) / "run.json").write_text(json.dumps({"phases": found}))
    return Path(config.run.folder)


@pytest.mark.parametrize("asked", [0.5, 2.0, 10.0])
def test_a_budget_is_spent_in_the_proportions_of_the_configuration(asked: float) -> None:
    minutes = asked * sum(predicted(PARTS, TAKEN, 1.0).values()) / 60
    config = Config(run=RunConfig(budget=f"{minutes:.3f}m"))
    text = yaml.safe_dump({"run": {"budget": "x", "seed": 3}, "a": {"steps": 100}, "b": {"steps": 20, "rounds": 400}})
    sized, text, record = budgeted(config, text, False, PARTS, _pretended)
    scale = sized.a.steps / 100
    assert sum(predicted(PARTS, TAKEN, scale).values()) == pytest.approx(60 * minutes, rel=0.05)
    assert sized.b.rounds / 400 == pytest.approx(scale, rel=0.05)
    assert sized.b.rounds % 10 == 0
    assert sized.run == replace(config.run, budget=None), "a resumed run keeps what was chosen"
    assert yaml.safe_load(text) == {
        "run": {"budget": None, "seed": 3},
        "a": {"steps": sized.a.steps},
        "b": {"steps": sized.b.steps, "rounds": sized.b.rounds},
    }
    assert record["budget"]["options"]["a.steps"] == sized.a.steps


def test_budgets_that_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(run=RunConfig(budget="20s"))
    with pytest.raises(UserError, match=r"to start, .* takes 43\.\d s here: give --run\.budget 2m"):
        budgeted(config, "", False, PARTS, _pretended)
    with pytest.raises(UserError, match="were chosen when it began"):
        budgeted(config, "", True, PARTS, _pretended)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="leave out torchrun"):
        budgeted(config, "", False, PARTS, _pretended)
    assert budgeted(Config(), "x: 1", True, PARTS, _pretended) == (Config(), "x: 1", {})
