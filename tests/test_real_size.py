"""What a run of a large model holds: the control on the disk until its phase, adapters alone, no copy of the base."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

import runs
from replies import END, LENGTH, REPLIES, VOCABULARY, far_from_uniform, stepped
from seqgan_kit.cli import main
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.set_aside import SetAside
from seqgan_kit.errors import UserError
from seqgan_kit.language import pretrained
from seqgan_kit.language.adapters import adapt
from seqgan_kit.language.pretrained import CAUSAL, EITHER, How
from seqgan_kit.language.training import LanguageTraining
from seqgan_kit.networks.text.generator_discriminator import GeneratorDiscriminator
from seqgan_kit.networks.text.language_models import LanguageModel, Unprompted
from seqgan_kit.samples import Tokens
from seqgan_kit.text.network_config import TextGeneratorConfig
from seqgan_kit.tokens.credit import MonteCarlo
from seqgan_kit.tokens.policy import likelihood_loss


def gpt2() -> LanguageModel:
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "bos_token_id": END, "eos_token_id": END}
    return LanguageModel(far_from_uniform(GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **sizes))))


@pytest.fixture
def adapted() -> LanguageModel:
    """With adapters that do something."""
    pytest.importorskip("peft")
    network = gpt2()
    adapt(network, 2, "--generator.lora")
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    return network


peft_may_warn = pytest.mark.filterwarnings("default")  # of transformers, by which peft looks at a model


def step(engine: Engine, learner: Any) -> None:
    engine.update(learner, lambda part: likelihood_loss(learner.module, REPLIES), len(REPLIES.ids))


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


# -- the control ---------------------------------------------------------------------------------------------------


def test_a_control_begins_where_it_was_put(engine: Engine) -> None:
    """With weights and moments, whatever has become of the learner since; the step after is the same, bit for bit."""
    torch.manual_seed(0)
    network, config = gpt2().eval(), OptimizerConfig(lr=0.05)
    learner, later = engine.learner("generator", network, config, dropout=False), engine.later("control")
    step(engine, learner)
    assert not later.known
    later.put(learner)
    start = state(network)
    step(engine, learner)
    once_more = state(network)
    step(engine, learner)
    control = later.begin(deepcopy(network), config)
    assert same(start, control.network.state_dict())  # type: ignore[arg-type]
    object.__setattr__(control, "dropout", False)
    step(engine, control)
    assert same(once_more, control.network.state_dict())  # type: ignore[arg-type]


def test_what_is_set_aside_is_a_name_in_the_checkpoint(engine: Engine, tmp_path: Path) -> None:
    """And a state of an earlier version, which holds all, is set aside."""
    first = SetAside(tmp_path, "one", engine.group)
    assert first.state_dict() == {}
    content = {"weights": {"a": torch.arange(3.0)}, "step": 4}
    first.put(content)
    second, third = (SetAside(tmp_path, "one", engine.group) for _ in range(2))
    second.load_state_dict(first.state_dict())
    third.load_state_dict(content)
    assert first.file == second.file == third.file
    found = second.get()
    assert found["step"] == 4
    assert found["weights"]["a"].equal(torch.arange(3.0))
    path = next((tmp_path / "aside").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"can't be read \(altered\): restore it from a backup"):
        second.get()


def test_a_game_holds_neither_a_control_nor_the_moments_of_likelihood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[str], int]] = []
    game = LanguageTraining.game

    def watched(self: Any, *players: Any) -> None:
        seen.append((set(self.engine.learners), len(self.mle.optimizer.state)))
        game(self, *players)
        seen.append((set(self.engine.learners), len(self.mle.optimizer.state)))

    monkeypatch.setattr(LanguageTraining, "game", watched)
    assert main(runs.tiny(tmp_path / "run", "--run.threads", "1")) == 0
    assert [moments for _, moments in seen] == [0, 0]
    assert not any("control" in learners for learners, _ in seen)
    assert (tmp_path / "run" / "control" / "model.safetensors").is_file()


# -- adapters ------------------------------------------------------------------------------------------------------


@peft_may_warn
def test_a_state_is_that_of_the_adapters(adapted: LanguageModel) -> None:
    found = Unprompted(adapted, 1).state_dict()
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert sorted(found) == sorted(f"language.{name}" for name in trained)
    other = Unprompted(deepcopy(adapted), 1)
    for name, parameter in other.named_parameters():
        if ".lora_" in name:
            nn.init.zeros_(parameter)
    other.load_state_dict(found)
    assert same(found, other.state_dict())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({name: found[name] for name in list(found)[1:]})


@peft_may_warn
def test_a_state_of_an_earlier_version_is_taken(adapted: LanguageModel) -> None:
    """It has each weight twice."""
    model = {f"model.{name}": value for name, value in adapted.model.state_dict().items()}
    twice = model | {f"adapted.base_model.{name}": value for name, value in model.items()}
    other = deepcopy(adapted)
    for name, parameter in other.named_parameters():
        if ".lora_" in name:
            nn.init.zeros_(parameter)
    other.load_state_dict(twice)
    assert same(adapted.state_dict(), other.state_dict())  # type: ignore[arg-type]


@peft_may_warn
def test_copies_of_an_adapted_model_share_its_base(adapted: LanguageModel) -> None:
    """A reference, a lagging copy, a control, a discriminator; and each has adapters of its own."""
    before = adapted.eval()(REPLIES.ids, *REPLIES.context)
    lagging: Any = MonteCarlo(adapted, LENGTH, END).lagging
    copies = [deepcopy(adapted), lagging, GeneratorDiscriminator(adapted, 16).generator]
    own = dict(adapted.named_parameters())
    for copy in copies:
        for name, parameter in copy.named_parameters():
            assert (parameter is own[name]) == (".lora_" not in name)
            if ".lora_" in name:
                nn.init.zeros_(parameter)
        assert (copy(REPLIES.ids, *REPLIES.context) - before).abs().max() > 1e-3
    assert adapted(REPLIES.ids, *REPLIES.context).equal(before)
    assert not any(p.requires_grad for name, p in adapted.named_parameters() if ".lora_" not in name)


def test_without_lag_the_generator_is_rolled_out_itself() -> None:
    network = gpt2()
    credit = MonteCarlo(network, LENGTH, END, lag=0.0)
    assert credit.lagging is network
    saved = credit.state_dict()
    assert not saved["network"]
    with_lag = MonteCarlo(network, LENGTH, END)
    with_lag.load_state_dict(saved)
    credit.load_state_dict(with_lag.state_dict())
    assert credit.lagging is network


# -- what is kept for the gradient -----------------------------------------------------------------------------------


def kept(engine: Engine, learner: Any) -> int:
    """Bytes saved for the way back, weights not counted, of a step of the policy."""
    own = {parameter.untyped_storage().data_ptr() for parameter in learner.network.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = Tokens(torch.randint(1, 40, (16, 48)), torch.ones(16, 48, dtype=torch.bool))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        engine.update(learner, lambda part: likelihood_loss(learner.module, batch), 16)
    return sum(found.values())


def test_checkpointing_keeps_a_tenth_in_the_policy_phase_too(engine: Engine) -> None:
    """And the step is the same, bit for bit."""
    sizes = {"n_embd": 32, "n_layer": 6, "n_head": 4, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
    costs, ends = [], []
    for how in (How(), How(checkpointing=True)):
        torch.manual_seed(0)
        network = Unprompted(pretrained.generator(None, {"model_type": "gpt2", **sizes}, 0, 40, 0, CAUSAL, how), 0)
        torch.manual_seed(0)
        learner = engine.learner(f"policy{len(ends)}", network, OptimizerConfig(), dropout=False)
        costs.append(kept(engine, learner))
        ends.append(state(network))
    assert same(*ends)
    assert costs[1] < costs[0] / 10


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_weights_in_bfloat16_are_drawn_as_they_are_differentiated(kind: str, engine: Engine) -> None:
    """Without autocast: in a run of float32."""
    sizes = {
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        "llama": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
        "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    }[kind]
    torch.manual_seed(0)
    how = pretrained.how(TextGeneratorConfig(config={"model_type": kind}, dtype="bfloat16"), "fp32")
    network = pretrained.generator(None, {"model_type": kind, **sizes}, 0, VOCABULARY, END, EITHER, how)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}
    learner = engine.learner("policy", network, OptimizerConfig(), dropout=False)
    with torch.no_grad(), engine.drawing(learner):
        gap = (network(REPLIES.ids, *REPLIES.context) - stepped(network, REPLIES))[REPLIES.mask]
    assert gap.abs().mean() < 1e-3
    before = state(network)
    step(engine, learner)
    assert not same(before, state(network))


def test_options_of_large_models_are_for_models_of_hugging_face() -> None:
    for given in ({"attention": "sdpa"}, {"dtype": "bfloat16"}, {"checkpointing": True}):
        (name,) = given
        with pytest.raises(UserError, match=f"--generator.{name} .* is for Hugging Face models: name"):
            pretrained.how(TextGeneratorConfig(**given), "fp32")  # type: ignore[arg-type]


# -- schedules -------------------------------------------------------------------------------------------------------


def test_schedules() -> None:
    """Linear as ever; half a wave; and a warm-up from 0, after which either begins."""
    assert OptimizerConfig(lr=2.0, final=0.5).rate(0.5) == 1.5
    cosine = OptimizerConfig(lr=2.0, final=0.0, schedule="cosine")
    assert [round(cosine.rate(progress), 6) for progress in (0.0, 0.25, 0.5, 1.0)] == [2.0, 1.707107, 1.0, 0.0]
    warmed = OptimizerConfig(lr=2.0, final=0.0, schedule="cosine", warm_up=0.2)
    assert [round(warmed.rate(progress), 6) for progress in (0.0, 0.1, 0.2, 0.6, 1.0)] == [0.0, 1.0, 2.0, 1.0, 0.0]
