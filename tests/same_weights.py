"""Whether two checkouts train to the same weights, bit for bit: a short run of each family of recipes in both.

    python tests/same_weights.py /path/to/other/checkout             all families
    python tests/same_weights.py /path/to/other/checkout dialogue    those whose name contains "dialogue"
    python tests/same_weights.py /path/to/other/checkout --resume    runs of the other one: resumed, sampled, evaluated

With --resume, a run that the other checkout has trained is resumed for longer by both, sampled by both and evaluated by
both: weights, samples and scores must be the same.

Needs the real data (SEQGAN_KIT_DATA); what the other checkout gave is kept in --kept, so that it is run once. Takes
some minutes. A refactoring shows with it that it changed no number; a mend that changes some says which, in CHANGED:
beside commit c8e2271 these must differ, and all others be the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LIKELIHOOD = "--likelihood.steps 6 --likelihood.batch_size 16 --control.steps 3"
GAME = "--discriminator.steps 3 --discriminator.batch_size 16 --adversarial.rounds 3 --adversarial.batch_size 8"
TEXT = f"{LIKELIHOOD} {GAME} --evaluation.samples 40"
COCO = "--data.path {data}/text/image_coco/train.txt --data.max_length 30 --data.too_long drop"
DIALOGUE = f"{LIKELIHOOD} {GAME} --evaluation.samples 20"
TOPICAL = (
    "--data.path {data}/dialogue/valid.jsonl --evaluation.evaluators 16 --evaluation.evaluator.steps 2 "
    "--evaluation.evaluator.batch_size 8"
)
IMITATION = (
    "--evaluation.episodes 2 --evaluation.final 2 --evaluation.video 0 --cloning.steps 5 --policy.steps 64 "
    "--adversarial.environment_steps 1024 --environment.copies 4"
)
IMAGES = (
    "--data.scenes 300 --data.side 16 --generator.width 8 --discriminator.matching 3 --adversarial.rounds 3 "
    "--adversarial.batch_size 16 --evaluation.samples 20 --evaluation.feature_steps 3 --joint.steps 3 "
    "--joint.batch_size 16"
)
DEMOS = "--demonstrations.path {data}/demos/"

# family: task, recipe (in either checkout) and options. Old import paths are meant: they must go on working.
FAMILIES = {
    "text oracle": f"text --config recipes/oracle.yaml --data.sentences 200 {TEXT}",
    "text shapes": f"text --config recipes/shapes.yaml --data.sentences 300 {TEXT}",
    "text own": f"text --config recipes/own_text.yaml {COCO} {TEXT}",
    "text maligan": f"text --config recipes/coco_lstm_maligan.yaml {COCO} {TEXT}",
    "text relgan": f"text --config recipes/coco_lstm_relgan.yaml {COCO} {TEXT}",
    "text textgan": f"text --config recipes/textgan.yaml {COCO} {TEXT}",
    "text wgan_gp": (
        "text --config recipes/wgan_gp_characters.yaml --data.path {data}/text/image_coco/test.txt "
        "--adversarial.rounds 2 --adversarial.batch_size 8 --discriminator.batch_size 8 --evaluation.samples 20"
    ),
    "text labelled": f"text --config recipes/sentiment.yaml --data.path {{data}}/text/mr_cr/stsa.binary.test {TEXT}",
    "text gpt2": f"text --config recipes/coco_gpt2_seqgan.yaml {COCO} {TEXT}",
    "text critic": (
        f"text --config recipes/shapes.yaml --data.sentences 300 {TEXT} --adversarial.critic.enabled true "
        "--discriminator.network seqgan_kit.networks.recurrent.TextLSTM "
        "--adversarial.credit seqgan_kit.token_credit.Prefixes --adversarial.passes 2 "
        "--adversarial.estimator seqgan_kit.estimators.ppo --adversarial.baseline seqgan_kit.credit.leave_one_out"
    ),
    "dialogue shapes": f"dialogue --config recipes/dialogue/shapes.yaml --data.dialogues 200 {DIALOGUE}",
    "dialogue lstm": f"dialogue --config recipes/dialogue/topical_lstm.yaml {TOPICAL} {DIALOGUE}",
    "dialogue gpt2": f"dialogue --config recipes/dialogue/topical_gpt2.yaml {TOPICAL} {DIALOGUE} --adversarial.kl 0.1",
    "dialogue t5": (
        f"dialogue --config recipes/dialogue/topical_t5.yaml {TOPICAL} {DIALOGUE} "
        "--adversarial.credit seqgan_kit.token_credit.MonteCarlo --adversarial.credit.rollouts 2"
    ),
    "imitation ppo": f"imitation --config recipes/imitation/cartpole.yaml {DEMOS}CartPole-v1_ppo_det.npz {IMITATION}",
    "imitation trpo": f"imitation --config recipes/imitation/acrobot.yaml {DEMOS}Acrobot-v1_ppo_det.npz {IMITATION}",
    "imitation squash": (
        f"imitation --config recipes/imitation/pendulum.yaml {DEMOS}Pendulum-v1_sac_det.npz {IMITATION} "
        "--policy.squash true --discriminator.log_prob true --discriminator.objective seqgan_kit.objectives.airl"
    ),
    "imitation gru": (
        f"imitation --config recipes/imitation/cartpole.yaml {DEMOS}CartPole-v1_ppo_det.npz {IMITATION} "
        "--policy.recurrent 8 --demonstrations.subsample 1 --discriminator.absorbing true --discriminator.replay 2"
    ),
    "images cls": f"images --config recipes/images/gan_cls.yaml {IMAGES}",
    "images int": f"images --config recipes/images/gan_int_cls.yaml {IMAGES} --style.steps 3",
    "images stackgan": (
        f"images --config recipes/images/stackgan.yaml {IMAGES} --second.side 32 --second.rounds 2 "
        "--second.batch_size 8"
    ),
    "images encoder": "encoder --data.scenes 300 --data.side 16 --joint.steps 4 --joint.batch_size 16",
    "images encoder decayed": (
        "encoder --data.scenes 300 --data.side 16 --joint.steps 4 --joint.batch_size 16 "
        "--joint.optimizer.weight_decay 0.01"
    ),
}

# families whose numbers are others than those of this commit, on purpose, and why
BEFORE = "c8e2271"
ROLLED = "the random numbers of all completions of a roll-out are drawn before the first token"
LOW = "in bf16 all that is drawn is computed so, too, and the logits of a step as those of a draw"
CHANGED = {
    "text oracle": f"{ROLLED}; {LOW}",
    "text relgan": LOW,
    "text textgan": LOW,
    "text shapes": ROLLED,
    "text own": ROLLED,
    "dialogue t5": ROLLED,
    "text gpt2": f"dropout is on from the first step; {ROLLED}",
    "text maligan": "leave-one-out compares the continuations of a prefix, not of all prefixes",
    "imitation squash": "actions are drawn in a unit of their bounds, which are 2",
    "images encoder decayed": "biases and gains of norms are not decayed",
}


# task: how a finished run goes on, and what is then done with it
LONGER = {
    "text": ("--adversarial.rounds 5", ["sample {run} --count 3", "evaluate {run} --samples 20"]),
    "dialogue": ("--adversarial.rounds 5", ["sample {run} --text hello", "evaluate {run} --samples 20"]),
    "imitation": ("--adversarial.environment_steps 1536", ["evaluate {run} --episodes 2"]),
    "images": ("--adversarial.rounds 5", ["sample {run} --text circle --out {run}/made", "evaluate {run}"]),
    "encoder": ("--joint.steps 6", ["evaluate {run}"]),
}


def command(checkout: Path, words: str) -> str:
    """What `seqgan-kit WORDS` of this checkout prints, warnings left out. Raises SystemExit where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-m", "seqgan_kit.cli", *words.split()], cwd=checkout, env=environment, capture_output=True
    )
    if done.returncode:
        raise SystemExit(f"seqgan-kit {words} in {checkout} failed:\n{done.stderr.decode()[-3000:]}")
    return done.stdout.decode()


def weights(run: Path) -> dict[str, str]:
    """A digest of every file of weights that users load, by its place in the run folder."""
    files = [path for path in sorted(run.rglob("*.safetensors")) if "checkpoints" not in path.parts]
    found = {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    # today RUN/model is the best one, and RUN/game the last, as RUN/model was
    last = {name.replace("game", "model", 1): digest for name, digest in found.items() if name.startswith("game/")}
    return {name: digest for name, digest in found.items() if not name.startswith("game/")} | last


def trained(checkout: Path, options: str, data: Path) -> dict[str, str]:
    """What a short run leaves. Raises SystemExit where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        # the same texts: today's reading holds out by distinct text, and gives what was cut no end
        as_then = " --data.reading 1" if checkout == ROOT and options.split()[0] in ("text", "dialogue") else ""
        command(checkout, f"train {options.format(data=data)}{as_then} --run.folder {run} --run.threads 1")
        return weights(run)


def gone_on(checkout: Path, old: Path, task: str) -> dict[str, str]:
    """What a run of another checkout leaves, and prints, when this one goes on with it."""
    longer, more = LONGER[task]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        shutil.copytree(old, run)
        found = {}
        for words in (*more, f"resume {run} {longer}", *more):
            printed = command(checkout, words.format(run=run)).replace(str(run), "RUN")
            if words.startswith("evaluate"):  # how a table looks may change, what it says may not
                printed = scores(run)
            if not words.startswith("resume"):
                found[f"{words} after {len(found)}"] = printed
        return found | weights(run)


NEW = ("unknown", "nll_word", "nll_character", "perplexity_word", "perplexity_character")
NEW += ("ngram_distance", "joint_distance")


def scores(run: Path) -> str:
    """The numbers of the run's last `evaluate` that the other one knows, too, without intervals, whose table of
    Student's t is now exact. Metrics of text differ where tokens are no words, or some are unknown."""
    found = json.loads((run / "evaluation.json").read_bytes())
    known = {part: value for part, value in found.items() if part not in ("measured", "model")}
    for part in ("metrics", "real"):
        known[part] = {name: value for name, value in known.get(part, {}).items() if name not in NEW}
    lines = json.dumps(known, indent=1, sort_keys=True).splitlines()
    return "\n".join(line.rstrip(",") for line in lines if "interval" not in line)


def both_go_on(other: Path, words: str, data: Path) -> tuple[dict[str, str], dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command(other, f"train {words.format(data=data)} --run.folder {run} --run.threads 1")
        task = words.split()[0]
        return gone_on(other, run, task), gone_on(ROOT, run, task)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("only", nargs="?", default="")
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "same_weights.json")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    data = Path(os.environ["SEQGAN_KIT_DATA"]).resolve()
    kept = json.loads(options.kept.read_text()) if options.kept.exists() else {}
    other, differ = options.other.resolve(), 0
    git = subprocess.run(["git", "-C", other, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    commit = git.stdout.strip()
    for family, words in FAMILIES.items():
        if options.only not in family:
            continue
        if options.resume:
            before, here = both_go_on(other, words, data)
        else:
            key = f"{other} {words}"
            if key not in kept:
                kept[key] = trained(other, words, data)
                options.kept.write_text(json.dumps(kept))
            before, here = kept[key], kept[key] if other == ROOT else trained(ROOT, words, data)
        wrong = sorted(name for name, digest in before.items() if here.get(name) != digest)
        more = sorted(set(here) - set(before))
        meant = CHANGED.get(family) if commit.startswith(BEFORE) else None
        differ += bool(wrong) != bool(meant)
        told = f"DIFFER in {', '.join(wrong)}" if wrong else f"{len(before)} files the same"
        told += f"; here also {', '.join(more)}" if more else ""
        if meant:
            told += f"; as is meant: {meant}" if wrong else f"; should DIFFER, or leave CHANGED: {meant}"
        print(f"{family:<20} {told}", flush=True)
    return min(differ, 1)


if __name__ == "__main__":
    sys.exit(main())
