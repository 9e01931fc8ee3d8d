"""Pictures and captions in one space: the characters, the networks by hand, the loss by a double loop."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel

from seqgan_kit.errors import UserError
from seqgan_kit.images.data import Captioned
from seqgan_kit.images.matching import one_caption
from seqgan_kit.images.metrics import retrieval
from seqgan_kit.images.sources import Source
from seqgan_kit.images.train_encoder import EncoderConfig, _recalls, evaluate
from seqgan_kit.networks.pictures.joint_embedding import (
    PAPER_ALPHABET,
    CharCNNRNN,
    JointEmbedding,
    JointEmbeddingConfig,
    PictureEncoder,
    alphabet_of,
    contrastive,
    numbered,
    structured_joint_embedding,
)

SMALL = {"length": 48, "widths": (8, 12, 10), "dim": 6, "picture_width": 8}


def small(seed: int = 0, **others: object) -> JointEmbedding:
    torch.manual_seed(seed)
    return JointEmbedding(JointEmbeddingConfig(**(SMALL | others))).eval()  # type: ignore[arg-type]


# Characters


def test_the_papers_alphabet() -> None:
    """Letters, digits, punctuation, space: Reed's 70 characters, without the second hyphen."""
    assert len(PAPER_ALPHABET) == len(set(PAPER_ALPHABET)) == 69
    assert set(PAPER_ALPHABET) == set(map(chr, range(32, 127))) - set(map(chr, range(65, 91)))


def test_captions_are_numbered_from_1_cut_and_padded() -> None:
    """Places from 1; unknown characters and padding are 0; capitals, accents and white space are made plain."""
    found = numbered(["Ab b?", "e\u0301b", " b\n\ta  ", "abababab"], "ab é", 6)
    assert found.tolist() == [[1, 2, 3, 2, 0, 0], [4, 2, 0, 0, 0, 0], [2, 3, 1, 0, 0, 0], [1, 2, 1, 2, 1, 2]]
    assert found.dtype == torch.int64
    assert numbered([], "ab", 6).shape == (0, 6)


@pytest.mark.parametrize("caption", ["красный круг", "", " \n", "ыыыыыыa"])
def test_a_caption_without_a_known_character_is_refused(caption: str) -> None:
    """In another script, empty, or known only beyond the length: the message names the caption, in one line."""
    with pytest.raises(UserError, match=r"has none of the 69 characters") as error:
        numbered(["red", caption], PAPER_ALPHABET, 6)
    assert repr(caption) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_alphabet_of_the_captions() -> None:
    """The most frequent characters of the plain captions, so that captions in any script can be read."""
    captions = ["Красный круг", "синий  круг", "красное"]
    joined = "красный круг" + "синий круг" + "красное"
    alphabet = alphabet_of(captions)
    assert set(alphabet) == set(joined)
    counts = [Counter(joined)[character] for character in alphabet]
    assert counts == sorted(counts, reverse=True)
    assert alphabet_of(captions, most=3) == alphabet[:3]
    assert alphabet_of(captions[::-1]) == alphabet
    ids = numbered(captions, alphabet, 20)
    assert "".join(alphabet[i - 1] for i in ids[1].tolist() if i) == "синий круг"
    with pytest.raises(UserError, match="no alphabet"):
        alphabet_of(["", " "])


# The encoder of captions


def by_hand(network: CharCNNRNN, row: list[int]) -> np.ndarray:
    """The paper's network on one caption in float64, one step at a time, with PyTorch's equations of a GRU."""

    def numbers(tensor: Tensor) -> np.ndarray:
        return tensor.detach().double().numpy()

    steps = np.zeros((len(row), network.characters))
    for place, character in enumerate(row):
        if character:
            steps[place, character - 1] = 1
    for layer, pooled in [(0, True), (3, True), (6, False)]:
        convolution = network.convolutions[layer]
        weight, bias = numbers(convolution.weight), numbers(convolution.bias)  # type: ignore[arg-type]
        windows = [steps[t : t + 4] for t in range(len(steps) - 3)]
        steps = np.stack([np.maximum(0, np.einsum("oct,tc->o", weight, window) + bias) for window in windows])
        if pooled:
            steps = np.stack([steps[3 * t : 3 * t + 3].max(0) for t in range(len(steps) // 3)])
    gru = network.recurrent
    w, u = (np.split(numbers(getattr(gru, name)), 3) for name in ("weight_ih_l0", "weight_hh_l0"))
    b, d = (np.split(numbers(getattr(gru, name)), 3) for name in ("bias_ih_l0", "bias_hh_l0"))
    hidden, kept = np.zeros(gru.hidden_size), []
    for x in steps:
        reset, keep = (1 / (1 + np.exp(-(w[i] @ x + b[i] + u[i] @ hidden + d[i]))) for i in (0, 1))
        candidate = np.tanh(w[2] @ x + b[2] + reset * (u[2] @ hidden + d[2]))
        hidden = keep * hidden + (1 - keep) * candidate
        kept.append(hidden)
    return np.mean(kept, axis=0) @ numbers(network.output.weight).T + numbers(network.output.bias)


def test_the_encoder_of_captions_equals_its_equations() -> None:
    """One-hot characters, three convolutions, two poolings, a GRU averaged over time, by hand."""
    torch.manual_seed(0)
    network = CharCNNRNN(len(PAPER_ALPHABET), length=75, widths=(5, 7, 6), dim=4)
    for parameter in network.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)  # the first weights would leave nearly all to the bias
    ids = numbered(["a small red circle ~ above a blue star", "x", "ы red ы" + "q" * 90], PAPER_ALPHABET, 75)
    expected = np.stack([by_hand(network, row) for row in ids.tolist()])
    assert np.abs(expected[0] - expected[1]).min() > 1e-3
    np.testing.assert_allclose(network(ids).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_sizes_of_the_papers_encoder() -> None:
    """201 characters leave 18 steps of 512 for the GRU, and 1024 numbers come out (Reed et al. 2016b)."""
    network = CharCNNRNN(70)
    assert network.convolutions(torch.zeros(1, 70, 201)).shape == (1, 512, 18)
    convolutions = 4 * (70 * 384 + 384 * 512 + 512 * 512) + 384 + 512 + 512
    assert sum(p.numel() for p in network.parameters()) == convolutions + 3 * (2 * 512**2 + 2 * 512) + 1024 * 513
    assert network(torch.zeros(2, 201, dtype=torch.int64)).shape == (2, 1024)


def test_a_caption_too_short_for_the_network() -> None:
    """48 characters leave one step; fewer leave none and are refused."""
    assert CharCNNRNN(3, 48, (4, 4, 4), 2)(torch.ones(1, 48, dtype=torch.int64)).shape == (1, 2)
    with pytest.raises(ValueError, match="48 or more"):
        CharCNNRNN(3, 47)


# The encoder of pictures


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 40), (64, 64)])
def test_pictures_of_any_size_each_by_itself(height: int, width: int) -> None:
    """Any sides from 16; a picture's vector does not depend on the others, in training neither."""
    torch.manual_seed(0)
    encoder = PictureEncoder(5, 8).train()
    pixels = torch.rand(4, 3, height, width) * 2 - 1
    together = encoder(pixels)
    assert together.shape == (4, 5)
    torch.testing.assert_close(torch.cat([encoder(row) for row in pixels.split(1)]), together, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-4


def test_all_of_a_picture_matters() -> None:
    """No pixel is left out: the gradient reaches all, and all three channels."""
    torch.manual_seed(0)
    pixels = (torch.rand(1, 3, 24, 24) * 2 - 1).requires_grad_()
    PictureEncoder(5, 8)(pixels).square().sum().backward()
    assert pixels.grad is not None
    assert (pixels.grad != 0).float().mean() > 0.99
    with pytest.raises(ValueError, match="16 or more"):
        PictureEncoder(5, 8)(torch.zeros(1, 3, 64, 15))


# The loss


def loss_by_loops(pictures: np.ndarray, texts: np.ndarray, same: np.ndarray) -> float:
    total, count = 0.0, 0
    for n in range(len(pictures)):
        for j in range(len(pictures)):
            if j != n and not same[n, j]:
                total += max(0.0, 1 + pictures[n] @ texts[j] - pictures[n] @ texts[n])  # a picture and others' captions
                count += 1
            if j != n and not same[j, n]:
                total += max(0.0, 1 + texts[n] @ pictures[j] - texts[n] @ pictures[n])  # a caption and others' pictures
    return total / max(count, 1)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_loss_equals_a_double_loop(share: float) -> None:
    """Value and gradient, with any share of pairs that are no mismatches, also where `same` is not symmetric."""
    generator = torch.Generator().manual_seed(3)
    pictures, texts = (torch.randn(7, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    same = torch.rand(7, 7, generator=generator) < share
    found = structured_joint_embedding(pictures, texts, same)
    assert found.item() == pytest.approx(loss_by_loops(pictures.numpy(), texts.numpy(), same.numpy()))
    inputs = (pictures.requires_grad_(), texts.requires_grad_())
    assert torch.autograd.gradcheck(lambda v, t: structured_joint_embedding(v, t, same), inputs)


def test_loss_by_hand() -> None:
    """v = (1, 0), (0, 2); t = (3, 0), (1, 1): scores ((3, 1), (0, 2)), hinges 0, 0 of pictures, 0, 0 of captions;

    with t_2 = (2.5, 1): scores ((3, 2.5), (0, 2)): 1 + 2.5 - 3 = .5 of picture 1, 1 + 2.5 - 2 = 1.5 of caption 2.
    """
    pictures, no = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 2, dtype=torch.bool)
    assert structured_joint_embedding(pictures, torch.tensor([[3.0, 0.0], [1.0, 1.0]]), no).item() == 0
    close = torch.tensor([[3.0, 0.0], [2.5, 1.0]])
    assert structured_joint_embedding(pictures, close, no).item() == pytest.approx((0.5 + 1.5) / 2)
    same = torch.tensor([[False, True], [False, False]])
    assert structured_joint_embedding(pictures, close, same).item() == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_contrastive_loss_equals_a_double_loop(share: float) -> None:
    """-log of the share of exp(cosine / temperature) that the own pair has, both ways; what is the same has no part."""
    generator = torch.Generator().manual_seed(4)
    pictures, texts = (torch.randn(6, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    same = torch.rand(6, 6, generator=generator) < share
    near = [[math.exp(float(F.cosine_similarity(v, t, dim=0)) / 0.3) for t in texts] for v in pictures]
    total = 0.0
    for n in range(6):
        others = [j for j in range(6) if j != n]
        total -= math.log(near[n][n] / (near[n][n] + sum(near[n][j] for j in others if not same[n, j])))
        total -= math.log(near[n][n] / (near[n][n] + sum(near[j][n] for j in others if not same[j, n])))
    assert contrastive(pictures, texts, same, 0.3).item() == pytest.approx(total / 12)
    inputs = (pictures.requires_grad_(), texts.requires_grad_())
    assert torch.autograd.gradcheck(lambda v, t: contrastive(v, t, same, 0.3), inputs)


def test_loss_of_pairs_that_are_all_the_same() -> None:
    """A batch of one, or of one class: 0 with a gradient of 0, not NaN."""
    for batch in (1, 3):
        pictures, texts = torch.randn(batch, 4, requires_grad=True), torch.randn(batch, 4)
        loss = structured_joint_embedding(pictures, texts, torch.ones(batch, batch, dtype=torch.bool))
        loss.backward()
        assert loss.item() == 0
        assert pictures.grad is not None
        assert pictures.grad.abs().sum() == 0


# The model


def test_a_saved_model_is_the_same(tmp_path: Path) -> None:
    """From JSON and safetensors alone, by its own class and by AutoModel, an alphabet of another script included."""
    model = small(alphabet="абвг й☺")
    model.save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["alphabet"] == "абвг й☺"
    captions, pixels = ["аб вг☺", "й"], torch.rand(2, 3, 16, 16)
    for loaded in (JointEmbedding.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert isinstance(loaded, JointEmbedding)
        assert torch.equal(loaded.embed_text(captions), model.embed_text(captions))
        assert torch.equal(loaded.embed_pictures(pixels), model.embed_pictures(pixels))


@pytest.mark.parametrize("held_out", [["alien"], ["alien", "chimp"]])
def test_held_out_pictures_of_one_caption(held_out: list[str]) -> None:
    """There is no other caption to choose, so R-precision of them is left out, which is told."""
    train, other = (
        Captioned(
            torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8), captions, np.arange(5), np.arange(4) % len(captions)
        )
        for captions in (["a", "b"], held_out)
    )
    found = evaluate(small(), Source("a", train, other), EncoderConfig(), 4, 0)
    told = one_caption(other)
    assert ("r_precision" in found) == (len(held_out) > 1) == (not told)
    assert "train_r_precision" in found
    assert told == [] or "all that are held out have one caption: 'alien'" in told[0]


def test_embeddings_are_those_of_forward(tune: Callable[..., None]) -> None:
    """Without a gradient and in blocks, none of them included; `forward` gives pictures first, and gradients."""
    model = small()
    tune(embedded_rows=2)
    captions, pixels = ["a red bird", "a blue one", "x"], torch.rand(3, 3, 16, 20)
    pictures, texts = model(pixels, model.number(captions))
    assert pictures.requires_grad
    assert texts.requires_grad
    for found, expected in [(model.embed_pictures(pixels), pictures), (model.embed_text(captions), texts)]:
        assert not found.requires_grad
        torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-6)
    assert model.embed_text([]).shape == model.embed_pictures(pixels[:0]).shape == (0, 6)


@pytest.mark.parametrize("alphabet", ["abca", "abC"])
def test_a_wrong_alphabet_is_refused(alphabet: str) -> None:
    with pytest.raises(ValueError, match="each character once, in lower case"):
        small(alphabet=alphabet)


@pytest.mark.slow
def test_training_matches_pictures_and_captions() -> None:
    """Squares of 4 colours in 4 corners, 16 captions: from 1 in 16 (chance) to nearly all matched, on new pictures."""
    colours = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "white": (1, 1, 1)}
    corners = {"top left": (0, 0), "top right": (0, 8), "bottom left": (8, 0), "bottom right": (8, 8)}
    names = [(colour, corner) for colour in colours for corner in corners]
    captions = [f"a {colour} square at the {corner}" for colour, corner in names]
    generator = torch.Generator().manual_seed(1)

    def draw(kinds: Tensor) -> Tensor:
        pixels = torch.randn(len(kinds), 3, 16, 16, generator=generator) * 0.2 - 0.5
        for picture, kind in zip(pixels, kinds.tolist(), strict=True):
            colour, (row, column) = colours[names[kind][0]], corners[names[kind][1]]
            picture[:, row : row + 8, column : column + 8] += torch.tensor(colour).view(3, 1, 1) / 2
        return pixels

    def accuracy() -> float:
        """Of the nearest caption by scalar product, of 10 new pictures of each of the 16 captions."""
        kinds = torch.arange(16).repeat(10)
        scores = model.embed_pictures(draw(kinds)) @ model.embed_text(captions).T
        return float((scores.argmax(dim=1) == kinds).float().mean())

    model = small(widths=(32, 64, 64), dim=32, picture_width=16)
    characters = model.number(captions)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    before = accuracy()
    for _ in range(250):
        kinds = torch.randint(16, (32,), generator=generator)
        pictures, texts = model(draw(kinds), characters[kinds])
        loss = structured_joint_embedding(pictures, texts, kinds.unsqueeze(1) == kinds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before < 0.3
    assert accuracy() > 0.9


def test_pictures_of_one_caption_are_all_right() -> None:
    """Retrieval of classes: any picture of the caption will do; where captions differ, it is as in the metrics."""
    vectors = torch.eye(3)[[0, 0, 1, 1, 2]] + 0.01 * torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    table = {"a": torch.eye(3)[0], "b": torch.eye(3)[1], "c": torch.eye(3)[2]}
    embed = lambda captions: torch.stack([table[caption] for caption in captions])  # noqa: E731
    assert set(_recalls(vectors, ["a", "a", "b", "b", "c"], embed).values()) == {1.0}
    wrong = _recalls(vectors, ["a", "b", "b", "b", "c"], embed)  # the second is near to the first's caption
    assert wrong["caption_of_picture_at_1"] == pytest.approx(0.8)
    pictures = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    captions = torch.randn(6, 3, generator=torch.Generator().manual_seed(2))
    found = _recalls(pictures, list("abcdef"), lambda some: captions[["abcdef".index(one) for one in some]])
    assert found == retrieval(pictures, captions, torch.arange(6), among=(1, 10))
    assert list(found) == list(retrieval(pictures, captions, torch.arange(6), among=(1, 10)))
