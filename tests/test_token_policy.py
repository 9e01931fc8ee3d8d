"""What a policy over tokens makes of rewards, of a reference, of a critic and of real replies, by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from policies import token_policy
from replies import END, LENGTH, REPLIES, VOCABULARY, WORTH, far_from_uniform, running, shown, stepped, texts, total
from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.stream import Stream
from seqgan_kit.errors import UserError
from seqgan_kit.game.rewards import Reward
from seqgan_kit.game.trainer import Turns, play
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.networks.text.value_head import ValueHead
from seqgan_kit.samples import Tokens, last, size
from seqgan_kit.tokens.credit import MonteCarlo, Prefixes, Terminal
from seqgan_kit.tokens.policy import Anchor, Critic, likelihood_loss
from test_learning import Silent

ROWS = size(REPLIES)
ADAM = OptimizerConfig()


def seq2seq(seed: int = 0, dropout: float = 0.5) -> Seq2SeqGenerator:
    torch.manual_seed(seed)
    config = Seq2SeqConfig(VOCABULARY, embedding=8, hidden=12, layers=1, start=END, end=END, dropout=dropout)
    return far_from_uniform(Seq2SeqGenerator(config))


def gpt2() -> LanguageModel:
    torch.manual_seed(0)
    others = {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5, "bos_token_id": END, "eos_token_id": END}
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=32, **others)
    return LanguageModel(far_from_uniform(GPT2LMHeadModel(config)))


class Kept:
    """An estimator, or a baseline, that keeps copies of what it was given."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function, self.calls = function, []

    def __call__(self, *given: Tensor) -> Tensor:
        self.calls.append([tensor.detach().clone() for tensor in given])
        return self.function(*given)

    @property
    def credit(self) -> Tensor:
        """The last one that an estimator was given."""
        return self.calls[-1][2]


def policy_of(engine: Engine, network: nn.Module, optimizer: OptimizerConfig = ADAM, **options: Any) -> Any:
    """A policy whose credit is its reward, and whose reward is the logit; and its estimator."""
    kept = Kept(options.pop("estimator", estimators.reinforce))
    usual = {
        "batch_size": ROWS,
        "length": LENGTH,
        "end": END,
        "reward": lambda logits: logits,
        "credit": Terminal(network, LENGTH, END),
        "baseline": credits.no_baseline,
        "decode": texts,
    }
    learner = engine.learner(options.pop("learner", "policy"), network, optimizer, dropout=False)
    return token_policy(engine, learner, **{**usual, **options, "estimator": kept}), kept


def zero(tokens: Tokens) -> Tensor:
    return torch.zeros(size(tokens))


def weights(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(map(torch.equal, first, second))


# the gradient step


@pytest.mark.parametrize("accumulate", [1, 2])
def test_ppo_starts_from_the_policy_that_drew(accumulate: int, engine: Engine) -> None:
    """Old and new log-probabilities are the very same in the first pass, and no more so in the others."""
    optimizer = OptimizerConfig(lr=0.05, accumulate=accumulate)
    policy, kept = policy_of(engine, seq2seq(), optimizer, estimator=estimators.ppo, passes=3)
    torch.manual_seed(1)
    policy.update(REPLIES, policy.sample(REPLIES), total)
    passes = [
        [torch.cat(parts) for parts in zip(*kept.calls[i : i + accumulate], strict=True)]
        for i in range(0, 3 * accumulate, accumulate)
    ]
    assert len(kept.calls) == 3 * accumulate
    first, old = passes[0][:2]
    assert first.equal(old)
    for log_probs, before, _, mask in passes[1:]:
        assert before.equal(old)
        assert (log_probs - before)[mask].abs().min() > 0


def test_a_policy_tells_its_entropy_and_how_far_a_step_went(engine: Engine) -> None:
    """Nats a token: -log p of what it drew, and E [p_new / p_old - 1 - log(p_new / p_old)] before the last pass."""
    policy, kept = policy_of(engine, seq2seq(), OptimizerConfig(lr=0.05), estimator=estimators.ppo, passes=3)
    torch.manual_seed(1)
    fake = policy.sample(REPLIES)
    found = policy.update(REPLIES, fake, total)
    new, old = kept.calls[-1][:2]
    assert found["entropy"] == pytest.approx(-old[fake.mask].mean().item(), rel=1e-5)
    ratio = (new - old)[fake.mask].exp()
    assert found["divergence"] == pytest.approx((ratio - 1 - ratio.log()).mean().item(), rel=1e-4)
    assert found["divergence"] > 0
    once, _ = policy_of(engine, seq2seq(), OptimizerConfig(lr=0.05), learner="once")
    assert "divergence" not in once.update(REPLIES, fake, total)


@pytest.mark.parametrize("make", [seq2seq, gpt2])
def test_a_policy_is_improved_as_it_was_drawn(make: Callable[[], nn.Module], engine: Engine) -> None:
    """Without dropout, though likelihood steps on the same network have it, before and after."""
    network = make()
    policy, kept = policy_of(engine, network, OptimizerConfig(lr=0.0))
    taught = engine.learner("likelihood", network, OptimizerConfig(lr=0.0))

    def likelihood() -> float:
        return engine.update(taught, lambda part: likelihood_loss(taught.module, REPLIES), ROWS)["nll"]

    torch.manual_seed(0)
    for _ in range(2):
        assert abs(likelihood() - likelihood()) > 1e-3
        fake = policy.sample(REPLIES)
        with torch.no_grad():
            expected = stepped(network, fake)
        policy.update(REPLIES, fake, total)
        torch.testing.assert_close(kept.calls[-1][0][fake.mask], expected[fake.mask], rtol=1e-5, atol=1e-5)


# the anchor


def test_no_drift_from_oneself(engine: Engine) -> None:
    """A reference with the policy's weights takes nothing away."""
    policy, kept = policy_of(engine, seq2seq(), anchor=Anchor(seq2seq(), weight=0.5))
    assert policy.update(REPLIES, REPLIES, total)["kl"] == 0.0
    assert kept.credit.equal(credits.terminal(total(REPLIES), REPLIES.mask))


def test_drift_is_taken_from_what_follows(engine: Engine) -> None:
    """A token loses weight * (log p - log p_frozen) of itself and of all tokens after it."""
    network, frozen = seq2seq(), seq2seq(seed=1)
    policy, kept = policy_of(engine, network, anchor=Anchor(frozen, weight=0.3))
    with torch.no_grad():
        now, then = (each.eval()(REPLIES.ids, *REPLIES.context) for each in (network, frozen))
    frozen.train()
    found = policy.update(REPLIES, REPLIES, total)
    lengths, drifts = REPLIES.mask.sum(1).tolist(), []
    for row, length in enumerate(lengths):
        drift = [(now - then)[row, t].item() for t in range(length)]
        drifts += drift
        expected = [total(REPLIES)[row].item() - 0.3 * sum(drift[t:]) for t in range(length)]
        assert kept.credit[row].tolist() == pytest.approx(expected + [0.0] * (LENGTH - length), abs=1e-5)
    assert found["kl"] == pytest.approx(sum(drifts) / len(drifts), rel=1e-5)


# the critic


def critic_of(engine: Engine, head: ValueHead, lr: float = 0.05) -> Critic:
    return Critic(engine, engine.learner("critic", head, OptimizerConfig(lr=lr)))


def test_a_critic_learns_what_is_earned(engine: Engine) -> None:
    """It begins with nothing, and when all replies earn 3, it takes off 3."""
    critic = critic_of(engine, ValueHead(12))
    policy, kept = policy_of(engine, seq2seq(), OptimizerConfig(lr=0.0), critic=critic)
    torch.manual_seed(0)
    for step in range(150):
        fake = policy.sample(REPLIES)
        policy.update(REPLIES, fake, lambda tokens: torch.full((size(tokens),), 3.0))
        if step == 0:
            assert kept.credit.equal(3.0 * fake.mask)
    assert kept.credit[fake.mask].abs().mean() < 0.2


@torch.no_grad()
def expected_of(head: ValueHead, network: Any, target: Tensor) -> tuple[Tensor, float]:
    """The advantage of each token, and the mean square that a reply's tokens have together."""
    features, table = network.eval().features(REPLIES.ids, *REPLIES.context), torch.zeros(REPLIES.ids.shape)
    for row, t in REPLIES.mask.nonzero().tolist():
        table[row, t] = target[row] - features[row, t] @ head.output.weight[0] - head.output.bias[0]
    return table, table.square().sum().item() / ROWS


def test_a_critic_by_hand(engine: Engine) -> None:
    """What a token earned more than was expected goes to the baseline; padding neither has credit nor teaches."""
    network, head = seq2seq(), far_from_uniform(ValueHead(12))
    baseline = Kept(credits.no_baseline)
    policy, _ = policy_of(engine, network, critic=critic_of(engine, head), baseline=baseline)
    credit, loss = expected_of(head, network, total(REPLIES))
    found = policy.update(REPLIES, REPLIES, total)
    torch.testing.assert_close(baseline.calls[0][0], credit)
    assert found["critic_loss"] == pytest.approx(loss, rel=1e-5)


def test_a_critic_does_not_move_the_generator(engine: Engine) -> None:
    """While it knows nothing, the generator makes the same step as without; its own step moves nothing else."""
    after, heads = [], []
    for critic in (None, critic_of(engine, ValueHead(12))):
        network = seq2seq()
        learner = engine.learner(f"policy {critic is None}", network, OptimizerConfig(), dropout=False)
        credit = Terminal(network, LENGTH, END)
        policy = token_policy(engine, learner, ROWS, LENGTH, END, torch.sigmoid, credit, critic=critic)
        policy.update(REPLIES, REPLIES, total)
        after.append(weights(network))
        assert all(parameter.grad is None for parameter in network.parameters())
        heads += [] if critic is None else weights(critic.learner.network)
    assert same(*after)
    assert not same(after[0], weights(seq2seq()))
    assert all((head != 0).all() for head in heads)


# teacher forcing


@pytest.mark.parametrize("steps", [0, 2])
def test_teacher_forcing_is_on_real_replies(steps: int, engine: Engine) -> None:
    """Where all replies earn the same, nothing else moves the generator."""
    network = seq2seq(dropout=0.0)
    policy, _ = policy_of(engine, network, OptimizerConfig(lr=0.02), teacher_forcing=steps)
    before = weights(network)

    def nll() -> float:
        with torch.no_grad():
            return likelihood_loss(network, REPLIES)[1]["nll"].item()

    torch.manual_seed(0)
    first = nll()
    for _ in range(20):
        last = nll()
        metrics = policy.update(REPLIES, policy.sample(REPLIES), zero)
    if steps == 0:
        assert same(weights(network), before)
        assert "nll" not in metrics
    else:
        assert nll() < metrics["nll"] < last < first / 2


# rewards


def of_first_token(completions: list[str]) -> list[float]:
    return [float(text.split()[0]) for text in completions]


@pytest.mark.parametrize("at_once", [None, running])
@pytest.mark.parametrize("chunk", [3, 512])
def test_prefixes_earn_what_the_discriminator_makes_of_them(
    at_once: Callable[[Tokens], Tensor] | None, chunk: int, engine: Engine
) -> None:
    """Whether it judges them at once, or as rows; what users give goes to every token, and is asked once."""
    asked = Kept(lambda: torch.zeros(()))

    def reward(completions: list[str]) -> list[float]:
        asked()
        return of_first_token(completions)

    policy, kept = policy_of(
        engine,
        seq2seq(),
        credit=Prefixes(seq2seq(), LENGTH, END),
        reward=torch.sigmoid,
        discriminator_weight=2.0,
        users=[Reward(reward, 0.5)],
        all_prefixes=at_once,
        scored_at_once=chunk,
    )
    scored = []
    found = policy.update(REPLIES, REPLIES, lambda tokens: scored.append(size(tokens)) or total(tokens))
    assert max(scored[1:], default=0) <= chunk, "after the batch itself"
    expected = torch.zeros(REPLIES.ids.shape)
    for row, ids in enumerate(shown(REPLIES)):
        for t in range(len(ids)):
            expected[row, t] = 2 * torch.sigmoid(WORTH[ids[: t + 1]].sum()) + 0.5 * ids[0]
    torch.testing.assert_close(kept.credit, expected)
    assert len(asked.calls) == 1
    assert found["reward"] == pytest.approx(last(expected, REPLIES.mask).mean().item())


def test_whole_replies_earn_their_logit(engine: Engine) -> None:
    policy, kept = policy_of(engine, seq2seq())
    found = policy.update(REPLIES, REPLIES, total)
    expected = [WORTH[ids].sum().item() for ids in shown(REPLIES)]
    assert kept.credit[:, 0].tolist() == pytest.approx(expected, abs=1e-5)
    assert found["reward"] == pytest.approx(sum(expected) / ROWS)
    assert found["length"] == pytest.approx(sum(map(len, shown(REPLIES))) / ROWS)


def test_prefixes_of_no_discriminator(engine: Engine) -> None:
    """With weight 0 it is not asked, and users' rewards are all there is."""
    policy, kept = policy_of(
        engine,
        seq2seq(),
        credit=Prefixes(seq2seq(), LENGTH, END),
        discriminator_weight=0.0,
        users=[Reward(of_first_token)],
    )
    policy.update(REPLIES, REPLIES, Silent().score)
    assert kept.credit.equal(REPLIES.ids[:, :1] * REPLIES.mask.float())


@pytest.mark.parametrize(("chunk", "rolled"), [(1 << 16, 3000), (1 << 16, 1), (1, 1)])
def test_completions_have_their_sample_s_history(
    chunk: int, rolled: int, engine: Engine, tune: Callable[..., None]
) -> None:
    """Roll-outs of a row are scored under that row's history, few at a time; the batch itself in one call."""
    tune(rollouts=rolled)
    network, asked = seq2seq(), []

    def score(tokens: Any) -> Tensor:
        asked.append(size(tokens))
        return (tokens.history * tokens.told).sum(1).float()

    credit = MonteCarlo(network, LENGTH, END, rollouts=2, chunk=chunk)
    policy, kept = policy_of(engine, network, credit=credit, scored_at_once=4)
    policy.update(REPLIES, REPLIES, score)
    words = [row[told].sum().item() for row, told in zip(REPLIES.history, REPLIES.told, strict=True)]
    assert kept.credit.equal(torch.tensor(words).unsqueeze(1) * REPLIES.mask.float())
    assert asked[0] == ROWS
    assert max(asked[1:]) == min(4, chunk)


def test_columns_stand_beside_their_completions(engine: Engine) -> None:
    """A reward is given lists, of those columns that it names."""
    seen = {}

    def reward(completions: list[str], completion_ids: list[list[int]], prompts: list[Any]) -> list[float]:
        seen.update(completions=completions, ids=completion_ids, prompts=prompts)
        return [0.0] * len(completions)

    def columns(tokens: Tokens) -> dict[str, list[Any]]:
        return {"prompts": [{"row": row} for row in tokens.origin.tolist()], "unasked": [None] * size(tokens)}

    real = replace(REPLIES, origin=torch.tensor([7, 3, 0, 4, 2]))
    policy, _ = policy_of(engine, seq2seq(), users=[Reward(reward)], columns=columns)
    fake = policy.sample(real)
    policy.update(real, fake, zero)
    assert seen == {"completions": texts(fake), "ids": shown(fake), "prompts": [{"row": i} for i in (7, 3, 0, 4, 2)]}
    assert all(type(part) is list for part in seen.values())


def broken(completions: list[str]) -> list[float]:
    raise ZeroDivisionError("no luck")


LINE = broken.__code__.co_firstlineno + 1


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda completions: [1.0], "returned 1 values for 5 completions"),
        (lambda completions: [1.0] * 6, "returned 6 values for 5 completions"),
        (lambda completions: 1.0, "returned a float"),
        (lambda completions: ["much"] * 5, "returned 'much' for completion 0"),
        (lambda completions: [[1.0]] * 5, "returned 1 for completion 0, which has 6 tokens"),
        (broken, rf"raised ZeroDivisionError: no luck \(.*test_token_policy.py, line {LINE}\)"),
        (lambda completions, wanted: [0.0] * 5, r"raised TypeError: .*called with \(completions\)"),
    ],
    ids=["few", "many", "number", "words", "tokens", "raises", "unknown column"],
)
def test_a_wrong_reward_stops_before_the_step(function: Callable[..., Any], says: str, engine: Engine) -> None:
    """What is wrong is told, and nothing was learned."""
    network = seq2seq()
    policy, kept = policy_of(engine, network, users=[Reward(function)])
    before = weights(network)
    with pytest.raises(UserError, match=says):
        policy.update(REPLIES, REPLIES, total)
    assert same(weights(network), before)
    assert not kept.calls


def test_rewards_need_text(engine: Engine) -> None:
    """Without `decode` there are no completions."""
    policy, _ = policy_of(engine, seq2seq(), users=[Reward(of_first_token)], decode=None)
    with pytest.raises(ValueError, match="need `decode`"):
        policy.update(REPLIES, REPLIES, total)


@pytest.mark.parametrize("grouped", [False, True])
def test_repeats_are_compared_with_each_other(grouped: bool, engine: Engine) -> None:
    """Of a reward of the context alone nothing is left to learn from, where its samples are each other's baseline."""
    seen = []

    def reward(completions: list[str], origin: list[int]) -> list[float]:
        seen.append(origin)
        return [float(row) for row in origin]

    baseline = partial(credits.leave_one_out, group=3) if grouped else credits.leave_one_out
    policy, kept = policy_of(
        engine,
        seq2seq(),
        batch_size=6,
        baseline=baseline,
        discriminator_weight=0.0,
        users=[Reward(reward)],
        columns=lambda tokens: {"origin": tokens.origin.tolist()},
    )
    real = Stream(replace(REPLIES, origin=torch.arange(1, 6)), seed=0)
    engine.restore()
    play(engine, "game", 4, policy, Silent(), real, Turns(discriminator=0, repeats=3))
    assert len(seen) == 4
    for origin in seen:
        assert origin == [origin[0]] * 3 + [origin[3]] * 3
    assert len({row for origin in seen for row in origin}) > 2
    largest = max(call[2].abs().max().item() for call in kept.calls)
    assert largest < 1e-5 if grouped else largest > 0.5
