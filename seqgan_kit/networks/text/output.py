"""The output layer of a language model: log-probabilities of given tokens, block by block.

`plain_log_probs` says what is computed; `log_probs` computes it so that all rows' logits never exist at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.networks import device_sizes


def block_rows(device: torch.device, vocabulary: int) -> int:
    """How many rows of logits to hold at once."""
    return max(1, device_sizes.sizes(device).logit_block // vocabulary)


def in_float32(device: torch.device) -> torch.autocast:
    """Where a recurrence computes: in a lower precision a layer that reads whole texts rounds at other places than one
    that is asked step by step, and what is drawn would not be what is differentiated."""
    return torch.autocast(device.type, enabled=False)


def plain_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """log softmax(hidden @ weight.T + bias) at `targets`: arguments as of `log_probs`, without a mask."""
    return F.linear(hidden, weight, bias).log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def log_probs(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """`plain_log_probs` in float32; its gradient can't be differentiated again.

    hidden: (..., width). weight: (vocabulary, width). bias: (vocabulary,). targets: (...) int64. Returns (...).
    mask: (...) bool; where it is False, 0 is returned, and on a CPU nothing computed. A GPU computes it all: the CPU
    would wait to hear how much there is to compute.
    The logits are rounded as a linear layer's are, in autocast's precision or the weights', so that they are those that
    a sampler draws from; what follows is computed in float32.
    Where the layer is narrow, or there are many, logits are made again in the backward pass: on a CPU that costs less
    than writing and reading them.
    """
    if mask is not None and mask.device.type != "cpu":
        return log_probs(hidden, weight, bias, targets * mask).masked_fill(~mask, 0.0)
    if mask is not None and not mask.all():
        found = log_probs(hidden[mask], weight, bias, targets[mask])
        return found.new_zeros(targets.shape).masked_scatter(mask, found)
    return _LogProbs.apply(hidden.flatten(0, -2), weight, bias, targets.flatten()).view(targets.shape)


class _LogProbs(torch.autograd.Function):
    """Its slope is taken by hand, so that only a block of logits is held at once on the way back, too."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        device, ctx.types = hidden.device.type, (hidden.dtype, weight.dtype, bias.dtype)
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        hidden, weight, bias = hidden.to(dtype), weight.to(dtype), bias.to(dtype)
        ctx.save_for_backward(hidden, weight, bias, targets)
        rows, sizes = block_rows(hidden.device, len(weight)), device_sizes.sizes(hidden.device)
        pays = len(hidden) * len(weight) <= sizes.kept_probabilities and hidden.shape[1] >= sizes.kept_width
        keep = pays and any(ctx.needs_input_grad)
        ctx.kept = []
        found = torch.empty(len(hidden), device=hidden.device)
        with torch.autocast(device, enabled=False):
            for start in range(0, len(hidden), rows):
                part = slice(start, start + rows)
                logits = F.linear(hidden[part], weight, bias).float().log_softmax(-1)
                found[part] = logits.gather(1, targets[part, None]).squeeze(1)
                if keep:
                    ctx.kept.append(logits.exp_())
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        if torch.is_grad_enabled():  # somebody wants the graph of this
            raise RuntimeError("log_probs is not made for automatic differentiation of its gradient")
        hidden, weight, bias, targets = ctx.saved_tensors
        gradient = gradients[0].unsqueeze(1)
        rows, wanted = block_rows(hidden.device, len(weight)), ctx.needs_input_grad
        to_hidden = torch.empty_like(hidden, dtype=ctx.types[0]) if wanted[0] else None
        to_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
        to_bias = torch.zeros_like(bias, dtype=torch.float32) if wanted[2] else None
        for i, start in enumerate(range(0, len(hidden), rows)):
            part = slice(start, start + rows)
            found = ctx.kept[i] if ctx.kept else F.linear(hidden[part], weight, bias).float().softmax(-1)
            slope = found * -gradient[part]  # d log p(target) / d logits = one-hot - p
            slope.scatter_add_(1, targets[part, None], gradient[part])
            rounded = slope.to(weight.dtype)
            if to_hidden is not None:
                to_hidden[part] = rounded @ weight
            if to_weight is not None and weight.dtype == torch.float32:
                to_weight.addmm_(slope.T, hidden[part])
            elif to_weight is not None:
                to_weight += rounded.T @ hidden[part]
            if to_bias is not None:
                to_bias += slope.sum(0)
        return to_hidden, _as(to_weight, ctx.types[1]), _as(to_bias, ctx.types[2]), None


def _as(gradient: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if gradient is None else gradient.to(dtype)
