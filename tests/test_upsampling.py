"""Doubling a picture's side, against PyTorch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.networks import device_sizes
from seqgan_kit.networks.pictures.upsampling import Doubled, Transposed

SMALL = device_sizes.SIZES["cpu"].product_side


def usual(layer: Doubled | Transposed, x: Tensor) -> Tensor:
    if isinstance(layer, Transposed):
        return F.conv_transpose2d(x, layer.weight, layer.bias, stride=2, padding=1)
    return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, layer.bias, padding=1)


@pytest.mark.parametrize("kind", [Doubled, Transposed])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("side", [1, 3, SMALL, SMALL + 1, 8])
def test_layers_equal_the_usual_ones(kind: type[Doubled | Transposed], bias: bool, side: int) -> None:
    """Outputs and all gradients, below and above the side where a product is taken; so is the plain way."""
    torch.manual_seed(side)
    layer = kind(3, 5, bias).double()
    x = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(2, 5, 2 * side, 2 * side, dtype=torch.float64)
    results = []
    for found in (usual(layer, x), layer(x), layer.plain(x)):
        gradients = torch.autograd.grad(found, [x, *layer.parameters()], slope)
        results.append([found, *gradients])
    for expected, *others in zip(*results, strict=True):
        for other in others:
            torch.testing.assert_close(other, expected, rtol=1e-12, atol=1e-12)


def test_weights_are_those_of_the_usual_layers() -> None:
    """A saved generator can be read into PyTorch's own layers."""
    assert {k: v.shape for k, v in Doubled(3, 5).state_dict().items()} == {
        k: v.shape for k, v in nn.Conv2d(3, 5, 3).state_dict().items()
    }
    assert {k: v.shape for k, v in Transposed(3, 5).state_dict().items()} == {
        k: v.shape for k, v in nn.ConvTranspose2d(3, 5, 4).state_dict().items()
    }


@pytest.mark.parametrize("kind", [Doubled, Transposed])
def test_bfloat16_is_near_float32(kind: type[Doubled | Transposed]) -> None:
    """Under autocast the result is within bfloat16's rounding of a sum."""
    torch.manual_seed(0)
    layer, x = kind(64, 8), torch.randn(4, 64, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(x)
    assert rough.dtype == torch.bfloat16
    error = (rough.float() - usual(layer, x)).abs().max() / usual(layer, x).abs().max()
    assert error < 0.02
