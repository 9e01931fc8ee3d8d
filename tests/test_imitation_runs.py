"""Every option of imitation in short whole runs, which must learn what there is to learn."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

import runs
from seqgan_kit.algorithms import objectives
from seqgan_kit.engine import checkpoints
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.rewards import StepReward
from seqgan_kit.imitation.config import (
    AdversarialConfig,
    CloningConfig,
    ControlConfig,
    DiscriminatorConfig,
    EvaluationConfig,
    ImitationConfig,
    PolicyConfig,
)
from seqgan_kit.imitation.demonstrations import DemonstrationConfig
from seqgan_kit.imitation.environments import EnvironmentConfig
from seqgan_kit.imitation.evaluation import acts
from seqgan_kit.imitation.evaluation import run as episodes_of
from seqgan_kit.imitation.formats import load
from seqgan_kit.imitation.improvement import PPO, TRPO
from seqgan_kit.imitation.train import ADVERSARIAL, CLONING, FROZEN, REINFORCEMENT, train
from seqgan_kit.networks.policies.actor import Actor
from seqgan_kit.networks.policies.transition import Layout, ShapedNetwork, TransitionNetwork
from seqgan_kit.worlds.cartpole import FIXED_HORIZON

EPISODE = 5


class Match(gym.Env[np.ndarray, Any]):
    """In each of 5 steps the action should tell the sign of the first observation; the second says if the last did.

    ends: by termination, not by the time limit.
    """

    observation_space: gym.Space[np.ndarray] = gym.spaces.Box(-100, 100, (2,), np.float32)
    action_space: gym.Space[Any] = gym.spaces.Discrete(2)

    def __init__(self, ends: bool = False) -> None:
        self.ends = ends

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        return self.seen(0.5), {}

    def seen(self, right: float) -> np.ndarray:
        self.side = int(self.np_random.integers(2))
        return np.array([2 * self.side - 1, right], np.float32)

    def right(self, action: Any) -> float:
        return float(action == self.side)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        right = self.right(action)
        over = self.time == EPISODE
        return self.seen(right), right, over and self.ends, over and not self.ends, {}

    def best(self) -> Any:
        return self.side


class Several(Match):
    """Two choices at once: the side, and twice the side."""

    action_space = gym.spaces.MultiDiscrete([2, 3])

    def right(self, action: Any) -> float:
        return float(action[0] == self.side and action[1] == 2 * self.side)

    def best(self) -> Any:
        return np.array([self.side, 2 * self.side])


class Push(Match):
    """A number between -2 and 2 on the right side, the farther the better."""

    action_space = gym.spaces.Box(-2, 2, (1,), np.float32)

    def right(self, action: Any) -> float:
        assert abs(float(action[0])) <= 2
        return (1 + (2 * self.side - 1) * float(action[0]) / 2) / 2

    def best(self) -> Any:
        return np.array([3.6 * self.side - 1.8], np.float32)


class Picture(Match):
    """A picture whose bright half is the side, and whose blue says if the last action was right."""

    observation_space = gym.spaces.Box(0, 255, (12, 10, 3), np.uint8)

    def seen(self, right: float) -> np.ndarray:
        self.side = int(self.np_random.integers(2))
        picture = self.np_random.integers(0, 60, (12, 10, 3), np.uint8)
        picture[:, 5 * self.side : 5 * self.side + 5, :2] += 180
        picture[..., 2] = int(255 * right)
        return picture


class Recall(Match):
    """The side is seen at the first step alone, and is asked for at the last; what followed shows both."""

    def __init__(self) -> None:
        super().__init__(ends=True)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        gym.Env.reset(self, seed=seed)
        self.time, self.side = 0, int(self.np_random.integers(2))
        return self.shown(2 * self.side - 1, 0), {}

    def shown(self, side: float, right: float) -> np.ndarray:
        return np.array([side, self.time == EPISODE - 1, right], np.float32)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        over = self.time == EPISODE
        right = float(over and action == self.side)
        return self.shown(2 * self.side - 1 if over else 0, 2 * right - 1 if over else 0), right, over, False, {}

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)


for made in (Match, Several, Push, Picture, Recall):
    gym.register(f"runs/{made.__name__}-v0", entry_point=made, disable_env_checker=True)


FAST = PPO(minibatch=128, epochs=4, optimizer=OptimizerConfig(lr=3e-3, clip=0.5))
BOLD = TRPO(divergence=0.05, minibatch=128)
COPIES, STEPS = 8, 64
ROUND = COPIES * STEPS
POLICY = {"steps": STEPS, "hidden": [32], "discount": 0.9, "decay": 0.9, "improvement": FAST}
CRITIC = {"batch_size": 64, "optimizer": OptimizerConfig(lr=3e-3, clip=0.0), "penalty": 1.0}
AIRL = {
    "network": ShapedNetwork,
    "objective": objectives.airl,
    "inputs": ["state", "action", "next_state", "ended"],
    "log_prob": True,
}
CLONED = CloningConfig(steps=150, batch_size=16, optimizer=OptimizerConfig(lr=1e-2))


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing it takes as long as some of these runs."""
    monkeypatch.setattr("seqgan_kit.engine.run.write_report", lambda run: run)


def demonstrate(path: Path, name: str, episodes: int = 20, **arguments: Any) -> DemonstrationConfig:
    """The best actions, in a file that holds the least that is needed."""
    environment: Any = gym.make(f"runs/{name}-v0", disable_env_checker=True, **arguments)
    obs, chosen, lens, terminal = [], [], [], []
    for seed in range(1000, 1000 + episodes):
        obs.append(environment.reset(seed=seed)[0])
        for step in itertools.count(1):
            chosen.append(environment.unwrapped.best())
            observation, _, terminated, truncated, _ = environment.step(chosen[-1])
            obs.append(observation)
            if terminated or truncated:
                lens.append(step)
                terminal.append(terminated)
                break
    np.savez(path, obs=np.stack(obs), acts=np.stack(chosen), lens=lens, terminal=terminal)
    return DemonstrationConfig(path=str(path))


def imitate(folder: Path, name: str = "Match", rounds: int = 15, **parts: Any) -> Path:
    """A whole run on one of these environments, without cloning unless it is asked for; parts: other options."""
    arguments = parts.pop("arguments", {})
    options: dict[str, Any] = {
        "run": RunConfig(**{"folder": str(folder), "device": "cpu", "log_every": 1, **parts.pop("run", {})}),
        "policy": PolicyConfig(**{**POLICY, **parts.pop("policy", {})}),
        "discriminator": DiscriminatorConfig(**{**CRITIC, **parts.pop("discriminator", {})}),
        "adversarial": AdversarialConfig(rounds * ROUND, **parts.pop("adversarial", {})),
        "cloning": CloningConfig(steps=0),
        "evaluation": EvaluationConfig(episodes=2, final=40, every=0, video=0),
        **parts,
    }
    if options.get("reward") != "environment":
        options["demonstrations"] = demonstrate(folder.with_suffix(".npz"), name, **arguments)
    return train(ImitationConfig(environment=EnvironmentConfig(f"runs/{name}-v0", arguments, COPIES), **options))


def of(run: Path, phase: str = ADVERSARIAL) -> list[dict[str, float]]:
    """The lines of a phase."""
    return [line for line in runs.lines(run) if line["phase"] == phase]


def earned(run: Path, phase: str = ADVERSARIAL, kind: str = "sampled") -> float:
    """The mean return at the end of a phase."""
    return of(run, phase)[-1][f"eval/return_{kind}"]


def networks(run: Path) -> dict[str, dict[str, Tensor]]:
    return checkpoints.read(checkpoints.all_in(run / "checkpoints")[-1], "shared")["networks"]


def kept(run: Path) -> dict[str, Any]:
    return checkpoints.read(checkpoints.all_in(run / "checkpoints")[-1], "process-0")["kept"]


def moved(run: Path, name: str) -> set[str]:
    """The weights of a network that are not as they began; where no control was trained, it holds them."""
    now, before = (networks(run)[part] for part in (name, f"frozen_{name}"))
    assert now.keys() == before.keys()
    return {key for key in now if not now[key].equal(before[key])}


# -- every option learns ----------------------------------------------------------------------------------------------

BOUNDED = {"ends": True, "max_episode_steps": 2 * EPISODE}
SLOW = (
    "GRU",
    "none",
    "no penalty",
    "PPO in parts",
    "PPO, entropy",
    "relu",
    "squash, TRPO",
    "GRU, TRPO",
    "AIRL, absorbing",
    "states, next states",
    "bf16, TRPO",
)
VARIANTS: dict[str, dict[str, Any]] = {
    "PPO": {},
    "PPO in parts": {"policy": {"improvement": replace(FAST, optimizer=replace(FAST.optimizer, accumulate=2))}},
    "PPO, entropy": {"policy": {"improvement": replace(FAST, entropy=0.01)}},
    "TRPO": {"policy": {"improvement": BOLD}},
    "MultiDiscrete": {"name": "Several"},
    "clip": {"name": "Push", "policy": {"log_std": 0.0}, "bound": 3.5},
    "squash": {"name": "Push", "policy": {"squash": True}, "bound": 3.5},
    "squash, TRPO": {"name": "Push", "policy": {"squash": True, "improvement": BOLD}, "bound": 3.5},
    "GRU": {"policy": {"recurrent": 8}},
    "GRU, TRPO": {"policy": {"recurrent": 8, "improvement": BOLD}},
    "pictures": {"name": "Picture", "rounds": 8},
    "running": {"policy": {"normalise": "running"}, "bound": 3.0},
    "none": {"policy": {"normalise": "none"}},
    "relu": {"policy": {"activation": "relu"}},
    "AIRL": {"discriminator": AIRL, "arguments": {"ends": True}},
    "AIRL, absorbing": {"discriminator": {**AIRL, "absorbing": True}, "arguments": BOUNDED},
    "absorbing": {"discriminator": {"absorbing": True}, "arguments": BOUNDED},
    "non-saturating": {"discriminator": {"objective": objectives.non_saturating}},
    "Wasserstein": {"discriminator": {"objective": objectives.wasserstein, "entropy": 0.0}},
    "states": {"discriminator": {"inputs": ["state"]}},
    "states, next states": {"discriminator": {"inputs": ["state", "next_state"]}},
    "spectral norm": {"discriminator": {"network": partial(TransitionNetwork, spectral_norm=True), "penalty": 0.0}},
    "no penalty": {"discriminator": {"penalty": 0.0, "updates": 1, "batch_size": None}},
    "replay": {"discriminator": {"replay": 3}},
    "environment": {"reward": "environment"},
    "bf16": {"run": {"precision": "bf16"}},
    "bf16, TRPO": {"run": {"precision": "bf16"}, "policy": {"improvement": BOLD}},
}


@pytest.mark.learns
@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in VARIANTS]
)
def test_every_option_learns(variant: str, tmp_path: Path) -> None:
    """From chance, 2.5 of 5 (1 with several choices), to 4 (3.5 of what is continuous), in 7680 steps at most.

    All weights of both players move, the saved policy is the run's, and rewards have the sign of the objective.
    """
    parts = dict(VARIANTS[variant])
    bound = parts.pop("bound", 4.0)
    run = imitate(tmp_path / "run", **parts)
    phase = REINFORCEMENT if variant == "environment" else ADVERSARIAL
    assert of(run, phase)[0]["return"] < 3
    assert earned(run, phase) >= bound
    assert earned(run, phase, "greedy") >= bound

    def weights(name: str) -> set[str]:
        return {key for key in networks(run)[name] if ".normaliser." not in key and not key.endswith(("._u", "._v"))}

    policy = {"policy", "value"} if "value" in networks(run) else {"policy"}
    assert all(moved(run, name) >= weights(name) for name in policy)
    rewards = [line["reward"] for line in of(run, phase)]
    if phase == REINFORCEMENT:
        assert moved(run, "discriminator") == set()
        assert rewards == pytest.approx([line["return"] / EPISODE for line in of(run, phase)], abs=0.1)
        return
    free = {"body.output.bias"} if variant == "Wasserstein" else set()  # it cancels in the loss
    assert moved(run, "discriminator") >= weights("discriminator") - free
    assert all(np.isfinite([line["discriminator_loss"] for line in of(run)]))
    if variant == "non-saturating":
        assert max(rewards) < 0
    elif "AIRL" not in variant and variant != "Wasserstein":
        assert min(rewards) > 0
    if variant == "AIRL":
        assert min(rewards) < 0 < max(rewards)
    saved = Actor.from_pretrained(run / "model").state_dict()
    trained = {key.removeprefix("actor."): tensor for key, tensor in networks(run)["policy"].items()}
    assert all(tensor.equal(trained[name]) for name, tensor in saved.items())


# -- what single options do -------------------------------------------------------------------------------------------


def test_actions_are_clipped_or_squashed(tmp_path: Path) -> None:
    """Drawn far beyond the bounds they are executed on them; squashed ones come near. The environment checks too."""
    for squash in (False, True):
        run = imitate(tmp_path / f"{squash}", "Push", 1, policy={"squash": squash, "log_std": 0.6})
        torch.manual_seed(0)
        network = Actor.from_pretrained(run / "model")
        found = episodes_of(EnvironmentConfig("runs/Push-v0"), acts(network, greedy=False), 20, 0)
        executed = np.abs(np.concatenate([episode.actions for episode in found]))
        assert 0.2 < (executed > 1.9).mean() < 0.7
        assert (executed == 2).any() != squash
        assert executed.max() <= 2


def test_normalisers_see_what_they_should(tmp_path: Path) -> None:
    """`expert`: the demonstrated steps alone. `running`: every step since, too. `none`: there is no normaliser."""
    found = {kind: imitate(tmp_path / kind, rounds=3, policy={"normalise": kind}) for kind in ("expert", "running")}
    demonstrated = np.concatenate(
        [episode.observations[:-1] for episode in load(DemonstrationConfig(path=str(tmp_path / "expert.npz"))).episodes]
    )
    expert, running = (networks(found[kind])["policy"] for kind in ("expert", "running"))
    name = "actor.reader.normaliser."
    assert expert[f"{name}count"] == len(demonstrated) == 20 * EPISODE
    np.testing.assert_allclose(expert[f"{name}mean"], demonstrated.mean(0), atol=1e-6)
    np.testing.assert_allclose(expert[f"{name}variance"], demonstrated.var(0), atol=1e-6)
    assert running[f"{name}count"] == len(demonstrated) + 3 * ROUND
    assert running[f"{name}mean"][1] < expert[f"{name}mean"][1], "that an action was right is rarer among the policy's"
    run = imitate(tmp_path / "none", rounds=1, policy={"normalise": "none"})
    assert not any("normaliser" in key for key in networks(run)["policy"])
    network = Actor.from_pretrained(run / "model")
    near, far = (network.step(torch.tensor([[value, 0.0]]), network.start(1))[0] for value in (20.0, 40.0))
    assert not near.equal(far), "nothing is clamped"
    run = imitate(tmp_path / "reward", rounds=2, reward="environment")
    assert networks(run)["policy"][f"{name}count"] == 2 * ROUND, "without demonstrations by what the policy sees"


def test_cloning_and_its_warm_start(tmp_path: Path) -> None:
    """Likelihood and return rise; the adversarial phase then begins where cloning ended, or anew without warm_up."""
    for warm in (False, True):
        run = imitate(tmp_path / f"{warm}", rounds=2, cloning=replace(CLONED, warm_up=warm))
        nll = [line["nll"] for line in of(run, CLONING)]
        assert nll[0] == pytest.approx(np.log(2), abs=0.05)
        assert nll[-1] < 0.1
        assert earned(run, CLONING) > 4.7
        assert (of(run)[0]["return"] > 4.5) == warm


def test_the_control_has_a_discriminator_as_it_began(tmp_path: Path) -> None:
    """It plays as many rounds with policy, value and discriminator that start as those of the game did."""
    plain = imitate(tmp_path / "plain", rounds=2)
    run = imitate(tmp_path / "run", rounds=2, control=ControlConfig(frozen=True))
    assert len(of(run, FROZEN)) == len(of(run)) == 2
    assert all(tensor.equal(networks(plain)["policy"][key]) for key, tensor in networks(run)["policy"].items())
    start, end = networks(plain), networks(run)
    frozen = "frozen_discriminator"
    assert all(tensor.equal(end[frozen][key]) for key, tensor in start[frozen].items())
    assert not all(tensor.equal(end["frozen_policy"][key]) for key, tensor in start["frozen_policy"].items())
    assert "discriminator_loss" in of(run)[0]
    assert "discriminator_loss" not in of(run, FROZEN)[0]


def test_spectral_norm_bounds_every_layer(tmp_path: Path) -> None:
    """After the run, no layer stretches anything by more than 1."""
    build = partial(TransitionNetwork, spectral_norm=True)
    run = imitate(tmp_path / "run", rounds=4, discriminator={"network": build, "penalty": 0.0})
    network = build(Layout(slice(0, 2), slice(2, 4), slice(4, 4), slice(4, 4), 4)).eval()
    network.load_state_dict(networks(run)["discriminator"])
    largest = [
        torch.linalg.matrix_norm(layer.weight, 2).item() for layer in network.modules() if hasattr(layer, "bias")
    ]
    assert len(largest) == 3
    assert all(0.9 < value < 1.1 for value in largest)


def test_entropy_keeps_the_discriminator_from_certainty(tmp_path: Path) -> None:
    """At a weight of 5 its loss stays near 2 log 2 - 5 log 2, where every verdict is an even chance."""
    run = imitate(tmp_path / "run", rounds=3, discriminator={"entropy": 5.0, "penalty": 0.0})
    assert of(run)[-1]["discriminator_loss"] == pytest.approx(-3 * np.log(2), abs=0.05)
    run = imitate(tmp_path / "sure", rounds=3, discriminator={"entropy": 0.0, "penalty": 0.0})
    assert 0 < of(run)[-1]["discriminator_loss"] < 1.3


@pytest.mark.learns
@pytest.mark.slow
def test_causal_entropy_keeps_the_policy_undecided(tmp_path: Path) -> None:
    """With a large weight in the reward, of PPO and of TRPO, its entropy ends higher."""
    for kind in (FAST, BOLD):
        ends = [
            of(
                imitate(
                    tmp_path / f"{type(kind).__name__}{weight}",
                    policy={"improvement": replace(kind, causal_entropy=weight)},
                )
            )[-1]
            for weight in (0.0, 1.0)
        ]
        assert ends[0]["entropy"] < 0.15 < 0.4 < ends[1]["entropy"]


def wrong(observations: np.ndarray, actions: np.ndarray, next_observations: np.ndarray, **columns: Any) -> np.ndarray:
    assert {"rewards", "terminated"} <= columns.keys()
    return 1 - next_observations[:, 1]


@pytest.mark.learns
def test_own_rewards_are_followed(tmp_path: Path) -> None:
    """Alone, or with so much weight that it outdoes the discriminator's, one that pays for mistakes is learnt."""
    alone = {"rewards": [StepReward(wrong)], "discriminator_weight": 0.0}
    assert earned(imitate(tmp_path / "alone", adversarial=alone)) < 0.8
    assert earned(imitate(tmp_path / "both", adversarial={"rewards": [StepReward(wrong, 20.0)]})) < 0.8
    run = imitate(tmp_path / "less", adversarial={"rewards": [StepReward(wrong, -1.0)], "discriminator_weight": 0.5})
    assert earned(run) > 4.2


def test_pictures_stay_bytes_and_move_the_convolutions(tmp_path: Path) -> None:
    """Those of policy, value and discriminator, which see the same pictures through networks of their own."""
    run = imitate(tmp_path / "run", "Picture", rounds=2)
    state = kept(run)
    assert state["policy"]["environments"]["observations"].dtype == torch.uint8
    assert state["policy"]["environments"]["observations"].shape == (COPIES, 12, 10, 3)
    for name, readers in (("policy", ("actor", "valuer")), ("discriminator", ("body",))):
        for reader in readers:
            layers = {key for key in moved(run, name) if key.startswith(reader) and "convolutions.0.weight" in key}
            assert len(layers) == 1


def test_replay_and_memory_are_kept(tmp_path: Path) -> None:
    """Of three rollouts that a discriminator learns from, a checkpoint holds two; and what the policy remembers."""
    run = imitate(tmp_path / "run", rounds=4, policy={"recurrent": 5}, discriminator={"replay": 3})
    old = kept(run)["replay"]["kept"]
    assert [sample["observations"].shape for sample in old] == [(ROUND, 1, 2)] * 2
    assert not old[0]["actions"].equal(old[1]["actions"])
    assert kept(run)["policy"]["memory"].shape == (COPIES, 5)
    assert kept(run)["policy"]["memory"].abs().max() > 0
    assert kept(imitate(tmp_path / "plain", rounds=2))["replay"]["kept"] == []


def test_copies_or_the_vectorised_form(tmp_path: Path) -> None:
    """CartPole's own vectorised form is used unless it is refused; both give returns that are lengths."""
    for vectorised in (True, False, None):
        run = train(
            ImitationConfig(
                run=RunConfig(folder=str(tmp_path / f"{vectorised}"), device="cpu", log_every=1),
                environment=EnvironmentConfig("CartPole-v1", copies=4, vectorised=vectorised),
                policy=PolicyConfig(steps=80, hidden=[8]),
                cloning=CloningConfig(steps=0),
                adversarial=AdversarialConfig(3 * 320),
                evaluation=EvaluationConfig(episodes=1, final=2, every=0, video=0),
            )
        )
        state = kept(run)["policy"]["environments"]
        assert ("seeds" in state) == (vectorised is False)
        assert ("resets" in state) == (vectorised is not False)
        for line in of(run):
            assert 9 <= line["return"] <= 80
            assert line["return"] == pytest.approx(line["episode_length"])


# -- what takes memory, and what takes longer -------------------------------------------------------------------------


@pytest.mark.learns
def test_cloning_whole_trajectories_teaches_to_remember(tmp_path: Path) -> None:
    """A recurrent policy recalls what it saw four steps before; one without memory stays at chance."""
    remembers, forgets = (
        imitate(tmp_path / f"{width}", "Recall", rounds=1, cloning=CLONED, policy={"recurrent": width})
        for width in (8, 0)
    )
    assert earned(remembers, CLONING, "greedy") == 1
    assert earned(remembers, CLONING) > 0.95
    assert earned(forgets, CLONING, "greedy") < 0.7
    assert earned(forgets, CLONING) < 0.7


@pytest.mark.learns
@pytest.mark.slow
def test_a_recurrent_policy_learns_to_remember(tmp_path: Path) -> None:
    """The same in the game alone, where the discriminator sees what an action has led to."""
    sees = {"inputs": ["state", "action", "next_state"]}
    remembers, forgets = (
        imitate(
            tmp_path / f"{width}",
            "Recall",
            rounds=25,
            policy={"recurrent": width, "discount": 0.95, "decay": 0.95},
            discriminator=sees,
        )
        for width in (8, 0)
    )
    assert earned(remembers) > 0.9
    assert earned(forgets) < 0.7


SHORT: dict[str, Any] = {"hidden": [64, 64], "discount": 0.99, "decay": 0.95}
QUICK = PPO(minibatch=256, epochs=8, optimizer=OptimizerConfig(lr=1e-3, clip=0.5))


@pytest.mark.learns
def test_an_expert_for_cartpole(tmp_path: Path) -> None:
    """By the environment's own reward: at least 400 of 500 after 30,720 steps."""
    run = train(
        ImitationConfig(
            run=RunConfig(folder=str(tmp_path / "run"), device="cpu", log_every=1),
            reward="environment",
            policy=PolicyConfig(steps=128, improvement=QUICK, **SHORT),
            adversarial=AdversarialConfig(30 * 1024),
            evaluation=EvaluationConfig(episodes=1, final=10, every=0, video=0),
        )
    )
    assert of(run, REINFORCEMENT)[0]["return"] < 60
    assert earned(run, REINFORCEMENT) >= 400
    assert earned(run, REINFORCEMENT, "greedy") >= 400


@pytest.mark.learns
@pytest.mark.slow
def test_gail_learns_to_balance_where_no_reward_is_for_longer_episodes(tmp_path: Path) -> None:
    """CartPole of 200 steps whatever happens, from the built-in expert: 180 or more after 61,440 steps.

    Seeds 0 to 7 all ended at 200, their controls, whose discriminator never learns, below 25.
    """
    run = train(
        ImitationConfig(
            run=RunConfig(folder=str(tmp_path / "run"), device="cpu"),
            environment=EnvironmentConfig(FIXED_HORIZON, {"max_episode_steps": 200}),
            policy=PolicyConfig(steps=256, improvement=QUICK, normalise="expert", **SHORT),
            cloning=CloningConfig(steps=0),
            discriminator=DiscriminatorConfig(updates=20, optimizer=OptimizerConfig(lr=2e-3, clip=0.0), penalty=10.0),
            adversarial=AdversarialConfig(30 * 2048),
            control=ControlConfig(frozen=True),
            evaluation=EvaluationConfig(episodes=1, final=10, every=0, video=0),
        )
    )
    for kind in ("greedy", "sampled"):
        assert earned(run, ADVERSARIAL, kind) >= 180
        assert earned(run, FROZEN, kind) < 80


# -- own parts --------------------------------------------------------------------------------------------------------

OWN_ENVIRONMENT = '''
import gymnasium, numpy

class Walk(gymnasium.Env):
    """From 0 to the right, past 1; a step costs 1."""
    observation_space = gymnasium.spaces.Box(-2, 2, (1,), numpy.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-0.1, 0.1)
        return numpy.float32([self.place]), {}

    def step(self, action):
        self.place += 0.1 if action else -0.1
        return numpy.float32([self.place]), -1.0, bool(self.place > 1), False, {}

gymnasium.register("My-v0", Walk, max_episode_steps=50)
'''
OWN_PARTS = """
import torch

def to_the_right(observations, actions, next_observations, **columns):
    assert columns.keys() == {"terminated", "rewards"} and len(columns["rewards"]) == len(actions)
    return 100 * (next_observations - observations)[:, 0]

class MyNetwork(torch.nn.Module):
    def __init__(self, layout):
        super().__init__()
        assert (layout.state, layout.action) == (slice(0, 1), slice(1, 3))
        self.layer = torch.nn.Linear(layout.size, 1)

    def forward(self, features):
        return self.layer(features).squeeze(-1)
"""


@pytest.mark.slow
def test_own_environment_reward_and_network_by_name(tmp_path: Path) -> None:
    """Modules in the current folder, given on the command line: the policy learns what the own reward pays for.

    The discriminator is of the own class, and a resumed run finds all of it again.
    """
    (tmp_path / "my_env.py").write_text(OWN_ENVIRONMENT)
    (tmp_path / "my_parts.py").write_text(OWN_PARTS)
    path = np.arange(12, dtype=np.float32)[:, None] / 10
    np.savez(tmp_path / "walk.npz", obs=np.concatenate([path, path - 0.05]), acts=np.ones(22, int), lens=[11, 11])

    def command(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "seqgan_kit.cli", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(runs.ROOT), "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    told = command(
        *("train", "imitation", "--run.folder", "run", "--run.log_every", "1"),
        *("--environment.id", "my_env:My-v0", "--demonstrations.path", "walk.npz"),
        *("--adversarial.rewards", '[{"function": "my_parts.to_the_right", "weight": 0.5}]'),
        *("--discriminator.network", "my_parts.MyNetwork", "--adversarial.environment_steps", "4800"),
        *("--discriminator.objective", "seqgan_kit.algorithms.objectives.non_saturating"),
        *("--policy.steps", "50", "--policy.hidden", "[16]", "--cloning.steps", "20"),
        *("--policy.improvement.optimizer.lr", "0.01", "--policy.improvement.minibatch", "100"),
        *("--evaluation.episodes", "2", "--evaluation.final", "5", "--evaluation.video", "0"),
    )
    assert "walk.npz: 2 episodes read, 2 used\n22 steps; episodes of 11 to 11 steps, 0 ended by the task, 2 cut" in told
    assert "behaviour cloning" in told
    run = tmp_path / "run"
    assert {key: tuple(value.shape) for key, value in networks(run)["discriminator"].items()} == {
        "layer.weight": (1, 3),
        "layer.bias": (1,),
    }
    assert moved(run, "discriminator") == {"layer.weight", "layer.bias"}
    assert of(run)[-1]["reward"] > of(run)[0]["reward"] + 1, "of a step, of 5 at most for going right"
    assert earned(run, ADVERSARIAL, "greedy") > -13
    command("resume", "run", "--adversarial.environment_steps", "5200")
    assert [line["step"] for line in of(run)] == list(range(1, 14))
