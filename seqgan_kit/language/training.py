"""The phases that text and dialogue share: likelihood, discriminator warm-up, adversarial rounds; then a control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seqgan_kit.algorithms.credit import leave_one_out
from seqgan_kit.algorithms.objectives import Objective
from seqgan_kit.bounds import SAMPLE, check_fits
from seqgan_kit.engine import checks
from seqgan_kit.engine.budget import Part
from seqgan_kit.engine.choice import Choice, Roles
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.run_folder import GAME, MODEL, Exports
from seqgan_kit.engine.verdict import Score
from seqgan_kit.errors import UserError
from seqgan_kit.game.players import Baseline, DiscriminatorPlayer, GeneratorPlayer
from seqgan_kit.game.trainer import Hook, Turns, fit, play
from seqgan_kit.networks.text.value_head import ValueHead
from seqgan_kit.samples import Tokens, rows, to
from seqgan_kit.tokens.credit import Credit
from seqgan_kit.tokens.discriminator import prefixes_at_once, scored_at_once
from seqgan_kit.tokens.policy import Anchor, Critic, PolicyGradient, TokenPolicy, WithLikelihood, likelihood_loss
from seqgan_kit.tokens.rewards import Rewards

MLE, WARM_UP, ADVERSARIAL, CONTROL = "maximum_likelihood", "discriminator", "adversarial", "control"
SHORTER = {
    MLE: "--likelihood.steps, --generator.hidden",
    WARM_UP: "--discriminator.steps",
    ADVERSARIAL: "--adversarial.rounds, and --control.enabled false, as likelihood for as long follows",
    CONTROL: "--control.steps, or --control.enabled false",
}
"""The options that make a phase shorter, which a use adds its own to."""


def parts(config: Any) -> list[Part]:
    """What --run.budget sizes."""
    steps, rounds, control = config.likelihood.steps, config.adversarial.rounds, config.control
    evaluation, found = config.evaluation, list[Part]()
    if steps:
        found.append(Part(MLE, "likelihood.steps", steps, every=evaluation.every))
    if rounds and config.discriminator.steps:
        found.append(Part(WARM_UP, "discriminator.steps", config.discriminator.steps, every=None))
    if rounds:
        found.append(Part(ADVERSARIAL, "adversarial.rounds", rounds, every=evaluation.rounds))
    if rounds and control.enabled and control.steps:
        found.append(Part(CONTROL, "control.steps", control.steps, every=evaluation.every))
    elif rounds and control.enabled:
        found.append(Part(CONTROL, every=evaluation.every, as_long_as=(WARM_UP, ADVERSARIAL), like=MLE))
    return found


class LanguageTraining:
    """The phases of one run, in the order in which they are called; a finished one does nothing.

    config: a `TextConfig` or `DialogueConfig`.
    source: of text or of dialogue. unit: what its samples are called in messages.
    network: the generator, whose likelihood its forward gives; saved by `save`(network, source, empty folder).
    hooks: of (every so many steps, network): the evaluation. measure: the score of a network that the best model is
    chosen by. best: its name, or "none".
    """

    def __init__(
        self,
        engine: Engine,
        config: Any,
        source: Any,
        unit: str,
        network: nn.Module,
        save: Callable[[Any, Any, Path], None],
        hooks: Callable[[int, Any], Sequence[Hook]],
        measure: Callable[[Any], Score],
        best: str,
    ) -> None:
        self.engine, self.config, self.source, self.network, self.hooks = engine, config, source, network, hooks
        self.mle = engine.learner("generator", network, config.likelihood.optimizer)
        self.start = engine.later("control")  # where the game began, with the moments of its optimizer
        self.real = engine.stream("real", source.train, config.run.seed, source.name, unit)
        self.control_real = engine.stream("control_real", source.train, config.run.seed + 1, source.name, unit)
        self.write = lambda model, folder: save(model, source, folder)
        self.model: Exports = {MODEL: engine.export(network, self.write)}
        if best != "none":
            chosen = config.evaluation, Roles(MLE, ADVERSARIAL, CONTROL)
            load = lambda phase, weights: engine.with_weights(network, weights)  # noqa: E731
            written = lambda phase, model, folder: self.write(model, folder)  # noqa: E731
            engine.choice = Choice(engine, best, *chosen, lambda model, seed: measure(model), load, written)

    def policy(
        self,
        judge: nn.Module,
        objective: Objective,
        log_ratio: Objective,
        columns: Callable[[Tokens], dict[str, list[Any]]] | None,
        anchor: Anchor | None = None,
        likelihood: WithLikelihood | None = None,
        differ: Callable[[], bool] = lambda: True,
    ) -> TokenPolicy:
        """The generator as a player, with learners "policy" and, where it is enabled, "critic".

        judge: the discriminator's network. log_ratio: an objective whose reward is log D / (1 - D). columns: what
        users' rewards may ask for beside the samples. differ: whether the samples of a batch now have several contexts.
        """
        engine, source, config, critic = self.engine, self.source, self.config.adversarial, None
        learner = engine.learner("policy", self.network, config.optimizer, dropout=False)
        credit: Credit = config.credit(self.network, source.length, source.end)  # where the weights now are
        engine.keep_copy("credit", credit)
        if config.critic.enabled:
            head = ValueHead(features_width(self.network, source.train))
            critic = Critic(engine, engine.learner("critic", head, config.critic.optimizer))
        baseline = by_context(config.baseline, config.turns.repeats, differ)
        rewards = Rewards(
            objective.reward,
            log_ratio.reward,
            config.discriminator_weight,
            config.rewards,
            source.decode,
            columns,
            prefixes_at_once(judge),
            scored_at_once(judge),
        )
        return TokenPolicy(
            engine=engine,
            learner=learner,
            batch_size=config.batch_size,
            length=source.length,
            end=source.end,
            rewards=rewards,
            credit=credit,
            gradient=PolicyGradient(baseline, critic, config.estimator, config.passes),
            anchor=anchor,
            likelihood=likelihood or WithLikelihood(),
        )

    def likelihood(self) -> None:
        """Maximum likelihood. Where it ends is set aside for the control, and its moments are given up."""
        config, engine = self.config.likelihood, self.engine
        exports = dict(self.model)
        if not engine.started(ADVERSARIAL):  # later, more likelihood steps would be those of another model
            exports[MLE] = self.model[MODEL]
        hooks = self.hooks(self.config.evaluation.every, self.network)
        if engine.counters.get(MLE, 0) < config.steps and self.start.known and not self.mle.optimizer.state:
            self.mle.optimizer.load_state_dict(self.start.optimizer.get())
        fit(engine, MLE, config.steps, self.mle, likelihood_loss, self.real, config.batch_size, hooks, exports)
        if not config.steps and not self.game_began and engine.choice is not None and engine.choice.lacks(MLE):
            for hook in hooks:
                hook.run(MLE, 0)  # the model that the game begins with
        if self.config.adversarial.rounds:
            if not self.game_began and (self.mle.optimizer.state or not self.start.known):
                self.start.put(self.mle)
            self.mle.optimizer.state.clear()

    @property
    def game_began(self) -> bool:
        """Whether the generator is no longer what maximum likelihood left."""
        return self.engine.started(ADVERSARIAL) or self.engine.started(CONTROL)

    def warm_up(self, generator: GeneratorPlayer[Any], discriminator: DiscriminatorPlayer[Any]) -> None:
        """The discriminator's first steps; without a game there is nothing to warm up for."""
        steps = self.config.discriminator.steps
        if steps and not self.config.adversarial.rounds:
            self.engine.say("--adversarial.rounds 0: the discriminator's warm-up is left out, too")
            return
        turns = Turns(generator=0)
        play(self.engine, WARM_UP, steps, generator, discriminator, self.real, turns, exports=self.model)

    def game(self, generator: GeneratorPlayer[Any], discriminator: DiscriminatorPlayer[Any]) -> None:
        """The adversarial rounds."""
        rounds, turns = self.config.adversarial.rounds, self.config.adversarial.turns
        hooks = self.hooks(self.config.evaluation.rounds, self.network)
        play(
            self.engine, ADVERSARIAL, rounds, generator, discriminator, self.real, turns, hooks,
            exports={**self.model, GAME: self.model[MODEL]},
        )  # fmt: skip

    def control(self) -> None:
        """Likelihood for as long, from where the game began: the baseline beside it."""
        config, likelihood, engine = self.config.control, self.config.likelihood, self.engine
        if not config.enabled or not self.config.adversarial.rounds:
            return
        steps = config.steps or steps_in_the_same_time(engine)
        learner = self.start.begin(self.network, likelihood.optimizer)
        hooks = self.hooks(self.config.evaluation.every, learner.network)
        exports: Exports = {**self.model, CONTROL: engine.export(learner.network, self.write)}
        real, size = self.control_real, likelihood.batch_size
        fit(engine, CONTROL, steps, learner, likelihood_loss, real, size, hooks, exports)


def by_context(baseline: Baseline, repeats: int, differ: Callable[[], bool]) -> Baseline:
    """The baseline, of which `leave_one_out` compares only the `repeats` samples of a context with one another.

    Across contexts its mean is that of what other contexts earn: still unbiased, but of more variance.
    """
    if repeats == 1 or baseline is not leave_one_out:
        return baseline
    return lambda credit, mask: leave_one_out(credit, mask, repeats if differ() else None)


def steps_in_the_same_time(engine: Engine) -> int:
    """How many likelihood steps take as long as the discriminator's warm-up and the adversarial phase took, without
    what their evaluations took."""

    def count() -> int:
        per_step = engine.updating[MLE] / engine.counters[MLE]
        return max(1, round((engine.updating.get(WARM_UP, 0.0) + engine.updating[ADVERSARIAL]) / per_step))

    steps: int = engine.on_main(count)  # every process has a clock of its own
    return steps


@torch.no_grad()
def features_width(network: Any, data: Tokens) -> int:
    """The width of a generator's features."""
    some = to(rows(data, slice(1)), next(network.parameters()).device)
    width: int = network.eval().features(some.ids, *some.context).shape[-1]
    return width


def check_phases(config: Any, source: str, count: int, unit: str) -> None:
    """Raises UserError before anything is written, where a number makes no sense or a batch can't be filled.

    source, count, unit: as in `checks.batches`.
    """
    likelihood, critic, adversarial = config.likelihood, config.discriminator, config.adversarial
    parts = {"likelihood": likelihood, "discriminator": critic, "adversarial": adversarial}
    check_fits("--evaluation.samples", config.evaluation.samples, SAMPLE)
    if adversarial.batch_size % adversarial.turns.repeats:
        raise UserError(
            f"--adversarial.batch_size {adversarial.batch_size} can't be divided by --adversarial.turns.repeats "
            f"{adversarial.turns.repeats}: give a multiple"
        )
    checks.shared("--adversarial.batch_size", adversarial.batch_size, adversarial.turns.repeats)
    checks.rewarded(adversarial.discriminator_weight, adversarial.rewards)
    control = config.control
    if not likelihood.steps and not adversarial.rounds:
        raise UserError("--likelihood.steps 0 and --adversarial.rounds 0 leave nothing to train: give one of them more")
    if control.enabled and control.steps is not None and control.steps < 1:
        raise UserError(f"--control.steps {control.steps}: give at least 1, or --control.enabled false")
    if control.enabled and control.steps is None and adversarial.rounds and not likelihood.steps:
        raise UserError(
            "--likelihood.steps 0: how long such a step takes is not known, so give the control a length, "
            "--control.steps, or leave it out, --control.enabled false"
        )
    checks.batches(source, count, unit, *((f"--{name}.batch_size", part.batch_size) for name, part in parts.items()))
