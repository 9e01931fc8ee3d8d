"""A campaign of SIGKILLs: tiny runs of every use and kind of model are killed again and again, at random moments, and
resumed, until they end; then every file must be that of a run that nobody killed.

    python tests/kills.py --kills 200 --seed 0 --out kills.json [--kinds "text, LSTM" encoder]

Moments: in the course of a random step; as a file of a checkpoint, of a model or of the run's description is opened or
moved, or some milliseconds later, in the midst of the write; and in the first moments of a start. The processes are
forked from one that has imported everything, so that a resume costs less than a second on an idle machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

import runs
from seqgan_kit.engine import checkpoints
from seqgan_kit.files import write_json
from tiny_models import GPT2, T5

ROUTE = ("--adversarial.route", "seqgan_kit.text.differentiable.GumbelSoftmax")
ONE_STAGE, NO_PICTURES = ("--second.side", "0"), ("--evaluation.features", "none")
TINY_ENCODER = {name: runs.TINY_IMAGES[name] for name in ("run", "data", "joint")}


def encoder(folder: Path, *options: str) -> list[str]:
    return runs._words("encoder", {**TINY_ENCODER, "evaluation": {"samples": 8, "every": 10}}, folder, options)


KINDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "text, LSTM": (runs.tiny, ()),
    "text, GPT-2 with dropout": (runs.tiny, ("--generator.config", GPT2, "--evaluation.every", "7")),
    "text, Gumbel-softmax": (
        runs.tiny,
        (*ROUTE, f"{ROUTE[0]}.straight_through", "true", "--discriminator.objective",
         "seqgan_kit.algorithms.objectives.relativistic"),
    ),
    "text, matching of features": (runs.tiny, (*ROUTE, f"{ROUTE[0]}.matching", "seqgan_kit.tokens.soft.Gaussians")),
    "dialogue, LSTM, roll-outs": (
        runs.tiny_dialogue,
        ("--adversarial.kl", "0.1", "--adversarial.credit", "seqgan_kit.tokens.credit.MonteCarlo",
         "--adversarial.credit.rollouts", "2"),
    ),
    "dialogue, T5 with dropout": (runs.tiny_dialogue, ("--generator.config", T5)),
    "dialogue, LoRA": (runs.tiny_dialogue, ("--generator.config", GPT2, "--generator.lora", "2")),
    "dialogue, REGS": (runs.tiny_dialogue, ("--adversarial.credit", "seqgan_kit.tokens.credit.Prefixes")),
    "imitation, PPO": (runs.tiny_imitation, ()),
    "imitation, TRPO": (runs.tiny_imitation, ("--policy.improvement", "TRPO")),
    "imitation, GRU policy": (runs.tiny_imitation, ("--policy.recurrent", "4")),
    "images, with style": (runs.tiny_images, (*ONE_STAGE, *NO_PICTURES)),
    "images, StackGAN": (runs.tiny_images, (*NO_PICTURES, "--style.steps", "0")),
    "encoder": (encoder, ()),
}  # fmt: skip
INTERVAL, MOST = 3, 25  # steps between two checkpoints; kills of one victim, after which it is left to end
CLOCKS = {"run.json", "report.html", "manifest.json", "lock"}  # files whose content depends on the clock


@dataclass(frozen=True)
class Kill:
    """SIGKILL at a moment, where the process lives so long. how: what it was aimed at.

    after: steps that are made before. event: which opening or moving of a file then; 0 takes a moment within the step,
    `part` of the time that the one before it took. part: of 5 ms after that event. progress: where the number of steps
    made is kept.
    """

    how: str
    after: int
    event: int
    part: float
    progress: Path

    def arm(self) -> None:
        made, events, began = -1, 0, time.monotonic()
        file = os.open(self.progress, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

        def before(_: str, __: int) -> None:
            nonlocal made, began
            took, began, made = time.monotonic() - began, time.monotonic(), made + 1
            os.pwrite(file, b"%d" % made, 0)
            if self.how == "start" and made == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "step" and made == self.after:
                runs._send(signal.SIGKILL, self.part * took)

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal events
            writes = event == "os.rename" or (event == "open" and set(str(arguments[1])) & set("wax"))
            if made + 1 < self.after or not writes or not _aimed_at(self.how, str(arguments[0])):
                return
            events += 1
            if events == self.event:
                if self.part < 0.5:
                    os.kill(os.getpid(), signal.SIGKILL)
                runs._send(signal.SIGKILL, 0.005 * (self.part - 0.5))

        runs._before_each_step(before)
        if self.how == "start":
            runs._send(signal.SIGKILL, 0.5 * self.part**2)
        elif self.event:
            sys.addaudithook(audit)


def _aimed_at(how: str, path: str) -> bool:
    hidden, checkpoint = f"{os.sep}." in path, ".unfinished-" in path
    return {"checkpoint": checkpoint, "record or model": hidden and not checkpoint}.get(how, hidden)


def some_kill(rng: random.Random, progress: Path, first: bool) -> Kill:
    """A moment by chance. first: as the run begins, where its folder is made."""
    how = rng.choice(["first files", "start"] if first else ["step", "step", "checkpoint", "record or model", "start"])
    event = {"step": 0, "start": 0, "checkpoint": rng.randint(1, 6), "first files": rng.randint(1, 5)}
    after = {"start": 0, "first files": 0}.get(how, rng.randint(1, 8))
    return Kill(how, after, event.get(how, rng.randint(1, 4)), rng.random(), progress)


@dataclass
class Found:
    """Of a kind of run."""

    victims: int = 0
    kills: int = 0
    aimed_at: Counter[str] = field(default_factory=Counter)
    half_written_checkpoints: int = 0
    half_written_models: int = 0
    before_run_json: int = 0
    most_steps_made_again: int = 0
    steps_lost_beyond_interval: int = 0
    victims_that_differ: int = 0
    dead_folders: int = 0
    damaged_files: int = 0
    faults: list[str] = field(default_factory=list)


def position(run: Path, found: Found) -> int:
    """The steps that the newest checkpoint holds; counts what is damaged."""
    for path in reversed(checkpoints.all_in(run / "checkpoints")):
        try:
            checkpoints.check(path)
            return sum(checkpoints.read(path, "shared")["counters"].values())
        except Exception as error:
            found.damaged_files += 1
            found.faults.append(f"{path.name}: {error!r}")
    return 0


def looked_at(run: Path, found: Found) -> None:
    """What a kill has left behind."""
    found.half_written_checkpoints += any((run / "checkpoints").glob(".unfinished-*"))
    found.half_written_models += any(path.is_dir() for path in run.glob(".[a-z]*"))
    found.before_run_json += not run.exists()
    for path in [*run.glob("*.json"), *run.glob("*.yaml")]:
        try:
            yaml.safe_load(path.read_text()) if path.suffix == ".yaml" else json.loads(path.read_text())
        except ValueError as error:
            found.damaged_files += 1
            found.faults.append(f"{path.name}: {error!r}")


def contents(run: Path) -> dict[str, Any]:
    """Every file of a run that has ended, without what the clock has to do with."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        name = str(path.relative_to(run))
        content: Any = path.read_bytes()
        if path.name in CLOCKS or name == "config.yaml":
            content = None
        elif path.name == "shared.json":
            content = runs.flat(checkpoints.read(path.parent, "shared"))
            content = {key: value for key, value in content.items() if key.split("/")[1] not in runs.CLOCKS}
        elif name == "metrics.jsonl":
            content = runs.lines(run)
        found[name] = content
    return found


def ended(words: list[str], log: Path, moment: Kill | None = None) -> int:
    process = runs.Launched(words, log, moment=moment)
    process._process.join(1200)
    if process.alive():
        process.send(signal.SIGKILL)
        raise RuntimeError(f"{' '.join(words[:3])} did not end in 20 minutes: {log.read_text()[-500:]}")
    return process.wait()


def victim(run: Path, words: list[str], whole: dict[str, Any], rng: random.Random, most: int, found: Found) -> None:
    """One run, killed until it ends or `most` kills are made, and compared."""
    log, progress = run.with_name("log"), run.with_name("progress")
    killed, starts, found.victims = 0, rng.randint(1, 3), found.victims + 1
    while True:
        begun, before = (run / "run.json").is_file(), position(run, found)
        if run.exists() and not begun:
            found.dead_folders += 1
            found.faults.append(f"{run} without run.json: {sorted(path.name for path in run.iterdir())}")
            return
        moment = some_kill(rng, progress, killed < starts and not before) if killed < most else None
        progress.unlink(missing_ok=True)
        status = ended(["resume", str(run)] if begun else words, log, moment)
        if status == 0:
            break
        told = log.read_text()
        if status != -signal.SIGKILL or "Traceback" in told or "damaged" in told:
            found.dead_folders += 1
            found.faults.append(f"status {status} after {killed} kills: {told[-1500:]}")
            return
        assert moment is not None
        killed, found.kills, found.aimed_at[moment.how] = killed + 1, found.kills + 1, found.aimed_at[moment.how] + 1
        looked_at(run, found)
        made = int(progress.read_text() or 0) if progress.is_file() else 0
        again = before + made - position(run, found)
        found.most_steps_made_again = max(found.most_steps_made_again, again)
        found.steps_lost_beyond_interval += max(0, again - INTERVAL)
    now = contents(run)
    differ = [name for name in {**whole, **now} if name not in whole or name not in now or whole[name] != now[name]]
    if differ:
        found.victims_that_differ += 1
        found.faults.append(f"after {killed} kills: {differ}")


def campaign(kills: int, seed: int, kinds: list[str], folder: Path, tell: Any) -> dict[str, Found]:
    """So many kills, over all kinds in turn. tell: is given what was found so far, and a line of it."""
    rng = random.Random(seed)
    found = {kind: Found() for kind in kinds}
    whole: dict[str, dict[str, Any]] = {}
    number = 0
    while sum(one.kills for one in found.values()) < kills:
        kind = kinds[number % len(kinds)]
        number += 1
        begin, options = KINDS[kind]
        root = folder / f"{number:04d}"
        try:
            if kind not in whole:
                straight = folder / kind.replace(", ", "-").replace(" ", "-") / "run"
                words = begin(straight, *options)
                if ended(words, straight.with_name("log")):
                    raise RuntimeError(straight.with_name("log").read_text()[-3000:])
                whole[kind] = contents(straight)
            left = kills - sum(one.kills for one in found.values())
            victim(root / "run", begin(root / "run", *options), whole[kind], rng, min(MOST, left), found[kind])
        except Exception:
            found[kind].faults.append(traceback.format_exc()[-3000:])
            if kind not in whole or len(found[kind].faults) > 20:
                raise
        one = found[kind]
        tell(found, f"{kind}: {one.victims} victims, {one.kills} kills, {len(one.faults)} faults")
        if not one.faults:
            shutil.rmtree(root, ignore_errors=True)
    return found


HEAD = ("kind", "victims", "kills", "half-written checkpoints", "most steps made again", "differ", "dead", "damaged")


def table(record: dict[str, Any]) -> str:
    """In Markdown."""
    rows = [
        (kind, one["victims"], one["kills"], one["half_written_checkpoints"], one["most_steps_made_again"],
         one["victims_that_differ"], one["dead_folders"], one["damaged_files"])
        for kind, one in record["kinds"].items()
    ]  # fmt: skip
    sums = [sum(row[i] for row in rows) for i in range(1, len(HEAD))]
    sums[3] = max(row[4] for row in rows)
    lines = [HEAD, ["---"] * len(HEAD), *rows, ("all", *sums)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file of the record, in JSON")
    there = [kind for kind in KINDS if kind != "dialogue, LoRA" or importlib.util.find_spec("peft")]
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=there, metavar="KIND")
    parser.add_argument("--folder", type=Path, help="where the runs are made (default: a temporary one)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    began = time.monotonic()
    git = ["git", "-C", str(runs.ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    record: dict[str, Any] = {
        "command": f"python tests/kills.py --kills {options.kills} --seed {options.seed}",
        "commit": commit,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seed": options.seed,
        "checkpoint_interval": INTERVAL,
    }

    def tell(found: dict[str, Found], line: str) -> None:
        """Keeps the record at any time: a long campaign may be stopped."""
        print(line, flush=True)
        kinds = {kind: vars(one) for kind, one in found.items()}
        record.update(seconds=round(time.monotonic() - began), kinds=kinds)
        if options.out:
            write_json(options.out, record)

    found = campaign(options.kills, options.seed, options.kinds, folder, tell)
    print(table(record))
    faults = [f"{kind}: {fault}" for kind, one in found.items() for fault in one.faults]
    print("\n".join(faults) or "no faults", f"\nruns are in {folder}" if faults else "")
    if not faults and options.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if faults else 0


if __name__ == "__main__":
    import kills  # whose classes the forked processes find by this name

    sys.exit(kills.main())
