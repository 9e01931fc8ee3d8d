"""The page: summary, curves, samples over time, the run's facts, configuration."""

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

from seqgan_kit.errors import UserError
from seqgan_kit.files import read_record, write_whole
from seqgan_kit.report import pictures
from seqgan_kit.report.alarms import ALARM, ALARMS
from seqgan_kit.report.curves import ARROW, curves
from seqgan_kit.report.measured import MEASURED, Measured, measured_of, notes, read_measured
from seqgan_kit.report.metrics import (
    CONTROLS,
    INTERVAL,
    PREFIX,
    Baselines,
    Phases,
    Saved,
    about,
    baseline_title,
    baselines_of,
    curve,
    length,
    metrics_of,
    number,
    read_baselines,
    read_metrics,
    saved_samples,
    spread,
    title,
)
from seqgan_kit.report.replies import replies
from seqgan_kit.report.tradeoff import tradeoff

VIDEO = "video.gif"
# No scripts and no request, whatever a sample contains.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
CHOICE = ("best", "ends", "verdict")  # of run.json; the last one stands at the page's head
SAMPLES, SAMPLE_FILES = 8, 12  # At most so many per file, files per phase.


def duration(seconds: float) -> str:
    """Seconds in words: 75 is "1 min 15 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def summary(phases: Phases, baselines: Baselines, measured: Measured | None = None) -> str:
    """The last value of each evaluated metric in each phase that was evaluated, beside the baselines.

    measured: what the metrics are of, where that is known.
    """
    names = [name for name in metrics_of(phases) if name.startswith(PREFIX)]
    columns = [phase for phase, rows in phases.items() if any(name in row.values for row in rows for name in names)]
    if not columns:
        return "<p>Nothing was evaluated yet.</p>"
    body = ""
    head = "".join(f'<th scope="col">{escape(baseline_title(name))}</th>' for name in baselines)
    for phase in columns:
        step, total = phases[phase][-1].step, length(phases[phase])
        so_far = f"<br><small>so far: step {step:.0f} of {total:.0f}</small>" if step < total else ""
        head += f'<th scope="col">{"" if phase in CONTROLS else "after "}{escape(title(phase))}{so_far}</th>'
    for name in names:
        _, direction, meaning = about(name)
        last = [curve(phases[phase], name)[-1:, 1].tolist() for phase in columns]  # Each holds one value or none.
        values = [value for cell in last for value in cell if math.isfinite(value)]
        best = number(max(values, key=lambda value: direction * value)) if values and direction else ""
        best = best if len({number(value) for value in values}) > 1 else ""
        widths = [curve(phases[phase], name + INTERVAL)[-1:, 1].tolist() for phase in columns]
        cells = ""
        for baseline in baselines:
            known = baselines_of(name, baselines).get(baseline)
            cells += f"<td>{number(known[0]) + plus_minus(known[1:]) if known else '–'}</td>"
        for cell, width in zip(last, widths, strict=True):
            shown, exact = (number(cell[0]), f' title="{cell[0]!r}"') if cell else ("–", "")
            cells += f"<td{exact}>{f'<b>{shown}</b>' if shown == best else shown}{plus_minus(width)}</td>"
        body += f'<tr><th scope="row">{escape(title(name))} <span class="way">{ARROW[direction]}</span></th>'
        body += f"{cells}<td><small>{escape(meaning)}</small></td></tr>"
    note = "Arrow: what is better. Bold: best of the row. One run, one seed: a small difference may be chance."
    if any(isinstance(found, tuple) for found in baselines.values()):
        note += " ±: 95 % interval of the mean over episodes."
    note += "".join(f" {escape(one)}." for one in notes(measured))
    of = f"<br><small>{escape(measured.head())}</small>" if measured is not None else ""
    head = f'<tr><th scope="col">metric{of}</th>{head}<th scope="col">meaning</th></tr>'
    table = f'<table class="summary"><thead>{head}</thead><tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div><p><small>{note}</small></p>'


def alarms(rung: Any) -> str:
    """What run.json holds of them, as a list; nothing where it holds none."""
    items = ""
    for one in rung if isinstance(rung, list) else []:
        if isinstance(one, dict):
            name, phase, step, sentence = (escape(str(one.get(key, "?"))) for key in ALARM)
            items += f"<li><b>{name}</b> <small>{title(phase)}, step {step}</small>: {sentence}</li>"
    return f'<section class="alarms"><b>Alarms</b><ul>{items}</ul></section>' if items else ""


def plus_minus(width: Sequence[float]) -> str:
    return f" <small>± {number(width[0])}</small>" if width and math.isfinite(width[0]) else ""


def video(run: Path) -> str:
    """RUN/video.gif as a figure within the page; nothing where there is none."""
    content = (run / VIDEO).read_bytes() if (run / VIDEO).is_file() else b""
    if not content.startswith(b"GIF8"):
        return ""
    picture = pictures.image(run / VIDEO, "Animation of an episode")
    return f"<figure><figcaption><b>the policy at work</b><br><small>{VIDEO}</small></figcaption>{picture}</figure>"


def samples(files: Mapping[str, Saved], fitting: Collection[Path]) -> str:
    """The first samples of the saved files, one column a phase. fitting: the grids that are shown."""
    columns, grids = "", False
    for phase, saved in files.items():
        chosen = [(step, path, path.with_suffix(".png")) for step, path in spread(saved, SAMPLE_FILES)]
        kept = [one for one in chosen if one[2] in fitting or not pictures.is_png(one[2])]
        why = ", more would make this page too large" if len(kept) < len(chosen) else ""
        left_out = f" <small>{len(kept)} of {len(saved)} files{why}</small>" if len(kept) < len(saved) else ""
        columns += f"<div><h3>{escape(title(phase))}{left_out}</h3>" if saved else ""
        for step, path, png in kept:
            with path.open(encoding="utf-8", errors="replace") as stream:
                lines = [line.rstrip("\n") for line in islice(stream, pictures.CAPTIONS + 1)]
            columns += f"<details{' open' if step == kept[-1][0] else ''}><summary>step {step}</summary>"
            if png in fitting:
                grids = True
                columns += pictures.grid(png, lines, phase, step)
            else:
                columns += pictures.listed(lines[:SAMPLES])
            columns += "</details>"
        columns += "</div>" if saved else ""
    return f'<div class="{"grids" if grids else "samples"}">{columns}</div>' if columns else "<p>No samples yet.</p>"


NAMES = {
    "seconds": "wall time", "dirty": "uncommitted changes", "resumed": "times resumed", "peak": "most memory"
}  # fmt: skip


def _spent(key: str, value: dict[str, Any]) -> str:
    """Time by phase, memory, or what --run.budget chose, in words."""
    if key == "phases":
        steps = ((phase, one["steps"], duration(float(one["seconds"]))) for phase, one in value.items())
        return ", ".join(f"{title(phase)} {count:,} steps in {time}" for phase, count, time in steps)
    if key == "peak":
        return ", ".join(f"{name.replace('_', ' ')} {size} GB" for name, size in value.items())
    options = " ".join(f"--{name} {number}" for name, number in value["options"].items())
    return f"{value['asked']}: {options}, expected to take {duration(float(value['expected']))}"


def facts(record: dict[str, Any]) -> str:
    """The facts of run.json as a table."""
    rows = ""
    for key, value in record.items():
        if key == ALARMS or key in CHOICE:
            continue
        text = str(value)
        if key == MEASURED:
            text = measured_of(record, "run.json").head()
        elif key in ("phases", "peak", "budget") and isinstance(value, dict):
            with suppress(ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # else as it stands
                text = _spent(key, value)
        elif isinstance(value, dict):
            text = ", ".join(f"{name} {version}" for name, version in value.items())
        elif value is None or isinstance(value, bool):
            text = {None: "unknown", True: "yes", False: "no"}[value]
        elif key == "seconds":
            text = duration(float(value))
        name = NAMES.get(key, key)
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
.alarms{margin:0 0 .7rem;padding:.5rem .9rem;border-left:4px solid #c2410c;background:var(--card)}
.alarms ul{margin:.2rem 0;padding-left:1.2rem}
.status{margin:.2rem 0 .7rem}.way{font-size:.85em;font-weight:400;white-space:nowrap}
.verdict{margin:0 0 .9rem;font-weight:600;max-width:60rem}
nav a{margin-right:1rem;color:inherit}.wide{overflow-x:auto}table{border-collapse:collapse;background:var(--card)}
th,td{padding:.35rem .9rem;border:1px solid var(--edge);text-align:left;vertical-align:top}tbody th{font-weight:600}
.summary small{white-space:nowrap}.summary td:last-child{min-width:13rem}
.summary td:last-child small{white-space:normal}
.summary td:not(:last-child){text-align:right;font-variant-numeric:tabular-nums}
.facts td{overflow-wrap:anywhere}.facts th{white-space:nowrap;font-weight:500;color:var(--soft)}
figure img{margin:auto;max-width:100%}
figcaption+img{margin-top:.5rem!important}details img{display:block;max-width:100%;margin:.4rem 0}
.grids{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:.9rem;align-items:start}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.6rem;margin:0;padding:0;list-style:none}
.samples>div,.grids>*{min-width:0}
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
    phases, config = read_metrics(run / "metrics.jsonl"), run / "config.yaml"
    record = read_record(run) if (run / "run.json").exists() else {}
    status = "finished" if record.get("finished") else "not finished (running or stopped)"
    for phase, rows in [] if record.get("finished") else list(phases.items())[-1:]:
        status += f" at {title(phase)}, step {rows[-1].step:.0f} of {length(rows):.0f}"
    if record.get("seconds") is not None:
        status += f" · {duration(float(record['seconds']))}"
    verdict = f'<p class="verdict">{escape(str(record["verdict"]))}</p>' if record.get("verdict") else ""
    name = escape(run.resolve().name)
    settings = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "There is no config.yaml."
    baselines = read_baselines(run / "baselines.json")
    rang = alarms(record.get(ALARMS))
    sections = {"Summary": summary(phases, baselines, read_measured(run))}
    sections |= {"Trade-off": shown} if (shown := tradeoff(run)) else {}
    sections |= {"Curves": curves(phases, baselines, video(run))}
    files = dict.fromkeys(phases, ()) | saved_samples(run)
    fitting = pictures.fitting(run, {phase: spread(saved, SAMPLE_FILES) for phase, saved in files.items()})
    if record.get("task") == "dialogue":
        sections |= {"Replies": replies(files)}
    else:
        sections |= {"Episodes" if record.get("task") == "imitation" else "Samples": samples(files, fitting)}
    sections |= {"Pictures": shown} if (shown := pictures.figures(run, fitting)) else {}
    sections |= {"Run": facts(record), "Configuration": f"<pre>{escape(settings)}</pre>"}
    links = "".join(f'<a href="#{heading}">{heading}</a>' for heading in sections)
    body = "".join(f'<h2 id="{heading}">{heading}</h2>{content}' for heading, content in sections.items())
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{STYLE}</style></head><body><header><h1>{name}</h1>"
        f'<p class="status">{escape(status)}</p>{verdict}{rang}<nav>{links}</nav></header>'
        f"<main>{body}</main></body></html>\n"
    )


def write_report(run: Path) -> Path:
    """Write `run/report.html`, whole or not at all, and return its path."""
    path = run / "report.html"
    write_whole(path, page(run).encode("utf-8", errors="replace"))
    return path
