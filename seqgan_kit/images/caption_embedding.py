"""How captions become vectors in a run, and the training of a joint embedding of captions and pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from seqgan_kit.bounds import Count, Positive, Several, Whole
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.errors import UserError
from seqgan_kit.files import parsed, read_bytes
from seqgan_kit.images.caption_encoders import HuggingFaceEncoder, Joint, Order, TextEncoder, Words, confused, order_for
from seqgan_kit.images.clip import unseen_ends
from seqgan_kit.images.data import Captioned, PictureBatches
from seqgan_kit.images.sources import DataConfig
from seqgan_kit.language.encoders import Pooling
from seqgan_kit.networks.pictures.joint_embedding import (
    PAPER_ALPHABET,
    JointEmbedding,
    JointEmbeddingConfig,
    alphabet_of,
    contrastive,
    structured_joint_embedding,
)
from seqgan_kit.samples import Images


@dataclass(frozen=True)
class JointConfig:
    """A char-CNN-RNN and a picture encoder, trained into one space (Reed et al. 2016a), before the game.

    Args:
        steps: Batches on which the joint embedding is trained; 0 trains none. Above 0 it is the text encoder, in place
            of `text.encoder`.
        batch_size: Pictures in a batch of the joint embedding, over all processes.
        length: Characters of a caption that the joint embedding reads. The paper has 201.
        widths: Channels of each of the convolutions over characters. The paper has [384, 512, 512].
        dim: Width of the vectors of captions and pictures. The paper has 1024.
        picture_width: Channels of the first convolution over pixels.
        objective: Loss of the joint embedding: `structured`, the paper's hinges, or `contrastive`, the cross-entropy of
            finding the pairs of a batch.
        temperature: Temperature that the contrastive loss divides cosines by.
        alphabet: Characters that the joint embedding knows: `paper` (70 Latin characters), `data` (those of the
            captions), or the characters themselves.
        optimizer: The optimiser of the joint embedding.
    """

    steps: Whole = 0
    batch_size: Several = 64
    length: Whole = 96
    widths: list[Count] = field(default_factory=lambda: [64, 128, 128])
    dim: Count = 128
    picture_width: Count = 32
    objective: Literal["structured", "contrastive"] = "structured"
    temperature: Positive = 0.1
    alphabet: str = "paper"
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=7e-4, final=0.1))


@dataclass(frozen=True)
class CaptionEncoderConfig:
    """From captions to the vectors that both players read.

    Args:
        encoder: How captions become vectors: `words` counts words, whose meaning the players' first layers learn end to
            end; or the folder of a joint embedding that `train encoder` made, or of any Hugging Face text model.
        order: What the counts of `words` keep of the words' order: nothing (none), the clause that a word is in
            (clauses), or neighbouring pairs of words, too (pairs), which must be met to be known. `auto` takes pairs
            where more than 1 % of the captions are permutations of one another that clauses do not tell apart.
        pooling: How a Hugging Face model's tokens become one vector: their mean, the first one, or its own way as CLIP
            has it. `auto` knows.
        conditional: Whether pictures depend on captions. false gives every caption the same vector: an unconditional
            GAN, as a control.
        standardise: Whether the mean of the training captions' vectors is subtracted, and they are divided by their
            standard deviation.
        averaged: Number of captions of a picture whose vectors are averaged. Reed et al.'s code has 4.
        cache: Folder that captions' vectors are kept in, for the next run with the same encoder and captions. Unset
            keeps none.
    """

    encoder: str = "words"
    order: Order | Literal["auto"] = "auto"
    pooling: Pooling | Literal["auto"] = "auto"
    conditional: bool = True
    standardise: bool = True
    averaged: Count = 1
    cache: str | None = None


def encoder_of(
    config: CaptionEncoderConfig,
    captions: list[str],
    given: list[int] | None = None,
    device: torch.device | str = "cpu",
) -> TextEncoder:
    """As configured, for a training set with these captions, each of so many pictures; a network is on the device.
    Raises UserError where there is no such encoder."""
    if config.encoder == "words":
        return Words(captions, order_for(captions) if config.order == "auto" else config.order, given=given)
    folder = Path(config.encoder)
    try:
        kind = parsed(read_bytes(folder / "config.json")).get("model_type")
    except OSError:
        if (folder / "model" / "config.json").is_file():
            raise UserError(f"--text.encoder {config.encoder} is a run: give its model, {folder / 'model'}") from None
        raise UserError(
            f"--text.encoder {config.encoder}: neither `words` nor the folder of a model (it has no config.json); "
            "make one by seqgan-kit train encoder"
        ) from None
    except (ValueError, AttributeError):
        raise UserError(f"--text.encoder: {folder / 'config.json'} is no JSON object: copy the folder again") from None
    if kind == JointEmbeddingConfig.model_type:
        return Joint(folder, device)
    return HuggingFaceEncoder(folder, config.pooling, device=device)


def unread_ends(encoder: TextEncoder, captions: list[str]) -> str | None:
    """What to tell of an encoder that does not see the last word of a caption; None of one that does."""
    if not isinstance(encoder, HuggingFaceEncoder):
        return None
    same = unseen_ends(encoder.encode, encoder.tokenizer, captions)
    return same and (
        f"--text.encoder {encoder.name} gives {same[0]!r} and {same[1]!r} the same vector: its tokenizer adds no end "
        "token, or the model takes another one for it; give --text.pooling mean, or a folder where they fit"
    )


def order_told(config: CaptionEncoderConfig, counted: bool, captions: list[str]) -> list[str]:
    """What becomes of captions that are permutations of one another, in lines. counted: they are read as words."""
    if not (among := confused(captions, "none")):
        return []
    line = f"{among} of {len(captions)} captions are permutations of the words of another one"
    if not counted or config.order == "auto":
        return [line]
    left = confused(captions, config.order)
    told = f"{left} of these are not told apart" if left else "all are told apart"
    advice = "; --text.order pairs reads more of it" if left and config.order != "pairs" else ""
    return [f"{line}: {told} by --text.order {config.order}{advice}"]


def joint_network(config: JointConfig, captions: list[str]) -> JointEmbedding:
    """A new network, with the alphabet that the configuration asks for."""
    known = {"paper": lambda: PAPER_ALPHABET, "data": lambda: alphabet_of(captions)}
    alphabet = known[config.alphabet]() if config.alphabet in known else "".join(dict.fromkeys(config.alphabet.lower()))
    return JointEmbedding(
        JointEmbeddingConfig(alphabet, config.length, config.widths, config.dim, config.picture_width)
    )


def joint_loss(config: JointConfig, module: nn.Module, batch: Images) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a joint embedding. `batch.condition`: (batch, length) places in the alphabet."""
    pictures, texts = (vectors.float() for vectors in module(batch.pixels, batch.condition))
    same = (batch.condition.unsqueeze(0) == batch.condition.unsqueeze(1)).all(2)
    if config.objective == "structured":
        loss = structured_joint_embedding(pictures, texts, same)
    else:
        loss = contrastive(pictures, texts, same, config.temperature)
    scores = (pictures @ texts.T).masked_fill(same & ~torch.eye(len(same), dtype=torch.bool, device=same.device), -1e9)
    right = (scores.argmax(1) == torch.arange(len(scores), device=scores.device)).float().mean()
    return loss, {"matched": right.detach()}


def joint_batches(
    engine: Engine, network: JointEmbedding, data: Captioned, config: DataConfig, seed: int, name: str
) -> PictureBatches:
    """Pictures with the characters of a caption of theirs. name: of the data."""
    return PictureBatches(
        data, network.number(list(data.captions)).cpu(), config.side, seed, engine.rank, engine.processes,
        engine.device, name=name, flip=config.flip, wrong=0,
    )  # fmt: skip
