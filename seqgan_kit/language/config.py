"""The configuration that runs of text and of dialogue share: likelihood, critic, control, learning rates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.language.pretrained import is_own


@dataclass(frozen=True)
class LikelihoodConfig:
    """Pre-training by maximum likelihood.

    Args:
        steps: Batches on which the generator learns by maximum likelihood before the game; 0 leaves this phase out.
        batch_size: Sentences in a batch of the likelihood phase, over all processes.
        optimizer: The optimiser of the likelihood phase and of the control. Its lr null is 0.01 for an LSTM, 0.001 for
            a Hugging Face model that begins anew, for adapters and for an LSTM of a run, 0.0001 for a pretrained model.
    """

    steps: int = 2000
    batch_size: int = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=None))


@dataclass(frozen=True)
class CriticConfig:
    """A learned baseline: a linear function of the generator's features.

    Args:
        enabled: Whether there is a learned baseline. It lowers the variance of the gradient, and costs little.
        optimizer: The optimiser of the learned baseline.
    """

    enabled: bool = True
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-2))


@dataclass(frozen=True)
class ControlConfig:
    """Maximum likelihood trained on, from where the adversarial phase began: the baseline beside every result.

    The learning rate's schedule starts anew.

    Args:
        enabled: Whether the control is trained: likelihood for as long as the game took, from the same start; it says
            what the game is worth, and doubles the time.
        steps: Batches of the control. Unset takes as many as fit into the time that the discriminator's warm-up and the
            adversarial phase took.
    """

    enabled: bool = True
    steps: int | None = None


RATES = ("likelihood.optimizer.lr", "adversarial.optimizer.lr")


class LanguageModelConfig(Protocol):
    """What the configurations of the generators of text and of dialogue have in common."""

    @property
    def model(self) -> str | None: ...
    @property
    def config(self) -> dict[str, Any] | None: ...
    @property
    def lora(self) -> int: ...


class HasOpen(Protocol):
    def left_open(self) -> dict[str, float]: ...


C = TypeVar("C", bound=HasOpen)


def learning_rates(generator: LanguageModelConfig) -> tuple[float, float]:
    """Of the likelihood phase and of the game, where none are given: an LSTM's would ruin a pretrained model."""
    if is_own(generator.model):
        return 1e-3, 1e-3
    if generator.model is not None and not generator.lora:
        return 1e-4, 2e-5
    if generator.model is not None or generator.config is not None:
        return 1e-3, 2e-4
    return 1e-2, 1e-3


def open_rates(config: Any, rates: dict[str, float]) -> dict[str, float]:
    """Those of the rates, by option, that the configuration leaves open."""
    return {option: rate for option, rate in rates.items() if attrgetter(option)(config) is None}


def settled(config: C) -> C:
    """The configuration with what was left open filled in."""

    def filled(part: Any, path: list[str], value: float) -> Any:
        name, *rest = path
        return replace(part, **{name: filled(getattr(part, name), rest, value) if rest else value})

    for option, value in config.left_open().items():
        config = filled(config, option.split("."), value)
    return config


def rates_told(config: Any) -> str | None:
    """The learning rates of a Hugging Face model in one line; None for an LSTM."""
    generator: LanguageModelConfig = config.generator
    if generator.model is None and generator.config is None:
        return None
    kind = f"{generator.model}, fine-tuned" if generator.model is not None else "a model that begins anew"
    rates = ", ".join(f"{attrgetter(option)(config):g} (--{option})" for option in RATES)
    return f"{kind}: learning rates {rates}"
