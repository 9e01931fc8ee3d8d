"""The processes of a run: where each computes, and what they tell each other."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor, nn
from tqdm import tqdm

from seqgan_kit.engine import devices
from seqgan_kit.engine.provenance import check_launch
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.engine.sharding import Sharding
from seqgan_kit.errors import UserError
from seqgan_kit.samples import sent


class Processes:
    """One or more processes that run the same phases, each on a device of its own.

    rank: which of `count` this one is. is_main: whether it is the one that writes files and speaks to the user.
    """

    def __init__(self, config: RunConfig) -> None:
        """Raises UserError where there is no such device, or not as many processes as were asked for."""
        if config.threads:
            torch.set_num_threads(config.threads)
        check_launch(config.processes)
        _check_plugins()
        self.accelerator = Accelerator(
            cpu=devices.kind_of(config.device) == "cpu",
            mixed_precision="bf16" if config.precision == "bf16" else "no",
            log_with=_trackers(config.trackers),
            project_dir="runs",  # the run folder is known only when all processes agree on it
            kwargs_handlers=_waits(config.timeout),
        )
        self.device = self.accelerator.device
        devices.set_up(self.device, config.tf32)
        self.rank, self.count = self.accelerator.process_index, self.accelerator.num_processes
        self.is_main = self.accelerator.is_main_process
        if self.count > 1:
            atexit.register(_leave_group)
        if config.processes not in (None, self.count):
            raise UserError(
                f"--run.processes {config.processes}, but {self.count} run: start with "
                f"`torchrun --nproc_per_node {config.processes} -m seqgan_kit.cli train ...`"
            )

        if config.shard and self.count == 1:
            raise UserError(
                "--run.shard shares out weights among processes, and one runs: leave it out, or start with `torchrun "
                "--nproc_per_node 2 -m seqgan_kit.cli train ...`"
            )
        self.sharding = Sharding(self.device, self.count, self.is_main) if config.shard else None

    def prepared(self, network: nn.Module) -> nn.Module:
        """The network on the device, in the run's precision, as all processes train it."""
        if self.sharding is not None:  # which is the wrapper
            return self.accelerator.prepare_model(network, evaluation_mode=True)
        prepared: nn.Module = self.accelerator.prepare(network)
        return prepared

    def release(self) -> None:
        """Networks that were made whole to be drawn from, or to score, are in parts again."""
        if self.sharding is not None:
            self.sharding.release()

    def gather(self, tensor: Tensor) -> Tensor:
        """(batch, time) of every process as (processes * batch, longest time), padded with 0."""
        if self.count == 1:
            return tensor
        # reduce by hand, because gather_for_metrics cuts to a loader's remainder
        padded = self.accelerator.pad_across_processes(tensor.float(), dim=1)
        return self.accelerator.gather(padded).to(tensor.dtype)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        return tensor if self.count == 1 else self.accelerator.reduce(tensor, "sum")

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over all processes: how TRPO, which differentiates by hand, averages its vectors."""
        return tensor if self.count == 1 else self.accelerator.reduce(tensor, "mean")

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any process: all then do the same."""
        return self.any_of(flag)[0]

    def any_of(self, *flags: bool) -> list[bool]:
        """The same of several flags, which the processes tell each other at once."""
        if self.count == 1:
            return list(flags)
        up = sent(torch.tensor(flags, dtype=torch.float32), self.device)
        return [value > 0 for value in self.accelerator.reduce(up).tolist()]

    def on_main(self, function: Callable[[], Any]) -> Any:
        """The function's result, computed by the main process, or its UserError, on every process."""
        answer: list[Any] = [None, None]
        if self.is_main:
            try:
                answer[0] = function()
            except UserError as error:
                answer[1] = str(error)
        if self.count > 1:
            broadcast_object_list(answer)
        if answer[1] is not None:
            raise UserError(answer[1])
        return answer[0]

    def say(self, message: str) -> None:
        """A line for the user, from the main process, that does not break the progress bar."""
        if self.is_main:
            tqdm.write(message, file=sys.stderr)


def _trackers(names: list[str]) -> list[Any] | None:
    if not names:
        return None
    from accelerate.tracking import filter_trackers, get_available_trackers

    available = [str(tracker) for tracker in get_available_trackers()]
    for name in names:
        if name not in available:
            raise UserError(
                f"--run.trackers {name}: not installed (here: {', '.join(sorted(available)) or 'none'}); "
                f"try: pip install {name}"
            )
    return filter_trackers(names, "runs")


def _waits(seconds: float | None) -> list[Any]:
    return [] if seconds is None else [InitProcessGroupKwargs(timeout=timedelta(seconds=seconds))]


def _check_plugins() -> None:
    """Raises UserError where `accelerate launch` was told to wrap networks in ways that take one at a time."""
    for name, variable in [("DeepSpeed", "ACCELERATE_USE_DEEPSPEED"), ("FSDP", "ACCELERATE_USE_FSDP")]:
        if os.environ.get(variable, "false").lower() in ("1", "true"):
            raise UserError(
                f"{name} by `accelerate launch` takes one network with one optimizer, and a game has two of each: "
                "start with `torchrun --nproc_per_node 2 -m seqgan_kit.cli train ... --run.shard true`, which shares "
                "out both"
            )


def _leave_group() -> None:
    """At the end of the process: gloo's threads, if they outlive Python, may abort a run that has come to its end.

    The group ends with its last reference, and the wrapped networks, which hold it, lie in cycles.
    """
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()
