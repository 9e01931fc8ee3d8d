"""The best model of a run: which it is, whether it is told apart from noise, and that RUN/model is it at any time."""

from __future__ import annotations

import importlib
import json
import math
import random
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import runs
from runs import CONTROL, InStep, Victim, Writing
from seqgan_kit.cli import main
from seqgan_kit.engine import checkpoints
from seqgan_kit.engine.choice import AUTO, NONE, check_best
from seqgan_kit.engine.verdict import BETTER, EQUAL, WORSE, Ended, Score, compared, score_of, sentence
from seqgan_kit.errors import UserError
from seqgan_kit.images.joint_distance import joint_distance
from seqgan_kit.language.likelihood import likelihood_score, perplexity_score
from seqgan_kit.language.metrics import jensen_shannon, ngrams
from seqgan_kit.language.ngram_distance import Profile, ngram_distance, vector
from seqgan_kit.language.training import ADVERSARIAL, MLE
from seqgan_kit.report.models import kept, model_folder
from seqgan_kit.samples import Tokens
from seqgan_kit.text.config import EvaluationConfig

RUINED = ("--adversarial.optimizer.lr", "0.5", "--adversarial.optimizer.clip", "0", "--likelihood.optimizer.lr", "0.01")
SMALL = ("--control.enabled", "false", "--evaluation.every", "5", "--evaluation.samples", "60")


# -- comparing ---------------------------------------------------------------------------------------------------------


def test_a_difference_is_told_apart_beyond_twice_its_error() -> None:
    """Of the errors of both; in the direction in which the score is good; NaN is worse than any number."""
    low, high = Score(1.0, 0.1), Score(1.3, 0.1)
    assert compared(high, low, +1) == BETTER  # 0.3 > 1.96 * 0.1414
    assert compared(high, low, -1) == WORSE
    assert compared(Score(1.27, 0.1), low, +1) == EQUAL
    assert compared(Score(1.1, math.nan), Score(1.0, math.nan), +1) == BETTER, "no error is known"
    assert compared(Score(1.0), Score(1.0), +1) == EQUAL
    assert compared(Score(math.nan), low, -1) == WORSE
    assert compared(low, Score(math.nan), -1) == BETTER


def test_scores_of_the_same_rows_are_compared_by_pairs() -> None:
    """What both lose on a hard row is no noise of their difference."""
    hard = torch.tensor([-3.0, 3.0, -2.0, 2.0, 0.0, 0.0])
    a, b = Score(1.0, 0.0, hard), Score(1.2, 0.0, hard + torch.tensor([0.1, -0.1, 0.0, 0.0, 0.1, -0.1]))
    assert compared(a, b, -1) == BETTER
    assert compared(a, Score(1.2, 0.0, b.rows[:5] if b.rows is not None else None), -1) == EQUAL, "of other rows"
    own = Score(1.0, 0.2, hard)
    assert own.whole_error == pytest.approx(math.hypot(0.2, float(hard.std()) / 6**0.5))
    assert own.interval == pytest.approx(1.96 * 0.2), "of its samples; the rows are the same for all"
    assert compared(own, Score(1.2, 0.2, hard), -1) == EQUAL


def test_a_score_is_shown_with_the_digits_of_its_interval() -> None:
    assert Score(0.0123456, 0.001).shown == "0.0123 ± 0.0020"
    assert Score(258.44, 30.0).shown == "258 ± 59"
    assert Score(0.98765).shown == "0.9877"
    assert score_of({"x": 1.0, "x_interval": 1.96}, "x").error == pytest.approx(1.0)


MLE_END, GAME_END = Ended(MLE, 500, Score(0.31, 0.005)), Ended(ADVERSARIAL, 50, Score(0.35, 0.005))


def test_the_sentence_says_which_and_whether_the_game_helped() -> None:
    told = sentence("js", -1, MLE_END, 9, MLE_END, GAME_END, Ended(CONTROL, 400, Score(0.352, 0.005)))
    assert told == (
        "RUN/model is from maximum likelihood, step 500, the best of 9 evaluations: js 0.3100 ± 0.0098. "
        "The game ended at 0.3500 ± 0.0098: it did not help. "
        "Likelihood for as long ended at 0.3520 ± 0.0098: not told apart from the game's."
    )
    better = Ended(ADVERSARIAL, 50, Score(0.2, 0.005))
    told = sentence("js", -1, better, 1, MLE_END, better, Ended(CONTROL, 400, Score(0.25, 0.005)))
    assert told == (
        "RUN/model is from the game, step 50, the best of 1 evaluation: js 0.2000 ± 0.0098. "
        "Maximum likelihood ended at 0.3100 ± 0.0098. That is where the game ended: it helped. "
        "Likelihood for as long ended at 0.2500 ± 0.0098: worse than the game's."
    )
    earlier = Ended(ADVERSARIAL, 20, Score(0.2, 0.005))
    assert "The game ended at 0.3500 ± 0.0098: it helped." in sentence("js", -1, earlier, 4, MLE_END, GAME_END, None)
    longer = Ended(CONTROL, 400, Score(0.1, 0.005))
    told = sentence("js", -1, longer, 4, MLE_END, better, longer)
    assert told.startswith("RUN/model is from likelihood for as long, step 400, ")
    assert told.endswith("0.2000 ± 0.0098: it helped, and likelihood for as long is better than the game's.")
    same = Ended(ADVERSARIAL, 50, Score(0.311, 0.005))
    told = sentence("js", -1, MLE_END, 4, MLE_END, same, None)
    assert told.endswith("it did not help (not told apart from where it began).")
    alone = Ended("reinforcement", 7, Score(100.0, 1.0))
    assert sentence("return_greedy", +1, alone, 2, None, alone, None).endswith("That is where reinforcement ended.")


def test_a_name_that_is_no_score_is_refused_with_those_there_are() -> None:
    names = ("ngram_distance", "nll_gen")
    assert check_best(EvaluationConfig(), names) == "ngram_distance"
    assert check_best(EvaluationConfig(best="nll_gen"), names) == "nll_gen"
    assert check_best(EvaluationConfig(), ()) == check_best(EvaluationConfig(best=NONE), names) == NONE
    with pytest.raises(UserError, match=rf"--evaluation.best self: give one of {AUTO}, ngram_distance, nll_gen, none"):
        check_best(EvaluationConfig(best="self"), names)
    with pytest.raises(UserError, match=r"--evaluation.patience goes by --evaluation.best: leave it out, or give auto"):
        check_best(EvaluationConfig(best=NONE, patience=2), names)


# -- scores ------------------------------------------------------------------------------------------------------------


def chain(count: int, temperature: float, seed: int) -> list[tuple[int, ...]]:
    """Texts of a Markov chain over 30 tokens, of which 0 ends a text."""
    logits = torch.randn(30, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    steps = (logits / temperature).softmax(1).tolist()
    rng, texts = random.Random(seed), []
    for _ in range(count):
        text, token = list[int](), 0
        while len(text) < 20 and (token := rng.choices(range(30), steps[token])[0]):
            text.append(token)
        texts.append(tuple(text))
    return texts


def test_the_distance_of_ngrams_is_lowest_where_nothing_was_sharpened() -> None:
    """Of 600 samples from 600 others of the same chain: at temperature 1, not below, as a divergence of counts has it.

    One good text that is repeated is far away. Differences from temperature 1 are told apart.
    """
    held_out = Profile(truth := chain(600, 1.0, 1))
    found = {t: ngram_distance(Profile(chain(600, t, 2)), held_out) for t in (0.6, 0.8, 1.0, 1.25, 1.6)}
    assert min(found, key=lambda t: found[t].value) == 1.0
    assert abs(found[1.0].value) < 3 * found[1.0].whole_error, "without bias: nothing is there to find"
    for temperature, score in found.items():
        assert temperature == 1.0 or compared(found[1.0], score, -1) == BETTER
    biased = {t: jensen_shannon(ngrams(chain(600, t, 2), 3), ngrams(truth, 3)) for t in (0.6, 0.8, 1.0)}
    assert biased[0.8] < biased[1.0], "why that is no score to choose by"
    assert ngram_distance(Profile([truth[0]] * 600), held_out).value > 5 * found[0.6].value


def test_the_distance_of_ngrams_is_that_of_plain_loops() -> None:
    """No text is compared with itself; begin and end count; labels part n-grams; the error is the jackknife's."""
    a, b = chain(7, 1.0, 3), chain(5, 1.0, 4)

    def kernel(x: tuple[int, ...], y: tuple[int, ...]) -> float:
        def cosine(n: int) -> float:
            one, other = (
                Counter(tuple(t[i : i + n]) for i in range(len(t) - n + 1)) for t in (["<", *x, ">"], ["<", *y, ">"])
            )
            size = math.sqrt(sum(v * v for v in one.values()) * sum(v * v for v in other.values()))
            return sum(one[gram] * other[gram] for gram in one) / size

        return sum(map(cosine, (1, 2, 3))) / 3

    def distance(a: list[tuple[int, ...]], b: list[tuple[int, ...]]) -> float:
        def within(some: list[tuple[int, ...]]) -> float:
            pairs = [(i, j) for i in range(len(some)) for j in range(len(some)) if i != j]
            return sum(kernel(some[i], some[j]) for i, j in pairs) / len(pairs)

        return within(a) + within(b) - 2 * sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))

    found = ngram_distance(Profile(a), Profile(b))
    assert found.value == pytest.approx(distance(a, b))
    left = torch.tensor([distance(a[:i] + a[i + 1 :], b) for i in range(7)], dtype=torch.float64)
    assert found.error == pytest.approx(float((6 / 7 * (left - left.mean()).square().sum()).sqrt()))
    assert sum(value**2 for value in vector(a[0]).values()) == pytest.approx(1)
    assert ngram_distance(Profile(a, [0] * 7), Profile(a, [1] * 7)).value > ngram_distance(Profile(a), Profile(a)).value
    with pytest.raises(ValueError, match="3 texts"):
        ngram_distance(Profile(a[:2]), Profile(b))


def test_the_error_of_a_likelihood_is_that_of_drawing_other_texts() -> None:
    """The delta method beside 4,000 bootstraps, and perplexity as its exponential."""
    rng = torch.Generator().manual_seed(0)
    mask = torch.arange(12) < torch.randint(3, 12, (200, 1), generator=rng)
    log_probs = -(mask.sum(1) * 2.0 + torch.randn(200, generator=rng) * 3).double()
    found = likelihood_score(log_probs, Tokens(mask.long(), mask), 1.5)
    drawn = torch.randint(200, (4000, 200), generator=rng)
    means = -log_probs[drawn].sum(1) / mask.sum(1)[drawn].sum(1) * 1.5
    assert found.value == pytest.approx(float(-log_probs.sum() / mask.sum() * 1.5))
    assert found.whole_error == pytest.approx(float(means.std()), rel=0.05)
    exact = perplexity_score(log_probs, Tokens(mask.long(), mask))
    assert exact.value == pytest.approx(math.exp(found.value / 1.5))
    assert exact.whole_error == pytest.approx(exact.value * found.whole_error / 1.5)


def test_pictures_are_scored_together_with_their_captions() -> None:
    """Real ones from real ones: nothing; under other captions, or all alike, or of half the spread: far away."""
    rng = torch.Generator().manual_seed(0)
    captions = torch.nn.functional.normalize(torch.randn(4, 6, generator=rng), dim=1)

    def pairs(count: int, noise: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        which = torch.randint(4, (count,), generator=rng)
        means = torch.eye(4, 8)[which] * 4
        return means + noise * torch.randn(count, 8, generator=rng), captions[which]

    real, told = pairs(300)
    good, its = pairs(300)
    right = joint_distance(good, its, real, told)
    assert abs(right.value) < 3 * right.whole_error
    for bad, said in [(good, its.roll(1, 0)), (good[:1].expand(300, -1), its), pairs(300, 0.4)]:
        assert compared(right, joint_distance(bad, said, real, told), -1) == BETTER
    with pytest.raises(ValueError, match="at least 3"):
        joint_distance(good[:2], its[:2], real, told)


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ruined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose game destroys what likelihood learnt."""
    run = tmp_path_factory.mktemp("ruined") / "run"
    options = ["--likelihood.steps", "60", "--evaluation.samples", "60", "--evaluation.keep_models", "true"]
    runs.finish(runs.tiny(run, *RUINED, *options, "--data.sentences", "200"), run.with_name("log"))
    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_game_that_ruins_its_generator_hands_over_the_one_before_it(ruined: Path) -> None:
    """RUN/model is another one than the game's; the sentence on screen, in the report and in run.json says which."""
    record = runs.told(ruined)
    best = record["best"]
    assert best["phase"] in (MLE, CONTROL)
    assert not equal(ruined / "model", ruined / "game")
    assert equal(ruined / "model", ruined / "models" / f"{best['phase']}-{best['step']:06d}")
    assert equal(ruined / "game", ruined / "models" / "adversarial-000020")
    verdict = record["verdict"]
    assert verdict.startswith(f"RUN/model is from {'maximum' if best['phase'] == MLE else 'likelihood'}")
    assert "it did not help" in verdict
    assert verdict in ruined.with_name("log").read_text()
    assert verdict.replace("'", "&#x27;") in (ruined / "report.html").read_text()
    assert record["ends"].keys() == {MLE, ADVERSARIAL, CONTROL}
    assert record["ends"][ADVERSARIAL]["value"] > record["ends"][MLE]["value"]
    assert best["evaluations"] == len([line for line in runs.lines(ruined) if "eval/ngram_distance" in line])


def test_commands_take_the_model_that_is_named(ruined: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And say which it is; one that is not there is refused with those that are."""
    found = {}
    for name in ("best", "game", "likelihood", "control", "adversarial-20"):
        assert main(["sample", str(ruined), "--count", "3", "--model", name]) == 0
        output = capsys.readouterr()
        found[name] = output.out
        assert re.match(rf"model: {name}, ", output.err)
    assert found["game"] == found["adversarial-20"] != found["likelihood"]
    assert found["best"] in (found["likelihood"], found["control"]) or "best" in kept(ruined)
    assert main(["evaluate", str(ruined), "--model", "game", "--samples", "60"]) == 0
    told = json.loads((ruined / "evaluation.json").read_text())
    last = [line for line in runs.lines(ruined) if line["phase"] == ADVERSARIAL][-1]
    assert told["model"] == "game"
    assert told["metrics"]["nll_gen"] == pytest.approx(last["eval/nll_gen"])
    capsys.readouterr()
    for name in ("cloning", "7", "adversarial-7"):
        assert main(["sample", str(ruined), "--model", name]) == 1
        assert f"--model {name}: {ruined} has best, game, likelihood, control" in capsys.readouterr().err
    assert main(["sample", str(ruined), "--model", "20"]) == 1
    advice = "several phases have that step: give --model adversarial-000020 or --model control-000020"
    assert f"--model 20: {advice}" in capsys.readouterr().err


def test_a_run_that_is_killed_as_it_chooses_ends_equal(tmp_path: Path) -> None:
    """SIGKILL while RUN/model is written, just after it was, and in the game: as if nothing had happened, run.json's
    choice among it."""
    options = [*SMALL, "--likelihood.steps", "30", "--data.sentences", "200", "--likelihood.optimizer.lr", "0.01"]
    straight = tmp_path / "straight" / "run"
    runs.finish(runs.tiny(straight, *options), tmp_path / "log")
    victim = Victim(tmp_path / "killed" / "run", runs.tiny(tmp_path / "killed" / "run", *options))
    victim.kill(Writing(MLE, ".model", 2))
    victim.kill(InStep(MLE, 4, 0.9))
    victim.kill(InStep(ADVERSARIAL, 6, 0.5))
    victim.finish()
    runs.same(straight, victim.run)
    assert runs.told(victim.run)["best"]["evaluations"] == 8


def test_what_is_no_better_any_more_ends_early_and_stays_ended(tmp_path: Path) -> None:
    """With a patience of 1, of a ruined game: it ends after its third evaluation and the step behind it; resumed, it is
    finished, and the control is as long as the game was."""
    run = tmp_path / "run"
    options = ["--likelihood.steps", "10", "--evaluation.rounds", "2", "--evaluation.patience", "1"]
    told = runs.finish(runs.tiny(run, *RUINED, *options), tmp_path / "log")
    ended = re.search(r"adversarial: ends after step (\d+): ngram_distance has not become better for 1 ev", told)
    assert ended is not None
    length = int(ended[1])
    assert length < 20
    shared = checkpoints.read(checkpoints.all_in(run / "checkpoints")[-1], "shared")
    assert shared["counters"][ADVERSARIAL] == shared["ended"][ADVERSARIAL] == length
    last = [line for line in runs.lines(run) if line["phase"] == ADVERSARIAL][-1]
    assert last["step"] == last["total"] == length
    assert "eval/ngram_distance" in last, "its end is evaluated"
    assert runs.told(run)["ends"][ADVERSARIAL]["step"] == length
    before = runs.result(run)
    runs.finish(["resume", str(run)], tmp_path / "log")
    assert runs.result(run) == before


def test_a_file_in_the_run_folder_ends_the_phase_at_work(tmp_path: Path) -> None:
    """`touch RUN/end-phase`: the next phase follows, the file is gone, and the end is evaluated."""
    run, gate = tmp_path / "run", tmp_path / "go"
    victim = Victim(run, runs.tiny(run, "--control.enabled", "false", "--run.log_every", "1"))
    process = victim.start(runs.Held(MLE, 5, gate))
    assert runs.wait_for(lambda: len(runs.lines(run)) >= 4, process)
    (run / "end-phase").touch()
    gate.touch()
    assert process.wait() == 0
    assert f"maximum_likelihood: ends after step 5: {run / 'end-phase'} was there, and is removed" in (
        victim.log.read_text()
    )
    assert not (run / "end-phase").exists()
    steps = [line["step"] for line in runs.lines(run) if line["phase"] == MLE]
    assert max(steps) == 5
    assert runs.told(run)["ends"][MLE]["step"] == 5
    assert [line for line in runs.lines(run) if line["phase"] == ADVERSARIAL]


def test_a_run_of_an_earlier_version_goes_on_without_a_choice(tmp_path: Path) -> None:
    """Its checkpoint knows of none: RUN/model is the last one, and is said to be."""
    run = tmp_path / "run"
    runs.finish(runs.tiny(run, *SMALL, "--evaluation.best", "none"), tmp_path / "log")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub(r"\n  (best|patience|keep_models): \S+", "", config))
    assert "best" not in runs.told(run)
    assert kept(run)["game"] == run / "game"
    told = runs.finish(["resume", str(run), "--adversarial.rounds", "22"], tmp_path / "log")
    assert "began without --evaluation.best" in told
    assert equal(run / "model", run / "game")
    assert "verdict" not in runs.told(run)
    (run / "game").rename(tmp_path / "game")  # which earlier versions did not keep
    assert model_folder(run, "game") == run / "model"


def test_another_score_can_not_go_on_with_the_choice(tmp_path: Path) -> None:
    run = tmp_path / "run"
    runs.finish(runs.tiny(run, *SMALL, "--adversarial.rounds", "2"), tmp_path / "log")
    assert main(["resume", str(run), "--adversarial.rounds", "4", "--evaluation.best", "nll_gen"]) == 1
    assert main(["resume", str(run), "--adversarial.rounds", "4", "--evaluation.best", "none"]) == 0
    assert equal(run / "model", run / "game"), "none hands over the last one"


def test_without_likelihood_the_model_that_the_game_begins_with_is_scored(tmp_path: Path) -> None:
    first, run = tmp_path / "first", tmp_path / "run"
    runs.finish(runs.tiny(first, *SMALL, "--adversarial.rounds", "0"), tmp_path / "log")
    options = ["--generator.model", str(first / "model"), "--likelihood.steps", "0"]
    runs.finish(runs.tiny(run, *SMALL, *options, "--adversarial.rounds", "5"), tmp_path / "log")
    assert runs.told(run)["ends"][MLE]["step"] == 0
    assert runs.told(run)["best"]["evaluations"] == 2


# -- the record --------------------------------------------------------------------------------------------------------


def test_the_record_is_what_was_claimed_and_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """RUN/model is never worse than the warm-up's on fresh samples, the sentence is true, and a game did help. The
    table of recipes/README.md is the record's."""
    monkeypatch.syspath_prepend(str(runs.ROOT / "benchmarks"))
    benchmark = importlib.import_module("best_model")
    record = json.loads((runs.ROOT / "benchmarks" / "results" / "best_model.json").read_text())
    rows = [row for seeds in record["jobs"].values() for seed, row in seeds.items() if seed != "cost"]
    assert set(record["jobs"]) == set(benchmark.JOBS)
    assert len(rows) == 3 * len(benchmark.JOBS)
    assert all(row["never_worse"] and row["true"] is not False for row in rows)
    assert any(row["phase"] == ADVERSARIAL and ": it helped" in row["told"] for row in rows)
    assert all(f"step {row['step']:,}, the best of {row['evaluations']} ev" in row["told"] for row in rows)
    shown = (runs.ROOT / "recipes" / "README.md").read_text("utf-8")
    assert "\n".join(benchmark.table(record)) in shown
