"""The options of a text-to-image run, as they stand in YAML and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from torch import nn

from seqgan_kit.algorithms import objectives
from seqgan_kit.bounds import (
    Blocks,
    Bound,
    Count,
    Integer,
    NotNegative,
    Number,
    PositiveShare,
    Seed,
    Several,
    Share,
    Whole,
)
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.rewards import PictureReward
from seqgan_kit.game.trainer import Turns
from seqgan_kit.images.augmentation import Kind
from seqgan_kit.images.caption_embedding import CaptionEncoderConfig, JointConfig
from seqgan_kit.images.sources import DataConfig
from seqgan_kit.networks.pictures.discriminator import PictureDiscriminator
from seqgan_kit.networks.pictures.layers import Norm


def _adam() -> OptimizerConfig:
    return OptimizerConfig(lr=1e-3, final=0.1, betas=(0.5, 0.99), clip=0.0)


@dataclass(frozen=True)
class PictureGeneratorConfig:
    """The generator: GAN-CLS's, by default with StackGAN's upsampling and with modulation.

    Args:
        width: Channels before the generator's last layer; more draw finer pictures, and take longer. The papers have
            128, at 64 pixels.
        noise: Number of random numbers that a picture is made of, beside its caption.
        text: Width that a caption's embedding is projected to.
        augmentation: Whether the projected embedding is drawn from a normal distribution (StackGAN's conditioning
            augmentation).
        divergence: Weight of the KL divergence of the conditioning augmentation, in nats a number of the projected
            embedding.
        upsampling: How the generator enlarges: by transposed convolutions, or by repetition and 3x3 convolutions
            (nearest), which need fewer rounds.
        residual: Whether there are residual blocks at the generator's first two sizes.
        modulation: Whether noise and text scale and shift the generator's channels at every size, too (BigGAN, DF-GAN).
        attention: Side of the generator's feature map with self-attention. 0 has none.
        norm: Normalisation of the generator's feature maps. Several processes each normalise their own part, unless
            `synchronised`.
        synchronised: Whether batch normalisation is over all processes.
        average: Decay of the moving average of the generator's weights, which is evaluated and exported. Nearer 1
            averages over more rounds; 0 has none.
        optimizer: The optimiser of the generator.
    """

    width: Count = 48
    noise: Count = 32
    text: Count = 64
    augmentation: bool = False
    divergence: NotNegative = 2.0
    upsampling: Literal["transposed", "nearest"] = "nearest"
    residual: bool = True
    modulation: bool = True
    attention: Whole = 0
    norm: Norm = "batch"
    synchronised: bool = False
    average: Share = 0.998
    optimizer: OptimizerConfig = field(default_factory=_adam)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator of pictures and their captions.

    The defaults, which the papers have not, are what learns soonest: no normalisation but R1 (Mescheder et al. 2018),
    a warm-up on captions, and several that do not fit, of which some nearly do. recipes/images/cub.yaml has the papers'
    choices.

    Args:
        network: Class of the discriminator's network. It is built with the pictures' side and the width of a caption's
            embedding; its forward takes any number of (pixels, [embeddings, ...]) and returns, for each, a list with
            the logits of each embedding, (batch,), higher = real and fitting, and after them those of the picture alone
            if it gives such.
        objective: Function that builds what the discriminator minimises, and which reward its logit is.
        mismatched: Weight of real pictures with captions that do not fit, beside 1 less that of made ones. GAN-CLS has
            0.5, 0 leaves them out.
        wrong: Number of captions that do not fit, of each real picture, whose features are computed once. GAN-CLS has
            1.
        near: Number of wrong captions that are nearest to the picture's own caption among a few hundred: a red circle
            for a red square.
        smoothing: Probability with which the discriminator is asked to find real pictures real. Label smoothing has
            0.9, 1 has none.
        gradient_square: Weight of half the square of the discriminator's gradient at real pictures, R1. 0 has none.
        penalty: Weight of (norm of the discriminator's gradient - 1)^2 between real and made pictures, WGAN-GP. 0 has
            none.
        penalised: Share of a batch that R1 and the gradient penalty look at. They cost several times what the rest
            does.
        matching: Steps of a warm-up in which the discriminator only learns to tell captions that fit real pictures from
            those that don't, before the game; 0 leaves it out.
        augmentations: Differentiable augmentations of all pictures that the discriminator sees (DiffAugment): a list of
            colour, translation, cutout.
        optimizer: The optimiser of the discriminator.
    """

    network: Callable[[int, int], nn.Module] = PictureDiscriminator
    objective: Callable[[], objectives.Objective] = objectives.non_saturating
    mismatched: Share = 0.5
    wrong: Count = 4
    near: Whole = 2
    smoothing: Share = 1.0
    gradient_square: NotNegative = 0.1
    penalty: NotNegative = 0.0
    penalised: PositiveShare = 0.125
    matching: Whole = 1500
    augmentations: list[Kind] = field(default_factory=list)
    optimizer: OptimizerConfig = field(default_factory=_adam)


@dataclass(frozen=True)
class AdversarialConfig:
    """The adversarial phase, the game of generator and discriminator.

    Args:
        rounds: Rounds of the adversarial phase, each with updates of the generator and of the discriminator.
        turns: Updates of each player in a round.
        batch_size: Pictures in an update of either player, over all processes.
        interpolation: Weight of pictures under captions in between two (GAN-INT), beside 1 of the batch's own. 0 has
            none.
        beta: Share of the first of the two captions in a caption in between.
        fresh: Whether the discriminator sees pictures made after the generator's step, not those that the generator
            learnt from.
        rewards: Differentiable reward functions of pictures of your own, by import path and weight.
        discriminator_weight: Weight of the discriminator's reward beside those of your own functions. 0 learns from
            these alone.
    """

    rounds: Whole = 3000
    turns: Turns = field(default_factory=Turns)
    batch_size: Several = 64
    interpolation: NotNegative = 0.0
    beta: Share = 0.5
    fresh: bool = False
    rewards: list[PictureReward] = field(default_factory=list)
    discriminator_weight: Number = 1.0


@dataclass(frozen=True)
class SecondStageConfig:
    """StackGAN's second stage, on the first as the adversarial phase left it.

    Args:
        side: Side of the second stage's pictures in pixels; 0 has no second stage.
        width: Channels of the second stage's first layer. The paper's code has 128.
        blocks: Number of residual blocks of the second stage. The paper has 4.
        rounds: Rounds of the second stage's game.
        batch_size: Pictures in an update of either player of the second stage, over all processes.
        train_first: Whether the first stage is trained on, too, in the second stage's game.
        discriminator: Class of the second stage's discriminator, built with the side and the width of an embedding.
        optimizer: The optimiser of the second stage's generator.
        discriminator_optimizer: The optimiser of the second stage's discriminator.
    """

    side: Integer = 0
    width: Count = 32
    blocks: Blocks = 2
    rounds: Whole = 2000
    batch_size: Several = 64
    train_first: bool = False
    discriminator: Callable[[int, int], nn.Module] = PictureDiscriminator
    optimizer: OptimizerConfig = field(default_factory=_adam)
    discriminator_optimizer: OptimizerConfig = field(default_factory=_adam)


@dataclass(frozen=True)
class StyleConfig:
    """An encoder from a picture to the noise that it could have been made of (Reed et al. 2016, sec. 4.4).

    Args:
        steps: Batches on which the style encoder learns. 0 trains none; `sample --like` needs it.
        batch_size: Pictures in a batch of the style encoder, over all processes.
        optimizer: The optimiser of the style encoder.
    """

    steps: Whole = 0
    batch_size: Count = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3, clip=0.0))


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on held-out captions and pictures.

    Args:
        samples: Number of held-out captions of an evaluation, a picture each; fewer where there are not so many.
        every: Rounds between two evaluations. 0 evaluates at the end of a phase only.
        features: Network whose features Fréchet and kernel distance, precision and recall compare: `learned` trains a
            small one on the pictures at hand to find their captions' words; or the folder of any Hugging Face vision
            model; or `none`.
        feature_steps: Batches on which the learned network of features is trained.
        matcher: What R-precision, whether pictures fit their captions, is judged by: `learned` trains a small network
            on the pictures at hand to match them with their captions' words; or the folder of a joint embedding that
            `train encoder` made; or `none`. `auto` takes the run's own text encoder if it is such, else learns; null
            takes that or none.
        matcher_steps: Batches on which the learned matcher is trained.
        clip: Folder of a CLIP model, for the CLIP score. Unset leaves that out.
        seed: Seed of the noise at every evaluation, the same each time.
        best: Held-out score by which the best generator of a stage is chosen, which RUN/model is: `joint_distance`,
            that of pictures and captions together from held-out ones, or another metric of the evaluation (a wrong
            name lists them). `auto` takes that where there are features; `none` has RUN/model the last one.
        patience: Evaluations of a phase without a better score (`best`) after which the phase ends early. 0 never ends
            it so.
        keep_models: Whether the model of each evaluation is kept, as RUN/models/PHASE-STEP, for `--model STEP` of
            commands; each takes as much of the disk as RUN/model.
    """

    samples: Annotated[int, Bound(10)] = 500
    every: Whole = 1000
    features: str = "learned"
    feature_steps: Whole = 400
    matcher: str | None = "auto"
    matcher_steps: Whole = 600
    clip: str | None = None
    seed: Seed = 1234
    best: str = "auto"
    patience: Whole = 0
    keep_models: bool = False


@dataclass(frozen=True)
class ImagesConfig:
    """A run of images: pictures from captions, by GAN-CLS, GAN-INT, GAN-INT-CLS or StackGAN."""

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
