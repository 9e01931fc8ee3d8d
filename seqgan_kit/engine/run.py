"""A run from its first line to its report: the skeleton that every use fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from seqgan_kit.engine.budget import Part
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.memory import within_memory
from seqgan_kit.engine.provenance import config_yaml
from seqgan_kit.engine.watch import Watch
from seqgan_kit.errors import UserError
from seqgan_kit.report import write_report
from seqgan_kit.report.alarms import Alarms


class Task(Protocol):
    """What a use trains. Made before there is a run folder: it has read its data, and refused what is wrong.

    name: of the use. config: with nothing left open. data: fingerprint of what it learns from, if it has one. shorter:
    the options that make a phase shorter, by phase. alarms: what is watched for, by phase.
    """

    name: str
    config: Any

    @property
    def data(self) -> str | None: ...

    @property
    def shorter(self) -> Mapping[str, str]: ...

    @property
    def alarms(self) -> Alarms: ...

    def parts(self) -> Sequence[Part]:
        """Its phases, in order, and how long they are to be."""

    def first_lines(self) -> list[str]:
        """What the user is told first: what was read, and what was chosen for them."""

    def build(self, engine: Engine) -> None:
        """Registers every learner, stream and other part that a checkpoint holds."""

    def play(self) -> None:
        """All phases, one after another."""


def run(task: Task, config_text: str = "", resume: bool = False, record: Mapping[str, Any] = {}) -> Path:
    """Runs all phases of a task in the run folder, and returns that.

    config_text: the YAML that its configuration was read from, if it was; it is kept in the folder, for `resume`.
    record: what else run.json shall say.
    Raises UserError for a user's mistake, Stopped after Ctrl-C or SIGTERM.
    """
    config = task.config
    with Engine(config.run, task.name, config_text or config_yaml(config), resume, task.data) as engine:
        if engine.is_main and (lines := task.first_lines()):
            print("\n".join(lines), flush=True)
        engine.phases.shorter, engine.phases.plan = task.shorter, task.parts()
        engine.run_folder.record.update(record)
        engine.metrics.watch = Watch(engine.run_folder, task.alarms, engine.say)
        torch.manual_seed(config.run.seed)  # the same initial weights on every process
        try:
            with within_memory():
                task.build(engine)
                engine.shard()
        except UserError:
            if not resume:
                engine.run_folder.discard()
            raise
        engine.restore()
        task.play()
        verdict = None
        if engine.choice is not None:
            engine.choice.refresh()
            verdict = engine.choice.conclude()
        engine.finish()
        if engine.is_main:
            write_report(engine.folder)
        if verdict:
            engine.say(verdict)
    return engine.folder
