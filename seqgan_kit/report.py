"""One HTML page for a run: summary, curves, samples over time, configuration. It opens from disk, without a network."""

import io
import json
import math
import os
import re
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqgan_kit.errors import UserError

ADVERSARIAL, CONTROL, PREFIX = "adversarial", "control", "eval/"
NOT_METRICS = ("phase", "step", "total", "seconds")

# A metric's name without "eval/" and final digits, the better direction (-1 lower, +1 higher, 0 none), what it is.
KNOWN = (
    ("nll_gen", -1, "of held-out text, nats per token"),
    ("nll_oracle", -1, "of samples under the oracle, nats per token"),
    ("nll", -1, "of training text, nats per token"),
    ("bleu", +1, "overlap with held-out text: quality"),
    ("self_bleu", -1, "overlap of samples: low is diverse"),
    ("distinct", +1, "share of different n-grams: high is diverse"),
    ("grammatical", +1, "share of samples that the grammar accepts"),
    ("consistent", +1, "share of samples that contradict nothing"),
    ("reward", 0, "mean reward that the generator receives"),
    ("discriminator_accuracy", 0, "share it gets right; at 0.5 it cannot tell"),
)
ARROW = {-1: "↓ lower", 0: "", +1: "↑ higher"}
COLOUR = {"maximum_likelihood": "#3f7fd6", "discriminator": "#8d6cc0", ADVERSARIAL: "#d8602a", CONTROL: "#3f7fd6"}
OTHER_COLOUR = "#2f9e77"
INK = "#010203"  # Stands for the page's text colour, so that figures follow light and dark mode.
POINTS = 500  # At most so many points of a line are drawn.
SAMPLES, SAMPLE_LENGTH, SAMPLE_FILES = 8, 400, 12  # At most so many per file, characters per sample, files per phase.


class Row(NamedTuple):
    """What is known about one step of one phase."""

    step: float
    total: float
    values: dict[str, float]


Phases = dict[str, list[Row]]  # In the order in which the phases began.


def read_metrics(path: Path) -> Phases:
    """Rows of each phase. A resumed run repeats the steps since its checkpoint: the later line counts."""
    phases: dict[str, dict[float, Row]] = {}
    lines = path.read_bytes().split(b"\n")  # The last one is empty unless a process was killed while writing it.
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line, parse_int=float)
            phase, step = str(entry["phase"]), float(entry["step"])
            total = float(entry.get("total", step))
            if not (math.isfinite(step) and math.isfinite(total)):
                raise ValueError("step or total is not finite")
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            message = f"{path}, line {number}: not a JSON object with a phase and a step; correct or delete that line."
            raise UserError(message) from error
        rows = phases.setdefault(phase, {})
        while rows and next(reversed(rows)) > step:
            rows.popitem()
        known = rows[step].values if step in rows else {}
        new = {key: value for key, value in entry.items() if isinstance(value, float) and key not in NOT_METRICS}
        rows[step] = Row(step, total, known | new)
    return {phase: list(rows.values()) for phase, rows in phases.items()}


def length(rows: list[Row]) -> float:
    """Steps that a phase has or will have."""
    return max(1.0, rows[-1].step, rows[-1].total)


def curve(rows: list[Row], metric: str) -> np.ndarray:
    """Steps and values of one metric, (N, 2); N is 0 where the phase lacks it."""
    return np.array([(row.step, row.values[metric]) for row in rows if metric in row.values]).reshape(-1, 2)


def about(metric: str) -> tuple[int, int, str]:
    """Rank, better direction and meaning of a metric; an unknown one ranks last."""
    name = metric.removeprefix(PREFIX).rstrip("0123456789").rstrip("_")
    ranked = ((rank, direction, meaning) for rank, (known, direction, meaning) in enumerate(KNOWN) if known == name)
    return next(ranked, (len(KNOWN), 0, ""))


def metrics_of(phases: Phases) -> list[str]:
    """The evaluated metrics, then those of training; each as ranked, then by name."""
    names = {name for rows in phases.values() for row in rows for name in row.values}
    return sorted(names, key=lambda name: (not name.startswith(PREFIX), about(name)[0], name))


def title(name: str) -> str:
    """A phase or metric as a reader would write it."""
    return "control: maximum likelihood for as long" if name == CONTROL else name.removeprefix(PREFIX).replace("_", " ")


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:#.4g}".removesuffix(".")


def duration(seconds: float) -> str:
    """Seconds in words: 75 is "1 min 15 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def summary(phases: Phases) -> str:
    """The last value of each evaluated metric in each phase that was evaluated."""
    names = [name for name in metrics_of(phases) if name.startswith(PREFIX)]
    columns = [phase for phase, rows in phases.items() if any(name in row.values for row in rows for name in names)]
    if not columns:
        return "<p>Nothing was evaluated yet.</p>"
    head = body = ""
    for phase in columns:
        step, total = phases[phase][-1].step, length(phases[phase])
        so_far = f"<br><small>so far: step {step:.0f} of {total:.0f}</small>" if step < total else ""
        head += f'<th scope="col">{"" if phase == CONTROL else "after "}{escape(title(phase))}{so_far}</th>'
    for name in names:
        _, direction, meaning = about(name)
        last = [curve(phases[phase], name)[-1:, 1].tolist() for phase in columns]  # Each holds one value or none.
        values = [value for cell in last for value in cell if math.isfinite(value)]
        best = number(max(values, key=lambda value: direction * value)) if values and direction else ""
        best = best if len({number(value) for value in values}) > 1 else ""
        cells = ""
        for cell in last:
            shown, exact = (number(cell[0]), f' title="{cell[0]!r}"') if cell else ("–", "")
            cells += f"<td{exact}>{f'<b>{shown}</b>' if shown == best else shown}</td>"
        body += f'<tr><th scope="row">{escape(title(name))} <span class="way">{ARROW[direction]}</span></th>'
        body += f"{cells}<td><small>{escape(meaning)}</small></td></tr>"
    note = "Arrow: what is better. Bold: best of the row. One run, one seed: a small difference may be chance."
    head = f'<tr><th scope="col">metric</th>{head}<th scope="col">meaning</th></tr>'
    table = f'<table class="summary"><thead>{head}</thead><tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div><p><small>{note}</small></p>'


def slots(phases: Phases) -> dict[str, tuple[float, float]]:
    """Left edge and width of each phase on the x axis; the control has the place of the adversarial phase."""
    places: dict[str, tuple[float, float]] = {}
    left = 0.0
    for phase in phases:
        if phase != CONTROL or ADVERSARIAL not in phases:
            places[phase] = (left, 0.7 if phase == "discriminator" else 1.0)  # Most metrics have nothing to show there.
            left += places[phase][1]
    return places | ({CONTROL: places[ADVERSARIAL]} if ADVERSARIAL in phases and CONTROL in phases else {})


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


def figure(phases: Phases, metric: str, identifier: str) -> str:
    """Inline SVG with the curve of one metric through all phases."""
    # Imported here because it takes most of a second, which `seqgan-kit --help` need not wait for.
    import matplotlib
    from matplotlib.figure import Figure

    axes = (canvas := Figure(figsize=(4.8, 2.5))).add_axes((0.125, 0.19, 0.86, 0.78))
    places = slots(phases)
    bands = [phase for phase in places if phase != CONTROL or ADVERSARIAL not in places]
    seen = []
    for phase, (left, width) in places.items():
        if phase in bands:
            axes.axvspan(left, left + width, color=INK, alpha=(0.03, 0.07)[bands.index(phase) % 2], linewidth=0)
        points = curve(phases[phase], metric)
        steps, values = points[np.isfinite(points[:, 1])].T
        x, color = left + width * steps / length(phases[phase]), COLOUR.get(phase, OTHER_COLOUR)
        kept, few, style = thin(values), len(values) < 40, "--" if phase == CONTROL else "-"
        if few or metric.startswith(PREFIX):
            axes.plot(x[kept], values[kept], style, color=color, linewidth=1.6, marker="o" * few, markersize=3)
            seen.append(values)
        else:
            axes.plot(x[kept], values[kept], color=color, alpha=0.28, linewidth=0.6)
            shown = np.linspace(0, len(x) - 1, min(len(x), POINTS // 2)).astype(int)
            axes.plot(x[shown], smooth(values)[shown], style, color=color, linewidth=1.6, zorder=3)
            seen += [np.percentile(values, [1, 99]), smooth(values)]  # One spike must not flatten the rest.
    if len(extent := np.concatenate(seen)):
        margin = 0.06 * float(np.ptp(extent)) or 0.05 * abs(float(extent[0])) or 1.0
        axes.set_ylim(float(extent.min()) - margin, float(extent.max()) + margin)
    axes.set_xlim(0, sum(places[phase][1] for phase in bands))
    names = [f"{title(phase)[:22]}\n{length(phases[phase]):.0f} steps" for phase in bands]
    axes.set_xticks([places[phase][0] + places[phase][1] / 2 for phase in bands], names, parse_math=False)
    axes.tick_params(colors=INK, labelsize=10.5, length=0)
    axes.locator_params(axis="y", nbins=4)
    axes.ticklabel_format(axis="y", useOffset=False, scilimits=(-4, 5))
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    axes.spines[:].set_visible(False)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "x"}):  # Text as text; the same ids each time.
        canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), svg)  # A tenth of a point will do.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{identifier}-", svg)  # Ids differ between the figures of a page.
    return svg.replace(INK, "var(--ink)").replace("<svg ", '<svg aria-hidden="true" ', 1)


def panel(phases: Phases, metric: str, identifier: str) -> str:
    """A figure with title, meaning and last values, which are also its text alternative."""
    _, direction, meaning = about(metric)
    values = {phase: curve(rows, metric)[:, 1] for phase, rows in phases.items()}
    last = [f"{title(phase).split(':')[0]} {number(found[-1])}" for phase, found in values.items() if len(found)]
    lost = sum(int((~np.isfinite(found)).sum()) for found in values.values())
    ends = f"last: {' · '.join(last)}{f' · not finite, not drawn: {lost} values' if lost else ''}"
    label = escape(f"Curve of {title(metric)}: {meaning}; {ends}")
    return (
        f'<figure><figcaption><b>{escape(title(metric))}</b> <span class="way">{ARROW[direction]}</span><br>'
        f'<small>{escape(meaning)}</small></figcaption><div role="img" aria-label="{label}">'
        f"{figure(phases, metric, identifier)}</div><small>{escape(ends)}</small></figure>"
    )


def curves(phases: Phases) -> str:
    """Which line is which, then a panel per metric, the evaluated ones before those of training."""
    legend = ""
    for phase in phases:
        line = f"{'dashed' if phase == CONTROL else 'solid'} {COLOUR.get(phase, OTHER_COLOUR)}"
        legend += f'<li><i style="border-top:3px {line}"></i>{escape(title(phase))}</li>'
    parts = {"Evaluated": "", "While training": ""}
    for index, name in enumerate(metrics_of(phases)):
        parts["Evaluated" if name.startswith(PREFIX) else "While training"] += panel(phases, name, f"m{index}")
    shown = [f'<h3>{heading}</h3><div class="panels">{panels}</div>' for heading, panels in parts.items() if panels]
    return f'<ul class="legend">{legend}</ul>{"".join(shown)}' if shown else "<p>No metrics yet.</p>"


def samples(run: Path, phases: Phases) -> str:
    """The first samples of the saved files, one column a phase."""
    files: dict[str, list[tuple[int, Path]]] = {phase: [] for phase in phases}
    for path in sorted((run / "samples").glob("*.txt")):
        if match := re.fullmatch(r"(.+)-(\d+)", path.stem):
            files.setdefault(match[1], []).append((int(match[2]), path))
    columns = ""
    for phase, saved in files.items():
        kept = np.linspace(0, len(saved) - 1, min(len(saved), SAMPLE_FILES)).round().astype(int)
        left_out = f" <small>{len(kept)} of {len(saved)} files</small>" if len(kept) < len(saved) else ""
        columns += f"<div><h3>{escape(title(phase))}{left_out}</h3>" if saved else ""
        for step, path in (sorted(saved)[index] for index in kept):
            with path.open(encoding="utf-8", errors="replace") as stream:
                lines = [line.rstrip("\n") for line in islice(stream, SAMPLES)]
            columns += f"<details{' open' if step == max(saved)[0] else ''}><summary>step {step}</summary><ol>"
            cut = (f"{line[:SAMPLE_LENGTH]}{'…' * (len(line) > SAMPLE_LENGTH)}" for line in lines)
            columns += "".join(f"<li>{escape(line)}</li>" for line in cut) + "</ol></details>"
        columns += "</div>" if saved else ""
    return f'<div class="samples">{columns}</div>' if columns else "<p>No samples yet.</p>"


def facts(record: dict[str, Any]) -> str:
    """The facts of run.json as a table."""
    rows = ""
    for key, value in record.items():
        text = str(value)
        if isinstance(value, dict):
            text = ", ".join(f"{name} {version}" for name, version in value.items())
        elif value is None or isinstance(value, bool):
            text = {None: "unknown", True: "yes", False: "no"}[value]
        elif key == "seconds":
            text = duration(float(value))
        name = {"seconds": "wall time", "dirty": "uncommitted changes", "resumed": "times resumed"}.get(key, key)
        shown = f"<code>{escape(text)}</code>" if key in ("command", "commit") else escape(text)
        rows += f'<tr><th scope="row">{escape(name)}</th><td>{shown}</td></tr>'
    return f'<div class="wide"><table class="facts">{rows}</table></div>' if rows else "<p>There is no run.json.</p>"


STYLE = """
:root{color-scheme:light dark;--ink:#22262b;--soft:#646c76;--page:#fbfbfa;--card:#fff;--edge:#e3e5e8}
@media(prefers-color-scheme:dark){:root{--ink:#dfe3e8;--soft:#9aa3ae;--page:#15181c;--card:#1d2126;--edge:#323840}}
*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:1.5rem 1.25rem 4rem;max-width:1180px;font-size:15px;background:var(--page);color:var(--ink)}
body,svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif!important;line-height:1.5}
h1{margin:0;font-size:1.7rem;overflow-wrap:anywhere}h2{margin:2.4rem 0 .7rem;font-size:1.25rem}
h3{margin:1rem 0 .5rem;font-size:1rem}small,.way,.status{color:var(--soft)}small{line-height:1.35}
.status{margin:.2rem 0 .7rem}.way{font-size:.85em;font-weight:400;white-space:nowrap}
nav a{margin-right:1rem;color:inherit}.wide{overflow-x:auto}table{border-collapse:collapse;background:var(--card)}
th,td{padding:.35rem .9rem;border:1px solid var(--edge);text-align:left;vertical-align:top}tbody th{font-weight:600}
.summary small{white-space:nowrap}.summary td:not(:last-child){text-align:right;font-variant-numeric:tabular-nums}
.facts td{overflow-wrap:anywhere}.facts th{white-space:nowrap;font-weight:500;color:var(--soft)}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.6rem;margin:0;padding:0;list-style:none}.samples>div{min-width:0}
.legend i{display:inline-block;width:2rem;margin-right:.5rem;vertical-align:middle}svg *{stroke-linejoin:round}
.panels,.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,345px),1fr));gap:.9rem}
figure,details,pre{background:var(--card);border:1px solid var(--edge);border-radius:8px;padding:.6rem .8rem;margin:0}
figure{display:flex;flex-direction:column}figure>div{margin:auto 0 .2rem}svg{display:block;width:100%;height:auto}
details{margin-bottom:.4rem;padding:.3rem .8rem}summary{cursor:pointer}ol{margin:.3rem 0;padding-left:1.6rem}
li{overflow-wrap:anywhere}pre{overflow-x:auto}@media print{figure,details{break-inside:avoid}}"""


def page(run: Path) -> str:
    """The whole page as a string."""
    if not (run / "metrics.jsonl").is_file():
        advice = "name a folder that a training run wrote, such as runs/<name>."
        raise UserError(f"{run} is not a run folder, it has no metrics.jsonl: {advice}")
    phases, record, config = read_metrics(run / "metrics.jsonl"), {}, run / "config.yaml"
    try:
        if (run / "run.json").exists():
            record = dict(json.loads((run / "run.json").read_bytes()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{run / 'run.json'}: not a JSON object; correct or delete that file.") from error
    status = "finished" if record.get("finished") else "not finished (running or stopped)"
    for phase, rows in [] if record.get("finished") else list(phases.items())[-1:]:
        status += f" at {title(phase)}, step {rows[-1].step:.0f} of {length(rows):.0f}"
    if record.get("seconds") is not None:
        status += f" · {duration(float(record['seconds']))}"
    name = escape(run.resolve().name)
    settings = config.read_text(encoding="utf-8", errors="replace") if config.exists() else "There is no config.yaml."
    sections = {"Summary": summary(phases), "Curves": curves(phases), "Samples": samples(run, phases)}
    sections |= {"Run": facts(record), "Configuration": f"<pre>{escape(settings)}</pre>"}
    links = "".join(f'<a href="#{heading}">{heading}</a>' for heading in sections)
    body = "".join(f'<h2 id="{heading}">{heading}</h2>{content}' for heading, content in sections.items())
    # The policy forbids scripts and every request, whatever a sample contains.
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{STYLE}</style></head><body><header><h1>{name}</h1>"
        f'<p class="status">{escape(status)}</p><nav>{links}</nav></header><main>{body}</main></body></html>\n'
    )


def write_report(run: Path) -> Path:
    """Write `run/report.html`, whole or not at all, and return its path."""
    content = page(run)
    path, temporary = run / "report.html", run / f".report.html.{os.getpid()}"
    try:
        temporary.write_text(content, encoding="utf-8", errors="replace")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
