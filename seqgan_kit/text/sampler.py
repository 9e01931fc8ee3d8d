"""A run's generator of text to draw from: an LSTM by as few imports as that takes, so that samples come at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgan_kit import progress
from seqgan_kit.files import check_file, parsed, read_bytes
from seqgan_kit.language.words import words_of
from seqgan_kit.networks.text.plain_lstm import PlainLSTM
from seqgan_kit.samples import LabelledTokens, Tokens, concatenate, map_tensors
from seqgan_kit.tokens import sampling

SETTINGS = "text.json"  # beside a model: how its texts begin and end
BLOCK = 2048  # sequences drawn at a time


class Sampler(NamedTuple):
    """A run's generator. text: token ids -> what they say, as people write it. ids: the inverse, without an end.
    length: the most tokens of a text. end: the id of the token that ends it. labels: the classes that there are texts
    of, if there are any. unknown: the id that stands for unknown words, if one does. by_token: whether it draws token
    by token."""

    network: Any
    text: Callable[[Sequence[int]], str]
    ids: Callable[[str], list[int]]
    length: int
    end: int | None
    labels: tuple[str, ...] = ()
    unknown: int | None = None
    by_token: bool = True


def load_plain(folder: Path) -> Sampler:
    """A run's LSTM with a tokenizer of ours, without transformers. Raises anything where it is none."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    for path in folder.glob("*"):
        check_file(path)
    config, begins, words = (
        parsed(read_bytes(folder / name)) for name in ("config.json", SETTINGS, "tokenizer_config.json")
    )
    if config["model_type"] != "seqgan_lstm" or words.get("clean_up_tokenization_spaces"):
        raise ValueError("not an LSTM of ours")
    network = PlainLSTM(SimpleNamespace(**config))
    network.load_state_dict(load_file(folder / "model.safetensors"))
    tokenizer, raw = Tokenizer.from_file(str(folder / "tokenizer.json")), words_of(begins)

    def text(ids: Sequence[int]) -> str:
        return raw.shown(tokenizer.decode(list(ids), skip_special_tokens=False))

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(raw.read(text), add_special_tokens=False).ids)

    unknown = tokenizer.token_to_id(words.get("unk_token") or "")
    return Sampler(network.eval(), text, ids, config["length"], config["end"], labels_of(begins), unknown)


def labels_of(settings: dict[str, Any]) -> tuple[str, ...]:
    """The classes that stand beside a model, or none."""
    return tuple(map(str, settings.get("labels", [])))


def draw(
    network: Any,
    count: int,
    length: int,
    end: int | None,
    temperature: float = 1.0,
    labels: Tensor | None = None,
    top_k: int = 0,
    top_p: float = 1.0,
    first: Sequence[int] = (),
) -> Tokens:
    """`count` sequences of at most `length` tokens, each up to and with its end token, on the CPU.

    labels: the class of each, (count,), where the generator has classes; then they are LabelledTokens.
    first: the ids that all of them begin with.
    """
    begun = torch.tensor([list(first)])
    parts: list[Tokens] = []
    for start in progress.bar(range(0, count, BLOCK), "drawing samples", unit=" batches"):
        many, given = min(BLOCK, count - start), None if labels is None else labels[start : start + BLOCK]
        drawn_from: Any = network
        if given is not None:
            drawn_from = drawn_from.given(given.to(next(network.parameters()).device))
        drawn = sampling.sample(
            drawn_from, many, length, end, temperature, top_k, top_p, begun.expand(many, -1) if first else None
        )
        part = map_tensors(drawn, Tensor.cpu)
        parts.append(part if given is None else LabelledTokens(part.ids, part.mask, given.cpu()))
    return concatenate(parts)
