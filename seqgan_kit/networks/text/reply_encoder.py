"""Discriminators made of any Hugging Face encoder: of replies or texts, of the generator's tokens or of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from seqgan_kit.networks.text import masks
from seqgan_kit.samples import sent

TRIED = ("bert", "roberta", "electra", "distilbert")
"""Encoders that take `masks` as their layers use them, to the same end."""


class ReplyEncoder(nn.Module):
    """History and reply, or a text alone -> a logit, higher = more human: (batch,). An encoder reads both at once.

    The logit is linear in the mean of what the encoder makes of the reply's tokens. It judges what the mask shows, so
    prefixes are rows of their own.

    Args:
        encoder: whose embedding knows the generator's tokens.

    Raises ValueError for an encoder-decoder, or a configuration that calls itself a decoder.
    """

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        if encoder.config.is_encoder_decoder or getattr(encoder.config, "is_decoder", False):
            raise ValueError(f"{type(encoder).__name__} is no encoder")
        self.encoder = encoder
        pooler = getattr(encoder, "pooler", None)
        if isinstance(pooler, nn.Module):  # is not read here: several processes would wait for its gradient
            pooler.requires_grad_(False)
        self.kinds = int(getattr(encoder.config, "type_vocab_size", 0) or 0)
        takes_places = "position_ids" in inspect.signature(encoder.forward).parameters
        # who has no padding token (RoBERTa, made from a configuration) can't tell where it is, and is told its places
        self.places = takes_places and encoder.config.pad_token_id is None
        self.whole_masks = masks.plain(encoder.config) and encoder.config.model_type in TRIED
        self.output = nn.Linear(encoder.config.hidden_size, 1)

    def forward(self, ids: Tensor, mask: Tensor, history: Tensor | None = None, turns: Tensor | None = None) -> Tensor:
        """ids, mask: (batch, time). history, turns: (batch, past), as of `Replies`. -> (batch,), float32."""
        history, turns = _past(ids, history, turns)
        ids = ids * mask  # on padding another vocabulary's end token may be written
        read, shown = torch.cat([history, ids], dim=1), torch.cat([turns >= 0, mask], dim=1)
        reply = torch.cat([torch.zeros_like(turns), mask.long()], dim=1)
        # encoders count places from the first, padding or not: padding goes to the end
        places = torch.arange(read.shape[1], device=ids.device) + (turns < 0).sum(1, keepdim=True)
        read, shown, reply = (part.gather(1, places % read.shape[1]) for part in (read, shown, reply))
        # a GPU reads the padding, too, rather than be waited for to hear how much that is
        longest = int(shown.sum(1).max()) if shown.device.type == "cpu" else shown.shape[1]
        return self.score(read[:, :longest], shown[:, :longest], reply[:, :longest])

    def score(self, ids: Tensor, shown: Tensor, reply: Tensor) -> Tensor:
        """All (batch, time): tokens of history and reply, which of them count, and 1 where one is of the reply."""
        kinds: dict[str, Any] = {"token_type_ids": reply} if self.kinds > 1 else {}
        if self.places:
            kinds["position_ids"] = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        mask = shown.long()
        if self.whole_masks and shown.device.type != "cpu":
            mask = masks.of_model(masks.both_ways(shown, shown.shape[1]), self.encoder)
        found = self.encoder(input_ids=ids, attention_mask=mask, **kinds, return_dict=True).last_hidden_state
        weight = (reply * shown).unsqueeze(2).to(found.dtype)
        mean = (found * weight).sum(1) / weight.sum(1).clamp_min(1)
        return self.output(mean).squeeze(1).float()


class RetokenisedEncoder(nn.Module):
    """A `ReplyEncoder` with a tokenizer of its own, which reads the text of what the generator drew.

    Args:
        encoder, tokenizer: of one model.
        decode: ids of the generator's tokens -> text.
        length: most tokens that it reads; of longer ones the beginning of the history is left out.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        decode: Callable[[list[int]], str],
        length: int,
    ) -> None:
        super().__init__()
        self.judge = ReplyEncoder(encoder)
        self.tokenizer, self.decode, self.length = tokenizer, decode, length

    def forward(self, ids: Tensor, mask: Tensor, history: Tensor | None = None, turns: Tensor | None = None) -> Tensor:
        """As `ReplyEncoder`'s."""
        history, turns = _past(ids, history, turns)
        before, after = (self._ids(*each) for each in ((history, turns >= 0), (ids, mask)))
        start, middle, end = self._special()
        rows, parts = [], []
        room = self.length - len(start + middle + end)
        for past, said in zip(before, after, strict=True):
            said = said[:room]
            left = len(past) - (room - len(said))
            past = [*start, *past[max(0, left) :], *(middle if past else [])]
            rows.append([*past, *said, *end])
            parts.append([0] * len(past) + [1] * (len(said) + len(end)))
        table = _padded(rows, ids.device, self.tokenizer.pad_token_id or 0)
        shown = _padded([[1] * len(row) for row in rows], ids.device) > 0
        return self.judge.score(table, shown, _padded(parts, ids.device))

    def _ids(self, ids: Tensor, mask: Tensor) -> list[list[int]]:
        texts = [self.decode(row[keep].tolist()) for row, keep in zip(ids.cpu(), mask.cpu(), strict=True)]
        return self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]

    def _special(self) -> tuple[list[int], list[int], list[int]]:
        """What the tokenizer puts before, between and after two texts."""
        start, end = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        before, after = [] if start is None else [start], [] if end is None else [end]
        return before, after, after


def _padded(rows: list[list[int]], device: torch.device, value: int = 0) -> Tensor:
    tensors = [torch.tensor(row, dtype=torch.int64) for row in rows]
    return sent(pad_sequence(tensors, batch_first=True, padding_value=value), device)


def _past(ids: Tensor, history: Tensor | None, turns: Tensor | None) -> tuple[Tensor, Tensor]:
    """History and turns, empty where there are none."""
    nothing = ids.new_zeros(len(ids), 0)
    return (nothing if history is None else history), (nothing if turns is None else turns)
