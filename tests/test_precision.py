"""One precision from drawing to gradient: what runs in bfloat16, and that what is drawn is what is differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from policies import token_policy
from replies import END, LENGTH, REPLIES, VOCABULARY, far_from_uniform, stepped, total
from seqgan_kit.algorithms import credit as credits
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.errors import UserError
from seqgan_kit.language import pretrained
from seqgan_kit.networks.text import output
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.networks.text.value_head import ValueHead
from seqgan_kit.samples import Replies, Tokens, rows, size
from seqgan_kit.text.models import build_generator
from seqgan_kit.text.network_config import TextGeneratorConfig
from seqgan_kit.tokens import sampling
from seqgan_kit.tokens.credit import MonteCarlo, Prefixes
from seqgan_kit.tokens.policy import Anchor, Critic, HalfDecoded

MANY = 30  # tokens of a text
WORDS = 300
PRODUCTS = ("mm", "addmm", "addmm_", "bmm", "baddbmm", "mkldnn_linear", "mkldnn_rnn_layer")


@pytest.fixture
def low(tmp_path: Path) -> Iterator[Engine]:
    """A run in bfloat16."""
    options = RunConfig(folder=str(tmp_path / "run"), device="cpu", threads=1, precision="bf16")
    with Engine(options, "test") as running:
        yield running


class Products(TorchDispatchMode):
    """Matrix products: multiplications by the type of their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.low = self.all = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if function._overloadpacket.__name__ in PRODUCTS:
            given = [value for value in args if isinstance(value, Tensor)]
            count = out.numel() * given[-2].shape[-1] if isinstance(out, Tensor) else 0
            self.all += count
            self.low += count * all(value.dtype == torch.bfloat16 for value in given)
        return out


def gpt2(attention: str = "eager") -> LanguageModel:
    torch.manual_seed(0)
    sizes = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64, "bos_token_id": END, "eos_token_id": END}
    config = GPT2Config(vocab_size=WORDS, attn_implementation=attention, **sizes)
    return LanguageModel(far_from_uniform(GPT2LMHeadModel(config), 0.3))


def t5() -> LanguageModel:
    torch.manual_seed(0)
    sizes = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": END}
    config = T5Config(vocab_size=WORDS, attn_implementation="eager", **sizes)
    return LanguageModel(far_from_uniform(T5ForConditionalGeneration(config), 0.3))


def seq2seq() -> Seq2SeqGenerator:
    torch.manual_seed(0)
    return far_from_uniform(Seq2SeqGenerator(Seq2SeqConfig(WORDS, 32, 32, 2, END, END)), 0.3)


def many_replies() -> Replies:
    """To histories of the usual ones, as many tokens each as a text has."""
    some = rows(REPLIES, torch.arange(24) % size(REPLIES))
    torch.manual_seed(1)
    ids = torch.randint(1, WORDS, (24, MANY))
    return replace(some, ids=ids, mask=torch.ones_like(ids, dtype=torch.bool))


def drawn(engine: Engine, network: nn.Module, real: Replies) -> Replies:
    policy = token_policy(
        engine, engine.learner("policy", network, OptimizerConfig(), dropout=False), size(real), MANY, None,
        lambda logits: logits, Prefixes(network, MANY, None),
    )  # fmt: skip
    found = policy.sample(real)
    assert isinstance(found, Replies)
    return found


@pytest.mark.parametrize("make", [gpt2, t5, seq2seq])
def test_what_is_drawn_is_what_is_differentiated(make: Callable[[], nn.Module], low: Engine) -> None:
    """In bfloat16, of sharp weights: to .001 a token in the mean; the weight of a sequence to .02. And it is bfloat16:
    float32 is further away."""
    network = make().eval()
    fake = drawn(low, network, many_replies())
    learner = low.learners["policy"]
    with torch.no_grad():
        forward = learner.module(fake.ids, *fake.context, mask=fake.mask)
        with low.drawing(learner) as bare:
            assert bare is network
            gap = forward - stepped(bare, fake)
        other = forward - stepped(network, fake)
    assert gap.abs().mean() < 1e-3
    assert gap.sum(1).std() < 0.02
    assert other.abs().mean() > max(1e-3, 3 * gap.abs().mean())


def test_an_lstm_draws_what_is_differentiated(low: Engine) -> None:
    torch.manual_seed(0)
    network = LSTMGenerator(LSTMConfig(WORDS, 32, 32, length=MANY, deviation=0.4))
    learner = low.learner("policy", network, OptimizerConfig(), dropout=False)
    with torch.no_grad(), low.drawing(learner) as bare:
        fake = sampling.sample(bare, 32, MANY, None)
        features, state = bare.start(32)
        found = []
        for token in fake.ids.T:
            found.append(bare.logits(features).float().log_softmax(-1).gather(1, token.unsqueeze(1)))
            features, state = bare.step(token, state)
    gap = learner.module(fake.ids, mask=fake.mask).detach() - torch.cat(found, dim=1)
    assert gap.abs().mean() < 1e-3
    assert gap.sum(1).std() < 0.02


def policy_of(engine: Engine, network: Any, real: Replies, **options: Any) -> Any:
    learner = engine.learner("policy", network, OptimizerConfig(lr=0.0), dropout=False)
    usual = {"baseline": credits.no_baseline, "credit": MonteCarlo(network, LENGTH, END, rollouts=2)}
    return token_policy(engine, learner, size(real), LENGTH, END, lambda logits: logits, **usual | options)


def test_an_update_is_computed_in_bfloat16(low: Engine) -> None:
    """Sampling, roll-outs, the reward, the reference, the critic's features and the gradient step."""
    network, frozen = gpt2(), gpt2()
    judge = low.learner("discriminator", TextCNN(WORDS), OptimizerConfig()).network.eval()
    critic = Critic(low, low.learner("critic", ValueHead(64), OptimizerConfig()))
    policy = policy_of(low, network, REPLIES, anchor=Anchor(frozen, 0.1), critic=critic)
    with Products() as counted:
        fake = policy.sample(REPLIES)
        sampled = counted.all
        policy.update(REPLIES, fake, lambda tokens: judge(tokens.ids, tokens.mask))
    assert counted.all > 5 * sampled > 0
    assert counted.low > 0.95 * counted.all


def test_beams_are_searched_in_bfloat16(low: Engine) -> None:
    policy = policy_of(low, gpt2(), REPLIES, credit=Prefixes(None, LENGTH, END))  # type: ignore[arg-type]
    with Products() as counted:
        HalfDecoded(policy, 2).sample(REPLIES)
    assert counted.low > 0.95 * counted.all > 0


def test_float32_computes_nothing_in_bfloat16(engine: Engine) -> None:
    policy = policy_of(engine, gpt2("sdpa"), REPLIES)
    with Products() as counted:
        policy.update(REPLIES, policy.sample(REPLIES), total_of_words)
    assert counted.all > 0
    assert counted.low == 0


def total_of_words(tokens: Tokens) -> Tensor:
    return total(replace(tokens, ids=tokens.ids % VOCABULARY))


@pytest.mark.parametrize(("kept", "precise"), [(False, 2e-2), (True, 2e-2)])
def test_log_probs_in_bfloat16(kept: bool, precise: float, tune: Callable[..., None]) -> None:
    """The logits are a linear layer's, to the last bit; the slope is that of exact numbers, but for rounding."""
    tune(kept_probabilities=1 << 20 if kept else 0, logit_block=7 * WORDS)
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(40, 64), torch.randn(WORDS, 64) * 0.3, torch.randn(WORDS)
    given = [one.requires_grad_() for one in (hidden, weight, bias)]
    targets, cotangent = torch.randint(WORDS, (40,)), torch.randn(40)
    with torch.autocast("cpu", torch.bfloat16):
        found = output.log_probs(*given, targets)  # type: ignore[arg-type]
        drawn_from = nn.functional.linear(*given).float().log_softmax(-1)  # type: ignore[arg-type]
    assert found.dtype == torch.float32
    assert found.equal(drawn_from.gather(1, targets.unsqueeze(1)).squeeze(1))
    slopes = torch.autograd.grad((found * cotangent).sum(), given)
    exact = output.plain_log_probs(*given, targets)  # type: ignore[arg-type]
    for slope, expected in zip(slopes, torch.autograd.grad((exact * cotangent).sum(), given), strict=True):
        assert slope.dtype == torch.float32
        assert (slope - expected).norm() < precise * expected.norm()


def test_a_frozen_head_costs_no_gradient() -> None:
    """Nothing is computed for what is not trained."""
    hidden = torch.randn(40, 64, requires_grad=True)
    weight, bias, targets = torch.randn(WORDS, 64), torch.zeros(WORDS), torch.randint(WORDS, (40,))
    costs = []
    for trained in (True, False):
        found = output.log_probs(hidden, weight.requires_grad_(trained), bias, targets).sum()
        with Products() as counted:
            found.backward()
        costs.append(counted.all)
    assert costs[0] == 2 * costs[1] > 0


class NoSource:
    """What a generator's configuration is asked of."""

    vocabulary, end, start, length, labels, name = WORDS, END, 1, LENGTH, (), "texts"
    words = pretrained  # not asked


@pytest.mark.parametrize(
    ("asked", "precision", "config", "found"),
    [
        (None, "fp32", {}, "sdpa"),
        (None, "bf16", {}, "eager"),
        ("sdpa", "bf16", {}, "sdpa"),
        (None, "bf16", {"attn_implementation": "sdpa"}, "sdpa"),
    ],
)
def test_how_attention_is_computed(asked: str | None, precision: str, config: dict[str, str], found: str) -> None:
    sizes = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 32, **config}
    given: Any = TextGeneratorConfig(config=sizes, attention=asked)
    source: Any = NoSource()
    made: Any = build_generator(given, source, precision)
    assert made.language.model.config._attn_implementation == found


def test_an_unknown_attention_is_refused() -> None:
    given = TextGeneratorConfig(config={"model_type": "gpt2"}, attention="best")
    source: Any = NoSource()
    with pytest.raises(UserError, match=r"--generator.attention best: .*give eager or sdpa"), nullcontext():
        build_generator(given, source)
