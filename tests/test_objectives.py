"""Objectives against the divergences they minimise, and rewards against their formulas in D."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit import objectives
from seqgan_kit.objectives import Objective, gradient_penalty

LOGISTIC = [objectives.seqgan, objectives.minimax, objectives.non_saturating, objectives.airl]
BOUNDED = [*LOGISTIC, objectives.hinge, objectives.least_squares]
EVERY = [*BOUNDED, objectives.wasserstein]
MONOTONE = [make for make in EVERY if make is not objectives.least_squares]
Make = Callable[[], Objective]

# how often each of five points is real and fake, of as many draws each
REAL, FAKE = torch.tensor([1, 2, 3, 6, 8]), torch.tensor([7, 5, 4, 3, 1])
P, Q = (counts.double() / counts.sum() for counts in (REAL, FAKE))


def loss_of(make: Make, critic: Tensor) -> Tensor:
    """The loss where point i has the logit critic[i], and means over samples are the expectations under P and Q."""
    return make().loss(critic.repeat_interleave(REAL), critic.repeat_interleave(FAKE))


def optimum(make: Make) -> tuple[Tensor, Tensor]:
    """The best critic, and the loss there as a divergence of P and Q, both in closed form."""
    if make is objectives.least_squares:  # half a constant less a triangular discrimination
        return P / (P + Q), (P * Q / (P + Q)).sum() / 2
    if make is objectives.hinge:  # 2 - 2 TV
        return (P - Q).sign(), 2 - (P - Q).abs().sum()
    middle = (P + Q) / 2
    js = ((P * (P / middle).log()).sum() + (Q * (Q / middle).log()).sum()) / 2
    return (P / Q).log(), 2 * torch.tensor(2.0).double().log() - 2 * js


@pytest.mark.parametrize("make", BOUNDED)
def test_loss_at_the_best_critic_is_a_divergence(make: Make) -> None:
    """The loss of the closed-form critic is the closed-form divergence."""
    critic, divergence = optimum(make)
    torch.testing.assert_close(loss_of(make, critic), divergence)


@pytest.mark.parametrize("make", BOUNDED)
def test_no_critic_is_better_than_the_best(make: Make) -> None:
    """The loss is convex in the logits, so that no neighbour below means no critic below."""
    critic, divergence = optimum(make)
    generator = torch.Generator().manual_seed(0)
    for scale in (0.01, 0.1, 1.0):
        for _ in range(100):
            other = critic + scale * torch.randn(5, generator=generator, dtype=torch.float64)
            assert loss_of(make, other) >= divergence - 1e-12


@pytest.mark.parametrize("make", [*LOGISTIC, objectives.least_squares])
def test_minimisation_finds_the_best_critic(make: Make) -> None:
    """Where the loss is smooth, descent from zero arrives at the closed form."""
    critic = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS(
        [critic], max_iter=200, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        descent.zero_grad()
        loss = loss_of(make, critic)
        loss.backward()
        return loss

    descent.step(closure)
    torch.testing.assert_close(critic.detach(), optimum(make)[0], rtol=1e-5, atol=1e-5)


def test_wasserstein_loss_is_minus_the_distance() -> None:
    """On a line the best critic of slope at most 1 earns exactly the earth mover's distance, and half of it half."""
    place = torch.tensor([0.0, 0.5, 2.0, 2.25, 4.0]).double()
    slope = (Q.cumsum(0) - P.cumsum(0))[:-1].sign()
    critic = torch.cat([torch.zeros(1), (slope * place.diff()).cumsum(0)])
    distance = wasserstein_distance(place, place, P, Q)
    for scale in (1.0, 0.5):
        assert loss_of(objectives.wasserstein, scale * critic).item() == pytest.approx(-scale * distance)


@pytest.mark.parametrize("make", EVERY)
def test_loss_pushes_real_up_and_fake_down(make: Make) -> None:
    """Between 0 and 1, where no objective is flat, d loss / d real < 0 < d loss / d fake."""
    real = torch.linspace(0.1, 0.9, 9, requires_grad=True)
    fake = torch.linspace(0.1, 0.9, 7, requires_grad=True)
    make().loss(real, fake).backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()


@pytest.mark.parametrize("make", EVERY)
def test_real_and_fake_weigh_the_same(make: Make) -> None:
    """Both are means: showing every fake three times changes nothing, nor does every real sample."""
    generator = torch.Generator().manual_seed(1)
    real, fake = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    loss = make().loss(real, fake)
    torch.testing.assert_close(make().loss(real, fake.repeat(3)), loss)
    torch.testing.assert_close(make().loss(real.repeat(3), fake), loss)


@pytest.mark.parametrize(
    ("make", "formula"),
    [
        (objectives.seqgan, lambda d: d),
        (objectives.minimax, lambda d: -(1 - d).log()),
        (objectives.non_saturating, lambda d: d.log()),
        (objectives.airl, lambda d: d.log() - (1 - d).log()),
        (objectives.wasserstein, torch.logit),
        (objectives.hinge, torch.logit),
        (objectives.least_squares, lambda d: -0.5 * (torch.logit(d) - 1) ** 2),
    ],
)
def test_reward_is_its_formula(make: Make, formula: Callable[[Tensor], Tensor]) -> None:
    """Rewards, written in D = sigmoid(logit), are those of the papers; shapes are kept."""
    probability = torch.linspace(0.01, 0.99, 50).double().view(5, 10)
    torch.testing.assert_close(make().reward(torch.logit(probability)), formula(probability))


@pytest.mark.parametrize("make", MONOTONE)
def test_reward_rises_with_the_logit(make: Make) -> None:
    """What looks more real earns strictly more."""
    reward = make().reward(torch.linspace(-6, 6, 100).double())
    assert (reward.diff() > 0).all()


def test_least_squares_reward_falls_above_one() -> None:
    """It rises up to logit 1 and falls from there, so a policy would be punished for looking too real."""
    reward = objectives.least_squares().reward
    assert (reward(torch.linspace(-6, 1, 50)).diff() > 0).all()
    assert (reward(torch.linspace(1, 6, 50)).diff() < 0).all()


@pytest.mark.parametrize("make", EVERY)
def test_extreme_logits_stay_finite(make: Make) -> None:
    """In float32, logits of a discriminator that is certain give a finite loss, reward and gradient."""
    logits = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss, reward = make().loss(logits, logits), make().reward(logits)
    (gradient,) = torch.autograd.grad(loss + reward.sum(), logits)
    assert all(value.isfinite().all() for value in (loss, reward, gradient))


@pytest.mark.parametrize("norm", [0.0, 1.0, 2.5])
def test_penalty_of_a_linear_critic(norm: float) -> None:
    """The gradient of w . x is w everywhere, so the penalty is (|w| - norm)^2 whatever the samples."""
    torch.manual_seed(0)
    real, fake, weight = torch.randn(4, 2, 3), torch.randn(4, 2, 3), torch.randn(2, 3)
    penalty = gradient_penalty(lambda x: (x * weight).flatten(1).sum(1), real, fake, norm)
    torch.testing.assert_close(penalty, (weight.norm() - norm) ** 2)


def test_penalty_is_taken_between_real_and_fake() -> None:
    """Each row is looked at where one number in (0, 1), its own, lies between its real and its fake sample."""
    torch.manual_seed(0)
    real, fake, seen = torch.randn(50, 3), torch.randn(50, 3), []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum(1)

    gradient_penalty(critic, real, fake)
    share = (seen[0] - real) / (fake - real)
    torch.testing.assert_close(share, share[:, :1].expand_as(share), rtol=1e-3, atol=1e-3)
    assert ((share[:, 0] > 0) & (share[:, 0] < 1)).all()
    assert share[:, 0].std() > 0.2  # uniform would have 0.29


def test_penalty_can_be_differentiated() -> None:
    """Its gradient in the critic's weights, a double backward pass, is that of finite differences."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    real, fake = torch.randn(2, 6, 3, dtype=torch.float64)

    def penalty() -> Tensor:
        torch.manual_seed(1)  # the same points between real and fake
        return gradient_penalty(lambda x: critic(x).squeeze(1), real, fake)

    penalty().backward()
    for parameter in list(critic.parameters())[:3]:  # the last bias has no effect on a gradient
        flat, slope = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(len(flat)):
            flat[i] += 1e-5
            above = penalty().item()
            flat[i] -= 2e-5
            below = penalty().item()
            flat[i] += 1e-5
            assert slope[i].item() == pytest.approx((above - below) / 2e-5, rel=1e-5, abs=1e-8)


def test_penalty_refuses_unequal_shapes() -> None:
    """(4, 3) against (4, 1) must not broadcast."""
    with pytest.raises(ValueError, match=r"\(4, 3\).*\(4, 1\)"):
        gradient_penalty(lambda x: x.sum(1), torch.zeros(4, 3), torch.zeros(4, 1))


@pytest.mark.parametrize("make", LOGISTIC)
@pytest.mark.parametrize("target", [0.9, 0.7, 1.0])
def test_smoothed_labels_are_cross_entropy(make: Make, target: float) -> None:
    """Real samples shall be found real with that probability, fake ones never; at best, D of a real point is it."""
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(n, generator=generator, dtype=torch.float64) for n in (7, 5))
    objective = objectives.with_label_smoothing(make(), target)
    known = F.binary_cross_entropy_with_logits(real, torch.full_like(real, target))
    known = known + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    torch.testing.assert_close(objective.loss(real, fake), known)
    assert torch.equal(objective.reward(fake), make().reward(fake))


def test_other_losses_have_no_labels_to_smooth() -> None:
    """Hinge, least squares and Wasserstein know no probability; nor does one that is smoothed already."""
    for make in (objectives.hinge, objectives.least_squares, objectives.wasserstein):
        with pytest.raises(ValueError, match="labels to smooth"):
            objectives.with_label_smoothing(make(), 0.9)
    with pytest.raises(ValueError, match="labels to smooth"):
        objectives.with_label_smoothing(objectives.with_label_smoothing(objectives.minimax(), 0.9), 0.9)


def test_gradient_square_of_a_quadratic() -> None:
    """f(x) = sum a x^2 / 2 has the gradient a x: the mean of its square, and that is differentiated by a."""
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(6, 2, 3, generator=generator, dtype=torch.float64)
    a = torch.randn(2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    found = objectives.gradient_square(lambda x: (a * x.square() / 2).sum((1, 2)), real)
    known = (a * real).square().sum((1, 2)).mean()
    torch.testing.assert_close(found, known)
    torch.testing.assert_close(*(torch.autograd.grad(value, a)[0] for value in (found, known)))
    assert not real.requires_grad
