"""How a policy improves on what it did: PPO's clipped steps, or TRPO's natural gradient within a trust region."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqgan_kit import credit as credits
from seqgan_kit import estimators, trust_region
from seqgan_kit.engine import Engine
from seqgan_kit.learning import Learner, Metrics, OptimizerConfig
from seqgan_kit.networks.actor import Actor


@dataclass(frozen=True)
class Experience:
    """What a policy did and what it was worth. A row is one step, or, for a recurrent policy, a copy's steps.

    observations, memory, drawn: as in `samples.Rollout`; memory: (batch, dim), before the first step of the row.
    ended, mask: (batch, time) bool. parameters: (batch, time, size), of the distribution that the actions were drawn
    from. log_probs: (batch, time), theirs. advantages: (batch, time), whitened. returns: (batch, time), what a
    value should be. memories: (batch, time, dim), before each step.
    """

    observations: Tensor
    memory: Tensor
    memories: Tensor
    drawn: Tensor
    ended: Tensor
    mask: Tensor
    parameters: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor

    def rows(self, index: Tensor | slice) -> Experience:
        return Experience(**{name: tensor[index] for name, tensor in vars(self).items()})


class Improvement(ABC):
    """The slot: PPO or TRPO, with its options."""

    optimizer: OptimizerConfig
    value_optimizer: OptimizerConfig
    causal_entropy: float
    """Weight of -log pi in the reward (Ho and Ermon 2016, eq. 15)."""

    @abstractmethod
    def __call__(self, engine: Engine, actor: Learner, valuer: Learner, experience: Experience) -> Metrics:
        """Improves the policy and the value once, from one rollout."""


@dataclass(frozen=True)
class PPO(Improvement):
    """Proximal policy optimisation with a clipped ratio (Schulman et al. 2017, eq. 7).

    Args:
        epochs: passes over a rollout.
        minibatch: steps of the environment in an optimiser step, over all processes; for a recurrent policy whole
            copies are taken, as many as hold so many steps.
        clip: of the probability ratio.
        entropy: weight of the policy's entropy in the loss.
        causal_entropy: weight of -log pi in the reward (Ho and Ermon 2016, eq. 15).
        optimizer: the policy's.
        value_optimizer: the value's.
    """

    epochs: int = 10
    minibatch: int = 256
    clip: float = 0.2
    entropy: float = 0.0
    causal_entropy: float = 0.0
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=3e-4, clip=0.5))
    value_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3, clip=0.5))

    def __call__(self, engine: Engine, actor: Learner, valuer: Learner, experience: Experience) -> Metrics:
        network: Actor = actor.network  # type: ignore[assignment]
        returns = valuer.network.returns  # type: ignore[union-attr]
        targets = returns(experience.returns)
        metrics: Metrics = {}
        for index in _minibatches(engine, experience, self.minibatch, self.epochs):
            part, wanted = experience.rows(index), targets[index]  # type: ignore[index]

            def loss(rows: slice, part: Experience = part) -> tuple[Tensor, dict[str, Tensor]]:
                parameters = actor.module(part.observations[rows], part.memory[rows], part.ended[rows])
                mask = part.mask[rows]
                log_probs = network.actions.log_prob(parameters, part.drawn[rows])
                value = estimators.ppo(log_probs, part.log_probs[rows], part.advantages[rows], mask, self.clip)
                entropy = network.actions.entropy(parameters) * mask
                if self.entropy:
                    value = value - self.entropy * entropy.sum() / len(mask)
                return value, {"entropy": entropy.detach().sum() / mask.sum()}

            found = engine.update(actor, loss, len(index))
            metrics = {"entropy": found["entropy"], "gradient_norm": found["gradient_norm"]}
            metrics |= _regress(engine, valuer, part, wanted)  # type: ignore[arg-type]
        with torch.no_grad():
            after = network(experience.observations, experience.memory, experience.ended)
            divergence = network.actions.divergence(experience.parameters, after)
        return metrics | {"divergence": _mean(divergence, experience.mask).item()}


@dataclass(frozen=True)
class TRPO(Improvement):
    """Trust region policy optimisation (Schulman et al. 2015), with the settings of Ho and Ermon (2016).

    The value is fitted by regression on the standardised returns, not by a trust-region step of its own.

    Args:
        divergence: greatest mean KL divergence of a step.
        damping: added to the diagonal of the Fisher matrix.
        iterations: of the conjugate gradient.
        share: of the steps that the Fisher matrix is estimated on.
        halvings: steps that are tried, each half as long; if none is good, the policy stays as it was.
        accept: share of the promised decrease that a step must bring.
        causal_entropy: weight of -log pi in the reward (Ho and Ermon 2016, eq. 15).
        epochs, minibatch: of the value's regression; steps of the environment, over all processes.
        optimizer: the policy's, for behaviour cloning.
        value_optimizer: the value's.
    """

    divergence: float = 0.01
    damping: float = 0.1
    iterations: int = 10
    share: float = 0.2
    halvings: int = 10
    accept: float = 0.1
    causal_entropy: float = 0.0
    epochs: int = 5
    minibatch: int = 1024
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3))
    value_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3))

    def __call__(self, engine: Engine, actor: Learner, valuer: Learner, experience: Experience) -> Metrics:
        metrics = self._step(engine, actor, experience)
        targets = valuer.network.returns(experience.returns)  # type: ignore[union-attr, operator]
        for index in _minibatches(engine, experience, self.minibatch, self.epochs):
            metrics |= _regress(engine, valuer, experience.rows(index), targets[index])
        return metrics

    def _step(self, engine: Engine, actor: Learner, experience: Experience) -> Metrics:
        network: Actor = actor.network  # type: ignore[assignment]
        actions, parameters = network.actions, [p for p in network.parameters() if p.requires_grad]

        def surrogate(new: Tensor) -> Tensor:
            ratio = (actions.log_prob(new, experience.drawn) - experience.log_probs).exp()
            return -_mean(ratio * experience.advantages, experience.mask)

        new = network(experience.observations, experience.memory, experience.ended)
        loss = surrogate(new)
        gradient = trust_region.flatten(torch.autograd.grad(loss, parameters))
        gradient = engine.mean(gradient)
        some = experience if self.share >= 1 else experience.rows(_every(len(new), self.share))
        fisher = trust_region.hessian_product(
            _mean(
                actions.divergence(some.parameters, network(some.observations, some.memory, some.ended)), some.mask
            ),
            parameters,
        )
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
            divergence = _mean(actions.divergence(experience.parameters, new), experience.mask)
            found = engine.mean(torch.stack([surrogate(new), divergence]))
            return found[0].item(), found[1].item()

        before = engine.mean(loss.detach().reshape(1)).item()
        slope = gradient.dot(step).item()
        accepted = trust_region.line_search(
            move, slope, before, 1.5 * self.divergence, self.halvings, self.accept
        )
        return {
            "surrogate": before - accepted.loss,
            "divergence": accepted.divergence,
            "step_fraction": accepted.fraction,
            "entropy": _mean(actions.entropy(new.detach()), experience.mask).item(),
        }


def _regress(engine: Engine, valuer: Learner, part: Experience, targets: Tensor) -> Metrics:
    """One step of the value towards the normalised returns."""

    def loss(rows: slice) -> tuple[Tensor, dict[str, Tensor]]:
        found = valuer.module(part.observations[rows], part.memories[rows])
        return _mean((found - targets[rows]).square(), part.mask[rows]), {}

    return {"value_loss": engine.update(valuer, loss, len(targets))["loss"]}


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum()


def _every(rows: int, share: float) -> Tensor:
    return torch.arange(0, rows, max(1, round(1 / share)))


def _minibatches(engine: Engine, experience: Experience, steps: int, epochs: int) -> list[Tensor]:
    """Row numbers of each optimiser step: in each epoch every row once, in a new order.

    Some steps may not count, so processes may have different numbers of rows, but all make as many optimiser steps.
    """
    total = engine.sum(torch.tensor([float(experience.mask.numel())], device=engine.device)).item()
    rows, parts = len(experience.mask), max(1, round(total / steps))
    return [index for _ in range(epochs) for index in torch.randperm(rows).tensor_split(min(parts, rows))]


def whiten(advantages: Tensor, mask: Tensor, engine: Engine) -> Tensor:
    """Advantages with mean 0 and variance 1 over the steps of all processes."""
    if engine.processes == 1:
        return credits.whiten(advantages, mask)
    sums = torch.stack([mask.sum().double(), advantages[mask].double().sum(), advantages[mask].double().square().sum()])
    mean, square = (engine.mean(sums)[1:] / engine.mean(sums)[0]).tolist()
    return (advantages - mean) / max((square - mean**2) ** 0.5, 1e-8) * mask
