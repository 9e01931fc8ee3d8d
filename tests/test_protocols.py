"""Players that the library does not know, an environment's policy and a picture generator, in the loop as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators, objectives
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, Metrics, OptimizerConfig
from seqgan_kit.engine.stream import Stream
from seqgan_kit.game.players import Discriminator, Estimator, Score
from seqgan_kit.game.trainer import Turns, play
from seqgan_kit.samples import Images, Transitions, rows, size
from seqgan_kit.tokens import sampling

CELLS, STEPS, LIMIT = 7, 16, 10


class Corridor(gym.Env):
    """From the middle of a corridor to its right end (action 1) for a reward of 1, or until the time limit."""

    observation_space = gym.spaces.Box(0, 1, (CELLS,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.cell, self.steps = CELLS // 2, 0
        return self._seen(), {}

    def step(self, action: int) -> tuple[np.ndarray, np.float32, bool, bool, dict[str, Any]]:
        self.cell = max(0, self.cell + (1 if action else -1))
        self.steps += 1
        there = self.cell == CELLS - 1
        return self._seen(), np.float32(there), there, not there and self.steps == LIMIT, {}

    def _seen(self) -> np.ndarray:
        return np.eye(CELLS, dtype=np.float32)[self.cell]


class ActorCritic(nn.Module):
    """Observations -> logits of the actions, (..., 2), and the value, (...)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(CELLS, 16), nn.Tanh())
        self.action, self.value = nn.Linear(16, 2), nn.Linear(16, 1)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(observations)
        return self.action(features), self.value(features).squeeze(-1)


@torch.no_grad()
def walk(network: ActorCritic | None, count: int) -> Transitions:
    """`count` rows of STEPS steps, one episode after another; without a network always to the right."""
    envs = [Corridor() for _ in range(count)]
    observations = [env.reset(seed=int(torch.randint(2**31, ())))[0] for env in envs]
    steps: list[list[Any]] = []
    for _ in range(STEPS):
        actions = torch.ones(count, dtype=torch.int64)
        if network is not None:
            actions = sampling.draw(network(torch.from_numpy(np.array(observations)))[0])
        found = [env.step(int(action)) for env, action in zip(envs, actions, strict=True)]
        following, rewards, terminated, truncated, _ = (np.array(column) for column in zip(*found, strict=True))
        ended = terminated | truncated
        steps.append([np.array(observations), actions, following, rewards, terminated, ended, np.ones(count, bool)])
        observations = [
            env.reset()[0] if over else seen for env, over, seen in zip(envs, ended, following, strict=True)
        ]
    return Transitions(*(torch.from_numpy(np.stack(column, axis=1)) for column in zip(*steps, strict=True)))


@dataclass
class EnvironmentPolicy:
    """GAIL's generator: each step earns log D(state, action), and GAE says what an action was worth."""

    engine: Engine
    learner: Learner
    batch_size: int
    estimator: Estimator
    passes: int

    def sample(self, real: Transitions) -> Transitions:
        return walk(self.learner.network, size(real))  # type: ignore[arg-type]

    def update(self, real: Transitions, fake: Transitions, score: Score[Transitions]) -> Metrics:
        with torch.no_grad():
            logits, values = self.learner.network(fake.observations)
            _, next_values = self.learner.network(fake.next_observations)
            old = self._log_probs(logits, fake)
            reward = objectives.non_saturating().reward(score(fake))
            gae = credits.gae(reward, values, next_values, fake.terminated, fake.ended, discount=0.9, decay=0.9)
            target, credit = gae + values, credits.whiten(gae, fake.mask)

        def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            logits, values = self.learner.module(fake.observations[part])
            log_probs = self._log_probs(logits, rows(fake, part))
            value = self.estimator(log_probs, old[part], credit[part], fake.mask[part])
            return value + (values - target[part]).square().sum() / len(values), {}

        for _ in range(self.passes):
            metrics = self.engine.update(self.learner, loss, size(fake))
        return {**metrics, "return": fake.rewards.sum(1).mean().item()}

    @staticmethod
    def _log_probs(logits: Tensor, sample: Transitions) -> Tensor:
        return logits.log_softmax(-1).gather(-1, sample.actions.unsqueeze(-1)).squeeze(-1)


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 32), nn.LeakyReLU(0.2), nn.Linear(32, outputs))


def score_steps(module: nn.Module, sample: Transitions) -> Tensor:
    """Of each (state, action): (batch, time)."""
    return module(torch.cat([sample.observations, F.one_hot(sample.actions, 2)], dim=-1)).squeeze(-1)


@pytest.mark.learns
@pytest.mark.parametrize("kind", ["reinforce", "ppo"])
def test_a_policy_imitates_an_expert(kind: str, engine: Engine) -> None:
    """GAIL in a corridor: the environment's return, which the policy never sees, rises to 9/10 of the expert's."""
    torch.manual_seed(0)
    network, expert = ActorCritic(), walk(None, 32)
    policy = EnvironmentPolicy(
        engine,
        engine.learner("policy", network, OptimizerConfig(lr=0.01)),
        batch_size=16,
        estimator=estimators.ppo if kind == "ppo" else estimators.reinforce,
        passes=3 if kind == "ppo" else 1,
    )
    discriminator = Discriminator(
        engine,
        engine.learner("discriminator", mlp(CELLS + 2, 1), OptimizerConfig(lr=0.003)),
        batch_size=16,
        objective=objectives.non_saturating(),
        call=score_steps,
    )
    engine.restore()

    def earned() -> float:
        return walk(network, 100).rewards.sum(1).mean().item()

    best = expert.rewards.sum(1).mean().item()
    assert earned() < best / 2
    play(engine, "game", 60, policy, discriminator, Stream(expert, seed=0))
    assert earned() > 0.9 * best


NOISE, COLOURS = 4, torch.tensor([[0.7, -0.5, 0.0], [-0.6, 0.2, 0.5]])


def pictures(labels: Tensor) -> Images:
    """2 x 2 pixels of the label's colour, each a little off."""
    pixels = COLOURS[labels].view(-1, 3, 1, 1) + 0.1 * torch.randn(len(labels), 3, 2, 2)
    return Images(pixels, F.one_hot(labels, 2).float())


class Painter(nn.Module):
    """Noise and condition -> pixels (batch, 3, 2, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = mlp(NOISE + 2, 12)

    def forward(self, noise: Tensor, condition: Tensor) -> Tensor:
        return self.layers(torch.cat([noise, condition], dim=1)).tanh().view(-1, 3, 2, 2)


@dataclass
class DifferentiableGenerator:
    """A generator without credit or estimator: the loss is minus the reward, through the discriminator."""

    engine: Engine
    learner: Learner
    batch_size: int

    def sample(self, real: Images) -> Images:
        # with its graph, through the prepared module, so that `update` can differentiate what was sampled
        noise = torch.randn(size(real), NOISE)
        return Images(self.learner.module(noise, real.condition), real.condition)

    def update(self, real: Images, fake: Images, score: Score[Images]) -> Metrics:
        reward = objectives.non_saturating().reward

        def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            return -reward(score(rows(fake, part))).mean(), {}

        return self.engine.update(self.learner, loss, size(fake))


@pytest.mark.learns
def test_a_picture_generator_learns_colours(engine: Engine) -> None:
    """Under each label, the mean colour comes to the data's, from far away, and pictures still differ."""
    torch.manual_seed(0)
    labels = torch.arange(400) % 2
    painter = DifferentiableGenerator(
        engine, engine.learner("painter", Painter(), OptimizerConfig(lr=0.003, betas=(0.5, 0.9))), batch_size=64
    )
    discriminator = Discriminator(
        engine,
        engine.learner("discriminator", mlp(14, 1), OptimizerConfig(lr=0.003, betas=(0.5, 0.9))),
        batch_size=64,
        objective=objectives.non_saturating(),
        call=lambda module, sample: module(torch.cat([sample.pixels.flatten(1), sample.condition], dim=1)).squeeze(1),
    )
    data = pictures(labels)
    engine.restore()

    @torch.no_grad()
    def error() -> float:
        pixels = painter.sample(data).pixels.mean((2, 3))
        found = torch.stack([pixels[labels == label].mean(0) for label in (0, 1)])
        return (found - COLOURS).abs().max().item()

    before = error()
    play(engine, "game", 300, painter, discriminator, Stream(data, seed=0), Turns(generator=1, discriminator=1))
    assert error() < before / 3
    assert painter.sample(data).pixels[labels == 0].std(0).mean() > 0.01


def test_no_gradient_reaches_the_other_player(engine: Engine) -> None:
    """After a pathwise update through the discriminator's score, its parameters hold no gradient and are as before."""
    torch.manual_seed(0)
    data = pictures(torch.arange(8) % 2)
    painter = DifferentiableGenerator(engine, engine.learner("painter", Painter(), OptimizerConfig()), batch_size=8)
    critic = mlp(14, 1)
    discriminator = Discriminator(
        engine,
        engine.learner("discriminator", critic, OptimizerConfig()),
        batch_size=8,
        objective=objectives.non_saturating(),
        call=lambda module, sample: module(torch.cat([sample.pixels.flatten(1), sample.condition], dim=1)).squeeze(1),
    )
    before = [parameter.clone() for parameter in critic.parameters()]
    painted = [parameter.clone() for parameter in painter.learner.network.parameters()]
    painter.update(data, painter.sample(data), discriminator.score)
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert all(map(torch.equal, critic.parameters(), before))
    assert not any(map(torch.equal, painter.learner.network.parameters(), painted))
    painted = [parameter.clone() for parameter in painter.learner.network.parameters()]
    discriminator.update(data, painter.sample(data))
    assert all(map(torch.equal, painter.learner.network.parameters(), painted))
    assert not any(map(torch.equal, critic.parameters(), before))
