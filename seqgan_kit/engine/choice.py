"""The best model of a run so far, by a held-out score: it is RUN/model at any time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from seqgan_kit.engine import sharding
from seqgan_kit.engine.run_folder import MODEL
from seqgan_kit.engine.verdict import BETTER, Ended, Score, compared, sentence
from seqgan_kit.errors import Interrupted, Stopped, UserError
from seqgan_kit.report.metrics import PREFIX, about
from seqgan_kit.report.models import STEPS

Weights = Mapping[str, Tensor]
AGAIN, FRESH = 3_141_593, 7_368_787
"""Added to the seed of the evaluations: of samples on which what seems better must be so again, and of those that
nothing is chosen by."""
EXACT = ("nll_gen", "nll_word", "nll_character", "perplexity", "perplexity_word", "perplexity_character")
"""Scores without samples, which come out the same again."""


class Settings(Protocol):
    """How a run is evaluated. seed: of the samples. patience: evaluations of a phase without a better score after which
    it ends; 0 never. keep_models: whether the model of each evaluation is kept."""

    @property
    def best(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def keep_models(self) -> bool: ...


class Roles(NamedTuple):
    """The phases, by what they are for: before the game, the game, and what it is compared with."""

    warm_up: str
    game: str
    control: str


class Choice:
    """Keeps the best model, writes it, and says at the end which it is.

    engine: the run's `Engine`. name: of the score, a metric of the evaluation. settings: of the evaluation. roles: see
    there. measure: the score of a network on samples by the random numbers that are set, and on episodes by the seed.
    load: a phase's model with these weights. write: a phase's model, into an empty folder.

    Within a phase the better score counts. A model of another phase takes the place of the best so far only where its
    score is better by more than chance, and is so again on other samples: of two that are not told apart, the earlier
    phase's is RUN/model.
    """

    def __init__(
        self,
        engine: Any,
        name: str,
        settings: Settings,
        roles: Roles,
        measure: Callable[[Any, int], Score],
        load: Callable[[str, Weights], Any],
        write: Callable[[str, Any, Path], None],
    ) -> None:
        self.engine, self.name, self.settings, self.roles = engine, name, settings, roles
        self.direction = about(PREFIX + name)[1]
        self.measure, self._load, self._write = measure, load, write
        self.on, self._stale = True, False
        self.stage = ""
        self._begin()

    def _begin(self) -> None:
        self.count = 0
        self.best: Ended | None = None
        self._again: Score | None = None  # of the best one, on other samples
        self.weights: Weights = {}
        self.ends: dict[str, Ended] = {}
        self._own: dict[str, tuple[float, int]] = {}  # of each phase: its best score, evaluations since

    def begin(self, stage: str) -> None:
        """Forgets what was chosen in another stage, whose models can't be compared with those of this one."""
        if stage != self.stage:
            self.stage = stage
            self._begin()
            self.engine.run_folder.chosen = False

    def lacks(self, phase: str) -> bool:
        """Whether the end of a phase was not scored yet."""
        return self.on and phase not in self.ends

    def promising(self, value: float) -> bool:
        """Whether a score is better than the best so far, be it by chance."""
        return self.on and (self.best is None or self.direction * (value - self.best.score.value) > 0)

    def model(self, last: nn.Module) -> Any:
        """The best model so far; the last one where nothing was chosen."""
        return last if self.best is None or not self.on else self._load(self.best.phase, self.weights)

    def offer(self, phase: str, done: int, score: Score, network: nn.Module) -> None:
        """An evaluation of the network, after so many steps of the phase; the last one is measured afresh, too."""
        if not self.on:
            return
        engine = self.engine
        if self.settings.keep_models:
            engine.run_folder.write(
                {f"{STEPS}/{phase}-{done:06d}": engine.export(network, partial(self._write, phase))}
            )
        last = engine.phases.ends_at(phase, done)
        sharding.gather(network)  # by all: the main process measures alone
        fresh = self._measured(lambda: network, FRESH) if last else None
        score = engine.on_main(lambda: score)
        again = self._again_better(phase, score, network)
        self.count += 1  # nothing is noted before all is measured, which may be interrupted
        if fresh is not None:
            self.ends[phase] = Ended(phase, done, fresh)
        if again is not None:
            self.best, self._again = Ended(phase, done, score), again
            self.weights = engine.weights(network)
            self.export()
        self._wait(phase, done, score, last)

    def _again_better(self, phase: str, score: Score, network: nn.Module) -> Score | None:
        """The score on other samples of a model that is to take the place of the best so far; None of another one."""
        best, other = self.best, self.best is None or self.best.phase != phase
        if math.isnan(score.value) or not self.promising(score.value):
            return None
        if best is not None and other and compared(score, best.score, self.direction) != BETTER:
            return None
        again = score if self.name in EXACT else self._measured(lambda: network, AGAIN)
        if self._again is not None and other and compared(again, self._again, self.direction) != BETTER:
            return None
        return again

    def _wait(self, phase: str, done: int, score: Score, last: bool) -> None:
        """Ends a phase whose score has not become better for `patience` evaluations."""
        value, since = self._own.get(phase, (math.nan, 0))
        better = math.isnan(value) or self.direction * (score.value - value) > 0
        self._own[phase] = (score.value, 0) if better else (value, since + 1)
        patience = self.settings.patience
        if patience and self._own[phase][1] >= patience and not last:
            told = f"{self.name} has not become better for {patience} evaluations (--evaluation.patience)"
            self.engine.phases.end(phase, done + 1, told)

    def _measured(self, network: Callable[[], Any], which: int) -> Score:
        """On other samples than those of the evaluations; by the main process."""

        def measure() -> Score:
            seed = (self.settings.seed + which) % 2**32
            with self.engine.fixed_random(seed):
                return self.measure(network(), seed)

        found: Score = self.engine.on_main(measure)
        return found

    def export(self) -> None:
        """RUN/model, and which it is in run.json."""
        best, folder, self._stale = self.best, self.engine.run_folder, False
        if best is None or not self.on:
            return
        folder.chosen = True
        folder.record["best"] = {"score": self.name, **self.told(best), "evaluations": self.count}
        if self.engine.is_main:
            write = partial(self._write, best.phase, self._load(best.phase, self.weights))
            folder.write({MODEL: write})
        folder.write_record()

    def refresh(self) -> None:
        """Of a resumed run: what stands in RUN/model may be of steps that are made anew, or damaged."""
        if self._stale:
            self.export()

    def told(self, ended: Ended) -> dict[str, Any]:
        """For run.json."""
        score, width = ended.score, ended.score.interval
        told = {"phase": ended.phase, "step": ended.step, "value": score.value}
        return told | {"interval": None if math.isnan(width) else width}

    def conclude(self) -> str | None:
        """The sentence about the run, which is written into run.json; None where nothing was chosen."""
        best = self.best
        if not self.on or best is None:
            return None
        end = self.ends.get(best.phase)
        if end is None or end.step != best.step:
            try:
                fresh = self._measured(lambda: self._load(best.phase, self.weights), FRESH)
            except Interrupted:
                raise Stopped(f"stopped and saved. Resume with: seqgan-kit resume {self.engine.folder}") from None
            end = Ended(best.phase, best.step, fresh)
        warm_up, game, control = (self.ends.get(phase) for phase in self.roles)
        told = sentence(self.name, self.direction, end, self.count, warm_up, game, control)
        record = self.engine.run_folder.record
        record["best"] |= {"evaluations": self.count, "fresh": self.told(end)}
        record["ends"] = {phase: self.told(one) for phase, one in self.ends.items()}
        record["verdict"] = told
        return told

    # -- as a part of a checkpoint -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any] | None:
        """None where nothing is chosen, as in runs of versions that did not choose."""
        if not self.on:
            return None
        return {
            "name": self.name,
            "stage": self.stage,
            "count": self.count,
            "best": _packed(self.best),
            "again": None if self._again is None else list(self._again),
            "weights": dict(self.weights),
            "ends": {phase: _packed(one) for phase, one in self.ends.items()},
            "own": dict(self._own),
        }

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Raises UserError where the run chose by another score until now."""
        if state is None:
            self.on = False
            self.engine.say("the model is the last one of the run, which began without --evaluation.best")
            return
        if state["name"] != self.name:
            raise UserError(
                f"--evaluation.best {self.name}: until now the run chose by {state['name']}: give that, or none"
            )
        self.stage, self.count, self.weights = state["stage"], state["count"], state["weights"]
        self.best = _unpacked(state["best"])
        self._again = None if state["again"] is None else Score(*state["again"])
        self.ends = {phase: one for phase, packed in state["ends"].items() if (one := _unpacked(packed)) is not None}
        self._own = state["own"]
        self.engine.run_folder.chosen = self.best is not None
        self._stale = True


def _packed(ended: Ended | None) -> list[Any] | None:
    return None if ended is None else [ended.phase, ended.step, *ended.score]


def _unpacked(packed: list[Any] | None) -> Ended | None:
    return None if packed is None else Ended(packed[0], packed[1], Score(*packed[2:]))


def with_weights(network: nn.Module, weights: Weights) -> Any:
    """A copy of the network with these weights."""
    found = deepcopy(network)
    found.load_state_dict(weights)
    return found.eval()


AUTO, NONE = "auto", "none"
SOUND = ("ngram_distance", "nll_gen", "perplexity", "return_greedy", "joint_distance")
"""What `auto` may stand for: scores in which neither quality nor diversity is had for the other."""


def check_best(settings: Settings, names: Sequence[str]) -> str:
    """The name of the score that the best model is chosen by, or "none".

    names: of the scores that there are, of which `auto` takes the first, if it is sound, else "none". Raises
    UserError for a name that is none of them, and for what can't be done without a score.
    """
    best = settings.best
    if best not in (AUTO, NONE, *names):
        raise UserError(f"--evaluation.best {best}: give one of {', '.join((AUTO, *names, NONE))}")
    found = best if best != AUTO else names[0] if names and names[0] in SOUND else NONE
    for option, value in [("patience", settings.patience), ("keep_models", settings.keep_models)]:
        if value and found == NONE:
            why, what = ("", ", or give auto") if best == NONE else (", and there is no score here", "")
            raise UserError(f"--evaluation.{option} goes by --evaluation.best{why}: leave it out{what}")
    return found
