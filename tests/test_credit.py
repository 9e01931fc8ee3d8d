"""Credit against slow loops and against enumeration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from enumeration import action_values, every_sequence, tiny_lstm
from seqgan_kit.algorithms import credit
from seqgan_kit.samples import Tokens
from seqgan_kit.tokens import rollouts

LENGTHS = torch.tensor([4, 1, 3, 2, 4])
MASK = torch.arange(4) < LENGTHS.unsqueeze(1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_terminal_gives_all_the_reward_to_each_token() -> None:
    """Every counted step has its row's reward, padding has nothing."""
    reward = random(5)
    found = credit.terminal(reward, MASK)
    for b, length in enumerate(LENGTHS):
        assert found[b].tolist() == [reward[b].item()] * length + [0.0] * (4 - length)


def test_monte_carlo_equals_a_slow_loop() -> None:
    """The mean over a cell's completions, 0 where there are none, and the sample's own reward at its end."""
    generator = torch.Generator().manual_seed(1)
    open_cells = [b * 4 + t for b, length in enumerate(LENGTHS) for t in range(length - 1)]
    cells = torch.tensor(open_cells * 3)[torch.randperm(3 * len(open_cells), generator=generator)][:-5]
    completed, whole = random(len(cells)), random(5, seed=2)
    found = credit.monte_carlo(completed, cells, whole, MASK)
    for b, length in enumerate(LENGTHS):
        for t in range(4):
            here = completed[cells == b * 4 + t]
            expected = here.mean() if len(here) else torch.tensor(0.0)
            if t == length - 1:
                expected = whole[b]
            assert found[b, t].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("end", [None, 1])
def test_monte_carlo_converges_to_enumerated_q(end: int | None) -> None:
    """With 3 tokens, 3 steps and 3,000 roll-outs a prefix, credit lies within 5 standard errors of the exact Q."""
    network, repeats = tiny_lstm(3, 3, end), 3000
    tokens = every_sequence(3, 3, end)
    reward = random(len(tokens.ids))
    base = torch.tensor([9, 3, 1])

    def of(some: Tokens) -> Tensor:
        """The reward of any sequence, by looking it up."""
        return reward[torch.searchsorted((tokens.ids * base).sum(1), (some.ids * base).sum(1))]

    torch.manual_seed(0)
    done = rollouts.roll_out(network, tokens, repeats, 3, end)
    found = credit.monte_carlo(of(done.tokens), done.cells, reward, tokens.mask)
    exact = action_values(network, tokens, reward)
    assert (found - exact).abs().max() < 5 * reward.std() / repeats**0.5
    torch.testing.assert_close(found[:, -1] * tokens.mask[:, -1], reward * tokens.mask[:, -1])


@pytest.mark.parametrize("discount", [1.0, 0.7])
def test_reward_to_go_equals_its_definition(discount: float) -> None:
    """G_t is the discounted sum of the counted rewards from t on, whatever stands on padding."""
    rewards = random(5, 4)
    found = credit.reward_to_go(rewards, MASK, discount)
    for b, length in enumerate(LENGTHS):
        for t in range(4):
            expected = sum(discount ** (k - t) * rewards[b, k].item() for k in range(t, length))
            assert found[b, t].item() == pytest.approx(expected)


def test_gae_equals_its_definition() -> None:
    """The sum of (discount * decay)^k residuals runs to the episode's end; only termination cuts the bootstrap.

    The first row has a termination at step 1 and a time limit at step 4, and goes on in a third episode.
    """
    rewards, values, next_values = random(3, 2, 7)
    terminated = torch.zeros(2, 7, dtype=torch.bool)
    ended = torch.zeros(2, 7, dtype=torch.bool)
    terminated[0, 1] = ended[0, 1] = ended[0, 4] = ended[1, 6] = True
    discount, decay = 0.9, 0.8
    found = credit.gae(rewards, values, next_values, terminated, ended, discount, decay)
    for b in range(2):
        for t in range(7):
            expected = 0.0
            for k in range(t, 7):
                worth = 0.0 if terminated[b, k] else next_values[b, k].item()
                residual = rewards[b, k].item() + discount * worth - values[b, k].item()
                expected += (discount * decay) ** (k - t) * residual
                if ended[b, k]:
                    break
            assert found[b, t].item() == pytest.approx(expected)


def test_gae_is_the_weighted_mean_of_advantages_over_n_steps() -> None:
    """(1 - decay) times the sum of decay^(n-1) A^(n), episode by episode; A^(n) bootstraps after n steps.

    The row holds an episode that terminates, one that a time limit cuts, one of a single step of each kind, and one
    that the row's end cuts. What stands for the value after a termination is of no effect.
    """
    kinds = [(3, "terminated"), (4, "time limit"), (1, "terminated"), (1, "time limit"), (3, "row ends")]
    lasts = np.cumsum([count for count, _ in kinds]) - 1
    rewards, values, next_values = random(3, 1, lasts[-1] + 1)
    terminated, ended = torch.zeros(2, 1, lasts[-1] + 1, dtype=torch.bool)
    terminated[0, lasts] = torch.tensor([kind == "terminated" for _, kind in kinds])
    ended[0, lasts] = torch.tensor([kind != "row ends" for _, kind in kinds])
    inside = ~ended[0, :-1]
    values[0, 1:][inside] = next_values[0, :-1][inside]  # there it is the value of one and the same observation
    next_values[terminated] = 1e6
    discount, decay, expected = 0.9, 0.7, []
    for (count, kind), last in zip(kinds, lasts, strict=True):
        for t in range(last - count + 1, last + 1):
            steps = []  # A^(1), A^(2), ... up to the episode's end, beyond which all are the same
            for n in range(1, last - t + 2):
                earned = sum(discount**k * rewards[0, t + k].item() for k in range(n))
                nothing = kind == "terminated" and t + n - 1 == last
                worth = 0.0 if nothing else discount**n * next_values[0, t + n - 1].item()
                steps.append(earned + worth - values[0, t].item())
            weights = [(1 - decay) * decay ** (n - 1) for n in range(1, len(steps))]
            expected.append(sum(w * a for w, a in zip([*weights, 1 - sum(weights)], steps, strict=True)))
    found = credit.gae(rewards, values, next_values, terminated, ended, discount, decay)
    assert found[0].tolist() == pytest.approx(expected)


def test_gae_without_decay_is_the_return_less_the_value() -> None:
    """With decay 1 and a terminated episode, the values in between cancel."""
    rewards, values = random(2, 3, 5)
    next_values = torch.cat([values[:, 1:], random(3, 1, seed=3)], dim=1)
    ended = torch.zeros(3, 5, dtype=torch.bool)
    ended[:, -1] = True
    found = credit.gae(rewards, values, next_values, ended, ended, 0.9, 1.0)
    torch.testing.assert_close(found, credit.reward_to_go(rewards, torch.ones_like(ended), 0.9) - values)


def test_no_baseline_changes_nothing() -> None:
    """Credit stays what it was."""
    values = random(5, 4) * MASK
    assert credit.no_baseline(values, MASK).equal(values)


def test_leave_one_out_equals_a_slow_loop() -> None:
    """Each step loses the mean of the others at that step, or, where it is alone, of all the others' steps."""
    mask = MASK[:4]  # only row 0 reaches the last step
    values = random(4, 4) * mask
    found = credit.leave_one_out(values, mask)
    for b in range(4):
        others = torch.arange(4) != b
        for t in range(4):
            there = values[others, t][mask[others, t]]
            baseline = there.mean() if len(there) else values[others][mask[others]].mean()
            expected = (values[b, t] - baseline).item() if mask[b, t] else 0.0
            assert found[b, t].item() == pytest.approx(expected)


@pytest.mark.parametrize("group", [1, 2, 3, 6])
def test_leave_one_out_of_a_group_equals_a_slow_loop(group: int) -> None:
    """The others are those of the same context: rows that follow each other. All in one group are as without groups."""
    mask = torch.arange(4) < torch.tensor([[4], [1], [3], [2], [2], [4]])
    values = random(6, 4) * mask
    found = credit.leave_one_out(values, mask, group)
    for b in range(6):
        others = [row for row in range(6) if row != b and row // group == b // group]
        for t in range(4):
            there = values[others, t][mask[others, t]] if others else values[:0, 0]
            every = values[others][mask[others]] if others else torch.zeros(1)
            baseline = there.mean() if len(there) else every.mean()
            expected = (values[b, t] - baseline).item() if mask[b, t] else 0.0
            assert found[b, t].item() == pytest.approx(expected)
    if group == 6:
        assert found.equal(credit.leave_one_out(values, mask))


@pytest.mark.parametrize("group", [0, 4, 12])
def test_groups_must_be_whole(group: int) -> None:
    """6 rows are no groups of 4."""
    with pytest.raises(ValueError, match=f"6 rows are no groups of {group}"):
        credit.leave_one_out(torch.zeros(6, 2), torch.ones(6, 2, dtype=torch.bool), group)


def test_leave_one_out_ignores_its_own_row() -> None:
    """What is subtracted from a row does not move with that row's credit, or the gradient would be biased."""
    values = random(5, 4) * MASK
    changed = values.clone()
    changed[2] = (changed[2] + random(4, seed=5)) * MASK[2]
    before, after = values - credit.leave_one_out(values, MASK), changed - credit.leave_one_out(changed, MASK)
    torch.testing.assert_close(after[2], before[2])
    assert not torch.allclose(after[0], before[0])


def test_leave_one_out_of_one_row_is_the_row() -> None:
    """With nobody to compare with, nothing is subtracted."""
    values = random(1, 4) * MASK[2:3]
    torch.testing.assert_close(credit.leave_one_out(values, MASK[2:3]), values)


def test_whiten_gives_mean_0_and_variance_1() -> None:
    """Over the counted steps alone, and in the same order; equal credit becomes 0."""
    values = random(5, 4) * 3 + 2
    found = credit.whiten(values, MASK)
    assert found[MASK].mean().item() == pytest.approx(0)
    assert found[MASK].var(correction=0).item() == pytest.approx(1)
    assert found[MASK].argsort().equal(values[MASK].argsort())
    assert credit.whiten(MASK * 0.5, MASK).abs().max() < 1e-6


@pytest.mark.parametrize("function", [credit.leave_one_out, credit.whiten, credit.reward_to_go])
def test_padding_has_no_credit(function: credit.leave_one_out) -> None:
    """Whatever is counted, padding ends with exactly 0."""
    found = function(random(5, 4) * MASK + MASK, MASK)
    assert (found[~MASK] == 0).all()
    assert (found[MASK] != 0).any()


def test_monte_carlo_has_no_credit_on_padding() -> None:
    """Even where a caller's completions point there."""
    found = credit.monte_carlo(torch.ones(20), torch.arange(20), torch.ones(5), MASK)
    assert found.equal(MASK.float())


WIDE, NARROW = torch.zeros(5, 4), torch.zeros(5, 1)
ONE_CELL = torch.zeros(1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (credit.terminal, (NARROW, MASK)),
        (credit.terminal, (WIDE[:4, 0], MASK)),
        (credit.monte_carlo, (torch.zeros(2), ONE_CELL, WIDE[:, 0], MASK)),
        (credit.monte_carlo, (torch.zeros(1), ONE_CELL, WIDE[:1, 0], MASK)),
        (credit.reward_to_go, (NARROW, MASK)),
        (credit.reward_to_go, (WIDE[:, 0], MASK[:, 0])),
        (credit.no_baseline, (NARROW, MASK)),
        (credit.leave_one_out, (NARROW, MASK)),
        (credit.whiten, (NARROW, MASK)),
        (credit.gae, (NARROW, WIDE, WIDE, MASK, MASK, 1, 1)),
        (credit.gae, (WIDE, NARROW, WIDE, MASK, MASK, 1, 1)),
        (credit.gae, (WIDE, WIDE, NARROW, MASK, MASK, 1, 1)),
        (credit.gae, (WIDE, WIDE, WIDE, MASK[:, :1], MASK, 1, 1)),
        (credit.gae, (WIDE, WIDE, WIDE, MASK, MASK[:, :1], 1, 1)),
    ],
)
def test_unequal_shapes_raise(function: credit.gae, arguments: tuple[Tensor, ...]) -> None:
    """(5, 1) against (5, 4) must not broadcast."""
    with pytest.raises(ValueError, match=r"\(5, 4\)|\(5,\)|\(2,\)"):
        function(*arguments)
