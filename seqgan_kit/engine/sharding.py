"""Networks whose weights are shared out among the processes (FSDP2; ZeRO, Rajbhandari et al. 2020): each process holds
its part of every weight, gradient and moment, and has the whole only while it computes.

`fully_shard` is called itself, on CPUs and GPUs: Accelerate's `prepare` takes one model with its one optimiser, where a
game has two of each and more, and on CPUs makes it DDP without a word. Precision and device are Accelerate's.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.utils._pytree import tree_leaves, tree_map
from transformers import PreTrainedModel

from seqgan_kit.errors import UserError

AT_ONCE = 1 << 28
"""Bytes of whole tensors that are collected at once."""


class Sharding:
    """What is shared out among all processes, each of which does the same in the same order."""

    def __init__(self, device: torch.device, processes: int, is_main: bool) -> None:
        self.mesh = init_device_mesh(device.type, (processes,))
        self.is_main = is_main
        self._shells: dict[nn.Module, nn.Module] = {}
        # of outputs that are views, which nobody changes in place
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")

    def __contains__(self, network: nn.Module) -> bool:
        return network in self._shells

    def shard(self, network: nn.Module) -> dict[nn.Parameter, nn.Parameter]:
        """Shares out a network, in place; its parameters that were -> those that are. What is to be a copy of it is
        copied before. Raises UserError where it can't be shared out."""
        before = list(network.parameters())
        self._shells[network] = deepcopy(network, {id(p): _like(p, "meta") for p in before})
        try:
            for block in _blocks(network):
                fully_shard(block, mesh=self.mesh)
            root = fully_shard(network, mesh=self.mesh)
            root._get_fsdp_state()._lazy_init()  # or the first block that is called round the root would be one itself
        except (AssertionError, ValueError, RuntimeError, NotImplementedError) as error:
            name = type(network).__name__.removeprefix("FSDP")
            raise UserError(f"--run.shard: {name} can't be shared out ({error}): leave it out") from error
        network.register_load_state_dict_pre_hook(_share_out_weights)
        return dict(zip(before, network.parameters(), strict=True))

    def release(self) -> None:
        """Every network in parts again: before a step, and before weights are read or written."""
        for network in self._shells:
            release(network)

    def whole(self, state: Any) -> Any:
        """A state dict, of parts nested in any way, with whole tensors in the main process's memory; every process
        calls it, and the others get None in place of a tensor that was shared out."""
        shared = [leaf for leaf in tree_leaves(state) if isinstance(leaf, DTensor)]
        found = chain.from_iterable(self._collected(some) for some in _batches(shared))
        return tree_map(lambda leaf: next(found) if isinstance(leaf, DTensor) else leaf, state)

    def _collected(self, shared: list[DTensor]) -> list[Tensor | None]:
        """The whole tensors in the main process, from all processes' parts, sent as one row of bytes by each."""
        processes = self.mesh.size()
        parts = [_parts(tensor, processes) for tensor in shared]  # bytes by process; none has more than the first
        ends = list(accumulate(part[0] for part in parts))
        mine = torch.zeros(ends[-1], dtype=torch.uint8, device=shared[0].device)
        for tensor, part, end in zip(shared, parts, ends, strict=True):
            own = tensor.to_local().detach().contiguous().view(-1).view(torch.uint8)
            mine[end - part[0] :][: len(own)] = own
        every = [torch.empty_like(mine) for _ in range(processes)] if self.is_main else None
        distributed.gather(mine, every)
        if every is None:
            return [None] * len(shared)
        return [
            torch.cat([row[end - part[0] :][:size] for row, size in zip(every, part, strict=True)])
            .view(tensor.dtype)
            .view(tensor.shape)
            .cpu()
            for tensor, part, end in zip(shared, parts, ends, strict=True)
        ]

    def weights(self, network: nn.Module) -> dict[str, Any]:
        """Its whole state dict in the main process, and nothing in the others. Every process calls it."""
        release(network)
        found = self.whole(network.state_dict())
        return found if self.is_main else {}

    def filled(self, network: nn.Module, weights: Any) -> Any:
        """A plain, whole copy of the network with these weights, on the CPU."""
        shell = self._shells[network]
        copy = deepcopy(shell, {id(p): _like(p, "cpu") for p in shell.parameters()}).cpu()
        copy.load_state_dict(weights)
        return copy.eval()


def is_sharded(network: Any) -> bool:
    return isinstance(network, FSDPModule)


def gather(network: nn.Module) -> None:
    """Makes the network whole on every process, until it is released: no pass inside sends anything, so there may be
    other numbers of them on each, and its parts may be called by themselves. Nothing is done for one that is whole."""
    for group in _groups(network):
        group.set_reshard_after_forward(False, recurse=False)
        group.unshard()


def release(network: nn.Module) -> None:
    """The inverse. A network must be in parts while its weights are read, written, or stepped."""
    for group in _groups(network):
        _as_usual(group, network)
        group.reshard()
    if isinstance(network, FSDPModule) and hasattr(network, "reset_iter_state"):
        network.reset_iter_state()  # forgets the order of the passes, by which a backward would fetch parts ahead


@contextmanager
def whole_step(network: nn.Module) -> Iterator[None]:
    """Keeps the network whole from the first forward to the end of the backward: where gradients are differentiated
    again, a part that was given away in between would be missed."""
    for group in _groups(network):
        group.set_reshard_after_forward(False, recurse=False)
        group.set_reshard_after_backward(False, recurse=False)
    try:
        yield
    finally:
        for group in _groups(network):
            _as_usual(group, network)
            group.reshard()


def local(tensor: Tensor) -> Tensor:
    """What this process holds of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """All of it; every process calls it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_out_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """A saved state with each moment in parts as its weight is: a hook before `load_state_dict`."""
    places = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        place: {name: _shared_as(places[place], value) for name, value in entry.items()}
        for place, entry in state["state"].items()
    }
    return {**state, "state": moments}


def _share_out_weights(network: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """The same of a network's weights."""
    release(network)
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if prefix + name in state:
            state[prefix + name] = _shared_as(parameter, state[prefix + name])


def _shared_as(parameter: Tensor, value: Any) -> Any:
    shares = isinstance(parameter, DTensor) and isinstance(value, Tensor) and not isinstance(value, DTensor)
    if not shares or value.shape != parameter.shape:
        return value
    assert isinstance(parameter, DTensor)
    # every process has read the whole, so that none has to send it
    return distribute_tensor(value.to(parameter.dtype), parameter.device_mesh, parameter.placements, src_data_rank=None)


def _parts(tensor: DTensor, processes: int) -> list[int]:
    """Bytes of each process's part: runs of rows, the last ones shorter, or empty."""
    assert tensor.placements == (Shard(0),)
    count = tensor.shape[0]
    each, row = -(-count // processes), tensor.numel() // max(1, count) * tensor.element_size()
    return [row * max(0, min(each, count - rank * each)) for rank in range(processes)]


def _batches(shared: list[DTensor]) -> Iterator[list[DTensor]]:
    """Runs of tensors that are sent at once."""
    some: list[DTensor] = []
    for tensor in shared:
        if some and sum(each.numel() * each.element_size() for each in (*some, tensor)) > AT_ONCE:
            yield some
            some = []
        some.append(tensor)
    if some:
        yield some


def _like(parameter: nn.Parameter, device: str) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(parameter, device=device), requires_grad=parameter.requires_grad)


def _groups(network: nn.Module) -> list[FSDPModule]:
    return [module for module in network.modules() if isinstance(module, FSDPModule)] if is_sharded(network) else []


def _as_usual(group: FSDPModule, network: nn.Module) -> None:
    """A block is given away after each pass; the rest, which the backward begins and ends with, after that."""
    root: object = network
    group.set_reshard_after_forward(group is not root, recurse=False)
    group.set_reshard_after_backward(True, recurse=False)


def _blocks(network: nn.Module) -> Iterable[nn.Module]:
    """The layers of transformers. Other networks are small, and read their layers' weights themselves, which only a
    whole network can."""
    found: dict[int, nn.Module] = {}
    inner: set[int] = set()
    for model in network.modules():
        if not isinstance(model, PreTrainedModel):
            continue
        for layers in model.modules():
            if isinstance(layers, nn.ModuleList) and id(layers) not in inner:
                inner |= {id(module) for module in layers.modules()}
                found |= {id(layer): layer for layer in layers if any(True for _ in layer.parameters())}
    return found.values()
