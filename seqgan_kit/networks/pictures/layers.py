"""What the generators and discriminators of pictures are built of."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

Norm = Literal["batch", "group", "none"]
SLOPE = 0.2  # of the leaky rectifier


def normalised(norm: Norm, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(min(8, channels), channels) if norm == "group" else nn.Identity()


def initialise(network: nn.Module, deviation: float = 0.02) -> None:
    """Weights N(0, 0.02), those of normalisation N(1, 0.02), biases 0 (Radford et al. 2015; Reed et al. 2016)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=deviation)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, deviation)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def initialise_rectified(network: nn.Module) -> None:
    """Weights that keep the variance through leaky rectifiers (He et al. 2015): where nothing is normalised, N(0, 0.02)
    lets it fade from layer to layer."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=SLOPE)


def initialise_text(linear: nn.Linear) -> None:
    """So that embeddings whose numbers have variance 1 give features of variance 1: as loud as the noise beside them.

    With N(0, 0.02) a generator overhears its caption for its first thousands of steps.
    """
    nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
    nn.init.zeros_(linear.bias)


def channels_last(network: nn.Module) -> None:
    """Lays weights out as convolutions read them fastest; pictures that follow are laid out alike."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def with_spectral_norm(network: nn.Module) -> None:
    """Divides each convolution's and linear layer's weight by its largest singular value (Miyato et al. 2018)."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            spectral_norm(module)


class Residual(nn.Module):
    """x + f(x), then a rectifier: (batch, channels, h, w) in and out.

    inner: width of a bottleneck 1x1, 3x3, 3x3 (GAN-CLS); unset has two 3x3 convolutions (StackGAN).
    """

    def __init__(self, channels: int, norm: Norm, slope: float, inner: int | None = None) -> None:
        super().__init__()
        self.slope = slope
        layers: list[nn.Module] = []
        widths = [channels, channels, channels] if inner is None else [channels, inner, inner, channels]
        for i, (ins, outs) in enumerate(itertools.pairwise(widths)):
            size = 1 if inner is not None and i == 0 else 3
            layers += [nn.Conv2d(ins, outs, size, padding=size // 2), normalised(norm, outs)]
            if i < len(widths) - 2:
                layers.append(rectifier(slope))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.layers(x), self.slope)


def rectifier(slope: float) -> nn.Module:
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)


class SelfAttention(nn.Module):
    """x + gamma * attention over all places, gamma 0 at first (Zhang et al. 2018, SAGAN, eq. 1 to 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 8)
        self.query, self.key = nn.Conv2d(channels, inner, 1), nn.Conv2d(channels, inner, 1)
        self.value, self.output = nn.Conv2d(channels, channels // 2, 1), nn.Conv2d(channels // 2, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value))
        found = F.scaled_dot_product_attention(query, key, value, scale=1.0)  # the paper does not scale
        spread = found.transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.gamma * self.output(spread)


class Projected(nn.Module):
    """A caption's embedding, (batch, dim) -> (batch, width), and what drawing it cost: nothing (Reed et al. 2016)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        return F.leaky_relu(self.linear(condition), SLOPE), condition.new_zeros(len(condition))


class Augmented(nn.Module):
    """Conditioning augmentation: mu(c) + sigma(c) * noise, and KL(N(mu, sigma) | N(0, 1)), (batch,), in nats a number.

    Zhang et al. 2017 (StackGAN), sec. 3.2; the mean over the width, as in the authors' code. The PyTorch code has a
    rectifier on mu and log sigma, which keeps mu above 0 and sigma above 1; here there is none.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 2 * width)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.linear(condition).float().chunk(2, dim=1)
        drawn = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return drawn, divergence(mean, log_variance)


class Modulated(nn.Module):
    """Every channel scaled and shifted by what noise and text say: (1 + a) x + b, a and b linear in them.

    As conditional normalisation is in BigGAN (Brock et al. 2019) and DF-GAN (Tao et al. 2022), after the
    normalisation. inputs: width of noise and text together.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 2 * channels)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """(batch, channels, h, w) and (batch, inputs)."""
        scale, shift = self.linear(latent)[..., None, None].to(x.dtype).chunk(2, dim=1)
        return torch.addcmul(shift, x, 1 + scale)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) | N(0, 1)), the mean over the width: (batch, width) twice -> (batch,)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).mean(1) / 2


def spread(vector: Tensor, like: Tensor) -> Tensor:
    """(batch, width) at every place of `like`, (batch, ..., h, w)."""
    return vector[:, :, None, None].expand(-1, -1, *like.shape[2:])
