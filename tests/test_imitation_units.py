"""The same task in other units is learnt alike: observations as bytes or floats, actions of any bounds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import toys
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.imitation.config import (
    AdversarialConfig,
    CloningConfig,
    DiscriminatorConfig,
    EvaluationConfig,
    ImitationConfig,
    PolicyConfig,
)
from seqgan_kit.imitation.demonstrations import DemonstrationConfig, transitions
from seqgan_kit.imitation.environments import EnvironmentConfig, make
from seqgan_kit.imitation.evaluation import evaluate, run
from seqgan_kit.imitation.formats import load
from seqgan_kit.imitation.improvement import PPO
from seqgan_kit.imitation.players import Game
from seqgan_kit.imitation.train import ADVERSARIAL, CLONING, train
from seqgan_kit.networks.policies.actor import Actor, picture_scale
from seqgan_kit.networks.saved import load_network

assert toys.SEEDS is not None  # it registers them
BYTES, REACH = "toys/Bytes-v0", "toys/Reach-v0"


def recorded(tmp_path: Path, environment: EnvironmentConfig, expert: Any, episodes: int = 4) -> str:
    """Demonstrations of what `expert(observations)` does."""
    found = run(environment, lambda seen, memory: (expert(seen), memory), episodes, seed=0)
    path = tmp_path / f"{abs(hash(str(environment)))}.npz"
    np.savez(
        path,
        obs=np.concatenate([episode.observations for episode in found]),
        acts=np.concatenate([episode.actions for episode in found]),
        lens=[len(episode.actions) for episode in found],
        rews=np.concatenate([episode.rewards for episode in found]),
    )
    return str(path)


def tell(seen: np.ndarray) -> np.ndarray:
    """What is right in `toys.Bytes`, as vectors or pictures."""
    return (seen.reshape(len(seen), -1)[:, 5] > 100).astype(np.int64)


def towards(low: float, high: float) -> Any:
    """The best of `toys.Reach`."""

    def act(seen: np.ndarray) -> np.ndarray:
        share = np.clip((seen[:, 1:] - seen[:, :1]) / 0.5, -1, 1)
        return ((low + high) / 2 + (high - low) / 2 * share).astype(np.float64)

    return act


def config(tmp_path: Path, environment: EnvironmentConfig, demonstrations: str, **options: Any) -> ImitationConfig:
    found = ImitationConfig(
        run=RunConfig(folder=str(tmp_path / "run"), device="cpu", threads=1, seed=3),
        environment=replace(environment, copies=4),
        demonstrations=DemonstrationConfig(path=demonstrations),
        policy=PolicyConfig(hidden=[32], steps=32, improvement=PPO(minibatch=64, epochs=2)),
        cloning=CloningConfig(steps=100, batch_size=64, warm_up=True),
        discriminator=DiscriminatorConfig(updates=2, batch_size=64),
        adversarial=AdversarialConfig(environment_steps=4 * 32 * 2),
        evaluation=EvaluationConfig(episodes=2, final=5, every=0, video=0),
    )
    return replace(found, **options)


def returns(run: Path) -> dict[str, list[float]]:
    """Greedy and sampled mean returns at the end of each phase."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = {line["phase"]: line for line in lines if "eval/return_greedy" in line}
    return {phase: [line[f"eval/return_{kind}"] for kind in ("greedy", "sampled")] for phase, line in last.items()}


# -- observations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", ["expert", "running", "none"])
@pytest.mark.parametrize("picture", [False, True], ids=["vector", "picture"])
def test_bytes_and_floats_are_the_same_numbers_to_all_networks(normalise: Any, picture: bool, tmp_path: Path) -> None:
    """Policy, value and discriminator see of bytes what they see of the same numbers as float32."""
    found = []
    for floats in (False, True):
        environment = EnvironmentConfig(BYTES, {"floats": floats, "picture": picture})
        path = recorded(tmp_path, environment, tell)
        some = config(tmp_path / str(floats), environment, path, policy=PolicyConfig([8], normalise=normalise))
        pairs = transitions(load(some.demonstrations), some.demonstrations)
        with Engine(some.run, "test") as engine:
            game = Game(engine, some, make(environment), pairs, "")
            assert pairs.observations.dtype == (torch.float32 if floats else torch.uint8)
            parts = [game.actor.reader, game.policy.valuer.reader]
            seen = [part(pairs.observations) for part in parts] + [game.features(pairs)]
        found.append(seen)
    for bytes_, floats_ in zip(*found, strict=True):
        assert bytes_.equal(floats_)
    features = found[0][2]
    if normalise != "none" and not picture:
        assert features[..., :6].std(0).amax() == pytest.approx(1, abs=0.1)
        assert features[..., :6].equal(found[0][0])
    if picture:
        assert features[..., :18].max() == pytest.approx(200 / 255)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (gym.spaces.Box(0, 255, (4, 4, 3), np.uint8), 255),
        (gym.spaces.Box(0, 255, (4, 4, 3), np.float32), 255),
        (gym.spaces.Box(0, 10, (4, 4, 3), np.uint8), 10),
        (gym.spaces.Box(-1, 1, (4, 4, 3), np.float32), 1),
        (gym.spaces.Box(0, 0.5, (4, 4, 3), np.float32), 1),
        (gym.spaces.Box(-np.inf, np.inf, (4, 4, 3), np.float32), 1),
        (gym.spaces.Box(-3, 2, (4, 4, 3), np.int64), 3),
    ],
)
def test_pictures_are_scaled_by_their_bounds(space: gym.spaces.Box, expected: float) -> None:
    """By the greatest, where it is finite and above 1."""
    assert picture_scale(space) == expected


def test_a_policy_of_bytes_and_one_of_floats_earn_the_same(tmp_path: Path) -> None:
    """All phases, to the last digit: the byte that counts is read, and the counter beside it does no harm."""
    earned = []
    for floats in (False, True):
        environment = EnvironmentConfig(BYTES, {"floats": floats})
        some = config(tmp_path / str(floats), environment, recorded(tmp_path, environment, tell))
        earned.append(returns(train(some)))
    assert earned[0] == earned[1]
    assert earned[0][CLONING][0] == 50
    assert earned[0][ADVERSARIAL][0] > 45


# -- actions ----------------------------------------------------------------------------------------------------------

BOUNDS = [(-1.0, 1.0), (-0.01, 0.01), (-1000.0, 1000.0), (500.0, 1500.0)]


@pytest.mark.parametrize("squash", [False, True], ids=["clipped", "squashed"])
def test_actions_of_any_bounds_earn_the_same(squash: bool, tmp_path: Path) -> None:
    """Cloning and game: the task with bounds of .01, of 1,000 and of 500 to 1,500 is learnt as with -1 and 1."""
    earned = []
    for low, high in BOUNDS:
        environment = EnvironmentConfig(REACH, {"low": low, "high": high})
        path = recorded(tmp_path, environment, towards(low, high))
        policy = PolicyConfig([32], steps=32, squash=squash, improvement=PPO(minibatch=64, epochs=2))
        discriminator = DiscriminatorConfig(updates=2, batch_size=64, log_prob=squash)
        some = config(tmp_path / f"{low}", environment, path, policy=policy, discriminator=discriminator)
        earned.append(returns(train(some)))
    print(earned)
    for other in earned[1:]:
        assert other[CLONING] == pytest.approx(earned[0][CLONING], abs=1e-4)
        assert other[ADVERSARIAL] == pytest.approx(earned[0][ADVERSARIAL], abs=1e-3)
    assert earned[0][CLONING][0] > -13  # random actions: about -35


def test_a_model_without_units_acts_as_it_did(tmp_path: Path) -> None:
    """One that an earlier version saved has none of the new fields: its actions are drawn in the unit of the space."""
    environment = EnvironmentConfig("Pendulum-v1")
    torch.manual_seed(0)
    with Engine(RunConfig(folder=str(tmp_path / "run"), device="cpu", threads=1), "test") as engine:
        some = ImitationConfig(environment=environment, policy=PolicyConfig([8], steps=4))
        game = Game(engine, some, make(environment), None, "")
        state = game.policy.state_dict()
        assert game.actor.actions.middle == (0.0,)
        assert game.actor.actions.half == (2.0,)
        game.load_state_dict(game.state_dict())
        assert game.actor.actions.half == (2.0,)
        game.load_state_dict(state)  # of an earlier version's checkpoint
        assert game.actor.actions.half == ()
        assert game.features.actions is game.actor.actions
        game.actor.save_pretrained(tmp_path / "model")
    again = load_network(Actor, tmp_path / "model", tmp_path)
    assert again.actions.half == ()
    mean = torch.tensor([[0.7, -1.0]])
    assert again.actions.execute(again.actions.mode(mean)).item() == pytest.approx(0.7)
    assert evaluate(environment, again, 1, seed=0)["greedy"].mean < 0
