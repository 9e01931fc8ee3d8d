"""Whether RUN/model is the better one, and the sentence true: python benchmarks/best_model.py [--seeds 0 1 2]

Small runs like those of a new user: captions, tunes as integer tokens, dialogues, two environments, pictures, each with
some seeds. After each, RUN/model, the warm-up's model, the game's and the control's are evaluated anew by the command
`evaluate`, on samples (episodes) of a seed that neither training nor the run's own sentence has seen. A row says

- whether RUN/model is worse than the warm-up's by more than chance (for pictures, which have none: than the game's);
- whether the sentence's claim about the game (helped, did not help) stands on these samples;
- with --cost, the CPU seconds and bytes of a run with the choice, and of one without.

Needs SEQGAN_KIT_DATA. Rows are added to results/best_model.json.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from measuring import machine

from seqgan_kit.cli import main as seqgan_kit
from seqgan_kit.engine.verdict import BETTER, SURE, WORSE, Score, compared, score_of
from seqgan_kit.report.metrics import PREFIX, about
from seqgan_kit.report.models import kept

DATA = Path(os.environ.get("SEQGAN_KIT_DATA", "data"))
FRESH = 99_991  # the seed of the evaluations here
TEXT = (
    "--generator.hidden 32 --likelihood.steps 200 --likelihood.batch_size 32 --discriminator.steps 20 "
    "--discriminator.batch_size 32 --adversarial.rounds 8 --adversarial.batch_size 32 "
    "--adversarial.credit.rollouts 2 --adversarial.turns.discriminator 1 --control.steps 100 "
    "--evaluation.every 100 --evaluation.rounds 4 --evaluation.samples 300"
)
GAIL = (
    "--evaluation.video 0 --evaluation.every 8 --evaluation.final 30 --policy.hidden [32,32] --environment.copies 8 "
    "--policy.steps 250"
)
DEMOS = "--demonstrations.path {data}/demos/"
JOBS = {
    "captions": f"text --data.path {{folder}}/captions.txt --data.max_length 20 --data.too_long drop {TEXT}",
    "tunes": f"text --data.path {{folder}}/tunes.txt --data.tokens true {TEXT}",
    "dialogues": (
        "dialogue --data.dialogues 300 --data.shapes 1 --generator.hidden 32 --generator.embedding 32 "
        "--generator.layers 1 --likelihood.steps 120 --likelihood.batch_size 32 --discriminator.steps 15 "
        "--discriminator.batch_size 32 --adversarial.rounds 8 --adversarial.batch_size 32 --control.steps 40 "
        "--evaluation.every 60 --evaluation.rounds 4 --evaluation.samples 100"
    ),
    "CartPole, 5 % of one episode": (
        f"imitation {DEMOS}CartPole-v1_ppo_det.npz --demonstrations.trajectories 1 --demonstrations.subsample 20 "
        f"--cloning.steps 200 --adversarial.environment_steps 60000 {GAIL}"
    ),
    "Acrobot, 10 episodes": (
        f"imitation {DEMOS}Acrobot-v1_ppo_det.npz --demonstrations.trajectories 10 --cloning.steps 200 "
        f"--adversarial.environment_steps 16000 {GAIL} "
        "--discriminator.objective seqgan_kit.algorithms.objectives.non_saturating"
    ),
    "pictures": (
        "images --data.side 16 --data.scenes 500 --generator.width 8 --discriminator.network.width 8 "
        "--discriminator.matching 40 --adversarial.rounds 80 --adversarial.batch_size 32 --evaluation.every 20 "
        "--evaluation.samples 100 --evaluation.feature_steps 60 --evaluation.matcher none"
    ),
}
WARM_UPS = ("likelihood", "cloning")


def write_data(folder: Path) -> None:
    """captions.txt: 1,000 of COCO's. tunes.txt: 600 tunes of a theme that comes back, moved within a scale."""
    captions = (DATA / "text/image_coco/train.txt").read_text("utf-8").splitlines()[:1000]
    (folder / "captions.txt").write_text("\n".join(captions) + "\n", "utf-8")
    rng, scale = random.Random(0), [60, 62, 64, 65, 67, 69, 71, 72, 74, 76]
    tunes = []
    for _ in range(600):
        theme = [rng.choice((0, 1, 2, 2, 4))]
        while len(theme) < 4:
            theme.append(min(6, max(0, theme[-1] + rng.choice((-2, -1, -1, 1, 1, 2)))))
        moved = [[place + move for place in theme] for move in (0, rng.choice((1, 2)), 0)]
        tunes.append(" ".join(str(scale[place]) for part in moved for place in part) + " 60")
    (folder / "tunes.txt").write_text("\n".join(tunes) + "\n", "utf-8")


def called(words: str) -> float:
    """Runs a command, which must succeed; CPU seconds."""
    output, start = io.StringIO(), time.process_time()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = seqgan_kit(words.split())
    if status:
        raise SystemExit(f"{words}: {output.getvalue()[-2000:]}")
    return time.process_time() - start


def scored(run: Path, model: str, name: str, error: float) -> Score:
    """error: where the command tells none, as of a likelihood."""
    called(f"evaluate {run} --model {model} --seed {FRESH}")
    found = score_of(json.loads((run / "evaluation.json").read_text())["metrics"], name)
    return found if found.error == found.error else Score(found.value, error)


def measured(run: Path) -> dict[str, Any]:
    """A row of the record."""
    record = json.loads((run / "run.json").read_text())
    best, verdict = record["best"], record["verdict"]
    name, direction = best["score"], about(PREFIX + best["score"])[1]
    there = [model for model in kept(run) if model != "best"]
    error = max(end["interval"] or 0.0 for end in record["ends"].values()) / SURE
    found = {model: scored(run, model, name, error) for model in ("best", *there)}
    before = next((model for model in WARM_UPS if model in found), None)
    against = compared(found["best"], found[before or "game"], direction)
    game = found["best"] if best["phase"] == "adversarial" else found["game"]
    claim = None
    if before is not None:
        how, helped = compared(game, found[before], direction), ": it helped" in verdict
        claim = how != WORSE if helped else how != BETTER
    return {
        "score": name,
        "phase": best["phase"],
        "step": best["step"],
        "evaluations": best["evaluations"],
        "models": {model: [score.value, score.interval] for model, score in found.items()},
        "never_worse": against != WORSE,
        "told": verdict,
        "true": claim,
    }


def size(run: Path) -> int:
    return sum(path.stat().st_size for path in run.rglob("*") if path.is_file())


def cost(words: str, folder: Path) -> dict[str, float]:
    """CPU seconds and bytes of a run with the choice, and of one without."""
    found = {}
    for best in ("none", "auto"):
        run = folder / f"cost-{best}"
        found[f"cpu_{best}"] = round(called(f"train {words} --evaluation.best {best} --run.folder {run}"), 2)
        found[f"bytes_{best}"] = size(run)
        shutil.rmtree(run)
    return found


def added(path: Path, job: str, seed: str, row: dict[str, Any]) -> None:
    """Puts a row into the record, which other processes may write to, too."""
    record = json.loads(path.read_text()) if path.is_file() else {"machine": machine(1), "jobs": {}}
    record["jobs"].setdefault(job, {})[seed] = row
    path.write_text(json.dumps(record, indent=1) + "\n")


def table(record: dict[str, Any]) -> list[str]:
    """The record as it stands in recipes/README.md: means over the seeds."""
    lines = [
        "| job, score | warm-up | game | control | RUN/model | which is from | the game helped |",
        "|---|---|---|---|---|---|---|",
    ]
    for job, seeds in record["jobs"].items():
        rows = [row for seed, row in sorted(seeds.items()) if seed != "cost"]
        cells = [f"{job}, `{rows[0]['score']}`"]
        for names in (WARM_UPS, ("game",), ("control",), ("best",)):
            found = [row["models"][name][0] for row in rows for name in names if name in row["models"]]
            cells.append(f"{sum(found) / len(found):.4g}" if found else "-")
        phases = Counter(row["phase"].replace("_", " ") for row in rows)
        cells.append(", ".join(f"{phase} {count}" for phase, count in sorted(phases.items())))
        helped = sum(": it helped" in row["told"] for row in rows)
        cells.append("-" if rows[0]["true"] is None else f"{helped} of {len(rows)}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS), metavar="JOB")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "best_model.json")
    parser.add_argument("--cost", action="store_true", help="also measure what the choice costs")
    parser.add_argument("--table", action="store_true", help="print the record's table, and measure nothing")
    options = parser.parse_args()
    if options.table:
        print("\n".join(table(json.loads(options.out.read_text()))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_data(folder)
        words = {name: job.format(folder=folder, data=DATA) for name, job in JOBS.items()}
        for seed in options.seeds:
            for name in options.jobs:
                run = folder / f"{list(JOBS).index(name)}-{seed}"
                cpu = called(f"train {words[name]} --run.seed {seed} --run.folder {run}")
                row = {"cpu": round(cpu, 1), **measured(run)}
                added(options.out, name, str(seed), row)
                print(name, seed, json.dumps(row), flush=True)
        for name in options.jobs if options.cost else []:
            added(options.out, name, "cost", cost(words[name], folder))


if __name__ == "__main__":
    main()
