"""Attention masks as the layers of a model use them. Of plainer ones transformers looks at the numbers first, at every
token that is drawn, for which a GPU has to be waited for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

KINDS = ("sdpa", "eager")
"""Implementations of attention whose masks are known."""


def plain(config: Any) -> bool:
    """Whether each layer attends to all that it is shown, by a known kind of attention, as a configuration says."""
    config = config.get_text_config()
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    layers = getattr(config, "layer_types", None) or ["windows" if any(windows) else "full_attention"]
    return config._attn_implementation in KINDS and set(layers) == {"full_attention"}


def causal(mask: Tensor, queries: int) -> Tensor:
    """What the last `queries` places see: mask (batch, keys) bool -> (batch, 1, queries, keys) bool."""
    places = torch.arange(mask.shape[1], device=mask.device)
    return mask[:, None, None] & (places <= places[-queries:, None])


def both_ways(mask: Tensor, queries: int) -> Tensor:
    """The same where places see what comes after them, too."""
    return mask[:, None, None].expand(-1, 1, queries, -1)


def of_model(shown: Tensor, model: Any) -> Tensor:
    """`shown` as the model's attention takes it: booleans, or what is added to its scores."""
    if model.config._attn_implementation == "sdpa":
        return shown
    added = torch.zeros_like(shown, dtype=model.dtype)
    return added.masked_fill_(~shown, torch.finfo(model.dtype).min)
