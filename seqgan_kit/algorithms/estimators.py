"""Surrogates whose gradient moves a generator: pure functions of log-probabilities and credit.

All sum over time and divide by the batch size, never by a mask's count, so that the mean over processes is exact.
The pathwise case needs no function here: it is plain backpropagation of -reward.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_kit.algorithms.credit import same
from seqgan_kit.bounds import NotNegative


def maximum_likelihood(log_probs: Tensor, mask: Tensor) -> Tensor:
    """-1/B sum log p(y_t | y_<t), in nats per sequence: teacher forcing. log_probs, mask: (batch, time)."""
    same(log_probs, mask)
    return -(log_probs * mask).sum() / len(log_probs)


def reinforce(log_probs: Tensor, old_log_probs: Tensor, credit: Tensor, mask: Tensor) -> Tensor:
    """-1/B sum log p(y_t | y_<t) * credit_t (Williams 1992; Yu et al. 2017, eq. 8).

    All (batch, time). `old_log_probs`, at sampling time, do not matter here: it is on policy, for one pass.
    """
    same(log_probs, old_log_probs, credit, mask)
    return -(log_probs * credit.detach() * mask).sum() / len(log_probs)


def ppo(log_probs: Tensor, old_log_probs: Tensor, credit: Tensor, mask: Tensor, clip: NotNegative = 0.2) -> Tensor:
    """-1/B sum min(r * credit, clip(r, 1 - clip, 1 + clip) * credit), r = p / p_old (Schulman et al. 2017, eq. 7).

    All (batch, time). Raises where the shapes differ.
    """
    same(log_probs, old_log_probs, credit, mask)
    ratio = (log_probs - old_log_probs.detach()).exp()
    credit = credit.detach()
    surrogate = torch.minimum(ratio * credit, ratio.clamp(1 - clip, 1 + clip) * credit)
    return -(surrogate * mask).sum() / len(log_probs)
