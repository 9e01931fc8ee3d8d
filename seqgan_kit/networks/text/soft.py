"""Soft text: how networks read weights in place of tokens, and how tokens are drawn so that a gradient flows."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def embed(table: nn.Embedding, ids: Tensor, mask: Tensor) -> Tensor:
    """Embeddings (batch, time, width) of ids (batch, time), or of weights (batch, time, vocabulary): their mean, as
    they weigh. A one-hot place has exactly its token's embedding. What stands on padding has no meaning."""
    if ids.is_floating_point():
        return ids @ table.weight
    # ids beyond the table stand only on padding, where another vocabulary's end token may be written
    return table(ids * mask)


def gumbel_softmax(logits: Tensor, sharpness: float, straight_through: bool = False) -> tuple[Tensor, Tensor]:
    """Tokens drawn from the logits, and the soft ones that stand for them: (rows, vocabulary) -> (rows,) int64 and
    (rows, vocabulary) float32.

    The token is the argmax of logit + Gumbel noise, so that each is drawn with its own probability (on a CPU, whose
    uniform numbers are multiples of 2^-24, one of 1e-7 a quarter too seldom, and rarer ones never); the
    weights are softmax(sharpness * (logit + noise)) (Jang et al. 2017, eq. 1-2; RelGAN, Nie et al. 2019, whose
    beta is the sharpness, one over the temperature).
    straight_through: the weights are the token's one-hot, with the gradient of the soft ones (Jang et al. 2017, 2.2).
    """
    logits = logits.float()
    # -log(-log(u)): on a CPU four times as fast as exponential_; u is below 1, and kept above 0
    noise = torch.rand_like(logits).clamp_min_(torch.finfo(torch.float32).tiny).log_().neg_().log_().neg_()
    drawn = logits + noise
    ids, weights = drawn.argmax(-1), (sharpness * drawn).softmax(-1)
    if straight_through:
        hard = torch.zeros_like(weights).scatter(-1, ids.unsqueeze(-1), 1.0)
        weights = hard + (weights - weights.detach())
    return ids, weights
