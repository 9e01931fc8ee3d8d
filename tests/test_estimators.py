"""Estimators: their expected gradient, by enumeration, is the gradient of the expected reward."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from enumeration import TablePolicy, action_values, every_sequence, probabilities
from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators
from seqgan_kit.samples import Tokens

ENDS = pytest.mark.parametrize("end", [None, 2], ids=["fixed length", "end token"])


def problem(end: int | None) -> tuple[TablePolicy, Tokens, Tensor]:
    """3 tokens and 3 steps: a policy, every sequence, and a reward for each."""
    tokens = every_sequence(3, 3, end)
    reward = torch.randn(len(tokens.ids), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return TablePolicy(3, 3), tokens, reward


def gradient(value: Tensor, policy: TablePolicy) -> Tensor:
    return torch.autograd.grad(value, policy.table)[0]


def exact(policy: TablePolicy, tokens: Tokens, reward: Tensor) -> Tensor:
    """d/d table of the expected reward, the sum over every sequence."""
    return gradient((probabilities(policy, tokens) * reward).sum(), policy)


def one(tokens: Tokens, *index: int) -> Tokens:
    return Tokens(tokens.ids[list(index)], tokens.mask[list(index)])


def surrogate(policy: TablePolicy, tokens: Tokens, credit: Tensor) -> Tensor:
    log_probs = policy(tokens.ids)
    return estimators.reinforce(log_probs, log_probs.detach(), credit, tokens.mask)


@ENDS
def test_enumeration_is_complete(end: int | None) -> None:
    """The reference itself: the probabilities of every sequence sum to 1."""
    policy, tokens, _ = problem(end)
    assert probabilities(policy, tokens).sum().item() == pytest.approx(1)


@ENDS
@pytest.mark.parametrize("kind", ["terminal", "action values", "action values less a constant"])
def test_expected_gradient_of_reinforce_is_exact(end: int | None, kind: str) -> None:
    """The mean over every sequence of the surrogate's gradient is minus the gradient of the expected reward."""
    policy, tokens, reward = problem(end)
    if kind == "terminal":
        credit = credits.terminal(reward, tokens.mask)
    else:
        credit = action_values(policy, tokens, reward) - (3.0 if "constant" in kind else 0.0)
    weights = probabilities(policy, tokens).detach()
    expected = sum(weights[i] * surrogate(policy, one(tokens, i), credit[i : i + 1]) for i in range(len(tokens.ids)))
    torch.testing.assert_close(-gradient(expected, policy), exact(policy, tokens, reward))


@ENDS
def test_leave_one_out_keeps_the_expected_gradient(end: int | None) -> None:
    """The mean over every pair of sequences, each the other's baseline, is still the exact gradient."""
    policy, tokens, reward = problem(end)
    weights = probabilities(policy, tokens).detach()
    log_probs, credit = policy(tokens.ids), credits.terminal(reward, tokens.mask)
    expected = torch.zeros((), dtype=torch.float64)
    for i in range(len(tokens.ids)):
        for j in range(len(tokens.ids)):
            pair = one(tokens, i, j)
            centred = credits.leave_one_out(credit[[i, j]], pair.mask)
            some = log_probs[[i, j]]
            expected = expected + weights[i] * weights[j] * estimators.reinforce(some, some, centred, pair.mask)
    torch.testing.assert_close(-gradient(expected, policy), exact(policy, tokens, reward))


@ENDS
def test_action_values_have_less_variance(end: int | None) -> None:
    """Why roll-outs are paid for: the gradient of a single sequence varies less than with the terminal reward."""
    policy, tokens, reward = problem(end)
    weights = probabilities(policy, tokens).detach()
    mean = exact(policy, tokens, reward)

    def variance(credit: Tensor) -> float:
        gradients = [
            -gradient(surrogate(policy, one(tokens, i), credit[i : i + 1]), policy) for i in range(len(weights))
        ]
        return sum(float(w * (g - mean).square().sum()) for w, g in zip(weights, gradients, strict=True))

    assert variance(action_values(policy, tokens, reward)) < variance(credits.terminal(reward, tokens.mask))


@pytest.mark.parametrize("name", ["reinforce", "ppo", "maximum_likelihood"])
def test_batch_is_the_mean_of_its_rows(name: str) -> None:
    """Divided by the rows, not by the counted tokens: so the mean over processes of equal size is exact."""
    policy, tokens, reward = problem(2)
    log_probs, credit = policy(tokens.ids), credits.terminal(reward, tokens.mask)

    def loss(part: slice) -> Tensor:
        if name == "maximum_likelihood":
            return estimators.maximum_likelihood(log_probs[part], tokens.mask[part])
        function = estimators.ppo if name == "ppo" else estimators.reinforce
        return function(log_probs[part], log_probs[part] + 0.1, credit[part], tokens.mask[part])

    rows = [loss(slice(i, i + 1)) for i in range(len(tokens.ids))]
    torch.testing.assert_close(loss(slice(None)), torch.stack(rows).mean())


def test_maximum_likelihood_equals_a_loop() -> None:
    """-log p of each counted token, summed over time and meant over rows, is in nats per sequence."""
    policy, tokens, _ = problem(2)
    total = 0.0
    for row, mask in zip(tokens.ids.tolist(), tokens.mask, strict=True):
        state = 0
        for token in row[: int(mask.sum())]:
            weights = policy.table[state].detach().exp()
            total -= math.log(float(weights[token] / weights.sum()))
            state = 3 * state + 1 + token
    found = estimators.maximum_likelihood(policy(tokens.ids), tokens.mask)
    assert found.item() == pytest.approx(total / len(tokens.ids))


@ENDS
def test_ppo_is_reinforce_at_ratio_1(end: int | None) -> None:
    """Before the first step, old and new policy are one, and so are the gradients."""
    policy, tokens, reward = problem(end)
    log_probs, credit = policy(tokens.ids), credits.terminal(reward, tokens.mask)
    ppo = gradient(estimators.ppo(log_probs, log_probs.detach(), credit, tokens.mask), policy)
    torch.testing.assert_close(ppo, gradient(surrogate(policy, tokens, credit), policy))


@pytest.mark.parametrize("clip", [0.1, 0.2])
def test_ppo_equals_a_scalar_loop(clip: float) -> None:
    """Value and gradient are those of min(r A, clip(r) A) written for one number at a time."""
    generator = torch.Generator().manual_seed(0)
    new, old, credit = torch.randn(3, 40, 5, generator=generator, dtype=torch.float64)
    new = (old + 0.2 * new).requires_grad_()
    mask = torch.rand(40, 5, generator=generator) < 0.7
    loss = estimators.ppo(new, old, credit, mask, clip)
    (slope,) = torch.autograd.grad(loss, new)
    total, kinds = 0.0, set()
    for b in range(40):
        for t in range(5):
            ratio, a = math.exp(new[b, t].item() - old[b, t].item()), float(credit[b, t])
            kept = min(max(ratio, 1 - clip), 1 + clip)
            flat = kept * a < ratio * a
            kinds.add((flat, a > 0, ratio > 1))
            expected = -ratio * a / 40 if mask[b, t] and not flat else 0.0
            total += min(ratio * a, kept * a) if mask[b, t] else 0.0
            assert slope[b, t].item() == pytest.approx(expected)
    assert loss.item() == pytest.approx(-total / 40)
    assert len(kinds) == 6  # clipped or not, for either sign of the credit and either side of 1, where possible


def test_ppo_clips_at_a_fifth() -> None:
    """The default is the paper's."""
    generator = torch.Generator().manual_seed(2)
    new, old, credit = torch.randn(3, 40, 5, generator=generator)
    mask = torch.ones(40, 5, dtype=torch.bool)
    assert estimators.ppo(new, old, credit, mask).equal(estimators.ppo(new, old, credit, mask, 1 / 5))


@pytest.mark.parametrize("function", [estimators.reinforce, estimators.ppo])
def test_gradient_flows_through_the_new_policy_alone(function: estimators.reinforce) -> None:
    """Neither the credit nor the old log-probabilities are moved."""
    new, old, credit = (torch.ones(2, 3, requires_grad=True) for _ in range(3))
    function(new, old, credit, torch.ones(2, 3, dtype=torch.bool)).backward()
    assert (new.grad != 0).all()
    assert old.grad is None
    assert credit.grad is None


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("function", [estimators.reinforce, estimators.ppo])
def test_unequal_shapes_raise(function: estimators.reinforce, place: int) -> None:
    """(5, 1) against (5, 4) must not broadcast."""
    with pytest.raises(ValueError, match=r"\(5, 1\)"):
        function(*[torch.zeros(5, 1 if i == place else 4) for i in range(4)])


def test_unequal_shapes_raise_in_maximum_likelihood() -> None:
    """(5, 1) against (5, 4) must not broadcast, and vectors are refused."""
    with pytest.raises(ValueError, match=r"\(5, 1\)"):
        estimators.maximum_likelihood(torch.zeros(5, 4), torch.ones(5, 1))
    with pytest.raises(ValueError, match=r"\(5,\)"):
        estimators.maximum_likelihood(torch.zeros(5), torch.ones(5))
