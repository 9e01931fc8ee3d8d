"""The random-LSTM oracle of the synthetic experiment: a known distribution, so samples have an exact likelihood."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.errors import UserError
from seqgan_kit.files import check_file
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.networks.text.output import block_rows
from seqgan_kit.samples import Tokens, rows, size, to, trimmed
from seqgan_kit.tokens import sampling

GATES = ("i", "f", "c", "og")  # in torch's order: input, forget, cell, output
CHUNK = 1024  # rows at a time: bounds the (rows, time, vocabulary) logits


def draw_oracle(
    seed: int, vocabulary: int = 5000, embedding: int = 32, hidden: int = 32, length: int = 20
) -> LSTMGenerator:
    """An LSTM with all weights and biases drawn N(0, 1) (Yu et al. 2017, sec. 4.1), start token 0, no end token."""
    oracle = LSTMGenerator(LSTMConfig(vocabulary, embedding, hidden, start=0, end=None, length=length))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in oracle.parameters():
            parameter.normal_(generator=generator)
        oracle.get_parameter("lstm.bias_hh_l0").zero_()  # torch has two biases where the cell has one
    return oracle.requires_grad_(False).eval()


def load_oracle(path: Path | str, length: int = 20) -> LSTMGenerator:
    """The oracle of the authors' 15 arrays, as an .npz (order: embedding, W U b of gates i f o c, Wo, bo).

    Raises UserError where the file is missing or holds something else.
    """
    arrays = _read(path)
    by_name = dict(
        zip(
            ["embedding", *(f"{kind}{g}" for g in ("i", "f", "og", "c") for kind in "WUb"), "Wo", "bo"],
            arrays,
            strict=True,
        )
    )
    (vocabulary, embedding), hidden = arrays[0].shape, len(arrays[13])
    oracle = LSTMGenerator(LSTMConfig(vocabulary, embedding, hidden, start=0, end=None, length=length))
    values = {
        "embedding.weight": by_name["embedding"],
        "lstm.weight_ih_l0": torch.cat([by_name[f"W{gate}"].T for gate in GATES]),
        "lstm.weight_hh_l0": torch.cat([by_name[f"U{gate}"].T for gate in GATES]),
        "lstm.bias_ih_l0": torch.cat([by_name[f"b{gate}"] for gate in GATES]),
        "lstm.bias_hh_l0": torch.zeros(4 * hidden),
        "output.weight": by_name["Wo"].T,
        "output.bias": by_name["bo"],
    }
    oracle.load_state_dict(values)
    return oracle.requires_grad_(False).eval()


def _read(path: Path | str) -> list[Tensor]:
    """The 15 arrays, of shapes that fit together."""
    try:
        check_file(Path(path))
        with open(path, "rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array alone")
            arrays = [torch.from_numpy(file[name].astype(np.float32)) for name in file.files]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable .npz of oracle parameters ({error})") from error
    shapes = [tuple(array.shape) for array in arrays]
    if len(arrays) != 15 or len(shapes[0]) != 2 or len(shapes[13]) != 2:
        raise UserError(f"{path}: expected the 15 arrays of the oracle, from embedding to bo, not {shapes}")
    (vocabulary, embedding), hidden = shapes[0], shapes[13][0]
    gate = [(embedding, hidden), (hidden, hidden), (hidden,)]
    expected = [(vocabulary, embedding), *gate * 4, (hidden, vocabulary), (vocabulary,)]
    if shapes != expected:
        raise UserError(f"{path}: the shapes {shapes} do not fit an LSTM oracle, which would have {expected}")
    return arrays


@torch.no_grad()
def negative_log_likelihood(network: Any, tokens: Tokens, temperature: float = 1.0) -> float:
    """-log p in nats per counted token, over all rows, as the network draws at that temperature.

    NLL-oracle where `network` is the oracle and `tokens` are samples; NLL-gen, which others call NLL-test, where
    `network` is the generator and `tokens` are held out. It is a module and a `sampling.TokenNetwork` with `features`.
    """
    total = torch.zeros((), dtype=torch.float64)
    device = next(network.eval().parameters()).device
    order = tokens.mask.sum(1).argsort()  # alike in length, they need little padding
    for first in range(0, size(tokens), CHUNK):
        some = to(trimmed(rows(tokens, order[first : first + CHUNK])), device)
        total -= _log_prob(network, some, temperature)
    return float(total / tokens.mask.sum().cpu())


@torch.no_grad()
def log_likelihoods(network: Any, tokens: Tokens) -> Tensor:
    """log p of each row in nats, (rows,) float64 on the CPU; as of `negative_log_likelihood`."""
    found = torch.zeros(size(tokens), dtype=torch.float64)
    device = next(network.eval().parameters()).device
    order = tokens.mask.sum(1).argsort()
    for some in order.split(CHUNK):
        part = to(trimmed(rows(tokens, some)), device)
        log_probs = network(part.ids, *part.context, mask=part.mask)
        found[some] = (log_probs * part.mask).cpu().sum(1, dtype=torch.float64)
    return found


def _log_prob(network: Any, tokens: Tokens, temperature: float) -> Tensor:
    """Of all counted tokens under the sequences' context, their sum in float64, on the CPU."""
    if temperature == 1.0:
        found: Tensor = network(tokens.ids, *tokens.context, mask=tokens.mask)
        return found.cpu().sum(dtype=torch.float64)  # there, because not every GPU knows float64
    features = network.features(tokens.ids, *tokens.context)[tokens.mask]
    block = block_rows(features.device, network.logits(features[:1]).shape[-1])
    parts = zip(features.split(block), tokens.ids[tokens.mask].split(block), strict=True)
    losses = [F.cross_entropy(network.logits(some).float() / temperature, own, reduction="none") for some, own in parts]
    return -torch.cat(losses).cpu().sum(dtype=torch.float64)


def sequences(oracle: LSTMGenerator, count: int, seed: int) -> Tokens:
    """`count` sequences of the oracle, (count, length), on the CPU and deterministic in the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return sampling.sample(oracle, count, oracle.config.length, oracle.config.end)
