"""Texts as vectors of a network that is given: the interface, and any model of Hugging Face in a local folder.

Metrics of text compare such vectors, and generators of pictures are told of captions by them.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModel, CLIPTextModelWithProjection

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import check_file, read_json
from seqgan_kit.networks.saved import load_frozen, load_tokenizer, model_folder, read_config

Pooling = Literal["mean", "first", "own"]

KIND = "encoder.json"  # written last: a folder without it is no encoder
STANDARDISER = "standardiser.safetensors"
READ = ("*.json", "*.safetensors", "*.txt", "*.model")  # what a model folder is read from
UNLIMITED = 10**9  # tokens: what a tokenizer without a limit says is more
LONGEST = 512  # tokens of a caption where neither the tokenizer nor the model has a limit
BATCH = 64
AGAIN = "save the run's model again, or copy the whole folder again"


class TextEncoder(ABC):
    """Captions -> vectors.

    dim: width of the vectors. name: for messages.
    """

    dim: int
    name: str

    @abstractmethod
    def encode(self, captions: Sequence[str]) -> Tensor:
        """(captions, dim) float32 on the CPU, without a gradient; the same each time, to rounding."""

    @abstractmethod
    def unread(self, captions: Sequence[str]) -> int:
        """How many of the captions are not read in full: they are too long, or have unknown words or characters."""

    @abstractmethod
    def identity(self) -> str:
        """A SHA-256 of all that the vectors depend on, besides the caption."""

    @abstractmethod
    def save(self, folder: Path) -> dict[str, Any]:
        """Writes what the encoder needs into the folder; returns the rest, for `encoder.json`."""


class HuggingFaceEncoder(TextEncoder):
    """Any text encoder of `transformers`, from a local folder with its tokenizer and safetensors; nothing is trained.

    Args:
        path: the folder.
        pooling: of a caption's tokens. mean: over those that are no padding. first: the first token's. own: the model's
            (CLIP's projected text features, else its pooler's). auto: own for CLIP and its relatives, else what
            sentence-transformers' 1_Pooling/config.json says, else mean. Vectors are not normalised.
        batch: captions at a time.
        device: where it runs.
    """

    def __init__(
        self,
        path: str | Path,
        pooling: Literal["auto", "mean", "first", "own"] = "auto",
        batch: int = BATCH,
        device: torch.device | str = "cpu",
    ) -> None:
        folder = model_folder(path)
        self.batch, self.device, self.name, self._identity = batch, device, str(path), folder_sum(folder)
        self.model, missing = load_frozen(_model_class(folder), folder)
        self.pooling: Pooling = _pooling(folder, self.model) if pooling == "auto" else pooling
        unused = () if self.pooling == "own" else ("pooler.", "projection.")
        missing = [key for key in missing if not any(part in key for part in unused)]
        if missing:
            raise UserError(
                f"{path} lacks {len(missing)} of the model's weights, as {missing[0]}: give a text encoder's whole "
                f"folder, or for captions another --text.pooling"
            )
        self.model.to(device)
        self.tokenizer = load_tokenizer(folder)
        limit = self.tokenizer.model_max_length
        if limit > UNLIMITED:
            limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", LONGEST)
        self.length = int(limit)
        try:
            probe = torch.zeros(1, 1, dtype=torch.int64, device=device)
            self.dim = self._pooled({"input_ids": probe, "attention_mask": torch.ones_like(probe)}).shape[1]
        except Exception as error:  # a model of something else may fail in any way
            raise UserError(
                f"{path} holds a {type(self.model).__name__}, which gives no vectors of texts with pooling "
                f"{self.pooling} ({one_line(error)}): give a text encoder, or for captions another --text.pooling"
            ) from None

    def encode(self, captions: Sequence[str]) -> Tensor:
        vectors = torch.empty(len(captions), self.dim)
        # captions of about one length together, so that little is padding
        order = sorted(range(len(captions)), key=lambda place: (len(captions[place]), captions[place]))
        starts = range(0, len(order), self.batch)
        for start in tqdm(starts, desc="embedding captions", delay=2, leave=False, disable=None):
            places = order[start : start + self.batch]
            vectors[places] = self._pooled(self._tokens([captions[place] for place in places])).float().cpu()
        return vectors

    def unread(self, captions: Sequence[str]) -> int:
        """How many of the captions are longer than the model's limit; unknown words are its tokenizer's affair."""
        rows = self.tokenizer(list(captions), verbose=False)["input_ids"] if captions else []
        return sum(len(row) > self.length for row in rows)

    def identity(self) -> str:
        return digest("huggingface", self._identity, self.pooling)

    def save(self, folder: Path) -> dict[str, Any]:
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return {"pooling": self.pooling}

    def _tokens(self, captions: list[str]) -> dict[str, Tensor]:
        # SigLIP and others that know no mask were trained with all of the padding
        masked = "attention_mask" in self.tokenizer.model_input_names
        padding: Any = True if masked else "max_length"
        found = self.tokenizer(
            captions, padding=padding, truncation=True, max_length=self.length, return_tensors="pt", verbose=False
        )
        ids = found["input_ids"]
        mask = found["attention_mask"] if masked else torch.ones_like(ids)
        empty = next((place for place, row in enumerate(mask) if not row.any()), None)
        if empty is not None:
            raise UserError(f"{self.name} knows no token of caption {captions[empty]!r}: give another caption")
        rows = len(self._reader().get_input_embeddings().weight)
        if int(ids.max()) >= rows:
            raise UserError(f"{self.name}: the tokenizer gives id {ids.max()}, the model has {rows}: they don't belong")
        return {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}

    @torch.no_grad()
    def _pooled(self, tokens: dict[str, Tensor]) -> Tensor:
        """(batch, time) ids and mask -> (batch, dim)."""
        if self.pooling == "own":
            if callable(features := getattr(self.model, "get_text_features", None)):
                found = features(**tokens)  # a tensor until transformers 5
                return found if isinstance(found, Tensor) else found.pooler_output
            outputs = self.model(**tokens)
            return outputs.text_embeds if "text_embeds" in outputs else outputs.pooler_output
        hidden = self._reader()(**tokens).last_hidden_state
        if self.pooling == "first":
            return hidden[:, 0]
        mask = tokens["attention_mask"].unsqueeze(2).to(hidden.dtype)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)

    def _reader(self) -> Any:
        """The part of the model that reads texts."""
        if callable(getattr(self.model, "get_text_features", None)):
            return self.model.text_model
        return self.model.get_encoder() if self.model.config.is_encoder_decoder else self.model


def digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def folder_sum(folder: Path) -> str:
    """A SHA-256 of what a model is read from, wherever the folder is; not of what `save_encoder` adds to it."""
    own = {KIND, STANDARDISER}
    paths = sorted({path for pattern in READ for path in folder.glob(pattern) if path.name not in own})
    return digest([[path.name, _file_sum(path)] for path in paths])


def _file_sum(path: Path) -> str:
    found = hashlib.sha256()
    check_file(path)
    with open(path, "rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def _model_class(folder: Path) -> Any:
    """AutoModel takes a CLIP text model without its projection, whatever the folder holds."""
    architectures = read_config(folder).architectures or []
    return CLIPTextModelWithProjection if "CLIPTextModelWithProjection" in architectures else AutoModel


def _pooling(folder: Path, model: Any) -> Pooling:
    if callable(getattr(model, "get_text_features", None)) or model.config.model_type == "clip_text_model":
        return "own"
    path = folder / "1_Pooling" / "config.json"
    return "first" if path.is_file() and read_json(path, AGAIN).get("pooling_mode_cls_token") else "mean"
