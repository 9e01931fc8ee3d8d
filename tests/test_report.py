"""The report of a run: what it shows is what the run folder holds, and the page needs nothing else."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgan_kit.errors import UserError
from seqgan_kit.report import curves, metrics, read_metrics, write_report
from seqgan_kit.report.page import SAMPLE_FILES, SAMPLES, facts

pytestmark = pytest.mark.usefixtures("with_curves")
HOSTILE = "<script>alert('1')</script> & <img src=\"http://example.org/x.png\">"
PHASES = ("maximum_likelihood", "discriminator", "adversarial", "control")
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, attributes and the cells of the summary, and checks that tags are closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.stack: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.rows: list[list[str]] = []
        self.headings: list[str] = []
        self.feed(self.text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        elif tag == "h3":
            self.headings.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.stack):
            self.rows[-1][-1] += data
        elif "h3" in self.stack:
            self.headings[-1] += data


def entries(steps: int = 20) -> list[dict[str, Any]]:
    """Lines of a run in which every phase trains and all but the discriminator are evaluated."""
    draw = np.random.default_rng(0)
    lines = []
    for phase in PHASES:
        for step in range(1, steps + 1):
            line = {"phase": phase, "step": step, "total": steps, "seconds": 0.1 * step, "gradient_norm": draw.random()}
            if phase != "discriminator" and step % (steps // 4) == 0:
                line |= {"eval/nll_gen": 1 + draw.random(), "eval/bleu2": draw.random(), "eval/novel": draw.random()}
            lines.append(line)
    return lines


def make_run(folder: Path, lines: list[dict[str, Any]], end: str = "\n") -> Path:
    """A run folder with these metrics and one hostile sample in each phase."""
    (folder / "samples").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + end)
    (folder / "config.yaml").write_text(f"seed: 0\nnote: {HOSTILE}\n")
    facts = {
        "command": f"train {HOSTILE}",
        "versions": {"numpy": "2.0"},
        "seconds": 75,
        "dirty": None,
        "finished": True,
    }
    (folder / "run.json").write_text(json.dumps(facts))
    for phase in PHASES:
        for step in (10, 20):
            (folder / "samples" / f"{phase}-{step:06d}.txt").write_text(
                f"{phase} at {step}\n{HOSTILE}\n" + "more\n" * 20
            )
    return folder


def test_page_is_well_formed_and_needs_nothing_else(tmp_path: Path) -> None:
    """Every tag is closed, ids are unique, links point into the page, and nothing is fetched or run."""
    page = Page(write_report(make_run(tmp_path / "run", entries())))
    identifiers = [value for _, name, value in page.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))
    targets = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert targets
    assert set(targets) <= {f"#{identifier}" for identifier in identifiers}
    assert set(re.findall(r"url\((.*?)\)", page.text)) <= {f"#{identifier}" for identifier in identifiers}
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _, _ in page.attributes}
    assert "@import" not in page.text


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    """Markup in samples, settings, command, metric, phase and folder names is shown, not obeyed."""
    lines = [*entries(), {"phase": "<b onload=x>$\\f$", "step": 1, "total": 1, "eval/<i>$x": 1.0, "<u>": float("nan")}]
    text = Page(write_report(make_run(tmp_path / "run <script>x", lines))).text
    assert not [tag for tag in ("<script", "<img", "<u>", "<i>$", "<b onload") if tag in text]
    assert text.count("&lt;script&gt;alert(") == 2 * len(PHASES) + 2
    assert "&lt;i&gt;$x" in text
    assert "not finite, not drawn: 1 values" in text


@pytest.mark.parametrize("wrong", ["x", [], {}, {"game": 1}, {"game": {"steps": "x", "seconds": None}}])
def test_forged_times_are_shown_as_they_stand(wrong: object) -> None:
    """Of run.json: of another type than the kit writes, they are no traceback."""
    for key in ("phases", "peak", "budget"):
        assert facts({key: wrong}).startswith("<div")
    assert "game 3 steps in 1 min 15 s" in facts({"phases": {"game": {"steps": 3, "seconds": 75}}})


def test_phases_and_samples_are_in_order(tmp_path: Path) -> None:
    """Phases stand in the order in which they began, samples in the order of their steps, the last of each open."""
    page = Page(write_report(make_run(tmp_path / "run", entries())))
    assert page.headings[2:] == [
        "maximum likelihood",
        "discriminator",
        "adversarial",
        "control: maximum likelihood for as long",
    ]
    assert re.findall(r"<details( open)?><summary>step (\d+)", page.text) == [("", "10"), (" open", "20")] * len(PHASES)
    assert re.findall(r"<li>(\w+) at (\d+)", page.text) == [(phase, step) for phase in PHASES for step in ("10", "20")]
    assert page.text.count("<li>more") == 2 * len(PHASES) * (SAMPLES - 2)


def test_control_is_dashed_in_the_place_of_the_adversarial_phase(tmp_path: Path) -> None:
    """The control starts where the adversarial phase starts, and its line is dashed; without it no line is."""
    write_report(make_run(tmp_path / "run", entries()))
    phases = read_metrics(tmp_path / "run" / "metrics.jsonl")
    places = curves.slots(phases)
    assert places["control"] == places["adversarial"] == (1.7, 1.0)
    assert "dasharray" in curves.figure(phases, "eval/nll_gen", "a")
    del phases["control"]
    assert "dasharray" not in curves.figure(phases, "eval/nll_gen", "a")


def imitation(folder: Path) -> Path:
    """A run of imitation with its control, hostile baseline names, and a video."""
    lines = []
    for phase in ("behaviour_cloning", "adversarial", "frozen_control"):
        for step in range(1, 5):
            line = {"phase": phase, "step": step, "total": 4, "return": 20.0 * step, "discriminator_accuracy": 0.5}
            if step == 4:
                line |= {"eval/return_greedy": 10.0 * len(phase), "eval/return_greedy_interval": 1.25}
            lines.append(line)
    run = make_run(folder, lines)
    known = {"random": {"mean": 20.0, "interval": 2.5}, f"expert {HOSTILE}": {"mean": 495.0, "interval": float("nan")}}
    (run / "baselines.json").write_text(json.dumps(known))
    (run / "video.gif").write_bytes(b"GIF89a" + bytes(100))
    return run


def test_returns_stand_between_random_actions_and_the_expert(tmp_path: Path) -> None:
    """Both are columns of the summary and lines of each panel of returns; an interval is no panel but a ± beside."""
    page = Page(write_report(imitation(tmp_path / "run")))
    assert page.rows[0] == [
        "metric", "random", f"expert {HOSTILE}", "after behaviour cloning", "after adversarial",
        "control: discriminator never trained", "meaning",
    ]  # fmt: skip
    assert page.rows[1][:-1] == [
        "return greedy ↑ higher", "20.00 ± 2.500", "495.0", "170.0 ± 1.250", "110.0 ± 1.250", "140.0 ± 1.250",
    ]  # fmt: skip
    assert page.text.count("<svg") == 3
    assert "interval</b>" not in page.text
    assert "<script" not in page.text
    phases = read_metrics(tmp_path / "run" / "metrics.jsonl")
    known = {"random": (20.0, 2.5), "expert": (495.0, 1.0)}
    places = curves.slots(phases)
    assert places["frozen_control"] == places["adversarial"]
    assert places["adversarial"][0] == 1.0
    for metric, lines in (("eval/return_greedy", 2), ("return", 2), ("discriminator_accuracy", 0)):
        drawn = curves.figure(phases, metric, "a", known)
        plain = curves.figure(phases, metric, "a", {})
        assert drawn.count("dasharray") - plain.count("dasharray") == lines
        assert (">expert<" in drawn) == bool(lines)


def test_a_video_is_part_of_the_page(tmp_path: Path) -> None:
    """As a data: URI with a text alternative, which the page's policy allows; what is no GIF is left out."""
    run = imitation(tmp_path / "run")
    page = Page(write_report(run))
    (source,) = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert source == "data:image/gif;base64," + base64.b64encode((run / "video.gif").read_bytes()).decode()
    assert ("img", "alt", "Animation of an episode") in page.attributes
    (policy,) = [value for tag, name, value in page.attributes if (tag, name) == ("meta", "content") and "src" in value]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    (run / "video.gif").write_text(HOSTILE)
    assert "<img" not in write_report(run).read_text()


@pytest.mark.parametrize("wrong", ["{", "[1]", '{"random": 3}', '{"random": {"mean": "x", "interval": 1}}'])
def test_wrong_baselines_are_named(tmp_path: Path, wrong: str) -> None:
    """One line that names the file."""
    run = imitation(tmp_path / "run")
    (run / "baselines.json").write_text(wrong)
    with pytest.raises(UserError, match=r"baselines\.json: no baselines with mean and interval; correct or delete"):
        write_report(run)


def test_summary_shows_the_last_values(tmp_path: Path) -> None:
    """Each number of the summary is the last one that metrics.jsonl has for that metric and phase."""
    lines = entries()
    page = Page(write_report(make_run(tmp_path / "run", lines)))
    evaluated = ("maximum_likelihood", "adversarial", "control")
    control = "control: maximum likelihood for as long"
    assert page.rows[0] == ["metric", "after maximum likelihood", "after adversarial", control, "meaning"]
    names = ("eval/nll_gen", "eval/bleu2", "eval/novel")
    titles = iter([float(value) for tag, name, value in page.attributes if (tag, name) == ("td", "title")])
    exact = {name: [next(titles) for _ in evaluated] for name in names}
    for row, name, arrow, best in zip(
        page.rows[1:4], names, ("↓ lower", "↑ higher", ""), (min, max, None), strict=True
    ):
        last = [[line[name] for line in lines if line["phase"] == phase and name in line][-1] for phase in evaluated]
        assert row[0].strip() == f"{name[5:].replace('_', ' ')} {arrow}".strip()
        assert [float(cell) for cell in row[1:4]] == pytest.approx(last, rel=1e-3)  # Four digits are shown.
        assert exact[name] == last
        if best:
            assert f"<b>{metrics.number(best(last))}</b>" in page.text
    assert page.text.count("<b>0.") + page.text.count("<b>1.") == 2


def test_unfinished_run_says_how_far_it_is(tmp_path: Path) -> None:
    """A run that stopped in a phase shows that phase's step, in the head and in the summary."""
    run = make_run(tmp_path / "run", entries()[:55])
    (run / "run.json").unlink()
    text = Page(write_report(run)).text
    assert "not finished (running or stopped) at adversarial, step 15 of 20" in text
    assert "so far: step 15 of 20" in text
    (run / "metrics.jsonl").write_text("")
    assert "No metrics yet" in Page(write_report(run)).text


def test_truncated_last_line_is_tolerated(tmp_path: Path) -> None:
    """A line that a killed process left half written changes nothing."""
    whole = Page(write_report(make_run(tmp_path / "a" / "run", entries()))).text
    cut = '\n{"phase": "control", "step": 21, "eval/nll_g'
    assert Page(write_report(make_run(tmp_path / "b" / "run", entries(), end=cut))).text == whole


@pytest.mark.parametrize("wrong", ['{"phase": "adv', "[1, 2]", '{"phase": "a"}', '{"phase": "a", "step": "x"}', "\xff"])
def test_wrong_line_is_named(tmp_path: Path, wrong: str) -> None:
    """A wrong line that is not the last is an error with file and line, even if it is the last whole one."""
    run = make_run(tmp_path / "run", entries())
    lines = (run / "metrics.jsonl").read_text().splitlines()
    for place in (2, len(lines)):
        (run / "metrics.jsonl").write_text(
            "\n".join([*lines[:place], wrong, *lines[place:]]) + "\n", encoding="latin-1"
        )
        with pytest.raises(UserError, match=rf"metrics\.jsonl, line {place + 1}: ") as caught:
            write_report(run)
        assert "\n" not in str(caught.value)


def test_resumed_run_counts_the_later_lines(tmp_path: Path) -> None:
    """Steps repeated after a resumption replace the earlier ones, and lines of one step are merged."""
    path = tmp_path / "metrics.jsonl"
    told = [(1, "a", 1.0), (2, "a", 2.0), (3, "a", 3.0), (2, "a", 20.0), (2, "b", 5.0)]
    path.write_text("".join(json.dumps({"phase": "p", "step": step, name: value}) + "\n" for step, name, value in told))
    rows = read_metrics(path)["p"]
    assert [(row.step, row.values) for row in rows] == [(1, {"a": 1.0}), (2, {"a": 20.0, "b": 5.0})]


def test_folder_that_is_no_run(tmp_path: Path) -> None:
    """The error says in one line what is missing and what to do, and nothing is written."""
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match=r"has no metrics\.jsonl: name a folder") as caught:
            write_report(folder)
        assert "\n" not in str(caught.value)
    make_run(tmp_path / "run", entries())
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json: not a JSON object"):
        write_report(tmp_path / "run")


def test_long_run_stays_small(tmp_path: Path) -> None:
    """Thousands of lines, twenty metrics and a hundred sample files make a page below 1.5 MB in seconds."""
    draw = np.random.default_rng(0)
    lines = []
    for phase in ("maximum_likelihood", "adversarial", "control"):
        for step, values in enumerate(draw.random((1700, 10)).tolist(), 1):
            lines.append({"phase": phase, "step": step, "total": 1700} | {f"m{i}": v for i, v in enumerate(values)})
            if step % 10 == 0:
                lines[-1] |= {f"eval/m{i}": value for i, value in enumerate(values)}
    run = make_run(tmp_path / "run", lines)
    for step in range(100):
        (run / "samples" / f"adversarial-{step:06d}.txt").write_text(("word " * 300 + "\n") * 100)
    start = time.process_time()
    path = write_report(run)
    assert time.process_time() - start < 10
    assert path.stat().st_size < 1_500_000
    assert path.read_text().count("<svg") == 20
    assert path.read_text().count("<details") == SAMPLE_FILES + 2 * 3


def test_thinned_line_keeps_its_extremes() -> None:
    """A spike in a long line is still drawn, and a short line is drawn whole."""
    values = np.random.default_rng(0).random(20_000)
    values[12_345], values[777] = 9.0, -9.0
    kept = curves.thin(values)
    assert len(kept) <= curves.POINTS
    assert {12_345, 777} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()
    assert curves.thin(values[:7]).tolist() == list(range(7))


def test_smoothed_line_is_the_mean_of_its_window() -> None:
    """Away from the ends and at them, each value is the plain mean over the window's part of the line."""
    values = np.random.default_rng(0).random(200)
    expected = [values[max(0, i - 5) : i + 6].mean() for i in range(200)]  # A reach of 200 / 40 to each side.
    np.testing.assert_allclose(curves.smooth(values), expected, rtol=1e-9)


def test_interrupted_write_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new page takes the old one's place only when it is whole, and no half page stays behind."""
    run = make_run(tmp_path / "run", entries())
    path = write_report(run)
    old, files = path.read_bytes(), sorted(run.iterdir())
    whole = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        whole(self, data[: len(data) // 2])
        raise KeyboardInterrupt

    def refuse(source: Path, target: Path) -> None:
        assert source.read_text().endswith("</html>\n")
        assert target == path
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(KeyboardInterrupt):
            write_report(run)
    assert path.read_bytes() == old
    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(KeyboardInterrupt):
        write_report(run)
    assert path.read_bytes() == old
    assert sorted(run.iterdir()) == files


def test_import_does_not_load_matplotlib() -> None:
    """Importing the module leaves matplotlib out, so that the command line starts quickly."""
    code = "import sys, seqgan_kit.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
