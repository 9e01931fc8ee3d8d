"""The random-LSTM oracle: the published one, drawn ones, and files that are something else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgan_kit.errors import UserError
from seqgan_kit.networks.text.lstm import LSTMGenerator
from seqgan_kit.samples import Tokens
from seqgan_kit.worlds import oracle

# Independent measurements on 10,000 sequences: the LeakGAN and CoT papers' "Real" entry and the SeqGAN paper's
# "Random" row, as ../shared/data/oracle/README.md has them for the authors' parameters.
PUBLISHED_REAL, PUBLISHED_RANDOM = 5.75, 10.30


@pytest.fixture(scope="module")
def published() -> LSTMGenerator:
    folder = os.environ.get("SEQGAN_KIT_DATA")
    if folder is None:
        pytest.skip("SEQGAN_KIT_DATA is not set: it names the folder that holds oracle/seqgan_target_params.npz")
    path = Path(folder) / "oracle" / "seqgan_target_params.npz"
    if not path.is_file():
        pytest.skip(f"the authors' oracle parameters are missing: {path}")
    return oracle.load_oracle(path)


@pytest.fixture(scope="module")
def samples(published: LSTMGenerator) -> Tokens:
    return oracle.sequences(published, 5000, seed=1)


def test_published_oracle_has_the_published_likelihood(published: LSTMGenerator, samples: Tokens) -> None:
    """Its own samples have the entropy that the papers report: weights, gates and start token are the authors'."""
    assert samples.ids.shape == (5000, 20)
    assert abs(oracle.negative_log_likelihood(published, samples) - PUBLISHED_REAL) < 0.03


def test_published_oracle_scores_unigrams_as_published(published: LSTMGenerator, samples: Tokens) -> None:
    """The same tokens in random places are the paper's "Random" row."""
    order = torch.randperm(samples.ids.numel(), generator=torch.Generator().manual_seed(0))
    shuffled = Tokens(samples.ids.flatten()[order].view_as(samples.ids), samples.mask)
    assert abs(oracle.negative_log_likelihood(published, shuffled) - PUBLISHED_RANDOM) < 0.05


def test_likelihood_counts_tokens_and_not_padding() -> None:
    """The mean of -log p over counted tokens, the same whatever the chunks and the padding."""
    network = oracle.draw_oracle(3, vocabulary=9, length=5)
    tokens = oracle.sequences(network, 40, seed=0)
    tokens = Tokens(tokens.ids, torch.arange(5) < torch.arange(1, 41).unsqueeze(1) % 5 + 1)
    expected = [
        -network(row[None, :count])[0].double().sum() for row, count in zip(tokens.ids, tokens.mask.sum(1), strict=True)
    ]
    total = float(sum(expected)) / int(tokens.mask.sum())
    with pytest.MonkeyPatch.context() as patch:
        for chunk in (7, 1024):
            patch.setattr(oracle, "CHUNK", chunk)
            assert oracle.negative_log_likelihood(network, tokens) == pytest.approx(total, rel=1e-5)


def test_drawn_oracle_depends_on_its_seed_alone() -> None:
    """The same seed gives the same weights whatever was drawn before, another seed gives others."""
    torch.manual_seed(0)
    first = oracle.draw_oracle(5, vocabulary=50)
    torch.manual_seed(1)
    again, other = oracle.draw_oracle(5, vocabulary=50), oracle.draw_oracle(6, vocabulary=50)
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert not first.embedding.weight.equal(other.embedding.weight)


def test_drawn_oracle_is_standard_normal() -> None:
    """Mean 0 and variance 1 of every array, within 5 standard errors; a cell has one bias, so the second is 0."""
    network = oracle.draw_oracle(0)
    for name, parameter in network.named_parameters():
        if name == "lstm.bias_hh_l0":
            assert (parameter == 0).all()
            continue
        count = parameter.numel()
        assert abs(parameter.mean().item()) < 5 / count**0.5
        assert abs(parameter.var().item() - 1) < 5 * (2 / count) ** 0.5
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_sequences_leave_the_random_state_alone() -> None:
    """They depend on their seed, and nothing after them notices."""
    network = oracle.draw_oracle(1, vocabulary=20, length=4)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    drawn = oracle.sequences(network, 10, seed=2)
    assert torch.rand(3).equal(expected)
    assert drawn.ids.equal(oracle.sequences(network, 10, seed=2).ids)
    assert not drawn.ids.equal(oracle.sequences(network, 10, seed=3).ids)


def arrays(vocabulary: int = 6, embedding: int = 3, hidden: int = 4) -> list[np.ndarray]:
    """15 arrays that fit."""
    generator = np.random.default_rng(0)
    gate = [(embedding, hidden), (hidden, hidden), (hidden,)]
    shapes = [(vocabulary, embedding), *gate * 4, (hidden, vocabulary), (vocabulary,)]
    return [generator.normal(size=shape).astype(np.float32) for shape in shapes]


def test_loaded_oracle_is_the_cell_of_its_arrays(tmp_path: Path) -> None:
    """Gate by gate: the order of the file is embedding, then W U b of input, forget, output and candidate, then the
    output layer."""
    parts = arrays()
    np.savez(tmp_path / "oracle.npz", *parts)
    network = oracle.load_oracle(tmp_path / "oracle.npz", length=3)
    embedding, *gates, w_out, b_out = parts
    ids = torch.tensor([[1, 5, 2], [0, 3, 3]])

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    h, c, before, expected = np.zeros((2, 4)), np.zeros((2, 4)), np.zeros(2, dtype=int), []
    for token in ids.T.numpy():
        x = embedding[before]
        i, f, o, g = (x @ w + h @ u + b for w, u, b in zip(gates[::3], gates[1::3], gates[2::3], strict=True))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        logits = h @ w_out + b_out
        expected.append(logits[np.arange(2), token] - np.log(np.exp(logits).sum(1)))
        before = token
    np.testing.assert_allclose(network(ids).numpy(), np.stack(expected, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("place", range(15))
def test_wrong_shapes_are_refused(place: int, tmp_path: Path) -> None:
    """Whichever array has a row too many, the message names the file."""
    parts = arrays()
    parts[place] = np.concatenate([parts[place], parts[place][:1]])
    if place == 0:  # a row more is another vocabulary, so a column
        parts[0] = arrays(embedding=7)[0]
    np.savez(tmp_path / "oracle.npz", *parts)
    with pytest.raises(UserError, match=r"oracle\.npz"):
        oracle.load_oracle(tmp_path / "oracle.npz")


@pytest.mark.parametrize("place", [0, 1, 3, 13, 14])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_wrong_ranks_are_refused(place: int, rank: int, tmp_path: Path) -> None:
    """Numbers, vectors and cubes in the place of matrices too."""
    parts = arrays()
    if rank == parts[place].ndim:
        rank = 2
    parts[place] = np.ones((4,) * rank, dtype=np.float32)
    np.savez(tmp_path / "oracle.npz", *parts)
    with pytest.raises(UserError, match=r"oracle\.npz"):
        oracle.load_oracle(tmp_path / "oracle.npz")


@pytest.mark.parametrize("count", [0, 1, 14, 16])
def test_wrong_number_of_arrays_is_refused(count: int, tmp_path: Path) -> None:
    """15, or the message says that 15 are expected."""
    np.savez(tmp_path / "oracle.npz", *(arrays() * 2)[:count])
    with pytest.raises(UserError, match=r"oracle\.npz.*15 arrays"):
        oracle.load_oracle(tmp_path / "oracle.npz")


class Trap:
    """A pickle of this makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    """An array of objects is a pickle: it is not loaded, so that its code does not run."""
    parts: list[np.ndarray] = arrays()
    parts[4] = np.array([Trap(tmp_path / "trapped")], dtype=object)
    np.savez(tmp_path / "oracle.npz", *parts)
    np.array([Trap(tmp_path / "trapped")], dtype=object).dump(tmp_path / "bare.pkl")
    for name in ("oracle.npz", "bare.pkl"):
        with pytest.raises(UserError, match=name):
            oracle.load_oracle(tmp_path / name)
    assert not (tmp_path / "trapped").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    """Nothing there, a folder, text, an empty file, half a file, one array alone, arrays of text: all a UserError."""
    np.savez(tmp_path / "good.npz", *arrays())
    np.save(tmp_path / "one.npy", arrays()[0])
    (tmp_path / "text.npz").write_text("weights: 3\n")
    (tmp_path / "empty.npz").touch()
    (tmp_path / "half.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:900])
    (tmp_path / "folder.npz").mkdir()
    np.savez(tmp_path / "words.npz", *[np.array(["a", "b"])] * 15)
    for name in ("missing.npz", "folder.npz", "text.npz", "empty.npz", "half.npz", "one.npy", "words.npz"):
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            oracle.load_oracle(tmp_path / name)
