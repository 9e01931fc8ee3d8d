"""Spread over runs, intervals, and groups of runs side by side; quality at equal diversity."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from seqgan_kit.cli import main
from seqgan_kit.errors import UserError
from seqgan_kit.imitation.evaluation import Returns
from seqgan_kit.report import write_report
from seqgan_kit.report.spread import comparison, read_group
from seqgan_kit.report.statistics import spread, student_t, welch
from seqgan_kit.report.tradeoff import Point, Sweep, at_equal_diversity, common_levels, quality_at, read_sweep
from seqgan_kit.report.tradeoff import sweep_table as table


def make(
    folder: Path,
    seed: int,
    values: dict[str, dict[str, float]],
    finished: bool = True,
    task: str = "text",
    **options: Any,
) -> Path:
    """A run folder of these last values of each phase; the first line of a phase has others, which do not count."""
    folder.mkdir(parents=True)
    lines = []
    for phase, metrics in values.items():
        for step, factor in ((1, 9.0), (2, 1.0)):
            scores = {f"eval/{name}": value * factor for name, value in metrics.items()}
            lines.append({"phase": phase, "step": step, "total": 2, "seconds": 1.0, "reward": 5.0, **scores})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run.json").write_text(json.dumps({"task": task, "seed": seed, "finished": finished}))
    (folder / "config.yaml").write_text(json.dumps({"run": {"folder": str(folder), "seed": seed}, **options}))
    return folder


def swept(run: Path, models: dict[str, list[tuple[float, float, float]]], samples: int = 10) -> Path:
    """sweep.json of (temperature, consistent, self_bleu5)."""
    content = {
        "samples": samples, "seed": 0, "quality": "consistent", "diversity": "self_bleu5",
        "models": {
            model: [{"temperature": t, "metrics": {"consistent": q, "self_bleu5": d}} for t, q, d in points]
            for model, points in models.items()
        },
        "real": {"consistent": 1.0, "self_bleu5": 0.35},
    }  # fmt: skip
    (run / "sweep.json").write_text(json.dumps(content))
    return run


@pytest.mark.parametrize("freedom", [1, 1.3, 2, 2.7, 4, 9, 30, 200])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_student_t_is_scipy_s(freedom: float, level: float) -> None:
    """The two-sided quantile, for whole and other degrees of freedom."""
    assert student_t(freedom, level) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-5)


@pytest.mark.parametrize("episodes", [2, 7, 50])
def test_the_interval_of_returns_is_scipy_s(episodes: int) -> None:
    """That of imitation, by the same t as everywhere; a single episode has none."""
    returns = np.random.default_rng(0).normal(size=episodes)
    low, high = stats.t.interval(0.95, episodes - 1, returns.mean(), stats.sem(returns))
    assert Returns(returns, returns).interval == pytest.approx((high - low) / 2, rel=1e-5)
    assert math.isnan(Returns(returns[:1], returns[:1]).interval)


def test_spread_by_hand() -> None:
    """Of 1, 2, 3: mean 2, deviation 1, and t of 2 degrees of freedom, 4.303, over the root of 3."""
    found = spread([1.0, 2.0, 3.0])
    assert (found.runs, found.mean, found.deviation) == (3, 2.0, 1.0)
    assert found.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert spread([5.0, 5.0]).half == 0
    with pytest.raises(ValueError, match="at least 2"):
        spread([1.0])


@pytest.mark.parametrize("seed", range(5))
def test_welch_is_scipy_s(seed: int) -> None:
    """The interval of second - first, for unequal numbers and variances."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0, 1, 3 + seed), rng.normal(1, 4, 5)
    difference, half = welch(first.tolist(), second.tolist())
    expected = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert (difference - half, difference + half) == pytest.approx((expected.low, expected.high), rel=1e-5)
    assert welch([1.0, 1.0], [3.0, 3.0]) == (2.0, 0.0)


def test_a_group_has_the_last_values_of_all_its_runs(tmp_path: Path) -> None:
    """The mean is of last lines, metrics of training are left out, and what only some runs have is told."""
    runs = [
        make(tmp_path / f"a-{seed}", seed, {"adversarial": {"bleu2": value}, "control": {"bleu2": 0.1}})
        for seed, value in ((0, 0.2), (1, 0.4))
    ]
    (runs[0] / "metrics.jsonl").write_text(
        (runs[0] / "metrics.jsonl").read_text()
        + json.dumps({"phase": "control", "step": 3, "total": 3, "seconds": 1.0, "eval/odd": 1.0}) + "\n"
    )  # fmt: skip
    group = read_group(runs)
    assert dict(group.scores) == {("adversarial", "bleu2"): [0.2, 0.4], ("control", "bleu2"): [0.1, 0.1]}
    assert list(group.seeds) == [0, 1]
    text = comparison([runs])
    low, high = 0.3 - 12.7062 * 0.1, 0.3 + 12.7062 * 0.1
    assert f"0.3000 ± 0.1414 [{low:.4f}, {high:.4f}]" in text
    assert "self_bleu is leave-one-out" in text
    assert "left out, not in all runs: control odd" in text
    assert "+0.2000 [-1.0706, +1.4706] " in text, "adversarial less control, paired"


def test_groups_side_by_side_with_the_difference(tmp_path: Path) -> None:
    """Second less first by Welch, with a star where the interval leaves out 0; any task's metrics will do."""

    def group(name: str, values: list[float]) -> list[Path]:
        return [
            make(tmp_path / f"{name}-{seed}", seed, {"adversarial": {"return_greedy": v}}, task="imitation", width=name)
            for seed, v in enumerate(values)
        ]

    first, second = group("a", [1.0, 1.1, 0.9]), group("b", [2.0, 2.2])
    text = comparison([first, second])
    difference, half = welch([1.0, 1.1, 0.9], [2.0, 2.2])
    assert f"{difference:+.4f} [{difference - half:+.4f}, {difference + half:+.4f}]*" in text
    assert f"{tmp_path / 'b'} beside {tmp_path / 'a'}" in text


def test_the_command_compares_groups_between_dashes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`compare A A -- B B` is the same table."""
    a = [make(tmp_path / f"a-{seed}", seed, {"adversarial": {"x": seed}}) for seed in (0, 1)]
    b = [make(tmp_path / f"b-{seed}", seed, {"adversarial": {"x": seed + 3}}, other=1) for seed in (0, 1)]
    assert main(["compare", *map(str, a), "--", *map(str, b)]) == 0
    assert capsys.readouterr().out == comparison([a, b]) + "\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["compare needs runs", "runs/a-0"]),
        (["a"], ["a alone has no spread", "2 or more runs"]),
        (["a", "b", "--"], ["nothing alone has no spread"]),
        (["a", "b", "--", "c"], ["c alone has no spread"]),
        (["a", "missing"], ["missing is no run folder"]),
        (["a", "other"], ["other is of imitation", "a is of text", "give one task"]),
        (["a", "unfinished"], ["unfinished is not finished", "resume unfinished"]),
        (["a", "a"], ["a and a have the same options and seed"]),
        (["a", "copy"], ["a and copy have the same options and seed"]),
        (["a", "b", "--out", "x"], ["unknown option --out"]),
        (["a", "changed"], ["a and changed differ in more than the seed", "--other: None, 7", "put -- between"]),
        (["a", "broken"], ["broken", "can't be read"]),
    ],
)
def test_mistakes_of_comparison_are_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    expected: list[str],
) -> None:
    """Each ends in one line with what was wrong."""
    monkeypatch.chdir(tmp_path)
    values = {"adversarial": {"x": 1.0}}
    for seed, name in enumerate(("a", "b", "c")):
        make(Path(name), seed, values)
    make(Path("copy"), 0, values)
    make(Path("changed"), 9, values, other=7)
    make(Path("other"), 4, values, task="imitation")
    make(Path("unfinished"), 5, values, finished=False)
    make(Path("broken"), 6, values)
    (Path("broken") / "config.yaml").write_text("- 1")
    assert main(["compare", *words]) == 1
    told_ = capsys.readouterr().err
    assert all(part in told_ for part in expected), told_
    assert len(told_.splitlines()) == 1


def test_an_option_of_today_counts_as_its_default_in_an_earlier_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that today's version resumed has all options in config.yaml; one that it did not lacks some of them."""
    monkeypatch.chdir(tmp_path)
    values = {"adversarial": {"x": 1.0}}
    make(Path("earlier"), 0, values, data={"lower": False, "path": "a/my.txt"})
    data = {"lower": False, "path": str(tmp_path / "a" / "my.txt"), "bad_rows": "error"}
    make(Path("resumed"), 1, values, data=data, likelihood={"weight_decay": 0.01})
    make(Path("other"), 2, values, data={**data, "bad_rows": "drop"})
    assert main(["compare", "earlier", "resumed"]) == 1
    assert "--likelihood.weight_decay: None, 0.01" in capsys.readouterr().err  # no such option: nothing is known of it
    make(Path("today"), 1, values, data=data, likelihood={"optimizer": {"clip": 5.0}})
    assert main(["compare", "earlier", "today"]) == 0
    assert "seeds 0, 1" in capsys.readouterr().out
    assert main(["compare", "today", "other"]) == 1
    assert "--data.bad_rows: error, drop" in capsys.readouterr().err
    make(Path("elsewhere"), 3, values, data={**data, "path": str(tmp_path / "b" / "my.txt")})
    assert main(["compare", "earlier", "elsewhere"]) == 1
    assert "--data.path: a/my.txt, " in capsys.readouterr().err


CURVE = [Point(0.5, 0.9, 0.8), Point(1.0, 0.7, 0.4), Point(1.5, 0.2, 0.2)]


def test_quality_lies_on_straight_lines_between_temperatures() -> None:
    """Half-way between two points it is their mean, at a point it is that point's, outside there is none."""
    assert quality_at(CURVE, 0.6, +1) == pytest.approx(0.8)
    assert quality_at(CURVE, 0.25, +1) == pytest.approx(0.325)
    assert [quality_at(CURVE, point.diversity, +1) for point in CURVE] == [0.9, 0.7, 0.2]
    assert math.isnan(quality_at(CURVE, 0.81, +1))
    assert math.isnan(quality_at(CURVE, 0.19, +1))


def test_where_several_temperatures_are_as_diverse_the_best_counts() -> None:
    """A likelihood has its least in between: on either side of it, the better quality is taken, high or low."""
    curve = [Point(0.5, 6.0, 9.0), Point(1.0, 8.0, 7.0), Point(1.5, 10.0, 9.0)]
    assert quality_at(curve, 8.0, -1) == pytest.approx(7.0)
    assert quality_at(curve, 8.0, +1) == pytest.approx(9.0)
    assert quality_at(curve, 9.0, -1) == 6.0


def test_levels_are_what_all_curves_reach() -> None:
    """From the largest of the least to the smallest of the most, ends included; none where curves lie apart."""
    other = [Point(0.5, 0.5, 0.6), Point(1.0, 0.4, 0.3)]
    assert common_levels([CURVE, other], 4) == pytest.approx([0.3, 0.4, 0.5, 0.6])
    assert common_levels([CURVE, [Point(0.5, 0, 0.95), Point(1, 0, 0.9)]]) == []
    assert common_levels([CURVE, [Point(0.5, 0, 0.8), Point(1, 0, 0.9)]]) == [0.8]


def test_which_model_is_better_at_equal_diversity_can_be_read(tmp_path: Path) -> None:
    """The table names the better model at each level, where a look at equal temperatures would mislead."""
    sharp = [(0.5, 0.95, 0.9), (1.0, 0.85, 0.7), (1.5, 0.6, 0.4)]  # at 1.0 better, because it is less diverse
    run = swept(make(tmp_path / "a", 0, {"adversarial": {"x": 1.0}}),
                {"maximum_likelihood": [(t, q, d) for t, q, d in [(0.5, 0.98, 0.9), (1.0, 0.8, 0.5), (1.5, 0.6, 0.3)]],
                 "adversarial": sharp})  # fmt: skip
    found = read_sweep(run)
    assert found is not None
    rows = at_equal_diversity(found)
    assert [level for level, _ in rows] == pytest.approx([0.4, 0.525, 0.65, 0.775, 0.9])
    assert rows[2][1] == {"maximum_likelihood": pytest.approx(0.8675), "adversarial": pytest.approx(0.8083333)}
    lines = table(found).splitlines()
    assert [line.split("  ")[-1] for line in lines[-5:]] == ["maximum likelihood"] * 5
    assert any(line.startswith("real data") and line.endswith("1.0000      0.3500") for line in lines)
    page = write_report(run).read_text()
    assert "consistent at equal self bleu5" in page
    assert "Self-BLEU leaves one out" in page
    section = page.split('id="Trade-off"')[1].split('id="Curves"')[0]
    assert section.count("<b>0.") == 5
    assert re.findall(r"<td><b>(0\.\d+)</b></td><td>0\.", section), "the best is bold, in the first column"


def test_one_model_and_curves_apart_are_said(tmp_path: Path) -> None:
    """Without a second curve, or where no diversity is shared, there is a sentence instead of a table."""
    one = Sweep("consistent", "self_bleu5", 5, {"adversarial": CURVE}, Point(math.nan, math.nan, math.nan))
    assert "equal diversity" not in table(one)
    apart = one._replace(curves={"adversarial": CURVE, "control": [Point(p[0], p[1], p[2] + 1) for p in CURVE]})
    assert "no self_bleu5 is reached by all models" in table(apart)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"quality": "a", "diversity": "b"}',
        '{"quality": "a", "diversity": "b", "samples": 1, "real": {}, "models": {}}',
        '{"quality": "a", "diversity": "b", "samples": 1, "real": {}, "models": {"x": [{"temperature": 1}]}}',
    ],
)
def test_a_damaged_sweep_is_told_by_name(tmp_path: Path, content: str) -> None:
    """The file and the command that makes it anew are named."""
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=r"sweep.json: .*seqgan-kit sweep"):
        read_sweep(tmp_path)


def test_groups_are_compared_at_equal_diversity_from_their_sweeps(tmp_path: Path) -> None:
    """Levels are common to all models of all runs; qualities there have spread, and paired differences intervals."""

    def group(name: str, lift: float) -> list[Path]:
        return [
            swept(
                make(tmp_path / f"{name}-{seed}", seed, {"adversarial": {"x": seed}}, kind=name),
                {
                    "maximum_likelihood": [(0.5, 0.9 + seed / 100, 0.9), (1.5, 0.5 + seed / 100, 0.5)],
                    "adversarial": [(0.5, 0.9 + lift + seed / 50, 0.9), (1.5, 0.5 + lift + seed / 50, 0.5)],
                },
            )
            for seed in (0, 1, 2)
        ]

    first, second = group("a", 0.0), group("b", 0.3)
    text = comparison([first, second])
    assert "consistent at equal self_bleu5, of words, 10 samples a temperature" in text
    assert str(spread([0.7, 0.71, 0.72])) in text, "maximum likelihood at 0.7, half-way"
    paired = spread([0.3, 0.31, 0.32])
    assert f"+0.3100 [{0.31 - paired.half:+.4f}, {0.31 + paired.half:+.4f}]*" in text
    difference, half = welch([0.7, 0.72, 0.74], [1.0, 1.02, 1.04])
    assert f"{difference:+.4f} [{difference - half:+.4f}, {difference + half:+.4f}]*" in text
    (second[1] / "sweep.json").unlink()
    assert f"not compared at equal diversity: no sweep of {second[1]}" in comparison([first, second])
    swept(second[1], {"adversarial": [(0.5, 1, 0.9), (1.5, 1, 0.5)]}, samples=11)
    assert "the sweeps differ" in comparison([first, second])
