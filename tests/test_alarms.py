"""Alarms: each rings on a run that is made to fail in its way, and none on a run that does not."""

from __future__ import annotations

import html
import json
import math
import re
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import messages
import runs
from seqgan_kit.algorithms import objectives
from seqgan_kit.algorithms.objectives import Objective
from seqgan_kit.cli import main
from seqgan_kit.cli.parsing import parse
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.lock import Lock
from seqgan_kit.engine.run_folder import RunFolder
from seqgan_kit.engine.watch import KEPT, Watch
from seqgan_kit.game.players import Discriminator, of_turn
from seqgan_kit.images.alarms import of_stage
from seqgan_kit.images.sources import DataConfig, load
from seqgan_kit.imitation.alarms import of_game
from seqgan_kit.imitation.demonstrations import Demonstrations, Episode
from seqgan_kit.imitation.formats import write_npz
from seqgan_kit.language.alarms import alarms_of
from seqgan_kit.report import alarms, write_report
from seqgan_kit.report.alarms import ringing
from seqgan_kit.report.metrics import Row, read_metrics
from seqgan_kit.report.seen import Seen
from seqgan_kit.samples import Images

GAME = "adversarial"
TRY = "try this"
REAL = {
    "real data": {"metrics": {"length": 10.0, "repetition": 0.1, "distinct2": 0.4, "precision": 0.8, "recall": 0.8}}
}
EXPERT = {"random": {"mean": 0.0, "length": 20.0}, "expert": {"mean": 100.0, "length": 200.0}}
BEFORE = {"eval/length": 10.0, "eval/repetition": 0.1, "eval/distinct2": 0.4}
CLONED = {"eval/return_sampled": 90.0, "eval/return_sampled_interval": 5.0}


def seen(*lines: Mapping[str, float], total: int = 100, every: int = 10, first: int = 40) -> Seen:
    """Lines of a game from the step `first` on, after a likelihood phase and cloning."""
    rows = [Row(first + every * i, total, dict(line)) for i, line in enumerate(lines)]
    before = {"maximum_likelihood": [Row(5, 5, BEFORE)], "behaviour_cloning": [Row(5, 5, CLONED)]}
    return Seen({**before, GAME: rows}, GAME, REAL | EXPERT)


def steady(values: Mapping[str, float], count: int = 5, **place: int) -> Seen:
    return seen(*[values] * count, **place)


def returns(value: float, **further: float) -> dict[str, float]:
    return {"eval/return_sampled": value, "eval/return_sampled_interval": 5.0, **further}


RINGS: list[tuple[Callable[..., str | None], Mapping[str, float], Mapping[str, float]]] = [
    (alarms.certain, {"discriminator_accuracy": 0.985}, {"discriminator_accuracy": 0.97}),
    (alarms.certain, {"discriminator_accuracy": 0.9, "discriminator_fresh": 1.0}, {"discriminator_accuracy": 0.9}),
    (alarms.certain, {"discriminator_accuracy": 1.0}, {"discriminator_accuracy": 1.0, "discriminator_fresh": 0.9}),
    (alarms.at_chance, {"discriminator_accuracy": 0.5}, {"discriminator_accuracy": 0.52}),
    (
        alarms.at_chance,
        {"discriminator_accuracy": 0.5, "discriminator_mismatched": 0.5},
        {"discriminator_accuracy": 0.5, "discriminator_mismatched": 0.6},
    ),
    (
        alarms.at_chance_far_from_the_expert,
        returns(60, discriminator_accuracy=0.54),
        returns(90, discriminator_accuracy=0.54),
    ),
    (alarms.captions_unread, {"discriminator_mismatched": 0.53}, {"discriminator_mismatched": 0.57}),
    (alarms.length_drifts, {"eval/length": 12.1}, {"eval/length": 11.9}),
    (alarms.length_drifts, {"eval/length": 7.9}, {"eval/length": 8.1}),
    (alarms.repeats_itself, {"eval/repetition": 0.31}, {"eval/repetition": 0.29}),
    (alarms.few_distinct, {"eval/distinct2": 0.19}, {"eval/distinct2": 0.21}),
    (
        alarms.few_kinds_of_pictures,
        {"eval/precision": 0.7, "eval/recall": 0.07, "eval/pictures": 50, "eval/held_out_pictures": 30},
        {"eval/precision": 0.1, "eval/recall": 0.0, "eval/pictures": 50, "eval/held_out_pictures": 30},
    ),
    (partial(alarms.below_cloning, cloning="behaviour_cloning"), returns(75), returns(84)),
    (alarms.episodes_too_long, returns(60, episode_length=270), returns(60, episode_length=250)),
    (alarms.episodes_too_long, returns(60, episode_length=270), returns(95, episode_length=270)),
    (alarms.episodes_too_short, returns(60, episode_length=130), returns(60, episode_length=150)),
    (alarms.value_knows_nothing, {"explained_variance": -0.01}, {"explained_variance": 0.01}),
    (alarms.steps_too_large, {"divergence": 0.11}, {"divergence": 0.09}),
    (alarms.no_steps, {"step_fraction": 0.04}, {"step_fraction": 0.06}),
    (alarms.far_from_anchor, {"kl": 0.6}, {"kl": 0.4}),
    (partial(alarms.policy_has_no_choice_left, floor=0.02), returns(60, entropy=0.01), returns(60, entropy=0.03)),
    (partial(alarms.policy_has_no_choice_left, floor=0.02), returns(60, entropy=0.01), returns(90, entropy=0.01)),
]


@pytest.mark.parametrize(("alarm", "wrong", "well"), RINGS)
def test_an_alarm_rings_beyond_its_bound_alone(
    alarm: Callable[..., str | None], wrong: Mapping[str, float], well: Mapping[str, float]
) -> None:
    """For a while, in the middle of the game; not at its begin, not for a moment, and not where nothing is known."""
    ring = partial(alarm, advice=TRY)
    sentence = ring(steady(wrong))
    assert sentence is not None
    assert sentence.endswith(f": {TRY}")
    assert "\n" not in sentence
    assert "nan" not in sentence
    assert ring(steady(well)) is None
    assert ring(steady(wrong, count=1)) is None, "a single one"
    assert ring(seen(wrong, well, wrong, well)) is None, "not for a while" if "divergence" not in wrong else ""
    assert ring(steady({})) is None
    assert ring(steady(dict.fromkeys(wrong, math.nan))) is None
    if not any(name.startswith("eval/") for name in wrong):
        assert ring(steady(wrong, count=2, first=10, every=5)) is None, "at the begin"


def test_what_was_so_before_the_game_is_not_the_games() -> None:
    """Length, repetition and diversity that are no worse than after likelihood; and what comes nearer to its goal."""
    far = Seen({"maximum_likelihood": [Row(5, 5, {"eval/length": 5.0})], GAME: [Row(1, 9, {})]}, GAME, REAL)
    for length, rings in ((6.0, False), (4.8, False), (4.0, True)):
        far.phases[GAME][:] = [Row(step, 100, {"eval/length": length}) for step in (60, 70)]
        assert (alarms.length_drifts(far, TRY) is not None) == rings
    opposite = seen({"eval/length": 7.0}, {"eval/length": 13.0})
    assert alarms.length_drifts(opposite, TRY) is None, "it goes to and fro"
    lines = [
        returns(value, episode_length=length)
        for value, length in zip(range(0, 60, 15), (20, 40, 70, 110), strict=False)
    ]
    assert alarms.episodes_too_short(seen(*lines, first=60), TRY) is None, "they grow"
    assert alarms.below_cloning(seen(*lines, first=60), "behaviour_cloning", TRY) is None, "it rises"
    assert alarms.below_cloning(seen(*lines, first=70), "behaviour_cloning", TRY), "but now it is over"


def test_the_entropy_is_that_of_the_begin() -> None:
    """A generator of few choices from the first has not lost them."""
    ring = partial(alarms.no_choice_left, advice=TRY)
    high, low = {"entropy": 2.0}, {"entropy": 0.1}
    assert ring(seen(high, *[low] * 4, first=10))
    assert ring(seen({"entropy": 0.3}, *[low] * 4, first=10)) is None
    assert ring(seen(high, *[{"entropy": 0.3}] * 4, first=10)) is None


def test_a_phase_of_few_evaluations_is_judged_by_its_last() -> None:
    """One alone counts where the phase is over; before it is over, the next one is waited for."""
    for first, rings in ((90, False), (100, True)):
        assert (alarms.length_drifts(seen({"eval/length": 5.0}, first=first), TRY) is not None) == rings


# What they look at


class Sees(torch.nn.Module):
    """A critic that learns from the last batch, quickly."""

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(1, 1)
        torch.nn.init.zeros_(self.line.weight)
        torch.nn.init.constant_(self.line.bias, 1.0)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return self.line(seen).squeeze(-1)


def test_accuracy_of_fresh_samples_is_that_before_the_passes(engine: Engine) -> None:
    """Of several passes the first one; of several turns on the same samples, the first one's."""
    actions = (torch.ones(8, 1), -torch.ones(8, 1))
    real, fake = (Images(values, values) for values in actions)
    learner = engine.learner("discriminator", Sees(), OptimizerConfig(lr=1.0))
    call = lambda module, sample: module(sample.pixels)  # noqa: E731
    found = Discriminator(engine, learner, 8, objectives.minimax(), call, passes=3).update(real, fake)
    assert (found["discriminator_fresh"], found["discriminator_accuracy"]) == (0.5, 1.0)
    assert "discriminator_fresh" not in Discriminator(engine, learner, 8, objectives.minimax(), call).update(real, fake)
    later = {"discriminator_accuracy": 0.9, "discriminator_fresh": 0.8}
    assert of_turn(later, 0) == later
    assert of_turn(later, 1) == {"discriminator_accuracy": 0.9}
    assert of_turn({"discriminator_accuracy": 0.7}, 0)["discriminator_fresh"] == 0.7


@pytest.mark.parametrize("build", [objectives.wasserstein, objectives.relativistic])
def test_accuracy_where_only_differences_of_logits_count(engine: Engine, build: Callable[[], Objective]) -> None:
    """A constant on all logits changes nothing; the bound lies between the means of real and fake."""
    real, fake = (Images(values, values) for values in (torch.tensor([[9.0], [3.0]]), torch.tensor([[-9.0], [2.0]])))
    for objective in (build(), objectives.with_entropy(build(), 0.0)):
        learner = engine.learner(f"d{len(engine.learners)}", Sees(), OptimizerConfig(lr=0.0))
        torch.nn.init.constant_(learner.network.line.weight, 1.0)
        torch.nn.init.constant_(learner.network.line.bias, 100.0)
        found = Discriminator(engine, learner, 2, objective, lambda module, sample: module(sample.pixels)).update(
            real, fake
        )
        assert found["discriminator_accuracy"] == 0.75, "the bound is 101.25: one of the fake ones is above"


# Runs that fail


def rung(words: list[str]) -> dict[str, dict[str, Any]]:
    """What run.json holds of the alarms of a run, by name."""
    assert main(words) == 0
    folder = Path(words[words.index("--run.folder") + 1])
    found = json.loads((folder / "run.json").read_text()).get("alarms", [])
    assert len({(one["phase"], one["name"]) for one in found}) == len(found), "once each"
    return {one["name"]: one for one in found}


ALONE = ("--control.enabled", "false")
CHEAP = ("--adversarial.credit", "seqgan_kit.tokens.credit.Terminal")
REWARDS = """
import random
from pathlib import Path

import torch

def again(completions, **columns):
    return [float(len(text.split()) - len(set(text.split()))) for text in completions]

def silence(completions, **columns):
    return [-float(len(text.split())) for text in completions]

def chance(completions, **columns):
    return [random.gauss(0, 1) for _ in completions]

def one_picture(pixels):
    real = torch.load(Path(__file__).with_name("real.pt"))
    return -(pixels - real).square().mean((1, 2, 3))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[str, ...]]:
    """The options of a reward of one's own, without the discriminator's."""
    name = f"rewards_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(REWARDS)
    monkeypatch.syspath_prepend(tmp_path)

    def options(function: str) -> tuple[str, ...]:
        reward = json.dumps([{"function": f"{name}.{function}", "weight": 1.0}])
        return ("--adversarial.discriminator_weight", "0", "--adversarial.rewards", reward)

    return options


def test_text_that_collapses(tmp_path: Path, own: Callable[[str], tuple[str, ...]]) -> None:
    """Paid for saying nothing, with an absurd learning rate."""
    wild = (
        *own("silence"),
        "--adversarial.optimizer.lr",
        "0.1",
        "--adversarial.rounds",
        "40",
        "--data.sentences",
        "200",
    )
    found = rung(runs.tiny(tmp_path / "run", *wild, *ALONE))
    assert set(found) == {"length", "few distinct", "entropy"}
    assert "samples are shorter than the data: 0 against" in found["length"]["sentence"]
    assert all("--adversarial.credit.rollouts" in one["sentence"] for one in found.values())


def test_text_that_is_known_at_once(tmp_path: Path) -> None:
    """A generator that has learnt nothing and stands still, and a discriminator of many turns."""
    still = ("--likelihood.steps", "1", "--adversarial.optimizer.lr", "1e-9", "--adversarial.rounds", "50")
    eager = ("--discriminator.optimizer.lr", "0.05", "--adversarial.turns.discriminator", "4")
    found = rung(runs.tiny(tmp_path / "run", *still, *eager, *CHEAP, *ALONE))
    assert "fewer --adversarial.turns.discriminator" in found["discriminator certain"]["sentence"]


def test_text_that_is_paid_for_repeating(tmp_path: Path, own: Callable[[str], tuple[str, ...]]) -> None:
    """By a reward of one's own; no alarm speaks of the discriminator, which has no part in it."""
    paid = (*own("again"), "--adversarial.optimizer.lr", "0.03", "--adversarial.batch_size", "32")
    found = rung(runs.tiny(tmp_path / "run", *paid, *CHEAP, "--adversarial.rounds", "50", *ALONE))
    assert {"repetition", "length", "few distinct"} == set(found)
    assert "100% of the samples repeat three words" in found["repetition"]["sentence"]
    assert "longer than the data" in found["length"]["sentence"]
    assert "rollouts" not in found["length"]["sentence"]


def test_text_whose_steps_are_too_large(tmp_path: Path, own: Callable[[str], tuple[str, ...]]) -> None:
    """Sixteen passes on a reward that is noise."""
    many = ("--adversarial.passes", "16", "--adversarial.estimator", "seqgan_kit.algorithms.estimators.ppo")
    noise = (*own("chance"), *CHEAP)
    found = rung(runs.tiny(tmp_path / "run", *many, *noise, "--adversarial.optimizer.lr", "0.03", *ALONE))
    assert "step KL" in found
    assert "fewer --adversarial.passes" in found["step KL"]["sentence"]


def test_text_whose_discriminator_does_not_learn(tmp_path: Path) -> None:
    still = ("--discriminator.optimizer.lr", "1e-9", "--adversarial.optimizer.lr", "1e-9")
    found = rung(runs.tiny(tmp_path / "run", *still, *CHEAP, *ALONE))
    assert set(found) == {"discriminator at chance"}
    assert found["discriminator at chance"]["step"] >= 10


def test_dialogue_that_leaves_its_anchor(tmp_path: Path) -> None:
    """A penalty of nothing, and a learning rate that is absurd."""
    loose = ("--adversarial.kl", "1e-6", "--adversarial.optimizer.lr", "0.3", "--adversarial.teacher_forcing", "0")
    found = rung(runs.tiny_dialogue(tmp_path / "run", *loose, "--adversarial.rounds", "30", *ALONE))
    assert {"anchor KL", "length"} <= set(found)
    assert "--adversarial.kl 0.1" in found["anchor KL"]["sentence"]


PLAIN = ("--joint.steps", "0", "--second.side", "0", "--style.steps", "0", "--discriminator.matching", "0")


def test_pictures_that_the_discriminator_knows_at_once(tmp_path: Path) -> None:
    """A generator that stands still, and captions that nobody reads."""
    frozen = (
        "--generator.optimizer.lr",
        "1e-9",
        "--discriminator.optimizer.lr",
        "0.005",
        "--adversarial.rounds",
        "130",
    )
    free = ("--discriminator.gradient_square", "0", "--discriminator.mismatched", "0.1", "--evaluation.every", "0")
    found = rung(runs.tiny_images(tmp_path / "run", *PLAIN, *frozen, *free))
    assert {"discriminator certain", "captions unread"} == set(found)
    assert "--text.order pairs" in found["captions unread"]["sentence"]


def test_pictures_of_one_kind(tmp_path: Path, own: Callable[[str], tuple[str, ...]]) -> None:
    """Paid for being near to one real picture."""
    config = DataConfig(side=16, scenes=300, captions=3, unseen=2)
    pictures = load(config, config.kept(16), 0).held_out.pixels[:1].float() / 127.5 - 1
    torch.save(pictures, tmp_path / "real.pt")
    learn = ("--generator.optimizer.lr", "0.01", "--generator.width", "8", "--generator.average", "0")
    judged = ("--data.scenes", "300", "--evaluation.samples", "60", "--evaluation.every", "30")
    game = ("--adversarial.turns.discriminator", "0", "--adversarial.rounds", "60", "--evaluation.feature_steps", "20")
    found = rung(runs.tiny_images(tmp_path / "run", *PLAIN, *own("one_picture"), *learn, *judged, *game))
    assert set(found) == {"few kinds of pictures"}


FALLING = ("--control.frozen", "false", "--adversarial.environment_steps", "1600")


def recorded(path: Path, environment: str, act: Callable[[Any], Any], episodes: int) -> tuple[str, ...]:
    """The options of demonstrations by a policy that was written."""
    world, found = gym.make(environment), []
    for seed in range(episodes):
        observations, actions, rewards, over = [world.reset(seed=seed)[0]], [], [], False
        while not over:
            actions.append(act(observations[-1]))
            observation, reward, ended, cut, _ = world.step(actions[-1])
            observations.append(observation)
            rewards.append(reward)
            over = ended or cut
        steps = np.array(observations), np.array(actions), np.array(rewards, np.float32)
        found.append(Episode(*steps, bool(ended)))
    write_npz(path, Demonstrations(found, environment, path.name, world.spec))
    return ("--demonstrations.path", str(path), "--environment.id", environment)


def test_a_policy_that_stands_still(tmp_path: Path) -> None:
    """It falls as it did at first, where cloning would balance; neither value nor discriminator learns."""
    still = ("--policy.improvement.optimizer.lr", "1e-9", "--discriminator.optimizer.lr", "1e-9")
    cloned = ("--cloning.steps", "300", "--evaluation.episodes", "10", "--evaluation.final", "10")
    found = rung(runs.tiny_imitation(tmp_path / "run", *FALLING, *still, *cloned))
    assert {"below cloning", "episodes too short", "value"} <= set(found)
    assert "--cloning.warm_up true" in found["below cloning"]["sentence"]
    assert "against 500" in found["episodes too short"]["sentence"]


def test_a_policy_of_wild_steps(tmp_path: Path) -> None:
    """Its steps are too large, until it has no choice left."""
    wild = ("--policy.improvement.optimizer.lr", "0.3", "--policy.improvement.minibatch", "20")
    found = rung(runs.tiny_imitation(tmp_path / "run", *FALLING, *wild, "--cloning.steps", "0"))
    assert {"step KL", "entropy"} & set(found)
    assert "below cloning" not in found


def test_a_policy_that_goes_on_for_the_reward(tmp_path: Path) -> None:
    """In the valley, whose end is a success, with a reward above 0."""
    demonstrations = recorded(tmp_path / "car.npz", "MountainCar-v0", lambda seen: int(2 * (seen[1] >= 0)), 3)
    often = ("--policy.steps", "50", "--adversarial.environment_steps", "8000", "--cloning.steps", "0")
    found = rung(runs.tiny_imitation(tmp_path / "run", *FALLING, *demonstrations, *often))
    assert "objectives.airl" in found["episodes too long"]["sentence"]


def test_a_policy_that_is_known_at_once(tmp_path: Path) -> None:
    """Demonstrations that always push, beside a policy that hardly does, and stands still."""
    demonstrations = recorded(tmp_path / "push.npz", "Pendulum-v1", lambda _: np.array([2.0], np.float32), 2)
    still = ("--policy.improvement.optimizer.lr", "1e-9", "--policy.log_std", "-2", "--cloning.steps", "0")
    eager = ("--discriminator.optimizer.lr", "0.05", "--discriminator.penalty", "0", "--discriminator.updates", "5")
    longer = ("--adversarial.environment_steps", "2400")
    found = rung(runs.tiny_imitation(tmp_path / "run", *FALLING, *demonstrations, *still, *eager, *longer))
    assert "a larger --discriminator.penalty" in found["discriminator certain"]["sentence"]


def test_a_discriminator_that_cannot_tell_a_policy_far_away(tmp_path: Path) -> None:
    still = ("--policy.improvement.optimizer.lr", "1e-9", "--discriminator.optimizer.lr", "1e-9")
    blind = ("--discriminator.inputs", "[ended]", "--cloning.steps", "0")
    found = rung(runs.tiny_imitation(tmp_path / "run", *FALLING, *still, *blind))
    assert "--discriminator.updates 20 --discriminator.penalty 1" in found["discriminator at chance"]["sentence"]


def test_trpo_that_accepts_no_step(tmp_path: Path) -> None:
    far = ("--policy.improvement.divergence", "5", "--policy.improvement.accept", "1", "--cloning.steps", "0")
    trpo = ("--policy.improvement", "seqgan_kit.imitation.improvement.TRPO")
    found = rung(runs.tiny_imitation(tmp_path / "run", *FALLING, *trpo, *far))
    assert "no steps" in found
    assert "step KL" not in found


# Where they are told


def test_an_alarm_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the screen when it first rings, in run.json and in the report; a resumed run does not tell it again."""
    run = tmp_path / "run"
    still = ("--discriminator.optimizer.lr", "1e-9", "--adversarial.optimizer.lr", "1e-9", *CHEAP, *ALONE)
    found = rung(runs.tiny(run, *still, "--adversarial.rounds", "20"))["discriminator at chance"]
    told = f"alarm (adversarial, step {found['step']}): {found['sentence']}"
    assert capsys.readouterr().err.count(told) == 1
    page = (run / "report.html").read_text()
    head = page[: page.index('<h2 id="Summary">')]
    assert html.escape(found["sentence"]) in head
    assert f"step {found['step']}</small>" in head
    assert "{&#x27;name" not in page, "among the facts of the run it is no row"
    assert main(["resume", str(run), "--adversarial.rounds", "30"]) == 0
    assert "alarm (" not in capsys.readouterr().err
    assert json.loads((run / "run.json").read_text())["alarms"] == [found]
    assert html.escape(found["sentence"]) in (run / "report.html").read_text()


@pytest.mark.parametrize("kept", [None, [], {}, 3, ["x"], [{}], [{"name": "<b>", "phase": 1, "step": "<i>"}]])
def test_a_report_of_any_run_json(tmp_path: Path, kept: Any) -> None:
    """Of an earlier version's run, and of what somebody else wrote there."""
    (tmp_path / "metrics.jsonl").write_text('{"phase": "adversarial", "step": 1}\n')
    (tmp_path / "run.json").write_text(json.dumps({"task": "text"} | ({} if kept is None else {"alarms": kept})))
    page = write_report(tmp_path).read_text()
    assert ("<section" in page) == (isinstance(kept, list) and kept[-1:] not in ([], ["x"]))
    assert "<i>" not in page
    assert "<b><b>" not in page


def test_alarms_are_functions_of_the_metrics_alone(tmp_path: Path) -> None:
    """What a run tells is what the files of its folder give, line by line; rows that no alarm looks at are dropped."""
    folder = RunFolder(tmp_path, {"alarms": ["of somebody else"]}, True, Lock())
    lines = [{"phase": GAME, "step": step, "total": 3000, "discriminator_accuracy": 0.5} for step in range(1, 3001)]
    told: list[str] = []
    watch = Watch(folder, {GAME: {"chance": partial(alarms.at_chance, advice=TRY)}}, told.append)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
            file.flush()
            watch(line)
    (kept,) = folder.record["alarms"]
    assert watch._seen is not None
    assert len(watch._seen.rows) <= 2 * KEPT + 1
    assert told == [f"alarm (adversarial, step {kept['step']}): {kept['sentence']}"]
    assert kept["step"] == 1500
    rows = read_metrics(tmp_path / "metrics.jsonl")[GAME]
    asked = [ringing(watch.alarms, Seen({GAME: rows[:count]}, GAME, {})) for count in (1499, 1500)]
    assert asked == [{}, {"chance": kept["sentence"]}]


def test_every_alarm_is_watched_for_and_has_its_threshold() -> None:
    """By some use; its docstring says from where on it rings."""
    functions = {name: one for name, one in vars(alarms).items() if "advice" in getattr(one, "__annotations__", {})}
    functions = {name: one for name, one in functions.items() if not name.startswith("_")}
    used = "".join((messages.PACKAGE / use / "alarms.py").read_text() for use in ("language", "imitation", "images"))
    assert len(functions) > 15
    for name, one in functions.items():
        assert f"alarms.{name}" in used
        assert "Threshold: " in (one.__doc__ or ""), name
    tried = {getattr(one, "func", one).__name__ for one, *_ in RINGS}
    assert {*functions} - tried == {"no_choice_left"}, "which has a test of its own"


VALUE = r"--[\w.]+ (?:true|pairs|\d[\d.]*\d|\d|seqgan_kit[\w.]*\w|'[^']*')(?![\w.])"


@pytest.mark.parametrize("task", ["text", "dialogue", "imitation", "images"])
def test_what_is_advised_can_be_done(task: str) -> None:
    """Options that are advised with a value are read, all together; those without one exist (tests/test_advice.py)."""
    config, _ = parse(["--adversarial.kl", "0.01"] if task == "dialogue" else [], task)
    if task in ("text", "dialogue"):
        watched = list(alarms_of(config).values())
    elif task == "images":
        watched = [of_stage(config, "--discriminator.optimizer")]
    else:
        watched = [of_game(config, gym.spaces.Box(-1, 1, (2,)), "behaviour_cloning")]
    advice = {one.keywords["advice"] for table in watched for one in table.values()}  # type: ignore[attr-defined]
    valued = sorted({found for text in advice for found in re.findall(VALUE, text)})
    assert (len(valued) > 0) == (task != "text")
    parse([word for option in valued for word in shlex.split(option)], task)


# Runs that do not fail


@pytest.mark.slow
def test_small_runs_of_recipes_ring_nothing(tmp_path: Path) -> None:
    """tests/alarms_on_recipes.py has them all, for longer."""
    text = ("--config", "recipes/shapes.yaml", "--data.sentences", "600", "--likelihood.steps", "150")
    text += ("--discriminator.steps", "40", "--adversarial.rounds", "30", "--evaluation.samples", "200")
    text += ("--adversarial.credit.rollouts", "2", "--evaluation.rounds", "10", "--run.log_every", "5")
    pole = ("--config", "recipes/imitation/cartpole.yaml", "--adversarial.environment_steps", "30720")
    pole += ("--policy.steps", "256", "--cloning.steps", "200", "--control.frozen", "false")
    pole += ("--evaluation.video", "0", "--evaluation.final", "10", "--evaluation.every", "10")
    assert rung(["train", "text", *text, *ALONE, "--run.folder", str(tmp_path / "text")]) == {}
    assert rung(["train", "imitation", *pole, "--run.folder", str(tmp_path / "pole")]) == {}
