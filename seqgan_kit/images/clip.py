"""CLIP scores: how well pictures fit their captions. Pictures are (batch, 3, height, width), floats in [-1, 1]."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPModel

from seqgan_kit.errors import UserError
from seqgan_kit.images.features import HuggingFaceFeatures
from seqgan_kit.images.vision_models import WHERE
from seqgan_kit.networks.saved import load_tokenizer

PROBES = 24  # words that probes begin with
ALIKE = 1e-5  # of a vector's length


def unseen_ends(
    encode: Callable[[list[str]], Tensor], tokenizer: Any, captions: Sequence[str]
) -> tuple[str, str] | None:
    """Two probes that differ in their last word alone, and get the same vector; None where there are no such.

    A model that pools at its end token sees nothing of a text whose tokenizer adds none, and one whose end token
    transformers takes for an old one, since its id is 2, nothing after the highest id. captions: words are taken from
    them.
    """
    words = [word for word in dict.fromkeys(re.findall(r"[^\W\d_]+", " ".join(captions))) if len(word) > 1]
    words = words[:: max(1, len(words) // PROBES)][:PROBES]
    pairs = [(f"{word} {words[i - 1]}", f"{word} {words[i - 2]}") for i, word in enumerate(words) if len(words) > 2]
    pairs = [pair for pair in pairs if len({*map(tuple, tokenizer(list(pair), verbose=False)["input_ids"])}) > 1]
    if not pairs:
        return None
    first, second = (encode([pair[side] for pair in pairs]).float() for side in (0, 1))
    same = (first - second).norm(dim=1) <= ALIKE * first.norm(dim=1)
    return pairs[int(same.nonzero()[0])] if same.any() else None


class ClipScores:
    """How well pictures fit captions, by a CLIP model (Hessel et al. 2021, eq. 1), scaled by 100 rather than 2.5.

    path: of a folder with the model, its tokenizer and its preprocessor_config.json; UserError for any other. The
    paper's prompt "A photo depicts" is left to the caller. What a caption has beyond the model's length is cut off.
    """

    def __init__(self, path: str | Path) -> None:
        folder = Path(path)
        self.features = HuggingFaceFeatures(folder)
        self.model, config = self.features.model, self.features.model.config
        if not isinstance(self.model, CLIPModel):
            raise UserError(f"{folder} holds a {config.model_type} model, but only clip has a CLIP score: {WHERE}")
        self.tokenizer = load_tokenizer(folder)
        entries, self.longest = config.text_config.vocab_size, config.text_config.max_position_embeddings
        if len(self.tokenizer) > entries:
            raise UserError(f"{folder}: the tokenizer has {len(self.tokenizer)} entries, the model {entries}: {WHERE}")
        if same := unseen_ends(self.captions, self.tokenizer, list(self.tokenizer.get_vocab())):
            raise UserError(
                f"{folder} gives {same[0]!r} and {same[1]!r} the same vector, so it cannot judge captions: its "
                "tokenizer adds no end token, or the model takes another one for it; give a folder where they fit"
            )

    def __call__(self, pixels: Tensor, captions: Sequence[str]) -> Tensor:
        """max(100 cos, 0) of each picture and its caption, (batch,). pixels: (batch, 3, h, w) in [-1, 1]."""
        if len(pixels) != len(captions):
            raise ValueError(f"{len(pixels)} pictures and {len(captions)} captions: give pairs")
        pictures = self.pictures(pixels)
        return (100 * (pictures * self.captions(captions).to(pictures.device)).sum(1)).clamp_min(0)

    def pictures(self, pixels: Tensor) -> Tensor:
        """Unit vectors, (batch, d)."""
        return F.normalize(self.features(pixels).vectors, dim=1)

    @torch.no_grad()
    def captions(self, captions: Sequence[str]) -> Tensor:
        """Unit vectors, (batch, d), where the model is."""
        words = self.tokenizer(
            list(captions), padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
        ).to(self.model.device)
        found = self.model.get_text_features(input_ids=words["input_ids"], attention_mask=words["attention_mask"])
        return F.normalize((found if isinstance(found, Tensor) else found.pooler_output).float(), dim=1)
