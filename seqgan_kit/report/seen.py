"""What an alarm is shown of a run, and how it asks for what happened lately."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from seqgan_kit.report.metrics import PREFIX, Phases, Row

LINES, STEPS = 3, 20  # that a number must be beyond its bound, at least
SHARE = 0.1  # of the phase, likewise, and at its begin that is not looked at


class Seen(NamedTuple):
    """phases: the rows of metrics.jsonl. phase: the one at work. baselines: the content of baselines.json."""

    phases: Phases
    phase: str
    baselines: Mapping[str, Any]

    @property
    def rows(self) -> Sequence[Row]:
        return self.phases[self.phase]

    @property
    def done(self) -> float:
        """The share of the phase that is done."""
        return self.rows[-1].step / max(1.0, self.rows[-1].total)

    def lately(self, name: str, share: float = SHARE, after: float = SHARE) -> list[float]:
        """A metric over the last steps, the given share of the phase; empty where these are too few to judge by.

        after: share of the phase at its begin that is not looked at until the phase is over.
        """
        last = self.rows[-1]
        begin = last.step - max(share * last.total, STEPS)
        known = [row for row in self.rows if math.isfinite(row.values.get(name, math.nan))]
        found = known[-max(LINES, sum(row.step > begin for row in known)) :]
        if len(found) < LINES or (found[0].step <= after * last.total and self.done < 1):
            return []
        return [row.values[name] for row in found]

    def evaluated(self, name: str, phase: str | None = None) -> list[float]:
        """An evaluated metric in a phase, this one if none is given."""
        name = PREFIX + name
        found = [row.values[name] for row in self.phases.get(phase or self.phase, ()) if name in row.values]
        return [value for value in found if math.isfinite(value)]

    def confirmed(self, name: str) -> list[float]:
        """Its last two evaluations in this phase, or the only one, if the phase is over; else empty."""
        found = self.evaluated(name)[-2:]
        return found if len(found) == 2 or self.done >= 1 else []

    def before(self, name: str) -> float | None:
        """What the newest evaluation before this phase found."""
        earlier = list(self.phases)[: list(self.phases).index(self.phase)]
        found = [value for phase in earlier for value in self.evaluated(name, phase)]
        return found[-1] if found else None

    def of_data(self, name: str) -> float | None:
        """What real data score."""
        for known in self.baselines.values():
            metrics = known.get("metrics") if isinstance(known, Mapping) else None
            value = metrics.get(name) if isinstance(metrics, Mapping) else None
            if isinstance(value, (int, float)) and math.isfinite(value):
                return float(value)
        return None

    def baseline(self, name: str, what: str) -> float | None:
        """`what` (mean, length) of random actions or of the expert."""
        known = self.baselines.get(name)
        value = known.get(what) if isinstance(known, Mapping) else None
        return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
