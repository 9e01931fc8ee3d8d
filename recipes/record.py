"""Keeps what a recipe measured: run folders -> recipes/results/NAME.json -> the tables of recipes/README.md.

python recipes/record.py NAME RUN [RUN ...]   record these runs, one per seed, and renew the tables
python recipes/record.py                      renew the tables from the records

Runs of imitation, of all tasks and seeds, are one record and one table, a row for each task and number of trajectories.
So are runs of images: a row for each name of a run folder without its seed, `gan_cls-0`, `gan_cls-1` and so on; and
runs of text or dialogue by several generators, trained in several ways, which their folders name:
`topical_lstm_regs-0`, `coco_gpt2_maligan-2`. A NAME that ends in _sweep keeps what `seqgan-kit sweep` found of runs:
quality at equal diversity.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import yaml

from seqgan_kit.report.metrics import about, phase_title
from seqgan_kit.report.tradeoff import Point, common_levels, quality_at, read_sweep

HERE = Path(__file__).parent
SWEPT = ("quality", "diversity", "samples", "models")
PHASES = ("maximum_likelihood", "adversarial", "control")
TITLES = ("maximum likelihood", "adversarial", "likelihood for as long")
DROPPED = (
    "self_bleu4",
    "self_bleu5",
    "distinct1",
    "nll_word",
    "js",
    "novel",
    "ngram_distance",
)  # from the table, not from the record


def record(runs: list[Path]) -> list[dict[str, Any]]:
    """What each finished run was, and its last evaluation in each phase."""
    found = []
    for run in runs:
        phases: dict[str, dict[str, Any]] = {}
        for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
            last = phases.setdefault(line["phase"], {"metrics": {}})
            last |= {"steps": line["step"], "seconds": line["seconds"]}
            last["metrics"] |= {name: value for name, value in line.items() if name.startswith("eval/")}
        kind = re.fullmatch(rf"(?P<data>[a-z]+)_(?P<generator>\w+)_(?P<way>{'|'.join(METHODS)})-\d+", run.name)
        named = {"kind": kind.groupdict()} if kind else {}
        found.append({**json.loads((run / "run.json").read_text()), "phases": phases, **named, **_beside(run)})
    return found


def record_sweeps(runs: list[Path]) -> list[dict[str, Any]]:
    """What `seqgan-kit sweep` found of each run: (temperature, quality, diversity) of each model."""
    found = []
    for run in runs:
        sweep = read_sweep(run)
        assert sweep is not None, f"{run} has no sweep"
        kept = {**sweep._asdict(), "models": sweep.curves}
        name = re.sub(r"-\d+$", "", run.name).replace("_", " ")
        seed = json.loads((run / "run.json").read_text())["seed"]
        found.append({"name": name, "seed": seed, "sweep": {key: kept[key] for key in SWEPT}})
    return found


def _beside(run: Path) -> dict[str, Any]:
    """What a run stands beside: real text or pictures and chance, or what uniform actions and the expert earn."""
    task = json.loads((run / "run.json").read_text())["task"]
    if not (run / "baselines.json").is_file() or task == "dialogue":
        return {}
    if task == "text":
        return {"real": json.loads((run / "baselines.json").read_text())["real data"]["metrics"]}
    config = yaml.safe_load((run / "config.yaml").read_text())
    baselines = json.loads((run / "baselines.json").read_text())
    if "environment" not in config:
        name = re.sub(r"-\d+$", "", run.name).replace("_", " ")
        extra = run / "pictures" / "nearest.json"
        nearest = json.loads(extra.read_text()) if extra.is_file() else {}
        return {"name": name, "baselines": baselines, "nearest": nearest}
    return {
        "environment": config["environment"]["id"],
        "trajectories": config["demonstrations"]["trajectories"],
        "subsample": config["demonstrations"]["subsample"],
        "steps_per_round": config["policy"]["steps"] * config["environment"]["copies"],
        "baselines": baselines,
    }


def imitation_table(runs: list[dict[str, Any]]) -> str:
    """A row for each task and number of trajectories: returns of the greedy policy, mean and deviation over seeds."""
    columns = ["task", "trajectories", "random", "expert", "behaviour cloning", "GAIL", "GAIL, sampled", "frozen D"]
    lines = ["| " + " | ".join([*columns, "steps", "seconds"]) + " |", "|---" * (len(columns) + 2) + "|"]
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["environment"], run["trajectories"]), []).append(run)
    for (name, count), some in groups.items():

        def earned(phase: str, kind: str = "greedy", some: list[dict[str, Any]] = some) -> str:
            return _spread([run["phases"][phase]["metrics"][f"eval/return_{kind}"] for run in some], 1)

        first, every = some[0], some[0]["subsample"]
        baselines = [f"{first['baselines'][who]['mean']:.1f}" for who in ("random", "expert")]
        ends = [[run["phases"][phase]["seconds"] for phase in ("behaviour_cloning", "adversarial")] for run in some]
        steps = first["phases"]["adversarial"]["steps"] * first["steps_per_round"]
        cells = [
            *(name, f"{count}, every {every}th step" if every > 1 else f"{count}, whole", *baselines),
            *(earned("behaviour_cloning"), f"**{earned('adversarial')}**", earned("adversarial", "sampled")),
            *(earned("frozen_control"), f"{steps / 1e6:.2f} M", f"{statistics.mean(b - a for a, b in ends):.0f}"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    record, commits = runs[0], sorted({str(run["commit"])[:9] for run in runs})
    versions = ", ".join(f"{name} {record['versions'][name]}" for name in ("torch", "gymnasium", "mujoco"))
    lines.append("")
    lines.append(
        f"Seeds {seeds}; 50 episodes each; seconds of the adversarial phase with its evaluations, on "
        f"{record['threads']} thread(s) of {record['device']}; {versions}, commit {', '.join(commits)}."
    )
    return "\n".join(lines)


REPLIES = {
    "perplexity": "perplexity",
    "distinct1": "distinct-1",
    "distinct2": "distinct-2",
    "length": "length",
    "repetition": "repetition",
    "adversarial_success": "AdverSuc",
    "machine_versus_random": "machine / random",
    "machine_versus_machine": "machine / machine",
    "ere": "ERE",
}
TEXTS = {
    "nll_gen": "NLL-test",
    **{f"bleu{n}": f"BLEU-{n}" for n in (2, 3, 4, 5)},
    **{f"self_bleu{n}": f"Self-BLEU-{n}" for n in (2, 3, 4, 5)},
    "distinct2": "distinct-2",
    "length": "length",
}
METHODS = {"regs": "REGS", "mc": "Monte Carlo", "seqgan": "SeqGAN", "maligan": "MaliGAN", "relgan": "RelGAN"}


def generators_table(runs: list[dict[str, Any]]) -> str:
    """A row for each generator and each way to train it, a column a metric; the cost is that of the phase itself.

    Likelihood, and likelihood for as long, are those of the first way's runs.
    """
    columns = REPLIES if runs[0]["task"] == "dialogue" else TEXTS
    heads = ["generator", "trained by", *columns.values(), "minutes"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    real = [run["real"] for run in runs if "real" in run]
    if real:
        cells = [_spread([one[name] for one in real]) if name in real[0] else "" for name in columns]
        lines.append("| " + " | ".join(["real captions", "", *cells, ""]) + " |")
    for generator in dict.fromkeys(run["kind"]["generator"] for run in runs):
        ways: dict[str, list[dict[str, Any]]] = {}
        for run in runs:
            if run["kind"]["generator"] == generator:
                ways.setdefault(run["kind"]["way"], []).append(run)
        first = next(iter(ways.values()))
        rows = {"likelihood": (first, "maximum_likelihood"), "likelihood for as long": (first, "control")}
        rows |= {f"**{METHODS[way]}**": (some, "adversarial") for way, some in ways.items()}
        for title, (some, phase) in rows.items():
            found = [run["phases"][phase]["metrics"] for run in some]
            cells = [_spread([one[f"eval/{name}"] for one in found]) for name in columns]
            minutes = statistics.mean(_seconds(run, phase) for run in some) / 60
            lines.append("| " + " | ".join([generator, title, *cells, f"{minutes:.1f}"]) + " |")
    return "\n".join([*lines, "", _footing(runs)])


def _footing(runs: list[dict[str, Any]]) -> str:
    """Seeds, what else belongs to all rows, and the machine."""
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    first, said = runs[0], f"Seeds {seeds}."
    if first["task"] == "dialogue":
        said += f" Metrics of {unit(first)}."
        human = [run["phases"]["maximum_likelihood"]["metrics"] for run in runs]
        about = {run["seed"]: one for run, one in zip(runs, human, strict=True)}.values()
        alike, random = (_spread([one[f"eval/human_versus_{other}"] for one in about]) for other in ("human", "random"))
        said += f" ERE's two scenarios without a machine: human / human {alike}, human / random {random}."
    else:
        said += f" Metrics of {unit(first)}; Self-BLEU is leave-one-out."
    return (
        f"{said} "
        f"Minutes of the phase, with its evaluations, on {first['threads']} thread(s) of {first['device']}; "
        f"torch {first['versions']['torch']}, commit {', '.join(sorted({str(run['commit'])[:9] for run in runs}))}."
    )


def sweep_table(runs: list[dict[str, Any]]) -> str:
    """Quality where diversity is equal, a row for each model of each kind of run, a column a level that all reach."""
    curves: dict[tuple[str, str], list[list[Point]]] = {}
    for run in runs:
        for model, points in run["sweep"]["models"].items():
            curves.setdefault((run["name"], model), []).append([Point(*point) for point in points])
    quality, diversity = (run := runs[0]["sweep"])["quality"], run["diversity"]
    levels = common_levels([curve for some in curves.values() for curve in some])
    lines = [f"| {quality} at {diversity} | " + " | ".join(f"{level:.3f}" for level in levels) + " |"]
    lines.append("|---" * (len(levels) + 1) + "|")
    for (name, model), some in curves.items():
        values = [[quality_at(curve, level, about(quality)[1]) for curve in some] for level in levels]
        lines.append(f"| {name}: {phase_title(model).lower()} | " + " | ".join(map(_spread, values)) + " |")
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    some = runs[0]["sweep"]
    temperatures = ", ".join(f"{point[0]:g}" for point in next(iter(some["models"].values())))
    lines.append(f"\nSeeds {seeds}; temperatures {temperatures}, {some['samples']} samples each.")
    return "\n".join(lines)


def _seconds(run: dict[str, Any], phase: str) -> float:
    """What a phase took; that before an adversarial phase, in which its discriminator learns, is counted with it."""
    ends = {name: found["seconds"] for name, found in run["phases"].items()}
    before = {"maximum_likelihood": 0.0, "adversarial": ends["maximum_likelihood"], "control": ends["adversarial"]}
    return float(ends[phase] - before[phase])


PICTURES = {
    "colours_and_shapes": "colour and shape right",
    "unseen_colours_and_shapes": "the same, unseen pairs",
    "positions": "position right",
    "all": "all right",
    "r_precision": "R-precision",
    "frechet_distance": "Fréchet distance",
    "kernel_distance": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "diversity": "diversity",
}


def picture_table(runs: list[dict[str, Any]]) -> str:
    """A row for each kind of run and each of its stages, between real pictures and chance; a column a metric."""

    def metrics(run: dict[str, Any], phase: str) -> dict[str, float]:
        return {name.removeprefix("eval/"): value for name, value in run["phases"][phase]["metrics"].items()}

    rows: dict[str, list[dict[str, float]]] = {}
    for run in runs:
        for name, found in run["baselines"].items():
            title = name.replace("second_", "second stage: ")
            rows.setdefault(title, []).append(found["metrics"])
        for phase in ("adversarial", "second_stage"):
            if phase in run["phases"] and metrics(run, phase):
                title = f"**{run['name']}**" + (", second stage" if phase == "second_stage" else "")
                rows.setdefault(title, []).append(metrics(run, phase))
    known = [name for name in PICTURES if any(name in found for some in rows.values() for found in some)]
    heads = ["", *(PICTURES[name] for name in known)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for title, some in rows.items():
        cells = [
            _spread([found[name] for found in some if name in found]) if any(name in f for f in some) else "-"
            for name in known
        ]
        lines.append("| " + " | ".join([title, *cells]) + " |")
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    parts = []
    for name in dict.fromkeys(run["name"] for run in runs):
        ends = [max(p["seconds"] for p in run["phases"].values()) for run in runs if run["name"] == name]
        steps = [p["steps"] for p in next(run for run in runs if run["name"] == name)["phases"].values()]
        parts.append(f"{name} {' + '.join(map(str, steps))} steps, {statistics.mean(ends) / 60:.0f} minutes")
    record = runs[0]
    lines.append("")
    lines.append(
        f"Seeds {seeds}; {'; '.join(parts)}, on {record['threads']} thread(s) of {record['device']}, "
        f"{record['precision']}; torch {record['versions']['torch']}, "
        f"commit {', '.join(sorted({str(run['commit'])[:9] for run in runs}))}."
    )
    return "\n".join(lines)


def table(runs: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over the seeds of each metric, a column a phase."""
    if not runs:
        return "(not measured yet)"
    if "sweep" in runs[0]:
        return sweep_table(runs)
    if "kind" in runs[0]:
        return generators_table(runs)
    if "name" in runs[0]:
        return picture_table(runs)
    if "environment" in runs[0]:
        return imitation_table(runs)
    phases = [phase for phase in PHASES if phase in runs[0]["phases"]]
    titles = [TITLES[PHASES.index(phase)] for phase in phases]
    lines = ["| held metric | " + " | ".join(titles) + " |", "|---" * (len(phases) + 1) + "|"]
    for name in runs[0]["phases"][phases[0]]["metrics"]:
        if not name.removeprefix("eval/").startswith(DROPPED):
            cells = [_spread([run["phases"][phase]["metrics"][name] for run in runs]) for phase in phases]
            lines.append(f"| {name.removeprefix('eval/')} | " + " | ".join(cells) + " |")
    steps = [" | ".join(str(runs[0]["phases"][phase]["steps"]) for phase in phases)]
    lines.append(f"| steps | {steps[0]} |")
    minutes = statistics.mean(max(phase["seconds"] for phase in run["phases"].values()) for run in runs) / 60
    seeds = ", ".join(str(run["seed"]) for run in runs)
    first = runs[0]
    lines.append("")
    counted = f" Metrics of {unit(first)}." if first["task"] in ("text", "dialogue") else ""
    lines.append(
        f"Seeds {seeds}; {minutes:.0f} minutes a run on {first['threads']} thread(s) of {first['device']} in "
        f"{first['processes']} process(es); torch {first['versions']['torch']}, commit {str(first['commit'])[:9]}."
        f"{counted}"
    )
    return "\n".join(lines)


def unit(run: dict[str, Any]) -> str:
    """What metrics of text count. Records of earlier versions do not say so: all were of words but the oracle's."""
    ids = any("eval/nll_oracle" in phase["metrics"] for phase in run["phases"].values())
    return str(run.get("measured", {}).get("unit", "tokens (numbers)" if ids else "words"))


def _spread(values: list[float], digits: int = 3) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def renew(text: str) -> str:
    """The README's text with every table between its marks made anew from its record."""

    def put(match: re.Match[str]) -> str:
        runs = json.loads((HERE / "results" / f"{match[1]}.json").read_text())
        return f"<!-- table {match[1]} -->\n{table(runs)}\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", put, text, flags=re.DOTALL)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.exit(__doc__)
    if len(sys.argv) > 2:
        path = HERE / "results" / f"{sys.argv[1]}.json"
        path.parent.mkdir(exist_ok=True)
        kept = record_sweeps if sys.argv[1].endswith("_sweep") else record
        path.write_text(json.dumps(kept([Path(run) for run in sys.argv[2:]]), indent=1) + "\n")
    readme = HERE / "README.md"
    readme.write_text(renew(readme.read_text()))
