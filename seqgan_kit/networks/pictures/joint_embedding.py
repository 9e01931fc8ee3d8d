"""Pictures and captions as vectors of one space, where a picture is near to what is said of it (Reed et al. 2016a).

Reed et al. 2016a is "Learning Deep Representations of Fine-Grained Visual Descriptions" (CVPR, 1605.05395), 2016b
"Generative Adversarial Text to Image Synthesis" (ICML, 1605.05396), which conditions its players on these vectors.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from seqgan_kit.errors import UserError
from seqgan_kit.networks import device_sizes

# Reed's 70 characters, of which the hyphen stands there twice, so that one column of his is always zero.
PAPER_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+=<>()[]{} "
WINDOW, POOL = 4, 3  # characters that a convolution sees, steps that become one
SHORTEST = 48  # characters that leave one step for the recurrent network
SMALLEST = 16  # side of a picture, which the four strides of 2 make 1


def plain(caption: str) -> str:
    """The caption as encoders compare it: composed characters (NFC), lower case, one space between words."""
    return " ".join(unicodedata.normalize("NFC", caption).lower().split())


def alphabet_of(captions: Iterable[str], most: int = 256) -> str:
    """The `most` most frequent characters of the captions, for those that `PAPER_ALPHABET` cannot write.

    Raises UserError where there is none.
    """
    counts = Counter(character for caption in captions for character in plain(caption))
    if not counts:
        raise UserError("the captions have no characters, so there is no alphabet: give captions that say something")
    return "".join(sorted(counts, key=lambda character: (-counts[character], character))[:most])


def numbered(captions: Sequence[str], alphabet: str, length: int) -> Tensor:
    """Places in the alphabet from 1, int64 (captions, length): 0 is padding after the end, or an unknown character.

    What goes beyond `length` is cut. Raises UserError for a caption without one known character: its vector would be
    that of no caption at all.
    """
    places = {character: place for place, character in enumerate(alphabet, start=1)}
    rows = torch.zeros(len(captions), length, dtype=torch.int64)
    for row, caption in zip(rows, captions, strict=True):
        found = [places.get(character, 0) for character in plain(caption)[:length]]
        if not any(found):
            raise UserError(
                f"caption {caption!r} has none of the {len(alphabet)} characters that the encoder knows in its first "
                f"{length}: write it in the script of {alphabet[:10]!r}, or train an encoder with --joint.alphabet data"
            )
        row[: len(found)] = torch.tensor(found)
    return rows


def structured_joint_embedding(pictures: Tensor, texts: Tensor, same: Tensor) -> Tensor:
    """The mean over mismatched pairs (i, j) of max(0, 1 + v_i.t_j - v_i.t_i) + max(0, 1 + v_i.t_j - v_j.t_j).

    Reed et al. 2016a, eq. 2-5, symmetric: a picture v scores its own caption t higher by 1 than the others', and a
    caption its own picture. pictures, texts: (batch, dim), row i of one belongs to row i of the other. same: (batch,
    batch) bool, (i, j) is no mismatch though i != j: of one class, or with equal captions. 0 where all are the same.

    Deviations: the paper sums over j; its code divides by batch^2, which counts the pairs that can't be wrong.
    """
    scores = pictures @ texts.T
    matched = scores.diagonal()
    hinges = F.relu(1 + scores - matched.unsqueeze(1)) + F.relu(1 + scores - matched)
    different = ~(same | torch.eye(len(same), dtype=torch.bool, device=same.device))
    return (hinges * different).sum() / different.sum().clamp_min(1)


def contrastive(pictures: Tensor, texts: Tensor, same: Tensor, temperature: float) -> Tensor:
    """The mean cross-entropy, in nats, of finding a picture's own caption in the batch, and a caption's own picture.

    By cosines divided by `temperature` (Radford et al. 2021, CLIP, fig. 3, where it is learned). Arguments as of
    `structured_joint_embedding`; pairs that are the same are left out. log(batch) is chance.
    """
    scores = F.normalize(pictures, dim=1) @ F.normalize(texts, dim=1).T / temperature
    matched = torch.arange(len(scores), device=scores.device)
    scores = scores.masked_fill(same & (matched.unsqueeze(1) != matched), -torch.inf)
    return (F.cross_entropy(scores, matched) + F.cross_entropy(scores.T, matched)) / 2


class CharCNNRNN(nn.Module):
    """Convolutions over one-hot characters, then a GRU over what remains, averaged over time (Reed et al. 2016a, b).

    The defaults are those of 2016b: 201 characters -> (384, window 4), maximum of 3 -> (512, 4), maximum of 3 ->
    (512, 4) -> GRU over 18 steps -> 1024. Captions are padded with zeros after the end, as there: nothing is masked, so
    a vector depends on `length`, too.

    Deviations: PyTorch's GRU, which resets after the matrix product and starts from zeros; the code resets before it
    and starts from tanh(W x). PyTorch's initial weights instead of uniform (-0.08, 0.08).

    Args:
        characters: number of characters of the alphabet.
        length: of a caption, in characters.
        widths: of the three convolutions; the last is the GRU's, too.
        dim: width of the vector.
    """

    def __init__(
        self, characters: int, length: int = 201, widths: Sequence[int] = (384, 512, 512), dim: int = 1024
    ) -> None:
        super().__init__()
        if length < SHORTEST:
            raise ValueError(f"length {length} leaves no step after two poolings: give {SHORTEST} or more")
        first, second, third = widths
        self.characters = characters
        self.convolutions = nn.Sequential(
            *(nn.Conv1d(characters, first, WINDOW), nn.ReLU(), nn.MaxPool1d(POOL)),
            *(nn.Conv1d(first, second, WINDOW), nn.ReLU(), nn.MaxPool1d(POOL)),
            *(nn.Conv1d(second, third, WINDOW), nn.ReLU()),
        )
        self.recurrent = nn.GRU(third, third, batch_first=True)
        self.output = nn.Linear(third, dim)

    def forward(self, characters: Tensor) -> Tensor:
        """Places from 1, 0 for none, int64 (batch, length) -> (batch, dim)."""
        ones = F.one_hot(characters, self.characters + 1)[..., 1:].to(self.output.weight.dtype)
        steps = self.convolutions(ones.transpose(1, 2)).transpose(1, 2)
        hidden, _ = self.recurrent(steps)
        return self.output(hidden.mean(dim=1))


class PictureEncoder(nn.Module):
    """(batch, 3, height, width) in [-1, 1], sides of 16 or more, -> (batch, dim).

    Four convolutions of stride 2, the average over the picture, a linear layer. Groups are normalised, not batches, so
    a picture's vector does not depend on the others. Deviation: Reed et al. 2016a take a GoogLeNet trained on ImageNet.
    """

    def __init__(self, dim: int = 1024, width: int = 32) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for before, after in pairwise(widths):
            convolution = nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)
            layers += [convolution, nn.GroupNorm(8, after), nn.LeakyReLU(0.2)]
        self.convolutions = nn.Sequential(*layers)
        self.output = nn.Linear(8 * width, dim)

    def forward(self, pixels: Tensor) -> Tensor:
        if min(pixels.shape[-2:]) < SMALLEST:
            raise ValueError(f"pictures of {tuple(pixels.shape[-2:])}: give sides of {SMALLEST} or more")
        return self.output(self.convolutions(pixels).mean(dim=(2, 3)))


class JointEmbeddingConfig(PretrainedConfig):
    """Sizes of a `JointEmbedding`.

    alphabet: the characters that it reads, each once and in lower case.
    length: characters of a caption; what goes beyond is cut.
    widths: of the convolutions over characters.
    dim: width of the vectors.
    picture_width: channels of the first convolution over pixels, a multiple of 4.
    """

    model_type = "seqgan_joint_embedding"

    def __init__(
        self,
        alphabet: str = PAPER_ALPHABET,
        length: int = 201,
        widths: Sequence[int] = (384, 512, 512),
        dim: int = 1024,
        picture_width: int = 32,
        **others: Any,
    ) -> None:
        self.alphabet, self.length, self.widths = alphabet, length, list(widths)
        self.dim, self.picture_width = dim, picture_width
        super().__init__(**others)


class JointEmbedding(PreTrainedModel):
    """An encoder of captions and one of pictures, into one space. `forward` gives what is differentiated."""

    config_class = JointEmbeddingConfig
    base_model_prefix = "joint_embedding"

    def __init__(self, config: JointEmbeddingConfig) -> None:
        super().__init__(config)
        if len(set(config.alphabet)) < len(config.alphabet) or config.alphabet != config.alphabet.lower():
            raise ValueError(f"alphabet {config.alphabet!r}: give each character once, in lower case")
        self.text = CharCNNRNN(len(config.alphabet), config.length, config.widths, config.dim)
        self.picture = PictureEncoder(config.dim, config.picture_width)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """All layers are initialised where they are made."""

    def forward(self, pixels: Tensor, characters: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, 3, height, width) in [-1, 1], and what `number` gives -> vectors of both, each (batch, dim)."""
        return self.picture(pixels), self.text(characters)

    def number(self, captions: Sequence[str]) -> Tensor:
        """What `forward` reads of captions: int64 (captions, length). Raises UserError as `numbered`."""
        return numbered(captions, self.config.alphabet, self.config.length).to(self.device)

    @torch.no_grad()
    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """(captions, dim), without a gradient. Raises UserError as `numbered`."""
        parts = self.number(captions).split(device_sizes.sizes(self.device).embedded_rows) if captions else ()
        return torch.cat([self._none(), *map(self.text, parts)])

    @torch.no_grad()
    def embed_pictures(self, pixels: Tensor) -> Tensor:
        """(batch, 3, height, width) in [-1, 1] -> (batch, dim), without a gradient."""
        parts = pixels.split(device_sizes.sizes(self.device).embedded_rows) if len(pixels) else ()
        return torch.cat([self._none(), *(self.picture(part.to(self.device)) for part in parts)])

    def _none(self) -> Tensor:
        return self.picture.output.weight.new_zeros(0, self.config.dim)


# so that AutoModel knows a saved folder once this module is imported
AutoConfig.register(JointEmbeddingConfig.model_type, JointEmbeddingConfig, exist_ok=True)
AutoModel.register(JointEmbeddingConfig, JointEmbedding, exist_ok=True)
