"""Convolutions that double a picture's side, without the arithmetic that their usual form wastes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.networks import device_sizes


class Doubled(nn.Conv2d):
    """Each pixel four times, then a 3x3 convolution with padding 1: (batch, in, s, s) -> (batch, out, 2 s, 2 s)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)

    def plain(self, input: Tensor) -> Tensor:
        """What `forward` gives, as it reads."""
        return super().forward(F.interpolate(input, scale_factor=2, mode="nearest"))

    def forward(self, input: Tensor) -> Tensor:
        """As one transposed convolution, whose 4x4 weights are sums of the 3x3 ones.

        A 3x3 window over repeated pixels sees 2x2 different ones: 16 multiplications instead of 36 for each four
        pixels, and nothing is repeated.
        """
        flipped = self.weight.flip(2, 3)
        wide = F.pad(flipped, (0, 1)) + F.pad(flipped, (1, 0))
        both = F.pad(wide, (0, 0, 0, 1)) + F.pad(wide, (0, 0, 1, 0))
        return transposed_convolution(input, both.transpose(0, 1), self.bias)


class Transposed(nn.ConvTranspose2d):
    """A transposed convolution of 4x4, stride 2, padding 1: (batch, in, s, s) -> (batch, out, 2 s, 2 s)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=bias)

    def plain(self, input: Tensor) -> Tensor:
        """What `forward` gives, by PyTorch's own."""
        return super().forward(input)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return transposed_convolution(input, self.weight, self.bias)


def transposed_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """That of stride 2 and padding 1, of a small square map by a matrix product. weight: (in, out, 4, 4)."""
    if x.shape[-1] > device_sizes.sizes(x.device).product_side or x.shape[-1] != x.shape[-2]:
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    return _by_product(x, weight, bias)


def _by_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    batch, inputs, side, _ = x.shape
    outputs = weight.shape[1]
    taps = weight.permute(0, 2, 3, 1).reshape(inputs, 16 * outputs)
    products = (x.permute(0, 2, 3, 1).reshape(-1, inputs) @ taps).view(batch, side, side, 4, 4, outputs)
    # each input pixel adds a 4x4 patch, two pixels from the next one's: four grids of 2x2 blocks, one pixel too wide
    total = products.new_zeros(batch, side + 1, 2, side + 1, 2, outputs)
    for down in range(2):
        for right in range(2):
            part = products[:, :, :, 2 * down : 2 * down + 2, 2 * right : 2 * right + 2].transpose(2, 3)
            total[:, down : down + side, :, right : right + side] += part
    whole = total.view(batch, 2 * side + 2, 2 * side + 2, outputs)[:, 1:-1, 1:-1]
    if bias is not None:
        whole = whole + bias.to(whole.dtype)
    return whole.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
