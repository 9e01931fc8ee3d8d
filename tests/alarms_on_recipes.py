"""Which alarms ring on the recipes, shortened to a minute or so each: none should, but where a recipe truly drifts.

    python tests/alarms_on_recipes.py              all of them
    python tests/alarms_on_recipes.py imitation    those whose name contains "imitation"

Needs the real data (SEQGAN_KIT_DATA). Prints what rang in each run; exits with 1 where something did.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = "--control.enabled false --likelihood.steps 500 --discriminator.steps 100"
GAME = "--adversarial.rounds 40 --evaluation.samples 500 --evaluation.rounds 10"
COCO = "--data.path {data}/text/image_coco/train.txt --data.max_length 30 --data.too_long drop"
IMITATION = "--control.frozen false --evaluation.video 0 --evaluation.final 20 --demonstrations.path {data}/demos/"
IMAGES = "--data.side 16 --evaluation.feature_steps 100 --evaluation.matcher none --run.precision fp32"

RECIPES = {
    "text shapes": f"text --config recipes/shapes.yaml --data.sentences 4000 {TEXT} {GAME} --adversarial.rounds 60",
    "text oracle": f"text --config recipes/oracle.yaml {TEXT} {GAME}",
    "text own": f"text --config recipes/own_text.yaml {COCO} {TEXT} {GAME}",
    "text seqgan": f"text --config recipes/coco_lstm_seqgan.yaml {COCO} {TEXT} {GAME}",
    "text maligan": f"text --config recipes/coco_lstm_maligan.yaml {COCO} {TEXT} {GAME}",
    "text relgan": f"text --config recipes/coco_lstm_relgan.yaml {COCO} {TEXT} {GAME} --adversarial.rounds 60",
    "text labelled": (
        f"text --config recipes/sentiment.yaml --data.path {{data}}/text/mr_cr/stsa.binary.test {TEXT} {GAME}"
    ),
    "dialogue shapes": (
        "dialogue --config recipes/dialogue/shapes.yaml --data.dialogues 1500 --control.enabled false "
        "--adversarial.rounds 60 --evaluation.samples 200"
    ),
    "imitation pendulum": (
        f"imitation --config recipes/imitation/pendulum.yaml {IMITATION}Pendulum-v1_sac_det.npz "
        "--adversarial.environment_steps 200000"
    ),
    "imitation cartpole": (
        f"imitation --config recipes/imitation/cartpole.yaml {IMITATION}CartPole-v1_ppo_det.npz "
        "--adversarial.environment_steps 300000"
    ),
    "imitation acrobot": (
        f"imitation --config recipes/imitation/acrobot.yaml {IMITATION}Acrobot-v1_ppo_det.npz "
        "--adversarial.environment_steps 200000"
    ),
    "imitation mountain car": (
        f"imitation --config recipes/imitation/mountain_car.yaml {IMITATION}MountainCar-v0_oai_MountainCar-v0_sto.npz "
        "--adversarial.environment_steps 200000"
    ),
    "imitation reacher": (
        f"imitation --config recipes/imitation/reacher.yaml {IMITATION}Reacher-v4_oai_log_Reacher-v1_4_sto.npz "
        "--adversarial.environment_steps 200000"
    ),
    "images cls": (
        f"images --config recipes/images/gan_cls.yaml {IMAGES} --data.scenes 1000 --generator.width 16 "
        "--discriminator.matching 300 --adversarial.rounds 300 --evaluation.samples 200 --evaluation.every 100"
    ),
    "images stackgan": (
        f"images --config recipes/images/stackgan.yaml {IMAGES} --data.scenes 600 --second.side 32 --generator.width 8 "
        "--discriminator.matching 300 --adversarial.rounds 300 --second.rounds 300 --evaluation.samples 100 "
        "--evaluation.every 100"
    ),
}


def rung(options: str, data: Path) -> list[dict[str, str]]:
    """What rang in a run. Raises SystemExit where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", *options.format(data=data).split(), "--run.folder", f"{folder}/run", "--run.threads", "1"]
        command = [sys.executable, "-m", "seqgan_kit.cli", *words]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
        if done.returncode:
            raise SystemExit(f"seqgan-kit {' '.join(words)} failed:\n{done.stderr.decode()[-2000:]}")
        found: list[dict[str, str]] = json.loads(Path(folder, "run", "run.json").read_bytes()).get("alarms", [])
        return found


def main(words: list[str]) -> int:
    chosen = {name: one for name, one in RECIPES.items() if not words or any(word in name for word in words)}
    false = 0
    for name, options in chosen.items():
        found = rung(options, Path(os.environ["SEQGAN_KIT_DATA"]))
        false += bool(found)
        print(f"{name}: {'silent' if not found else ''}", flush=True)
        for one in found:
            print(f"    {one['name']} ({one['phase']}, step {one['step']}): {one['sentence']}", flush=True)
    return int(false > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
