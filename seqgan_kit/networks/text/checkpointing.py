"""Layers that keep only their inputs for the gradient, and compute the rest again (Chen et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


def checkpointed(model: nn.Module) -> None:
    """Has each layer of a Hugging Face model do so wherever there is a gradient.

    Their own way does so in training mode alone, where a policy, whose steps have no dropout, never is.
    """
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.forward = partial(_kept, layer.forward)


def _kept(forward: Callable[..., Any], *given: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*given, **options)
    return checkpoint(forward, *given, use_reentrant=False, **options)
