"""The random-LSTM oracle of the synthetic experiment: a known distribution, so samples have an exact likelihood."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqgan_kit import sampling
from seqgan_kit.errors import UserError
from seqgan_kit.networks.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.samples import Tokens

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
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [torch.from_numpy(file[name]).float() for name in file.files]
            names = list(file.files)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz of oracle parameters ({error})") from error
    if len(arrays) != 15 or arrays[0].dim() != 2 or arrays[13].dim() != 2:
        raise UserError(f"{path}: expected the 15 arrays of the oracle, from embedding to bo, not {names}")
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
    try:
        oracle.load_state_dict(values)
    except RuntimeError as error:
        raise UserError(f"{path}: shapes do not fit an LSTM oracle ({str(error).splitlines()[-1].strip()})") from error
    return oracle.requires_grad_(False).eval()


@torch.no_grad()
def negative_log_likelihood(network: LSTMGenerator, tokens: Tokens) -> float:
    """-log p in nats per counted token, over all rows: NLL-oracle, or NLL-gen on held-out text."""
    total = torch.zeros((), dtype=torch.float64)
    network.eval()
    for ids, mask in zip(tokens.ids.split(CHUNK), tokens.mask.split(CHUNK), strict=True):
        log_probs: Tensor = network(ids.to(network.device)).cpu()
        total -= (log_probs * mask.cpu()).sum(dtype=torch.float64)
    return float(total / tokens.mask.sum().cpu())


def sequences(oracle: LSTMGenerator, count: int, seed: int) -> Tokens:
    """`count` sequences of the oracle, (count, length), on the CPU and deterministic in the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return sampling.sample(oracle, count, oracle.config.length, oracle.config.end)
