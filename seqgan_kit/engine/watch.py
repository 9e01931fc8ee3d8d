"""Rings alarms while a run goes on: once on the screen, and in run.json for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seqgan_kit.engine.run_folder import RunFolder
from seqgan_kit.errors import UserError
from seqgan_kit.files import read_json
from seqgan_kit.report.alarms import ALARM, ALARMS, Alarms, ringing
from seqgan_kit.report.metrics import NOT_METRICS, PREFIX, Row, read_metrics
from seqgan_kit.report.seen import Seen

KEPT = 200  # lines of a phase beside its evaluations: as many are enough to judge by


class Watch:
    """Is called with each line of metrics.jsonl after that is written, by the main process.

    An alarm is told once in each phase, and not again when the run is resumed.
    """

    def __init__(self, folder: RunFolder, alarms: Alarms, say: Callable[[str], None]) -> None:
        self.folder, self.alarms, self.say = folder, alarms, say
        self._seen: Seen | None = None

    def __call__(self, line: Mapping[str, Any]) -> None:
        phase = line["phase"]
        if phase not in self.alarms:
            self._seen = None
            return
        if self._seen is None or self._seen.phase != phase:
            self._seen = self._read(phase)  # this line among them
        else:
            values = {name: value for name, value in line.items() if name not in ("phase", *NOT_METRICS)}
            self._seen.phases[phase].append(Row(line["step"], line["total"], values))
            self._forget(phase)
        if not self._seen.rows:
            return
        kept = self.folder.record.get(ALARMS)
        rung = [one for one in kept if isinstance(one, dict)] if isinstance(kept, list) else []
        known = {(one.get("phase"), one.get("name")) for one in rung}
        for name, sentence in ringing(self.alarms, self._seen).items():
            if (phase, name) not in known:
                rung.append(dict(zip(ALARM, (name, phase, line["step"], sentence), strict=True)))
                self.folder.record[ALARMS] = rung
                self.folder.write_record()
                self.say(f"alarm ({phase}, step {line['step']}): {sentence}")

    def _read(self, phase: str) -> Seen:
        path = self.folder.path
        try:
            phases = read_metrics(path / "metrics.jsonl")
            known = read_json(path / "baselines.json") if (path / "baselines.json").is_file() else {}
        except UserError:  # the report says what is wrong with them
            phases, known = {}, {}
        before = {name: _evaluated(rows) for name, rows in phases.items()}
        return Seen(before | {phase: phases.get(phase, [])}, phase, known)

    def _forget(self, phase: str) -> None:
        assert self._seen is not None
        rows = self._seen.phases[phase]
        if len(rows) > 2 * KEPT:
            self._seen.phases[phase] = [rows[0], *_evaluated(rows[1:-KEPT]), *rows[-KEPT:]]


def _evaluated(rows: list[Row]) -> list[Row]:
    return [row for row in rows if any(name.startswith(PREFIX) for name in row.values)]
