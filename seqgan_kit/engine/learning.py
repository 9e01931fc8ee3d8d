"""A network with its optimiser, and one step of it."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from seqgan_kit.bounds import BelowOne, Count, NotNegative, Rate
from seqgan_kit.engine import sharding
from seqgan_kit.errors import UserError

Metrics = dict[str, float]
Loss = Callable[[slice], tuple[Tensor, dict[str, Tensor]]]
"""Rows of the batch -> (mean loss over them, further metrics as scalars). It must call the learner's `module`."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam, and how its gradient is made.

    Args:
        lr: Learning rate of Adam. Of the options whose default is null, null takes what suits the generator.
        warm_up: Share of a phase in which the learning rate grows from 0.
        schedule: How the learning rate then falls: linear, or cosine, half a wave.
        final: Share of the learning rate that is left at the end of a phase. 1 keeps it constant.
        betas: Decay of the running mean of the gradient, and of its square. Nearer 1 averages over more steps.
        weight_decay: Weight decay of a step, decoupled as in AdamW, of matrices, convolutions and embeddings; biases,
            gains of norms and other vectors have none. 0 has none at all.
        clip: Greatest norm of the gradient, to which a larger one is scaled down. 0 does not clip.
        accumulate: Number of parts that a batch is computed in, one after another. More need less memory; the gradient
            is the same, where no layer takes the mean of a batch (batch norm).
        history: Weight of |w - mean of w after each step so far|^2, historical averaging (Salimans et al. 2016, sec.
            3.3). Its gradient is added, the loss that is told is without it. 0 has none.
    """

    lr: Rate | None = 1e-3
    warm_up: BelowOne = 0.0
    schedule: Literal["linear", "cosine"] = "linear"
    final: NotNegative = 1.0
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    weight_decay: NotNegative = 0.0
    clip: NotNegative = 5.0
    accumulate: Count = 1
    history: NotNegative = 0.0

    def rate(self, progress: float = 0.0) -> float:
        """The learning rate, `progress` (0 to 1) into a phase."""
        if self.lr is None:
            raise UserError("an optimizer's lr is null, which is for --likelihood and --adversarial: give a number")
        if progress < self.warm_up:
            return self.lr * progress / self.warm_up
        if self.warm_up:
            progress = (progress - self.warm_up) / (1 - self.warm_up)
        fallen = progress if self.schedule == "linear" else (1 - math.cos(math.pi * progress)) / 2
        return self.lr * (1 - (1 - self.final) * fallen)


@dataclass(frozen=True)
class Learner:
    """A network with an optimiser. `module` is the prepared one: what is differentiated goes through its forward.
    `network` is the bare one: sampling and scoring run on it. dropout: whether steps are made with it; the
    log-probabilities of a policy without are those at sampling time."""

    name: str
    network: nn.Module
    module: nn.Module
    optimizer: torch.optim.Optimizer
    config: OptimizerConfig
    parameters: list[nn.Parameter]
    dropout: bool = True


class NotFinite(Exception):
    """A loss or a gradient that is not finite; the step was not made."""


def build_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam, or with weight decay AdamW (Loshchilov and Hutter 2019), whose vectors are a group that is not decayed.

    Embeddings are decayed, as by Hugging Face's Trainer. A state that is loaded brings moments and steps alone: what is
    configured counts.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    # fused: on a CPU the plain loop over parameters takes longer than their gradient
    options: dict[str, Any] = {"lr": config.rate(), "betas": config.betas, "fused": True}
    optimizer: torch.optim.Optimizer
    if config.weight_decay:
        groups = zip(_by_decay(parameters), (config.weight_decay, 0.0), strict=True)
        optimizer = torch.optim.AdamW([{"params": own, "weight_decay": w} for own, w in groups if own], **options)
    else:
        optimizer = torch.optim.Adam(parameters, **options)
    optimizer.register_load_state_dict_pre_hook(partial(_in_groups_of_now, network))
    optimizer.register_load_state_dict_pre_hook(sharding.share_out_moments)
    return optimizer


def _by_decay(parameters: list[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What weight decay is for, and what it is not for."""
    return [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() < 2]


def _in_groups_of_now(network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """A saved state as the optimizer numbers its parameters. It has one group, in the network's order, where nothing
    was decayed, or everything was (before biases had a group of their own)."""
    groups, parameters = state["param_groups"], [p for p in network.parameters() if p.requires_grad]
    saved = [place for group in groups for place in group["params"]]
    if len(saved) != len(parameters):
        return state  # of another network, which `load_state_dict` refuses
    order = parameters if len(groups) == 1 else [p for group in _by_decay(parameters) for p in group]
    found = {id(p): state["state"][place] for p, place in zip(order, saved, strict=True) if place in state["state"]}
    here = [p for group in optimizer.param_groups for p in group["params"]]
    # the rate is where its schedule was; all else is as it is configured now
    now = [{**group, "lr": groups[0]["lr"]} for group in optimizer.state_dict()["param_groups"]]
    return {"state": {place: found[id(p)] for place, p in enumerate(here) if id(p) in found}, "param_groups": now}


def training(learner: Learner) -> None:
    """Puts the network, each part of it, into training; who evaluated it may have done so behind the back of its
    prepared form."""
    if not learner.dropout:
        learner.network.eval()
        for part in learner.network.modules():
            if isinstance(part, nn.RNNBase):  # cuDNN differentiates no other; ours have no dropout of their own
                part.train()
    elif not (learner.module.training and all(part.training for part in learner.network.modules())):
        learner.module.train()


def lay_out_as_weights(optimizer: torch.optim.Optimizer) -> None:
    """Gives what a loaded state holds of each weight the weight's own order in memory.

    A fused step reads them side by side: those of channels-last weights, saved in the usual order, would be mixed up.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def step(
    accelerator: Accelerator, learner: Learner, loss: Loss, rows: int, progress: float, twice: bool = False
) -> Metrics:
    """One optimiser step on a batch of `rows`, `progress` (0 to 1) into its phase. Raises NotFinite before the step.

    twice: whether the loss has a gradient in it.
    """
    training(learner)
    with sharding.whole_step(learner.network) if twice else contextlib.nullcontext():
        names, totals = _differentiated(accelerator, learner, loss, rows)
    return _stepped(learner, names, totals, progress)


def _differentiated(
    accelerator: Accelerator, learner: Learner, loss: Loss, rows: int
) -> tuple[list[str], list[Tensor]]:
    """Leaves the batch's gradient in the parameters; the loss and further metrics, by name."""
    names: list[str] = []
    totals: list[Tensor] = []
    parts = slices(rows, learner.config.accumulate)
    for i, part in enumerate(parts):
        last = i + 1 == len(parts)
        share = (part.stop - part.start) / rows
        with contextlib.nullcontext() if last else accelerator.no_sync(learner.module):
            value, details = loss(part)
            # inputs: nothing but this player's parameters collects gradients, but where they are in parts, the graph
            # holds others in their place; torch's own calls, because without a gradient scaler Accelerate's do the
            # same, after looking for packages that nobody uses, in twice the time
            inputs = None if sharding.is_sharded(learner.network) else learner.parameters
            (value * share if share != 1 else value).backward(inputs=inputs)
        names = ["loss", *details]
        values = [value.detach() * share, *(detail.detach() * share for detail in details.values())]
        totals = [a + b for a, b in zip(totals, values, strict=True)] if totals else values
    return names, totals


def _stepped(learner: Learner, names: list[str], totals: list[Tensor], progress: float) -> Metrics:
    """The optimiser's step by the gradients that there are. Raises NotFinite before it."""
    config = learner.config
    if config.history:
        _pull_to_the_past(learner)
    gradients = [p.grad for p in learner.parameters if p.grad is not None]
    norm = sharding.full(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
    numbers = torch.stack([norm.float(), *(total.float() for total in totals)]).tolist()  # the step's one transfer
    if not all(map(math.isfinite, numbers[:2])):
        raise NotFinite(f"{learner.name}: loss {numbers[1]}, gradient norm {numbers[0]}")
    if config.clip and numbers[0] > config.clip:
        torch._foreach_mul_(gradients, config.clip / (numbers[0] + 1e-6))
    for group in learner.optimizer.param_groups:
        group["lr"] = config.rate(progress)
    learner.optimizer.step()
    if config.history:
        _remember(learner)
    for parameter in learner.parameters:
        parameter.grad = None
    return dict(zip(["gradient_norm", *names], numbers, strict=True))


def _pull_to_the_past(learner: Learner) -> None:
    """Adds the gradient of history * |w - mean|^2, where there is a mean already."""
    for parameter in learner.parameters:
        mean = learner.optimizer.state[parameter].get("mean")
        if parameter.grad is not None and mean is not None:
            parameter.grad.add_(parameter.detach() - mean, alpha=2 * learner.config.history)


def _remember(learner: Learner) -> None:
    """Brings the mean of the weights after each step, kept beside Adam's moments, up to date."""
    for parameter in learner.parameters:
        if parameter.grad is not None:
            state, now = learner.optimizer.state[parameter], parameter.detach()
            if "mean" not in state:
                state["mean"] = now.clone()
            else:
                state["mean"].lerp_(now, 1 / float(state["step"]))


def slices(rows: int, parts: int) -> list[slice]:
    """`rows` cut into at most `parts` runs of nearly equal length."""
    bounds = [rows * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds) if b > a]
