"""Generators and discriminators of pictures: shapes, parts against their equations, what must not change."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F
from transformers import AutoModel

from seqgan_kit.networks.average import Averaged
from seqgan_kit.networks.pictures.discriminator import PictureDiscriminator
from seqgan_kit.networks.pictures.generator import PictureConfig, PictureGenerator, StackedGenerator, doublings
from seqgan_kit.networks.pictures.layers import (
    SLOPE,
    Augmented,
    Modulated,
    Projected,
    SelfAttention,
    divergence,
    spread,
)
from seqgan_kit.networks.pictures.style import StyleEncoder, StyleEncoderConfig
from seqgan_kit.networks.synchronised import SynchronisedBatchNorm, synchronised

NOISE, CONDITION = 3, 5
STACKED = {"side": 16, "second_side": 32, "second_width": 4, "second_blocks": 1, "augmentation": True}


def config(**options: Any) -> PictureConfig:
    return PictureConfig(**({"condition": CONDITION, "noise": NOISE, "side": 16, "width": 4, "text": 6} | options))


def inputs(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, NOISE, generator=random), torch.randn(count, CONDITION, generator=random)


def restless(network: nn.Module) -> None:
    """Weights and running statistics that are nobody's initial ones, so that nothing is equal by being 0 or 1."""
    random = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=random) / 4)


def clones(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


# -- generators ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_pictures_have_the_side_that_was_asked_for(side: int, upsampling: str) -> None:
    """Within [-1, 1], with a cost each, from both kinds of layers, and both players fit together."""
    torch.manual_seed(0)
    width = 4 if side <= 64 else 1
    network = PictureGenerator(config(side=side, upsampling=upsampling, width=width))
    with torch.no_grad():
        pixels, cost = network(*inputs(2))
        (logits,) = PictureDiscriminator(side, CONDITION, 4, most=16, text=4)((pixels, [inputs(2)[1]] * 2))
    assert pixels.shape == (2, 3, side, side)
    assert pixels.abs().max() <= 1
    assert cost.tolist() == [0, 0]
    assert [tuple(each.shape) for each in logits] == [(2,), (2,)]
    assert not torch.equal(pixels[0], pixels[1])


@pytest.mark.parametrize("second_side", [32, 64])
def test_the_second_stage_enlarges(second_side: int) -> None:
    """Once or twice; costs are those of the second stage alone, while the first is frozen."""
    torch.manual_seed(0)
    network = StackedGenerator(config(**STACKED | {"second_side": second_side}))
    torch.manual_seed(1)
    pixels, cost = network(*inputs(3))
    assert pixels.shape == (3, 3, second_side, second_side)
    assert pixels.abs().max() <= 1
    mean, log_variance = network.read.linear(inputs(3)[1]).chunk(2, dim=1)
    torch.testing.assert_close(cost, divergence(mean, log_variance))
    first = divergence(*network.stage_one.read.linear(inputs(3)[1]).chunk(2, dim=1))
    network.freeze(False)
    torch.testing.assert_close(network(*inputs(3))[1], cost + first)


@pytest.mark.parametrize("side", [2, 4, 12, 24, 33, 0])
def test_other_sides_are_refused(side: int) -> None:
    """Four times a power of two, and more than four."""
    with pytest.raises(ValueError, match="power of 2"):
        doublings(side)
    with pytest.raises(ValueError, match="power of 2"):
        PictureGenerator(config(side=side))


@pytest.mark.parametrize("kind", ["first", "second", "nearest", "modulated", "group"])
def test_pictures_do_not_depend_on_their_batch(kind: str) -> None:
    """In evaluation: a picture alone is that of a batch. In training, with batch normalisation, it is not."""
    torch.manual_seed(0)
    network: nn.Module = {
        "first": lambda: PictureGenerator(config(attention=8)),
        "nearest": lambda: PictureGenerator(config(upsampling="nearest", residual=False)),
        "modulated": lambda: PictureGenerator(config(modulation=True)),
        "group": lambda: PictureGenerator(config(norm="group")),
        "second": lambda: StackedGenerator(config(**STACKED | {"augmentation": False})),
    }[kind]()
    if isinstance(network, StackedGenerator):
        network.read = Projected(CONDITION, 6)  # or its chances would differ
    restless(network)
    noise, condition = inputs(6)

    def apart(few: int) -> float:
        with torch.no_grad():
            whole, some = network(noise, condition)[0], network(noise[:few], condition[:few])[0]
        return (whole[:few] - some).abs().max().item()

    network.eval()
    assert apart(1) < 1e-5
    assert apart(4) < 1e-5
    network.train()
    assert (apart(4) > 1e-4) == (kind != "group")


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_modulation_scales_and_shifts_channels(upsampling: str) -> None:
    """After each normalisation: (1 + a) x + b with a, b linear in noise and text; with a, b = 0 it is not there."""
    torch.manual_seed(0)
    layer = Modulated(5, 3)
    x, told = torch.randn(2, 3, 4, 4), torch.randn(2, 5)
    scale, shift = told @ layer.linear.weight[:3].T, told @ layer.linear.weight[3:].T
    for row in range(2):
        for channel in range(3):
            a, b = scale[row, channel], shift[row, channel]
            a, b = a + layer.linear.bias[channel], b + layer.linear.bias[3 + channel]
            torch.testing.assert_close(layer(x, told)[row, channel], (1 + a) * x[row, channel] + b)
    torch.manual_seed(0)
    plain = PictureGenerator(config(upsampling=upsampling))
    network = PictureGenerator(config(upsampling=upsampling, modulation=True))
    layers = [each for each in network.layers if isinstance(each, Modulated)]
    assert len(layers) == (2 if upsampling == "nearest" else 1)  # the last layer of the paper's is not normalised
    own = [tensor for name, tensor in network.state_dict().items() if "layers" not in name or ".linear." not in name]
    for mine, theirs in zip(own, plain.state_dict().values(), strict=True):
        mine.copy_(theirs)
    noise, condition = inputs(3)
    assert not torch.allclose(network(noise, condition)[0], plain(noise, condition)[0])
    for each in layers:
        nn.init.zeros_(each.linear.weight)
    torch.testing.assert_close(network(noise, condition)[0], plain(noise, condition)[0])


def test_both_inputs_are_heard() -> None:
    """At the start already: pictures differ with the caption alone, about as much as with the noise alone."""
    torch.manual_seed(0)
    network = PictureGenerator(config(width=16, noise=16, text=16)).eval()
    noise, condition = torch.randn(16, 16), torch.randn(16, CONDITION)
    with torch.no_grad():
        by_noise = network(noise, condition[:1].expand(16, -1))[0].std(0).mean()
        by_caption = network(noise[:1].expand(16, -1), condition)[0].std(0).mean()
    assert 0.25 < by_caption / by_noise < 4


# -- conditioning augmentation ------------------------------------------------------------------------------------


def test_divergence_is_that_of_normal_distributions() -> None:
    """0 where mean and log variance are 0; else PyTorch's KL, the mean over the width."""
    assert divergence(torch.zeros(4, 7), torch.zeros(4, 7)).tolist() == [0] * 4
    torch.manual_seed(0)
    mean, log_variance = torch.randn(4, 7).double(), torch.randn(4, 7).double()
    known = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(4, 7), torch.ones(4, 7)))
    torch.testing.assert_close(divergence(mean, log_variance), known.mean(1))


def test_augmentation_draws_from_its_normal_distribution() -> None:
    """Mean and deviation of many draws are those of the linear layer: means below 0, deviations below 1, too."""
    torch.manual_seed(0)
    layer = Augmented(2, 2)
    with torch.no_grad():
        layer.linear.weight.zero_()
        layer.linear.bias.copy_(torch.tensor([-1.5, 0.5, 2 * math.log(0.1), 2 * math.log(2.0)]))
        drawn, cost = layer(torch.randn(40_000, 2))
    assert (drawn.mean(0) - torch.tensor([-1.5, 0.5])).abs().max() < 0.04
    torch.testing.assert_close(drawn.std(0), torch.tensor([0.1, 2.0]), rtol=0.02, atol=0)
    known = kl_divergence(Normal(torch.tensor([-1.5, 0.5]), torch.tensor([0.1, 2.0])), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(cost, known.expand(40_000))


def test_augmentation_starts_with_means_of_both_signs() -> None:
    """Means are not rectified, and deviations are on both sides of 1, as a new network draws them."""
    torch.manual_seed(0)
    network = PictureGenerator(config(augmentation=True, text=64))
    mean, log_variance = network.read.linear(torch.randn(64, CONDITION)).chunk(2, dim=1)
    for values in (mean, log_variance):
        assert 0.3 < (values < 0).float().mean() < 0.7
    pixels, cost = network(*inputs(4))
    assert cost.shape == (4,)
    assert (cost > 0).all()
    assert not torch.equal(network(*inputs(4))[0], pixels), "drawn anew"


# -- layers -------------------------------------------------------------------------------------------------------


def test_self_attention_is_its_equation() -> None:
    """SAGAN's equations by plain loops over places; at first, with gamma 0, nothing is added."""
    torch.manual_seed(0)
    layer = SelfAttention(16).double()
    x = torch.randn(2, 16, 3, 4).double()
    assert torch.equal(layer(x), x)
    with torch.no_grad():
        layer.gamma.fill_(0.7)
    found = layer(x)

    def at(module: nn.Conv2d, column: Tensor) -> Tensor:
        assert module.bias is not None
        return module.weight[:, :, 0, 0] @ column + module.bias

    for i in range(2):
        columns = [x[i, :, row, column] for row in range(3) for column in range(4)]
        for place, own in enumerate(columns):
            scores = torch.stack([at(layer.query, own) @ at(layer.key, other) for other in columns])
            shares = scores.exp() / scores.exp().sum()
            mixed = sum(share * at(layer.value, other) for share, other in zip(shares, columns, strict=True))
            expected = own + 0.7 * at(layer.output, mixed)  # type: ignore[arg-type]
            torch.testing.assert_close(found[i, :, place // 4, place % 4], expected)


def test_spread_repeats_a_vector_at_every_place() -> None:
    """(batch, width) -> (batch, width, height, width)."""
    vector = torch.randn(2, 3)
    found = spread(vector, torch.empty(2, 7, 4, 5))
    assert found.shape == (2, 3, 4, 5)
    assert all(torch.equal(found[:, :, row, column], vector) for row in range(4) for column in range(5))


def test_every_weight_of_a_spectral_discriminator_has_norm_one() -> None:
    """After some steps of the power iteration, by a full singular value decomposition; without it, they have not."""

    def norms(spectral: bool) -> list[float]:
        torch.manual_seed(0)
        network = PictureDiscriminator(16, CONDITION, 4, text=4, norm="none", spectral=spectral, unconditional=True)
        restless(network)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(60):
            ((fitting, alone),) = network((torch.randn(4, 3, 16, 16), [torch.randn(4, CONDITION)]))
            optimizer.zero_grad()
            (fitting.mean() + alone.mean()).backward()
            optimizer.step()
        network.eval()
        layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        assert len(layers) == 2 + 3 + 2 + 2 + 1  # trunk, residual, caption, head, the other head
        return [torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item() for layer in layers]

    assert all(abs(norm - 1) < 0.05 for norm in norms(True)), norms(True)
    assert not all(abs(norm - 1) < 0.05 for norm in norms(False))


# -- discriminators -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"join": 3, "unconditional": True, "residual": False}, {"attention": 8}])
def test_captions_beside_each_other_do_not_mix(options: dict[str, Any]) -> None:
    """One forward of several captions, and of several batches, gives the logits of forwards of their own."""
    torch.manual_seed(0)
    network = PictureDiscriminator(16, CONDITION, 4, text=4, norm="none", **options)
    restless(network)
    real, fake, (_, own), (_, wrong) = torch.randn(4, 3, 16, 16), torch.randn(6, 3, 16, 16), inputs(4), inputs(4, 1)
    others = inputs(6, 2)[1]
    of_real, of_fake = network((real, [own, wrong]), (fake, [others]))
    alone = options.get("unconditional", False)
    assert (len(of_real), len(of_fake)) == (2 + alone, 1 + alone)
    torch.testing.assert_close(of_real[0], network((real, [own]))[0][0])
    torch.testing.assert_close(of_real[1], network((real, [wrong]))[0][0])
    torch.testing.assert_close(of_fake[0], network((fake, [others]))[0][0])
    assert not torch.allclose(of_real[0], of_real[1])
    if alone:
        torch.testing.assert_close(of_real[2], network((real, [wrong]))[0][1])
        assert torch.equal(network((real, [own]))[0][1], network((real, [wrong]))[0][1]), "it sees no caption"


@pytest.mark.parametrize("join", [1, 3])
@pytest.mark.parametrize("modulation", [False, True])
def test_picture_and_caption_are_joined_as_by_one_convolution(join: int, modulation: bool) -> None:
    """The sum that shares the picture's part among captions is the convolution of both, value and gradients; what
    modulates scales the picture's part of it."""
    torch.manual_seed(0)
    network = PictureDiscriminator(16, CONDITION, 4, text=4, norm="none", join=join, modulation=modulation)
    restless(network)
    pixels, caption = torch.randn(4, 3, 16, 16), inputs(4)[1]
    features, text = network.trunk(pixels), F.leaky_relu(network.read(caption), SLOPE)
    convolution, *judged = network.conditional
    places = spread(text, features)
    maps = convolution(torch.cat([features, places], dim=1))
    if network.scale is not None:
        of_picture = convolution(torch.cat([features, 0 * places], dim=1))
        maps = maps + network.scale(text)[:, :, None, None] * of_picture
    expected = nn.Sequential(*judged)(maps).flatten()
    slopes = []
    for logits in (network((pixels, [caption]))[0][0], expected):
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
        slopes.append(torch.autograd.grad(logits.square().sum(), list(network.parameters()), retain_graph=True))
    for found, reference in zip(*slopes, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-3, atol=1e-3 * reference.abs().max().item())


def test_batches_are_normalised_by_themselves() -> None:
    """Real pictures have the logits that they have without made ones beside them, in training too."""
    torch.manual_seed(0)
    network = PictureDiscriminator(16, CONDITION, 4, text=4)
    real, fake, (_, own) = torch.randn(4, 3, 16, 16), 3 + torch.randn(4, 3, 16, 16), inputs(4)
    torch.testing.assert_close(network((real, [own]), (fake, [own]))[0][0], network((real, [own]))[0][0])


# -- the second stage ---------------------------------------------------------------------------------------------


def steps(network: StackedGenerator, count: int = 3) -> None:
    """Some training by all parameters that want any."""
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.01)
    for i in range(count):
        network.eval()  # as an evaluation in between
        network.train()
        pixels, cost = network(*inputs(4, i))
        optimizer.zero_grad()
        (pixels.mean() + cost.mean()).backward()
        optimizer.step()


@pytest.mark.parametrize("train_first", [False, True])
def test_a_frozen_first_stage_stays_as_it_is(train_first: bool) -> None:
    """Weights and running statistics, bit for bit; unless it shall be trained: then all of both change."""
    torch.manual_seed(0)
    network = StackedGenerator(config(**STACKED))
    network.freeze(not train_first)
    before = clones(network)
    steps(network)
    moved = changed(network, before)
    first = {name for name in before if name.startswith("stage_one.")}
    running = {name for name in before if "running" in name or "num_batches" in name}
    assert first & running
    assert moved & first == (first if train_first else set())
    assert before.keys() - first <= moved
    assert network.stage_one.training == train_first


def test_a_frozen_first_stage_gives_its_evaluated_picture() -> None:
    """The second stage learns on what the first one shows, not on pictures that depend on their batch."""
    torch.manual_seed(0)
    network = StackedGenerator(config(**STACKED | {"augmentation": False}))
    seen: list[Tensor] = []
    network.encoder.register_forward_hook(lambda _, given, __: seen.append(given[0].clone()))
    network.train()
    noise, condition = inputs(4)
    network(noise, condition)
    expected, _ = network.stage_one.eval()(noise, condition)
    torch.testing.assert_close(seen[0], expected.detach())


# -- folders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["first", "second", "style"])
def test_from_pretrained_gives_the_network_back(kind: str, tmp_path: Path) -> None:
    """Weights, running statistics and sizes, by the class and by AutoModel, ready to be used."""
    torch.manual_seed(0)
    made: dict[str, Any] = {
        "first": lambda: PictureGenerator(config(norm="batch", attention=8, upsampling="nearest", residual=False)),
        "second": lambda: StackedGenerator(config(**STACKED | {"modulation": True})),
        "style": lambda: StyleEncoder(StyleEncoderConfig(NOISE, 8)),
    }
    network = made[kind]()
    restless(network)
    network.save_pretrained(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    torch.manual_seed(7)
    for loader in (type(network), AutoModel):
        found = loader.from_pretrained(tmp_path, local_files_only=True)
        assert type(found) is type(network)
        assert not found.training
        assert not changed(found, clones(network))
        given = (torch.randn(2, 3, 16, 16),) if kind == "style" else inputs(2)
        outputs = []
        for each in (found, network.eval()):
            torch.manual_seed(1)
            with torch.no_grad():
                pixels = each(*given)
            outputs.append(pixels if kind == "style" else pixels[0])
        torch.testing.assert_close(*outputs)


# -- the moving average -------------------------------------------------------------------------------------------


def test_the_average_is_its_sum() -> None:
    """After n steps, in closed form; running statistics are the newest ones; and it needs no gradient."""
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).double()
    average = Averaged(network, 0.6)
    weights = [average.network[0].weight.clone()]  # type: ignore[index]
    decays = []
    for n in range(12):
        with torch.no_grad():
            network[0].weight.normal_()
            network[1].running_mean.normal_()  # type: ignore[union-attr]
        weights.append(network[0].weight.detach().clone())
        decays.append(min(0.6, (1 + n) / (10 + n)))
        average.follow()
    total = torch.zeros(2, 2).double()
    for i, weight in enumerate(weights):
        share = (1.0 if i == 0 else 1 - decays[i - 1]) * math.prod(decays[i:])
        total += share * weight
    assert decays[0] == 0.1
    assert decays[-1] < 0.6, "both forms of the decay would need more steps"
    torch.testing.assert_close(average.network[0].weight, total)  # type: ignore[index]
    torch.testing.assert_close(average.network[1].running_mean, network[1].running_mean)  # type: ignore[index]
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert not average.network.training


def test_the_average_arrives_at_its_decay_and_can_begin_anew() -> None:
    """From the step on where (1 + n) / (10 + n) is more, it is the decay; a restart is the network as it is."""
    network = nn.Linear(1, 1, bias=False)
    average = Averaged(network, 0.5)
    average.steps = 100
    with torch.no_grad():
        average.network.weight.fill_(1.0)  # type: ignore[operator,union-attr]
        network.weight.fill_(3.0)
    average.follow()
    assert average.network.weight.item() == 2.0  # type: ignore[operator,union-attr]
    kept = average.state_dict()
    other = Averaged(nn.Linear(1, 1, bias=False), 0.5)
    other.load_state_dict(kept)
    assert (other.steps, other.network.weight.item()) == (101, 2.0)  # type: ignore[operator,union-attr]
    average.restart()
    assert (average.steps, average.network.weight.item()) == (0, 3.0)  # type: ignore[operator,union-attr]


# -- synchronised normalisation, in one process; two are in test_images_processes.py -------------------------------


def test_synchronised_alone_is_batch_normalisation() -> None:
    """With one process: the same numbers, statistics and gradients; the weights are kept."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    restless(plain)
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    other.load_state_dict(plain.state_dict())
    synchronised(other)
    assert isinstance(other[1], SynchronisedBatchNorm)
    x = torch.randn(5, 3, 6, 6)
    for network in (plain, other):
        F.mse_loss(network(x), torch.ones(5, 4, 4, 4)).backward()
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)  # type: ignore[arg-type]
    assert not changed(other, clones(plain))
