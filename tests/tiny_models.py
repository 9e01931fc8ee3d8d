"""Folders of tiny models as plain transformers write them, with tokenizers that seqgan_kit has not made."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from seqgan_kit.worlds.dialogues import Message, dialogue
from seqgan_kit.worlds.shapes import draw_scene

GPT2 = '{"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 64}'
T5 = '{"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}'
BERT = (
    '{"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, '
    '"intermediate_size": 8, "max_position_embeddings": 200}'
)
END = "<|end|>"
ROLES = ("<|user|>", "<|assistant|>", "<|system|>")
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)


def words_of(conversations: Sequence[Sequence[Message]]) -> list[str]:
    return sorted({word for one in conversations for message in one for word in message["content"].split()})


def tokenizer(
    conversations: Sequence[Sequence[Message]], chat: bool = False, end: bool = True
) -> PreTrainedTokenizerFast:
    """A word each, no padding token; chat: with a template for messages. end: whether its end has a name."""
    vocabulary = {word: i for i, word in enumerate(["<|unknown|>", END, *ROLES, *words_of(conversations)])}
    own = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unknown|>"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"unk_token": "<|unknown|>", "additional_special_tokens": list(ROLES)} | ({"eos_token": END} if end else {})
    found = PreTrainedTokenizerFast(tokenizer_object=own, **names)
    if chat:
        found.chat_template = CHAT
    return found


def model(kind: str, vocabulary: int, end: int = 1) -> PreTrainedModel:
    """Of weights so large that each token matters."""
    torch.manual_seed(5)
    made: PreTrainedModel
    if kind == "gpt2":
        sizes: dict[str, Any] = {"n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 128}
        made = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, bos_token_id=end, eos_token_id=end, **sizes))
    elif kind == "t5":
        sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": end}
        made = T5ForConditionalGeneration(T5Config(vocab_size=vocabulary, eos_token_id=end, pad_token_id=end, **sizes))
    else:
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        made = BertForMaskedLM(BertConfig(vocab_size=vocabulary, **sizes))
    for parameter in made.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return made.eval()


def save(
    folder: Path, kind: str, conversations: Sequence[Sequence[Message]], more: int = 0, **others: bool
) -> PreTrainedModel:
    """A model and its tokenizer in a folder; more: what the model can emit beside what the tokenizer knows."""
    own = tokenizer(conversations, **others)
    made = model(kind, len(own) + more)
    made.save_pretrained(folder)
    own.save_pretrained(folder)
    return made


def conversations(count: int = 40, seed: int = 3) -> list[list[Message]]:
    """Some of the shapes world, the first half with a message of the system."""
    rng = random.Random(seed)
    found = [dialogue(draw_scene(rng), rng) for _ in range(count)]
    rng = random.Random(seed)
    for one in found[: count // 2]:
        one.insert(0, {"role": "system", "content": rng.choice(["answer", "answer right"])})
    return found


def write(path: Path, some: Sequence[Sequence[Message]], **columns: Any) -> Path:
    """A conversation a line."""
    path.write_text("".join(json.dumps({"messages": one, **columns}) + "\n" for one in some))
    return path
