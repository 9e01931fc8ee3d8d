"""Encoders of captions: words, a joint embedding, models of transformers; their scale, cache and folders."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)

from seqgan_kit.errors import UserError
from seqgan_kit.images.caption_encoders import (
    HuggingFaceEncoder,
    Joint,
    Order,
    Standardised,
    TextEncoder,
    Words,
    embed,
    load_encoder,
    save_encoder,
)
from seqgan_kit.networks.pictures.joint_embedding import JointEmbedding, JointEmbeddingConfig

CAPTIONS = [
    "a red circle above a blue star",
    "A red circle, and a red square!",
    "a blue star",
    "the small yellow triangle",
    "a red circle",
]
NEW = ["a blue circle", "red red red", "a purple star", "the triangle"]
VOCABULARY = ["[PAD]", "[UNK]", "[START]", "a", "red", "blue", "circle", "star", "above", "[END]"]
PAD, START, END = 0, 2, 9
LONGEST = 12

TINY: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
TEXT: dict[str, Any] = {"vocab_size": 10, "max_position_embeddings": LONGEST}
CLIP_TEXT = TEXT | TINY | {"eos_token_id": END, "bos_token_id": START, "pad_token_id": PAD}


def tokenizer(ends: bool = False, **others: Any) -> PreTrainedTokenizerFast:
    """Of single words; ends: [START] and [END] are put round them, as CLIP pools at the end."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if ends:
        inner.post_processor = processors.TemplateProcessing(
            single="[START] $A [END]", special_tokens=[("[START]", START), ("[END]", END)]
        )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[START]", "eos_token": "[END]"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **(special | others))


def bert() -> BertModel:
    return BertModel(BertConfig(**TEXT, **TINY))


def clip() -> CLIPModel:
    vision = TINY | {"image_size": 16, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=CLIP_TEXT, vision_config=vision, projection_dim=4))


def clip_with_projection() -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(CLIPTextConfig(**CLIP_TEXT, projection_dim=4))


def clip_text() -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig(**CLIP_TEXT))


def t5() -> T5Model:
    return T5Model(T5Config(vocab_size=10, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))


def saved(folder: Path, model: PreTrainedModel, **others: Any) -> Path:
    torch.manual_seed(0)
    for parameter in model.parameters():  # the first weights would leave all captions nearly equal
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    tokenizer(**others).save_pretrained(folder)
    return folder


def joint(folder: Path, **others: Any) -> Path:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"length": 48, "widths": (8, 8, 8), "dim": 6, "picture_width": 8}
    JointEmbedding(JointEmbeddingConfig(**(sizes | others))).save_pretrained(folder)
    return folder


class Counting(TextEncoder):
    """Numbers that are known, and how often it was asked for how many."""

    def __init__(self, version: str = "1", factor: float = 1.0) -> None:
        self.dim, self.name, self.version, self.factor = 2, "counting", version, factor
        self.calls: list[int] = []

    def encode(self, captions: Sequence[str]) -> Tensor:
        self.calls.append(len(captions))
        return torch.tensor([[len(caption), self.factor] for caption in captions]).float()

    def unread(self, captions: Sequence[str]) -> int:
        return 0

    def identity(self) -> str:
        return self.version

    def save(self, folder: Path) -> dict[str, Any]:
        return {}


class Given(Counting):
    """An encoder whose vectors are given."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors, self.dim = vectors, vectors.shape[1]

    def encode(self, captions: Sequence[str]) -> Tensor:
        return self.vectors


# Words


def expected_words(training: Sequence[str], captions: Sequence[str], order: str, least: int) -> dict[str, list[int]]:
    """Counts of every entry in every caption, by searching the text for it."""

    def text(caption: str) -> str:
        if order != "clauses":
            return " " + " ".join(re.findall(r"[a-z0-9_]+", caption.lower())) + " "
        found, place = " ", 0
        for clause in caption.lower().replace(".", ",").replace(":", ",").split(","):
            words = re.findall(r"[a-z0-9_]+", clause)
            place += bool(words)
            found += "".join(f"{min(place, 3)}:{word} " for word in words)
        return found

    words = {word for caption in training for word in text(caption).split()}
    pairs = {" ".join(two) for caption in training for two in pairwise(text(caption).split())}
    every = words | pairs if order == "pairs" else words
    often = [e for e in every if sum(f" {e} " in text(caption) for caption in training) >= least]
    return {e: [len(re.findall(f"(?= {e} )", text(caption))) for caption in captions] for e in often}


CLAUSES = ["one : a b , b a", "a , but no b . a ; b ! a a", ", a , b"]


@pytest.mark.parametrize("order", ["none", "clauses", "pairs"])
@pytest.mark.parametrize("least", [1, 2, 3])
def test_words_are_counted(order: Order, least: int) -> None:
    """Entries are in `least` captions or more; counts times one scale, which makes the mean square norm 1."""
    training = CAPTIONS + CLAUSES[:2]
    encoder = Words(training, order, least)
    expected = expected_words(
        [c.replace("!", ",").replace(";", ",") for c in training], NEW + CLAUSES[2:], order, least
    )
    assert set(encoder.entries) == set(expected)
    assert encoder.dim == len(expected)
    counts = torch.tensor([expected[entry] for entry in encoder.entries]).T.float()
    torch.testing.assert_close(encoder.encode(NEW + CLAUSES[2:]), counts * encoder.scale)
    vectors = encoder.encode(training)
    assert vectors.dtype == torch.float32
    assert vectors.square().sum(1).mean().item() == pytest.approx(1)
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_who_is_denied_what() -> None:
    """Clauses and pairs tell captions apart of which the words alone are the same; clauses know no pairs to be new."""
    captions = [
        "a red star , but none is blue .",
        "a blue star , but none is red .",
        "a dot .",
        "a dot , a dot , a dot",
    ]
    same = {
        order: bool((Words(captions, order, 1).encode(captions[:2]).diff(dim=0) == 0).all())
        for order in get_args(Order)
    }
    assert same == {"none": True, "clauses": False, "pairs": False}
    clauses = Words(captions, least=1)
    assert clauses.unread(["a blue dot .", "a red star , but none is red", "but", "a . a . a . a . dot"]) == 1
    third = clauses.encode(["; ; a : a ; dot", ". . a ... a ! ? a , a , dot"])
    assert third[0].count_nonzero() == 3
    assert third[1].sum() == pytest.approx(5 * clauses.scale)


def test_the_most_frequent_words_stay() -> None:
    """`most` entries, the most frequent, words before pairs that are as frequent; a word twice in a caption is one."""
    assert list(Words(CAPTIONS, "pairs", most=4).entries) == ["a", "circle", "red", "a red"]
    assert list(Words(["b b b", "a c", "c a"], "none", least=1, most=2).entries) == ["a", "c"]
    assert list(Words(["x y", "x y"], "pairs", most=3).entries) == ["x", "y", "x y"]
    square = Words(CAPTIONS, most=3).encode(CAPTIONS).square().sum(1).mean().item()
    assert square == pytest.approx(1)


def test_words_of_other_scripts_and_unknown_ones() -> None:
    """Words are Unicode's, of either form of an accent; captions with an unknown word are counted."""
    encoder = Words(["красный круг", "КРУГ café", "cafe\u0301"], "none", least=2)
    assert list(encoder.entries) == ["café", "круг"]
    assert (encoder.encode(["Круг.", "cafe\u0301"]) > 0).tolist() == [[False, True], [True, False]]
    assert encoder.encode(["unknown"]).abs().sum() == 0
    assert encoder.unread(["круг", "круг café", "круг зелёный", "unknown"]) == 2


def test_words_need_captions() -> None:
    """Captions that share no word are an error."""
    with pytest.raises(UserError, match="no word is in 2 of the 3 captions"):
        Words(["a", "b", "c"])


# Joint embedding


def test_joint_is_the_models_text_side(tmp_path: Path) -> None:
    """The vectors of `embed_text`; captions too long or with unknown characters are counted."""
    encoder = Joint(joint(tmp_path / "joint"))
    model = JointEmbedding.from_pretrained(tmp_path / "joint")
    torch.testing.assert_close(encoder.encode(CAPTIONS), model.embed_text(CAPTIONS))
    assert encoder.encode(CAPTIONS).shape == (5, encoder.dim) == (5, 6)
    assert encoder.unread(["Red", "x" * 48, "x" * 49, "red é"]) == 2


def test_joint_refuses_other_models(tmp_path: Path) -> None:
    """A folder of another model, without weights or none at all: one line that names it."""
    saved(tmp_path / "bert", bert())
    joint(tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"x" * 100)
    joint(tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    for name in ("bert", "broken", "bare", "none"):
        with pytest.raises(UserError, match=name) as error:
            Joint(tmp_path / name)
        assert "\n" not in str(error.value)


# Models of transformers


def ids(caption: str, ends: bool = False) -> list[int]:
    found = [VOCABULARY.index(word) if word in VOCABULARY else 1 for word in re.findall(r"\w+|[^\w\s]", caption)]
    return [START, *found[: LONGEST - 2], END] if ends else found[:LONGEST]


def one_by_one(model: Any, captions: Sequence[str], pool: Any, ends: bool = False) -> Tensor:
    """Each caption alone, so that there is no padding."""
    with torch.no_grad():
        return torch.cat([pool(model.eval(), torch.tensor([ids(caption, ends)])) for caption in captions])


POOLS: dict[str, tuple[Any, Any, str]] = {
    "bert": (bert, lambda m, x: m(x).last_hidden_state.mean(1), "mean"),
    "clip": (clip, lambda m, x: m.text_projection(m.text_model(x).pooler_output), "own"),
    "clip-projection": (clip_with_projection, lambda m, x: m(x).text_embeds, "own"),
    "clip-text": (clip_text, lambda m, x: m(x).pooler_output, "own"),
    "t5": (t5, lambda m, x: m.encoder(x).last_hidden_state.mean(1), "mean"),
}


@pytest.mark.parametrize("kind", POOLS)
def test_vectors_are_the_models(kind: str, tmp_path: Path) -> None:
    """Batches of any size, with padding and in any order, give what the model gives of each caption alone."""
    make, pool, pooling = POOLS[kind]
    captions = [*CAPTIONS, *NEW, "a red circle", " ".join(["red"] * 11), "a"]
    model, ends = make(), "clip" in kind
    encoder = HuggingFaceEncoder(saved(tmp_path, model, ends=ends), batch=4)
    assert encoder.pooling == pooling
    expected = one_by_one(model, captions, pool, ends)
    assert expected.std(0).max() > 0.03
    vectors = encoder.encode(captions)
    assert vectors.shape == (len(captions), encoder.dim)
    assert not vectors.requires_grad
    torch.testing.assert_close(vectors, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(encoder.encode(captions), vectors)
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_pooling_as_asked_for(tmp_path: Path) -> None:
    """first and own by name; the folder of a sentence-transformers model says which it is."""
    model = bert()
    saved(tmp_path, model)
    first = one_by_one(model, CAPTIONS, lambda m, x: m(x).last_hidden_state[:, 0])
    own = one_by_one(model, CAPTIONS, lambda m, x: m(x).pooler_output)
    cases: list[tuple[Literal["first", "own"], Tensor]] = [("first", first), ("own", own)]
    for pooling, expected in cases:
        found = HuggingFaceEncoder(tmp_path, pooling).encode(CAPTIONS)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    encoder = HuggingFaceEncoder(tmp_path)
    torch.testing.assert_close(encoder.encode(CAPTIONS), first, rtol=1e-4, atol=1e-5)
    save_encoder(encoder, tmp_path / "again")
    torch.testing.assert_close(load_encoder(tmp_path / "again").encode(CAPTIONS), first, rtol=1e-4, atol=1e-5)


def test_long_captions_are_cut_and_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """At the model's limit, or the tokenizer's where that has one; nothing is printed of it."""
    encoder = HuggingFaceEncoder(saved(tmp_path / "a", bert()))
    capfd.readouterr()
    words = ["red blue " * 6, "red blue " * 6 + "star", "red"]
    assert encoder.length == LONGEST
    assert encoder.unread(words) == 1
    assert encoder.unread([]) == 0
    vectors = encoder.encode(words)
    torch.testing.assert_close(vectors[0], vectors[1])
    assert capfd.readouterr() == ("", "")
    assert HuggingFaceEncoder(saved(tmp_path / "b", bert(), model_max_length=5)).unread(words) == 2


def test_other_masks_and_padding(tmp_path: Path) -> None:
    """Padding on the left is put right; a tokenizer without a mask pads to the limit, as SigLIP's was trained."""
    model = bert()
    left = HuggingFaceEncoder(saved(tmp_path / "left", model, padding_side="left"))
    expected = one_by_one(model, CAPTIONS, lambda m, x: m(x).last_hidden_state.mean(1))
    torch.testing.assert_close(left.encode(CAPTIONS), expected, rtol=1e-4, atol=1e-5)
    without = HuggingFaceEncoder(saved(tmp_path / "without", model, model_input_names=["input_ids"]))
    padded = torch.tensor([ids(caption) + [PAD] * (LONGEST - len(ids(caption))) for caption in CAPTIONS])
    with torch.no_grad():
        expected = model.eval()(padded).last_hidden_state.mean(1)
    torch.testing.assert_close(without.encode(CAPTIONS), expected, rtol=1e-4, atol=1e-5)


def test_a_caption_without_tokens(tmp_path: Path) -> None:
    """An empty caption has nothing to pool: it is named."""
    with pytest.raises(UserError, match="no token of caption ' '"):
        HuggingFaceEncoder(saved(tmp_path, bert())).encode(["red", " "])


def damage(folder: Path, how: str) -> None:
    config, weights = folder / "config.json", folder / "model.safetensors"
    if how == "config":
        config.write_text("{")
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:500])
    elif how == "pickled":
        torch.save(load_file(weights), folder / "pytorch_model.bin")  # whole, but only safetensors are read
        weights.unlink()
    elif how == "lacking":
        tensors = load_file(weights)
        del tensors["encoder.layer.0.output.dense.bias"]
        save_file(tensors, weights, {"format": "pt"})
    elif how == "tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
    elif how == "no config":
        config.unlink()
    else:
        shutil.rmtree(folder)


DAMAGES = ("config", "cut", "pickled", "lacking", "tokenizer", "no tokenizer", "no config", "none")


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_folder_is_an_error_of_one_line(how: str, tmp_path: Path) -> None:
    """Whatever is wrong with a model's folder, one line names it, and nothing is filled in at random."""
    damage(saved(tmp_path / "model", bert()), how)
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "model"))) as error:
        HuggingFaceEncoder(tmp_path / "model")
    assert "\n" not in str(error.value)


def test_weights_that_are_not_used_may_be_missing(tmp_path: Path) -> None:
    """A BERT without a pooler, as masked language models are saved, is pooled by its mean, but not by its own."""
    saved(tmp_path, bert())
    tensors = {key: value for key, value in load_file(tmp_path / "model.safetensors").items() if "pooler" not in key}
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    assert HuggingFaceEncoder(tmp_path).encode(CAPTIONS).shape == (5, 8)
    with pytest.raises(UserError, match=r"lacks 2 of the model's weights, as pooler"):
        HuggingFaceEncoder(tmp_path, "own")


def test_a_model_of_pictures_is_refused(tmp_path: Path) -> None:
    """A vision model with a tokenizer beside it, and a tokenizer that knows more than the model."""
    saved(tmp_path / "vit", ViTModel(ViTConfig(**TINY, image_size=16, patch_size=8)))
    with pytest.raises(UserError, match=r"ViTModel, which gives no vectors of texts"):
        HuggingFaceEncoder(tmp_path / "vit")
    saved(tmp_path / "bert", BertModel(BertConfig(**(TEXT | TINY | {"vocab_size": 6}))))
    with pytest.raises(UserError, match="gives id 7, the model has 6"):
        HuggingFaceEncoder(tmp_path / "bert").encode(["a blue star"])


# Standardised


def test_standardised_vectors() -> None:
    """Mean 0 in each dimension, mean variance 1, and the ratio of the dimensions' variances is kept."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(500, 3, generator=generator) * torch.tensor([0.01, 0.05, 0.1]) + torch.tensor([5.0, 0.0, -1])
    found = Standardised.by(Given(vectors), vectors).encode([]).double()
    variances = found.var(0, correction=0)
    torch.testing.assert_close(found.mean(0), torch.zeros(3).double(), rtol=0, atol=1e-3)
    assert variances.mean().item() == pytest.approx(1, rel=1e-4)
    before = vectors.double().var(0, correction=0)
    torch.testing.assert_close(variances / variances[0], before / before[0], rtol=1e-3, atol=0)


def test_standardised_vectors_that_are_all_the_same() -> None:
    """Zeros, not NaN and not rounding blown up; those of another width are a mistake."""
    same = torch.tensor([[0.1, 1 / 3, 7.7]]).repeat(1000, 1)
    encoder = Standardised.by(Given(same), same)
    assert encoder.scale == 1
    assert encoder.encode([]).abs().max() < 1e-5
    with pytest.raises(ValueError, match="gives 2 numbers"):
        Standardised.by(Counting(), same)


# Cache


def test_the_second_time_nothing_is_encoded(tmp_path: Path) -> None:
    """Each different caption is encoded once; a second call reads the cache, for the same captions in the same form."""
    captions, first = ["red", "a", "red", "blue", "a"], Counting()
    expected = torch.tensor([[3.0, 1], [1, 1], [3, 1], [4, 1], [1, 1]])
    for cache in (None, tmp_path / "new" / "cache"):
        torch.testing.assert_close(embed(first, captions, cache), expected)
    assert first.calls == [3, 3]
    second = Counting(factor=9)
    torch.testing.assert_close(embed(second, captions, tmp_path / "new" / "cache"), expected)
    torch.testing.assert_close(
        embed(second, ["red", "a", "blue", "blue"], tmp_path / "new" / "cache"), expected[[0, 1, 3, 3]]
    )
    assert second.calls == []
    assert len(list((tmp_path / "new" / "cache").iterdir())) == 1  # and nothing unfinished


@pytest.mark.parametrize(
    ("version", "captions"),
    [("2", ["red", "a blue"]), ("1", ["red", "a red"]), ("1", ["reda", " blue"]), ("1", ["a blue", "red"])],
)
def test_another_encoder_or_caption_is_another_entry(version: str, captions: list[str], tmp_path: Path) -> None:
    """Neither a changed encoder nor a changed caption, nor the same letters cut elsewhere, finds old vectors."""
    embed(Counting("1"), ["red", "a blue"], tmp_path)
    encoder = Counting(version, factor=5)
    assert embed(encoder, captions, tmp_path)[:, 1].tolist() == [5, 5]
    assert encoder.calls == [2]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("how", ["cut", "empty", "text", "altered", "shape", "others"])
def test_a_damaged_cache_is_made_anew(how: str, tmp_path: Path) -> None:
    """Whatever happened to the file, even one flipped bit, the vectors are right, and cached again."""
    expected = embed(Counting(), ["red", "a"], tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(content[:-4])
    elif how == "altered":
        content[-2] ^= 1
        path.write_bytes(content)
    elif how == "shape":
        other = torch.zeros(2, 3)
        save_file({"vectors": other}, path, {"sum": hashlib.sha256(other.numpy().tobytes()).hexdigest()})
    elif how == "others":
        save_file({"others": torch.zeros(2, 2)}, path)
    else:
        path.write_bytes(b"" if how == "empty" else b"hello")
    again, third = Counting(), Counting()
    torch.testing.assert_close(embed(again, ["red", "a"], tmp_path), expected)
    assert again.calls == [2]
    torch.testing.assert_close(embed(third, ["red", "a"], tmp_path), expected)
    assert third.calls == []


def test_numbers_that_are_not_finite_are_not_cached(tmp_path: Path) -> None:
    """The message names the encoder and the first such caption."""
    with pytest.raises(UserError, match="counting gives numbers that are not finite for 'red'"):
        embed(Counting(factor=math.nan), ["red", "a"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where the folder should be is told, before anything is lost."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"give another --text\.cache, or leave it out"):
        embed(Counting(), ["red"], tmp_path / "file")


def test_identities(tmp_path: Path) -> None:
    """The same content elsewhere is the same encoder; other weights, words, poolings or scales are not."""
    saved(tmp_path / "a", bert())
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    before = HuggingFaceEncoder(tmp_path / "a").identity()
    assert HuggingFaceEncoder(tmp_path / "b").identity() == before
    joint(tmp_path / "joint")
    others = [
        HuggingFaceEncoder(tmp_path / "a", "first"),
        Joint(tmp_path / "joint"),
        Words(CAPTIONS),
        Words(CAPTIONS, "none"),
        Standardised(Words(CAPTIONS), torch.zeros(Words(CAPTIONS).dim), 1.0),
        Standardised(Words(CAPTIONS), torch.zeros(Words(CAPTIONS).dim), 2.0),
        Standardised(Words(CAPTIONS), torch.ones(Words(CAPTIONS).dim), 1.0),
    ]
    tensors = load_file(tmp_path / "b" / "model.safetensors")
    next(iter(tensors.values())).view(-1)[0] += 1e-3
    save_file(tensors, tmp_path / "b" / "model.safetensors", {"format": "pt"})
    others.append(HuggingFaceEncoder(tmp_path / "b"))
    assert len({before, *(encoder.identity() for encoder in others)}) == len(others) + 1
    assert Words(CAPTIONS).identity() == others[2].identity()


# Folders


def encoders(folder: Path) -> dict[str, TextEncoder]:
    return {
        "words": Words(CAPTIONS),
        "joint": Joint(joint(folder / "joint")),
        "bert": HuggingFaceEncoder(saved(folder / "bert", bert()), "first"),
        "clip": HuggingFaceEncoder(saved(folder / "clip", clip(), ends=True)),
        "projection": HuggingFaceEncoder(saved(folder / "projection", clip_with_projection(), ends=True)),
    }


@pytest.mark.parametrize("standardised", [True, False])
@pytest.mark.parametrize("kind", ["words", "joint", "bert", "clip", "projection"])
def test_a_saved_encoder_gives_the_same_vectors(kind: str, standardised: bool, tmp_path: Path) -> None:
    """From its folder alone, with the originals gone, of new captions, too; only JSON and safetensors are written."""
    encoder = encoders(tmp_path / "originals")[kind]
    if standardised:
        encoder = Standardised.by(encoder, encoder.encode(CAPTIONS))
    expected = encoder.encode(CAPTIONS + NEW)
    if standardised:
        assert expected[: len(CAPTIONS)].var(0, correction=0).mean().item() == pytest.approx(1, rel=1e-3)
    save_encoder(encoder, tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "originals")
    os.rename(tmp_path / "run", tmp_path / "elsewhere")
    loaded = load_encoder(tmp_path / "elsewhere" / "model")
    assert torch.equal(loaded.encode(CAPTIONS + NEW), expected)
    assert (type(loaded), loaded.dim) == (type(encoder), encoder.dim)
    assert loaded.unread(NEW) == encoder.unread(NEW)
    files = list((tmp_path / "elsewhere" / "model").iterdir())
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt"}
    save_encoder(loaded, tmp_path / "twice")
    assert torch.equal(load_encoder(tmp_path / "twice").encode(NEW), loaded.encode(NEW))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("encoder.json", None, "holds no text encoder"),
        ("encoder.json", "{", "not a JSON object"),
        ("encoder.json", "[]", "not a JSON object"),
        ("encoder.json", '{"kind": "os.system"}', "unknown kind 'os.system'"),
        ("encoder.json", '{"kind": ["words"]}', "unknown kind"),
        ("encoder.json", '{"kind": "huggingface", "pooling": "most"}', "unknown pooling 'most'"),
        ("encoder.json", '{"kind": "joint"}', "no config.json"),
        ("words.json", None, "can't be read"),
        ("words.json", '{"entries": ["a", "a"]}', "does not hold an encoder's words"),
        (
            "words.json",
            '{"entries": ["a", 1], "scale": 1, "order": "none", "least": 1, "most": 2}',
            "different strings",
        ),
        ("words.json", '{"entries": ["a"], "scale": 0, "order": "none", "least": 1, "most": 2}', "positive number"),
        ("words.json", '{"entries": ["a"], "scale": 1, "order": "odd", "least": 1, "most": 2}', "none, clauses, pairs"),
        ("standardiser.safetensors", None, "can't be read"),
        ("standardiser.safetensors", "x" * 50, "can't be read"),
    ],
)
def test_a_broken_encoder_folder(name: str, content: str | None, message: str, tmp_path: Path) -> None:
    """One line that names the folder or file, whatever is missing or altered; nothing is imported by name."""
    encoder = Words(CAPTIONS)
    save_encoder(Standardised.by(encoder, encoder.encode(CAPTIONS)), tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        load_encoder(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_standardiser_of_another_encoder(tmp_path: Path) -> None:
    """A standardiser whose width is not the encoder's, in the folder, is no encoder."""
    encoder = Words(CAPTIONS)
    save_encoder(Standardised.by(encoder, encoder.encode(CAPTIONS)), tmp_path)
    content = json.loads((tmp_path / "words.json").read_text())
    content["entries"].pop()
    (tmp_path / "words.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"gives {encoder.dim - 1} numbers"):
        load_encoder(tmp_path)


def test_an_encoder_without_a_kind_is_not_saved(tmp_path: Path) -> None:
    """What could not be loaded is refused, and leaves no encoder.json of another."""
    save_encoder(Words(CAPTIONS), tmp_path)
    with pytest.raises(UserError, match="Counting can't be saved"):
        save_encoder(Counting(), tmp_path)
    with pytest.raises(UserError, match="holds no text encoder"):
        load_encoder(tmp_path)
