"""Quality against diversity over temperatures: which model is better where both are equally diverse.

Caccia et al. (2020), "Language GANs Falling Short": a temperature trades one for the other, so that one temperature
alone says nothing; models are compared by their curves.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqgan_kit.errors import UserError
from seqgan_kit.files import parsed, read_bytes
from seqgan_kit.report.curves import ARROW, COLOUR, INK, OTHER_COLOUR, svg
from seqgan_kit.report.measured import MEASURED, Measured, measured_of, read_measured
from seqgan_kit.report.metrics import CONTROLS, about, number, phase_title, read_metrics, title

FILE = "sweep.json"
LEVELS = 5


class Point(NamedTuple):
    """What a model scores at one temperature."""

    temperature: float
    quality: float
    diversity: float


Curve = Sequence[Point]  # In the order of temperatures.


class Sweep(NamedTuple):
    """What `seqgan-kit sweep` found of one run.

    quality, diversity: names of the two metrics. samples: of each point. curves: by phase whose model it is.
    real: the two metrics of real data. measured: what all metrics are of.
    """

    quality: str
    diversity: str
    samples: int
    curves: dict[str, Curve]
    real: Point
    measured: Measured | None = None


def read_sweep(run: Path) -> Sweep | None:
    """RUN/sweep.json, or None where there is none of the run's models: it may have gone on since.

    Raises UserError for one that is damaged.
    """
    path = run / FILE
    if not path.is_file():
        return None
    try:
        found = parsed(read_bytes(path))
        if found.get("steps") is not None and found["steps"] != steps_made(run):
            return None
        quality, diversity = str(found["quality"]), str(found["diversity"])

        def point(temperature: float, metrics: Mapping[str, float]) -> Point:
            return Point(temperature, float(metrics[quality]), float(metrics[diversity]))

        curves: dict[str, Curve] = {
            str(model): [point(float(one["temperature"]), one["metrics"]) for one in points]
            for model, points in found["models"].items()
        }
        if len({tuple(point.temperature for point in curve) for curve in curves.values()}) != 1:
            raise ValueError("the models have other temperatures")
        real = {quality: math.nan, diversity: math.nan} | found["real"]
        measured = measured_of(found, str(path)) if MEASURED in found else read_measured(run)
        samples = int(found["samples"])
        measured = None if measured is None else measured._replace(samples=samples)
        return Sweep(quality, diversity, samples, curves, point(math.nan, real), measured)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: no sweep with quality, diversity and models; make it again: seqgan-kit sweep"
        ) from error


def steps_made(run: Path) -> dict[str, int]:
    """How many steps each phase of the run has made."""
    return {phase: int(rows[-1].step) for phase, rows in read_metrics(run / "metrics.jsonl").items()}


def quality_at(curve: Curve, level: float, better: int) -> float:
    """The quality of a model where its diversity is `level`, between temperatures on a straight line; NaN outside.

    Where several temperatures have that diversity, the best of them. better: +1 if high quality is a high number,
    -1 if it is a low one.
    """
    found = [point.quality for point in curve if point.diversity == level]
    for (_, q0, d0), (_, q1, d1) in itertools.pairwise(curve):
        if min(d0, d1) < level < max(d0, d1):
            found.append(q0 + (q1 - q0) * (level - d0) / (d1 - d0))
    return max(found, key=lambda quality: better * quality, default=math.nan)


def common_levels(curves: Sequence[Curve], count: int = LEVELS) -> list[float]:
    """Levels of diversity, evenly from one end to the other of what all curves reach; none where they share none."""
    ranges = [[point.diversity for point in curve] for curve in curves]
    low, high = max(map(min, ranges)), min(map(max, ranges))
    if not low <= high:
        return []
    # the ends exactly, which rounding could put outside of a curve
    return [low, *np.linspace(low, high, count)[1:-1].tolist(), high] if low < high else [low]


def reach(curves: Mapping[str, Curve]) -> str:
    """Which models are farthest apart, and what to do about it."""
    lowest = min(curves, key=lambda model: max(point.diversity for point in curves[model]))
    highest = max(curves, key=lambda model: min(point.diversity for point in curves[model]))
    low, high = (f(point.diversity for point in curves[m]) for f, m in ((max, lowest), (min, highest)))
    return (
        f"{phase_title(lowest)} reaches {low:.3f} at most, {phase_title(highest)} {high:.3f} at least: "
        "give --temperatures that are lower and higher, such as 0.4 to 1.8"
    )


def at_equal_diversity(sweep: Sweep, levels: Sequence[float] | None = None) -> list[tuple[float, dict[str, float]]]:
    """Levels of diversity, and the quality of each model there."""
    better = about(sweep.quality)[1]
    levels = common_levels(list(sweep.curves.values())) if levels is None else levels
    return [
        (level, {model: quality_at(curve, level, better) for model, curve in sweep.curves.items()}) for level in levels
    ]


def best(row: Mapping[str, float], better: int) -> str:
    """The model of the best quality, by name."""
    return phase_title(max(row, key=lambda model: better * row[model]))


def sweep_table(sweep: Sweep) -> str:
    """The points, and the qualities at equal diversity, as tables for a terminal."""
    quality, diversity = sweep.quality, sweep.diversity
    width = max(24, len(quality) + len(diversity) + 5)

    def pair(point: Point) -> str:
        values = (f"{value:.4f}" if math.isfinite(value) else "-" for value in (point.quality, point.diversity))
        return f"{next(values)}  {next(values):>{len(diversity)}}".rjust(width)

    lines = [f"metrics of {sweep.measured.head()}, at each temperature"] if sweep.measured is not None else []
    lines.append(f"{'':<14}" + "".join(f"{phase_title(model):>{width}}" for model in sweep.curves))
    lines.append(f"{'temperature':<14}" + f"{quality}  {diversity}".rjust(width) * len(sweep.curves))
    for row in zip(*sweep.curves.values(), strict=True):
        lines.append(f"{row[0].temperature:<14g}" + "".join(map(pair, row)))
    lines.append(f"{'real data':<14}{pair(sweep.real)}")
    better, more_diverse = about(quality)[1], about(diversity)[1]
    lines.append(f"{quality}: quality, {ARROW[better][2:]} is better")
    lines.append(f"{diversity}: diversity, {ARROW[more_diverse][2:]} is more diverse")
    if len(sweep.curves) < 2:
        return "\n".join(lines)
    rows = at_equal_diversity(sweep)
    if not rows:
        return "\n".join([*lines, f"\nno {diversity} is reached by all models ({reach(sweep.curves)})"])
    lines.append(f"\n{quality} at equal diversity, between temperatures on straight lines")
    lines.append(f"{diversity:<14}" + "".join(f"{phase_title(model):>{width}}" for model in sweep.curves) + "  best")
    for level, found in rows:
        cells = "".join(f"{value:>{width}.4f}" for value in found.values())
        lines.append(f"{level:<14.4f}{cells}  {best(found, better)}")
    return "\n".join(lines)


def tradeoff(run: Path) -> str:
    """The section of a report: the curves, and the table at equal diversity; nothing where there was no sweep."""
    sweep = read_sweep(run)
    if sweep is None:
        return ""
    quality, diversity = escape(title(sweep.quality)), escape(title(sweep.diversity))
    better, more_diverse = about(sweep.quality)[1], about(sweep.diversity)[1]
    ways = f"{quality} {ARROW[better]} is better, {diversity} {ARROW[more_diverse]} is more diverse"
    convention = "; Self-BLEU leaves one out" if "self_bleu" in sweep.diversity else ""
    of = escape(sweep.measured.head()) if sweep.measured is not None else f"{sweep.samples} samples"
    models = ", ".join(
        f"{phase_title(model)} {number(curve[0].quality)} to {number(curve[-1].quality)}"
        for model, curve in sweep.curves.items()
    )
    legend = "".join(
        f'<li><i style="border-top:3px {"dashed" if model in CONTROLS else "solid"} {COLOUR.get(model, OTHER_COLOUR)}">'
        f"</i>{escape(phase_title(model))}</li>"
        for model in sweep.curves
    )
    panel = (
        f"<figure><figcaption><b>{quality} against {diversity}</b><br><small>{ways}; {of} a "
        f"point{convention}; large: temperature 1; numbers: temperatures; star: real data</small></figcaption>"
        f'<div role="img" aria-label="{escape(f"Curves of {title(sweep.quality)}: {models}")}">{_figure(sweep)}</div>'
        "</figure>"
    )
    return f'<ul class="legend">{legend}</ul><div class="grids">{panel}{_table(sweep)}</div>'


def _table(sweep: Sweep) -> str:
    if len(sweep.curves) < 2:
        return "<p>One model alone: nothing to compare.</p>"
    rows = at_equal_diversity(sweep)
    if not rows:
        return "<p>No diversity is reached by all models: give more temperatures.</p>"
    head = "".join(f'<th scope="col">{escape(phase_title(model))}</th>' for model in sweep.curves)
    body = ""
    for level, found in rows:
        top = best(found, about(sweep.quality)[1])
        cells = "".join(
            f"<td>{f'<b>{number(value)}</b>' if phase_title(model) == top else number(value)}</td>"
            for model, value in found.items()
        )
        body += f'<tr><th scope="row">{number(level)}</th>{cells}</tr>'
    caption = f"{escape(title(sweep.quality))} at equal {escape(title(sweep.diversity))}"
    return (
        f'<div class="wide summary"><h3>{caption}</h3><table><thead><tr><th scope="col">'
        f"{escape(title(sweep.diversity))}</th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _figure(sweep: Sweep) -> str:
    from matplotlib.figure import Figure  # slow to import

    axes = (canvas := Figure(figsize=(5.6, 3.6))).add_axes((0.13, 0.15, 0.84, 0.81))
    for model, curve in sweep.curves.items():
        colour = COLOUR.get(model, OTHER_COLOUR)
        x, y = [point.diversity for point in curve], [point.quality for point in curve]
        sizes = [42 if point.temperature == 1 else 12 for point in curve]
        axes.plot(x, y, "--" if model in CONTROLS else "-", color=colour, linewidth=1.6)
        axes.scatter(x, y, s=sizes, color=colour, zorder=3)
        for point in (curve[0], curve[-1]):
            axes.text(point.diversity, point.quality, f" {point.temperature:g}", color=colour, fontsize=9, va="bottom")
    if math.isfinite(sweep.real.diversity) and math.isfinite(sweep.real.quality):
        axes.plot([sweep.real.diversity], [sweep.real.quality], "*", color=INK, markersize=11)
    axes.set_xlabel(title(sweep.diversity), color=INK, fontsize=10.5)
    axes.set_ylabel(title(sweep.quality), color=INK, fontsize=10.5)
    axes.tick_params(colors=INK, labelsize=10.5, length=0)
    axes.ticklabel_format(useOffset=False, scilimits=(-4, 5))
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.spines[:].set_visible(False)
    return svg(canvas, "tradeoff")
