"""Roll-outs in pieces: the numbers do not depend on them, and the memory does."""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import GPT2Config, GPT2LMHeadModel

from enumeration import every_sequence, probabilities, tiny_lstm
from replies import REPLIES
from seqgan_kit.engine.engine import Engine
from seqgan_kit.errors import UserError
from seqgan_kit.networks import device_sizes
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.language_models import LanguageModel, Unprompted
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.samples import Tokens
from seqgan_kit.tokens import rollouts, sampling
from seqgan_kit.tokens.credit import MonteCarlo
from seqgan_kit.tokens.rewards import Earned, Rewards
from test_dialogue_networks import language_model, seq2seq
from test_sampling import assert_distributed

LENGTH, END = 7, 1


def gpt2(vocabulary: int = 6, length: int = LENGTH, width: int = 16) -> Unprompted:
    torch.manual_seed(3)
    sizes = {"n_embd": width, "n_layer": 2, "n_head": 2, "n_positions": length + 1}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, bos_token_id=0, eos_token_id=END, **sizes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return Unprompted(LanguageModel(model), 0).eval()


def drawn(network: Any) -> Tokens:
    torch.manual_seed(1)
    return sampling.sample(network, 9, LENGTH, END)


CASES: dict[str, Callable[[], tuple[Any, Tokens]]] = {
    "lstm": lambda: (tiny_lstm(6, LENGTH, END), drawn(tiny_lstm(6, LENGTH, END))),
    "gpt2": lambda: (gpt2(), drawn(gpt2())),
    "seq2seq": lambda: (sampling.with_context(seq2seq(), REPLIES), REPLIES),
    "t5": lambda: (sampling.with_context(language_model("t5"), REPLIES), REPLIES),
}


def least(network: Any, sampled: Tokens, length: int) -> int:
    """The smallest budget, as the refusal tells it."""
    with pytest.raises(rollouts.TooLarge) as told:
        next(rollouts.pieces(network, sampled, 3, length, END, 1))
    return told.value.needed


@pytest.mark.parametrize("joined_states", [0, 1 << 30])
@pytest.mark.parametrize("case", CASES)
def test_pieces_change_no_number(case: str, joined_states: int, tune: Callable[..., None]) -> None:
    """Whole, in pieces of a few completions, or one by one: the same completions in the same order."""
    tune(joined_states=joined_states, rollouts=100)
    network, sampled = CASES[case]()
    length, needed = sampled.ids.shape[1] + 1, least(network, sampled, sampled.ids.shape[1] + 1)
    found, counts = [], []
    for memory in (math.inf, 1 << 26, 2 * needed, needed):
        torch.manual_seed(0)
        some = list(rollouts.pieces(network, sampled, 3, length, END, memory))
        each = [(one.tokens.ids, one.tokens.mask, one.cells) for one in some]
        found.append([torch.cat(part) for part in zip(*each, strict=True)])
        counts.append(len(some))
    assert all(all(map(torch.equal, found[0], other)) for other in found[1:])
    assert counts[0] == counts[1] < counts[2] < counts[3] == len(found[0][2])
    assert len(found[0][0].unique(dim=0)) > 20
    with pytest.raises(rollouts.TooLarge):
        next(rollouts.pieces(network, sampled, 3, length, END, needed - 2))


@pytest.mark.parametrize("end", [None, END])
def test_completions_of_each_length_follow_the_network(end: int | None, tune: Callable[..., None]) -> None:
    """A transformer's, length by length and in pieces: the frequencies of p(rest | prefix), by enumeration."""
    tune(joined_states=0)
    network, repeats = gpt2(3, 3), 4000
    every = every_sequence(3, 3, end)
    weights = probabilities(network, every).detach()
    sampled = Tokens(torch.tensor([[0, 2, 0], [2, 0, 2]]), torch.ones(2, 3, dtype=torch.bool))
    torch.manual_seed(0)
    done = rollouts.roll_out(network, sampled, repeats, 3, end, 1 << 21)
    assert Counter(done.cells.tolist()) == {0: repeats, 1: repeats, 3: repeats, 4: repeats}
    for cell in done.cells.unique().tolist():
        b, t = divmod(cell, 3)
        same = (every.ids[:, : t + 1] == sampled.ids[b, : t + 1]).all(1)
        counts = Counter(map(tuple, done.tokens.ids[done.cells == cell].tolist()))
        found = torch.tensor([counts.pop(tuple(row), 0) for row in every.ids[same].tolist()])
        assert not counts
        assert_distributed(found, weights[same] / weights[same].sum() * repeats)


def test_looking_seldom_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that have ended may stay in the batch, as on a GPU, or leave it at once."""
    cases, found = [CASES[name]() for name in ("lstm", "gpt2")], []
    for looks in (lambda *_: True, lambda *_: False, lambda t, _: t % 3 == 2):
        monkeypatch.setattr(sampling, "looks", looks)
        for network, sampled in cases:
            torch.manual_seed(0)
            found.append(rollouts.roll_out(network, sampled, 3, LENGTH, END).tokens)
            assert found[-1].ids[~found[-1].mask].unique().tolist() == [END]
    for first, other in zip(found[:2] * 2, found[2:], strict=True):
        assert first.ids.equal(other.ids)
        assert first.mask.equal(other.mask)


def test_samples_follow_the_network_where_rows_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the frequencies of whole sequences, by enumeration; padding holds the end token."""
    monkeypatch.setattr(sampling, "looks", lambda t, _: t == 2)
    network, every = tiny_lstm(3, 4, END), every_sequence(3, 4, END)
    torch.manual_seed(0)
    found = sampling.sample(network, 20_000, 4, END)
    counts = Counter(map(tuple, found.ids.tolist()))
    assert_distributed(
        torch.tensor([counts.pop(tuple(row), 0) for row in every.ids.tolist()]),
        probabilities(network, every).detach() * 20_000,
    )
    assert not counts
    assert found.mask.equal(sampling.until_end(found.ids, END))


@pytest.mark.parametrize(("kind", "looked"), [("cpu", list(range(40))), ("cuda", [15, 31])])
def test_a_gpu_is_asked_every_16th_token(kind: str, looked: list[int]) -> None:
    assert [t for t in range(40) if sampling.looks(t, torch.device(kind))] == looked


class Peak(TorchDispatchMode):
    """The most bytes that tensors made inside have held at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor) and (key := tensor.untyped_storage()._cdata) not in self.known:
                storage = tensor.untyped_storage()
                self.known.add(key)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._left, key, storage.nbytes())
        self.most = max(self.most, self.now)
        return found

    def _left(self, key: int, count: int) -> None:
        self.known.discard(key)
        self.now -= count


def test_memory_stays_within_the_budget(tune: Callable[..., None]) -> None:
    """Keys and values of 8 * 4 completions of 16 tokens are 1 MiB at each length, joined 8 MiB: 0.75 MiB is given."""
    tune(joined_states=0)
    network = gpt2(20, 16, 64)
    torch.manual_seed(0)
    sampled = sampling.sample(network, 8, 16, None)
    budget, total = 3 << 18, 0
    with Peak() as peak:
        for done in rollouts.pieces(network, sampled, 4, 16, None, budget):
            total += len(done.cells)
    assert total == 8 * 4 * 15
    assert budget / 3 < peak.most < budget


def test_a_budget_that_is_too_small_is_refused_with_the_numbers(engine: Engine) -> None:
    """What is advised then works; unset, a share of the device's memory is taken."""
    network = tiny_lstm(6, LENGTH, END)
    sampled = drawn(network)
    reward: Any = Earned(Rewards(lambda logits: logits), lambda tokens: tokens.ids.float().mean(1), engine)

    def credit(memory: int | None) -> Tensor:
        torch.manual_seed(0)
        return MonteCarlo(network, LENGTH, END, rollouts=4, memory=memory)(sampled, reward(sampled), reward)

    with pytest.raises(UserError) as told:
        credit(100)
    words = str(told.value)
    assert words.startswith(
        "--adversarial.credit.memory 100: what is known of 9 samples, and one completion of 7 tokens"
    )
    advised = int(words.split("Give --adversarial.credit.memory ")[1].split()[0])
    torch.testing.assert_close(credit(advised), credit(None), rtol=0, atol=1e-5)
    with pytest.raises(UserError, match=f"memory {advised - 2}: "):
        credit(advised - 2)


@pytest.mark.parametrize("end", [None, 7])
def test_a_credit_launches_few_kernels_and_waits_seldom(end: int | None) -> None:
    """Of the paper's length, on a GPU that is not there, whatever the number of rows."""
    pretend = pytest.importorskip("pretend_device")
    torch.manual_seed(0)
    network = LSTMGenerator(LSTMConfig(vocabulary=30, embedding=4, hidden=4, length=20, end=end)).eval()
    critic = TextCNN(30, 4, filters=(2,) * 12).eval()
    assert device_sizes.SIZES["cuda"].rollouts >= 64 * 16 * 20, "or the paper's batch would be several"
    with torch.no_grad(), pretend.plugged_in() as log:
        network, critic = network.to(pretend.DEVICE), critic.to(pretend.DEVICE)
        credit = MonteCarlo(network, 20, end, 2, lag=0.0)
        before = log.copy()
        sampled = sampling.sample(network, 8, 20, end)
        after, of_samples = log.copy(), log - before
        reward: Any = lambda tokens: critic(tokens.ids, tokens.mask)  # noqa: E731
        reward.engine = SimpleNamespace(drawing=nullcontext)
        credit(sampled, reward(sampled), reward)
        of_credit = log - after
    assert of_samples.waits.total() <= 20 / 16
    assert of_credit.waits.total() <= (0 if end is None else 2)
    assert 500 < of_credit.launches.total() <= 1500


def test_prefixes_of_a_discriminator_are_laid_out_few_at_a_time(engine: Engine, tune: Callable[..., None]) -> None:
    """Their histories, too; their rewards are those of one batch."""
    asked: list[int] = []

    def score(tokens: Any) -> Tensor:
        asked.append(len(tokens.ids))
        return (tokens.ids * tokens.mask).sum(1).float() + tokens.history.sum(1)

    earned = Earned(Rewards(lambda logits: logits, scored_at_once=20), score, engine)
    at_once = earned.prefixes(REPLIES)
    assert max(asked) == 20
    row = REPLIES.ids.shape[1] * 9 + REPLIES.history.shape[1] * 16
    tune(scored_bytes=3 * row + 1)
    asked.clear()
    assert earned.prefixes(REPLIES).equal(at_once)
    assert max(asked) == 3
