"""The options of a text-to-image run, as they stand in YAML and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.rewards import PictureReward
from seqgan_kit.game.trainer import Turns
from seqgan_kit.images.augmentation import Kind
from seqgan_kit.images.sources import DataConfig
from seqgan_kit.images.text import CaptionEncoderConfig, JointConfig
from seqgan_kit.networks.pictures.discriminator import PictureDiscriminator
from seqgan_kit.networks.pictures.layers import Norm


def _adam() -> OptimizerConfig:
    return OptimizerConfig(lr=1e-3, final=0.1, betas=(0.5, 0.99), clip=0.0)


@dataclass(frozen=True)
class PictureGeneratorConfig:
    """The generator: GAN-CLS's, by default with StackGAN's upsampling and with modulation.

    Args:
        width: channels before the last layer (128 in the papers, at 64 pixels).
        noise: width of the noise.
        text: width that a caption's embedding is projected to.
        augmentation: draw the projected embedding (StackGAN's conditioning augmentation).
        divergence: weight of its KL, in nats a number of the projected embedding.
        upsampling: transposed convolutions, or repetition and 3x3 convolutions, which need fewer rounds.
        residual: residual blocks at the first two sizes.
        modulation: noise and text scale and shift the channels at every size, too (BigGAN, DF-GAN).
        attention: side of the feature map with self-attention; 0 has none.
        norm: of the feature maps; several processes each normalise their own part, unless `synchronised`.
        synchronised: batch normalisation over all processes.
        average: decay of the moving average of the weights, which is evaluated and exported; 0 has none.
        optimizer: its own.
    """

    width: int = 48
    noise: int = 32
    text: int = 64
    augmentation: bool = False
    divergence: float = 2.0
    upsampling: Literal["transposed", "nearest"] = "nearest"
    residual: bool = True
    modulation: bool = True
    attention: int = 0
    norm: Norm = "batch"
    synchronised: bool = False
    average: float = 0.998
    optimizer: OptimizerConfig = field(default_factory=_adam)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator.

    The defaults, which the papers have not, are what learns soonest: no normalisation but R1 (Mescheder et al. 2018),
    a warm-up on captions, and several that do not fit, of which some nearly do. recipes/images/cub.yaml has the papers'
    choices.

    Args:
        network: class that is built with the pictures' side and the width of a caption's embedding; its forward takes
            any number of (pixels, [embeddings, ...]) and returns, for each, a list with the logits of each embedding,
            (batch,), higher = real and fitting, and after them those of the picture alone if it gives such.
        objective: what it minimises, and which reward its logit is.
        mismatched: weight of real pictures with captions that do not fit, beside 1 less that of made ones (GAN-CLS has
            0.5); 0 leaves them out.
        wrong: captions that do not fit, of each real picture, whose features are computed once (1 in GAN-CLS).
        near: of these, those nearest to the picture's own caption among a few hundred: a red circle for a red square.
        smoothing: probability that it is asked to find real pictures real with (0.9 in some codes).
        gradient_square: R1: weight of half the square of its gradient at real pictures.
        penalty: WGAN-GP: weight of (norm of its gradient - 1)^2 between real and made pictures.
        penalised: share of a batch that these two look at: they cost several times what the rest does.
        matching: steps of a warm-up in which it only learns to tell captions that fit real pictures from those that
            don't, before a generator is there; 0 has none.
        augmentations: differentiable ones of all that it sees (DiffAugment): colour, translation, cutout.
        optimizer: its own.
    """

    network: Callable[[int, int], nn.Module] = PictureDiscriminator
    objective: Callable[[], objectives.Objective] = objectives.non_saturating
    mismatched: float = 0.5
    wrong: int = 4
    near: int = 2
    smoothing: float = 1.0
    gradient_square: float = 0.1
    penalty: float = 0.0
    penalised: float = 0.125
    matching: int = 1500
    augmentations: list[Kind] = field(default_factory=list)
    optimizer: OptimizerConfig = field(default_factory=_adam)


@dataclass(frozen=True)
class AdversarialConfig:
    """The game.

    Args:
        rounds: how many.
        turns: updates of each player in a round.
        batch_size: pictures of each, over all processes.
        interpolation: GAN-INT: weight of pictures under captions in between, beside 1 of the batch's own; 0 has none.
        beta: share of the first of two captions in between.
        fresh: the discriminator sees pictures made after the generator's step, not those that it learnt from.
        rewards: own differentiable reward functions of pictures, by import path and weight.
        discriminator_weight: weight of the discriminator's reward beside them.
    """

    rounds: int = 3000
    turns: Turns = field(default_factory=Turns)
    batch_size: int = 64
    interpolation: float = 0.0
    beta: float = 0.5
    fresh: bool = False
    rewards: list[PictureReward] = field(default_factory=list)
    discriminator_weight: float = 1.0


@dataclass(frozen=True)
class SecondStageConfig:
    """StackGAN's second stage, on the first as the adversarial phase left it.

    Args:
        side: of its pictures; 0 has no second stage.
        width: channels of its first layer (128 in the paper's code).
        blocks: residual blocks (4).
        rounds: of its phase.
        batch_size: pictures of each player, over all processes.
        train_first: train the first stage on, too.
        discriminator: network, built with the side and the width of an embedding.
        optimizer: of the generator.
        discriminator_optimizer: of the discriminator.
    """

    side: int = 0
    width: int = 32
    blocks: int = 2
    rounds: int = 2000
    batch_size: int = 64
    train_first: bool = False
    discriminator: Callable[[int, int], nn.Module] = PictureDiscriminator
    optimizer: OptimizerConfig = field(default_factory=_adam)
    discriminator_optimizer: OptimizerConfig = field(default_factory=_adam)


@dataclass(frozen=True)
class StyleConfig:
    """An encoder from a picture to the noise that it could have been made of (Reed et al. 2016, sec. 4.4).

    Args:
        steps: batches; 0 trains none.
        batch_size: pictures a batch, over all processes.
        optimizer: its own.
    """

    steps: int = 0
    batch_size: int = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3, clip=0.0))


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on held-out captions and pictures.

    Args:
        samples: captions, a picture each; fewer where there are not so many.
        every: rounds between two evaluations; 0 evaluates at the end of a phase only.
        features: what Fréchet and kernel distance, precision and recall look at: `learned` trains a small network on
            the pictures at hand to find their captions' words, or the folder of any Hugging Face vision model; `none`.
        feature_steps: of training the learned one.
        matcher: folder of a joint embedding that `train encoder` made, for R-precision; unset takes the run's own
            text encoder, if it is such.
        clip: folder of a CLIP model, for the CLIP score.
        seed: of the noise, the same at every evaluation.
    """

    samples: int = 500
    every: int = 1000
    features: str = "learned"
    feature_steps: int = 400
    matcher: str | None = None
    clip: str | None = None
    seed: int = 1234


@dataclass(frozen=True)
class ImagesConfig:
    """A text-to-image run: GAN-CLS, GAN-INT, GAN-INT-CLS or StackGAN."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    text: CaptionEncoderConfig = field(default_factory=CaptionEncoderConfig)
    joint: JointConfig = field(default_factory=JointConfig)
    generator: PictureGeneratorConfig = field(default_factory=PictureGeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    second: SecondStageConfig = field(default_factory=SecondStageConfig)
    style: StyleConfig = field(default_factory=StyleConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
