"""Users' own parts of a wrong kind: one line, before a folder is made, and its advice is good."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import runs
from seqgan_kit.cli import main
from test_cli import SHORT, refused
from test_dialogue_cli import SHORT as SHORT_DIALOGUE

OWN = """
import torch
from torch import Tensor
from seqgan_kit.algorithms import estimators, objectives
from seqgan_kit.tokens.credit import Credit, Terminal

def nothing(*_, **__):
    return None

def no_credit(credit, mask) -> Tensor:
    return None

def shapeless(network, length, end) -> Credit:
    return None

def number():
    return 3.0

def broken(*_, **__) -> Tensor:
    raise RuntimeError("it is broken")

def per_row():  # not the mean over all rows, which would be summed without a word
    return objectives.Objective(lambda real, fake: (fake - real).relu(), torch.sigmoid)

def summed():
    return objectives.Objective(objectives.logistic_loss, lambda logits: logits.sum())

class NoCredit:
    def __init__(self, network, length, end):
        pass

class TwoArguments(Credit):
    def __init__(self, network, length):
        pass

class PerSample(Terminal):
    def __call__(self, sampled, earned, reward):
        return earned

def summed_over_time(credit, mask) -> Tensor:
    return credit.sum(1)

def detached(log_probs, old_log_probs, credit, mask) -> Tensor:
    return estimators.reinforce(log_probs, old_log_probs, credit, mask).detach()

def per_token(log_probs, old_log_probs, credit, mask) -> Tensor:
    return -log_probs * credit * mask

class Weightless(torch.nn.Module):
    def __init__(self, vocabulary):
        super().__init__()

    def forward(self, ids, mask, *others):
        return mask.sum(1).float()

class Own(Credit):
    def __init__(self, network, length, end):
        pass

    def __call__(self, sampled, earned, reward):
        return earned.unsqueeze(1) * sampled.mask

def centred(credit, mask) -> Tensor:
    return (credit - credit.mean()) * mask

def texts(completions):
    return [len(text) / 10 for text in completions]
"""
OBJECTIVE, CREDIT = "--discriminator.objective", "--adversarial.credit"
BASELINE, ESTIMATOR, REWARDS = "--adversarial.baseline", "--adversarial.estimator", "--adversarial.rewards"
NETWORK = "--discriminator.network"
MISTAKES = {
    (OBJECTIVE, "own.nothing"): "own.nothing gives NoneType, no Objective: give a function that returns one of",
    (OBJECTIVE, "own.number"): "own.number gives float, no Objective",
    (OBJECTIVE, "own.broken"): "own.broken raised RuntimeError: it is broken (",
    (OBJECTIVE, "own.per_row"): "gives the shape (4,), not the shape (): give the mean over all rows",
    (OBJECTIVE, "own.summed"): "gives the shape (), not the shape (4,): give a number for each logit",
    (CREDIT, "own.NoCredit"): "own.NoCredit is no subclass of Credit: derive it from that",
    (CREDIT, "own.nothing"): "own.nothing is no function that returns Credit: write `-> Credit` behind its arguments",
    (CREDIT, "own.shapeless"): "own.shapeless gives NoneType, no Credit: give a class of seqgan_kit.tokens.credit",
    (CREDIT, "own.TwoArguments"): "--adversarial.credit",
    (CREDIT, "own.PerSample"): "own.PerSample gives the shape (2,), not the shape (2, ",
    (BASELINE, "own.nothing"): "own.nothing is no function that returns Tensor: write `-> Tensor` behind its arg",
    (BASELINE, "own.no_credit"): "own.no_credit gives NoneType, not the shape",
    (
        BASELINE,
        "own.summed_over_time",
    ): "own.summed_over_time gives the shape (4,), not the shape (4, 3): give (credit,",
    (ESTIMATOR, "own.per_token"): "own.per_token gives the shape (4, 3), not the shape (): give (log_probs,",
    (ESTIMATOR, "own.detached"): "own.detached does not depend on log_probs",
    (ESTIMATOR, "own.broken"): "own.broken raised RuntimeError: it is broken (",
    (REWARDS, "[{function: own.nothing}]"): "reward own.nothing returned a NoneType: return a list with a number",
    (REWARDS, "[{function: own.broken}]"): "it is called with",
    (NETWORK, "own.NoCredit"): "own.NoCredit is no subclass of Module: derive it from that",
    (NETWORK, "own.Weightless"): "has no weights to train: give a class whose forward takes",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own", raising=False)  # that of another test
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


@pytest.mark.parametrize("given", MISTAKES, ids="=".join)
@pytest.mark.parametrize("task", ["text", "dialogue"])
def test_a_part_of_another_kind(
    task: str, given: tuple[str, str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is told before a folder is made; what is told to be mended can't be resumed, as there is no run."""
    words = runs.tiny(here / "run") if task == "text" else runs.tiny_dialogue(here / "run")
    told = refused(capsys, *words, *given)
    assert given[0].split(".")[-1].rstrip("s") in told
    assert MISTAKES[given] in told
    assert "resume" not in told
    assert not (here / "run").exists()


@pytest.mark.parametrize("objective", ["own.nothing", "own.per_row"])
def test_objectives_of_the_other_uses(objective: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["train", "imitation", "--environment.id", "CartPole-v1"],
        ["train", "images", "--data.scenes", "40"],
    ):
        told = refused(capsys, *words, "--run.folder", str(here / "run"), OBJECTIVE, objective)
        assert told.startswith(OBJECTIVE)
        assert not (here / "run").exists()


OF_OTHER_USES = """
import torch

def nothing(*_):
    return None

def broken(*_):
    raise RuntimeError("it is broken")

class Blind(torch.nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, *batches):
        return self.weight

class Unbuilt(torch.nn.Module):
    def __init__(self, *sizes):
        raise RuntimeError("it can't be built")
"""
IMAGES = [
    *("train", "images", "--data.scenes", "20", "--data.unseen", "0", "--adversarial.batch_size", "4"),
    *("--style.steps", "0", "--second.side", "0", "--joint.steps", "0", "--evaluation.features", "none"),
]
IMITATION = ["train", "imitation", "--environment.id", "CartPole-v1", "--evaluation.final", "2"]
GIVEN = {
    (NETWORK, "others.Unbuilt"): "others.Unbuilt raised RuntimeError: it can't be built (",
    (NETWORK, "others.Blind"): "others.Blind ",
    (REWARDS, "[{function: others.broken}]"): "reward others.broken raised RuntimeError: it is broken",
    (REWARDS, "[{function: others.nothing}]"): "reward others.nothing returned ",
}


@pytest.mark.parametrize("given", GIVEN, ids="=".join)
@pytest.mark.parametrize("words", [IMAGES, IMITATION], ids=["images", "imitation"])
def test_parts_of_pictures_and_imitation_are_tried_first(
    words: list[str], given: tuple[str, str], here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Before a folder is made, so nothing can be resumed."""
    monkeypatch.delitem(sys.modules, "others", raising=False)
    (here / "others.py").write_text(OF_OTHER_USES)
    told = refused(capsys, *words, "--run.folder", str(here / "run"), *given)
    assert GIVEN[given] in told
    assert "resume" not in told
    assert not (here / "run").exists()


def test_the_advice_is_good(here: Path) -> None:
    """Parts of the kinds that are asked for train, in both uses."""
    good = [OBJECTIVE, "seqgan_kit.algorithms.objectives.hinge", CREDIT, "own.Own", BASELINE, "own.centred"]
    good += [ESTIMATOR, "seqgan_kit.algorithms.estimators.ppo", REWARDS, "[{function: own.texts}]"]
    assert main(runs.tiny(here / "text", *SHORT, *good)) == 0
    assert main(runs.tiny_dialogue(here / "dialogue", *SHORT_DIALOGUE, *good)) == 0


def test_a_group_of_credit_is_a_context_in_dialogue_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    credit = [CREDIT, "seqgan_kit.tokens.credit.LikelihoodRatio", f"{CREDIT}.group"]
    words = [*SHORT_DIALOGUE, "--adversarial.turns.repeats", "2", *credit]
    told = refused(capsys, *runs.tiny_dialogue(here / "run", *words, "4"))
    assert (
        "--adversarial.credit.group 4: samples that have a context in common are --adversarial.turns.repeats 2" in told
    )
    assert not (here / "run").exists()
    assert main(runs.tiny_dialogue(here / "run", *words, "2")) == 0
