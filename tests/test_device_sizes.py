"""Sizes by device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seqgan_kit.networks import device_sizes
from seqgan_kit.networks.pictures.upsampling import Doubled, Transposed
from seqgan_kit.networks.policies.layers import Layers, linear
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.output import block_rows, log_probs
from seqgan_kit.tokens.discriminator import AT_ONCE, scored_at_once


@pytest.mark.parametrize(("device", "kind"), [("cpu", "cpu"), ("cuda:1", "cuda"), ("mps", "mps"), ("meta", "cuda")])
def test_sizes_are_those_of_the_device(device: str, kind: str) -> None:
    """Of its type, whatever its number; what is no CPU is taken for a GPU."""
    assert device_sizes.sizes(torch.device(device)) is device_sizes.SIZES[kind]


def test_users_look_up_where_their_numbers_are() -> None:
    """Blocks of logits and rows of a discriminator are those of the device of tensor and weights."""
    assert block_rows(torch.device("cpu"), 1000) == 1000
    assert block_rows(torch.device("cuda"), 1000) == 200_000
    assert block_rows(torch.device("cpu"), 10**9) == 1
    assert scored_at_once(nn.Linear(2, 1)) == scored_at_once(nn.Identity()) == AT_ONCE == 512
    assert scored_at_once(nn.Linear(2, 1, device="meta")) == device_sizes.SIZES["cuda"].scored_rows
    assert scored_at_once(TextCNN(5, 3, (1,), (2,)).to("meta")) == 1 << 16, "which says so itself"


def a_cnn() -> Tensor:
    return TextCNN(40, 4, (1, 3), (5, 6)).eval()(torch.randint(40, (900, 7)), torch.ones(900, 7, dtype=torch.bool))


def an_output_layer() -> Tensor:
    return log_probs(torch.randn(70, 80), torch.randn(30_000, 80), torch.randn(30_000), torch.randint(30_000, (70,)))


def doubled_pictures() -> Tensor:
    small = torch.randn(2, 3, 4, 4)
    return torch.cat([Doubled(3, 5)(small), Transposed(3, 5)(small)])


def fused_layers() -> Tensor:
    return Layers([5, 60]).fused(torch.randn(100, 2, 5), linear(60, 2, 1.0))


@pytest.mark.parametrize("compute", [a_cnn, an_output_layer, doubled_pictures, fused_layers])
def test_a_gpu_s_sizes_give_what_a_cpu_s_give(compute: Callable[[], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """To within rounding: here both on a CPU."""
    found = []
    for kind in ("cpu", "cuda", "mps"):
        monkeypatch.setitem(device_sizes.SIZES, "cpu", device_sizes.SIZES[kind])
        torch.manual_seed(0)
        with torch.no_grad():
            found.append(compute())
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, rtol=1e-4, atol=1e-5)
