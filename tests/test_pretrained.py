"""Models of Hugging Face that are asked for: which are taken, which are refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

import tiny_models
from seqgan_kit.errors import UserError
from seqgan_kit.language import adapters, pretrained
from seqgan_kit.language.pretrained import CAUSAL, EITHER

HEADS = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
SIZES = {**HEADS, "hidden_size": 8, "intermediate_size": 8, "max_position_embeddings": 32}
HEAD_DIM = ["olmo2", "olmo", "qwen2", "phi", "phi3", "granite", "starcoder2", "smollm3", "cohere", "llama"]
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_ssm": 32, "mamba_d_state": 8}
OTHERS: dict[str, dict[str, Any]] = {
    "openai-gpt": {"n_embd": 8, "n_layer": 2, "n_head": 2},
    "rwkv": {"hidden_size": 8, "attention_hidden_size": 8, "num_hidden_layers": 2},
    "mamba": {"hidden_size": 8, "num_hidden_layers": 2, "state_size": 4},
    "falcon_h1": {**SIZES, **MAMBA},
    "jamba": {**SIZES, "num_experts": 2, "num_experts_per_tok": 1},
    "lfm2": {**SIZES, "layer_types": ["conv", "full_attention"]},
}


def generator(config: dict[str, Any], wanted: str = CAUSAL) -> Any:
    pretrained.limits_of(None, config, wanted)
    return pretrained.generator(None, config, 0, 11, 1, wanted)


@pytest.mark.parametrize("kind", HEAD_DIM)
def test_a_key_that_the_model_reads_is_taken_though_its_configuration_does_not_name_it(
    kind: str, tmp_path: Path
) -> None:
    """Heads of 8 by head_dim, where the width gives 4; and the model is loaded again as it was."""
    torch.manual_seed(0)
    network = generator({"model_type": kind, **SIZES, "head_dim": 8})
    shapes = [tuple(p.shape) for name, p in network.named_parameters() if "q_proj" in name or "qkv_proj" in name]
    assert (3 if kind == "phi3" else 1) * 2 * 8 in shapes[0]
    ids = torch.tensor([[3, 4, 5]])
    network.model.save_pretrained(tmp_path)
    again = pretrained.load(tmp_path)
    turns = torch.zeros_like(ids)
    torch.testing.assert_close(again(ids, ids, turns), network.eval()(ids, ids, turns))


@pytest.mark.parametrize(("kind", "key"), [("gpt2", "head_dim"), ("olmo2", "head_dims"), ("opt", "head_dim")])
def test_a_key_that_nothing_reads_is_refused(kind: str, key: str) -> None:
    with pytest.raises(UserError, match=f"--generator.config: {kind} has no '{key}'"):
        generator({"model_type": kind, key: 6}, EITHER)


@pytest.mark.parametrize("kind", OTHERS)
def test_models_that_remember_otherwise_are_refused_as_what_they_are(kind: str) -> None:
    """In our words, not in those of an inner library; and the advice is good."""
    with pytest.raises(UserError) as caught:
        generator({"model_type": kind, **OTHERS[kind]})
    told = str(caught.value)
    assert told == (
        f"--generator.config: {kind} does not remember what it read by keys and values of every layer, by which alone "
        "the kit draws: give another causal model, such as gpt2 or llama"
    )
    assert generator({"model_type": "llama", **SIZES})
    assert generator({"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2})


def test_sizes_that_do_not_go_together_are_told_as_that() -> None:
    """gptj rotates 64 numbers of each head by default; smaller heads need fewer."""
    config = {"model_type": "gptj", "n_embd": 16, "n_layer": 1, "n_head": 2}
    with pytest.raises(UserError, match=r"gptj can't read a text \(.*\): give sizes that go together, or another"):
        generator(config)
    assert generator({**config, "rotary_dim": 4})


@pytest.mark.parametrize("kind", ["marian", "m2m_100", "llama", "mbart", "xglm", "bloom"])
def test_a_folder_without_a_tokenizer_is_told_in_one_way(kind: str, tmp_path: Path) -> None:
    """Whatever the library stumbles over; with a tokenizer saved beside the model it is taken."""
    seq2seq = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "decoder_start_token_id"), 1) | {"pad_token_id": 0}
    sizes = {
        "marian": {**seq2seq, **heads}, "m2m_100": {**seq2seq, **heads}, "mbart": {**seq2seq, **heads},
        "xglm": {"d_model": 8, "ffn_dim": 8, "num_layers": 1, "attention_heads": 2}, "llama": SIZES,
        "bloom": {"hidden_size": 8, "n_layer": 1, "n_head": 2},
    }  # fmt: skip
    some = tiny_models.conversations(4)
    own = tiny_models.tokenizer(some)
    config = AutoConfig.for_model(kind, **sizes[kind], **special, vocab_size=len(own))
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    auto.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(UserError) as caught:
        pretrained.tokenizer_of(str(tmp_path))
    assert str(caught.value) == (
        f"--generator.model {tmp_path} has no tokenizer: save one beside the model, `tokenizer.save_pretrained`"
    )
    own.save_pretrained(tmp_path)
    assert pretrained.tokenizer_of(str(tmp_path)).get_vocab() == own.get_vocab()  # type: ignore[union-attr]
    assert pretrained.generator(str(tmp_path), None, 0, len(own), 1, EITHER)


def test_a_broken_tokenizer_is_not_a_missing_one(tmp_path: Path) -> None:
    some = tiny_models.conversations(4)
    tiny_models.save(tmp_path, "gpt2", some)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError) as caught:
        pretrained.tokenizer_of(str(tmp_path))
    assert "has no tokenizer" not in str(caught.value)


def test_a_folder_of_adapters_is_refused_as_that(tmp_path: Path) -> None:
    """Whether or not the model lies beside them: transformers would take the one that they were made for."""
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="holds adapters: give the folder of the model that they are merged into"):
        pretrained.limits_of(str(tmp_path), None)


# -- adapters ------------------------------------------------------------------------------------------------------


class Adapted(nn.Module):
    """As peft wraps a layer: its own weight one level down, beside two matrices."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(4, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, 4, bias=False)})


def model(tied: bool, *names: str) -> nn.Module:
    """An embedding, a layer and a head, of which the named ones have adapters."""
    layers: dict[str, nn.Module] = {"wte": nn.Embedding(9, 4), "layer": nn.Linear(4, 4), "lm_head": nn.Linear(4, 9)}
    if tied:
        layers["lm_head"].weight = layers["wte"].weight
    for name in names:
        layers[name] = Adapted(layers[name])
    return nn.ModuleDict(layers)


def test_adapters_on_one_of_two_names_of_a_weight_are_refused() -> None:
    """Merged, they would change the other layer, too."""
    for tied, names in [(True, ["layer"]), (False, ["wte", "layer"]), (False, ["lm_head"]), (True, [])]:
        adapters.check_ties(model(tied, *names), "--generator.lora")
    for name in ("wte", "lm_head"):
        with pytest.raises(UserError, match=rf"{name}.base_layer.weight is (lm_head|wte).weight, too, so an adapter"):
            adapters.check_ties(model(True, name, "layer"), "--generator.lora")


@pytest.mark.filterwarnings("default")
def test_adapters_of_peft_are_refused_on_a_tied_embedding_only() -> None:
    """And those that the kit makes are not."""
    peft = pytest.importorskip("peft")
    network = tiny_models.model("gpt2", 9)
    for target, fits in (("all-linear", True), (["wte"], False)):
        adapted = peft.get_peft_model(network, peft.LoraConfig(r=2, target_modules=target))
        if fits:
            adapters.check_ties(adapted, "--generator.lora")
        else:
            with pytest.raises(UserError, match="so an adapter on it can't be merged"):
                adapters.check_ties(adapted, "--generator.lora")
        network = adapted.unload()
