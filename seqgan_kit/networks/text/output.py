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


def plain_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """log softmax(hidden @ weight.T + bias) at `targets`: arguments as of `log_probs`, without a mask."""
    return F.linear(hidden, weight, bias).log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def log_probs(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """`plain_log_probs` in float32, whatever the precision; its gradient can't be differentiated again.

    hidden: (..., width). weight: (vocabulary, width). bias: (vocabulary,). targets: (...) int64. Returns (...).
    mask: (...) bool; where it is False, 0 is returned, and on a CPU nothing computed. A GPU computes it all: the CPU
    would wait to hear how much there is to compute.
    Where the layer is narrow, or there are many, logits are made again in the backward pass: on a CPU that costs less
    than writing and reading them.
    """
    if mask is not None and mask.device.type != "cpu":
        return log_probs(hidden, weight, bias, targets * mask).masked_fill(~mask, 0.0)
    if mask is not None and not mask.all():
        found = log_probs(hidden[mask], weight, bias, targets[mask])
        return found.new_zeros(targets.shape).masked_scatter(mask, found)
    return _LogProbs.apply(hidden.flatten(0, -2).float(), weight, bias, targets.flatten()).view(targets.shape)


class _LogProbs(torch.autograd.Function):
    """Its slope is taken by hand, so that only a block of logits is held at once on the way back, too."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, targets)
        rows, sizes = block_rows(hidden.device, len(weight)), device_sizes.sizes(hidden.device)
        pays = len(hidden) * len(weight) <= sizes.kept_probabilities and hidden.shape[1] >= sizes.kept_width
        keep = pays and any(ctx.needs_input_grad)
        ctx.kept = []
        found = torch.empty(len(hidden), device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), rows):
                part = slice(start, start + rows)
                logits = F.linear(hidden[part], weight, bias).log_softmax(-1)
                found[part] = logits.gather(1, targets[part, None]).squeeze(1)
                if keep:
                    ctx.kept.append(logits.exp_())
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        hidden, weight, bias, targets = ctx.saved_tensors
        gradient = gradients[0].unsqueeze(1)
        rows = block_rows(hidden.device, len(weight))
        to_hidden, to_weight, to_bias = torch.empty_like(hidden), torch.zeros_like(weight), torch.zeros_like(bias)
        for i, start in enumerate(range(0, len(hidden), rows)):
            part = slice(start, start + rows)
            found = ctx.kept[i] if ctx.kept else F.linear(hidden[part], weight, bias).softmax(-1)
            slope = found * -gradient[part]  # d log p(target) / d logits = one-hot - p
            slope.scatter_add_(1, targets[part, None], gradient[part])
            torch.mm(slope, weight, out=to_hidden[part])
            to_weight.addmm_(slope.T, hidden[part])
            to_bias += slope.sum(0)
        return to_hidden, to_weight, to_bias, None
