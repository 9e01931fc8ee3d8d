"""What the discriminator minimises, and which reward its logit is worth.

Logits everywhere, higher = more real; probabilities appear only inside a reward. The four adversarial papers with a
logistic discriminator (minimax, non-saturating, SeqGAN, AIRL) share one loss and differ in the reward alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.bounds import NotNegative, Number
from seqgan_kit.samples import Images, Tokens


@dataclass(frozen=True)
class Objective:
    """A discriminator's game, as pure functions.

    loss: (real logits, fake logits) -> scalar to minimise. Where `distance` is given, it is the third argument.
    reward: logits -> what a generator earns, elementwise and of the same shape.
    distance: (real sample, fake sample) -> (batch,), for objectives that look at the samples (loss-sensitive GAN).
    pathwise: (real logits, fake logits) -> scalar that a generator minimises through its samples, where that is more
        than the mean of -reward: what it does to real logits counts, too (relativistic GAN).
    logit: what a network gives -> logits, where it gives more than these; `loss` and `reward` then take all of it.
    relative: whether only differences of logits count, so that 0 is no bound between real and fake.

    Called, it gives itself: configurations hold functions that build one, or one that was built with `init_args`.
    """

    loss: Callable[..., Tensor]
    reward: Callable[[Tensor], Tensor]
    distance: Callable[[Any, Any], Tensor] | None = None
    pathwise: Callable[[Tensor, Tensor], Tensor] | None = None
    logit: Callable[[Tensor], Tensor] = lambda judged: judged
    relative: bool = False

    def __call__(self) -> Objective:
        return self


def logistic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-E log D(real) - E log(1 - D(fake)) with D = sigmoid(logit) (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def wasserstein_loss(real: Tensor, fake: Tensor) -> Tensor:
    """E f(fake) - E f(real) (Arjovsky et al. 2017, eq. 3). The critic must be kept Lipschitz by a regulariser."""
    return fake.mean() - real.mean()


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 - real) + E max(0, 1 + fake) (Lim and Ye 2017, sec. 3)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def least_squares_loss(real: Tensor, fake: Tensor) -> Tensor:
    """1/2 E (real - 1)^2 + 1/2 E fake^2 (LSGAN, Mao et al. 2016, eq. 2 with a = 0, b = 1)."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def relativistic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigmoid(real - fake), of pairs as they come (RSGAN, Jolicoeur-Martineau 2019; RelGAN, Nie et al. 2019)."""
    return F.softplus(fake - real).mean()


def seqgan() -> Objective:
    """Logistic; the reward is D(x) itself, in (0, 1) (Yu et al. 2017, eq. 4)."""
    return Objective(logistic_loss, torch.sigmoid)


def minimax() -> Objective:
    """Logistic; the reward is -log(1 - D(x)), positive (Goodfellow et al. 2014; GAIL: for tasks cut off on failure)."""
    return Objective(logistic_loss, F.softplus)


def non_saturating() -> Objective:
    """Logistic; the reward is log D(x), negative (Goodfellow et al. 2014, sec. 3; GAIL: cut off on success)."""
    return Objective(logistic_loss, F.logsigmoid)


def airl() -> Objective:
    """Logistic; the reward is log D(x) - log(1 - D(x)), the logit (Fu et al. 2018, sec. 4)."""
    return Objective(logistic_loss, lambda logits: logits)


def wasserstein() -> Objective:
    """WGAN: the critic's value is the reward (Arjovsky et al. 2017)."""
    return Objective(wasserstein_loss, lambda logits: logits, relative=True)


def hinge() -> Objective:
    """Hinge loss; the critic's value is the reward (Lim and Ye 2017)."""
    return Objective(hinge_loss, lambda logits: logits)


def relativistic() -> Objective:
    """Real is to be more real than fake, and the other way round for a pathwise generator (RelGAN's RSGAN).

    The reward is the logit, whose gradient has the direction of the paper's; a policy is not what it is meant for.
    """
    return Objective(
        relativistic_loss,
        lambda logits: logits,
        pathwise=lambda real, fake: relativistic_loss(fake, real),
        relative=True,
    )


def least_squares() -> Objective:
    """LSGAN (Mao et al. 2016), not to be taken for Qi's LS-GAN, `ls_gan`.

    The reward -1/2 (logit - 1)^2 falls above logit 1: for pathwise generators, no policy.
    """
    return Objective(least_squares_loss, lambda logits: -(logits - 1).square() / 2)


def ls_gan(margin: NotNegative = 1.0, weight: Number = 0.0) -> Objective:
    """Loss-sensitive GAN, LS-GAN (Qi 2017), not to be taken for LSGAN, `least_squares`.

    E max(0, margin * distance(real, fake) + L(real) - L(fake)) + weight * E L(real), where L is -logit; the reward is
    the logit. The further a fake sample is from the real one beside it, the further apart their logits must be.

    Args:
        margin: Factor of the distance in the margin, the paper's lambda. Its code has 2e-4 of the sum over a picture's
            numbers, about 2.5 of our mean.
        weight: Weight of E L(real), 0 in the paper's code. Above 0 the loss has no lower bound, unless the network's
            logits have an upper one.
    """

    def loss(real: Tensor, fake: Tensor, distance: Tensor) -> Tensor:
        if not real.shape == fake.shape == distance.shape:
            raise ValueError(
                "the loss-sensitive objective compares each real sample with one fake one, but there are "
                f"{tuple(real.shape)} real logits, {tuple(fake.shape)} fake ones and {tuple(distance.shape)} distances"
            )
        return F.relu(margin * distance - real + fake).mean() - weight * real.mean()

    return Objective(loss, lambda logits: logits, distance_between)


def distance_between(real: Tokens | Images, fake: Tokens | Images) -> Tensor:
    """How far each fake sample is from the real one beside it, (batch,).

    Tokens: the share of unequal ones, up to the end of the longer sequence: 0 to 1. Images: the mean absolute
    difference of their numbers, 0 to 2. Raises TypeError for anything else.
    """
    if isinstance(real, Images) and isinstance(fake, Images):
        return (real.pixels - fake.pixels).abs().flatten(1).mean(1)
    if not isinstance(real, Tokens) or not isinstance(fake, Tokens):
        raise TypeError(f"there is no distance between {type(real).__name__} and {type(fake).__name__}")
    longest = max(real.ids.shape[1], fake.ids.shape[1])
    first, second = (
        F.pad(some.ids.masked_fill(~some.mask, -1), (0, longest - some.ids.shape[1]), value=-1) for some in (real, fake)
    )
    counted = (first >= 0) | (second >= 0)
    return (first != second).sum(1) / counted.sum(1).clamp_min(1)


def ebgan(margin: NotNegative = 1.0) -> Objective:
    """Energy-based GAN (Zhao et al. 2017, eq. 1-2): E energy(real) + E max(0, margin - energy(fake)).

    The paper's energy is an autoencoder's error; of a network with one logit it is softplus(-logit) = -log D here: not
    below 0 either, smooth, and falling in the logit everywhere. The reward is -energy: log D, negative.

    Args:
        margin: Energy that fake samples are raised to. The paper's 10 and more are for sums over pixels.
    """

    def loss(real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-real).mean() + F.relu(margin - F.softplus(-fake)).mean()

    return Objective(loss, F.logsigmoid)


def boundary_seeking() -> Objective:
    """Boundary-seeking GAN, BGAN, of continuous samples (Hjelm et al. 2018): logistic, reward -1/2 logit^2.

    The reward falls above logit 0, the decision boundary: for pathwise generators, no policy. The paper's gradient for
    discrete samples weighs them by D / (1 - D), normalised: it is `token_credit.LikelihoodRatio`, with any objective
    whose discriminator is logistic.
    """
    return Objective(logistic_loss, lambda logits: -logits.square() / 2)


def with_entropy(objective: Objective, weight: float) -> Objective:
    """The objective less weight * the mean entropy of D = sigmoid(logit), in nats, over real and fake.

    It keeps a discriminator from certainty (the code of Ho and Ermon 2016: 1e-3).
    """

    def loss(real: Tensor, fake: Tensor, *others: Tensor) -> Tensor:
        entropies = [bernoulli_entropy(logits).mean() for logits in (real, fake)]
        return objective.loss(real, fake, *others) - weight * (entropies[0] + entropies[1]) / 2

    return replace(objective, loss=loss)


def with_label_smoothing(objective: Objective, target: float) -> Objective:
    """Logistic, where the discriminator is asked to find real samples real with probability `target` (0.9).

    One-sided (Salimans et al. 2016, sec. 3.4): -E [t log D + (1 - t) log(1 - D)], which is the logistic loss of real
    samples plus (1 - t) E logit.
    Raises ValueError for any other loss, which knows no probability.
    """
    if objective.loss is not logistic_loss:
        raise ValueError("only the logistic objectives have labels to smooth: minimax, non_saturating, seqgan, airl")

    def loss(real: Tensor, fake: Tensor) -> Tensor:
        return logistic_loss(real, fake) + (1 - target) * real.mean()

    return replace(objective, loss=loss)


def with_classes(objective: Objective, real: float = 1.0, fake: float = 0.0, reward: float = 1.0) -> Objective:
    """The objective of a network that also tells classes (AC-GAN, Odena et al. 2017, sec. 3; cited from memory).

    It gives (..., 2): the logit, and log p(label | sample), which here are d and c. The loss is the objective's of d,
    less real * E c over real samples and fake * E c over fake ones; the paper's L_S + L_C has 1 and 1. With the default
    0, a classifier learns from nothing but what is known to be of its class, and players can't agree on signs of their
    own. The reward is the objective's of d, plus reward * c: the paper's generator maximises L_C - L_S.
    """

    def loss(of_real: Tensor, of_fake: Tensor, *others: Tensor) -> Tensor:
        told_apart = objective.loss(of_real[..., 0], of_fake[..., 0], *others)
        return told_apart - real * of_real[..., 1].mean() - fake * of_fake[..., 1].mean()

    def worth(judged: Tensor) -> Tensor:
        return objective.reward(judged[..., 0]) + reward * judged[..., 1]

    return Objective(loss, worth, objective.distance, logit=lambda judged: judged[..., 0], relative=objective.relative)


def bernoulli_entropy(logits: Tensor) -> Tensor:
    """H(sigmoid(logit)) = softplus(logit) - logit * sigmoid(logit), elementwise, in nats."""
    return F.softplus(logits) - logits * torch.sigmoid(logits)


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, norm: float = 1.0) -> Tensor:
    """E (|grad critic(x)|_2 - norm)^2 at x uniform between real and fake (Gulrajani et al. 2017, eq. 3).

    real, fake: (batch, ...) floats of one shape. critic: (batch, ...) -> (batch,). Call the prepared module, not the
    bare one: round the wrapper, processes would silently keep their own gradients.
    """
    if real.shape != fake.shape:
        raise ValueError(f"real is {tuple(real.shape)} but fake is {tuple(fake.shape)}")
    weight = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    between = (real + weight * (fake - real)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - norm).square().mean()


def mean_matching(first: Tensor, second: Tensor) -> Tensor:
    """|E first - E second|_2^2 of features (rows, dim) (feature matching, Salimans et al. 2016, sec. 3.1)."""
    return (first.mean(0) - second.mean(0)).square().sum()


def mmd(first: Tensor, second: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """The squared maximum mean discrepancy of features (rows, dim), unbiased: it can fall below 0, and is 0 in the mean
    where both are of one distribution (Gretton et al. 2012, eq. 3; TextGAN, Zhang et al. 2017).

    bandwidths: sigma of each Gaussian kernel exp(-|x - y|^2 / 2 sigma^2), whose mean is taken.
    Raises ValueError where either has fewer than two rows.
    """
    n, m = len(first), len(second)
    if min(n, m) < 2:
        raise ValueError(f"{n} and {m} rows: give at least 2 of each")
    rows = torch.cat([first, second])
    norms = rows.square().sum(1)
    squares = (norms.unsqueeze(0) + norms.unsqueeze(1) - 2 * rows @ rows.T).clamp_min(0)
    kernel = torch.stack([torch.exp(-squares / (2 * sigma**2)) for sigma in bandwidths]).mean(0)
    # a row's kernel with itself is 1, and no pair; written so that it has no gradient
    one, other, across = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    within = (one.sum() - one.diagonal().sum()) / (n * (n - 1)) + (other.sum() - other.diagonal().sum()) / (m * (m - 1))
    return within - 2 * across.mean()


def gradient_square(critic: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """E |grad critic(x)|_2^2 at real samples: R1 is half of it times gamma (Mescheder et al. 2018, eq. 9).

    real: (batch, ...) floats. critic: (batch, ...) -> (batch,) or (batch, heads); call the prepared module, as above.
    """
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(real).sum(), real, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()
