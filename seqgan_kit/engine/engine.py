"""Everything that is not the algorithm: devices, processes, optimiser steps, phases, metrics, checkpoints, signals."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import itertools
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, set_seed
from torch import Tensor, nn
from tqdm import tqdm

from seqgan_kit.engine import checkpoints
from seqgan_kit.engine.learning import (
    Learner,
    Loss,
    Metrics,
    NotFinite,
    OptimizerConfig,
    build_optimizer,
    lay_out_as_weights,
    step,
)
from seqgan_kit.engine.metrics_log import MetricsLog
from seqgan_kit.engine.provenance import check_data, check_launch, provenance, write_json, write_whole
from seqgan_kit.errors import UserError


class Stopped(Exception):
    """The run was asked to stop, and has saved; says how to resume."""


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


@dataclass(frozen=True)
class RunConfig:
    """Where and how a run is carried out.

    Args:
        folder: The run folder, which must not exist yet; unset takes the next free one of runs/TASK-1, runs/TASK-2 and
            so on.
        seed: The seed of all random numbers: data, initial weights, samples; on a CPU the same seed gives the same run.
        device: Where networks are computed. `auto` takes a GPU where there is one.
        precision: Precision of the networks' forward passes: fp32, or bf16, which computes them in bfloat16
            (`seqgan-kit env` says whether the machine knows it).
        processes: Number of processes that torchrun launched, as a check. Unset takes those that there are.
        threads: CPU threads of each process. null leaves PyTorch's choice. Small networks are fastest on 1, and at the
            sizes of the SeqGAN paper 2 gain a factor of 1.4 to 1.6, if nothing else runs: on a busy machine they wait
            for each other, and lose a factor of 10 and more.
        log_every: Steps between two lines of metrics.jsonl.
        checkpoint_seconds: Greatest number of seconds without a checkpoint. There is one at the end of each phase, too.
        checkpoint_steps: Steps between two checkpoints, where these shall not depend on the time. Unset goes by
            `checkpoint_seconds`.
        keep_checkpoints: Number of checkpoints that are kept, the latest ones.
        trackers: Accelerate trackers that get the metrics beside metrics.jsonl, such as [tensorboard].
    """

    folder: str | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    processes: int | None = None
    threads: int | None = 1
    log_every: int = 10
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None
    keep_checkpoints: int = 2
    trackers: list[str] = field(default_factory=list)


class Engine:
    """One run in one folder. Use as a context manager; register all parts, then `restore`, then run the phases."""

    def __init__(
        self, config: RunConfig, task: str, config_text: str = "", resume: bool = False, data: str | None = None
    ) -> None:
        """data: fingerprint of what the run learns from, which must be the same when it is resumed."""
        self.config = config
        self.counters: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self._kept: dict[str, Stateful] = {}
        self._modules: dict[str, tuple[nn.Module, nn.Module]] = {}
        self._learners: dict[str, Learner] = {}
        self._metrics: MetricsLog | None = None
        self._stop_signal = 0
        self._config_text = config_text
        self._progress = 0.0
        self._saved_at = -1
        self._save_soon = False
        self.export: Callable[[Path], None] | None = None
        """Writes the model that users load, into an empty folder; called at the end of each phase."""
        self.exports: dict[str, Callable[[Path], None]] = {}
        """Of a phase: writes the model as this phase leaves it, which is kept as RUN/PHASE; called when it ends."""
        if config.threads:
            torch.set_num_threads(config.threads)
        check_launch(config.processes)
        cpu = config.device == "cpu" or not torch.cuda.is_available()
        if config.device == "cuda" and cpu:
            raise UserError("--run.device cuda: PyTorch sees no GPU here; use --run.device cpu or auto")
        self.accelerator = Accelerator(
            cpu=cpu,
            mixed_precision="bf16" if config.precision == "bf16" else "no",
            log_with=self._trackers(),
            project_dir="runs",  # the run folder is known only when all processes agree on it
        )
        self.device = self.accelerator.device
        self.rank, self.processes = self.accelerator.process_index, self.accelerator.num_processes
        self.is_main = self.accelerator.is_main_process
        if self.processes > 1:
            atexit.register(_leave_group)
        if config.processes not in (None, self.processes):
            raise UserError(
                f"--run.processes {config.processes}, but {self.processes} run: start with "
                f"`torchrun --nproc_per_node {config.processes} -m seqgan_kit.cli train ...`"
            )
        self._open_folder(task, config_text, resume, data)
        set_seed(config.seed + 7919 * self.rank)
        self._started = self._saved_time = self._step_time = time.monotonic()

    # -- parts ---------------------------------------------------------------------------------------------------

    def learner(self, name: str, network: nn.Module, config: OptimizerConfig, dropout: bool = True) -> Learner:
        """Prepares a network and an optimiser of its own. The same network may serve several learners."""
        if name in self._learners:
            raise ValueError(f"a learner named {name!r} is there already")
        known = [pair for pair in self._modules.values() if pair[0] is network]
        module = known[0][1] if known else self.accelerator.prepare(network)
        if not known:
            self._modules[name] = (network, module)
        optimizer = build_optimizer(network, config)
        parameters = [p for p in network.parameters() if p.requires_grad]
        learner = Learner(name, network, module, optimizer, config, parameters, dropout)
        self._learners[name] = learner
        return learner

    def keep(self, name: str, part: Stateful) -> None:
        """Has the state of a part (data position, environments, a lagging copy) saved and restored, per process."""
        self._kept[name] = part

    # -- the gradient step ---------------------------------------------------------------------------------------

    def update(self, learner: Learner, loss: Loss, rows: int) -> Metrics:
        """One optimiser step on a batch of `rows`. Raises UserError, before the step, where the loss is not finite."""
        try:
            return step(self.accelerator, learner, loss, rows, self._progress)
        except NotFinite as error:
            raise UserError(
                f"{error} after steps {self.counters or 'none'}; stopped before the step, {self._last_good()}. "
                f"Lower the learning rate ({learner.config.lr}) or clip ({learner.config.clip})."
            ) from error

    def gather(self, tensor: Tensor) -> Tensor:
        """(batch, time) of every process as (processes * batch, longest time), padded with 0."""
        if self.processes == 1:
            return tensor
        # reduce by hand, because gather_for_metrics cuts to a loader's remainder
        padded = self.accelerator.pad_across_processes(tensor.float(), dim=1)
        return self.accelerator.gather(padded).to(tensor.dtype)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        return tensor if self.processes == 1 else self.accelerator.reduce(tensor, "sum")

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over all processes: how TRPO, which differentiates by hand, averages its vectors."""
        return tensor if self.processes == 1 else self.accelerator.reduce(tensor, "mean")

    # -- phases --------------------------------------------------------------------------------------------------

    def started(self, phase: str) -> bool:
        """Whether the phase has made a step, in this process or before it was resumed."""
        return self.counters.get(phase, 0) > 0

    def steps(self, phase: str, total: int) -> Iterator[int]:
        """The steps of a phase that are left to do. After each: metrics, checkpoints, signals."""
        done = self.counters.get(phase, 0)
        if done >= total:
            return
        self._step_time = time.monotonic()
        self._log.restart_clock()
        quiet = not self.is_main
        pause = 0.1 if sys.stderr.isatty() else 10.0
        with tqdm(total=total, initial=done, desc=phase, disable=quiet, mininterval=pause, dynamic_ncols=True) as bar:
            for step in range(done, total):
                self._progress = step / total
                yield step
                self.counters[phase] = step + 1
                now = time.monotonic()
                self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._step_time
                self._step_time = now
                last = step + 1 == total
                log = self._log
                if log.pending and (last or (step + 1) % self.config.log_every == 0 or log.evaluated()):
                    seconds = round(sum(self.seconds.values()), 3)
                    place = {"phase": phase, "step": step + 1, "total": total, "seconds": seconds}
                    bar.set_postfix_str(log.write(place, sum(self.counters.values())), refresh=False)
                bar.update()
                self._save_or_stop(phase, last)

    def log(self, metrics: Metrics, samples: int = 0) -> None:
        """Numbers of this step; a line of metrics.jsonl holds their mean since the line before it.

        samples: rows worked on, for samples per second. Names with the prefix eval/ are written at once.
        """
        self._log.add(metrics, samples)

    def save_text(self, name: str, lines: list[str]) -> None:
        """Writes samples/<name>.txt, one sample a line."""
        if self.is_main:
            folder = self.folder / "samples"
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.txt").write_text("".join(line.replace("\n", " ") + "\n" for line in lines), "utf-8")

    def say(self, message: str) -> None:
        """A line for the user, from the main process, that does not break the progress bar."""
        if self.is_main:
            tqdm.write(message, file=sys.stderr)

    @contextlib.contextmanager
    def fixed_random(self, seed: int) -> Iterator[None]:
        """Random numbers from `seed` inside, so that evaluation neither varies nor disturbs training."""
        before = checkpoints.random_state()
        set_seed(seed)
        try:
            yield
        finally:
            checkpoints.set_random_state(before)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Loads the newest good checkpoint of a resumed run. Call when all parts are registered."""
        found = self.on_main(lambda: checkpoints.newest_good(self.folder / "checkpoints", self.say))
        if found is None:
            self._metrics = self._open_log(0)
            self._write_record()
            if self.rank:  # all built their parts from one seed; from here on each draws samples of its own
                set_seed(self.config.seed + 7919 * self.rank)
            return
        shared = checkpoints.read(found, "shared")
        own = checkpoints.read(found, f"process-{self.rank}")
        if shared["processes"] != self.processes:
            raise UserError(
                f"{found} was saved by {shared['processes']} processes, {self.processes} run: start as many as before"
            )
        registered: list[tuple[str, Mapping[str, Any], dict[str, Any]]] = [
            ("networks", {name: pair[0] for name, pair in self._modules.items()}, shared["networks"]),
            ("optimizers", {name: item.optimizer for name, item in self._learners.items()}, shared["optimizers"]),
            ("other parts", self._kept, own["kept"]),
        ]
        for kind, parts, states in registered:
            if set(parts) != set(states):
                raise UserError(f"{found} holds the {kind} {sorted(states)}, but this run has {sorted(parts)}")
            for name, part in parts.items():
                try:
                    part.load_state_dict(states[name])
                except (RuntimeError, ValueError, KeyError) as error:
                    raise UserError(
                        f"{name} in {found} does not fit this run ({' '.join(str(error).split())[:200]}): "
                        f"resume with the options that it was trained with, as {self.folder / 'config.yaml'} has "
                        "them, and with the same data"
                    ) from error
        for learner in self._learners.values():
            lay_out_as_weights(learner.optimizer)
        self.counters, self.seconds = shared["counters"], shared["seconds"]
        self._metrics = self._open_log(shared["metrics_bytes"])
        self._log.pending = own["pending"]
        checkpoints.set_random_state(own["random"])
        self._saved_at = sum(self.counters.values())
        if self.is_main and self._config_text:
            write_whole(self.folder / "config.yaml", self._config_text)
        if self.is_main:  # a killed process could not write how long it ran
            self._record["seconds"] = max(self._record["seconds"], sum(self.seconds.values()))
        self._write_record()
        done = ", ".join(f"{phase} {count}" for phase, count in self.counters.items())
        self.say(f"resumed from {found} ({done} steps done)")

    @property
    def _log(self) -> MetricsLog:
        if self._metrics is None:
            raise RuntimeError("call engine.restore() after all parts are registered and before the first phase")
        return self._metrics

    def _open_log(self, size: int) -> MetricsLog:
        return MetricsLog(self.accelerator, self.folder / "metrics.jsonl", size, bool(self.config.trackers))

    def save_soon(self) -> None:
        """Has a checkpoint written after this step: something went wrong that may come again, and worse."""
        self._save_soon = True

    def save(self) -> None:
        """Writes a checkpoint, whole or not at all. Raises UserError where the disk refuses."""
        step = sum(self.counters.values())
        if step == self._saved_at:
            return
        root = self.folder / "checkpoints"
        unfinished = root / f".unfinished-{step:08d}"
        error = None
        try:
            own = {
                "kept": {name: part.state_dict() for name, part in self._kept.items()},
                "pending": self._log.pending,
                "random": checkpoints.random_state(),
            }
            checkpoints.write_part(unfinished, f"process-{self.rank}", own)
            if self.is_main:
                checkpoints.write_part(unfinished, "shared", self._shared_state())
        except OSError as failure:
            error = f"{failure.strerror or failure}"
        failed = self._any(error is not None)
        if self.is_main and not failed:
            try:
                checkpoints.seal(unfinished, root / f"{step:08d}")
                checkpoints.keep_newest(root, self.config.keep_checkpoints)
            except OSError as failure:
                error = f"{failure.strerror or failure}"
        if self._any(error is not None):
            shutil.rmtree(unfinished, ignore_errors=True)
            raise self._refused(root, error or "another process failed")
        self._saved_at, self._saved_time = step, time.monotonic()

    def _shared_state(self) -> dict[str, Any]:
        return {
            "processes": self.processes,
            "counters": self.counters,
            "seconds": self.seconds,
            "networks": {name: pair[0].state_dict() for name, pair in self._modules.items()},
            "optimizers": {name: learner.optimizer.state_dict() for name, learner in self._learners.items()},
            "metrics_bytes": self._log.sync(),
        }

    def _save_or_stop(self, phase: str, phase_ends: bool) -> None:
        every = self.config.checkpoint_steps
        if every:
            due = sum(self.counters.values()) % every == 0
        else:
            due = self._any(time.monotonic() - self._saved_time > self.config.checkpoint_seconds)
        due = self._any(self._save_soon) or due
        self._save_soon = False
        stop = self._any(self._stop_signal != 0)
        if due or stop or phase_ends:
            self._check_weights()
        if phase_ends:  # before the save: killed in between, the step is made, and the models written, once more
            self._export("model", self.export)
            self._export(phase, self.exports.get(phase))
        if due or stop or phase_ends:
            self.save()
        if stop and not phase_ends:
            self._export("model", self.export)
        if stop:
            raise Stopped(f"stopped and saved. Resume with: seqgan-kit resume {self.folder}")

    def _check_weights(self) -> None:
        """A step of finite loss can leave weights that are not finite; they must not become the last good ones."""
        for name, (network, _) in self._modules.items():
            if not all(parameter.isfinite().all() for parameter in network.parameters()):
                raise UserError(
                    f"{name}: weights that are not finite after steps {self.counters}; not saved, {self._last_good()}. "
                    "Lower the learning rate."
                )

    def _export(self, name: str, export: Callable[[Path], None] | None) -> None:
        """RUN/name, whole or not at all."""
        if export is None or not self.is_main:
            return
        unfinished, final = self.folder / f".{name}", self.folder / name
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            export(unfinished)
        except Exception:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        shutil.rmtree(final, ignore_errors=True)
        os.replace(unfinished, final)

    # -- the run -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Engine:
        self._handlers = {}
        with contextlib.suppress(ValueError):  # not the main thread: signals belong to somebody else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        try:
            if self._metrics is not None:
                self._metrics.close()
                self.finish(finished=kind is None)
            if self.config.trackers:
                self.accelerator.end_training()
        except OSError as failure:
            error = error or failure
        if self.processes == 1:
            AcceleratorState._reset_state(reset_partial_state=True)  # or the next run could not differ in precision
        full = _full_disk(error)
        if full:
            raise self._refused(self.folder, full) from error
        if error is not None and kind is None:
            raise error

    def _on_signal(self, number: int, _: object) -> None:
        if self._stop_signal:
            raise KeyboardInterrupt
        self._stop_signal = number
        self.say("finishing this step, then saving (once more to stop at once; what was saved stays)")

    def _trackers(self) -> list[Any] | None:
        if not self.config.trackers:
            return None
        from accelerate.tracking import filter_trackers, get_available_trackers

        available = [str(tracker) for tracker in get_available_trackers()]
        for name in self.config.trackers:
            if name not in available:
                raise UserError(
                    f"--run.trackers {name}: not installed (here: {', '.join(sorted(available)) or 'none'}); "
                    f"try: pip install {name}"
                )
        return filter_trackers(self.config.trackers, "runs")

    def _open_folder(self, task: str, config_text: str, resume: bool, data: str | None) -> None:
        def open_folder() -> Path:
            self.folder = Path(self.config.folder or _free_folder(task))
            if ".." in self.folder.parts:  # of a folder that is not there yet, it would hide one that is
                self.folder = self.folder.resolve()
            if resume and not (self.folder / "run.json").is_file():
                raise UserError(f"{self.folder} is no run folder (it has no run.json): give one that `train` made")
            if not resume and self.folder.exists():
                raise UserError(
                    f"{self.folder} exists: choose another --run.folder, or continue it with "
                    f"`seqgan-kit resume {self.folder}`"
                )
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                if resume:
                    check_data(self.folder, data)
                elif config_text:
                    write_whole(self.folder / "config.yaml", config_text)
                self._record = provenance(self.folder, task, self.config, self.device, self.processes, resume, data)
                if not resume:  # a resumed run keeps its own, as config.yaml, until `restore` finds that all fits
                    self._write_record()
            except OSError as failure:
                raise UserError(f"can't write to {self.folder}: {failure.strerror or failure}") from failure
            return self.folder

        self.folder = self.on_main(open_folder)
        if self.config.trackers:
            self.accelerator.project_configuration.logging_dir = str(self.folder)
            self.accelerator.init_trackers("tracker", config={"task": task, "seed": self.config.seed})

    def _write_record(self) -> None:
        if self.is_main:
            write_json(self.folder / "run.json", self._record)

    def finish(self, finished: bool = True) -> None:
        """Writes into run.json how long the run took, and whether it came to its end."""
        if self.is_main:
            seconds = self._record["seconds"] + time.monotonic() - self._started
            write_json(self.folder / "run.json", {**self._record, "seconds": seconds, "finished": finished})

    def on_main(self, function: Callable[[], Any]) -> Any:
        """The function's result, computed by the main process, or its UserError, on every process."""
        answer: list[Any] = [None, None]
        if self.is_main:
            try:
                answer[0] = function()
            except UserError as error:
                answer[1] = str(error)
        if self.processes > 1:
            broadcast_object_list(answer)
        if answer[1] is not None:
            raise UserError(answer[1])
        return answer[0]

    def _any(self, flag: bool) -> bool:
        """Whether the flag is up on any process: all then do the same."""
        if self.processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device)).item())

    def _refused(self, where: Path, reason: str) -> UserError:
        return UserError(
            f"could not save to {where}: {reason}; {self._last_good()}. "
            f"Make room, then: seqgan-kit resume {self.folder}"
        )

    def _last_good(self) -> str:
        kept = checkpoints.all_in(self.folder / "checkpoints")
        return f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"


def _leave_group() -> None:
    """At the end of the process: gloo's threads, if they outlive Python, may abort a run that has come to its end.

    The group ends with its last reference, and the wrapped networks, which hold it, lie in cycles.
    """
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()


def _free_folder(task: str) -> Path:
    return next(path for i in itertools.count(1) if not (path := Path(f"runs/{task}-{i}")).exists())


def _full_disk(error: BaseException | None) -> str | None:
    """The system's words where it refused to write: to Python, or to the libraries in Rust that write models."""
    if isinstance(error, UserError):
        return None
    words = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
    return next((word for word in words if word in str(error)), None)
