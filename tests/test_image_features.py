"""Feature networks: what is learned here, and tiny models of transformers, made and saved in the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoImageProcessor,
    AutoModel,
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPForImageClassification,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from seqgan_kit.algorithms.distances import frechet_distance
from seqgan_kit.errors import UserError
from seqgan_kit.images.clip import ClipScores
from seqgan_kit.images.features import (
    CHUNK,
    FeatureBatch,
    HuggingFaceFeatures,
    NetworkFeatures,
    as_floats,
    extract,
    learn,
)
from seqgan_kit.images.metrics import inception_score
from seqgan_kit.images.vision_models import read_preprocessing
from seqgan_kit.networks.pictures.features import PictureFeatures, PictureFeaturesConfig

TINY: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
SEES: dict[str, Any] = {**TINY, "image_size": 16, "patch_size": 8}
RESNET: dict[str, Any] = {"embedding_size": 4, "hidden_sizes": [4, 6], "depths": [1, 1], "layer_type": "basic"}
TELLS: dict[str, Any] = {"id2label": {i: str(i) for i in range(5)}}
PREPROCESSOR: dict[str, Any] = {
    "do_resize": True,
    "size": {"height": 16, "width": 16},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}
WORDS = ["<s>", "</s>", "<pad>", "<unk>", "red", "green", "square", "circle"]


def bytes_of_noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).integers(0, 256, size=shape), dtype=torch.uint8)


def built(kind: Callable[[Any], PreTrainedModel], config: Any, seed: int = 0) -> Any:
    """A model with weights far enough from zero to see something, batch statistics too."""
    generator = torch.Generator().manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
        for name, value in model.named_buffers():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return model


def saved(folder: Path, model: PreTrainedModel, **preprocessor: Any) -> Path:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | preprocessor), "utf-8")
    return folder


def by_hand(pixels: Tensor) -> Tensor:
    """What PREPROCESSOR says, for pictures that have the size already."""
    mean, deviation = (torch.tensor(PREPROCESSOR[key]).view(-1, 1, 1) for key in ("image_mean", "image_std"))
    return (pixels.float() / 255 - mean) / deviation


# Learned here


def places(count: int, side: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Grey noise with one bright square, red or green, left or right; targets: red, green, left, right."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 80, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    colour, right = torch.randint(2, (2, count), generator=generator)
    top, left = torch.randint(side // 2, (count,), generator=generator), right * side // 2
    for i in range(count):
        pixels[i, colour[i], top[i] : top[i] + side // 2, left[i] : left[i] + side // 4] = 230
    return pixels, torch.cat([F.one_hot(colour, 2), F.one_hot(right, 2)], dim=1).float()


@pytest.fixture(scope="module")
def learned() -> PictureFeatures:
    return learn(*places(400), steps=80, seed=1, width=8, dimensions=24)


def test_learned_network_tells_new_pictures(learned: PictureFeatures) -> None:
    """Colours and places of unseen pictures are told, which a flip in training would prevent."""
    pixels, targets = places(200, seed=5)
    with torch.no_grad():
        vectors, logits = learned(as_floats(pixels))
    assert vectors.shape == (200, 24)
    assert float(((logits > 0) == (targets > 0.5)).float().mean()) > 0.97


def test_learned_features_see_what_is_wrong(learned: PictureFeatures) -> None:
    """Pictures all on one side are farther, in Frechet distance, than as many others of both sides."""
    features = NetworkFeatures(learned)
    (real, _), (other, targets) = places(300, seed=6), places(300, seed=7)
    of_real, of_other, left = (extract(features, some)[0] for some in (real, other, other[targets[:, 2] == 1]))
    assert frechet_distance(of_real, left) > 5 * frechet_distance(of_real, of_other)


def test_learning_is_deterministic_and_leaves_the_generator_alone() -> None:
    """The seed alone decides the weights, and the next global random numbers are as if nothing had been learned."""
    pixels, targets = places(50)
    networks = []
    for seed, state in [(3, 0), (3, 1), (4, 1)]:
        torch.manual_seed(state)
        networks.append(learn(pixels, targets, steps=3, seed=seed, width=4, dimensions=6).state_dict())
        drawn = torch.rand(3)
        torch.manual_seed(state)
        assert drawn.equal(torch.rand(3))
    assert all(map(torch.equal, networks[0].values(), networks[1].values()))
    assert not networks[0]["hidden.weight"].equal(networks[2]["hidden.weight"])


def test_classes_give_probabilities_and_labels_none() -> None:
    """One-hot targets make a classifier, whose Inception score of balanced pictures is near the number of classes."""
    pixels, targets = places(400)
    network = learn(pixels, targets[:, 2:], steps=60, seed=0, width=8, dimensions=16)
    features = NetworkFeatures(network)
    _, found = extract(features, pixels)
    assert found.probabilities is not None
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(400))
    assert inception_score(found.probabilities, splits=4)[0] == pytest.approx(2, abs=0.1)
    assert NetworkFeatures(learn(pixels, targets, 1, 0, 4, 6))(as_floats(pixels[:3])).probabilities is None
    # a single label is no distribution over classes, though each row may have it
    assert not learn(pixels, targets.new_ones(400, 1), 1, 0, 4, 6).config.single


@pytest.mark.parametrize("auto", [False, True])
def test_saved_features_are_the_same(auto: bool, learned: PictureFeatures, tmp_path: Path) -> None:
    """Safetensors and JSON alone, and what is loaded sees the same."""
    learned.save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    again = NetworkFeatures(AutoModel.from_pretrained(tmp_path)) if auto else NetworkFeatures.load(tmp_path)
    pixels = as_floats(places(5)[0])
    assert again(pixels).vectors.equal(NetworkFeatures(learned)(pixels).vectors)


@pytest.mark.parametrize("side", [8, 17, 32, 64])
def test_any_side(side: int) -> None:
    """A network of any side is built and trained, and sees pictures of another size as if resized to its own."""
    pixels = bytes_of_noise(4, 3, side, side)
    network = learn(pixels, torch.eye(4), steps=1, seed=0, width=2, dimensions=5)
    flat = torch.full((1, 3, side, side), 0.3)
    with torch.no_grad():
        torch.testing.assert_close(network(torch.full((1, 3, 40, 40), 0.3))[0], network(flat)[0])


def test_finer_pictures_are_averaged(learned: PictureFeatures) -> None:
    """A picture four times as fine is seen as Pillow makes it small, which averages, rather than by single pixels."""
    fine = as_floats(bytes_of_noise(1, 3, 64, 64))
    small = [Image.fromarray(channel.numpy()).resize((16, 16), Image.Resampling.BILINEAR) for channel in fine[0]]
    expected = torch.stack([torch.tensor(np.asarray(channel)) for channel in small]).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(learned(fine)[0], learned(expected)[0], rtol=1e-3, atol=1e-4)


# Models of transformers


MODELS: dict[str, tuple[Any, Any, Callable[[Any, Tensor], Tensor]]] = {
    "ViT": (ViTModel, ViTConfig(**SEES), lambda model, values: model(values).pooler_output),
    "ViT classifier": (
        ViTForImageClassification,
        ViTConfig(**SEES, **TELLS),
        lambda model, values: model.vit(values).last_hidden_state.mean(1),
    ),
    "ResNet": (ResNetModel, ResNetConfig(**RESNET), lambda model, values: model(values).last_hidden_state.mean((2, 3))),
    "ResNet classifier": (
        ResNetForImageClassification,
        ResNetConfig(**RESNET, **TELLS),
        lambda model, values: model.resnet(values).last_hidden_state.mean((2, 3)),
    ),
    "ConvNeXT": (
        ConvNextModel,
        ConvNextConfig(hidden_sizes=[4, 6], depths=[1, 1], num_stages=2),
        lambda model, values: model(values).pooler_output,
    ),
    "CLIP's eye": (
        CLIPVisionModel,
        CLIPVisionConfig(**SEES),
        lambda model, values: model(values).pooler_output,
    ),
    "CLIP classifier": (
        CLIPForImageClassification,
        CLIPConfig(vision_config=SEES, **TELLS),
        lambda model, values: model.vision_model(values).pooler_output,
    ),
    "CLIP": (
        CLIPModel,
        CLIPConfig(
            text_config=TINY | {"vocab_size": len(WORDS), "max_position_embeddings": 6, "eos_token_id": 1},
            vision_config=SEES,
            projection_dim=10,
        ),
        lambda model, values: model.visual_projection(model.vision_model(values).pooler_output),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_vectors_are_the_models_own(name: str, tmp_path: Path) -> None:
    """The vectors are what the model that was saved gives for the normalised pictures, in batches of any size."""
    kind, config, reference = MODELS[name]
    model = built(kind, config)
    features = HuggingFaceFeatures(str(saved(tmp_path / "model", model)), batch=3)
    pixels = bytes_of_noise(7, 3, 16, 16)
    found = features(as_floats(pixels))
    with torch.no_grad():
        torch.testing.assert_close(found.vectors, reference(model, by_hand(pixels)), rtol=1e-4, atol=1e-5)
        if "classifier" in name:
            expected = model(by_hand(pixels)).logits.softmax(1)
            assert found.probabilities is not None
            torch.testing.assert_close(found.probabilities, expected, rtol=1e-4, atol=1e-5)
        else:
            assert found.probabilities is None
    assert found.vectors.std(0).max() > 1e-3


def test_a_pooler_without_weights_is_not_used(tmp_path: Path) -> None:
    """Some folders, as DINO's, lack the pooler: random weights would make other vectors in each run."""
    model = built(lambda config: ViTModel(config, add_pooling_layer=False), ViTConfig(**SEES))
    features = HuggingFaceFeatures(str(saved(tmp_path, model)))
    pixels = bytes_of_noise(4, 3, 16, 16)
    with torch.no_grad():
        expected = model(by_hand(pixels)).last_hidden_state.mean(1)
    torch.testing.assert_close(features(as_floats(pixels)).vectors, expected, rtol=1e-4, atol=1e-5)


PROCESSORS: dict[str, dict[str, Any]] = {
    "as it is": {"image_processor_type": "ViTImageProcessor"},
    "resized": {"image_processor_type": "ViTImageProcessor", "size": {"height": 9, "width": 14}},
    "enlarged": {"image_processor_type": "ViTImageProcessor", "size": {"height": 50, "width": 50}, "resample": 3},
    "old": {"image_processor_type": "ViTImageProcessor", "size": 12},
    "cropped": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 20},
        "crop_size": {"height": 15, "width": 16},
        "do_center_crop": True,
        "resample": 3,
    },
    "old and cropped": {
        "image_processor_type": "CLIPImageProcessor",
        "size": 20,
        "crop_size": 16,
        "do_center_crop": True,
        "default_to_square": False,
    },
    "share": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 14}, "crop_pct": 0.875},
    "not normalised": {"image_processor_type": "ViTImageProcessor", "do_normalize": False},
    "not resized": {"image_processor_type": "ViTImageProcessor", "do_resize": False, "rescale_factor": 1 / 127.5},
}


@pytest.mark.parametrize("size", [(24, 24), (31, 22)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_preprocessing_is_that_of_transformers(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    """Up to the rounding to bytes that Pillow does, pictures become what the folder's own image processor makes."""
    content = PREPROCESSOR | PROCESSORS[name]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content), "utf-8")
    smooth = F.interpolate(bytes_of_noise(2, 3, 6, 6).float(), size, mode="bicubic").clamp(0, 255).to(torch.uint8)
    pictures = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in smooth]
    processor = AutoImageProcessor.from_pretrained(tmp_path, local_files_only=True)
    expected = torch.as_tensor(np.asarray(processor(pictures, return_tensors="np")["pixel_values"]))
    found = read_preprocessing(tmp_path)(as_floats(smooth))
    assert found.shape == expected.shape
    level = content["rescale_factor"] / (min(content["image_std"]) if content.get("do_normalize", True) else 1)
    rounded = 1.6 if content["resample"] == 2 else 2.6  # after each axis; bicubic's weights are greater than 1
    assert float((found - expected).abs().max()) < rounded * level
    assert float((found - expected).abs().mean()) < 0.6 * level


def test_preprocessing_inside_a_processor(tmp_path: Path) -> None:
    """processor_config.json, which newer folders have instead, says the same one level deeper; channels may turn."""
    inner = PREPROCESSOR | {"do_flip_channel_order": True}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inner}), "utf-8")
    pixels = bytes_of_noise(2, 3, 16, 16)
    torch.testing.assert_close(read_preprocessing(tmp_path)(as_floats(pixels)), by_hand(pixels).flip(1))


def replaced(content: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "config.json").write_text(content, "utf-8")

    return change


def without_weight(folder: Path) -> None:
    model = ViTModel.from_pretrained(folder)
    state = {key: value for key, value in model.state_dict().items() if "layernorm.weight" not in key}
    model.save_pretrained(folder, state_dict=state)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "broken config": (replaced("{"), "can't read config.json"),
    "unknown model": (replaced('{"model_type": "nonesuch"}'), "can't read config.json .*nonesuch"),
    "no preprocessor": (lambda folder: (folder / "preprocessor_config.json").unlink(), "no preprocessor_config.json"),
    "broken preprocessor": (
        lambda folder: (folder / "preprocessor_config.json").write_text("[]", "utf-8"),
        r"preprocessor_config.json cannot be used",
    ),
    "no size": (
        lambda folder: (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | {"size": {"w": 3}})),
        "size has w, not height and width",
    ),
    "Lanczos": (
        lambda folder: (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | {"resample": 1})),
        "resample 1 is none of 0, 2, 3",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "can't load a model .*model.safetensors"),
    "broken weights": (lambda folder: (folder / "model.safetensors").write_bytes(b"hello"), "can't load a model"),
    "pickled weights": (pickled, "holds pickled weights, which are not read: convert them, .*model.safetensors"),
    "missing weight": (without_weight, "has no weights for .*layernorm.weight"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_folder_is_one_line(name: str, tmp_path: Path) -> None:
    """Whatever is wrong with a folder is said in one line that names it, before anything is trained."""
    change, message = WRONG[name]
    change(saved(tmp_path, built(ViTModel, ViTConfig(**SEES))))
    with pytest.raises(UserError, match=message) as caught:
        HuggingFaceFeatures(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_sees_nothing_is_refused(tmp_path: Path, learned: PictureFeatures) -> None:
    """A folder that is none, a text model, and one kind of model in the place of another."""
    with pytest.raises(UserError, match=r"is no folder: .*nothing is downloaded"):
        HuggingFaceFeatures("openai/clip-vit-base-patch32")
    text = saved(tmp_path / "text", built(BertModel, BertConfig(**TINY, vocab_size=9)))
    with pytest.raises(UserError, match="holds a bert model, which sees no pictures"):
        HuggingFaceFeatures(str(text))
    with pytest.raises(UserError, match="holds a vit model, but only clip"):
        ClipScores(saved(tmp_path / "vit", built(ViTModel, ViTConfig(**SEES))))
    with pytest.raises(UserError, match="holds a bert model, not features learned here"):
        NetworkFeatures.load(text)
    with pytest.raises(UserError, match="seqgan_picture_features"):
        HuggingFaceFeatures(str(saved(tmp_path / "learned", learned)))


# CLIP scores


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A tiny CLIP with a tokenizer of eight words, which knows six tokens a caption."""
    kind, config, _ = MODELS["CLIP"]
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(tmp_path)
    return saved(tmp_path, built(kind, config, seed=4))


def test_clip_scores_are_cosines(clip: Path) -> None:
    """100 times the cosine of each pair by hand, caption by caption without padding, and never below 0."""
    model = CLIPModel.from_pretrained(clip).eval()
    pixels = bytes_of_noise(8, 3, 16, 16) // torch.tensor([1, 1, 2, 2, 4, 4, 8, 8], dtype=torch.uint8).view(-1, 1, 1, 1)
    pixels[::2] = 255 - pixels[::2]
    captions = ["red", "green square", "red circle red", "square", "", "circle circle", "green", "red square"]
    expected = []
    with torch.no_grad():
        for pixel, caption in zip(by_hand(pixels), captions, strict=True):
            ids = torch.tensor([[0, *(WORDS.index(word) for word in caption.split()), 1]])
            text = model.text_projection(model.text_model(ids).pooler_output)
            picture = model.visual_projection(model.vision_model(pixel.unsqueeze(0)).pooler_output)
            expected.append(100 * float(F.cosine_similarity(text, picture)))
    assert min(expected) < 0 < max(expected)
    scores = ClipScores(clip)
    found = scores(as_floats(pixels), captions)
    np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-4, atol=1e-3)
    assert scores.pictures(as_floats(pixels)).shape == scores.captions(captions).shape == (8, 10)


def test_long_captions_are_cut(clip: Path) -> None:
    """Words beyond the model's length, four here, change nothing."""
    scores = ClipScores(clip)
    long, short = scores.captions(["red green square circle " + "red " * 20, "red green square circle"])
    torch.testing.assert_close(long, short)
    with pytest.raises(ValueError, match="2 pictures and 1 captions"):
        scores(torch.zeros(2, 3, 16, 16), ["red"])


def test_clip_without_tokenizer(clip: Path) -> None:
    """No tokenizer, or another model's, is said in one line; one without padding pads with its end token."""
    pixels, captions = as_floats(bytes_of_noise(2, 3, 16, 16)), ["red", "green square circle"]
    expected = ClipScores(clip)(pixels, captions)
    content = (clip / "tokenizer.json").read_text("utf-8")
    larger = PreTrainedTokenizerFast.from_pretrained(clip)
    larger.add_tokens(["blue"])
    larger.save_pretrained(clip)
    with pytest.raises(UserError, match="the tokenizer has 9 entries, the model 8"):
        ClipScores(clip)
    (clip / "tokenizer.json").write_text(content, "utf-8")
    config = json.loads((clip / "tokenizer_config.json").read_text("utf-8"))
    (clip / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": None}), "utf-8")
    torch.testing.assert_close(ClipScores(clip)(pixels, captions), expected)
    (clip / "tokenizer.json").write_text("{", "utf-8")
    with pytest.raises(UserError, match="can't load a tokenizer"):
        ClipScores(clip)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (clip / name).unlink()
    with pytest.raises(UserError, match=r"has no tokenizer.json") as caught:
        ClipScores(clip)
    assert "\n" not in str(caught.value)


# All pictures


class Counting:
    """The mean of each channel; remembers how many pictures it saw at a time."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, pixels: Tensor) -> FeatureBatch:
        assert pixels.dtype == torch.float32
        assert pixels.abs().max() <= 1
        self.seen.append(len(pixels))
        vectors = pixels.mean((2, 3))
        return FeatureBatch(vectors, vectors.softmax(1))


def test_extract_goes_by_chunks() -> None:
    """Never more than a chunk is floats; vectors, probabilities and moments are those of all pictures in order."""
    pixels = bytes_of_noise(CHUNK + 23, 3, 4, 4)
    features = Counting()
    moments, kept = extract(features, pixels)
    assert features.seen == [CHUNK, 23]
    expected = (pixels.double() / 127.5 - 1).mean((2, 3))
    assert kept.probabilities is not None
    assert kept.vectors.dtype == torch.float32
    torch.testing.assert_close(kept.vectors.double(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(kept.probabilities, kept.vectors.softmax(1))
    torch.testing.assert_close(moments.covariance(), torch.cov(expected.mT), rtol=1e-4, atol=1e-6)
    assert moments.count == len(pixels)
    with pytest.raises(ValueError, match=r"pixels are torch.int64: give uint8, or floats"):
        extract(Counting(), pixels.long())


def test_config_of_the_network_survives_json(tmp_path: Path) -> None:
    """Every size of a configuration is kept."""
    config = PictureFeaturesConfig(side=17, width=3, dimensions=5, targets=4, single=True)
    config.save_pretrained(tmp_path)
    again = PictureFeaturesConfig.from_pretrained(tmp_path)
    for name in ("side", "width", "dimensions", "targets", "single"):
        assert getattr(again, name) == getattr(config, name)
