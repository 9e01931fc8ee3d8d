"""What users give by mistake: one clear line each, in every command, and nothing left behind.

The rows of reliability.md's table of bad inputs, by their numbers there, and further ones.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from PIL import Image

import runs
from seqgan_kit.cli import main
from seqgan_kit.engine import checkpoints
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.errors import UserError

FEW = "--likelihood.steps 2 --discriminator.steps 1 --adversarial.rounds 1 --control.steps 1"
SMALL = {
    "text": f"{FEW} --run.checkpoint_steps 1 --evaluation.samples 4",
    "dialogue": f"{FEW} --evaluation.samples 4 --evaluation.evaluators 0",
    "imitation": "--cloning.steps 2 --adversarial.environment_steps 80 --evaluation.every 0",
    "images": "--joint.steps 0 --discriminator.matching 1 --adversarial.rounds 1 --second.side 0 --style.steps 0",
    "encoder": "--joint.steps 2",
}
ENCODER = {"run": {"threads": 1}, **{name: runs.TINY_IMAGES[name] for name in ("data", "joint")}}
TINY = {
    "text": runs.TINY,
    "dialogue": runs.TINY_DIALOGUE,
    "imitation": runs.TINY_IMITATION,
    "images": runs.TINY_IMAGES,
    "encoder": ENCODER | {"evaluation": {"samples": 10}},
}


class Row(NamedTuple):
    """number: in the table; 0 for one that was invented later. words: of the command, R for a copy of a run of `task`.

    told: what the only line must say; nothing where it must work. harm: what is done to the copy before.
    """

    number: int
    words: str
    told: str
    task: str = "text"
    harm: Callable[[Path], object] | None = None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good files and bad ones, the configurations of tiny runs, and such runs."""
    folder = tmp_path_factory.mktemp("bad")
    for task, config in TINY.items():
        (folder / f"{task}.yaml").write_text(yaml.safe_dump(config))
    files(folder)
    return folder


def files(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    deep = "[" * 100_000
    texts = {
        "ok.txt": "".join(f"w{i % 7} w{i % 5} w{i % 3}\n" for i in range(60)),
        "deep.jsonl": f'{{"text": {deep}\n',
        "deep.json": deep,
        "twice.yaml": "run:\n  seed: 1\n  seed: 2\n",
        "deep.yaml": deep,
        "empty.txt": "",
        "zero.py": "",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "binary.yaml").write_bytes(b"a: \xdb\xff\0")
    with open(folder / "huge.txt", "wb") as file:
        file.truncate(2**42)
    (folder / "cut.txt.gz").write_bytes(gzip.compress(b"a b c\n" * 1000)[:40])
    (folder / "folder").mkdir()
    for name, count in [("p12", 12), ("p24", 24)]:
        (folder / name).mkdir()
        rng = np.random.default_rng(0)
        for i in range(count):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
        lines = [json.dumps({"file_name": f"{i}.png", "text": f"a red thing number {i}"}) for i in range(count)]
        (folder / name / "metadata.jsonl").write_text("\n".join(lines))
    shutil.copytree(folder / "p12", folder / "p20")
    (folder / "p20" / "metadata.jsonl").unlink()
    os.mkfifo(folder / "p20" / "metadata.jsonl")
    steps = {"obs": np.zeros((21, 4), np.float32), "acts": np.zeros(20, np.int64)}
    np.savez(folder / "scalar.npz", **steps, lens=np.array(20))
    np.savez(folder / "lens.npz", obs=steps["obs"][:20], acts=steps["acts"], lens=np.array([5, 99]))
    np.savez(folder / "indices.npz", **steps, indices=np.array(3.0))


LONG = "run_" + "x" * 300
MEMORY = "GB of memory are free"
NPZ = "train imitation --demonstrations.path"
ONE = "at least 1$"
SEED = "from 0 to 4294967295"
SHARED = "checkpoints/[0-9]+"
TRAIN = [
    Row(5, "text --generator.hidden 1000000000", MEMORY),
    Row(6, "text --generator.hidden 50000000", MEMORY),
    Row(8, "text --likelihood.optimizer.lr nan", "lr: expected a number or null, not 'nan'"),
    Row(12, "text --likelihood.optimizer.betas [2,3]", "from 0 to below 1"),
    Row(15, "text --likelihood.optimizer.weight_decay -1", "at least 0"),
    Row(16, "text --run.seed -1", SEED),
    Row(17, "text --run.seed 100000000000000000000", SEED),
    Row(18, "text --run.seed 8589934592", SEED),
    Row(19, "text --run.threads -3", ONE),
    Row(24, "text --run.keep_checkpoints 0", ONE),
    Row(25, "text --run.keep_checkpoints -1", ONE),
    Row(29, "text --adversarial.turns.discriminator -3", "at least 0"),
    Row(30, "text --adversarial.credit.rollouts 0", ONE),
    Row(31, "text --adversarial.credit.rollouts -1", ONE),
    Row(32, 'text --adversarial.rewards [{"function":"os.getcwd","weight":.nan}]', "weight nan: give a finite"),
    Row(42, "text --discriminator.network builtins.print", "print"),
    Row(43, "text --discriminator.objective builtins.print", "print"),
    Row(44, "text --adversarial.estimator os.getcwd", "-> Tensor"),
    Row(45, "text --adversarial.baseline os.getcwd", "-> Tensor"),
    Row(46, "text --evaluation.samples 10000000000", MEMORY),
    Row(47, "text --data.sentences 1000000000000", MEMORY),
    Row(52, "text --data.path fifo", "is a pipe"),
    Row(54, "text --data.path /dev/zero", "is a device"),
    Row(55, "text --data.path /dev/urandom", "is a device"),
    Row(69, "text --data.path deep.jsonl --data.column text", "line 1: JSON that cannot be read"),
    Row(73, "text --run.folder run_\udcff", "not UTF-8"),
    Row(87, "text --config twice.yaml", "line 3: run.seed stands there before"),
    Row(90, "text --config binary.yaml", "binary.yaml can't be read"),
    Row(96, f"text --run.folder {LONG}", "File name too long: give a shorter name"),
    Row(100, 'text --generator.config {"model_type":"gpt2","n_layer":-1,"n_embd":8,"n_head":2}', "n_layer -1: give"),
    Row(103, 'text --generator.config {"model_type":"gpt2","n_layer":1,"n_embd":2000000,"n_head":2}', MEMORY),
    Row(111, "images --data.path p24", ""),
    Row(126, "images --data.path p12", ""),
    Row(135, "images --data.path p20", "is a pipe"),
    Row(151, "images --adversarial.interpolation .nan", "finite number"),
    Row(164, "encoder --joint.widths []", "give three"),
    Row(165, "encoder --joint.length 0", "at least"),
    Row(166, "encoder --joint.dim -1", ONE),
    Row(376, "dialogue --data.path fifo", "is a pipe"),
    Row(391, "imitation --demonstrations.path scalar.npz", "lens"),
    Row(407, "imitation --environment.copies 100000000", MEMORY),
    Row(411, 'imitation --environment.arguments {"nope":1}', "nope"),
    Row(417, "imitation --policy.hidden [-1]", ONE),
    Row(418, "imitation --policy.hidden [0]", ONE),
    Row(424, "imitation --policy.improvement TRPO --policy.improvement.divergence -1", "above 0"),
    Row(425, "imitation --policy.improvement TRPO --policy.improvement.divergence .nan", "finite number"),
    Row(436, "imitation --run.seed -1", SEED),
    Row(0, "text --data.world oracle --data.oracle_vocabulary 0", ONE),
    Row(0, "text --data.path huge.txt", "has 4398.0 GB, and .* GB of memory are free"),
    Row(0, "text --data.path cut.txt.gz", "cannot be read as gzipped UTF-8 text"),
    Row(0, "text --data.held_out_path fifo --data.path ok.txt", "is a pipe"),
    Row(0, "text --generator.model fifo", "is a pipe"),
    Row(0, "text --config deep.yaml", "deep.yaml can't be read"),
    Row(0, "text --config fifo", "is a pipe"),
    Row(0, "text --data fifo", "is a pipe"),
    Row(0, "text --evaluation.unit x", "expected words or characters or tokens or null, not 'x'"),
    Row(0, "text --discriminator.network.dropout x", "discriminator.network.dropout: expected a number, not 'x'"),
    Row(0, "text --seeds 1 4294967296", "--seeds 4294967296: give a number from 0 to 4294967295"),
    Row(0, "dialogue --generator.layers 100000000", "at most 1000$"),
    Row(0, "dialogue --discriminator.beams 1000000000", MEMORY),
    Row(0, "imitation --demonstrations.path lens.npz", "lens add up to 104 steps, but acts has 20"),
    Row(0, "imitation --demonstrations.path indices.npz", "indices are float64 of shape"),
    Row(0, "images --discriminator.network.join 2", "join 2: give an odd number"),
    Row(0, "images --generator.width 10000000", MEMORY),
]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a command that must fail says beside its bars: its lines."""
    capsys.readouterr()
    status = main(words)
    said = capsys.readouterr()
    lines = [line for line in runs.errors(said.err) if line.startswith("seqgan-kit: ")]
    assert (status == 0) == (not lines), said
    return lines


JARGON = re.compile("Union|typing|Traceback|class '|DefaultCPUAllocator|enforce fail|__\\w+__|Namespace|strict=|Errno")


def check(lines: list[str], told: str) -> None:
    if not told:
        assert not lines
        return
    (line,) = lines
    assert re.search(told, line), line
    assert not JARGON.search(line), line


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", TRAIN, ids=lambda row: str(row.number or row.words[:40]))
def test_what_train_refuses(
    row: Row, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a folder is made."""
    monkeypatch.chdir(place)
    task, *options = row.words.split()
    before = {path.name for path in place.iterdir()}
    run = f"new-{row.number}"
    words = ["train", task, "--config", f"{task}.yaml", *SMALL[task].split(), "--run.folder", run, *options]
    check(refused(words, capsys), row.told)
    assert {path.name for path in place.iterdir()} - before == ({run} if not row.told else set())


DEEP = "[" * 100_000


def put(name: str, content: str) -> Callable[[Path], object]:
    """Writes a file of the run anew."""
    return lambda run: (run / name).write_text(content)


def record(**changes: object) -> Callable[[Path], object]:
    """Changes what run.json says."""

    def change(run: Path) -> None:
        path = run / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def forged(change: Callable[[dict[str, object]], object] | str, part: str = "shared") -> Callable[[Path], object]:
    """A checkpoint whose manifest fits what was changed in it: of the state, or its JSON as a whole."""

    def change_part(run: Path) -> None:
        (newest,) = checkpoints.all_in(run / "checkpoints")[-1:]
        if isinstance(change, str):
            (newest / f"{part}.json").write_text(change)
        else:
            state = checkpoints.read(newest, part)
            change(state)
            checkpoints.write_part(newest, part, state)
        shutil.move(newest, unfinished := newest.with_name(".unfinished"))
        checkpoints.seal(unfinished, newest)

    return change_part


def without(name: str) -> Callable[[Path], object]:
    return lambda run: shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()


def pipe(name: str) -> Callable[[Path], object]:
    """In the place of a file of the run."""

    def change(run: Path) -> None:
        for path in sorted(run.glob(name))[-1:] or [run / name]:
            path.unlink(missing_ok=True)
            os.mkfifo(path)

    return change


def folder(name: str) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        for path in sorted(run.glob(name))[-1:]:
            path.unlink()
            path.mkdir()

    return change


def sizes(run: Path, **changes: object) -> None:
    path = run / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


MORE = "resume R --adversarial.rounds 3"
RUNS = [
    Row(173, "sample R --count 5000 --seed 2", ""),
    Row(174, "sample R --temperature nan --count 2", "sample --temperature nan: give a finite number"),
    Row(175, "sample R --temperature inf --count 2", "sample --temperature inf: give a finite number"),
    Row(178, "sample R --seed 1000000000000000000000000000000 --count 2", SEED),
    Row(182, "evaluate R --samples 100000000000", MEMORY),
    Row(183, "evaluate R --temperature nan", "evaluate --temperature nan: give a finite number"),
    Row(208, "report R", "metrics.jsonl, line 1: not a JSON object", harm=put("metrics.jsonl", f"{DEEP}\n{{}}\n")),
    Row(213, MORE, r"metrics\.jsonl has 0 bytes, and had \d+ at the last checkpoint", harm=without("metrics.jsonl")),
    Row(214, MORE, r"metrics\.jsonl has 0 bytes, and had \d+ at the last checkpoint", harm=put("metrics.jsonl", "")),
    *(
        Row(number, command, r"run\.json: task is \['text'\]", harm=record(task=["text"]))
        for number, command in [(240, "resume R"), (241, "sample R"), (242, "compare R")]
    ),
    *(
        Row(number, command, rf"run\.json: seconds is {told}", harm=record(seconds=wrong))
        for number, command, wrong, told in [
            (247, "report R", "x", "'x'"),
            (248, "resume R", "x", "'x'"),
            (251, "report R", float("nan"), "nan"),
            (252, "resume R", float("nan"), "nan"),
        ]
    ),
    Row(274, "resume R --data.sentences null", "--data.sentences: expected a whole number, not null"),
    Row(278, "report R", "", harm=folder("config.yaml")),
    Row(279, "report R", "is neither a file nor a folder", harm=pipe("config.yaml")),
    Row(280, "report R", "", harm=folder("samples/adversarial-*.txt")),
    Row(281, "report R", "is neither a file nor a folder", harm=pipe("samples/adversarial-*.txt")),
    Row(283, "resume R", "", harm=without("samples")),
    Row(285, "report R", "baselines.json: no baselines", harm=put("baselines.json", DEEP)),
    Row(292, MORE, "", harm=forged('{"value": 1}')),  # set aside as damaged; the one before it is used
    Row(293, MORE, "", harm=forged('{"value": ' * 100_000)),
    Row(294, MORE, "holds other numbers than the kit writes", harm=forged(lambda state: state.pop("counters"))),
    Row(
        *(297, MORE, "random numbers can't be read"),
        harm=forged(lambda state: state["random"].pop("numpy"), "process-0"),  # type: ignore[attr-defined]
    ),
    Row(301, "sample R", "its tokenizer's files are missing", harm=without("model/tokenizer.json")),
    Row(303, "sample R --count 1", "more memory than there is", harm=lambda run: sizes(run, hidden=10**9)),
    Row(304, "sample R --count 1", "other sizes than the weights", harm=lambda run: sizes(run, hidden=9)),
    Row(315, "sample R --file fifo", "is a pipe", "dialogue"),
    Row(317, "sample R --text hi --beams 10000000", MEMORY, "dialogue"),
    Row(323, "watch R --episodes 1000000000", MEMORY, "imitation"),
    Row(328, "record R --episodes 1 --out ok.txt/x.npz", "can't write ok.txt/x.npz: Not a directory", "imitation"),
    Row(332, "watch R --steps 3", "other sizes than the weights", "imitation", lambda run: sizes(run, hidden=[9])),
    Row(339, "sample R --text a --count 1000000000", MEMORY, "images"),
]


@pytest.fixture(scope="module")
def made(place: Path) -> Path:
    """A run of each use, finished."""
    for task in ("text", "dialogue", "imitation", "images"):
        words = ["train", task, "--config", f"{place / task}.yaml", *SMALL[task].split()]
        assert main([*words, "--run.folder", str(place / "made" / task)]) == 0
    return place / "made"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", RUNS, ids=lambda row: str(row.number or row.words[:40]))
def test_what_commands_on_runs_refuse(
    row: Row, made: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run that is missing something, or holds what it should not; or it works."""
    monkeypatch.chdir(place)
    run = runs.copy(made / row.task, place / f"{row.task}-{row.number}")
    if row.harm is not None:
        row.harm(run)
    check(refused([run.name if word == "R" else word for word in row.words.split()], capsys), row.told)


WRITE = [
    ("text", "report R"),
    ("text", "evaluate R --samples 4"),
    ("text", "sweep R --samples 4 --temperatures 0.5 1"),
    ("dialogue", "evaluate R"),
    ("imitation", "evaluate R --episodes 2"),
    ("imitation", "record R --episodes 1"),
    ("imitation", "watch R --steps 2"),
    ("images", "sample R --text red"),
    ("images", "report R"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("task", "words"), WRITE)
def test_a_full_disk_is_told_by_every_command_that_writes(
    task: str, words: str, made: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By one line with the file, and what to do; what was there before stays as it was."""
    monkeypatch.chdir(place)
    runs.copy(made / task, place / "R")
    before = {path: path.read_bytes() for path in Path("R").rglob("*") if path.is_file()}
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))
    try:
        lines = refused(words.split(), capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    check(lines, "File too large|write")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("gone", ["moved", "deleted"])
def test_a_run_folder_that_goes_is_not_made_anew(gone: str, tmp_path: Path) -> None:
    """While the run is at work; the user is told, and is not sent to a folder that is not there."""
    run = tmp_path / "run"

    def work() -> None:
        with Engine(RunConfig(folder=str(run), device="cpu", threads=1), "text") as engine:
            engine.restore()
            engine.counters["phase"] = 1
            if gone == "moved":
                run.rename(tmp_path / "other")
            else:
                shutil.rmtree(run)
            engine.save()

    with pytest.raises(UserError, match=r"run was (renamed to .*other|deleted) while it was trained"):
        work()
    assert not run.exists()
