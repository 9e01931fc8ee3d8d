"""Runs that repeat one another but for their seeds: mean, spread and intervals of what they end with, and groups
of such runs side by side.

Works on the evaluated metrics of metrics.jsonl, whatever the task.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from seqgan_kit.errors import UserError
from seqgan_kit.files import read_bytes, read_record
from seqgan_kit.old_names import renamed
from seqgan_kit.report.changes import completed, difference, unknown
from seqgan_kit.report.measured import Measured, advice, apart, compared, notes, unlike
from seqgan_kit.report.metrics import ADVERSARIAL, phase_title
from seqgan_kit.report.statistics import spread, welch
from seqgan_kit.report.terminal import aligned, last_scores
from seqgan_kit.report.tradeoff import Sweep, at_equal_diversity, common_levels, reach, read_sweep

# options of --run that change nothing that is learned
NOT_LEARNT_FROM = (
    *("threads", "device", "log_every", "checkpoint_steps"),
    *("checkpoint_seconds", "keep_checkpoints", "trackers"),
)
BESIDE = ("maximum_likelihood", "behaviour_cloning", "control", "frozen_control")  # phases to compare the game with

Scores = Mapping[tuple[str, str], Sequence[float]]
"""(Phase, metric) -> its last value in each run."""


class Group(NamedTuple):
    """name: of a table's column. runs: folders. scores: what all of them have. left_out: what only some have.

    measured: what the metrics of each run are of, where that is known.
    """

    name: str
    runs: Sequence[Path]
    seeds: Sequence[int]
    scores: Scores
    left_out: Sequence[str]
    measured: Sequence[Measured | None]


def read_group(runs: Sequence[Path], default: Callable[[str], Any] = unknown) -> Group:
    """What the runs end with. Raises UserError for fewer than 2, unfinished ones, and what is no repetition.

    default: as in `completed`.
    """
    if len(runs) < 2:
        given = str(runs[0]) if runs else "nothing"
        raise UserError(f"compare: {given} alone has no spread: give 2 or more runs, of different seeds, in each group")
    seeds, written = [], []
    for run in runs:
        try:
            record = read_record(run)
            plan = yaml.safe_load(renamed(read_bytes(run / "config.yaml").decode()))
            for option in ("folder", *NOT_LEARNT_FROM):
                plan["run"].pop(option, None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
            raise UserError(f"{run}: config.yaml can't be read: give a run that `train` made") from error
        if not record.get("finished"):
            raise UserError(f"{run} is not finished: seqgan-kit resume {run}, or leave it out")
        written.append(plan)
        seeds.append(int(record.get("seed", 0)))
    _check_repetition(runs, completed(written, default))
    found = [
        {(phase, name): value for phase, scores in last_scores(run).items() for name, value in scores.items()}
        for run in runs
    ]
    everywhere = [key for key in found[0] if all(key in one for one in found)]
    every = dict.fromkeys(key for one in found for key in one)
    scores = {key: [one[key] for one in found] for key in everywhere}
    left_out = [f"{phase} {name}" for phase, name in every if (phase, name) not in scores]
    return Group(_name(runs), runs, seeds, scores, left_out, [compared(run) for run in runs])


def _check_repetition(runs: Sequence[Path], plans: Sequence[dict[str, Any]]) -> None:
    """Raises UserError where two runs are alike in all their options, or differ in others than the seed."""
    same, others = dict[str, Path](), dict[str, Path]()
    for run, plan in zip(runs, plans, strict=True):
        twin = same.setdefault(json.dumps(plan, sort_keys=True, default=str), run)
        if twin is not run:
            raise UserError(f"{twin} and {run} have the same options and seed: that is one run twice, not a spread")
        plan.pop("run.seed", None)
        alike = others.setdefault(json.dumps(plan, sort_keys=True, default=str), run)
        if len(others) > 1:
            first = difference(*(json.loads(plan) for plan in others))
            assert first is not None
            raise UserError(
                f"{runs[0]} and {alike} differ in more than the seed (--{first[0]}: {first[1]}, {first[2]}): put -- "
                "between groups of runs that repeat one another, as in compare A-0 A-1 -- B-0 B-1"
            )


def comparison(groups: Sequence[Sequence[Path]], default: Callable[[str], Any] = unknown) -> str:
    """Tables for a terminal: each group's spread, then the others beside the first. Raises as `read_group` does.

    Of runs whose metrics are of other things, only what their sweeps measured alike; raises UserError without that.
    """
    known = [read_group(runs, default) for runs in groups]
    every = [list(zip(group.runs, group.seeds, group.measured, strict=True)) for group in known]
    swept, differs = _equal_diversity(known), unlike(every)
    if differs is not None:
        why, of_data = differs
        if of_data or not swept.alike:
            of = [one for group in known for one in group.measured if one is not None]
            runs, task = list(chain(*groups)), read_record(groups[0][0]).get("task", "text")
            samples = min((one.samples for one in of if one.samples), default=None)
            raise UserError(f"compare: {why}, which can't stand side by side: {advice(runs, task, of_data, samples)}")
        return "\n".join([f"only what their sweeps measured alike is compared: {why}", *swept.lines])
    lines = [
        "mean ± standard deviation [95 % interval of the mean by Student's t, over runs]",
        "self_bleu is leave-one-out; no interval is corrected for how many there are",
    ]
    for group in known:
        seeds = ", ".join(map(str, group.seeds))
        first = group.measured[0]
        head = "" if first is None else f"; metrics of {first.head()}"
        lines.append(f"\n{group.name}: {len(group.runs)} runs, seeds {seeds}{head}")
        lines += notes(first)
        if not group.scores:
            raise UserError(f"{group.name}: no metric was evaluated in all of its runs")
        paired = _paired(group.scores)
        lines += [*_spreads("", group.scores), *([""] if paired else []), *paired]
        lines += [f"left out, not in all runs: {', '.join(group.left_out)}"] if group.left_out else []
    for other in known[1:]:
        lines.append(f"\n{other.name} beside {known[0].name}")
        lines += _beside(known[0], other)
    return "\n".join([*lines, *swept.lines])


def _name(runs: Sequence[Path]) -> str:
    """What the runs' names have in common, without the seeds."""
    names = [str(run) for run in runs]
    stems = {name.rpartition("-")[0] for name in names}
    return stems.pop() if len(stems) == 1 and "" not in stems else ", ".join(names)


def _table(corner: str, cells: Mapping[tuple[str, str], str]) -> list[str]:
    """Cells by phase, a column each, and name, a row each."""
    phases, names = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    body = [[name, *(cells.get((phase, name), "-") for phase in phases)] for name in names]
    return aligned([corner, *map(phase_title, phases)], body)


def _spreads(corner: str, scores: Scores) -> list[str]:
    return _table(corner, {key: str(spread(values)) for key, values in scores.items()})


def _paired(scores: Scores) -> list[str]:
    """The game less what stands beside it, run by run: runs of one seed share data and initial weights."""
    cells = {
        (phase, name): _signed(*_less(scores[ADVERSARIAL, name], scores[phase, name]))
        for phase in BESIDE
        for known, name in scores
        if known == phase and (ADVERSARIAL, name) in scores
    }
    return _table("adversarial less ...", cells) if cells else []


def _less(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The mean of first - second, run by run, and half of its interval."""
    found = spread([one - two for one, two in zip(first, second, strict=True)])
    return found.mean, found.half


def _signed(difference: float, half: float) -> str:
    """A difference with its interval, and a star where that leaves out 0."""
    star = "*" if abs(difference) > half else " "
    return f"{difference:+.4f} [{difference - half:+.4f}, {difference + half:+.4f}]{star}"


def _beside(first: Group, other: Group) -> list[str]:
    common = [key for key in first.scores if key in other.scores]
    why = {key[1]: apart(key[1], first.measured[0], other.measured[0]) for key in common}
    shared = [key for key in common if why[key[1]] is None]
    if not shared:
        raise UserError(f"{first.name} and {other.name} have no phase and metric in common")
    body = []
    for key in shared:
        one, two = first.scores[key], other.scores[key]
        body.append([f"{phase_title(key[0])}: {key[1]}", str(spread(one)), str(spread(two)), _signed(*welch(one, two))])
    head = ["", first.name, other.name, "second less first (Welch)"]
    told = [f"not compared: {name}, {reason}" for name, reason in why.items() if reason is not None]
    return [*aligned(head, body), "*: the interval leaves out 0", *told]


class EqualDiversity(NamedTuple):
    """lines: the tables, or why there are none. alike: whether all runs were swept alike."""

    lines: list[str]
    alike: bool = False


def _equal_diversity(groups: Sequence[Group]) -> EqualDiversity:
    """Qualities at levels of diversity which all models of all runs reach, where all runs were swept alike."""
    swept = [[(run, read_sweep(run)) for run in group.runs] for group in groups]
    lacking = [str(run) for some in swept for run, one in some if one is None]
    sweeps = [[one for _, one in some if one is not None] for some in swept]
    every = [one for some in sweeps for one in some]
    if not every:
        return EqualDiversity([])
    if lacking:
        return _not(f"no sweep of {', '.join(lacking)} (seqgan-kit sweep)")
    if len({(one.quality, one.diversity, one.samples) for one in every}) > 1:
        return _not("the sweeps differ in their metrics or samples; make them alike")
    measured = [[one.measured for one in some] for some in sweeps]
    differs = unlike(
        [list(zip(group.runs, group.seeds, some, strict=True)) for group, some in zip(groups, measured, strict=True)]
    )
    if differs is not None:
        return _not(f"of the sweeps, {differs[0]}; make them alike (seqgan-kit sweep RUN RUN ... --unit words)")
    models = [model for model in every[0].curves if all(model in one.curves for one in every)]
    levels = common_levels([one.curves[model] for one in every for model in models]) if models else []
    if not levels:
        everyone = [(run, one) for some in swept for run, one in some if one is not None]
        reached = reach({f"{run} {phase_title(model)}": one.curves[model] for run, one in everyone for model in models})
        return _not(f"no {every[0].diversity} is reached by all ({reached})", alike=True)
    unit = "" if every[0].measured is None else f", of {every[0].measured.unit}"
    lines = [f"\n{every[0].quality} at equal {every[0].diversity}{unit}, {every[0].samples} samples a temperature"]
    found = [_qualities(some, models, levels) for some in sweeps]
    for group, scores in zip(groups, found, strict=True):
        lines += _spreads(group.name, scores) + _paired(scores)
    for group, scores in zip(groups[1:], found[1:], strict=True):
        differences = {key: _signed(*welch(found[0][key], values)) for key, values in scores.items()}
        lines += _table(f"{group.name} less {groups[0].name} (Welch)", differences)
    return EqualDiversity(lines, alike=True)


def _not(why: str, alike: bool = False) -> EqualDiversity:
    return EqualDiversity([f"\nnot compared at equal diversity: {why}"], alike)


def _qualities(sweeps: Sequence[Sweep], models: Sequence[str], levels: Sequence[float]) -> Scores:
    """Of each model at each level, which stands for a metric."""
    runs = [dict(at_equal_diversity(one, levels)) for one in sweeps]
    return {(model, f"{level:.4f}"): [run[level][model] for run in runs] for level in levels for model in models}
