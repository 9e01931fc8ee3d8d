"""What runs of images, and of their text encoder, refuse, and what their refusals advise: see `advice.Case`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

import runs
import tiny_models
from advice import ENCODER as ENCODER_CONFIG
from advice import Case
from advice_text import both, content
from seqgan_kit.cli import main

CRITIC = runs.CRITIC


def pictures(*captions: str, label: str | None = None) -> Callable[[Path], object]:
    """The folder `own` of 48 pictures with captions of two words, or with those that are given, in turn."""
    told = captions or [f"{a} {b}" for a in ("red", "blue", "green") for b in ("circle", "square", "star", "moon")]

    def write(folder: Path) -> None:
        (folder / "own").mkdir(exist_ok=True)
        rows = []
        for i in range(48):
            pixels = np.random.default_rng(i).integers(0, 255, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "own" / f"{i}.png")
            more = {} if label is None else {"label": "ab"[i % 2] if label == "label" else label}
            rows.append(json.dumps({"file_name": f"{i}.png", "text": told[i % len(told)], **more}))
        (folder / "own" / "metadata.jsonl").write_text("\n".join(rows) + "\n")

    return write


TRAIN = "train images"
DIRECT = f"{TRAIN} --joint.steps 0"
FILE = f"{DIRECT} --data.path own --second.side 0"
PAIRS = "seqgan_kit.algorithms.objectives.ls_gan"
OPTIONS = [
    Case(
        f"{TRAIN} --data.captions_from names",
        "it is about your own pictures",
        ("no --data.captions_from",),
    ),
    Case(f"{TRAIN} --adversarial.discriminator_weight 0", "leaves nothing to learn from: give 1"),
    Case(f"{TRAIN} --data.held_out 0", "--data.held_out 0: give a share between 0 and 1"),
    Case(f"{TRAIN} --data.scenes 1", "--data.scenes 1: give 2 to 1000000", ("--data.scenes 40",)),
    Case(f"{TRAIN} --data.side 20", "--data.side 20: give 4 times a power of 2", ("--data.side 8", "--data.side 16")),
    Case(f"{TRAIN} --second.side 20", "--second.side 20: give 4 times a power of 2", ("--second.side 32",)),
    Case(f"{TRAIN} --second.side 8", "give more than --data.side 16", ("--second.side 32",)),
    Case(
        f"{TRAIN} --generator.attention 5",
        "--generator.attention 5: give 0, or one of [4, 8]",
        ("--generator.attention 0", "--generator.attention 4"),
    ),
    Case(
        f"{TRAIN} --discriminator.near 5",
        "--discriminator.near 5: give at most --discriminator.wrong 4",
        ("--discriminator.near 4", "--discriminator.wrong 5"),
    ),
    Case(f"{TRAIN} --discriminator.penalised 0", "--discriminator.penalised 0: give a number above 0, at most 1"),
    Case(f"{TRAIN} --discriminator.mismatched 2", "--discriminator.mismatched 2: give a number from 0 to 1"),
    Case(f"{TRAIN} --discriminator.objective {PAIRS}", "one that compares pictures in pairs"),
    Case(
        f"{TRAIN} --discriminator.objective seqgan_kit.algorithms.objectives.wasserstein --discriminator.smoothing .9",
        "--discriminator.smoothing: ",
        ("--discriminator.smoothing 1",),
    ),
    Case(f"{TRAIN} --adversarial.batch_size 1", "--adversarial.batch_size 1: give at least 2"),
    Case(
        f"{TRAIN} --adversarial.batch_size 100",
        "fewer than --adversarial.batch_size 100",
        ("--adversarial.batch_size 40",),
    ),
    Case(f"{TRAIN} --joint.length 4", "--joint.length 4: give at least 48"),
    Case(f"{DIRECT} --text.encoder nowhere", "neither `words` nor the folder of a model", ("--text.encoder words",)),
    Case(
        f"{FILE} --data.mismatch class", "does not give every picture a class", ("--data.mismatch caption",), pictures()
    ),
    Case(
        f"{FILE} --data.mismatch class",
        "does not give every picture a class",
        files=pictures(),
        mend=pictures(label="label"),
    ),
    Case(FILE, "all pictures have the same caption", files=pictures("a circle"), mend=pictures()),
    Case(f"{FILE} --data.workers 0", "--data.workers 0: give at least 1", files=pictures()),
    Case(
        f"{FILE} --data.cache own/0.png/x",
        "give another --data.cache",
        ("--data.cache kept", "no --data.cache"),
        pictures(),
    ),
    Case(
        f"{FILE} --text.cache own/0.png/x",
        "give another --text.cache",
        ("--text.cache kept", "no --text.cache"),
        pictures(),
    ),
    Case(f"{TRAIN} --evaluation.matcher nowhere", "is no folder", ("no --evaluation.matcher",)),
    Case(f"{TRAIN} --evaluation.clip nowhere", "is no folder", ("no --evaluation.clip",)),
    Case(f"{TRAIN} --evaluation.features nowhere", "is no folder", ("no --evaluation.features",)),
    Case(
        f"{FILE} --adversarial.batch_size 4 --second.batch_size 4",
        "no word is in 2",
        ("--joint.steps 2000",),
        pictures(*(f"w{i}" for i in range(48))),
    ),
]


def begun(folder: Path, *options: str) -> None:
    """Another finished run, in the place of an earlier one."""
    shutil.rmtree(folder / "one", ignore_errors=True)
    main([*begin(folder / "one"), *options])


def encoder_run(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(ENCODER_CONFIG))
    main(["train", "encoder", "--config", "tiny.yaml", "--run.folder", "one", "--joint.steps", "2"])


def model(folder: Path) -> None:
    tiny_models.save(folder / "gpt2", "gpt2", [[{"role": "user", "content": "red blue green circle square star moon"}]])


PARTS = [
    Case(f"{DIRECT} --text.encoder one", "is a run: give its model", ("--text.encoder one/model",), encoder_run),
    Case(
        f"{DIRECT} --text.encoder x",
        "is no JSON object: copy the folder again",
        ("--text.encoder one/model",),
        both(encoder_run, lambda folder: (folder / "x").mkdir(), content("x/config.json", "x")),
    ),
    Case(
        f"{FILE} --text.encoder gpt2 --text.pooling own",
        "--text.pooling",
        ("--text.pooling mean",),
        both(pictures(), model),
    ),
    Case(
        f"{TRAIN} --discriminator.network {CRITIC} --discriminator.network.attention 5",
        "--discriminator.network: ",
        ("--discriminator.network.attention 0",),
    ),
    Case(f"{FILE} --data.mismatch class", "give --discriminator.mismatched 0", files=pictures(label="same"), late=True),
    Case(f"{TRAIN} --generator.optimizer.lr null", "--generator.optimizer.lr null: give a number"),
    Case(
        "sample one --text circle --like own/0.png",
        "train a run with --style.steps 2000",
        files=both(pictures(), begun),
        mend=lambda folder: begun(folder, "--style.steps", "1"),
    ),
    Case(
        "sample one --text circle --like own/0.png --count 2",
        "leave it out",
        ("no --count",),
        files=both(pictures(), lambda folder: begun(folder, "--style.steps", "1")),
    ),
]
ENCODER = [
    Case("train encoder --evaluation.samples 0", "--evaluation.samples 0: give at least 1"),
    Case("train encoder --joint.steps 1", "--joint.steps 1: give at least 2"),
    Case("train encoder --joint.batch_size 100", "fewer than --joint.batch_size 100", ("--joint.batch_size 40",)),
    Case("train encoder --joint.length 0", "--joint.length 0: give at least 48"),
    Case("train encoder --joint.dim 0", "--joint.dim 0: give at least 1"),
    Case("train encoder --joint.widths [4]", "--joint.widths", ("--joint.widths [4,4,8]",)),
    Case("train encoder --joint.alphabet ''", "alphabet", ("--joint.alphabet data", "--joint.alphabet paper")),
    Case("train encoder --joint.temperature 0", "--joint.temperature 0: give a number above 0"),
]
COMMANDS = [
    Case("sample RUN", "sample needs captions", ("--text circle",)),
    Case("sample RUN --text ''", "give a caption with a word in it", ("--text circle",)),
    Case("sample RUN --text circle --count 0", "sample --count 0: give at least 1"),
    Case("sample RUN --text circle --seed -1", "--seed -1: give a number from 0 to 4294967295"),
    Case("sample RUN --text circle --out a/b", "give another --out", ("--out c",), content("a", b"")),
    Case("evaluate RUN --samples 1", "evaluate --samples 1: give at least 10"),
]
CASES = [*OPTIONS, *PARTS, *ENCODER, *COMMANDS]


def begin(run: Path) -> list[str]:
    """The words that train the finished run: of the first stage alone, and without a style encoder."""
    few = ["--joint.steps", "0", "--discriminator.matching", "1", "--adversarial.rounds", "1", "--style.steps", "0"]
    return runs.tiny_images(run, *few, "--second.side", "0", "--evaluation.features", "none")
