"""Sizes by device."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqgan_kit.networks import tuning
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.output import block_rows
from seqgan_kit.tokens.discriminator import AT_ONCE, scored_at_once


@pytest.mark.parametrize(("device", "kind"), [("cpu", "cpu"), ("cuda:1", "cuda"), ("mps", "cuda"), ("meta", "cuda")])
def test_sizes_are_those_of_the_device(device: str, kind: str) -> None:
    """Of its type, whatever its number; what is no CPU is taken for a GPU."""
    assert tuning.sizes(torch.device(device)) is tuning.SIZES[kind]


def test_users_look_up_where_their_numbers_are() -> None:
    """Blocks of logits and rows of a discriminator are those of the device of tensor and weights."""
    assert block_rows(torch.device("cpu"), 1000) == 1000
    assert block_rows(torch.device("cuda"), 1000) == 200_000
    assert block_rows(torch.device("cpu"), 10**9) == 1
    assert scored_at_once(nn.Linear(2, 1)) == scored_at_once(nn.Identity()) == AT_ONCE == 512
    assert scored_at_once(nn.Linear(2, 1, device="meta")) == tuning.SIZES["cuda"].scored_rows
    assert scored_at_once(TextCNN(5, 3, (1,), (2,)).to("meta")) == 1 << 16, "which says so itself"
