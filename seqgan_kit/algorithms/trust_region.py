"""The natural gradient step within a trust region: pure functions on flat vectors (Schulman et al. 2015, app. C)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""v -> A v for a symmetric positive definite A; all (n,)."""


class Accepted(NamedTuple):
    """fraction: of the full step; 0 where none was good enough. loss, divergence: at the point that was kept."""

    fraction: float
    loss: float
    divergence: float


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """All tensors as one vector, (n,)."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def assign(parameters: Sequence[Tensor], vector: Tensor) -> None:
    """Writes a vector (n,) into the parameters: the inverse of `flatten`."""
    with torch.no_grad():
        for parameter, part in zip(parameters, vector.split([p.numel() for p in parameters]), strict=True):
            parameter.copy_(part.view_as(parameter))


def hessian_product(value: Tensor, parameters: Sequence[Tensor], damping: float = 0.0) -> Product:
    """v -> (H + damping * 1) v, H the Hessian of a scalar, by a gradient of a gradient (Pearlmutter 1994).

    The first gradient is taken once, here; each product then costs one backward pass.
    """
    # materialize_grads: a parameter that the value does not depend on has gradient 0, not None
    options: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
    slope = flatten(torch.autograd.grad(value, parameters, create_graph=True, **options))

    def product(vector: Tensor) -> Tensor:
        if not slope.requires_grad:
            return damping * vector
        rows = torch.autograd.grad(slope, parameters, vector, retain_graph=True, **options)
        return flatten(rows) + damping * vector

    return product


def conjugate_gradient(product: Product, target: Tensor, iterations: int, tolerance: float = 1e-10) -> Tensor:
    """x with A x = target, approximately: (n,) -> (n,) (Hestenes and Stiefel 1952).

    Stops where |residual|^2 < tolerance.
    """
    found = torch.zeros_like(target)
    residual = target.clone()
    direction = target.clone()
    square = residual.dot(residual)
    for _ in range(iterations):
        small = square < tolerance
        if (
            small.device.type == "cpu" and small
        ):  # a GPU goes on in place: to look at the number would be to wait for it
            break
        along = product(direction)
        step = torch.where(small, 0.0, square / direction.dot(along))
        found += step * direction
        residual -= step * along
        following = residual.dot(residual)
        direction = residual + torch.where(small, 0.0, following / square) * direction
        square = following
    return found


def natural_step(product: Product, gradient: Tensor, divergence: float, iterations: int) -> Tensor:
    """The step that lowers a loss of this gradient most, with 1/2 step A step = divergence: (n,) -> (n,).

    -sqrt(2 divergence / (g A^-1 g)) A^-1 g. A is the Fisher information: the Hessian of the KL divergence.
    """
    direction = conjugate_gradient(product, -gradient, iterations)
    curvature = direction.dot(product(direction))
    return torch.where(curvature > 0, direction * (2 * divergence / curvature).sqrt(), 0.0)


def line_search(
    move: Callable[[float], tuple[float, float]], slope: float, loss: float, limit: float, halvings: int, share: float
) -> Accepted:
    """Halves a step until it lowers the loss enough and stays in the trust region; else goes back to fraction 0.

    move: puts the parameters at a fraction of the step, and returns (loss, divergence) there. slope: gradient times
    full step, below 0. limit: the greatest divergence. share: of the decrease that the slope promises, which must be
    reached (Armijo). The original code keeps the last, smallest step where none is good; this restores.
    """
    for halving in range(halvings):
        fraction = 0.5**halving
        found, divergence = move(fraction)
        # a comparison with NaN is false, so a step into nowhere is refused
        if divergence <= limit and found - loss <= share * fraction * slope:
            return Accepted(fraction, found, divergence)
    move(0.0)
    return Accepted(0.0, loss, 0.0)
