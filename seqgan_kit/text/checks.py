"""What a text run refuses before anything is written: numbers, and parts that would mislead each other."""

from __future__ import annotations

from torch import nn

from seqgan_kit.engine import checks
from seqgan_kit.errors import UserError
from seqgan_kit.language import training
from seqgan_kit.text.config import TextConfig
from seqgan_kit.text.differentiable import Convolutions, GumbelSoftmax
from seqgan_kit.text.sources import Source
from seqgan_kit.tokens.discriminator import compares_rows


def check_numbers(config: TextConfig, source: Source) -> None:
    """Raises UserError where an option's number makes no sense, or a batch can't be filled."""
    critic = config.discriminator
    checks.objective(critic.objective)
    training.check_phases(config, source.name, len(source.train.ids), "sentences")
    critic.smoothed_objective()
    prefix, most = config.adversarial.prefix, source.length - 1
    if prefix > most:
        raise UserError(
            f"--adversarial.prefix {prefix}: no text has more than {source.length} tokens: give at most {most}"
        )


def check_route(config: TextConfig, source: Source) -> None:
    """Raises UserError where `--adversarial.route` does not go with the data or with other options."""
    adversarial, critic, route = config.adversarial, config.discriminator, config.adversarial.route
    if route is None:
        return
    checks.not_sharded(config.run.shard, "--adversarial.route differentiates what is drawn, round a forward")
    if source.labels:
        raise UserError("--adversarial.route draws no texts of a class: leave it out, or --data.labelled")
    for option, given in [
        ("--adversarial.rewards", bool(adversarial.rewards)),
        ("--adversarial.discriminator_weight", adversarial.discriminator_weight != 1),
        ("--adversarial.passes", adversarial.passes != 1),
        ("--adversarial.prefix", adversarial.prefix != 0),
        ("--adversarial.critic.enabled", adversarial.critic.enabled),
        ("--discriminator.output_decay", critic.output_decay != 0),
    ]:
        if given:
            raise UserError(f"{option} is for policy gradient: leave it out, or leave out --adversarial.route")
    for option, part in [("--discriminator.model", critic.model), ("--discriminator.config", critic.config)]:
        if part is not None:
            raise UserError(f"{option} reads no soft text: give a --discriminator.network, such as TextCNN")
    if isinstance(route, Convolutions):
        _check_no_likelihood(config)
    route.check()
    if isinstance(route, GumbelSoftmax) and route.matching is not None:
        size = "--adversarial.batch_size"
        checks.whole_batch("--adversarial.optimizer", adversarial.optimizer, "features are matched", size)


def _check_no_likelihood(config: TextConfig) -> None:
    if config.likelihood.steps:
        raise UserError(
            f"--likelihood.steps {config.likelihood.steps}: the generator of this route has no likelihood, give 0"
        )
    if config.control.enabled:
        raise UserError("--control.enabled: the generator of this route has no likelihood, give false")
    if config.generator.model is not None or config.generator.config is not None:
        raise UserError("--generator.model and --generator.config: the route has a generator of its own")


def check_judge(config: TextConfig, judge: nn.Module) -> None:
    """Raises UserError where the discriminator's batch is cut into parts, which it would compare within alone."""
    if compares_rows(judge):
        option, size = "--discriminator.optimizer", "--discriminator.batch_size"
        checks.whole_batch(option, config.discriminator.optimizer, "the discriminator compares rows", size)
