"""What metrics count: words whatever the tokenizer, unknown tokens as matching nothing, and only like beside like."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import runs
from seqgan_kit.cli import main
from seqgan_kit.dialogue.evaluation import DialogueEvaluation
from seqgan_kit.dialogue.sources import DataConfig as DialogueData
from seqgan_kit.dialogue.sources import load as load_dialogue
from seqgan_kit.errors import UserError
from seqgan_kit.language import metrics
from seqgan_kit.language.data import to_tokens
from seqgan_kit.language.units import UNKNOWN, UNREAD, Units, unit_of, without_blanks
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.report.measured import read_measured
from seqgan_kit.report.tradeoff import read_sweep
from seqgan_kit.text import evaluation as evaluations
from seqgan_kit.text.evaluation import TextEvaluation, of_each
from seqgan_kit.text.label_classifier import LabelClassifierConfig
from seqgan_kit.text.sources import DataConfig, Source, load

SHORT = (
    "--likelihood.steps", "6", "--discriminator.steps", "2", "--adversarial.rounds", "2", "--control.steps", "3",
    "--evaluation.samples", "20", "--run.checkpoint_steps", "1000",
)  # fmt: skip
QUICK = ("--adversarial.credit", "seqgan_kit.tokens.credit.Terminal", "--control.enabled", "false")
WORDS = ["a", "man", "rides", "horse", "red", "big", "on", "street", "the", "dog", "sits", "under", "tree", "."]
SAME = (
    *(f"{name}{n}" for name in ("bleu", "self_bleu") for n in (2, 3, 4, 5)),
    *("distinct1", "distinct2", "novel2", "novel3", "novel4", "novel_sentences", "length", "js1", "js2", "js3"),
)


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 8))) for _ in range(count)]


def written(folder: Path, train: list[str], held_out: list[str]) -> dict[str, str]:
    """The options of both files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("train.txt", train), ("test.txt", held_out)):
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return {"path": str(folder / "train.txt"), "held_out_path": str(folder / "test.txt")}


def bytes_tokenizer(texts: list[str], unknown: str = "<|endoftext|>") -> PreTrainedTokenizerFast:
    """GPT-2's kind: pieces of bytes with their blanks before them."""
    own = Tokenizer(models.BPE())
    own.pre_tokenizer, own.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    own.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False))
    own.add_special_tokens(["<|endoftext|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=own, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token=unknown
    )


def scores(monkeypatch: pytest.MonkeyPatch, source: Source, drawn: list[str], **options: Any) -> dict[str, float]:
    """The metrics of a model that draws these texts, whatever its tokens."""
    ids: list[list[int]] = source.tokenizer(drawn, add_special_tokens=False)["input_ids"]
    tokens = to_tokens(ids, source.end, source.end or 0)
    monkeypatch.setattr(evaluations, "draw", lambda *_: tokens)
    network = LSTMGenerator(LSTMConfig(source.vocabulary, 4, 4, source.start, source.end, source.length))
    found, _ = TextEvaluation(source, **options)(network, len(drawn))
    return found


def test_metrics_are_of_words_whatever_the_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same texts score the same, as nltk's kind of BLEU of their words; what real text scores is the same, too."""
    train, held_out, drawn = sentences(120), sentences(60, 1), sentences(50, 2)
    files = written(tmp_path, train, held_out)
    sources = [load(DataConfig(**files, tokenizer=kind), 0) for kind in ("word", "sentencepiece", "character")]
    sources.append(load(DataConfig(**files), 0, bytes_tokenizer(train)))
    assert len({source.vocabulary for source in sources}) == 4
    found = [scores(monkeypatch, source, drawn) for source in sources]
    words = [text.split() for text in drawn]
    references = metrics.References([text.split() for text in held_out])
    expected = {f"bleu{n}": value for n, value in metrics.bleu(words, references).items()}
    expected |= {f"self_bleu{n}": value for n, value in metrics.self_bleu(words).items()}
    expected |= {"distinct2": metrics.distinct(words, 2), "length": sum(map(len, words)) / 50}
    for one in found:
        assert {name: one[name] for name in expected} == pytest.approx(expected, abs=1e-12)
        assert [one[name] for name in SAME] == pytest.approx([found[0][name] for name in SAME], abs=1e-12)
    real = [TextEvaluation(source).real(40, 3) for source in sources]
    assert all(one == pytest.approx(real[0], abs=1e-12) for one in real)
    assert real[0]["bleu2"] < 1


def test_likelihood_by_word_is_that_of_the_whole_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its nats over its words and its end, by characters as by words; of words it is that by token."""
    files = written(tmp_path, sentences(60), sentences(20, 1))
    for kind in ("word", "character"):
        source = load(DataConfig(**files, tokenizer=kind), 0)
        found = scores(monkeypatch, source, sentences(9, 2))
        count = sum(len(text.split()) + 1 for text in source.held_out_texts)
        assert found["nll_word"] * count == pytest.approx(found["nll_gen"] * int(source.held_out.mask.sum()), rel=1e-9)
        assert (found["nll_word"] == pytest.approx(found["nll_gen"])) == (kind == "word")


def test_characters_where_there_are_no_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chinese as it is written: a sentence is one word, so characters are counted; divided by blanks, words."""
    rng = random.Random(0)
    lines = ["".join(rng.choices("今日天氣很好我們去公園", k=rng.randint(5, 9))) for _ in range(60)]
    files = written(tmp_path, lines[:40], lines[40:])
    found = [
        scores(monkeypatch, load(DataConfig(**files, tokenizer=kind), 0), lines[:20])  # type: ignore[arg-type]
        for kind in ("character", "sentencepiece")
    ]
    assert found[0]["distinct1"] == len(set("".join(lines[:20]))) / sum(map(len, lines[:20]))
    assert [found[1][name] for name in SAME] == pytest.approx([found[0][name] for name in SAME], abs=1e-12)
    assert "nll_character" in found[0]
    assert without_blanks(lines)
    assert not without_blanks([" ".join(line) for line in lines])
    assert without_blanks(["今日天氣很好， 我們去公園散步。", "我們去公園散步， 今日天氣很好。"]), (
        "blanks after marks only"
    )
    assert not without_blanks(sentences(5))
    assert unit_of("words", "f", lines) == "words"
    with pytest.raises(UserError, match=r"--evaluation.unit words: ids holds numbers, no text: leave it out"):
        unit_of("words", "ids", [])
    assert unit_of(None, "ids", []) == "tokens"


@pytest.mark.parametrize("kind", ["word", "character", "sentencepiece"])
def test_an_unknown_token_matches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    """Neither one in held-out text nor one in training text; so a smaller vocabulary improves no number."""
    train, held_out = sentences(80), [f"{text} zebu" for text in sentences(30, 1)]
    if kind == "word":
        source = load(DataConfig(**written(tmp_path, train, held_out), vocabulary=6), 0)
    else:  # the characters of zebu are known: a letter that is not
        held_out = [text.replace("zebu", "Ж") for text in held_out]
        source = load(DataConfig(**written(tmp_path, train, held_out), tokenizer=kind), 0)
    tokens = to_tokens([[1, 1, 1, 1]] * 4, source.end, 0)
    assert source.tokenizer.unk_token_id == 1
    monkeypatch.setattr(evaluations, "draw", lambda *_: tokens)
    network = LSTMGenerator(LSTMConfig(source.vocabulary, 4, 4, source.start, source.end, source.length))
    evaluation = TextEvaluation(source)
    found, _ = evaluation(network, 4)
    assert [found[f"bleu{n}"] for n in (2, 3, 4, 5)] == [0.0] * 4
    assert (found["novel2"], found["novel_sentences"]) in ((1.0, 1.0), (0.0, 1.0))  # of one word there are no pairs
    assert found["self_bleu2"] == 1.0 or kind != "word", "they are all alike"
    assert found["js1"] == pytest.approx(math.log(2))
    assert found["unknown"] == 0.8, "four of five, with the end"
    share = float((source.held_out.ids[source.held_out.mask] == 1).double().mean())
    assert evaluation.real(10, 0)["unknown"] == evaluation.measured(4).unknown == share > 0
    assert TextEvaluation(source, unit="tokens")(network, 4)[0]["bleu2"] > 0, "as it was counted before"


def test_held_out_words_stay_real_words(tmp_path: Path) -> None:
    """Of real text, what the vocabulary lacks is still a word: the numbers of real data are those without a limit."""
    files = written(tmp_path, sentences(80), sentences(30, 1))
    limited, whole = (TextEvaluation(load(DataConfig(**files, vocabulary=n), 0)).real(20, 0) for n in (6, None))
    assert limited.pop("unknown") > 0.3
    assert limited == whole


def test_what_is_unknown_is_taken_apart() -> None:
    words, characters = Units("words", "<unk>"), Units("characters", "<unk>")
    assert words.drawn(["a <unk> b<unk>", ""]) == [("a", UNKNOWN, UNKNOWN), ()]
    assert words.real(["a <unk>"]) == [("a", UNREAD)]
    assert characters.drawn(["a<unk>b <unk>"]) == [("a", UNKNOWN, "b", " ", UNKNOWN)]
    assert Units("words").drawn(["a <unk>"]) == [("a", "<unk>")], "a word like others where there is no such token"


def test_a_text_that_was_cut_is_what_is_left_of_it(tmp_path: Path) -> None:
    """Training texts over the limit: their copies are not new, and what was cut off was never read."""
    train = ["a b c d e f", "a b c"] * 20
    files = written(tmp_path, train, ["a b c d"] * 4)
    source = load(DataConfig(**files, max_length=4, too_long="cut"), 0)
    evaluation = TextEvaluation(source)
    assert evaluation.real(40, 0)["length"] == 4
    assert set(evaluation._train) == {tuple("abcde"), tuple("abc")}
    letters = load(DataConfig(**files, max_length=8, too_long="cut", tokenizer="character"), 0)
    assert set(TextEvaluation(letters)._train) == {tuple("abcde"), tuple("abc")}


def test_a_tokenizer_that_changes_text_is_told(tmp_path: Path) -> None:
    """One that gives back lower case: no sample can match what it changed."""
    train = sentences(40)
    files = written(tmp_path, train, [*sentences(3, 1), "A Man ."])
    tokenizer = bytes_tokenizer(train)
    assert TextEvaluation(load(DataConfig(**files), 0, tokenizer)).measured(5).notes == []
    from tokenizers import normalizers

    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    (note,) = TextEvaluation(load(DataConfig(**files), 0, tokenizer)).measured(5).notes
    assert "changes 1 of 4 held-out texts" in note


def test_a_class_that_is_not_drawn_is_said(tmp_path: Path) -> None:
    """One of which nothing is held out; a rare one is drawn once at least, where the samples suffice."""
    lines = [f"{'pos' if i % 2 else 'neg'} {text}" for i, text in enumerate(sentences(40))]
    files = written(tmp_path, lines, [line for line in lines if line.startswith("pos")])
    source = load(DataConfig(**files, labelled=True), 0)
    (note,) = TextEvaluation(source, judge=LabelClassifierConfig(steps=1, filters=2)).measured(30).notes
    assert note == "few samples of a class: 0 of 'neg'; class_accuracy says nothing of one without"
    labels = torch.tensor([0] * 95 + [1] * 4 + [2])
    assert of_each(labels, 10).tolist() == [0] * 8 + [1, 2]
    assert of_each(labels, 100).bincount().tolist() == [95, 4, 1]
    assert of_each(labels, 2).unique().numel() == 2


class Says(nn.Module):
    """A network of replies that is only asked for a likelihood."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, ids: Any, history: Any, turns: Any, mask: Any) -> Any:
        return torch.where(mask, -1.0, 0.0)


def test_replies_are_of_words_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters or words: BLEU, distinct-n, repetition of the same replies are the same, and so is the perplexity of a
    word of a network that gives the same text the same probability."""
    found = []
    for kind in ("word", "character"):
        source = load_dialogue(DialogueData(dialogues=60, held_out=0.3, tokenizer=kind), 0)  # type: ignore[arg-type]
        said = replace(source.held_out)
        monkeypatch.setattr("seqgan_kit.dialogue.evaluation.draw", lambda *_, said=said: said)
        scores, texts = DialogueEvaluation(source)(Says(), 10**6)  # type: ignore[arg-type]
        assert texts == [one.reply for one in source.held_out_exchanges]
        words = sum(len(text.split()) + 1 for text in texts)
        assert scores["perplexity"] == pytest.approx(math.e)
        assert scores["perplexity_word"] == pytest.approx(math.exp(int(source.held_out.mask.sum()) / words))
        found.append({name: value for name, value in scores.items() if not name.startswith("perplexity")})
    assert found[0] == pytest.approx(found[1])
    assert found[0]["bleu4"] == pytest.approx(1.0)


# -- runs ----------------------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(words) == 1
    (line,) = runs.errors(capsys.readouterr().err)
    return line


def train(folder: Path, *options: str) -> Path:
    assert main(runs.tiny(folder, *SHORT, *options)) == 0
    return folder


def gpt2_folder(folder: Path, texts: list[str]) -> str:
    tokenizer = bytes_tokenizer(texts)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
def test_four_tokenizers_stand_in_one_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """LSTMs by words, pieces and characters, and a GPT-2 with its own tokenizer: BLEU beside BLEU, likelihood by word,
    and no likelihood by token beside one by other tokens. A group by tokens is refused, and the advice helps."""
    files = written(tmp_path, sentences(80), sentences(30, 1))
    data = ["--data.path", files["path"], "--data.held_out_path", files["held_out_path"], *QUICK]
    kinds = {
        "word": [],
        "pieces": ["--data.tokenizer", "sentencepiece"],
        "characters": ["--data.tokenizer", "character"],
        "gpt2": ["--generator.model", gpt2_folder(tmp_path / "gpt2", sentences(80))],
        "tokens": ["--data.tokenizer", "character", "--evaluation.unit", "tokens"],
    }
    made = {
        kind: [str(train(tmp_path / f"{kind}-{seed}", *data, *options, "--run.seed", seed)) for seed in "01"]
        for kind, options in kinds.items()
    }
    capsys.readouterr()
    groups = [word for kind in ("word", "pieces", "characters", "gpt2") for word in ("--", *made[kind])]
    assert main(["compare", *groups[1:]]) == 0
    told = capsys.readouterr().out
    assert told.count("metrics of words, 20 samples, 30 held-out texts") == 4
    for part in told.split(" beside ")[1:]:
        assert "adversarial: bleu5" in part
        assert "adversarial: nll_word" in part
        assert "adversarial: nll_gen" not in part
        assert "not compared: nll_gen, by tokens of other kinds" in part
    words = ["compare", *made["word"], "--", *made["tokens"]]
    line = refused(capsys, *words)
    assert f"{made['word'][1]} has metrics of words, {made['tokens'][0]} metrics of tokens (character)" in line
    advice = line.split("seqgan-kit ")[1].split(";")[0].split()
    assert advice[0] == "sweep"
    assert main([*advice, "--temperatures", "0.5", "1.5"]) == 0
    capsys.readouterr()
    assert main(words) == 0
    told = capsys.readouterr().out
    assert told.startswith("only what their sweeps measured alike is compared")
    assert "bleu5 at equal self_bleu5, of words, 20 samples" in told or "no self_bleu5 is reached by all" in told


def test_the_unit_stands_wherever_numbers_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the run's first lines, run.json, the last table, the report, evaluate, evaluation.json and the sweep; real
    data of fewer texts than the samples are said to be so; a resumed run keeps what it counts."""
    files = written(tmp_path, sentences(18), sentences(30, 1))
    data = ["--data.path", files["path"], "--data.held_out_path", files["held_out_path"], "--data.vocabulary", "8"]
    run = train(tmp_path / "run", *data)
    printed = capsys.readouterr().out
    head = "metrics of words, 20 samples, 30 held-out texts"
    assert printed.count(head) == 2
    assert "of the held-out tokens are unknown to the tokenizer" in printed
    assert "real data (18 texts)" in printed
    record = json.loads((run / "run.json").read_text())["measured"]
    assert (record["unit"], record["samples"], record["texts"], record["tokens"]) == (
        "words",
        20,
        30,
        "word, at most 8",
    )
    page = (run / "report.html").read_text()
    assert "metric<br><small>words, 20 samples, 30 held-out texts</small>" in page
    assert "real data (18 texts)" in page
    assert "of the held-out tokens are unknown" in page
    assert main(["evaluate", str(run), "--samples", "15"]) == 0
    assert "metrics of words, 15 samples, 30 held-out texts" in capsys.readouterr().out
    assert json.loads((run / "evaluation.json").read_text())["measured"]["unit"] == "words"
    assert main(["evaluate", str(run), "--unit", "characters"]) == 0
    assert "metrics of characters, 20 samples" in capsys.readouterr().out
    assert main(["sweep", str(run), "--temperatures", "0.5", "1.5", "--samples", "10"]) == 0
    assert "metrics of words, 10 samples, 30 held-out texts, at each temperature" in capsys.readouterr().out
    sweep = read_sweep(run)
    assert sweep is not None
    assert sweep.measured is not None
    assert (sweep.measured.unit, sweep.measured.samples) == ("words", 10)
    line = refused(capsys, "resume", str(run), "--evaluation.samples", "30", "--control.steps", "5")
    assert "was evaluated with --evaluation.samples 20 so far" in line
    assert "give --evaluation.samples 20, or train a new run" in line
    line = refused(capsys, "resume", str(run), "--evaluation.unit", "tokens", "--control.steps", "5")
    assert "was evaluated with --evaluation.unit words so far" in line
    assert main(["resume", str(run), "--evaluation.samples", "20", "--control.steps", "5"]) == 0


def test_words_of_numbers_are_refused_before_there_is_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of token ids has no words; what the message says to do works."""
    (tmp_path / "ids.txt").write_text("".join(f"{i % 7} {i % 3} {i % 5}\n" for i in range(80)))
    words = runs.tiny(
        tmp_path / "run", *SHORT, *QUICK, "--data.path", str(tmp_path / "ids.txt"), "--data.tokens", "true"
    )
    line = refused(capsys, *words, "--evaluation.unit", "words")
    assert "--evaluation.unit words: ids.txt holds numbers, no text: leave it out, or give tokens" in line
    assert not (tmp_path / "run").exists()
    assert main([*words, "--evaluation.unit", "tokens"]) == 0
    assert "metrics of tokens (numbers), 20 samples, 8 held-out texts" in capsys.readouterr().out


def test_a_run_of_an_earlier_version_goes_on_as_it_was_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it says is of tokens, or of words where these were all its tokens; evaluate and sweep count words."""
    files = written(tmp_path, sentences(40), sentences(20, 1))
    data = ["--data.path", files["path"], "--data.held_out_path", files["held_out_path"], "--evaluation.unit", "tokens"]
    for options, unit in (([], "words"), (["--data.tokenizer", "character"], "tokens")):
        run = train(tmp_path / unit, *data, *options)
        record = json.loads((run / "run.json").read_text())
        del record["measured"]
        (run / "run.json").write_text(json.dumps(record))
        text = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(text.replace("  unit: tokens\n", ""))
        found = read_measured(run)
        assert found is not None
        assert (found.unit, found.samples) == (unit, 20)
        capsys.readouterr()
        assert main(["evaluate", str(run)]) == 0
        assert "metrics of words, 20 samples" in capsys.readouterr().out
        assert main(["resume", str(run), "--control.steps", "5"]) == 0
        head = {"words": "words", "tokens": "tokens (character)"}[unit]
        assert f"metrics of {head}, 20 samples" in capsys.readouterr().out
        assert json.loads((run / "run.json").read_text())["measured"]["unit"] == unit


def test_unlike_runs_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of other numbers of samples, other texts, or other parts held out for the same seed; the advice names options."""
    measured: dict[str, Any] = {"unit": "words", "samples": 20, "texts": 30, "corpus": "c", "tokens": "word"}

    def group(name: str, **changed: Any) -> list[str]:
        found = []
        for seed in (0, 1):
            folder = tmp_path / f"{name}-{seed}"
            folder.mkdir()
            line = {"phase": "adversarial", "step": 1, "total": 1, "eval/bleu2": 0.5 + seed}
            line |= {"eval/nll_gen": 1.0, "eval/nll_word": 2.0}
            (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
            own = {**measured, "held_out": f"h{seed}", **changed}
            record = {"task": "text", "seed": seed, "finished": True, "measured": own}
            (folder / "run.json").write_text(json.dumps(record))
            (folder / "config.yaml").write_text(json.dumps({"run": {"seed": seed}, "name": name}))
            found.append(str(folder))
        return found

    first = group("a")
    for name, changed, expected in (
        ("b", {"samples": 40}, ["a-1 has metrics of 20 samples", "b-0 metrics of 40 samples", "--evaluation.samples"]),
        ("d", {"corpus": "other"}, ["a-0 and", "d-0 are of other texts", "--data.held_out_path"]),
        ("e", {"held_out": "other"}, ["a-0 and", "e-0 hold out other texts", "--data.max_length, which counts tokens"]),
        ("l", {"unit": "tokens", "tokens": "character"}, ["metrics of words", "metrics of tokens (character)"]),
        ("f", {"unit": "characters"}, ["metrics of words", "metrics of characters", "sweep", "--unit words"]),
    ):
        line = refused(capsys, "compare", *first, "--", *group(name, **changed))
        assert all(part in line for part in expected), line
    pictures = [group(name, samples=count) for name, count in (("h", 500), ("i", 400))]
    for runs_, count in zip(pictures, (500, 400), strict=True):
        for folder in map(Path, runs_):
            record = {**json.loads((folder / "run.json").read_text()), "task": "images"}
            del record["measured"]
            (folder / "run.json").write_text(json.dumps(record))
            plan = {**json.loads((folder / "config.yaml").read_text()), "evaluation": {"samples": count}}
            (folder / "config.yaml").write_text(json.dumps(plan))
    line = refused(capsys, "compare", *pictures[0], "--", *pictures[1])
    assert "metrics of 500 samples" in line
    assert line.endswith("train anew with the same --evaluation.samples, as 400")
    other = group("k")
    for folder in map(Path, other):  # no seed in common: other parts of the same texts may be held out
        record = json.loads((folder / "run.json").read_text())
        record |= {"seed": record["seed"] + 5, "measured": {**record["measured"], "held_out": "other", "texts": 28}}
        (folder / "run.json").write_text(json.dumps(record))
    assert main(["compare", *first, "--", *other]) == 0
    assert main(["compare", *first, "--", *group("g", tokens="character")]) == 0
    told = capsys.readouterr().out
    assert "not compared: nll_gen, by tokens of other kinds" in told
    assert "adversarial: bleu2" in told
    assert "adversarial: nll_word" in told
    assert main(["compare", *first, "--", *group("j", tokens="word, at most 9", unknown=0.142)]) == 0
    told = capsys.readouterr().out
    assert "not compared: nll_word, 14.20% of the held-out tokens are unknown to one of them" in told
    assert "adversarial: nll_word" not in told


def test_vectors_are_of_equal_numbers(tmp_path: Path) -> None:
    """The Frechet distance and MAUVE: of as many held-out texts as samples, or of as many samples as those."""
    source = load(DataConfig(**written(tmp_path, sentences(60), sentences(7, 1))), 0)
    counts: list[int] = []

    def embed(texts: list[str]) -> torch.Tensor:
        counts.append(len(texts))
        return torch.randn(len(texts), 3)

    TextEvaluation(source, embed).real(40, 0)
    assert counts == [7, 7]
