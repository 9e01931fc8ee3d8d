"""The phases of a run: the steps that are left to do, and after each one metrics, checkpoints and signals."""

from __future__ import annotations

import contextlib
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from seqgan_kit.engine.budget import Part, afterwards
from seqgan_kit.engine.metrics_log import MetricsLog
from seqgan_kit.engine.processes import Processes
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.engine.run_folder import GAME, MODEL, Exports, RunFolder
from seqgan_kit.errors import Interrupted, Stopped
from seqgan_kit.progress import as_fits
from seqgan_kit.report.page import duration

END = "end-phase"  # the file in the run folder that ends the phase at work
WATCHED, LONG = 10.0, 300.0
"""Seconds of a phase after which its rest is estimated, and of a rest that the user is told of."""


class Phases:
    """Counts the steps of named phases, so that a task is a straight list of them and the same script resumes anywhere.

    counters: steps done, by phase. seconds: the time they took, with evaluations and checkpoints. updating: the time of
    their updates alone. progress: of the phase at work, 0 to 1.
    ended: the length of phases that were ended early.
    save: writes a checkpoint where there is something new. check: raises UserError where nothing must be saved.
    refresh: called before a phase makes its first step in this process.
    shorter: the options that make a phase shorter, by phase, for whoever finds it too long. plan: all phases, in order.
    """

    def __init__(
        self,
        config: RunConfig,
        processes: Processes,
        folder: RunFolder,
        log: MetricsLog,
        save: Callable[[], None],
        check: Callable[[], None],
        refresh: Callable[[], None],
    ) -> None:
        self.config, self.processes, self.folder, self.log = config, processes, folder, log
        self.counters: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.updating: dict[str, float] = {}
        self.first: dict[str, float] = {}
        self.ended: dict[str, int] = {}
        self.owed = ""  # the phase whose last step was made, but not evaluated
        self.progress = 0.0
        self.shorter: Mapping[str, str] = {}
        self.plan: Sequence[Part] = []
        self._save, self._check, self._refresh = save, check, refresh
        self._total = 0
        self._met: list[str] = []  # the phases that this process has come to
        self._stop_signal = 0
        self._save_soon = False
        self._handlers: dict[int, Any] = {}
        self._step_time = self.saved_time = time.monotonic()

    @property
    def made(self) -> int:
        """Steps of all phases."""
        return sum(self.counters.values())

    def taken(self) -> dict[str, dict[str, float]]:
        """Of each phase: its steps, its seconds, those of its updates alone, and of the first one in this process."""
        clocks = {"seconds": self.seconds, "updating": self.updating, "first": self.first}
        return {
            phase: {"steps": count, **{name: round(clock.get(phase, 0.0), 3) for name, clock in clocks.items()}}
            for phase, count in self.counters.items()
        }

    def save_soon(self) -> None:
        """Has a checkpoint written after this step: something went wrong that may come again, and worse."""
        self._save_soon = True

    def stopping(self) -> bool:
        """Whether what takes long shall raise Interrupted; never where other processes would wait for this one."""
        return self._stop_signal != 0 and self.processes.count == 1

    def end(self, phase: str, step: int, why: str) -> None:
        """Ends a phase after so many steps of it, which is its whole length from now on."""
        self.ended[phase] = step
        self.processes.say(f"{phase}: ends after step {step:,}: {why}")

    def ends_at(self, phase: str, done: int) -> bool:
        """Whether this step of the phase at work is its last."""
        return done >= self.ended.get(phase, self._total)

    def _asked_to_end(self, phase: str, done: int) -> None:
        """Ends the phase where the user put a file into the run folder that says so."""
        file = self.folder.path / END
        if self.processes.any(self.folder.is_main and file.exists()):
            if self.folder.is_main:
                file.unlink(missing_ok=True)
            self.end(phase, done, f"{file} was there, and is removed")

    def steps(self, phase: str, total: int, exports: Exports, evaluate: Callable[[int], None]) -> Iterator[int]:
        """The steps of a phase that are left to do. After each: its evaluation, metrics, checkpoints, signals.

        evaluate: is given the number of steps done. Where it raises Interrupted, a resumed run calls it first.
        """
        owed = self.owed == phase
        done = self.counters.get(phase, 0) - owed
        total = self._total = min(total, self.ended.get(phase, total))
        self._check_length(phase, total)
        if done >= total:
            self.folder.left = {**self.folder.left, **exports}
            return
        self.folder.left = {}
        self.folder.settle()
        self._refresh()
        log = self.log
        if not log.is_open:
            raise RuntimeError("call engine.restore() after all parts are registered and before the first phase")
        self._step_time = time.monotonic()
        log.restart_clock()
        quiet = not self.processes.is_main
        times: list[float] | None = []  # of the steps so far, until the rest is estimated
        pause = 0.1 if sys.stderr.isatty() else 10.0
        with tqdm(total=total, initial=done, desc=phase, disable=quiet, mininterval=pause, dynamic_ncols=True) as bar:
            for step in range(done, total):
                self.progress = step / total
                if not owed:
                    began = time.monotonic()
                    yield step
                    took = time.monotonic() - began
                    self.first |= {} if self.counters.get(phase) else {phase: took}
                    self.updating[phase] = self.updating.get(phase, 0.0) + took
                self.counters[phase] = step + 1
                owed = False
                self._asked_to_end(phase, step + 1)
                self._evaluate(phase, step + 1, evaluate, exports)
                now = time.monotonic()
                self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._step_time
                if times is not None:
                    times.append(now - self._step_time)
                    times = self._estimated(phase, times, total - step - 1, total)
                self._step_time = now
                last = self.ends_at(phase, step + 1)
                total = step + 1 if last else total
                if log.pending and (last or (step + 1) % self.config.log_every == 0 or log.evaluated()):
                    seconds = round(sum(self.seconds.values()), 3)
                    place = {"phase": phase, "step": step + 1, "total": total, "seconds": seconds}
                    bar.set_postfix_str(as_fits(bar, log.write(place, self.made)), refresh=False)
                bar.update()
                self._save_or_stop(last, exports)
                if last:
                    return

    def _check_length(self, phase: str, total: int) -> None:
        """Raises UserError where a resumed run's phase is to be shorter than it is, or longer though a later one began:
        what came after it came from other models."""
        made, total = self.counters.get(phase, 0), max(0, total)
        begun = list(self.counters)  # in this order
        later = begun[begun.index(phase) + 1 :] if phase in begun else [name for name in begun if name not in self._met]
        self._met.append(phase)
        option = f" ({self.shorter[phase].partition(',')[0]})" if phase in self.shorter else ""
        if made > total:
            raise self.folder.refuse(f"{self.folder.path} has made {made} steps of {phase}, more than {total}{option}")
        if made < total and later:
            raise self.folder.refuse(
                f"{self.folder.path} has ended {phase} after {made} steps and begun {later[0]}, so that {phase} can't "
                f"become {total} steps long{option}"
            )

    def _estimated(self, phase: str, times: list[float], left: int, total: int) -> list[float] | None:
        """Tells how long the rest of a phase takes, and what comes after it, where that is long, before it is spent;
        None when that is done."""
        if sum(times) < WATCHED or len(times) < 3:
            return times
        each = statistics.median(times)  # evaluations, and the first step, are no measure
        if left * each > LONG:
            options = self.shorter.get(phase)
            shorter = f"; shorter: {options}" if options else ""
            after = afterwards(self.plan, phase, each, total, self.updating)
            this = f"{phase}: about {duration(left * each)} for {left:,} steps of {each:.2g} s"
            enough = f"; to end it early: touch {self.folder.path / END}"
            self.processes.say(f"{this}{shorter}{enough}{after}")
        return None

    def _evaluate(self, phase: str, done: int, evaluate: Callable[[int], None], exports: Exports) -> None:
        self.owed = phase
        try:
            evaluate(done)
        except Interrupted:
            self._check()
            self._save()
            self._stop(exports)
        self.owed = ""

    def _stop(self, exports: Exports) -> None:
        self.folder.export({name: write for name, write in exports.items() if name in (MODEL, GAME)})
        raise Stopped(f"stopped and saved. Resume with: seqgan-kit resume {self.folder.path}")

    def _save_or_stop(self, phase_ends: bool, exports: Exports) -> None:
        every = self.config.checkpoint_steps
        late = time.monotonic() - self.saved_time > self.config.checkpoint_seconds
        due = self.made % every == 0 if every else late
        due, stop = self.processes.any_of(due or self._save_soon, self._stop_signal != 0)
        self._save_soon = False
        if due or stop or phase_ends:
            self._check()
        if phase_ends:  # before the save: killed in between, the step is made, and the models written, once more
            self.folder.export(exports)
        if due or stop or phase_ends:
            self._save()
        if stop:
            self._stop({} if phase_ends else exports)

    def catch_signals(self) -> None:
        """Ctrl-C and SIGTERM end the run after the step at work, saved; a second one at once."""
        with contextlib.suppress(ValueError):  # not the main thread: signals belong to somebody else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)

    def release_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _on_signal(self, number: int, _: object) -> None:
        if self._stop_signal:
            raise KeyboardInterrupt
        self._stop_signal = number
        self.processes.say("finishing this step, then saving (once more to stop at once; what was saved stays)")
