"""The players of one stage: a generator and a discriminator of pictures with captions, and what they play with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_kit.algorithms import objectives
from seqgan_kit.algorithms.objectives import Objective
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Metrics, OptimizerConfig
from seqgan_kit.game.players import Comparison, Differentiable, Discriminator
from seqgan_kit.game.replay import Replay
from seqgan_kit.game.trainer import Hook
from seqgan_kit.images.augmentation import augmented
from seqgan_kit.images.config import AdversarialConfig, DiscriminatorConfig, ImagesConfig, PictureGeneratorConfig
from seqgan_kit.networks.average import Averaged
from seqgan_kit.networks.pictures.generator import PictureConfig
from seqgan_kit.networks.synchronised import synchronised
from seqgan_kit.samples import Images, map_tensors, rows, size

Module = Callable[..., Sequence[Sequence[Tensor]]]


class Game:
    """generator, discriminator: the players. shown: the network that is evaluated and exported.

    replay: pictures that the generator has just learnt from, for the discriminator; None where it shall have fresh
    ones. follow: keeps the moving average up, after every round.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        network: nn.Module,
        critic: nn.Module,
        generator: PictureGeneratorConfig,
        discriminator: DiscriminatorConfig,
        adversarial: AdversarialConfig,
        optimizers: tuple[OptimizerConfig, OptimizerConfig],
    ) -> None:
        self.network = network
        self.average = Averaged(network, generator.average) if generator.average else None
        if self.average is not None:
            self.average.network.to(engine.device)
            engine.keep_copy(f"{name}average", self.average)
        self.shown = self.average.network if self.average is not None else network
        if generator.synchronised:
            synchronised(network)
            synchronised(critic)
        objective = objective_of(discriminator)
        beta = adversarial.beta
        self.generator = Differentiable(
            engine,
            engine.learner(f"{name}generator", network, optimizers[0]),
            adversarial.batch_size,
            generator.noise,
            objective.reward,
            (lambda condition: between(condition, beta)) if adversarial.interpolation else None,
            adversarial.interpolation,
            generator.divergence if generator.augmentation else 0.0,
            adversarial.rewards,
            adversarial.discriminator_weight,
        )
        pairs = self.pairs = Pairs(discriminator)
        self.discriminator: Discriminator[Images] = Discriminator(
            engine,
            engine.learner(f"{name}discriminator", critic, optimizers[1]),
            adversarial.batch_size,
            objective,
            pairs.call,
            pairs.penalty if discriminator.gradient_square or discriminator.penalty else None,
            compare=pairs.compare,
            batch_statistics=any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in critic.modules()),
        )
        self.replay = None if adversarial.fresh else Replay(Images, view=_without_graph, device=engine.device)

    def follow(self) -> list[Hook]:
        average = self.average
        if average is None:
            return []

        def run(phase: str, done: int) -> Metrics:
            average.follow()
            return {}

        return [Hook(1, run)]


class Pairs:
    """How a discriminator is asked about pictures and captions."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        self.config = config

    def call(self, module: Module, sample: Images) -> Tensor:
        """Logits of pictures with their captions, (batch,); where the picture alone is judged too, (batch, 2)."""
        (logits,) = module((augmented(sample.pixels, self.config.augmentations), [sample.condition]))
        return logits[0] if len(logits) == 1 else torch.stack(list(logits), dim=1)

    def compare(self, module: Module, real: Images, fake: Images) -> list[Comparison]:
        """Real pictures against made ones, and against themselves with captions that do not fit.

        The weights of GAN-CLS are 1, 1/2 and 1/2 (Reed et al. 2016, algorithm 1), as real ones are in both comparisons.
        With a logit of the picture alone, all comparisons weigh the same, as in StackGAN's stage II.
        """
        kinds, mismatched = self.config.augmentations, self.config.mismatched
        captions = [real.condition, *(real.wrong.unbind(1) if mismatched else [])]
        of_real, of_fake = module(
            (augmented(real.pixels, kinds), captions), (augmented(fake.pixels, kinds), [fake.condition])
        )
        fitting, wrong = of_real[0], list(of_real[1 : len(captions)])
        if len(of_fake) == 1:
            found = [Comparison("accuracy", 1 - mismatched, fitting, of_fake[0])]
            return [*found, Comparison("mismatched", mismatched, fitting, torch.cat(wrong))] if mismatched else found
        fitting = torch.cat([fitting, of_real[-1]])
        others = {"accuracy": of_fake[0], "alone": of_fake[1]} | ({"mismatched": torch.cat(wrong)} if wrong else {})
        return [Comparison(name, 1 / len(others), fitting, logits) for name, logits in others.items()]

    def penalty(self, module: Module, real: Images, fake: Images) -> Tensor:
        """R1 at real pictures, WGAN-GP between real and made ones; under the real captions.

        A share of the batch stands for all of it: a batch has no order.
        """
        some = slice(0, math.ceil(self.config.penalised * size(real)))
        real, fake = rows(real, some), rows(fake, some)  # of the made ones, none under interpolated captions

        def critic(pixels: Tensor) -> Tensor:
            (logits,) = module((pixels, [real.condition]))
            return torch.stack(list(logits), dim=1).sum(1)

        config, total = self.config, real.pixels.new_zeros(())
        if config.gradient_square:
            total = total + config.gradient_square / 2 * objectives.gradient_square(critic, real.pixels)
        if config.penalty:
            total = total + config.penalty * objectives.gradient_penalty(critic, real.pixels, fake.pixels)
        return total

    def matching(self, objective: Objective, module: Module, real: Images) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of real pictures with their own captions against those with others'; for a warm-up."""
        pixels = augmented(real.pixels, self.config.augmentations)
        wrong = real.wrong.unbind(1)
        ((fitting, *others),) = module((pixels, [real.condition, *wrong]))
        other, alone = torch.cat(others[: len(wrong)]), others[len(wrong) :]
        value = objective.loss(fitting, other)
        for logits in alone:  # several processes wait for a gradient of every weight
            value = value + 0 * logits.sum()
        if self.config.gradient_square:
            value = value + self.penalty(module, real, real)
        right = ((fitting > 0).float().mean() + (other <= 0).float().mean()) / 2
        return value, {"mismatched": right.detach()}


def between(condition: Tensor, beta: float) -> Tensor:
    """beta * t1 + (1 - beta) * t2 of the first and the second half of a batch (Reed et al. 2016, eq. 5)."""
    half = len(condition) // 2
    return beta * condition[:half] + (1 - beta) * condition[half : 2 * half]


def objective_of(config: DiscriminatorConfig) -> Objective:
    """As configured. Raises ValueError where smoothing does not fit the objective."""
    objective = config.objective()
    return objectives.with_label_smoothing(objective, config.smoothing) if config.smoothing != 1 else objective


def _without_graph(sample: Any) -> Images:
    return map_tensors(sample, torch.Tensor.detach)


def picture_config(config: ImagesConfig, condition: int) -> PictureConfig:
    """That of the generator. condition: the width of a caption's embedding."""
    generator, second = config.generator, config.second
    return PictureConfig(
        condition=condition,
        noise=generator.noise,
        side=config.data.side,
        width=generator.width,
        text=generator.text,
        augmentation=generator.augmentation,
        upsampling=generator.upsampling,
        residual=generator.residual,
        modulation=generator.modulation,
        attention=generator.attention,
        norm=generator.norm,
        second_side=second.side,
        second_width=second.width,
        second_blocks=second.blocks,
    )
