"""Which of a run's models is the best by a held-out score, whether that is told apart from noise, and the sentence
that says so. Pure functions; `choice` is what a run does with them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from seqgan_kit.report.metrics import INTERVAL, phase_title

SURE = 1.96  # standard errors: what is farther apart is told apart, at 95 %
NAMED = {
    "adversarial": "the game",
    "frozen_control": "the control, whose discriminator never learns,",
    "second_stage": "the second stage",
}
BETTER, WORSE, EQUAL = "better", "worse", "not told apart"


class Score(NamedTuple):
    """A held-out score. error: the standard error that is its own, as of its samples; NaN where none is known.
    rows: (rows,), where each model is scored on the same rows (held-out texts, episodes by their seeds): what each of
    them adds to the error. Where there is no other error, differences are by pairs; where there is, it alone counts, as
    the rows are the same for all models."""

    value: float
    error: float = math.nan
    rows: Tensor | None = None

    @property
    def whole_error(self) -> float:
        """That of its samples and of the rows; NaN where neither is known."""
        return self.error if self.rows is None else math.hypot(_known(self.error), _of_rows(self.rows))

    @property
    def interval(self) -> float:
        """Half the width of its 95 % interval: of its samples, where it is drawn, as the held-out rows are the same
        for all models; else of the rows."""
        return SURE * (self.error if self.error else self.whole_error)

    @property
    def shown(self) -> str:
        """With its interval, and no more digits than that has."""
        if not (math.isfinite(self.interval) and self.interval > 0):
            return f"{self.value:.4g}"
        digits = max(0, 1 - math.floor(math.log10(self.interval)))
        return f"{self.value:.{digits}f} ± {self.interval:.{digits}f}"


class Ended(NamedTuple):
    """A model of a phase: after which step, and its score."""

    phase: str
    step: int
    score: Score


def score_of(found: Mapping[str, float], name: str) -> Score:
    """That of an evaluation's metrics, which give the 95 % interval of some beside them."""
    return Score(found[name], found.get(name + INTERVAL, math.nan) / SURE)


def compared(new: Score, old: Score, direction: int) -> str:
    """Whether the new one is better, worse or not told apart. direction: +1 where a high score is good, -1 where a low
    one is. Scores whose error is not known are taken as exact; NaN is worse than any number."""
    if math.isnan(new.value) or math.isnan(old.value):
        return EQUAL if math.isnan(new.value) and math.isnan(old.value) else WORSE if math.isnan(new.value) else BETTER
    gain, error = direction * (new.value - old.value), _error(new, old)
    if gain == 0 or abs(gain) <= SURE * error:
        return EQUAL
    return BETTER if gain > 0 else WORSE


def _error(a: Score, b: Score) -> float:
    """The standard error of their difference."""
    if a.rows is not None and b.rows is not None and len(a.rows) == len(b.rows) and not a.error and not b.error:
        return _of_rows(a.rows - b.rows)
    return math.hypot(_known(a.interval), _known(b.interval)) / SURE


def _known(error: float) -> float:
    return 0.0 if math.isnan(error) else error


def _of_rows(rows: Tensor) -> float:
    return float(rows.double().std() / len(rows) ** 0.5) if len(rows) > 1 else 0.0


def sentence(
    name: str,
    direction: int,
    best: Ended,
    count: int,
    warm_up: Ended | None,
    game: Ended | None,
    control: Ended | None,
) -> str:
    """What the run found out, in plain words.

    name: of the score. best: the model that is handed over, of `count` evaluations. warm_up, game, control: the last
    models of these phases, where there were such. Scores are of fresh samples, which nothing was chosen by.
    """
    evaluations = "evaluation" if count == 1 else "evaluations"
    told = [
        f"RUN/model is from {_phase(best.phase)}, step {best.step:,}, the best of {count} {evaluations}: {name} "
        f"{best.score.shown}."
    ]
    if warm_up is not None and (warm_up.phase, warm_up.step) != (best.phase, best.step):
        told.append(f"{_started(warm_up.phase)} ended at {warm_up.score.shown}.")
    if game is not None:
        helped = _helped(direction, best, warm_up, game)
        longer = control is not None and control.phase == best.phase
        if longer and compared(best.score, game.score, direction) == BETTER:
            helped += f", and {_phase(best.phase)} is better than the game's"
        told.append(f"{_of_game(game, best)}{helped}.")
    if control is not None and (control.phase, control.step) != (best.phase, best.step):
        beside = best if game is None else game
        against = "" if game is None else " than the game's" if beside is game else ""
        how = compared(control.score, beside.score, direction)
        told.append(
            f"{_started(control.phase)} ended at {control.score.shown}: "
            + (f"{how} from the game's" if how == EQUAL else f"{how}{against}")
            + "."
        )
    return " ".join(told)


def _of_game(game: Ended, best: Ended) -> str:
    if (game.phase, game.step) == (best.phase, best.step):
        return f"That is where {_phase(game.phase)} ended"
    return f"{_started(game.phase)} ended at {game.score.shown}"


def _helped(direction: int, best: Ended, warm_up: Ended | None, game: Ended) -> str:
    """Whether the game made a better model than what was there before it, told apart from noise."""
    if warm_up is None:
        return ""
    own = best if best.phase == game.phase else game
    how = compared(own.score, warm_up.score, direction)
    if how == BETTER:
        return ": it helped"
    return ": it did not help" + (" (not told apart from where it began)" if how == EQUAL else "")


def _phase(phase: str) -> str:
    """As within a sentence."""
    return NAMED.get(phase) or phase_title(phase)


def _started(phase: str) -> str:
    """At the beginning of a sentence."""
    return _phase(phase)[:1].upper() + _phase(phase)[1:]
