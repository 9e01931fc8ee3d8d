"""An LSTM of a run is drawn from without transformers, and writes what it would write with them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seqgan_kit.errors import UserError
from seqgan_kit.language.tokenizers import token_id_tokenizer, train_tokenizer
from seqgan_kit.language.words import AS_IT_STANDS
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.networks.text.plain_lstm import PlainLSTM
from seqgan_kit.text.commands import load_sampler
from seqgan_kit.text.models import load_generator, save_generator
from seqgan_kit.text.sampler import draw

SENTENCES = ["a  red star , near", "the blue 's circle .", "un étoile n't rouge !", "far  away ?"] * 5


def saved(folder: Path, tokenizer: Any, labels: tuple[str, ...] = ()) -> Path:
    """As a run saves its generator."""
    torch.manual_seed(3)
    size = len(tokenizer)
    config = LSTMConfig(
        vocabulary=size, start=size if labels else 0, end=tokenizer.eos_token_id, length=9, deviation=0.8,
        classes=len(labels),
    )  # fmt: skip
    source: Any = SimpleNamespace(
        tokenizer=tokenizer, end=config.end, length=config.length, labels=labels, words=AS_IT_STANDS
    )
    save_generator(LSTMGenerator(config), source, folder)
    return folder


TOKENIZERS = {
    "word": lambda: train_tokenizer("word", SENTENCES),
    "character": lambda: train_tokenizer("character", SENTENCES),
    "sentencepiece": lambda: train_tokenizer("sentencepiece", SENTENCES, 60),
    "integers": lambda: token_id_tokenizer(12),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("labels", [(), ("good", "bad")], ids=["", "labelled"])
def test_it_writes_what_the_whole_model_writes(tmp_path: Path, kind: str, labels: tuple[str, ...]) -> None:
    """The same tokens from the same seed, the same log-probabilities, the same text of any tokens."""
    tokenizer = TOKENIZERS[kind]()
    folder = saved(tmp_path / "model", tokenizer, labels)
    light, whole = load_sampler(folder), load_generator(folder)
    assert isinstance(light.network, PlainLSTM)
    assert light[3:] == whole[3:]
    texts = ["3 1 11 2", ""] if kind == "integers" else [*SENTENCES[:4], "a zebra", "", "</s> star"]
    assert [light.ids(text) for text in texts] == [whole.ids(text) for text in texts]
    classes = torch.arange(20) % 2 if labels else None
    found = []
    for network in (light.network, whole.network):
        torch.manual_seed(5)
        drawn = draw(network, 20, light.length, light.end, 1.3, classes)
        found.append((drawn.ids, network(drawn.ids, classes)))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert len({tuple(row) for row in found[0][0].tolist()}) > 5
    rng = random.Random(0)
    for length in range(12):
        ids = [rng.randrange(len(tokenizer)) for _ in range(length)]
        assert light.text(ids) == whole.text(ids)


def test_what_is_no_lstm_of_ours_is_loaded_as_a_whole(tmp_path: Path) -> None:
    """Another tokenizer, or a folder without what the short way reads; a broken one is told of as ever."""
    folder = saved(tmp_path / "model", TOKENIZERS["word"]())
    words = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(words | {"clean_up_tokenization_spaces": True}))
    assert isinstance(load_sampler(folder).network, LSTMGenerator)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="can't be loaded"):
        load_sampler(folder)
    with pytest.raises(UserError, match="holds no model"):
        load_sampler(tmp_path)


def test_samples_come_without_transformers(tmp_path: Path) -> None:
    """Nor accelerate, nor the parser of configurations."""
    run = tmp_path / "run"
    saved(run / "model", TOKENIZERS["word"]())
    (run / "run.json").write_text('{"task": "text", "finished": true}')
    script = f"import sys; from seqgan_kit.cli import main; main(['sample', {str(run)!r}, '--count', '5'])"
    script += "; print(sorted({'transformers', 'accelerate', 'jsonargparse'} & set(sys.modules)))"
    lines = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(lines) == 6
    assert lines[-1] == "[]"
