"""Messages: they name options that there are, and what a refusal advises works, followed to its end."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest

import advice
import advice_cli
import advice_dialogue
import advice_images
import advice_imitation
import advice_text
import messages
import runs
from seqgan_kit.cli import COMMANDS, main
from seqgan_kit.language.training import CONTROL, MLE
from seqgan_kit.options import TASKS

TABLES = {
    "cli": advice_cli,
    "text": advice_text,
    "dialogue": advice_dialogue,
    "imitation": advice_imitation,
    "images": advice_images,
}
CASES = [(use, case) for use, table in TABLES.items() for case in table.CASES]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each use, as it is asked for."""
    found: dict[str, Path] = {}
    root = tmp_path_factory.mktemp("finished")

    class Runs(dict[str, Path]):
        def __missing__(self, use: str) -> Path:
            assert main(TABLES[use].begin(root / use)) == 0
            self[use] = root / use
            return self[use]

    return Runs(found)


def test_commands_extras_and_parts_that_a_message_names_exist() -> None:
    """`seqgan-kit COMMAND`, pip's seqgan_kit[EXTRA], and import paths of the kit; old ones are told with their new."""
    setup = configparser.ConfigParser()
    setup.read(messages.ROOT / "setup.cfg")
    extras, named = set(setup["options.extras_require"]), 0
    for text in messages.texts():
        if text.file == "old_names.py":
            continue
        commands = re.findall(r"seqgan-kit (?:train )?([a-z]+)\b", text.text)
        assert {*commands} <= {*COMMANDS, *TASKS}, text
        assert {*re.findall(r"seqgan_kit\[(\w+)\]", text.text)} <= extras, text
        for path in re.findall(r"\bseqgan_kit(?:\.\w+)+(?![\w.]*\0)", text.text):
            assert found(path), text
            named += 1
    assert named > 10


def found(path: str) -> bool:
    """Whether an import path is a module, or what stands in one."""
    if importlib.util.find_spec(path.split(".")[0]) is None:
        return False
    module, _, name = path.rpartition(".")
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        return hasattr(importlib.import_module(module), name)
    return True


def run_of(use: str, case: advice.Case, finished: dict[str, Path]) -> Path | None:
    return finished[use] if re.search(r"\bRUN\b", case.words) else None


@pytest.mark.parametrize(("use", "case"), CASES, ids=[f"{i} {use}: {case.says}" for i, (use, case) in enumerate(CASES)])
def test_advice_is_followed_to_its_end(
    use: str, case: advice.Case, tmp_path: Path, finished: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reader of a refusal would do, from what the message says, ends in a run that begins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    advice.follow(case, tmp_path, run_of(use, case, finished))


def test_every_option_that_a_message_names_exists() -> None:
    """In any string of the package: in some command that can say it."""
    for text in messages.texts():
        assert not messages.unknown(text.text, messages.known_to(text.file)), text


@pytest.mark.parametrize("use", [use for use in TABLES if use != "cli"])
@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_finished_run_that_is_resumed_writes_its_model_anew(
    use: str, damage: str, tmp_path: Path, finished: dict[str, Path]
) -> None:
    """As every refusal of a damaged model has it; the same model, bit for bit, and no other file is changed."""
    run = runs.copy(finished[use], tmp_path / "run")

    def models(*names: str) -> dict[Path, bytes]:
        return {path: path.read_bytes() for name in names for path in (run / name).rglob("*") if path.is_file()}

    whole, others = models("model", "game"), models(MLE, CONTROL)
    for name in ("model", "game"):
        if damage == "removed":
            shutil.rmtree(run / name, ignore_errors=True)  # an encoder has no game
        else:
            for path in (run / name).glob("*.safetensors"):
                path.write_bytes(path.read_bytes()[:50])
    assert main(["resume", str(run)]) == 0
    assert models("model", "game") == whole
    assert models(MLE, CONTROL) == others


OWN_PARTS = "parts of one's own: tests/test_own_parts.py"
SEVERAL = "needs several processes: tests/test_processes.py and its like"
LEFT = {
    ("images/checks.py", "for one pair"): OWN_PARTS,
    ("images/sources.py", "as earlier versions read them"): "a guard of a number, whose choices it lists",
    ("imitation/fitting.py", "is taken"): "a line of the summary: no refusal",
    ("language/pretrained.py", "its attn_implementation is code to download"): "tests/test_strangers_files.py",
    ("language/token_ids.py", "or begin anew, without --generator.model"): "trained run: tests/test_text_intake.py",
    ("text/sources.py", "draws sequences of one length"): "needs a trained run: tests/test_text_intake.py",
    ("imitation/commands.py", "give another --out"): "a disk that refuses: tests/test_bad_input.py, row 328",
    ("imitation/video.py", "give another --out"): "a disk that refuses, as of `record`: tests/test_bad_input.py",
    ("dialogue/columns.py", "the one with the conversations"): "followed in tests/test_dialogue_reading.py",
    ("dialogue/conversations.py", "keys and speakers"): "followed in tests/test_dialogue_reading.py",
    ("dialogue/conversations.py", "nobody in"): "followed in tests/test_dialogue_reading.py",
    ("engine/budget.py", "one process"): SEVERAL,
    ("engine/budget.py", "to try one step"): "runs all phases: tests/test_load.py",
    ("language/lengths.py", "GB are free"): "depends on the machine: tests/test_load.py",
    ("engine/checks.py", "can't be shared"): SEVERAL,
    ("engine/checks.py", "no Objective"): OWN_PARTS,
    ("engine/checks.py", "not the shape"): OWN_PARTS,
    ("engine/checks.py", " raised "): OWN_PARTS,
    ("engine/choice.py", "until now the run chose by"): "needs a checkpoint: tests/test_best.py",
    ("engine/run_folder.py", "so far, and numbers by"): "of restored runs: tests/test_resumed_options.py",
    ("engine/run_folder.py", "give what it was, or train anew"): "of restored runs: tests/test_resumed_options.py",
    ("engine/run_folder.py", "bring it back, or train anew"): "of restored runs: tests/test_resumed_options.py",
    ("images/folders.py", "--data.column"): "needs other folders: tests/test_picture_layouts.py",
    ("images/folders.py", "is a table"): "needs other folders: tests/test_picture_layouts.py",
    ("imitation/train.py", "counts in float64"): "needs a GPU of Apple's: tests/test_rehearsal.py",
    ("imitation/copies.py", "--environment.vectorised"): "needs environments of one's own: tests/test_environments.py",
    ("imitation/recorded.py", "does not know by itself"): "followed in tests/test_recorded.py",
    ("language/adapters.py", "peft"): "depends on a package",
    ("language/adapters.py", "can't be merged"): "depends on a package; tests/test_pretrained.py",
    ("language/pretrained.py", "can't read a text"): "needs other models: tests/test_pretrained.py",
    ("language/words.py", "has learned from text"): "tests/test_words.py",
    ("networks/pictures/joint_embedding.py", "has none of the"): "needs a trained encoder of another script",
    ("report/measured.py", "so far, and numbers by"): "followed in tests/test_units.py",
    ("text/commands.py", "sample --prefix"): "tests/test_text_samples.py",
    ("text/sources.py", "nothing that is held out is left"): "of what is left after other refusals",
    ("dialogue/sources.py", "about every scene"): "takes thousands of dialogues: tests/test_dialogue_data.py",
    ("engine/learning.py", "lr is null"): "of Python alone: the command line names the option, cli/parsing.py",
    ("engine/processes.py", "--run.processes"): SEVERAL,
    ("engine/processes.py", "--run.trackers"): "asks for a package",
    ("engine/processes.py", "by `accelerate launch`"): "needs its variables: tests/test_sharding.py",
    ("engine/provenance.py", "accelerate launch"): SEVERAL,
    ("engine/sharding.py", "can't be shared out"): SEVERAL,
    ("language/data.py", "is not a share"): "of Python alone: check_held_out is before",
    ("language/encoders.py", "lacks"): "needs a damaged encoder: tests/test_text_encoders.py",
    (
        "language/pretrained.py",
        f"--{messages.ANY}: {messages.ANY}: {messages.ANY}",
    ): "tells what a model of Hugging Face says",
    ("language/pretrained.py", "has no likelihood"): "needs a run of Convolutions: tests/test_text_models.py",
    ("text/differentiable.py", "several processes"): SEVERAL,
}
"""Refusals that name an option and that no case provokes: (file, part of the text): why."""


def left(site: messages.Site) -> bool:
    return any(site.file == file and part in site.text for file, part in LEFT)


@pytest.mark.slow
def test_every_refusal_that_names_an_option_is_provoked(
    tmp_path: Path, finished: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a case, whose advice is followed above; but for those in LEFT."""
    raised: set[tuple[str, int]] = set()
    for i, (use, case) in enumerate(CASES):
        with advice.inside(tmp_path / str(i)) as folder, monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder))
            patch.delitem(sys.modules, "own", raising=False)
            patch.setenv("MINARI_DATASETS_PATH", str(folder))
            refusal, _ = advice.provoked(case, folder, run_of(use, case, finished))
            raised |= refusal.made
    sites = [site for site in messages.sites() if site.names]
    lacking = [s for s in sites if not any(s.file == file and s.first <= line <= s.last for file, line in raised)]
    assert len(sites) > 100
    assert not [site for site in lacking if not left(site)], "\n".join(str(s) for s in lacking if not left(s))
    assert {site.file for site in lacking} >= {file for file, _ in LEFT}, "what is left out and need not be"
