"""The curves of a report: a figure for each metric, through all phases."""

import io
import re
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from seqgan_kit.report.metrics import (
    ADVERSARIAL,
    CONTROLS,
    PREFIX,
    SECOND,
    SECOND_PREFIX,
    Baselines,
    Phases,
    about,
    baseline_title,
    baselines_of,
    curve,
    length,
    metrics_of,
    number,
    title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARROW = {-1: "↓ lower", 0: "", +1: "↑ higher"}
BLUE, PURPLE, ORANGE, GOLD, RED = "#3f7fd6", "#8d6cc0", "#d8602a", "#b98a1d", "#c0405f"
COLOUR = {
    "maximum_likelihood": BLUE,
    "behaviour_cloning": BLUE,
    "discriminator": PURPLE,
    ADVERSARIAL: ORANGE,
    "control": BLUE,
    "frozen_control": PURPLE,
    "text_encoder": PURPLE,
    SECOND: RED,
    "style": GOLD,
}
OTHER_COLOUR = "#2f9e77"
INK = "#010203"  # Stands for the page's text colour, so that figures follow light and dark mode.
LABEL = 0.08  # Height of a baseline's name, as a share of the figure's.
POINTS = 500  # At most so many points of a line are drawn.


def slots(phases: Phases) -> dict[str, tuple[float, float]]:
    """Left edge and width of each phase on the x axis; a control has the place of the adversarial phase."""
    places: dict[str, tuple[float, float]] = {}
    left = 0.0
    for phase in phases:
        if phase not in CONTROLS or ADVERSARIAL not in phases:
            places[phase] = (left, 0.7 if phase == "discriminator" else 1.0)  # Most metrics have nothing to show there.
            left += places[phase][1]
    return places | {phase: places[ADVERSARIAL] for phase in phases if phase not in places}


def stretch(baseline: str, places: dict[str, tuple[float, float]], end: float) -> tuple[float, float]:
    """Where on the x axis a baseline is drawn: up to the second stage, or at it; everywhere if there is none."""
    if SECOND not in places:
        return 0.0, end
    left, width = places[SECOND]
    return (left, left + width) if baseline.startswith(SECOND_PREFIX) else (0.0, left or end)


def thin(values: np.ndarray) -> np.ndarray:
    """Indices of at most POINTS values that keep the envelope: the lowest and the highest of each bin."""
    if len(values) <= POINTS:
        return np.arange(len(values))
    bins = np.array_split(np.arange(len(values)), POINTS // 2)
    return np.unique([pick for part in bins for pick in (part[values[part].argmin()], part[values[part].argmax()])])


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving average over a twentieth of the line; at the ends over what the window still covers."""
    sums, here, reach = np.cumsum([0.0, *values]), np.arange(len(values)), max(1, len(values) // 40)
    first, last = np.maximum(here - reach, 0), np.minimum(here + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def figure(phases: Phases, metric: str, identifier: str, baselines: Baselines | None = None) -> str:
    """Inline SVG with the curve of one metric through all phases, and dotted lines where it has baselines."""
    # Imported here because it takes most of a second, which `seqgan-kit --help` need not wait for.
    from matplotlib.figure import Figure

    axes = (canvas := Figure(figsize=(4.8, 2.5))).add_axes((0.125, 0.19, 0.86, 0.78))
    places = slots(phases)
    bands = [phase for phase in places if phase not in CONTROLS or ADVERSARIAL not in places]
    known = {
        name: pair
        for name, pair in baselines_of(metric, baselines or {}).items()
        if SECOND in places or not name.startswith(SECOND_PREFIX)
    }
    seen = [np.array([mean for mean, _ in known.values()])]
    for phase, (left, width) in places.items():
        if phase in bands:
            axes.axvspan(left, left + width, color=INK, alpha=(0.03, 0.07)[bands.index(phase) % 2], linewidth=0)
        points = curve(phases[phase], metric)
        steps, values = points[np.isfinite(points[:, 1])].T
        x, color = left + width * steps / length(phases[phase]), COLOUR.get(phase, OTHER_COLOUR)
        kept, few, style = thin(values), len(values) < 40, "--" if phase in CONTROLS else "-"
        if few or metric.startswith(PREFIX):
            axes.plot(x[kept], values[kept], style, color=color, linewidth=1.6, marker="o" * few, markersize=3)
            seen.append(values)
        else:
            axes.plot(x[kept], values[kept], color=color, alpha=0.28, linewidth=0.6)
            shown = np.linspace(0, len(x) - 1, min(len(x), POINTS // 2)).astype(int)
            axes.plot(x[shown], smooth(values)[shown], style, color=color, linewidth=1.6, zorder=3)
            seen += [np.percentile(values, [1, 99]), smooth(values)]  # One spike must not flatten the rest.
    if len(extent := np.concatenate(seen)):
        margin = (0.12 if known else 0.06) * float(np.ptp(extent)) or 0.05 * abs(float(extent[0])) or 1.0
        axes.set_ylim(float(extent.min()) - margin, float(extent.max()) + margin)
    end = sum(places[phase][1] for phase in bands)
    axes.set_xlim(0, end)
    bottom, top = axes.get_ylim()
    free: dict[float, float] = {}  # By left edge, from where on no name stands.
    for name, (mean, _) in sorted(known.items(), key=lambda item: item[1]):
        start, stop = stretch(name, places, end)
        axes.plot((start, stop), (mean, mean), color=INK, alpha=0.6, linewidth=1, linestyle=":")
        place, told = max(mean, free.get(start, mean)), name.removeprefix(SECOND_PREFIX)
        free[start] = place + LABEL * (top - bottom)
        axes.text(start + 0.01 * end, place, told, va="bottom", color=INK, fontsize=9, parse_math=False)
    names = [f"{title(phase)[:22]}\n{length(phases[phase]):.0f} steps" for phase in bands]
    axes.set_xticks([places[phase][0] + places[phase][1] / 2 for phase in bands], names, parse_math=False)
    axes.tick_params(colors=INK, labelsize=10.5, length=0)
    axes.locator_params(axis="y", nbins=4)
    axes.ticklabel_format(axis="y", useOffset=False, scilimits=(-4, 5))
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    axes.spines[:].set_visible(False)
    return svg(canvas, identifier)


def svg(canvas: "Figure", identifier: str) -> str:
    """A figure as inline SVG, in the page's colours. identifier: its own on the page."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "x"}):  # Text as text; the same ids each time.
        canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata.*?</metadata>|<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), text)  # A tenth of a point will do.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{identifier}-", text)  # Ids differ between a page's figures.
    return text.replace(INK, "var(--ink)").replace("<svg ", '<svg aria-hidden="true" ', 1)


def panel(phases: Phases, metric: str, identifier: str, baselines: Baselines) -> str:
    """A figure with title, meaning and last values, which are also its text alternative."""
    _, direction, meaning = about(metric)
    values = {phase: curve(rows, metric)[:, 1] for phase, rows in phases.items()}
    last = [f"{title(phase).split(':')[0]} {number(found[-1])}" for phase, found in values.items() if len(found)]
    last += [f"{baseline_title(name)} {number(mean)}" for name, (mean, _) in baselines_of(metric, baselines).items()]
    lost = sum(int((~np.isfinite(found)).sum()) for found in values.values())
    ends = f"last: {' · '.join(last)}{f' · not finite, not drawn: {lost} values' if lost else ''}"
    label = escape(f"Curve of {title(metric)}: {meaning}; {ends}")
    return (
        f'<figure><figcaption><b>{escape(title(metric))}</b> <span class="way">{ARROW[direction]}</span><br>'
        f'<small>{escape(meaning)}</small></figcaption><div role="img" aria-label="{label}">'
        f"{figure(phases, metric, identifier, baselines)}</div><small>{escape(ends)}</small></figure>"
    )


def curves(phases: Phases, baselines: Baselines, video: str = "") -> str:
    """Which line is which, then the video and a panel per metric, the evaluated ones before those of training."""
    legend = ""
    for phase in phases:
        line = f"{'dashed' if phase in CONTROLS else 'solid'} {COLOUR.get(phase, OTHER_COLOUR)}"
        legend += f'<li><i style="border-top:3px {line}"></i>{escape(title(phase))}</li>'
    if baselines:
        names = " and ".join(dict.fromkeys(name.removeprefix(SECOND_PREFIX) for name in baselines))
        legend += f'<li><i style="border-top:2px dotted"></i>{escape(names)}</li>'
    parts = {"Evaluated": video, "While training": ""}
    for index, name in enumerate(metrics_of(phases)):
        parts["Evaluated" if name.startswith(PREFIX) else "While training"] += panel(
            phases, name, f"m{index}", baselines
        )
    shown = [f'<h3>{heading}</h3><div class="panels">{panels}</div>' for heading, panels in parts.items() if panels]
    return f'<ul class="legend">{legend}</ul>{"".join(shown)}' if shown else "<p>No metrics yet.</p>"
