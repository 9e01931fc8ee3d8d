"""What weight decay reaches, and optimisers whose state comes from a run of other groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig, build_optimizer
from seqgan_kit.networks.pictures.generator import PictureConfig, PictureGenerator
from seqgan_kit.networks.pictures.joint_embedding import JointEmbedding, JointEmbeddingConfig
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator

HEADS = {"num_attention_heads": 2, "num_key_value_heads": 2}
SIZES = {**HEADS, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 9}
DECAY = OptimizerConfig(lr=0.1, clip=0.0, weight_decay=0.5)
PLAIN = OptimizerConfig(lr=0.1, clip=0.0)


def pretrained(kind: str, **sizes: Any) -> Callable[[], nn.Module]:
    return lambda: LanguageModel(AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: LSTMGenerator(LSTMConfig(9, 4, 4, start=9, length=3)),
    "cnn": lambda: TextCNN(9),
    "gpt2": pretrained("gpt2", n_embd=8, n_layer=1, n_head=2, n_positions=8, vocab_size=9),
    "llama": pretrained("llama", **SIZES),
    "qwen3": pretrained("qwen3", **SIZES, head_dim=4),
    "pictures": lambda: PictureGenerator(PictureConfig(condition=4, noise=4, side=16, width=4, text=4)),
    "captions": lambda: JointEmbedding(JointEmbeddingConfig("ab ", 48, [4, 4, 4], 8, 4)),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_norms_and_biases_are_not_decayed(kind: str, engine: Engine) -> None:
    """By a step without a gradient, matrices and embeddings shrink by lr * decay, and nothing else moves."""
    torch.manual_seed(0)
    network = NETWORKS[kind]()
    norms = {
        id(p)
        for module in network.modules()
        if "norm" in type(module).__name__.lower()
        for p in module.parameters(recurse=False)
    }
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    learner = engine.learner("learner", network, DECAY)
    engine.update(learner, lambda _: (sum(0 * p.sum() for p in learner.parameters), {}), 2)  # type: ignore[arg-type]
    shrunk = 0
    for name, parameter in network.named_parameters():
        vector = "bias" in name or id(parameter) in norms
        expected = before[name] if vector else before[name] * (1 - 0.1 * 0.5)
        torch.testing.assert_close(parameter.detach(), expected, msg=name)
        shrunk += not vector
    assert 0 < shrunk < len(before)


def layers(seed: int = 0) -> nn.Module:
    """Vectors before and between matrices, so that no order but the right one fits."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))


def stepped(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (network(x) * torch.arange(4)).square().mean().backward()
        optimizer.step()


def test_without_decay_it_is_adam() -> None:
    """One group in the network's order, bit for bit."""
    ours, plain = layers(), layers()
    stepped(ours, build_optimizer(ours, PLAIN), 3)
    stepped(plain, torch.optim.Adam(plain.parameters(), lr=0.1, fused=True), 3)
    for found, expected in zip(ours.parameters(), plain.parameters(), strict=True):
        assert found.equal(expected)


@pytest.mark.parametrize("config", [DECAY, PLAIN], ids=["decay", "none"])
@pytest.mark.parametrize("saved", ["one group", "two groups", "adam"])
def test_a_saved_state_is_each_parameter_s_own(saved: str, config: OptimizerConfig) -> None:
    """Moments by parameter, however many groups there were (a run from before biases had one of their own has one)."""
    network = layers()
    before: torch.optim.Optimizer
    if saved == "one group":
        before = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.7, fused=True)
    else:
        before = build_optimizer(network, DECAY if saved == "two groups" else PLAIN)
    stepped(network, before, 3)
    after = build_optimizer(network, config)
    expected = [(group["weight_decay"], group["betas"]) for group in after.param_groups]
    after.load_state_dict(before.state_dict())
    for parameter in network.parameters():
        for name in ("exp_avg", "exp_avg_sq", "step"):
            found: Tensor = after.state[parameter][name]
            assert found.equal(before.state[parameter][name])
    assert [(group["weight_decay"], group["betas"]) for group in after.param_groups] == expected, "as configured now"
    stepped(network, after, 1)


def test_the_state_of_another_network_is_refused() -> None:
    """It has more parameters."""
    saved = build_optimizer(nn.Sequential(layers(), nn.Linear(4, 4)), DECAY)
    with pytest.raises(ValueError, match="parameter group"):
        build_optimizer(layers(), DECAY).load_state_dict(saved.state_dict())
