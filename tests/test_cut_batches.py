"""Gradients of imitation do not depend on how a batch is cut, where some of its steps do not count."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.imitation.improvement import PPO, TRPO, Experience, Improvement
from seqgan_kit.imitation.train import cloning_loss
from seqgan_kit.networks.policies.actor import Actor, ActorConfig, Valuer
from seqgan_kit.networks.policies.normaliser import Normaliser
from seqgan_kit.samples import Transitions, rows, size

LENGTHS = (20, 2, 2, 2)
MASK = torch.arange(20) < torch.tensor(LENGTHS).unsqueeze(1)


def networks(recurrent: int) -> tuple[Actor, Valuer]:
    torch.manual_seed(0)
    normaliser = Normaliser((2,))
    actor = Actor(ActorConfig([2], [3], hidden=[8], recurrent=recurrent), normaliser)
    with torch.no_grad():
        actor.output.weight.mul_(100)
    return actor, Valuer((2,), recurrent, [8], normaliser)


def demonstrations() -> Transitions:
    torch.manual_seed(1)
    seen, acted, none = torch.randn(4, 20, 2), torch.randint(3, (4, 20)), torch.zeros(4, 20)
    return Transitions(seen, acted, seen, none, none.bool(), none.bool(), MASK)


def experience(actor: Actor, recurrent: int) -> Experience:
    """Four copies' steps, of which 54 do not count."""
    torch.manual_seed(2)
    seen, memory, drawn = torch.randn(4, 20, 2), torch.zeros(4, 20, recurrent), torch.randint(3, (4, 20))
    ended = ~MASK
    with torch.no_grad():
        parameters = actor(seen, memory[:, 0], ended)
    log_probs = actor.actions.log_prob(parameters, drawn)
    return Experience(seen, memory, drawn, ended, MASK, parameters, log_probs, torch.randn(4, 20), torch.randn(4, 20))


def cloned(engine: Engine, parts: int) -> list[Tensor]:
    """The weights after a step of recurrent cloning, whose batch is computed in so many parts."""
    actor, _ = networks(4)
    learner = engine.learner(f"cloning {parts}", actor, OptimizerConfig(accumulate=parts))
    whole = demonstrations()
    loss = partial(cloning_loss, actor, MASK.sum().item() / 4, learner.module)
    engine.update(learner, lambda part: loss(rows(whole, part)), size(whole))
    return [*actor.parameters()]


def improved(improvement: Callable[[OptimizerConfig], Improvement]) -> Callable[[Engine, int], list[Tensor]]:
    def step(engine: Engine, parts: int) -> list[Tensor]:
        actor, valuer = networks(4)
        some = improvement(OptimizerConfig(accumulate=parts))
        learner = some.learner(engine, f"{parts}", actor, valuer)
        given = experience(actor, 4)
        torch.manual_seed(3)
        some(engine, learner, actor, valuer, given)
        return [*actor.parameters(), *valuer.parameters()]

    return step


CASES = {
    "cloning": cloned,
    "PPO": improved(lambda optimizer: PPO(epochs=1, minibatch=1000, entropy=0.1, optimizer=optimizer)),
    "TRPO": improved(lambda optimizer: TRPO(epochs=1, minibatch=1000, share=1.0, optimizer=optimizer)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(case: str, parts: int, engine: Engine) -> None:
    """Rows of 20 steps and of 2, as trajectories of unequal length or broken episodes leave them: the same step.

    By Adam, which hides factors, not directions: the mean of the parts' means differs by more than its step.
    """
    whole, cut = CASES[case](engine, 1), CASES[case](engine, parts)
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_loss_of_cloning_is_the_mean_over_the_steps() -> None:
    """Of all the data, where a batch is all of it."""
    actor, _ = networks(4)
    whole = demonstrations()
    loss, told = cloning_loss(actor, MASK.sum().item() / 4, actor, whole)
    parameters = actor(whole.observations, actor.start(4), whole.ended)
    expected = -actor.actions.log_prob(parameters, whole.actions)[MASK].mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(told["nll"], expected)
