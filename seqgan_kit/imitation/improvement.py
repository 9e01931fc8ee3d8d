"""How a policy improves on what it did: PPO's clipped steps, or TRPO's natural gradient within a trust region."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators, trust_region
from seqgan_kit.bounds import Count, NotNegative, Positive, PositiveShare, Share, Whole
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, Metrics, OptimizerConfig, slices
from seqgan_kit.errors import Stopped
from seqgan_kit.networks.policies.actor import Actor, ActorCritic, Valuer
from seqgan_kit.samples import sent

PATIENCE = 10.0  # seconds that an update goes on after Ctrl-C; of large pictures it may take minutes


@dataclass(frozen=True)
class Experience:
    """What a policy did and what it was worth. A row is one step, or, for a recurrent policy, a copy's steps.

    observations, memories, drawn: as in `samples.Rollout`, whose memory is (batch, time, dim), before each step.
    ended, mask: (batch, time) bool. parameters: (batch, time, size), of the distribution that the actions were drawn
    from. log_probs: (batch, time), theirs. advantages: (batch, time), whitened. targets: (batch, time), what a
    normalised value should be.
    """

    observations: Tensor
    memories: Tensor
    drawn: Tensor
    ended: Tensor
    mask: Tensor
    parameters: Tensor
    log_probs: Tensor
    advantages: Tensor
    targets: Tensor

    @property
    def memory(self) -> Tensor:
        """(batch, dim), before the first step of each row."""
        return self.memories[:, 0]

    def rows(self, index: Tensor | slice) -> Experience:
        return Experience(**{name: tensor[index] for name, tensor in vars(self).items()})


class Improvement(ABC):
    """The slot: PPO or TRPO, with its options."""

    causal_entropy: float
    """Weight of -log pi in the reward (Ho and Ermon 2016, eq. 15)."""

    @abstractmethod
    def learner(self, engine: Engine, prefix: str, actor: Actor, valuer: Valuer) -> Learner:
        """Registers what is trained, under names that begin with the prefix; what `__call__` steps the optimiser of."""

    @abstractmethod
    def __call__(
        self, engine: Engine, learner: Learner, actor: Actor, valuer: Valuer, experience: Experience
    ) -> Metrics:
        """Improves the policy and the value once, from one rollout."""


@dataclass(frozen=True)
class PPO(Improvement):
    """Proximal policy optimisation with a clipped ratio (Schulman et al. 2017, eq. 7).

    Args:
        epochs: Passes over a rollout in which policy and value are updated.
        minibatch: Steps of the environment in an optimiser step, over all processes; for a recurrent policy whole
            copies are taken, as many as hold so many steps.
        clip: Greatest change of an action's probability ratio that is still rewarded. Smaller steps more cautiously.
        entropy: Weight of the policy's entropy in the loss. Larger explores more; 0 has none.
        causal_entropy: Weight of -log pi in the reward, the causal entropy (Ho and Ermon 2016, eq. 15). Larger explores
            more; 0 has none.
        value_weight: Weight of the value's squared error, on normalised returns, beside the policy's loss.
        optimizer: The optimiser of the policy and its value.
    """

    epochs: Count = 8
    minibatch: Count = 512
    clip: NotNegative = 0.2
    entropy: NotNegative = 0.0
    causal_entropy: NotNegative = 0.0
    value_weight: NotNegative = 0.5
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=3e-4, clip=0.5))

    def learner(self, engine: Engine, prefix: str, actor: Actor, valuer: Valuer) -> Learner:
        return engine.learner(f"{prefix}policy", ActorCritic(actor, valuer), self.optimizer)

    def __call__(
        self, engine: Engine, learner: Learner, actor: Actor, valuer: Valuer, experience: Experience
    ) -> Metrics:
        actions = actor.actions
        metrics: Metrics = {}
        for part in _minibatches(engine, experience, self.minibatch, self.epochs):
            counted, weight = _weights(engine, part.mask)

            def loss(
                rows: slice, part: Experience = part, counted: Tensor = counted, weight: Tensor = weight
            ) -> tuple[Tensor, dict[str, Tensor]]:
                some, mask = part.rows(rows) if self.optimizer.accumulate > 1 else part, part.mask[rows]
                parameters, values = learner.module(some.observations, some.memories, some.ended)
                log_probs = actions.log_prob(parameters, some.drawn)
                policy = estimators.ppo(log_probs, some.log_probs, some.advantages, mask, self.clip)
                if self.entropy:
                    policy = policy - self.entropy * (actions.entropy(parameters) * mask).sum() / len(mask)
                # of a step, as the value's error is, where rows are whole copies
                policy = policy / mask.shape[1] * weight
                value = _mean((values - some.targets).square(), mask, counted * (len(mask) / len(part.mask)))
                return policy + self.value_weight * value, {"value_loss": value.detach()}

            metrics = engine.update(learner, loss, len(part.mask))
        del metrics["loss"]  # on policy it is about 0
        with torch.no_grad():
            after = actor(experience.observations, experience.memory, experience.ended)
            divergence = _mean(actions.divergence(experience.parameters, after), experience.mask)
            entropy = _mean(actions.entropy(after), experience.mask)
            told = torch.stack([divergence, entropy]).tolist()  # a GPU is waited for once
        return metrics | dict(zip(("divergence", "entropy"), told, strict=True))


@dataclass(frozen=True)
class TRPO(Improvement):
    """Trust region policy optimisation (Schulman et al. 2015), with the settings of Ho and Ermon (2016).

    The value is fitted by regression on the standardised returns, not by a trust-region step of its own.

    Args:
        divergence: Greatest mean KL divergence of a step. Smaller steps more cautiously.
        damping: Number that is added to the diagonal of the Fisher matrix. Larger makes steps shorter and steadier.
        iterations: Iterations of the conjugate gradient. More follow the natural gradient more closely.
        share: Share of a rollout's steps that the Fisher matrix is estimated on. 1 takes all, and longer.
        halvings: Number of steps that are tried, each half as long. If none is good, the policy stays as it was.
        accept: Share of the promised decrease of the loss that a step must bring.
        causal_entropy: Weight of -log pi in the reward, the causal entropy (Ho and Ermon 2016, eq. 15). Larger explores
            more; 0 has none.
        epochs: Passes over a rollout in which the value is fitted.
        minibatch: Steps of the environment in a step of the value's regression, over all processes.
        optimizer: The optimiser of the value's regression.
    """

    divergence: Positive = 0.01
    damping: NotNegative = 0.1
    iterations: Count = 10
    share: PositiveShare = 0.1
    halvings: Whole = 10
    accept: Share = 0.1
    causal_entropy: NotNegative = 0.0
    epochs: Count = 3
    minibatch: Count = 1250
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3))

    def learner(self, engine: Engine, prefix: str, actor: Actor, valuer: Valuer) -> Learner:
        engine.learner(f"{prefix}policy", actor, self.optimizer)  # its optimiser rests: it is moved by hand
        return engine.learner(f"{prefix}value", valuer, self.optimizer)

    def __call__(
        self, engine: Engine, learner: Learner, actor: Actor, valuer: Valuer, experience: Experience
    ) -> Metrics:
        metrics = self._step(engine, actor, experience)
        for part in _minibatches(engine, experience, self.minibatch, self.epochs):
            counted, _ = _weights(engine, part.mask)

            def loss(
                rows: slice, part: Experience = part, counted: Tensor = counted
            ) -> tuple[Tensor, dict[str, Tensor]]:
                found, mask = learner.module(part.observations[rows], part.memories[rows]), part.mask[rows]
                share = len(mask) / len(part.mask)
                return _mean((found - part.targets[rows]).square(), mask, counted * share), {}

            metrics["value_loss"] = engine.update(learner, loss, len(part.mask))["loss"]
        return metrics

    def _step(self, engine: Engine, network: Actor, experience: Experience) -> Metrics:
        actions, parameters = network.actions, [p for p in network.parameters() if p.requires_grad]
        every, device = max(1, round(1 / self.share)), experience.mask.device
        some = experience.rows(torch.arange(0, len(experience.mask), every, device=device))
        counted, few = (_weights(engine, mask)[0] for mask in (experience.mask, some.mask))

        def surrogate(new: Tensor) -> Tensor:
            ratio = (actions.log_prob(new, experience.drawn) - experience.log_probs).exp()
            return -_mean(ratio * experience.advantages, experience.mask, counted)

        new = network(experience.observations, experience.memory, experience.ended)
        loss = surrogate(new)
        gradient = engine.mean(trust_region.flatten(torch.autograd.grad(loss, parameters)))
        moved = actions.divergence(some.parameters, network(some.observations, some.memory, some.ended))
        fisher = trust_region.hessian_product(_mean(moved, some.mask, few), parameters)
        # the vectors are averaged over the processes, by hand: no wrapped forward is differentiated here
        step = trust_region.natural_step(
            lambda vector: engine.mean(fisher(vector)) + self.damping * vector,
            gradient,
            self.divergence,
            self.iterations,
        )
        start = trust_region.flatten([p.detach() for p in parameters])

        @torch.no_grad()
        def move(fraction: float) -> tuple[float, float]:
            trust_region.assign(parameters, start + fraction * step)
            new = network(experience.observations, experience.memory, experience.ended)
            divergence = _mean(actions.divergence(experience.parameters, new), experience.mask, counted)
            found = engine.mean(torch.stack([surrogate(new), divergence]))
            at_loss, at_divergence = found.tolist()
            return at_loss, at_divergence

        spread = _mean(actions.entropy(new.detach()), experience.mask)
        told = [engine.mean(loss.detach().reshape(1))[0], gradient.dot(step), spread]
        before, slope, entropy = torch.stack(told).tolist()
        accepted = trust_region.line_search(move, slope, before, 1.5 * self.divergence, self.halvings, self.accept)
        return {
            "surrogate": before - accepted.loss,
            "divergence": accepted.divergence,
            "step_fraction": accepted.fraction,
            "entropy": entropy,
        }


def _mean(values: Tensor, mask: Tensor, counted: Tensor | None = None) -> Tensor:
    """Over the counted steps. counted: how many they are taken for, where these are a part of a batch."""
    return (values * mask).sum() / (mask.sum().clamp_min(1) if counted is None else counted)


def _weights(engine: Engine, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over processes of the counted steps, at least 1, and this one's rows as a multiple of the mean.

    A sum over the steps of a part that is divided by the one (times the part's share of the rows), or a mean over its
    rows times the other, has the gradient of the joined batch, however that is cut. mask: of this process's batch.
    """
    rows = torch.full((), len(mask), dtype=torch.float64, device=mask.device)
    mine = torch.stack([mask.sum().double(), rows])
    counted, rows = engine.mean(mine).unbind()
    return counted.float().clamp_min(1), (len(mask) / rows).float()  # a copy's steps may all be left out


def _minibatches(engine: Engine, experience: Experience, steps: int, epochs: int) -> Iterator[Experience]:
    """The rows of each optimiser step: in each epoch every row once, in a new order.

    Where the run shall stop, the update is finished, and saved, unless that takes long: then Stopped is raised.
    Some steps may not count, so processes may have different numbers of rows, but all make as many optimiser steps.
    """
    rows = len(experience.mask)
    everyone = [[experience.mask.numel(), rows]]
    if engine.processes > 1:
        everyone = engine.gather(torch.tensor(everyone, device=engine.device)).tolist()
    parts = min(max(1, round(sum(size for size, _ in everyone) / steps)), min(count for _, count in everyone))
    asked: float | None = None  # when it was first seen that the run shall stop
    for _ in range(epochs):
        order = sent(torch.randperm(rows), experience.mask.device)
        shuffled = experience.rows(order)  # once, so that the parts are views
        for part in slices(rows, parts):
            if engine.stopping():
                asked = time.monotonic() if asked is None else asked
                if time.monotonic() - asked > PATIENCE:
                    again = "stopped within an update, which is made anew"
                    raise Stopped(f"{again}. Resume with: seqgan-kit resume {engine.folder}")
            yield shuffled.rows(part)


def whiten(advantages: Tensor, mask: Tensor, engine: Engine) -> Tensor:
    """Advantages with mean 0 and variance 1 over the steps of all processes."""
    if engine.processes == 1:
        return credits.whiten(advantages, mask)
    sums = torch.stack([mask.sum().double(), advantages[mask].double().sum(), advantages[mask].double().square().sum()])
    count, mean, square = engine.mean(sums).tolist()
    mean, square = mean / count, square / count
    return (advantages - mean) / max((square - mean**2) ** 0.5, 1e-8) * mask
