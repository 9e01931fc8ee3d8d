"""Sizes that are tuned to a kind of device: how much is computed at once, and which of two equal ways is taken.

Results depend on them by rounding alone, and by the order in which random numbers are drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Sizes:
    """What pays on a kind of device.

    The defaults are a CPU's, which keep in its caches what is computed at once. They were measured on two cores of an
    AMD EPYC with AVX-512, one thread, float32, networks of the papers' sizes; benchmarks/ shows what they give. A GPU's
    make few large launches; they are NOT measured.

    logit_block: floats of the largest block of logits held at once.
    drawn_logits: floats of the block of logits from which roll-outs draw; a CPU's allocator gives larger ones back to
        the system and gets them anew each time, which may double the time.
    kept_probabilities: floats. So many are kept for the output layer's backward pass, more are made again.
    kept_width: the narrowest output layer, in features, whose probabilities are kept; making a narrower one's again
        costs less than to write and read them.
    first_rows: rows whose logits are made before it is known how large the vocabulary is.
    cdf_block: entries of a vocabulary that are summed first where one is drawn, so that the slow running sum is over
        few numbers; a vocabulary of less than 8 blocks is drawn in one step.
    rollouts: completions of a roll-out drawn at a time. A CPU's caches don't hold more, and fewer don't fill its
        products; on a GPU memory is the bound, that of a transformer's keys and values of so many texts.
    joined_states: bytes of keys and values of completions of all lengths in one growing batch, up to which copying them
        at each step costs less than as many steps for each length.
    piece_states: bytes of the states of completions that are drawn at a time, if no budget says fewer; on a CPU more
        make nothing faster.
    scored_rows: completions or prefixes that a discriminator is given in one call, if it does not say otherwise.
    scored_bytes: of prefixes and their contexts that are laid out at a time to be scored.
    rewarded_rows: completions that users' rewards are given in one call; what their functions bear, on any device.
    response_rows: rows whose responses `TextCNN` holds at once where nothing is differentiated.
    table_entries: floats of the largest tables that `TextCNN` looks its responses up in, 512 MiB on a CPU, which is
        twice what the paper's filters and vocabulary have; 0 has no tables.
    addition: what it costs to add an entry of such a table, in multiplications of a matrix product.
    history_tokens: from so many tokens of histories on, equal ones are looked for, which are read once; a GPU has to be
        waited for to find them.
    embedded_rows: captions or pictures embedded at a time where nothing is differentiated.
    sigmoid_entries: numbers from which tanh is made of a sigmoid: three fast calls for one slow one.
    product_side: side in pixels of the largest map that is doubled by a matrix product in place of PyTorch's transposed
        convolution; 0 has none.
    """

    logit_block: int = 1_000_000
    drawn_logits: int = 320_000
    kept_probabilities: int = 16_000_000
    kept_width: int = 64
    first_rows: int = 64
    cdf_block: int = 64
    rollouts: int = 3000
    joined_states: int = 1 << 25
    piece_states: float = 1 << 28
    scored_rows: int = 512
    scored_bytes: int = 1 << 26
    rewarded_rows: int = 512
    response_rows: int = 512
    table_entries: int = 1 << 27
    addition: float = 16
    history_tokens: int = 0
    embedded_rows: int = 256
    sigmoid_entries: float = 4096
    product_side: int = 4


CUDA = Sizes(
    logit_block=200_000_000,
    drawn_logits=200_000_000,
    first_rows=1024,
    cdf_block=1024,
    rollouts=1 << 15,
    joined_states=1 << 28,
    piece_states=math.inf,
    scored_rows=4096,
    scored_bytes=1 << 28,
    response_rows=1 << 14,
    table_entries=0,
    addition=math.inf,
    history_tokens=1 << 14,
    embedded_rows=1024,
    sigmoid_entries=math.inf,
    product_side=0,
)
SIZES = {
    "cpu": Sizes(),
    "cuda": CUDA,
    # Apple's share the machine's memory with all else
    "mps": replace(
        CUDA,
        logit_block=50_000_000,
        drawn_logits=50_000_000,
        rollouts=1 << 13,
        scored_rows=2048,
        response_rows=1 << 13,
    ),
}


def sizes(device: torch.device) -> Sizes:
    """Those of the device's type; what is no CPU has a GPU's."""
    return SIZES.get(device.type, SIZES["cuda"])
