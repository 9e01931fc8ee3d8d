"""Sweeps over temperatures and runs of several seeds, from the command line to the report."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import runs
import tiny_models
from runs import InStep, Launched
from seqgan_kit.cli import main
from seqgan_kit.language.training import ADVERSARIAL, CONTROL, MLE
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.report.spread import comparison
from seqgan_kit.text.evaluation import TextEvaluation
from seqgan_kit.text.sources import DataConfig, load
from seqgan_kit.tokens.sampling import sample
from seqgan_kit.worlds.oracle import negative_log_likelihood

SHORT = (
    "--likelihood.steps", "6", "--discriminator.steps", "2", "--adversarial.rounds", "2", "--control.steps", "3",
    "--evaluation.samples", "20", "--run.checkpoint_steps", "1000", "--adversarial.optimizer.lr", "0.05",
)  # fmt: skip
SEEDS = ("--seeds", "3", "5")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on stderr that a mistake ends with, at status 1."""
    capsys.readouterr()
    assert main(words) == 1
    (line,) = runs.errors(capsys.readouterr().err)
    return line


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the shapes world."""
    run = tmp_path_factory.mktemp("made") / "run"
    assert main(runs.tiny(run, *SHORT)) == 0
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return runs.copy(made, tmp_path / "run")


def sweep_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "sweep.json").read_text())
    return found


def test_the_points_of_a_sweep_are_what_was_measured_while_training(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At temperature 1 each kept model scores what the last line of its phase says; below, what `evaluate` says."""
    assert main(["sweep", str(run), "--temperatures", "1", "0.6"]) == 0
    printed = capsys.readouterr().out
    found = sweep_of(run)
    assert list(found["models"]) == [MLE, ADVERSARIAL, CONTROL]
    for phase, (cold, warm) in found["models"].items():
        assert (cold["temperature"], warm["temperature"]) == (0.6, 1.0)
        last = [line for line in runs.lines(run) if line["phase"] == phase and "eval/nll_gen" in line][-1]
        assert {f"eval/{name}": value for name, value in warm["metrics"].items()} == {
            name: value for name, value in last.items() if name.startswith("eval/")
        }
    scores = [points[1]["metrics"]["nll_gen"] for points in found["models"].values()]
    assert len(set(scores)) == 3, "three models, not one three times"
    assert main(["evaluate", str(run), "--model", "game", "--temperature", "0.6"]) == 0
    evaluated = json.loads((run / "evaluation.json").read_text())
    assert found["models"][ADVERSARIAL][0]["metrics"] == evaluated["metrics"]
    assert found["real"] == evaluated["real"]
    assert (found["quality"], found["diversity"]) == ("consistent", "self_bleu5")
    assert "maximum likelihood" in printed
    assert "likelihood for as long" in printed
    assert "self_bleu is leave-one-out" in printed
    assert f"{found['models'][CONTROL][1]['metrics']['self_bleu5']:.4f}" in printed
    page = (run / "report.html").read_text()
    assert 'id="Trade-off"' in page
    assert "real data" in page


def test_a_sweep_of_two_runs_and_one_without_the_models(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of an older version has its adversarial curve alone, and the table says what is missing."""
    old = runs.copy(run, run.with_name("old"))
    shutil.rmtree(old / MLE)
    shutil.rmtree(old / CONTROL)
    words = ["--temperatures", "0.5", "1", "--samples", "6", "--seed", "4", "--order", "3"]
    assert main(["sweep", str(run), str(old), *words]) == 0
    printed = capsys.readouterr().out
    assert f"{old} has no {MLE}/: it was trained by a version that did not keep this model" in printed
    assert f"{old} has no {CONTROL}/" in printed
    assert list(sweep_of(old)["models"]) == [ADVERSARIAL]
    assert sweep_of(old)["models"][ADVERSARIAL] == sweep_of(run)["models"][ADVERSARIAL]
    assert sweep_of(run)["diversity"] == "self_bleu3"
    assert (sweep_of(run)["samples"], sweep_of(run)["seed"]) == (6, 4)


@pytest.mark.parametrize("world", ["oracle", "tokens", "text"])
def test_axes_of_other_data(tmp_path: Path, world: str) -> None:
    """The oracle is swept by its two likelihoods, files by BLEU and Self-BLEU."""
    (tmp_path / "my.txt").write_text("".join(f"{i % 7} {i % 3} {i % 5}\n" for i in range(80)))
    options = {
        "oracle": ["--data.world", "oracle", "--data.oracle_vocabulary", "12", "--data.sentences", "40"],
        "tokens": ["--data.path", str(tmp_path / "my.txt"), "--data.tokens", "true"],
        "text": ["--data.path", str(tmp_path / "my.txt")],
    }[world]
    run = tmp_path / "run"
    assert main(runs.tiny(run, *SHORT, *options)) == 0
    assert main(["sweep", str(run), "--temperatures", "0.5", "1.5", "--samples", "10"]) == 0
    found = sweep_of(run)
    assert (found["quality"], found["diversity"]) == (
        ("nll_oracle", "nll_gen") if world == "oracle" else ("bleu5", "self_bleu5")
    )
    cold, hot = (point["metrics"] for point in found["models"][MLE])
    assert cold["nll_gen"] != hot["nll_gen"], "of held-out data at that temperature"
    assert set(found["real"]) == set(cold) - {"nll_gen", "nll_word"}
    assert ("nll_word" in cold) == (world == "text")


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_likelihood_is_that_of_what_is_drawn_at_the_temperature(temperature: float) -> None:
    """-log softmax(logits / T), token by token; its mean over drawn samples is about the entropy at T, not at 1."""
    torch.manual_seed(0)
    network = LSTMGenerator(LSTMConfig(vocabulary=5, embedding=4, hidden=4, start=5, length=6, deviation=1.0)).eval()
    tokens = sample(network, 40, 6, None, temperature)
    with torch.no_grad():
        logits = network.logits(network.features(tokens.ids)) / temperature
        expected = -logits.log_softmax(2).gather(2, tokens.ids.unsqueeze(2)).mean()
    assert negative_log_likelihood(network, tokens, temperature) == pytest.approx(float(expected), rel=1e-5)


def test_real_data_are_the_reference() -> None:
    """Training sentences are consistent; what is novel is so of the held-out ones; distances are from those."""
    source = load(DataConfig(sentences=200), 0)
    evaluation = TextEvaluation(source)
    real = evaluation.real(100, 1)
    assert (real["grammatical"], real["consistent"]) == (1.0, 1.0)
    training = {tuple(row) for row in source.ids(source.train)}
    held_out = [tuple(row) for row in source.ids(source.held_out)]
    assert real["novel_sentences"] == sum(row not in training for row in held_out) / len(held_out) > 0
    assert 0 < real["js1"] < real["js2"] < real["js3"] < 0.6932
    assert evaluation.real(100, 1) == real != evaluation.real(100, 2)
    assert evaluation.real(10**6, 1) == evaluation.real(180, 7), "all there are"


def test_an_embedder_adds_its_metrics(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a folder of a text encoder, `evaluate` and `sweep` have the Frechet distance and MAUVE, real data's too."""
    texts = [[{"role": "user", "content": text}] for text in load(DataConfig(sentences=60), 0).tokenizer.get_vocab()]
    tiny_models.save(tmp_path / "bert", "bert", texts)
    assert main(["evaluate", str(run), "--embedder", str(tmp_path / "bert")]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    assert 0 < found["metrics"]["mauve"] <= 1
    assert found["metrics"]["frechet_embedding"] > found["real"]["frechet_embedding"] > 0
    assert (
        main(["sweep", str(run), "--temperatures", "1", "2", "--samples", "10", "--embedder", str(tmp_path / "bert")])
        == 0
    )
    assert all("mauve" in point["metrics"] for points in sweep_of(run)["models"].values() for point in points)
    assert "nowhere is no folder" in refused(capsys, "evaluate", str(run), "--embedder", "nowhere")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sweep"], ["sweep needs the run's folder"]),
        (["sweep", "--temperatures", "1"], ["sweep needs the run's folder"]),
        (["sweep", "begun", "missing"], ["missing is no run folder"]),
        (["sweep", "begun", "other"], ["sweep is for runs of text", "other is one of imitation"]),
        (["sweep", "begun", "--temperatures", "0", "1"], ["--temperatures 0", "above 0"]),
        (["sweep", "begun", "--temperatures", "-1", "1"], ["--temperatures -1", "above 0"]),
        (["sweep", "begun", "--temperatures", "nan", "1"], ["--temperatures nan"]),
        (["sweep", "begun", "--temperatures", "warm"], ["--temperatures", "warm"]),
        (["sweep", "begun", "--temperatures", "1", "1"], ["one temperature is no curve"]),
        (["sweep", "begun", "--order", "7"], ["--order", "7"]),
        (["sweep", "begun", "--temprature", "1"], ["--temprature", "temperatures"]),
        (["sweep", "begun", "--samples", "1"], ["sweep --samples 1: give at least 2"]),
        (["sweep", "begun"], ["begun is not finished", "resume begun"]),
    ],
)
def test_mistakes_of_a_sweep_are_told(
    made: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    expected: list[str],
) -> None:
    """Each ends in one line before anything is drawn."""
    monkeypatch.chdir(tmp_path)
    for name, task in (("begun", "text"), ("other", "imitation")):
        Path(name).mkdir()
        (Path(name) / "run.json").write_text(json.dumps({"task": task}))
        shutil.copy(made / "config.yaml", Path(name) / "config.yaml")
    line = refused(capsys, *words)
    assert all(part in line for part in expected), line


# -- several seeds -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_seeds_go_on_after_a_kill_and_end_as_runs_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL in the second seed's run; the same command keeps the first, resumes the second, and tells the spread."""
    options = (*SHORT, "--adversarial.rounds", "6", "--run.checkpoint_steps", "2")
    for seed in (3, 5):
        assert main(runs.tiny(tmp_path / f"alone-{seed}", *options, "--run.seed", str(seed))) == 0
    words = [*runs.tiny(tmp_path / "many", *options), *SEEDS]
    log = tmp_path / "log"
    first, second = tmp_path / "many-3", tmp_path / "many-5"
    # counts steps of the process: the first seed's are past
    status = Launched(words, log, moment=InStep(CONTROL, 2, 0.5)).wait()
    assert status == -signal.SIGKILL, log.read_text()[-2000:]
    assert not second.exists()
    for _ in range(2):
        status = Launched(words, log, moment=InStep(ADVERSARIAL, 5, 0.5)).wait()
        if second.exists():
            break
    assert status == -signal.SIGKILL, log.read_text()[-2000:]
    assert not json.loads((second / "run.json").read_text())["finished"]
    before = (first / "metrics.jsonl").stat().st_mtime_ns
    text = runs.finish(words, log)
    assert f"{first} is finished: kept as it is" in text
    assert f"{second}: goes on" in text
    assert (first / "metrics.jsonl").stat().st_mtime_ns == before
    for seed, run in ((3, first), (5, second)):
        runs.same(tmp_path / f"alone-{seed}", run)
    assert comparison([[first, second]]) in text
    assert "2 runs, seeds 3, 5" in text
    capsys.readouterr()
    changed = refused(capsys, *words, "--likelihood.batch_size", "9")
    assert f"{first} was trained with another --likelihood.batch_size (8, now 9)" in changed


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--seeds", "0"], ["one run has no spread", "--run.seed 0"]),
        (["--seeds"], ["give different whole numbers"]),
        (["--seeds=0,1"], ["--seeds takes numbers with blanks"]),
        (["--seeds", "1", "one"], ["--seeds 1 one", "whole numbers"]),
        (["--seeds", "1", "1"], ["--seeds 1 1", "different"]),
        (["--seeds", "-1", "2"], ["whole numbers"]),
        (["--seeds", "1", "2", "--run.seed", "4"], ["give one of them"]),
        (["--seeds", "1", "2", "--likelihood.step", "4"], ["unknown option --likelihood.step"]),
    ],
)
def test_mistakes_of_seeds_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: list[str]
) -> None:
    """Each ends in one line before a folder is made."""
    line = refused(capsys, *runs.tiny(tmp_path / "run", *options))
    assert all(part in line for part in expected), line
    assert not list(tmp_path.glob("run*"))


def test_seeds_need_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --run.folder there is nothing to find the runs by again."""
    assert "--seeds needs --run.folder runs/NAME" in refused(capsys, "train", "text", "--seeds", "1", "2")
