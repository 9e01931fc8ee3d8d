"""Layers in few calls, against the same layers module by module."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from seqgan_kit.networks.policies import fused
from seqgan_kit.networks.policies.layers import Activation, Layers, linear

ROWS = [1, 3, 700]  # 700 rows of 8 numbers are more than the 4096 from which tanh is made of a sigmoid


def layers(activation: Activation, sizes: tuple[int, ...]) -> tuple[Layers, torch.nn.Linear]:
    torch.manual_seed(len(sizes))
    body, output = Layers(sizes, activation), linear(sizes[-1], 3, 1.0)
    with torch.no_grad():
        for parameter in (*body.parameters(), *output.parameters()):
            parameter.add_(torch.randn(parameter.shape) / 4)  # biases, which begin as 0, too
    return body, output


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("sizes", [(5,), (5, 8), (5, 8, 6)])
def test_fused_layers_equal_the_plain_ones(sizes: tuple[int, ...], activation: Activation, rows: int) -> None:
    """Values with and without a gradient, and the gradient of every parameter, of a weighted sum."""
    body, output = layers(activation, sizes)
    values = 2 * torch.randn(rows, 2, 5)
    weights = torch.randn(rows, 2, 3) / rows
    expected = output(body(values))
    found = body.fused(values, output)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    parameters = [*body.parameters(), *output.parameters()]
    slopes = (torch.autograd.grad((logits * weights).sum(), parameters) for logits in (found, expected))
    for slope, reference in zip(*slopes, strict=True):
        torch.testing.assert_close(slope, reference, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        before = values.clone()
        torch.testing.assert_close(body.inferred(values[:, 0], output), expected[:, 0], rtol=1e-5, atol=1e-6)
    assert values.equal(before), "it is not written into"


def test_fused_layers_under_autocast_are_the_plain_ones() -> None:
    """Whose types autocast chooses on both ways."""
    body, output = layers("tanh", (5, 8))
    values = torch.randn(4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = body.fused(values, output), output(body(values))
    assert found.dtype == torch.bfloat16
    assert found.equal(expected)


def test_fused_layers_refuse_a_second_derivative() -> None:
    """The backward pass by hand can't be differentiated, and says so instead of giving a wrong number."""
    body, output = layers("tanh", (5, 8))
    total = body.fused(torch.randn(4, 5), output).square().sum()
    slope = torch.autograd.grad(total, body.linears[0].weight, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize("entries", [0, 10**6])
def test_tanh_is_torch_s(entries: int, tune: Callable[..., None]) -> None:
    """By either way, in place or not, to within 2e-7, and far out, too; its slope to within 1e-6."""
    tune(sigmoid_entries=entries)
    values = torch.cat([torch.linspace(-12, 12, 5001), torch.tensor([-1e4, 1e4])]).requires_grad_()
    found, expected = fused.tanh(values), values.tanh()
    for one in (found, fused.tanh_(values.detach().clone())):
        torch.testing.assert_close(one, expected, rtol=0, atol=2e-7)
    slopes = (torch.autograd.grad(one.sum(), values)[0] for one in (found, expected))
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-6)
