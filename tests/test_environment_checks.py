"""What environments are refused for before anything is written, what is told of them, and what ends an evaluation."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch

import runs
import toys
from seqgan_kit.cli import main
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.phases import Interrupted
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.errors import UserError
from seqgan_kit.imitation.checks import check_environment, seen_in_demonstrations
from seqgan_kit.imitation.config import DiscriminatorConfig, ImitationConfig, PolicyConfig
from seqgan_kit.imitation.copies import Copies
from seqgan_kit.imitation.demonstrations import Demonstrations, Episode, transitions
from seqgan_kit.imitation.environments import EnvironmentConfig, make
from seqgan_kit.imitation.evaluation import acts, at_random, run
from seqgan_kit.imitation.players import Game
from seqgan_kit.imitation.returned import Returned, given, number, observed
from seqgan_kit.imitation.train import cloning_loss
from seqgan_kit.networks.policies.actor import Actor
from seqgan_kit.networks.saved import load_network
from seqgan_kit.samples import rows

needs_mujoco = pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="not installed: mujoco")
ALONE = ("--reward", "environment", "--adversarial.environment_steps", "80", "--evaluation.every", "0")


def words(folder: Path, name: str, arguments: dict[str, Any], *options: str) -> list[str]:
    """An expert is trained in an environment of `toys`, in two rounds."""
    given = ["--environment.id", f"toys:toys/{name}-v0", "--environment.arguments", json.dumps(arguments)]
    return runs.tiny_imitation(folder, *given, *ALONE, *options)


def refused(capsys: pytest.CaptureFixture[str], command: list[str]) -> str:
    """The one line of a command that is refused, before there is a run folder."""
    assert main(command) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert not Path(command[command.index("--run.folder") + 1]).exists()
    return lines[0]


# -- spaces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actions", ["start", "binary", "integers", "table", "half", "free"])
def test_actions_of_every_kind_are_learnt_and_recorded(
    actions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The environment fails unless each action is of its space; what is recorded is, too."""
    folder = tmp_path / "run"
    assert main(words(folder, "Spaces", {"actions": actions, "observations": "several"})) == 0
    captured = capsys.readouterr()
    assert "raised" not in captured.err
    assert ("actions 0, 1 have no bounds: they are drawn in their own unit" in captured.out) == (actions == "free")
    act = acts(load_network(Actor, folder / "model", folder), greedy=False)
    where = EnvironmentConfig("toys/Spaces-v0", {"actions": actions, "observations": "several"})
    found = run(where, act, 2, seed=0)
    space = toys.ACTION_SPACES[actions]
    assert all(space.contains(given(one[None], space)[0]) for episode in found for one in episode.actions)
    assert all(episode.rewards is not None and np.allclose(episode.rewards, -0.4) for episode in found)


@pytest.mark.parametrize("actions", ["start", "table"])
def test_choices_that_do_not_begin_at_0_are_imitated(actions: str, tmp_path: Path) -> None:
    """Cloned and played, also where actions are a table; the expert always takes the last of each."""
    arguments = {"actions": actions, "observations": "several"}
    some, space = EnvironmentConfig("toys/Spaces-v0", arguments), toys.ACTION_SPACES[actions]
    last = np.asarray(space.start + (space.n if actions == "start" else space.nvec) - 1)  # type: ignore[attr-defined]
    episodes = run(some, lambda seen, memory: (np.stack([last] * len(seen)), memory), 3, seed=0)
    pairs = Demonstrations(episodes, None, "the expert")
    with Engine(RunConfig(folder=str(tmp_path / "run"), device="cpu", threads=1), "test") as engine:
        config = ImitationConfig(environment=some, policy=PolicyConfig([8], steps=8))
        game = Game(engine, config, make(some), transitions(pairs, config.demonstrations), "")
        whole = transitions(pairs, config.demonstrations)
        learner = engine.learner("cloning", game.actor, OptimizerConfig(lr=0.05))
        for _ in range(60):
            engine.update(learner, lambda part: cloning_loss(game.actor, 1.0, learner.module, rows(whole, part)), 20)
        rollout = game.policy.sample(whole)
        assert torch.isfinite(game.discriminator.score(rollout)).all()
        assert (rollout.actions == torch.from_numpy(last)).float().mean() > 0.9


@pytest.mark.parametrize(
    ("observations", "told"),
    [
        ("dict", "flattened to 7 numbers"),
        ("tuple", "flattened to 4 numbers"),
        ("discrete", "flattened to 5 numbers"),
        ("several", "flattened to 5 numbers"),
        ("bits", "flattened to 4 numbers"),
        ("scalar", "flattened to 1 numbers"),
        ("integers", "ROUNDED to float32 above 16,777,216"),
    ],
)
def test_observations_of_every_kind_are_learnt(
    observations: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flattened as gymnasium.spaces.flatten does, and this is told first."""
    assert main(words(tmp_path / "run", "Spaces", {"observations": observations})) == 0
    captured = capsys.readouterr()
    assert told in captured.out
    assert "raised" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        ({"actions": "many"}, (), "4294967296 integers to choose from, more than 1024"),
        ({"actions": "named"}, (), "use Discrete, MultiDiscrete, MultiBinary or Box, or a wrapper to them"),
        ({"actions": "free"}, ("--policy.squash", "true"), "no finite bounds, apart from each other, to squash into"),
        ({"observations": "sequence"}, (), "is no array of numbers: leave it out by a wrapper"),
    ],
)
def test_what_can_not_be_learnt_is_refused_before_anything_is_written(
    arguments: dict[str, Any], options: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line."""
    assert told in refused(capsys, words(tmp_path / "run", "Spaces", arguments, *options))


# -- what is returned -------------------------------------------------------------------------------------------------

WRONG = {
    "one": r"returned an observation of shape \(1,\), declared \(3,\)",
    "none": r"returned an observation of shape \(\), declared \(3,\)",
    "rewards": r"returned a reward of shape \(2,\) and type float64, not one number",
    "fractions": "returned float64 numbers that are not all whole ones from 0 to 255, declared uint8",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_as_declared_is_told_and_never_broadcast(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the run; and where it comes later, in the copies of a run, and in an evaluation."""
    message = refused(capsys, words(tmp_path / "run", "Wrong", {"what": what}))
    pattern = WRONG[what].replace("\\", "")
    assert f"toys:toys/Wrong-v0 {pattern}: mend the environment" in message
    late = EnvironmentConfig("toys/Wrong-v0", {"what": what, "since": 0 if what == "rewards" else 2}, copies=1)
    said: list[str] = []
    copies = Copies(late, 0, say=said.append)
    steps = [copies.step(np.array([1])) for _ in range(2)]
    assert [bool(step.broken[0]) for step in steps] == [what == "rewards", True]
    assert f"of its episode) {pattern}. The episode is discarded" in said[-1]
    with pytest.raises(UserError, match=WRONG[what]):
        run(late, at_random(late, 0), 1, seed=0, say=said.append)


def test_rewards_of_one_number_are_taken() -> None:
    """Whatever holds it; anything else is named."""
    for one in (0.5, np.float32(0.5), np.array([0.5]), np.array([[0.5]], np.float32), np.array(0.5)):
        assert number(one) == 0.5
    assert number(True) == 1
    for other in (np.array([]), None, "1", [1, 2]):
        with pytest.raises(Returned, match="a reward of shape"):
            number(other)


def test_bytes_may_come_as_other_integers() -> None:
    """Where they are some; lists are arrays."""
    space = make(EnvironmentConfig("toys/Picture-v0")).observation_space
    assert observed(np.full((4, 4, 3), 255), space).max() == 255
    for wrong in (np.full((4, 4, 3), 256), np.full((4, 4, 3), -1), np.full((4, 4, 3), 0.5)):
        with pytest.raises(Returned, match="from 0 to 255"):
            observed(wrong, space)
    assert observed([0.0, 1.0], make(EnvironmentConfig("toys/Walk-v0")).observation_space).shape == (2,)


# -- without an end ---------------------------------------------------------------------------------------------------


def test_episodes_without_an_end_are_cut_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once in a run, in `evaluate` and in `record`; the advice is followed to its end."""
    folder = tmp_path / "run"
    assert main(words(folder, "Endless", {}, "--evaluation.longest", "30")) == 0
    captured = capsys.readouterr()
    first = captured.out.splitlines()[0]
    assert "toys:toys/Endless-v0 has no time limit; give one" in first
    assert "episodes of an evaluation are cut after 30 steps (--evaluation.longest)" in first
    assert captured.err.count("3 of 3 episodes were CUT after 30 steps: toys:toys/Endless-v0 has no time limit") == 1
    assert captured.err.count("CUT") == 1, "not at each evaluation"
    assert main(["evaluate", str(folder), "--episodes", "2"]) == 0
    assert "2 of 2 episodes were CUT after 30 steps" in capsys.readouterr().err
    assert main(["record", str(folder), "--episodes", "2"]) == 0
    assert "2 of 2 episodes were CUT" in capsys.readouterr().err
    recorded = np.load(folder / "demonstrations.npz")
    assert recorded["lens"].tolist() == [30, 30]
    assert not recorded["terminal"].any()
    advice = first.split("--environment.arguments '")[1].split("'")[0].replace("1000", "25")
    assert main(words(tmp_path / "other", "Endless", json.loads(advice))) == 0
    captured = capsys.readouterr()
    assert "time limit" not in captured.out + captured.err


def test_a_time_limit_is_kept_however_long(tmp_path: Path) -> None:
    """`longest` is for where there is none."""
    some = EnvironmentConfig("toys/Endless-v0", {"max_episode_steps": 40})
    (episode,) = run(some, at_random(some, 0), 1, seed=0, longest=30)
    assert len(episode.actions) == 40


def test_an_evaluation_looks_whether_to_stop() -> None:
    """Before every step."""
    some, left = EnvironmentConfig("toys/Endless-v0"), iter([False] * 5 + [True])
    with pytest.raises(Interrupted):
        run(some, at_random(some, 0), 1, seed=0, stop=lambda: next(left))
    assert next(left, None) is None


def at_work(launched: runs.Launched, folder: Path, phase: str) -> None:
    """Waits until the process evaluates after the phase: its bar is full, and no more is written."""
    for _ in range(600):
        if phase in launched.log.read_text():
            time.sleep(0.3)
            return
        time.sleep(0.05)
    raise AssertionError(launched.log.read_text()[-2000:])


@pytest.mark.slow
def test_the_first_ctrl_c_ends_an_evaluation(tmp_path: Path) -> None:
    """In the baselines, after a phase, and in `evaluate` and `record`; the run goes on with it, and ends equal."""
    short = ("--adversarial.environment_steps", "40", "--evaluation.longest", "200", "--run.checkpoint_steps", "1000")
    whole, folder = tmp_path / "whole" / "run", tmp_path / "stopped" / "run"
    runs.finish(words(whole, "Endless", {}, *short), tmp_path / "log")
    slow = words(folder, "Endless", {"wait": 0.003}, *short)  # 200 steps of 3 copies take 2 seconds
    launched = runs.Launched(slow, tmp_path / "first")
    at_work(launched, folder, "has no time limit")
    launched.send(signal.SIGINT)
    assert launched.wait() == 130
    assert f"stopped. Resume with: seqgan-kit resume {folder}" in launched.log.read_text()
    assert not (folder / "baselines.json").exists()
    launched = runs.Launched(["resume", str(folder)], tmp_path / "second")
    at_work(launched, folder, "0/1")
    time.sleep(0.7)
    launched.send(signal.SIGINT)
    assert launched.wait() == 130
    assert f"stopped and saved. Resume with: seqgan-kit resume {folder}" in launched.log.read_text()
    assert (folder / "model" / "config.json").is_file()
    assert not (folder / "metrics.jsonl").read_text()
    runs.finish(["resume", str(folder)], tmp_path / "third")
    assert runs.lines(folder) == runs.lines(whole)
    assert "eval/return_greedy" in runs.lines(folder)[-1]
    for command in (["evaluate", str(folder)], ["record", str(folder)]):
        launched = runs.Launched(command, tmp_path / command[0])
        time.sleep(3)  # until it is forked, and at work
        launched.send(signal.SIGINT)
        assert launched.wait() == 130
        assert "Traceback" not in launched.log.read_text()


# -- MuJoCo -----------------------------------------------------------------------------------------------------------


@needs_mujoco
def test_mujoco_writes_no_file_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its warnings are told, each kind once, of whatever copy and at whatever time."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        environment: Any = make(EnvironmentConfig("HalfCheetah-v5"))
        environment.reset(seed=0)
        for time_ in (0.0, 0.5):
            environment.unwrapped.data.time = time_
            environment.unwrapped.data.qvel[:] = 1e12
            environment.step(environment.action_space.sample())
    assert os.listdir(tmp_path) == []
    assert capsys.readouterr().err.count("MuJoCo: Nan, Inf or huge value in QVEL") == 1


# -- units that are told ----------------------------------------------------------------------------------------------


class Shown(NamedTuple):
    space: gym.Space[Any]
    observations: np.ndarray
    told: str


UP = np.arange(7)[:, None]
PIXELS = np.ones((7, 4, 4, 3))
SHOWN = {
    "clock": Shown(gym.spaces.Box(-1e12, 1e12, (2,)), np.hstack([UP, 1.7e9 + 500 * UP]), "observations 1 vary by less"),
    "small": Shown(gym.spaces.Box(-1, 1, (2,)), np.hstack([UP, 1e-5 * UP]), "observations 1 vary by less than 0.0001"),
    "usual": Shown(gym.spaces.Box(-9, 9, (2,)), np.hstack([UP, 0 * UP + 5]), ""),
    "codes": Shown(
        gym.spaces.Box(0, 255, (4, 4, 3), np.uint8), 8 * PIXELS, "numbers up to 8, and they are divided by 255"
    ),
    "colours": Shown(gym.spaces.Box(0, 255, (4, 4, 3), np.uint8), 200 * PIXELS, ""),
}


@pytest.mark.parametrize("case", SHOWN)
def test_units_that_get_lost_are_told(case: str) -> None:
    """Changes too small for float32 or for the normaliser, and pictures of codes, not colours."""
    space, observations, told = SHOWN[case]
    kind = np.uint8 if space.dtype == np.uint8 else np.float32
    expert = Demonstrations([Episode(observations.astype(kind), np.zeros(6, np.int64), None, False)], None, "expert")
    environment = SimpleNamespace(observation_space=space, action_space=gym.spaces.Discrete(2))
    lines = seen_in_demonstrations(ImitationConfig(), environment, expert)
    assert len(lines) == bool(told)
    assert told in "".join(lines)


@pytest.mark.parametrize(("most", "told"), [(1, "OUTSIDE of its bounds: they are not scaled"), (255, "")])
def test_pictures_outside_of_their_bounds_are_told(most: int, told: str) -> None:
    """Declared from 0 to 1, with numbers up to 200."""
    environment: Any = make(EnvironmentConfig("toys/Bytes-v0", {"floats": True, "picture": True}))
    environment.unwrapped.observation_space = gym.spaces.Box(0, most, (3, 2, 3), np.float32)
    lines = check_environment(ImitationConfig(environment=EnvironmentConfig("Bytes")), environment)
    assert len(lines) == bool(told)
    assert told in "".join(lines)


def test_a_time_limit_that_is_guessed_is_told() -> None:
    """Absorbing states last up to it."""
    some = EnvironmentConfig("toys/Walk-v0")
    absorbing = DiscriminatorConfig(absorbing=True)
    lines = check_environment(ImitationConfig(environment=some, discriminator=absorbing), make(some))
    assert "what follows an end is taken to last up to step 1000 of an episode" in lines[0]
    limited = EnvironmentConfig("toys/Walk-v0", {"max_episode_steps": 9})
    assert check_environment(ImitationConfig(environment=limited, discriminator=absorbing), make(limited)) == []
