"""Whether captions are read to their last word and in their order, whether pictures fit them, and what is told."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

import runs
from seqgan_kit.algorithms import distances
from seqgan_kit.cli import main
from seqgan_kit.cli.parsing import parse
from seqgan_kit.errors import UserError
from seqgan_kit.images.caption_embedding import CaptionEncoderConfig, encoder_of, unread_ends
from seqgan_kit.images.caption_encoders import Words, confused, order_for
from seqgan_kit.images.clip import ClipScores
from seqgan_kit.images.config import AdversarialConfig, EvaluationConfig, ImagesConfig
from seqgan_kit.images.data import Captioned, captioned, unit
from seqgan_kit.images.evaluation import KERNEL, PictureEvaluation, too_few
from seqgan_kit.images.grids import save_picture
from seqgan_kit.images.matching import LearnedMatcher, learn_matcher, matches
from seqgan_kit.images.sources import DataConfig, Source
from seqgan_kit.images.train import ImagesTask
from seqgan_kit.networks.pictures.matcher import PictureMatcher
from seqgan_kit.networks.saved import load_frozen

SIDE = 16
COLOURS = {
    "black": (0, 0, 0), "red": (230, 0, 0), "yellow": (250, 220, 0), "blue": (0, 0, 220), "white": (255, 255, 255),
}  # fmt: skip
MORE = COLOURS | {"green": (0, 150, 0), "pink": (250, 90, 200)}


def flags(start: int = 0, step: int = 1, colours: dict[str, tuple[int, int, int]] = COLOURS) -> Captioned:
    """Three stripes each, whose captions are permutations of one another."""
    names = list(permutations(colours, 3))[start::step]
    pixels = torch.zeros(len(names), 3, SIDE, SIDE, dtype=torch.uint8)
    for picture, name in zip(pixels, names, strict=True):
        for place, colour in enumerate(name):
            picture[:, :, place * 5 : place * 5 + 6] = torch.tensor(colours[colour]).view(3, 1, 1)
    return captioned(pixels, [["stripes " + " ".join(name)] for name in names])


# The order of words


def test_captions_that_are_permutations_are_counted() -> None:
    """By their words; those that punctuation tells apart are confused no more by clauses, others by pairs."""
    captions = ["red, then blue", "blue, then red", "a red cat", "a cat red", "red then blue", "alone"]
    assert confused(captions, "none") == 4, "and one has the words of the first in their order"
    assert confused(captions, "clauses") == 2
    assert confused(captions, "pairs") == 0
    assert confused(["Red  cat", "red cat"], "none") == 0, "the same words in the same order are no permutation"


def test_the_order_is_read_where_captions_need_it() -> None:
    """Clauses are enough for the shapes world, not for flags; a few permutations change nothing."""
    assert order_for([f"a picture {i}" for i in range(9)]) == "clauses"
    assert order_for(list(flags().captions)) == "pairs"
    assert order_for(["red, no blue", "blue, no red"]) == "clauses"
    assert order_for(["red blue", "blue red", *(f"number {i}" for i in range(300))]) == "clauses"


def folder_of(root: Path, data: Captioned) -> Path:
    """A folder whose files are named after what they show."""
    root.mkdir(parents=True)
    for i, pixels in enumerate(data.pixels):
        picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        save_picture(picture, root / f"{data.captions[data.caption_ids[data.first[i]]]}.png")
    return root


def test_a_run_says_and_keeps_how_it_reads_the_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In its first lines and its config.yaml; it resumes by that, also where an older run had clauses."""
    root, run = folder_of(tmp_path / "flags", flags()), tmp_path / "run"
    small = "--second.side 0 --style.steps 0 --joint.steps 0 --discriminator.matching 0 --adversarial.rounds 2"
    words = runs.tiny_images(run, *small.split(), "--data.path", str(root), "--data.captions_from", "names")
    assert main(words) == 0
    told = capsys.readouterr().out
    assert (
        "54 of 54 captions are permutations of the words of another one: all are told apart by --text.order pairs"
        in told
    )
    assert "r_precision" in told
    assert yaml.safe_load((run / "config.yaml").read_text())["text"]["order"] == "pairs"
    assert json.loads((run / "model" / "text" / "words.json").read_text())["order"] == "pairs"
    assert main(["resume", str(run), "--adversarial.rounds", "3"]) == 0
    asked, _ = parse([*words[2:], "--text.order", "clauses"], "images")
    task = ImagesTask(asked)
    assert task.config == asked, "as the config.yaml of an older run has it"
    told = "\n".join(task.first_lines())
    assert "54 of these are not told apart by --text.order clauses; --text.order pairs reads more" in told


# Captions without words


def test_captions_without_a_blank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No word is in two captions: what the refusal names exists, and trains to the end."""
    data = flags()
    glued = [["".join(caption.split())] for caption in data.captions]
    root = folder_of(tmp_path / "flags", captioned(data.pixels, glued))
    small = "--second.side 0 --style.steps 0 --discriminator.matching 0 --adversarial.rounds 2 --joint.steps 0"
    words = runs.tiny_images(
        tmp_path / "run", *small.split(), "--data.path", str(root), "--data.captions_from", "names"
    )
    assert main(words) == 1
    told = runs.errors(capsys.readouterr().err)[0]
    assert "--joint.steps 2000 --joint.alphabet data" in told
    assert not (tmp_path / "run").exists()
    assert main([*words, "--joint.steps", "2", "--joint.alphabet", "data"]) == 0


def test_names_of_classes_are_words_without_another_step(tmp_path: Path) -> None:
    """No word is in two captions, but each is that of many pictures."""
    for i, name in enumerate(["cat", "dog", "bird"] * 6):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIDE, SIDE), (i * 14, 0, 0)).save(tmp_path / "data" / name / f"{i}.png")
    words = [
        "--joint.steps",
        "0",
        "--adversarial.batch_size",
        "4",
        "--data.side",
        "16",
        "--evaluation.features",
        "none",
    ]
    words += ["--data.path", str(tmp_path / "data"), "--data.captions_from", "classes"]
    task = ImagesTask(parse(words, "images")[0])
    words_of = task.encoder.encoder
    assert sorted(words_of.entries) == sorted(f"1:{name}" for name in task.source.train.captions)
    vectors = words_of.encode(list(task.source.train.captions))
    assert (vectors.count_nonzero(1) == 1).all()
    assert len(learn_matcher(task.source.train, 1, 0).words.entries) == 2
    with pytest.raises(UserError, match="no word is in 2"):
        Words(["cat", "dog"], given=[1, 1])


# CLIP folders that do not see the end of a caption

WORDS = ["<s>", "black", "</s>", "red", "yellow", "blue", "stripes", "<pad>", "<unk>", "white"]


def clip_folder(folder: Path, end: int, adds_end: bool) -> Path:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    }  # fmt: skip
    text = sizes | {"vocab_size": len(WORDS), "max_position_embeddings": 8, "eos_token_id": end, "bos_token_id": 0}
    vision = sizes | {"image_size": 16, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=6))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    model.save_pretrained(folder)
    order = WORDS if end == 2 else [*WORDS[:2], WORDS[9], *WORDS[3:9], "</s>"]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(order)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [("<s>", 0), *([("</s>", end)] if adds_end else [])]
    inner.post_processor = processors.TemplateProcessing(
        single=f"<s> $A{' </s>' if adds_end else ''}", special_tokens=ends
    )
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(folder)
    side = {"height": 16, "width": 16}
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=side).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("end", "adds_end"), [(9, False), (2, True), (2, False)])
def test_a_clip_folder_that_does_not_see_the_last_word(tmp_path: Path, end: int, adds_end: bool) -> None:
    """Its tokenizer adds no end token, or the end token has id 2: refused, and the mean that is named sees the word."""
    folder = clip_folder(tmp_path / "clip", end, adds_end)
    root = folder_of(tmp_path / "flags", flags())
    text = CaptionEncoderConfig(encoder=str(folder))
    config = ImagesConfig(
        data=DataConfig(path=str(root), captions_from="names", side=SIDE),
        text=text,
        adversarial=AdversarialConfig(batch_size=8),
    )
    with pytest.raises(UserError, match=r"the same vector.*give --text.pooling mean, or a folder"):
        ImagesTask(config)
    assert "the same vector" in ImagesTask(config, resume=True).first_lines()[-1], "an older run goes on, and is told"
    with pytest.raises(UserError, match="the same vector, so it cannot judge captions"):
        ClipScores(folder)
    task = ImagesTask(replace(config, text=replace(text, pooling="mean")))
    one, other = task.encoder.encode(["white red", "white blue"])
    assert (one - other).norm() > 0.01


def test_a_clip_folder_that_does(tmp_path: Path) -> None:
    """With the end token that the model has."""
    folder = clip_folder(tmp_path, 9, True)
    assert unread_ends(encoder_of(CaptionEncoderConfig(encoder=str(folder)), []), list(flags().captions)) is None
    ClipScores(folder)


# R-precision without a second command


@pytest.fixture(scope="module")
def matcher() -> LearnedMatcher:
    return learn_matcher(flags(step=2, colours=MORE), 150, seed=0)


def test_the_learned_matcher_sees_the_order_of_words(matcher: LearnedMatcher) -> None:
    """Held-out pictures fit their own captions, not those with their words turned round."""
    data, train = flags(start=1, step=2, colours=MORE), flags(step=2, colours=MORE)
    captions = list(data.captions)
    turned = [" ".join([caption.split()[0], *caption.split()[:0:-1]]) for caption in captions]
    pixels = unit(data.pixels)
    assert matches(matcher, pixels, captions, train, 0) > 0.6
    assert matches(matcher, pixels, turned, train, 0) < 0.2
    shuffled = captions[1:] + captions[:1]
    assert matches(matcher, pixels, shuffled, train, 0) < 0.2


def test_learning_to_match_is_deterministic_and_kept(tmp_path: Path) -> None:
    """The global generators stay as they are, and what is read back is what was saved."""
    before = torch.random.get_rng_state()
    first, again = learn_matcher(flags(), 5, seed=0), learn_matcher(flags(), 5, seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    pixels, captions = unit(flags().pixels[:5]), ["stripes red blue black", "white"]
    again.save(tmp_path / "matcher")
    for other in (again, LearnedMatcher.load(tmp_path / "matcher")):
        assert torch.equal(other.embed_pictures(pixels), first.embed_pictures(pixels))
        assert torch.equal(other.embed_text(captions), first.embed_text(captions))


class Copies(torch.nn.Module):
    """A generator whose pictures are those of its memory, in turn."""

    def __init__(self, memory: Tensor) -> None:
        super().__init__()
        self.memory = torch.nn.Parameter(unit(memory), requires_grad=False)
        self.config: Any = type("Config", (), {"noise": 2})

    def forward(self, noise: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        return self.memory[torch.arange(len(noise)) % len(self.memory)], noise


def evaluation(tmp_path: Path, train: Captioned, held_out: Captioned, **options: Any) -> PictureEvaluation:
    settings = EvaluationConfig(feature_steps=5, matcher_steps=5, **options)
    config = ImagesConfig(data=DataConfig(side=SIDE), evaluation=settings)
    encoder = Words(list(train.captions), "pairs", least=1)
    return PictureEvaluation(config, Source("flags", train, held_out), encoder, SIDE, tmp_path, lambda line: None)


def test_real_pictures_of_the_table_are_held_out_for_r_precision(tmp_path: Path) -> None:
    """A matcher that knows the pictures of training by heart says nothing of what it can do on others."""

    class Heart:
        """Puts a picture of training beside its caption, and all others nowhere."""

        def __init__(self, data: Captioned) -> None:
            self.data, self.known = data, unit(data.pixels)

        def embed_pictures(self, pixels: Tensor) -> Tensor:
            return (pixels[:, None] == self.known[None]).all((2, 3, 4)).float()

        def embed_text(self, captions: list[str]) -> Tensor:
            return torch.eye(len(self.known))[
                [self.data.captions.index(c) if c in self.data.captions else 0 for c in captions]
            ]

    train, held_out = flags(step=2), flags(start=1, step=2)
    found = evaluation(tmp_path, train, held_out)
    found.matcher = Heart(train)
    assert matches(found.matcher, unit(train.pixels), list(train.captions), train, 0) == 1
    assert found.baselines()["real pictures"]["r_precision"] == 0


# Few pictures


@pytest.mark.parametrize("count", [1, 2, 3, 4, 12])
def test_what_few_pictures_have_no_measure_of_is_left_out(tmp_path: Path, count: int) -> None:
    """No crash and no number without a meaning; how many were compared is in the table, what is left out is told."""
    train, held_out = flags(step=2), flags(start=1, step=60 // count)
    found = evaluation(tmp_path, train, held_out)
    measured, _ = found(Copies(train.pixels))
    assert (measured["pictures"], measured["held_out_pictures"]) == (len(held_out), len(held_out))
    assert "kernel_distance" not in measured
    assert ("frechet_distance" in measured) == (len(held_out) >= 2)
    assert ("precision" in measured) == ("recall" in measured) == (len(held_out) >= 4)
    told = too_few(EvaluationConfig(), found.source)
    assert told[0].startswith("left out: kernel_distance")
    assert ("precision and recall" in told[0]) == (len(held_out) < 4)
    assert np.isfinite(list(measured.values())).all()
    assert found.baselines()["real pictures"].keys() == measured.keys() - {"diversity"}


def test_both_columns_compare_as_many_pictures(tmp_path: Path) -> None:
    """Where training has fewer than the evaluation makes, no more of these are compared than there are real ones."""
    train, held_out = flags(step=10), flags(start=1, step=2)
    found = evaluation(tmp_path, train, held_out)
    made, _ = found(Copies(train.pixels))
    real = found.baselines()["real pictures"]
    assert made["pictures"] == real["pictures"] == len(train) == 6
    assert made["held_out_pictures"] == real["held_out_pictures"] == 30


def test_a_kernel_distance_has_its_interval(tmp_path: Path) -> None:
    """With enough pictures for one, in both columns."""
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (2 * KERNEL, 3, SIDE, SIDE), dtype=np.uint8))
    halves = [captioned(part, [["a b"], ["b a"]] * (KERNEL // 2)) for part in pixels.split(KERNEL)]
    found = evaluation(tmp_path, *halves)
    made, _ = found(Copies(halves[0].pixels))
    real = found.baselines()["real pictures"]
    for column in (made, real):
        assert abs(column["kernel_distance"]) < 2 * column["kernel_distance_interval"], "the two sets are alike"


def test_the_interval_is_the_jackknife_of_plain_loops() -> None:
    """Leaving out each row in turn, of either set; the value is that of `kernel_distance`."""
    rng = np.random.default_rng(1)
    x, y = torch.from_numpy(rng.normal(size=(9, 3))), torch.from_numpy(rng.normal(size=(7, 3)) + 0.3)
    value, interval = distances.kernel_distance_interval(x, y)
    assert value == pytest.approx(distances.kernel_distance(x, y), rel=1e-12)

    def variance(without: list[float]) -> float:
        return (len(without) - 1) ** 2 / len(without) * float(np.var(without, ddof=1))

    def but(rows: Tensor, i: int) -> Tensor:
        return torch.cat([rows[:i], rows[i + 1 :]])

    first = variance([distances.kernel_distance(but(x, i), y) for i in range(len(x))])
    second = variance([distances.kernel_distance(x, but(y, i)) for i in range(len(y))])
    assert interval == pytest.approx(1.96 * (first + second) ** 0.5, rel=1e-9)
    with pytest.raises(ValueError, match="2 rows are too few for the interval of a kernel distance: give at least 3"):
        distances.kernel_distance_interval(x[:2], y)


def test_the_interval_covers_what_many_draws_give() -> None:
    """Of sets that differ, 95 of 100 intervals hold the distance, and of equal ones nearly all hold 0."""
    rng = np.random.default_rng(2)
    draws = torch.from_numpy(rng.normal(size=(100, 2, 60, 4)))
    truth = float(np.mean([distances.kernel_distance(a, b + 0.5) for a, b in draws]))
    apart = [distances.kernel_distance_interval(a, b + 0.5) for a, b in draws]
    assert 86 <= sum(abs(value - truth) <= interval for value, interval in apart) <= 100
    alike = [distances.kernel_distance_interval(a, b) for a, b in draws]
    assert sum(abs(value) <= interval for value, interval in alike) >= 90


def test_a_saved_matcher_is_a_model_of_its_own(matcher: LearnedMatcher, tmp_path: Path) -> None:
    """Missing weights are told, not drawn anew."""
    matcher.save(tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in weights.items() if "text.2" not in name}, tmp_path / "m" / "model.safetensors"
    )
    assert load_frozen(PictureMatcher, tmp_path / "m")[1]
    with pytest.raises(UserError, match="lacks the matcher's weights"):
        LearnedMatcher.load(tmp_path / "m")
