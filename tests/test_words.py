"""Raw text becomes words, sentences and paragraphs, and what is drawn raw text again, in samples and in chat."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from seqgan_kit.cli import main
from seqgan_kit.dialogue import sources as dialogues
from seqgan_kit.dialogue.models import load_template
from seqgan_kit.errors import UserError
from seqgan_kit.language.words import Words, check_words, units, words_of
from seqgan_kit.text.commands import load_sampler
from seqgan_kit.text.sources import DataConfig, load

DATA = os.environ.get("SEQGAN_KIT_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="SEQGAN_KIT_DATA does not name the folder of real data")
SPLIT = Words(split="punctuation")
QUICK = [
    *("--likelihood.steps", "2", "--likelihood.batch_size", "4", "--discriminator.steps", "1"),
    *("--discriminator.batch_size", "4", "--adversarial.rounds", "1", "--adversarial.batch_size", "4"),
    *("--control.enabled", "false", "--evaluation.samples", "4"),
]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("Hello there. It's fine, isn't it?", "Hello there . It 's fine , is n't it ?"),
        ("America.", "America ."),
        ('He said "hi" (twice).', "He said `` hi '' ( twice ) ."),
        ("I see... I'm out...", "I see ... I 'm out ..."),
        ("it is $3.50, or 1,000", "it is $ 3.50 , or 1,000"),
        ("a <unk> stays.", "a <unk> stays ."),
        ("今日 天氣", "今日 天氣"),
        ("", ""),
    ],
)
def test_words_and_punctuation_and_the_way_back(raw: str, words: str) -> None:
    """Also of several sentences, whose full stops nltk's tokenizer alone leaves at the words."""
    assert SPLIT.read(raw) == words
    assert SPLIT.read(words) == words, "what was split stays so"
    assert SPLIT.shown(words) == raw


def test_curly_quotes_are_straight() -> None:
    """nltk takes each for a word of its own, and never puts it back: didn ’ t."""
    assert SPLIT.read("He didn\u2019t say \u201cno\u201d.") == "He did n't say `` no '' ."
    assert SPLIT.shown("He did n't say `` no '' .") == 'He didn\'t say "no".'


def test_small_letters_come_last() -> None:
    """Where a sentence ends is seen by the large letter after it."""
    assert Words(lower=True).read("Mr. Éclair  IS In.") == "mr. éclair  is in."
    assert Words(True, "punctuation").read("We saw the U.S. Then IT'S over.") == "we saw the u.s . then it 's over ."


def test_nothing_is_asked_for() -> None:
    text = " It's  here. "
    assert Words().read(text) == Words().shown(text) == text
    assert Words().saved() == {}
    assert words_of({"length": 3}) == Words()
    assert words_of(json.loads(json.dumps(Words(True, "punctuation").saved()))) == Words(True, "punctuation")


@needs_data
def test_real_text_goes_there_and_back() -> None:
    """19 of 20 messages of real talk come back to the letter, but for white space; and splitting twice is once."""
    lines = Path(DATA or "", "dialogue/valid.jsonl").read_text("utf-8").splitlines()[:60]
    raw = [" ".join(m["content"].split()) for line in lines for m in json.loads(line)["messages"]]
    words = list(map(SPLIT.read, raw))
    assert sum(SPLIT.shown(one) == text for one, text in zip(words, raw, strict=True)) > 0.95 * len(raw) > 500
    assert sum(SPLIT.read(one) == one for one in words) > 0.99 * len(raw)
    assert not [word for one in words for word in one.split() if re.search(r"\w[.,!?]$", word) and len(word) > 3]


PROSE = [
    (1, "Mr. Smith went to Washington. He"),
    (2, "was not happy about the"),
    (3, "weather there. Then it ended."),
    (5, "A new paragraph begins"),
    (6, "and goes on"),
]


def test_sentences_and_paragraphs_of_hard_wrapped_prose() -> None:
    """Sentences go over line ends, not over blank lines; each is told by the line where it begins."""
    assert units(PROSE, "line") == PROSE
    assert units(PROSE, "paragraph") == [
        (1, "Mr. Smith went to Washington. He was not happy about the weather there. Then it ended."),
        (5, "A new paragraph begins and goes on"),
    ]
    assert units(PROSE, "sentence") == [
        (1, "Mr. Smith went to Washington."),
        (1, "He was not happy about the weather there."),
        (3, "Then it ended."),
        (5, "A new paragraph begins and goes on"),
    ]
    assert units([], "sentence") == []


def test_a_source_holds_the_split_words_and_shows_raw_text(tmp_path: Path) -> None:
    """Metrics count the words of `train_texts` and of what `decode` gives; `shown` is for people."""
    path = tmp_path / "a.txt"
    path.write_text("".join(f"It's number {i}, isn't it?\n" for i in range(20)))
    source = load(DataConfig(str(path), lower=True, split="punctuation"), 0)
    assert re.fullmatch(r"it 's number \d+ , is n't it \?", source.train_texts[0])
    assert source.decode(source.train) == list(source.train_texts)
    assert re.fullmatch(r"it's number \d+, isn't it\?", source.shown(source.train)[0])


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    (folder / "a.txt").write_text("".join(f"It's {i}, isn't it?\n" for i in range(40)))
    words = ["--data.path", str(folder / "a.txt"), "--data.split", "punctuation", "--data.lower", "true"]
    assert main(["train", "text", *words, *QUICK, "--run.folder", str(folder / "run")]) == 0
    return folder / "run"


def assert_raw(lines: str) -> None:
    """No mark stands by itself, as in split text."""
    assert not re.search(r"\w [,?]", lines)
    assert re.search(r"\w[,?]", lines)


def test_samples_of_a_run_are_raw_text(text_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In samples/ and by `sample`; the run's model knows how, and one trained on from it must be read alike."""
    known = json.loads((text_run / "model/text.json").read_text())
    assert known["words"] == {"lower": True, "split": "punctuation"}
    sampler = load_sampler(text_run / "model")
    words = json.loads((text_run / "model/tokenizer.json").read_text())["model"]["vocab"]
    assert sampler.text([words[word] for word in ("it", "'s", "3", ",", "is", "n't", "it", "?")]) == "it's 3, isn't it?"
    capsys.readouterr()
    main(["sample", str(text_run), "--count", "40"])
    shown = capsys.readouterr().out + "".join(path.read_text() for path in (text_run / "samples").glob("*.txt"))
    assert_raw(shown)
    path = text_run.with_name("a.txt")
    more = ["--data.path", str(path), "--generator.model", str(text_run / "model"), *QUICK]
    assert main(["train", "text", *more, "--run.folder", str(text_run.with_name("no"))]) == 1
    told = capsys.readouterr().err
    advice = "--data.lower true --data.split punctuation"
    assert f"has learned from text read with {advice}: give the same" in told
    assert main(["train", "text", *more, *advice.split(), "--run.folder", str(text_run.with_name("more"))]) == 0


def test_a_model_of_an_earlier_version(tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text('{"start": 0, "end": 0, "length": 4}')
    check_words(str(tmp_path), "text.json", Words())
    check_words(None, "text.json", Words(True))
    check_words(str(tmp_path / "other"), "text.json", Words(True))
    with pytest.raises(UserError, match=r"read with --data.lower false --data.split none: give the same"):
        check_words(str(tmp_path), "text.json", Words(True))


TALK = [("Hi! How are you?", "I'm fine, thanks."), ("What's up?", "It isn't much.")]


def test_dialogues_are_split_and_put_together_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is said to a run is read as its data were; its replies, in the table and by `sample`, are raw text."""
    path = tmp_path / "talk.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"{i} {a}"}, {"role": "assistant", "content": b}]}
        for i in range(10)
        for a, b in TALK
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = dialogues.load(dialogues.DataConfig(str(path), lower=True, split="punctuation"), 0)
    assert {one.reply for one in source.train_exchanges} == {"i 'm fine , thanks .", "it is n't much ."}
    run = tmp_path / "run"
    words = ["--data.path", str(path), "--data.lower", "true", "--data.split", "punctuation"]
    assert main(["train", "dialogue", *words, *QUICK, "--run.folder", str(run)]) == 0
    template, _ = load_template(run)
    raw, split = ([[{"role": "user", "content": text}]] for text in ("3 What's up?", "3 what 's up ?"))
    asked = template.ask(raw)
    assert asked.history.tolist() == [template.histories(split)[0].ids]
    assert template.tokenizer.unk_token_id not in asked.history.flatten().tolist()
    ids = template.replies(["it is n't much ."])[0]
    assert template.shown(ids) == "it isn't much."
    capsys.readouterr()
    main(["sample", str(run), "--text", "3 What's up?", "--count", "20"])
    out, err = capsys.readouterr()
    assert "unknown to the model" not in err, "the words are read as the data were"
    table = "".join(file.read_text() for file in (run / "samples").glob("*.txt"))
    assert "what's up?\t" in table
    assert_raw(out + table.replace("\t", "\n"))
