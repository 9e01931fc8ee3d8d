"""A run at work: its processes, its folder, its learners, its phases and what a checkpoint keeps of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from torch import Tensor, nn

from seqgan_kit.engine import checkpoints, run_folder, sharding
from seqgan_kit.engine.checkpoints import Checkpointer, NotSaved, Stateful
from seqgan_kit.engine.choice import Choice, with_weights
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
from seqgan_kit.engine.lock import Lock
from seqgan_kit.engine.metrics_log import MetricsLog
from seqgan_kit.engine.phases import Phases
from seqgan_kit.engine.processes import Processes
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.engine.run_folder import Exports, RunFolder
from seqgan_kit.engine.set_aside import SetAside
from seqgan_kit.engine.stream import Stream
from seqgan_kit.errors import UserError
from seqgan_kit.files import record_line
from seqgan_kit.samples import S


class Engine:
    """One run in one folder. Use as a context manager; register all parts, then `restore`, then run the phases."""

    def __init__(
        self, config: RunConfig, task: str, config_text: str = "", resume: bool = False, data: str | None = None
    ) -> None:
        """config_text: kept as config.yaml. data: fingerprint of what the run learns from, which must be the same when
        it is resumed."""
        self.config, self._config_text = config, config_text
        group = self.group = Processes(config)
        self.accelerator, self.device = group.accelerator, group.device
        self.rank, self.processes, self.is_main = group.rank, group.count, group.is_main
        self.gather, self.sum, self.mean = group.gather, group.sum, group.mean
        self.on_main, self.say = group.on_main, group.say
        lock = Lock()
        self.folder, record = group.on_main(
            lambda: run_folder.opened(config, task, config_text, resume, data, group.device, group.count, lock)
        )
        self.run_folder = RunFolder(self.folder, record, group.is_main, lock)
        if told := lock.told():
            group.say(told)
        if config.trackers:
            self.accelerator.project_configuration.logging_dir = str(self.folder)
            self.accelerator.init_trackers("tracker", config={"task": task, "seed": config.seed})
        set_seed(config.seed + 7919 * self.rank)
        self.learners: dict[str, Learner] = {}
        self.parts = Checkpointer(self.folder / "checkpoints", group, config.keep_checkpoints)
        self.metrics = MetricsLog(self.accelerator, self.folder / "metrics.jsonl", bool(config.trackers))
        calls = self.save, self._check_weights, self._refresh
        self.phases = Phases(config, group, self.run_folder, self.metrics, *calls)
        self.counters, self.seconds, self.stopping = self.phases.counters, self.phases.seconds, self.phases.stopping
        self.updating = self.phases.updating
        self.save_soon, self.log, self.finish = self.phases.save_soon, self.metrics.add, self.run_folder.finish
        self.choice: Choice | None = None
        self._saved_at = -1

    # -- parts ---------------------------------------------------------------------------------------------------

    def learner(self, name: str, network: nn.Module, config: OptimizerConfig, dropout: bool = True) -> Learner:
        """Prepares a network and an optimiser of its own. The same network may serve several learners."""
        if name in self.learners:
            raise ValueError(f"a learner named {name!r} is there already")
        known = next((learner for learner in self.learners.values() if learner.network is network), None)
        if known is None:
            self.parts.networks[name] = network
        module = known.module if known is not None else self.group.prepared(network)
        optimizer = build_optimizer(network, config)
        self.parts.optimizers[name] = optimizer
        parameters = [p for p in network.parameters() if p.requires_grad]
        self.learners[name] = Learner(name, network, module, optimizer, config, parameters, dropout)
        return self.learners[name]

    def shard(self) -> None:
        """With --run.shard, shares out the networks of all parts among the processes. Call when they are registered:
        what is a copy of one has been copied."""
        shares = self.group.sharding
        if shares is None:
            return
        copies = [network for part in self.parts.copies.values() for network in _networks(part)]
        for network in [*(learner.network for learner in self.learners.values()), *copies]:
            if network in shares:
                continue
            now = shares.shard(network)
            for learner in self.learners.values():
                if learner.network is network:
                    learner.parameters[:] = [now[parameter] for parameter in learner.parameters]
                    for group in learner.optimizer.param_groups:
                        group["params"] = [now[parameter] for parameter in group["params"]]

    def later(self, name: str) -> Later:
        """A learner that a later phase begins; until then its weights and moments lie on the disk."""
        return Later(self, name)

    def keep(self, name: str, part: Stateful) -> None:
        """Has the state of a part (data position, environments) saved and restored, per process."""
        self.parts.kept[name] = part

    def keep_copy(self, name: str, part: Stateful) -> None:
        """The same of a part that is equal on all processes (a lagging copy): the main one saves it."""
        self.parts.copies[name] = part

    def stream(self, name: str, data: S, seed: int, source: str, unit: str) -> Stream[S]:
        """Shuffled batches of `data` (`source` has so many `unit`, in error messages), whose position is kept."""
        stream = Stream(data, seed, self.rank, self.processes, self.device, name=source, unit=unit)
        self.keep(name, stream)
        return stream

    @contextlib.contextmanager
    def drawing(self, learner: Learner | nn.Module) -> Iterator[Any]:
        """The bare, whole network, without dropout, on the run's device and in the run's precision: in here is done all
        that is drawn or read and is no step: sampling, roll-outs, search, features, evaluation.

        What is drawn has then the log-probabilities that are differentiated. learner: or a network that none trains,
        such as a copy. No step is made inside: weights in the precision are kept until the end.
        """
        network = learner.network if isinstance(learner, Learner) else learner
        sharding.gather(network)  # until the next step, as there may be more to draw
        with self.accelerator.autocast():
            yield network.eval()

    # -- the gradient step ---------------------------------------------------------------------------------------

    def update(self, learner: Learner, loss: Loss, rows: int, twice: bool = False) -> Metrics:
        """One optimiser step on a batch of `rows`. Raises UserError, before the step, where the loss is not finite.

        twice: whether the loss has a gradient in it, which is differentiated again.
        """
        self.group.release()
        try:
            return step(self.accelerator, learner, loss, rows, self.phases.progress, twice)
        except NotFinite as error:
            raise UserError(
                f"{error} after steps {self.counters or 'none'}; stopped before the step, "
                f"{self.run_folder.last_good()}. Lower the learning rate ({learner.config.lr}) or clip "
                f"({learner.config.clip})."
            ) from error

    # -- phases --------------------------------------------------------------------------------------------------

    def started(self, phase: str) -> bool:
        """Whether the phase has made a step, in this process or before it was resumed."""
        return self.counters.get(phase, 0) > 0

    def steps(
        self,
        phase: str,
        total: int,
        exports: Exports | None = None,
        evaluate: Callable[[int], None] = lambda done: None,
    ) -> Iterator[int]:
        """The steps of a phase that are left to do. After each: its evaluation, metrics, checkpoints, signals.

        exports: the models that are written as the phase leaves them. evaluate: is given the steps done; it may raise
        Interrupted where `stopping()`. Raises Stopped after Ctrl-C, when all is saved.
        """
        return self.phases.steps(phase, total, exports or {}, evaluate)

    def _refresh(self) -> None:
        """Of a resumed run, which no phase has refused: RUN/model is the best one again."""
        if self.choice is not None:
            self.choice.refresh()

    def save_text(self, name: str, lines: list[str]) -> None:
        """Writes samples/<name>.txt, one sample a line."""
        if self.is_main:
            self.run_folder.check_there()
            folder = self.folder / "samples"
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.txt").write_text("".join(record_line(line) + "\n" for line in lines), "utf-8")

    # -- whole models ----------------------------------------------------------------------------------------------

    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        """A copy of the network's weights on the CPU; of a network in parts, the main process's alone."""
        if self.group.sharding is not None and network in self.group.sharding:
            return self.group.sharding.weights(network)
        return {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}

    def whole(self, state: Any) -> Any:
        """A state dict whose tensors are whole; with --run.shard in the main process alone. Every process calls it."""
        return state if self.group.sharding is None else self.group.sharding.whole(state)

    def with_weights(self, network: nn.Module, weights: Mapping[str, Tensor]) -> Any:
        """A copy of the network with these weights."""
        if self.group.sharding is not None and network in self.group.sharding:
            return self.group.sharding.filled(network, weights).to(self.device)
        return with_weights(network, weights)

    def export(self, network: nn.Module, write: Callable[[Any, Path], None]) -> Callable[[Path], None]:
        """What writes the network, as it then is, into an empty folder; `write` is given a whole one."""
        if self.group.sharding is None:
            return partial(write, network)
        return Collected(self, network, write)

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
        found = self.parts.restore()
        if found is None:
            self.on_main(self.run_folder.check_saved)
            self.on_main(lambda: self.run_folder.resumed(0.0, self._config_text))
            self.metrics.open()
            self.run_folder.write_record()
            if self.rank:  # all built their parts from one seed; from here on each draws samples of its own
                set_seed(self.config.seed + 7919 * self.rank)
            return
        folder, shared, own = found
        for learner in self.learners.values():
            lay_out_as_weights(learner.optimizer)
        self.counters.update(shared["counters"])
        self.seconds.update(shared["seconds"])
        self.updating.update(shared.get("updating", shared["seconds"]))  # earlier versions had one clock for both
        self.phases.owed = shared.get("owed", "")  # which earlier versions do not know
        self.phases.ended.update(shared.get("ended", {}))
        if self.choice is not None:
            self.choice.load_state_dict(shared.get("choice"))
        self.on_main(lambda: self.run_folder.resumed(sum(self.seconds.values()), self._config_text))
        self.metrics.open(shared["metrics_bytes"], own["pending"])
        checkpoints.set_random_state(own["random"])
        self._saved_at = self.phases.made
        done = ", ".join(f"{phase} {count}" for phase, count in self.counters.items())
        self.say(f"resumed from {folder} ({done} steps done)")

    def save(self) -> None:
        """Writes a checkpoint, whole or not at all. Raises UserError where the disk refuses."""
        made = self.phases.made
        if made == self._saved_at:
            return

        def shared() -> dict[str, Any]:
            times = {"seconds": self.seconds, "updating": self.updating}
            phases = {"counters": self.counters, "owed": self.phases.owed, "ended": self.phases.ended, **times}
            choice = None if self.choice is None else self.choice.state_dict()
            return {**phases, "choice": choice, "metrics_bytes": self.metrics.sync()}

        try:
            self.parts.save(made, shared, {"pending": self.metrics.pending, "random": checkpoints.random_state()})
        except NotSaved as error:
            raise self.run_folder.refused(self.parts.root, str(error)) from error
        self.run_folder.saved()
        self._saved_at, self.phases.saved_time = made, time.monotonic()
        self.run_folder.took(self.phases.taken())

    def _check_weights(self) -> None:
        """A step of finite loss can leave weights that are not finite; they must not become the last good ones. And
        the folder must be there."""
        self.on_main(self.run_folder.check_there)
        self.group.release()
        for name, learner in self.learners.items():
            finite = torch.stack(
                [sharding.local(parameter).isfinite().all() for parameter in learner.network.parameters()]
            )
            bad = not finite.all()  # a GPU is waited for once
            if self.group.any(bad) if self.group.sharding else bad:
                raise UserError(
                    f"{name}: weights that are not finite after steps {self.counters}; not saved, "
                    f"{self.run_folder.last_good()}. Lower the learning rate."
                )

    # -- the run -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Engine:
        self.phases.catch_signals()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _: object) -> None:
        self.phases.release_signals()
        try:
            self._close(kind, error)
        finally:
            self.run_folder.lock.release()

    def _close(self, kind: Any, error: BaseException | None) -> None:
        folder = self.run_folder
        try:
            if self.metrics.is_open:
                self.metrics.close()
                if not folder.lost:
                    self.finish(finished=kind is None)
            if self.config.trackers:
                self.accelerator.end_training()
        except OSError as failure:
            error = error or failure
        if self.processes == 1:
            AcceleratorState._reset_state(reset_partial_state=True)  # or the next run could not differ in precision
        full = run_folder.full_disk(error)
        if full or (folder.lost and isinstance(error, OSError)):
            raise folder.refused(self.folder, full or str(error)) from error
        if error is not None and kind is None:
            raise error


class Collected:
    """Writes a network in parts, which all processes have collected before the main one writes it."""

    def __init__(self, engine: Engine, network: nn.Module, write: Callable[[Any, Path], None]) -> None:
        self.engine, self.network, self.write = engine, network, write
        self._weights: dict[str, Tensor] = {}

    def collect(self) -> None:
        self._weights = self.engine.weights(self.network)

    def __call__(self, folder: Path) -> None:
        sharding = self.engine.group.sharding
        assert sharding is not None
        self.write(sharding.filled(self.network, self._weights), folder)
        self._weights = {}


def _networks(part: Any) -> list[nn.Module]:
    """Those that a part is, or holds."""
    return [each for each in (part, *vars(part).values()) if isinstance(each, nn.Module)]


class Later:
    """A learner that is not there until its phase.

    network, optimizer: its states, which are set aside.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine, self.name = engine, name
        parts, group = engine.parts, engine.group
        self.network, self.optimizer = (SetAside(parts.root, f"{name}-{part}", group) for part in ("weights", "adam"))
        parts.networks[name], parts.optimizers[name] = self.network, self.optimizer

    @property
    def known(self) -> bool:
        """Whether there is something to begin with."""
        return self.network.file is not None

    def put(self, learner: Learner) -> None:
        """Has it begin as this one is now. Raises UserError where the disk refuses."""
        self.network.put(self.engine.weights(learner.network))
        self.optimizer.put(self.engine.whole(learner.optimizer.state_dict()))

    def begin(self, network: nn.Module, config: OptimizerConfig) -> Learner:
        """The learner, in a copy of the network. Raises UserError where what was set aside is damaged."""
        learner = self.engine.learner(self.name, self.engine.with_weights(network, self.network.get()), config)
        self.engine.shard()
        learner.optimizer.load_state_dict(self.optimizer.get())
        lay_out_as_weights(learner.optimizer)
        return learner
