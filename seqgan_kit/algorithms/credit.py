"""From the score of a whole sample to the credit of each action, (batch, time).

Pure functions. Where a mask is given, credit on padding is 0, so that sums over time need no mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_kit.bounds import Count


def terminal(reward: Tensor, mask: Tensor) -> Tensor:
    """The sample's reward to each of its actions (Williams 1992, eq. 11, undiscounted).

    reward: (batch,). mask: (batch, time) bool. Returns (batch, time).
    """
    if reward.shape != mask.shape[:1]:
        raise ValueError(f"reward is {tuple(reward.shape)}, but mask {tuple(mask.shape)} needs ({len(mask)},)")
    return reward.unsqueeze(1) * mask


def monte_carlo(completed: Tensor, cells: Tensor, whole: Tensor, mask: Tensor) -> Tensor:
    """Q(Y_1:t-1, y_t): the mean reward of completions of Y_1:t, and of the sample itself at its end.

    Yu et al. 2017, eq. 4. completed: (rows,) rewards of completions. cells: (rows,) int64, b * time + t where a row
    completes the tokens 0..t of sample b. whole: (batch,) rewards of the samples. mask: (batch, time) bool.
    Returns (batch, time).
    """
    if completed.shape != cells.shape or whole.shape != mask.shape[:1]:
        raise ValueError(
            f"completed {tuple(completed.shape)} must match cells {tuple(cells.shape)}, "
            f"and whole {tuple(whole.shape)} the batch of mask {tuple(mask.shape)}"
        )
    total = completed.new_zeros(mask.numel()).index_add_(0, cells, completed)
    count = completed.new_zeros(mask.numel()).index_add_(0, cells, torch.ones_like(completed))
    credit = (total / count.clamp_min(1)).view(mask.shape)
    last = mask & ~torch.nn.functional.pad(mask[:, 1:], (0, 1))
    return torch.where(last, whole.unsqueeze(1), credit) * mask


def likelihood_ratio(log_ratio: Tensor, group: Count | None = None) -> Tensor:
    """How much likelier a sample is real than made, normalised to a mean of 1 (MaliGAN, Che et al. 2017, sec. 3.1).

    batch * r_i / sum_j r_j with r = D / (1 - D); the paper's sum over the batch has no such factor, but then neither
    divides by the batch, as our estimators do. log_ratio: (batch,) log r, a logistic discriminator's logits. group: how
    many rows that follow each other are normalised together, as the paper's continuations of one prefix and BGAN's
    samples of one context are; unset, all are. Returns (batch,). Raises ValueError where rows are no such groups.
    """
    group = len(log_ratio) if group is None else group
    if log_ratio.dim() != 1 or not group or len(log_ratio) % group:
        raise ValueError(f"{tuple(log_ratio.shape)} log ratios are no groups of {group}")
    return (group * log_ratio.view(-1, group).softmax(1)).flatten()


def reward_to_go(rewards: Tensor, mask: Tensor, discount: float = 1.0) -> Tensor:
    """G_t = r_t + discount * G_t+1 over the counted steps (Sutton and Barto 2018, eq. 3.9).

    rewards: (batch, time). mask: (batch, time) bool. Returns (batch, time).
    """
    same(rewards, mask)
    following = rewards.new_zeros(len(rewards))
    credit = torch.zeros_like(rewards)
    for t in reversed(range(rewards.shape[1])):
        following = (rewards[:, t] + discount * following) * mask[:, t]
        credit[:, t] = following
    return credit


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    ended: Tensor,
    discount: float,
    decay: float,
) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16).

    All (batch, time); a row may hold several episodes one after another. terminated: nothing follows, so nothing is
    bootstrapped. ended: the sum stops here (by termination or a time limit), but after a time limit the value of the
    last observation still counts. discount is gamma, decay is lambda. Returns advantages, (batch, time).
    """
    same(rewards, values, next_values, terminated, ended)
    residual = (rewards + discount * next_values * ~terminated - values).unbind(1)
    carried = (discount * decay * ~ended).unbind(1)
    following = torch.zeros_like(residual[0])
    advantages = []
    for here, share in zip(reversed(residual), reversed(carried), strict=True):
        following = torch.addcmul(here, share, following)
        advantages.append(following)
    return torch.stack(advantages[::-1], dim=1)


def no_baseline(credit: Tensor, mask: Tensor) -> Tensor:
    """The credit as it is: the original SeqGAN code has no baseline."""
    same(credit, mask)
    return credit


def leave_one_out(credit: Tensor, mask: Tensor, group: Count | None = None) -> Tensor:
    """Credit less the mean credit of the *other* samples at the same time step, so the gradient stays unbiased.

    Kool et al. 2019, eq. 9, per time step. A step that only one sample reaches keeps its credit less the mean over all
    steps of the other samples. group: how many rows that follow each other share a context, and are compared with one
    another only; unset, all are. credit: (batch, time). mask: (batch, time) bool. Returns (batch, time).
    """
    same(credit, mask)
    group = len(credit) if group is None else group
    if not group or len(credit) % group:
        raise ValueError(f"{len(credit)} rows are no groups of {group}")
    credit, mask = (part.reshape(-1, group, part.shape[1]) for part in (credit, mask))
    total, count = credit.sum(1, keepdim=True), mask.sum(1, keepdim=True)
    per_step = (total - credit) / (count - 1).clamp_min(1)
    whole, counted = (part.sum((1, 2), keepdim=True) for part in (credit, mask))
    others = (whole - credit.sum(2, keepdim=True)) / (counted - mask.sum(2, keepdim=True)).clamp_min(1)
    return ((credit - torch.where(count > 1, per_step, others)) * mask).flatten(0, 1)


def whiten(credit: Tensor, mask: Tensor) -> Tensor:
    """Credit with mean 0 and variance 1 over all counted steps. credit: (batch, time). Returns (batch, time)."""
    same(credit, mask)
    if mask.device.type == "cpu":
        counted = credit[mask]
        mean, deviation = counted.mean(), counted.std(correction=0)
    else:  # the same sums, of a shape that a GPU has not to be waited for
        count, counted = mask.sum(), credit.masked_fill(~mask, 0.0)
        mean = counted.sum() / count
        deviation = ((counted - mean).square() * mask).sum().div(count).sqrt()
    return (credit - mean) / deviation.clamp_min(1e-8) * mask


def same(*tensors: Tensor) -> None:
    """Raises ValueError unless all are (batch, time), and of one shape."""
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(f"expected (batch, time) tensors of one shape, not {shapes}")
