"""MaliGAN's credit and its mixed scheme: by enumeration, and through the policy."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from enumeration import TablePolicy, every_sequence, probabilities
from policies import token_policy
from replies import END, LENGTH, REPLIES, total
from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators, objectives
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.rewards import Reward
from seqgan_kit.game.trainer import Turns
from seqgan_kit.language.config import settled
from seqgan_kit.language.training import ADVERSARIAL, by_context
from seqgan_kit.samples import Tokens, rows, size
from seqgan_kit.text import config as configs
from seqgan_kit.text.players import prefix_at
from seqgan_kit.text.train import TextTask
from seqgan_kit.tokens.credit import LikelihoodRatio, Terminal
from seqgan_kit.tokens.policy import likelihood_loss
from test_token_policy import ROWS, policy_of, same, seq2seq, weights

EVERY = every_sequence(2, 2, None)
TARGET = torch.tensor([0.5, 0.1, 0.15, 0.25]).double()  # the probabilities of the data, in the same order
SIXTEENTHS = torch.tensor([2, 2, 9, 3])  # those of `quarters`


def quarters() -> TablePolicy:
    """Probabilities of whole sixteenths, so that a batch can have just the expected counts."""
    policy = TablePolicy(2, 2)
    policy.table.data = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]]).double().log()
    torch.testing.assert_close(probabilities(policy, EVERY).detach(), SIXTEENTHS.double() / 16)
    return policy


def gradient(value: Tensor, policy: TablePolicy) -> Tensor:
    return torch.autograd.grad(value, policy.table)[0]


def of_likelihood(policy: TablePolicy) -> Tensor:
    """The gradient of the negative log-likelihood of the data, exactly."""
    return gradient(-(TARGET * probabilities(policy, EVERY).log()).sum(), policy)


def of_batch(policy: TablePolicy, chosen: Tensor, baseline: Any) -> Tensor:
    """The gradient from these sequences, by the best discriminator, whose logit is log real / fake."""
    some = Tokens(EVERY.ids[chosen], EVERY.mask[chosen])
    ratio = (TARGET / probabilities(policy, EVERY).detach()).log()[chosen]
    credit = baseline(credits.terminal(credits.likelihood_ratio(ratio), some.mask), some.mask)
    log_probs = policy(some.ids)
    return gradient(estimators.reinforce(log_probs, log_probs, credit, some.mask), policy)


def test_likelihood_ratio_equals_a_slow_loop() -> None:
    """r_i over the mean of r, in each group: a mean of 1, whatever is added to all logits."""
    logits = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    odds = torch.sigmoid(logits) / (1 - torch.sigmoid(logits))
    for group in (None, 6, 3, 2, 1):
        found, count = credits.likelihood_ratio(logits, group), group or 6
        for i in range(6):
            others = odds[i // count * count :][:count]
            assert found[i].item() == pytest.approx(count * (odds[i] / others.sum()).item())
        torch.testing.assert_close(credits.likelihood_ratio(logits + 7, group), found)
    certain = credits.likelihood_ratio(torch.tensor([1e4, -1e4]))
    assert certain.tolist() == [2.0, 0.0]


@pytest.mark.parametrize(("shape", "group"), [((6,), 4), ((6,), 0), ((6,), 12), ((6, 1), None)])
def test_likelihood_ratio_refuses_uneven_groups(shape: tuple[int, ...], group: int | None) -> None:
    """6 rows are no groups of 4, and no matrix is a list of rows."""
    with pytest.raises(ValueError, match="are no groups of"):
        credits.likelihood_ratio(torch.zeros(shape), group)


def test_the_expected_gradient_is_that_of_maximum_likelihood() -> None:
    """With each sequence as often as expected, and the best discriminator, to rounding."""
    policy = quarters()
    chosen = torch.arange(4).repeat_interleave(SIXTEENTHS)
    torch.testing.assert_close(of_batch(policy, chosen, credits.no_baseline), of_likelihood(policy))


def test_the_bias_of_few_samples_falls_as_one_over_them() -> None:
    """Over every batch of m: nothing is left of the gradient at m = 1; of each m, the bias is about 1 / m of it."""
    policy = quarters()
    exact, probability = of_likelihood(policy), SIXTEENTHS.double() / 16
    bias = []
    for m in range(1, 6):
        expected = torch.zeros_like(exact)
        for chosen in map(torch.tensor, product(range(4), repeat=m)):
            expected += probability[chosen].prod() * of_batch(policy, chosen, credits.no_baseline)
        bias.append((expected - exact).norm().item() / exact.norm().item())
    assert bias[0] == pytest.approx(1)
    assert all(before > after for before, after in pairwise(bias))
    assert all(0.5 < m * share < 2 for m, share in enumerate(bias, 1)), bias


def test_the_mixed_scheme_s_expected_gradient_is_that_of_maximum_likelihood(engine: Engine) -> None:
    """First tokens as the data have them, the rest as sampled: likelihood on the first, weights on the rest."""
    policy = quarters()
    first = torch.stack([TARGET[:2].sum(), TARGET[2:].sum()]).repeat_interleave(2)  # 0.6, 0.4 of the data
    mixed = first * torch.tensor([0.5, 0.5, 0.75, 0.25]).double()
    ratio = (TARGET / mixed).log()
    counts = (20 * mixed).round().long()
    assert counts.tolist() == [6, 6, 6, 2]
    chosen = torch.arange(4).repeat_interleave(counts)
    learner = engine.learner("policy", policy, OptimizerConfig(clip=0.0))
    player = token_policy(
        engine, learner, 20, 2, None, torch.sigmoid, LikelihoodRatio(policy, 2, None),
        baseline=credits.no_baseline, prefix=lambda: 1,
    )  # fmt: skip
    seen: list[Tensor] = []
    learner.optimizer.register_step_pre_hook(lambda *_: seen.append(policy.table.grad.clone()))
    exact = of_likelihood(policy)
    batch = Tokens(EVERY.ids[chosen], EVERY.mask[chosen])
    player.update(batch, batch, lambda some: ratio[2 * some.ids[:, 0] + some.ids[:, 1]])
    torch.testing.assert_close(seen[0], exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("make", [objectives.seqgan, objectives.airl, objectives.non_saturating])
@pytest.mark.parametrize("group", [None, 1, 5])
def test_a_policy_weighs_by_the_logit_whatever_the_reward(make: Any, group: int | None, engine: Engine) -> None:
    """D / (1 - D), not D; users' rewards multiply it by their exponential, and alone they are all of it."""
    of_users = torch.tensor([0.3, -1.0, 0.0, 2.0, 0.5])
    for weight in (1.0, 0.5, 0.0):
        engine.learners.clear()  # the next policy's has the same name
        policy, kept = policy_of(
            engine,
            seq2seq(),
            OptimizerConfig(lr=0.0),
            credit=LikelihoodRatio(seq2seq(), LENGTH, END, group),
            reward=make().reward,
            discriminator_weight=weight,
            users=[Reward(lambda completions: of_users.tolist())],
        )
        policy.update(REPLIES, REPLIES, total)
        odds = (weight * total(REPLIES) + of_users).exp()
        expected = odds / odds.mean() if group != 1 else torch.ones(ROWS)
        torch.testing.assert_close(kept.credit, expected.unsqueeze(1) * REPLIES.mask)


# the mixed scheme


@pytest.mark.parametrize("given", [0, 1, 3, LENGTH, 99])
def test_first_tokens_are_the_real_ones(given: int, engine: Engine) -> None:
    """Replies that end among them are the real ones; what follows is drawn, and only there."""
    policy, _ = policy_of(engine, seq2seq(), prefix=lambda: given)
    torch.manual_seed(0)
    drawn = [policy.sample(REPLIES) for _ in range(20)]
    for fake in drawn:
        shared = min(given, fake.ids.shape[1])
        counted = REPLIES.mask[:, :shared]
        assert fake.mask[:, :shared].equal(counted)
        assert (fake.ids[:, :shared] == REPLIES.ids[:, :shared])[counted].all()
        over = REPLIES.mask.sum(1) <= given
        assert fake.mask.sum(1)[over].equal(REPLIES.mask.sum(1)[over])
    if given < LENGTH:
        assert len({tuple(fake.ids[0].tolist()) for fake in drawn}) > 5
    policy.likelihood.prefix = None
    torch.manual_seed(0)
    assert policy.sample(REPLIES).ids.equal(drawn[0].ids) == (given == 0)


def test_given_tokens_have_likelihood_s_credit(engine: Engine) -> None:
    """1 on them, unmoved by baselines; credit less the baseline of the own ones on the others; padding has none."""
    policy, kept = policy_of(engine, seq2seq(), prefix=lambda: 2, baseline=credits.leave_one_out)
    policy.update(REPLIES, REPLIES, total)
    own = REPLIES.mask & (torch.arange(LENGTH) >= 2)
    expected = credits.leave_one_out(credits.terminal(total(REPLIES), own), own)
    torch.testing.assert_close(kept.credit, torch.where(own, expected, (REPLIES.mask & ~own).float()))


def test_with_all_tokens_given_it_is_a_likelihood_step(engine: Engine) -> None:
    """Bit for bit the same weights, whatever the discriminator says."""
    network, other = seq2seq(dropout=0.0), seq2seq(dropout=0.0)
    policy, _ = policy_of(engine, network, prefix=lambda: LENGTH, credit=Terminal(network, LENGTH, END))
    policy.update(REPLIES, policy.sample(REPLIES), total)
    taught = engine.learner("taught", other, OptimizerConfig())
    engine.update(taught, lambda part: likelihood_loss(other, rows(REPLIES, part)), size(REPLIES))
    for moved, known in zip(weights(network), weights(other), strict=True):
        torch.testing.assert_close(moved, known)
    assert not same(weights(network), weights(seq2seq()))


def test_the_prefix_falls_in_equal_stages() -> None:
    """From its whole length to nothing, in the last stage; of more tokens than rounds, some lengths are left out."""
    assert [prefix_at(done, 9, 2) for done in range(9)] == [2, 2, 2, 1, 1, 1, 0, 0, 0]
    assert [prefix_at(done, 3, 5) for done in range(4)] == [5, 3, 1, 0]
    assert prefix_at(0, 0, 4) == 4
    assert [prefix_at(done, 5, 0) for done in range(6)] == [0] * 6


# continuations of one prefix, which are compared with each other


def test_continuations_compared_with_each_other_vary_less_and_expect_the_same() -> None:
    """Over every batch of two continuations of each of two prefixes, whose own worth differs by 5."""
    policy, first = quarters(), torch.tensor([0, 0, 1, 1])
    own = torch.tensor([[False, True]] * 4)
    together, apart = (by_context(credits.leave_one_out, 2, lambda differ=differ: differ) for differ in (False, True))
    found: dict[str, list[Tensor]] = {"none": [], "together": [], "apart": []}
    weights: list[float] = []
    for second in map(torch.tensor, product(range(2), repeat=4)):
        ids = torch.stack([first, second], dim=1)
        weights.append(policy(ids)[:, 1].exp().prod().item())
        credit = credits.terminal(5.0 * first + second, own).double()
        for name, baseline in (("none", credits.no_baseline), ("together", together), ("apart", apart)):
            log_probs = policy(ids)
            loss = estimators.reinforce(log_probs, log_probs, baseline(credit, own), own)
            found[name].append(gradient(loss, policy))
    share = torch.tensor(weights).double()
    assert share.sum() == pytest.approx(1)
    mean, variance = {}, {}
    for name, seen in found.items():
        gradients = torch.stack(seen).flatten(1)
        mean[name] = (share @ gradients).tolist()
        variance[name] = float(share @ (gradients - share @ gradients).square().sum(1))
    assert mean["apart"] == pytest.approx(mean["none"])
    assert mean["together"] == pytest.approx(mean["none"])
    assert variance["apart"] < 0.2 * variance["together"] < variance["none"], variance


@pytest.mark.parametrize("kind", ["prefixes", "labels", "neither"])
def test_a_run_compares_samples_of_one_context(kind: str, tmp_path: Path, engine: Engine) -> None:
    """Of a credit of the context alone nothing is left; where all texts begin from nothing, all are compared."""
    data = configs.DataConfig(sentences=60)
    if kind == "labels":
        path = tmp_path / "labelled.txt"
        path.write_text("".join(f"{i % 2} word{i % 7} word{i % 5}\n" for i in range(70)))
        data = configs.DataConfig(path=str(path), labelled=True)
    prefix = 3 if kind == "prefixes" else 0
    config = configs.TextConfig(
        run=RunConfig(str(tmp_path / "other")),
        data=data,
        likelihood=configs.LikelihoodConfig(steps=1, batch_size=4),
        adversarial=configs.AdversarialConfig(
            rounds=8, batch_size=6, prefix=prefix, turns=Turns(repeats=3), credit=Terminal
        ),
        discriminator=configs.DiscriminatorConfig(batch_size=4),
    )
    task = TextTask(settled(config))
    task.build(engine)
    baseline = task.policy.gradient.baseline  # type: ignore[union-attr]
    mask = torch.ones(6, 4, dtype=torch.bool)
    credit = torch.tensor([1.0, 1, 1, 5, 5, 5]).unsqueeze(1) * mask
    assert baseline(credit, mask).any() == (kind == "neither")
    engine.counters[ADVERSARIAL] = 7  # the prefix's last stage is to have none
    assert baseline(credit, mask).any() == (kind != "labels")
