"""The two loops: `fit` for supervised phases, `play` for the alternating game. No task adds an `if` to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seqgan_kit.bounds import Count, Whole
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, Metrics
from seqgan_kit.engine.run_folder import Exports
from seqgan_kit.engine.stream import Batches
from seqgan_kit.game.players import DiscriminatorPlayer, GeneratorPlayer, of_turn
from seqgan_kit.game.replay import Replay
from seqgan_kit.samples import S, actions, repeated, rows, size


@dataclass(frozen=True)
class Turns:
    """Updates of each player in a round.

    Args:
        generator: Updates of the generator in a round.
        discriminator: Updates of the discriminator in a round, each on new samples. More keep it ahead of the
            generator, and take longer.
        repeats: Samples of each context in an update of the generator, one after another in the batch, so that they can
            be compared.
    """

    generator: Whole = 1
    discriminator: Whole = 1
    repeats: Count = 1


@dataclass(frozen=True)
class Hook:
    """Calls `run(phase, steps done)` after every `every` steps and after the last; what it returns is logged."""

    every: int
    run: Callable[[str, int], Metrics]


def evaluated(engine: Engine, every: int, seed: int, measure: Callable[[str, int], Metrics]) -> Hook:
    """`measure(phase, steps done)` under the random numbers of `seed`; its metrics are logged as eval/NAME."""

    def run(phase: str, done: int) -> Metrics:
        with engine.fixed_random(seed):
            return {f"eval/{name}": value for name, value in measure(phase, done).items()}

    return Hook(every, run)


def fit(
    engine: Engine,
    phase: str,
    steps: int,
    learner: Learner,
    loss: Callable[[Any, S], tuple[Tensor, dict[str, Tensor]]],
    real: Batches[S],
    batch_size: int,
    hooks: Sequence[Hook] = (),
    exports: Exports | None = None,
) -> None:
    """The supervised phase: `steps` optimiser steps of `loss(module, rows of a real batch)`.

    exports: the models that are written as the phase leaves them.
    """
    for _ in engine.steps(phase, steps, exports, partial(_run, engine, hooks, phase)):
        batch = real.take(batch_size)
        metrics = engine.update(learner, lambda part: loss(learner.module, rows(batch, part)), size(batch))  # noqa: B023
        engine.log(metrics, size(batch))


def play(
    engine: Engine,
    phase: str,
    rounds: int,
    generator: GeneratorPlayer[S],
    discriminator: DiscriminatorPlayer[S],
    real: Batches[S],
    turns: Turns = Turns(),
    hooks: Sequence[Hook] = (),
    replay: Replay[S] | None = None,
    exports: Exports | None = None,
) -> None:
    """The game: in each round the generator's turns, then the discriminator's. A warm-up has Turns(generator=0).

    replay: what the generator made in its turns, where the discriminator shall not have fresh samples.
    exports: the models that are written as the phase leaves them.
    """
    for _ in engine.steps(phase, rounds, exports, partial(_run, engine, hooks, phase)):
        for _ in range(turns.generator):
            batch = repeated(real.take(generator.batch_size // turns.repeats), turns.repeats)
            fake = generator.sample(batch)
            engine.log(generator.update(batch, fake, discriminator.score), actions(fake))
            if replay is not None:
                replay.add(fake)
        for turn in range(turns.discriminator):
            batch = real.take(discriminator.batch_size)
            with torch.no_grad():
                fake = generator.sample(batch) if replay is None else replay.take()
            found = discriminator.update(batch, fake)
            if replay is not None and turns.discriminator > 1:
                found = of_turn(found, turn)
            engine.log(found, size(batch) if replay is None else 0)


def _run(engine: Engine, hooks: Sequence[Hook], phase: str, done: int) -> None:
    for hook in hooks:
        if engine.phases.ends_at(phase, done) or (hook.every > 0 and done % hook.every == 0):
            engine.log(hook.run(phase, done))
