"""Objectives against the divergences they minimise, and rewards against their formulas in D."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.optimize import linprog
from scipy.stats import wasserstein_distance
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.algorithms import f_gan, objectives
from seqgan_kit.algorithms.objectives import Objective, gradient_penalty
from seqgan_kit.samples import Images, Tokens, Transitions

LOGISTIC = [
    objectives.seqgan,
    objectives.minimax,
    objectives.non_saturating,
    objectives.airl,
    objectives.boundary_seeking,
]
F_GAN = [f_gan.kl, f_gan.reverse_kl, f_gan.pearson, f_gan.squared_hellinger, f_gan.jensen_shannon, f_gan.gan]
EXPONENTIAL = [f_gan.kl, f_gan.reverse_kl, f_gan.squared_hellinger]
SMOOTH = [*LOGISTIC, objectives.least_squares, *F_GAN]
BOUNDED = [*SMOOTH, objectives.hinge, objectives.ebgan]
EVERY = [*BOUNDED, objectives.wasserstein]
FALLING = [objectives.least_squares, objectives.boundary_seeking, f_gan.pearson]
MONOTONE = [make for make in EVERY if make not in FALLING]
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
    if make is objectives.ebgan:  # energy 0 where real is likelier, else the margin: 1 - TV
        return torch.where(P > Q, 40.0, -math.log(math.e - 1)).double(), torch.minimum(P, Q).sum()
    ratio = P / Q
    if make is f_gan.kl:
        return ratio.log(), -(P * ratio.log()).sum()
    if make is f_gan.reverse_kl:
        return ratio.log(), (Q * ratio.log()).sum()
    if make is f_gan.pearson:
        return 2 * (ratio - 1), -(Q * (ratio - 1) ** 2).sum()
    if make is f_gan.squared_hellinger:
        return ratio.log() / 2, -((P.sqrt() - Q.sqrt()) ** 2).sum()
    middle = (P + Q) / 2
    js = ((P * (P / middle).log()).sum() + (Q * (Q / middle).log()).sum()) / 2
    if make is f_gan.jensen_shannon:
        return ratio.log(), -2 * js
    return ratio.log(), 2 * torch.tensor(2.0).double().log() - 2 * js


@pytest.mark.parametrize("make", BOUNDED)
def test_loss_at_the_best_critic_is_a_divergence(make: Make) -> None:
    """The loss of the closed-form critic is the closed-form divergence."""
    critic, divergence = optimum(make)
    torch.testing.assert_close(loss_of(make, critic), divergence)


@pytest.mark.parametrize("make", BOUNDED)
def test_no_critic_is_better_than_the_best(make: Make) -> None:
    """The loss is convex in the logits (EBGAN's in the energies), so that no neighbour below means no critic below."""
    critic, divergence = optimum(make)
    generator = torch.Generator().manual_seed(0)
    for scale in (0.01, 0.1, 1.0):
        for _ in range(100):
            other = critic + scale * torch.randn(5, generator=generator, dtype=torch.float64)
            assert loss_of(make, other) >= divergence - 1e-12


@pytest.mark.parametrize("make", SMOOTH)
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
        (objectives.boundary_seeking, lambda d: -0.5 * (d.log() - (1 - d).log()) ** 2),
        (objectives.ebgan, lambda d: d.log()),
        (objectives.ls_gan, torch.logit),
    ],
)
def test_reward_is_its_formula(make: Make, formula: Callable[[Tensor], Tensor]) -> None:
    """Rewards, written in D = sigmoid(logit), are those of the papers; shapes are kept."""
    probability = torch.linspace(0.01, 0.99, 50).double().view(5, 10)
    torch.testing.assert_close(make().reward(torch.logit(probability)), formula(probability))


@pytest.mark.parametrize("make", [*MONOTONE, objectives.ls_gan])
def test_reward_rises_with_the_logit(make: Make) -> None:
    """What looks more real earns strictly more."""
    reward = make().reward(torch.linspace(-6, 6, 100).double())
    assert (reward.diff() > 0).all()


@pytest.mark.parametrize(
    ("make", "best"), [(objectives.boundary_seeking, 0.0), (objectives.least_squares, 1.0), (f_gan.pearson, None)]
)
def test_rewards_that_fall(make: Make, best: float | None) -> None:
    """Those that are no reward for a policy, on either side of where they turn; Pearson's rises only from -2 on."""
    reward, side = make().reward, -1 if best is None else 1
    turn = -2.0 if best is None else best
    assert (side * reward(torch.linspace(turn - 6, turn, 50)).diff() > 0).all()
    assert (side * reward(torch.linspace(turn, turn + 6, 50)).diff() < 0).all()


# f of the table, and the interval of u = real / fake in which its supremum is looked for
F_OF = {
    f_gan.kl: lambda u: u * u.log(),
    f_gan.reverse_kl: lambda u: -u.log(),
    f_gan.pearson: lambda u: (u - 1) ** 2,
    f_gan.squared_hellinger: lambda u: (u.sqrt() - 1) ** 2,
    f_gan.jensen_shannon: lambda u: u * u.log() - (u + 1) * ((1 + u) / 2).log(),
    f_gan.gan: lambda u: u * u.log() - (u + 1) * (1 + u).log(),
}


@pytest.mark.parametrize("make", F_GAN)
def test_f_gan_s_reward_is_the_conjugate(make: Make) -> None:
    """sup over u of u g(logit) - f(u), by trying many u; g itself is what real logits add to the loss."""
    objective, ratios = make(), torch.linspace(-12, 12, 200_001).double().exp()
    for logit in torch.linspace(-1.5, 1.5, 7).double():
        nothing = torch.zeros(1).double()
        activation = objective.reward(nothing).mean() - objective.loss(logit.view(1), nothing)
        tried = ratios * activation - F_OF[make](ratios)
        torch.testing.assert_close(objective.reward(logit), tried.max(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", F_GAN)
def test_f_gan_s_zero_is_the_boundary(make: Make) -> None:
    """At logit 0 the activation is f'(1), as everywhere at the best logits: what is above is likelier real."""
    one = torch.ones((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(F_OF[make](one), one)
    zero = torch.zeros(1).double()
    torch.testing.assert_close(make().reward(zero).mean() - make().loss(zero, zero), slope)


@pytest.mark.parametrize("make", EXPONENTIAL)
def test_exponential_losses_stay_finite_up_to_their_bound(make: Make) -> None:
    """In float32 up to logits of 80; from 88 on they overflow, and the engine stops the run before such a step."""
    assert make().loss(torch.tensor([-80.0, 80.0]), torch.tensor([-80.0, 80.0])).isfinite()
    assert not make().loss(torch.tensor([-100.0, 100.0]), torch.tensor([-100.0, 100.0])).isfinite()


# loss-sensitive GAN, and distances

PLACE = torch.tensor([0.0, 0.5, 2.0, 2.25, 4.0]).double()


def of_pairs(objective: Objective, critic: Tensor) -> Tensor:
    """Its loss on every pair of a real and a fake draw, which lie as far apart as their places."""
    real, fake = torch.arange(5).repeat_interleave(REAL), torch.arange(5).repeat_interleave(FAKE)
    pairs = torch.cartesian_prod(real, fake).T
    return objective.loss(critic[pairs[0]], critic[pairs[1]], (PLACE[pairs[0]] - PLACE[pairs[1]]).abs())


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_loss_sensitive_gan_by_linear_programming(margin: float) -> None:
    """The least value over all critics, as a linear program, is its loss at that program's critic, and none is less."""
    weights = (P.unsqueeze(1) * Q).flatten()
    far = margin * (PLACE.unsqueeze(1) - PLACE).abs().flatten()
    real, fake = torch.cartesian_prod(torch.arange(5), torch.arange(5)).T
    rows = torch.zeros(25, 30).double()  # slack_ij >= far_ij - logit_i + logit_j, unknown: 5 logits, 25 slacks
    rows[torch.arange(25), real] -= 1
    rows[torch.arange(25), fake] += 1
    rows[torch.arange(25), 5 + torch.arange(25)] = -1
    bounds = [(0, 0)] + [(None, None)] * 4 + [(0, None)] * 25
    found = linprog([0.0] * 5 + weights.tolist(), A_ub=rows.numpy(), b_ub=-far.numpy(), bounds=bounds)
    objective, critic = objectives.ls_gan(margin), torch.tensor(found.x[:5])
    assert of_pairs(objective, critic).item() == pytest.approx(found.fun)
    generator = torch.Generator().manual_seed(0)
    for scale in (0.01, 0.1, 1.0):
        for _ in range(50):
            other = critic + scale * torch.randn(5, generator=generator, dtype=torch.float64)
            assert of_pairs(objective, other) >= found.fun - 1e-9


def test_loss_sensitive_gan_weighs_real_ones() -> None:
    """weight * E L(real) is added, L = -logit."""
    real, fake, far = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    added = objectives.ls_gan(1.0, 0.3).loss(real, fake, far) - objectives.ls_gan(1.0).loss(real, fake, far)
    torch.testing.assert_close(added, -0.3 * real.mean())


def test_loss_sensitive_gan_asks_for_more_where_samples_are_further_apart() -> None:
    """A pair costs nothing once its logits differ by margin * distance, and what is missing before."""
    gap = torch.linspace(-1, 3, 9).double()
    for far in (0.0, 0.5, 1.0):
        loss = [objectives.ls_gan(2.0).loss(g.view(1), torch.zeros(1), torch.tensor([far])).item() for g in gap]
        assert loss == pytest.approx([max(0.0, 2 * far - g.item()) for g in gap])


def test_loss_sensitive_gan_needs_pairs() -> None:
    """More fake samples than real ones are told, not broadcast."""
    with pytest.raises(ValueError, match=r"each real sample with one fake one.*\(4,\).*\(1,\)"):
        objectives.ls_gan().loss(torch.zeros(4), torch.zeros(1), torch.zeros(4))


def test_distance_of_tokens_by_hand() -> None:
    """The share of unequal tokens up to the longer sequence's end, whatever stands on padding; lengths may differ."""
    ids = torch.tensor([[1, 2, 3, 9], [1, 2, 3, 9], [5, 9, 9, 9], [0, 0, 0, 0]])
    mask = torch.arange(4) < torch.tensor([[3], [3], [1], [2]])
    other = torch.tensor([[1, 2, 3], [1, 4, 7], [6, 6, 7], [0, 8, 8]])
    shown = torch.arange(3) < torch.tensor([[3], [2], [3], [1]])
    found = objectives.distance_between(Tokens(ids, mask), Tokens(other, shown))
    assert found.tolist() == pytest.approx([0, 2 / 3, 1, 1 / 2])
    back = objectives.distance_between(Tokens(other, shown), Tokens(ids, mask))
    assert back.equal(found)


def test_distance_of_pictures_by_hand() -> None:
    """The mean absolute difference."""
    real = Images(torch.tensor([[[[1.0, -1.0]]], [[[0.5, 0.5]]]]), torch.zeros(2, 0))
    fake = Images(torch.tensor([[[[1.0, 1.0]]], [[[0.25, 0.0]]]]), torch.zeros(2, 0))
    assert objectives.distance_between(real, fake).tolist() == pytest.approx([1.0, 0.375])


def test_other_samples_have_no_distance() -> None:
    """Steps of an environment are not compared."""
    zeros, steps = torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.bool)
    transitions = Transitions(zeros, zeros, zeros, zeros, steps, steps, steps)
    with pytest.raises(TypeError, match="no distance between Transitions and Transitions"):
        objectives.distance_between(transitions, transitions)


@pytest.mark.parametrize("margin", [0.5, 3.0])
def test_energies_by_hand(margin: float) -> None:
    """Real ones are lowered to 0, fake ones raised to the margin and no further; the reward is minus the energy."""
    energy = torch.tensor([0.1, 1.0, 2.0, 4.0]).double()
    logits = -torch.expm1(energy).log()  # softplus(-logit) = energy
    objective = objectives.ebgan(margin)
    known = energy.mean() + (margin - energy).clamp_min(0).mean()
    torch.testing.assert_close(objective.loss(logits, logits), known)
    torch.testing.assert_close(objective.reward(logits), -energy)


def test_an_objective_that_was_built_can_be_configured() -> None:
    """Where a function without arguments is expected, as options with init_args give it."""
    objective = objectives.ebgan(2.0)
    assert objective() is objective


@pytest.mark.parametrize("make", [make for make in EVERY if make not in EXPONENTIAL])
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
