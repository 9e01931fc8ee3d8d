"""Each use, from its first step to a resumed end, on a GPU that is not there: nothing mixes devices, little waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import runs
from pretend_device import LOG, Log, plugged_in
from seqgan_kit.cli import main
from seqgan_kit.engine.phases import Phases
from seqgan_kit.images import train as images
from seqgan_kit.imitation.train import ADVERSARIAL as GAME
from seqgan_kit.imitation.train import CLONING, FROZEN
from seqgan_kit.language.training import ADVERSARIAL, MLE, WARM_UP
from tiny_models import GPT2, T5

WAITS_A_TOKEN = 2.0  # TODO(h19): 1 / 16
"""Of a step of time in which tokens are drawn, whatever the number of rows: an end is looked for so often."""
LANGUAGE = (
    *("--likelihood.steps", "3", "--discriminator.steps", "3", "--control.enabled", "false"),
    *("--evaluation.every", "0", "--evaluation.rounds", "0"),
)
IMITATION = ("--cloning.steps", "3", "--evaluation.episodes", "2", "--evaluation.final", "2", "--evaluation.every", "0")
TRPO = "seqgan_kit.imitation.improvement.TRPO"
ROLL_OUTS = ("--adversarial.credit", "seqgan_kit.tokens.credit.MonteCarlo", "--adversarial.credit.rollouts", "2")


class Case(NamedTuple):
    """words: of the command, given a folder and options. rounds: the option that a resumed run has more of, and how
    many. waits: how often a step of each phase waits for the device, beside the tokens that it draws."""

    words: Callable[..., list[str]]
    options: tuple[str, ...]
    rounds: tuple[str, int, int]
    waits: dict[str, int]


ROUNDS = ("--adversarial.rounds", 2, 4)
STEPS = ("--adversarial.environment_steps", 80, 160)
CASES = {
    "text, LSTM": Case(runs.tiny, LANGUAGE, ROUNDS, {MLE: 500, WARM_UP: 500, ADVERSARIAL: 500}),
    "text, GPT-2": Case(
        runs.tiny, (*LANGUAGE, "--generator.config", GPT2), ROUNDS, {MLE: 500, WARM_UP: 500, ADVERSARIAL: 500}
    ),
    "text, Gumbel": Case(
        runs.tiny,
        (*LANGUAGE, "--adversarial.route", "seqgan_kit.text.differentiable.GumbelSoftmax"),
        ROUNDS,
        {MLE: 500, WARM_UP: 500, ADVERSARIAL: 500},
    ),
    "dialogue, LSTM": Case(
        runs.tiny_dialogue,
        (*LANGUAGE, "--adversarial.kl", "0.1", "--evaluation.evaluators", "8"),
        ROUNDS,
        {MLE: 500, WARM_UP: 500, ADVERSARIAL: 500},
    ),
    "dialogue, GPT-2": Case(
        runs.tiny_dialogue,
        (*LANGUAGE, *ROLL_OUTS, "--generator.config", GPT2),
        ROUNDS,
        {MLE: 500, WARM_UP: 500, ADVERSARIAL: 500},
    ),
    "dialogue, T5": Case(
        runs.tiny_dialogue, (*LANGUAGE, "--generator.config", T5), ROUNDS, {MLE: 500, WARM_UP: 500, ADVERSARIAL: 500}
    ),
    "imitation, PPO": Case(runs.tiny_imitation, IMITATION, STEPS, {CLONING: 500, GAME: 500, FROZEN: 500}),
    "imitation, TRPO": Case(
        runs.tiny_imitation,
        (*IMITATION, "--control.frozen", "false", "--policy.improvement", TRPO),
        STEPS,
        {CLONING: 500, GAME: 500},
    ),
    "imitation, GRU": Case(
        runs.tiny_imitation,
        (*IMITATION, "--control.frozen", "false", "--policy.recurrent", "4"),
        STEPS,
        {CLONING: 500, GAME: 500},
    ),
    "images": Case(
        runs.tiny_images,
        ("--joint.steps", "2", "--discriminator.matching", "2", "--adversarial.rounds", "2", "--evaluation.every", "0"),
        ("--style.steps", 2, 4),
        dict.fromkeys(runs.IMAGES_PHASES, 500),
    ),
    "images, second stage": Case(
        runs.tiny_images,
        (
            *("--joint.steps", "0", "--discriminator.matching", "0", "--adversarial.rounds", "1"),
            *("--style.steps", "0", "--evaluation.every", "0"),
        ),
        ("--second.rounds", 2, 4),
        {images.ADVERSARIAL: 500, images.SECOND: 500},
    ),
}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Log]]:
    """What happens on the device in each step of each phase, evaluations and checkpoints left out."""
    found: dict[str, list[Log]] = defaultdict(list)
    whole = Phases.steps

    def watched(self: Phases, phase: str, *others: Any) -> Iterator[int]:
        for step in whole(self, phase, *others):
            before = LOG.copy()
            yield step
            found[phase].append(LOG - before)

    monkeypatch.setattr(Phases, "steps", watched)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_run_is_rehearsed(name: str, steps: dict[str, list[Log]], tmp_path: Path) -> None:
    """Trained, saved, evaluated and resumed, with no more waits in a step than are written beside it."""
    case = CASES[name]
    option, few, more = case.rounds
    run = tmp_path / "run"
    with plugged_in():
        assert main(case.words(run, "--run.device", "cuda", *case.options, option, str(few))) == 0
        assert main(["resume", str(run), option, str(more)]) == 0
    assert steps.keys() == case.waits.keys()
    for phase, made in steps.items():
        for step in made[1:]:  # the first one has things to prepare
            drawn = step.launches["searchsorted"] + step.launches["argmax"]
            waits = step.waits.total() - WAITS_A_TOKEN * drawn
            assert waits <= case.waits[phase], (phase, drawn, step.waits.most_common())
