"""f-GAN: a discriminator that bounds an f-divergence from below (Nowozin et al. 2016).

The discriminator minimises E f*(g(fake)) - E g(real) (sec. 2.2-2.4), where f* is the conjugate of f and g, the
output activation, maps a logit into its domain (tables 2 and 6). At the best logits that is -D_f(real || fake), and
g(logit) = f'(real / fake). The reward is f*(g(logit)), what the paper's generator maximises; it rises with the logit,
except for Pearson's. KL, reverse KL and Hellinger grow like exp(|logit|), and overflow float32 from 88 on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.algorithms.objectives import Objective

LOG_2 = 0.6931471805599453


def variational(activation: Callable[[Tensor], Tensor], worth: Callable[[Tensor], Tensor]) -> Objective:
    """activation: g, logits -> the conjugate's domain. worth: logits -> f*(g(logits)), in a form that is exact."""

    def loss(real: Tensor, fake: Tensor) -> Tensor:
        return worth(fake).mean() - activation(real).mean()

    return Objective(loss, worth)


def kl() -> Objective:
    """KL(real || fake); the reward is exp(logit), the ratio real / fake itself, and rises.

    The logit is the paper's less 1, so that here too 0 parts real from fake.
    """
    return variational(lambda logits: logits + 1, torch.exp)


def reverse_kl() -> Objective:
    """KL(fake || real); the reward is logit - 1, and rises."""
    return variational(lambda logits: -torch.exp(-logits), lambda logits: logits - 1)


def pearson() -> Objective:
    """Pearson's chi^2, E_fake (real / fake - 1)^2; the reward logit^2 / 4 + logit falls below logit -2.

    The best logit, 2 (real / fake - 1), is never there, but others are: a risk for a policy.
    """
    return variational(lambda logits: logits, lambda logits: logits.square() / 4 + logits)


def squared_hellinger() -> Objective:
    """The sum of (sqrt real - sqrt fake)^2; the reward is exp(logit) - 1, and rises."""
    return variational(lambda logits: -torch.expm1(-logits), torch.expm1)


def jensen_shannon() -> Objective:
    """KL(real || middle) + KL(fake || middle), twice Jensen-Shannon; the reward is log 1/2 - log(1 - D), and rises."""
    return variational(lambda logits: LOG_2 + F.logsigmoid(logits), lambda logits: F.softplus(logits) - LOG_2)


def gan() -> Objective:
    """The logistic loss in this form: Jensen-Shannon less 2 log 2; the reward is -log(1 - D), and rises."""
    return variational(F.logsigmoid, F.softplus)
