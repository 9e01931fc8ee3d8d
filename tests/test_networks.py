"""Networks against their equations, written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel

from enumeration import tiny_lstm
from seqgan_kit.networks.text import output
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.networks.text.minibatch import MinibatchDiscrimination
from seqgan_kit.tokens import sampling

WINDOWS, FILTERS = (1, 2, 5), (3, 4, 2)


def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden (4, 5, 3), weight (7, 3), bias (7,), targets (4, 5)."""
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(4, 5, 3), torch.randn(7, 3), torch.randn(7)
    for tensor in (hidden, weight, bias):
        tensor.requires_grad_()
    return hidden, weight, bias, torch.randint(7, (4, 5))


@pytest.mark.parametrize("kept", [0, 10**6])
@pytest.mark.parametrize("block", [1, 7, 3 * 7, 19 * 7, 20 * 7, 10**6])
def test_log_probs_equal_torch(block: int, kept: int, tune: Callable[..., None]) -> None:
    """Values, and gradients of any weighted sum, are those of log_softmax and gather, whatever the block, and whether
    probabilities are kept; a second time, too. So is the plain way."""
    tune(logit_block=block, kept_probabilities=kept, kept_width=1)
    hidden, weight, bias, targets = problem()
    cotangent = torch.randn(4, 5)
    found = output.log_probs(hidden, weight, bias, targets)
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight, bias)]
    expected = F.linear(*exact).log_softmax(-1).gather(2, targets.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.plain_log_probs(*exact, targets), expected)
    total = (found * cotangent).sum()
    references = torch.autograd.grad((expected * cotangent).sum(), exact)
    for _ in range(2):
        slopes = torch.autograd.grad(total, (hidden, weight, bias), retain_graph=True)
        for slope, reference in zip(slopes, references, strict=True):
            torch.testing.assert_close(slope.double(), reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("counted", [0, 1, 7, 20])
def test_log_probs_of_padding_are_0_and_have_no_gradient(counted: int) -> None:
    """What the mask shows is as without one, value and gradient, however little it is."""
    hidden, weight, bias, targets = problem()
    mask = (torch.randperm(20) < counted).view(4, 5)
    found = output.log_probs(hidden, weight, bias, targets, mask)
    whole = output.log_probs(hidden, weight, bias, targets)
    torch.testing.assert_close(found, whole * mask)
    slopes = (torch.autograd.grad((one * mask).sum(), (hidden, weight, bias)) for one in (found, whole))
    for slope, reference in zip(*slopes, strict=True):
        torch.testing.assert_close(slope, reference)


def test_log_probs_refuse_a_second_derivative() -> None:
    """The backward pass by hand can't be differentiated, and says so instead of giving a wrong number."""
    hidden, weight, bias, targets = problem()
    value = output.log_probs(hidden, weight, bias, targets).sum()
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        torch.autograd.grad(value, hidden, create_graph=True)


def test_lstm_equals_its_equations() -> None:
    """`forward` is the paper's cell (eq. 9-10), gate by gate in numpy, one token at a time from zeros."""
    network = tiny_lstm(7, 6)
    ids = torch.randint(7, (4, 6), generator=torch.Generator().manual_seed(0))

    def numbers(tensor: Tensor) -> np.ndarray:
        return tensor.detach().double().numpy()

    def gates(tensor: Tensor) -> list[np.ndarray]:
        return [part.T for part in np.split(numbers(tensor), 4)]  # input, forget, candidate, output

    lstm = network.lstm
    w_i, w_f, w_c, w_o = gates(lstm.weight_ih_l0)
    u_i, u_f, u_c, u_o = gates(lstm.weight_hh_l0)
    b_i, b_f, b_c, b_o = gates(lstm.bias_ih_l0 + lstm.bias_hh_l0)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    h, c = np.zeros((4, 6)), np.zeros((4, 6))
    before, expected = np.full(4, network.config.start), []
    for token in ids.T.numpy():
        x = numbers(network.embedding.weight)[before]
        i, f, o = (sigmoid(x @ w + h @ u + b) for w, u, b in [(w_i, u_i, b_i), (w_f, u_f, b_f), (w_o, u_o, b_o)])
        c = f * c + i * np.tanh(x @ w_c + h @ u_c + b_c)
        h = o * np.tanh(c)
        logits = h @ numbers(network.output.weight).T + numbers(network.output.bias)
        expected.append(logits[np.arange(4), token] - np.log(np.exp(logits).sum(1)))
        before = token
    np.testing.assert_allclose(numbers(network(ids)), np.stack(expected, 1), rtol=1e-5, atol=1e-5)


def test_start_token_may_lie_outside_the_vocabulary() -> None:
    """A start id equal to the vocabulary's size is read but never emitted."""
    torch.manual_seed(0)
    network = LSTMGenerator(LSTMConfig(4, 3, 3, start=4, length=5)).eval()
    assert network.embedding.weight.shape[0] == 5
    assert network.logits(network.start(2)[0]).shape == (2, 4)
    assert sampling.sample(network, 100, 5, None).ids.max() == 3


def test_initial_weights_have_the_stated_deviation() -> None:
    """All weights and biases are drawn N(0, deviation)."""
    torch.manual_seed(0)
    network = LSTMGenerator(LSTMConfig(500, 32, 32, deviation=0.3))
    weights = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert weights.std().item() == pytest.approx(0.3, abs=5 * 0.3 / (2 * len(weights)) ** 0.5)
    assert abs(weights.mean().item()) < 5 * 0.3 / len(weights) ** 0.5
    assert all(p.std() > 0.15 for p in network.parameters())


def cnn() -> TextCNN:
    torch.manual_seed(0)
    return TextCNN(11, 6, WINDOWS, FILTERS).eval()


def reference(network: TextCNN, embedded: Tensor) -> Tensor:
    """Conv1d, rectifier, maximum over time, highway and output layer: (batch, time, embedding) -> (batch,)."""
    found = []
    for width, layer in zip(WINDOWS, network.convolutions, strict=True):
        kernel = layer.weight.view(-1, width, 6).transpose(1, 2)
        found.append(F.relu(F.conv1d(embedded.transpose(1, 2), kernel, layer.bias)).amax(2))
    c = torch.cat(found, 1)
    gate = torch.sigmoid(F.linear(c, network.gate.weight, network.gate.bias))
    h = F.relu(F.linear(c, network.transform.weight, network.transform.bias))
    return F.linear(gate * h + (1 - gate) * c, network.output.weight, network.output.bias)[:, 0]


@pytest.mark.parametrize("time", [5, 6, 20])
def test_cnn_equals_conv1d(time: int) -> None:
    """Sentences of full length have the logit of torch's convolution with the same weights."""
    network = cnn()
    ids = torch.randint(11, (8, time), generator=torch.Generator().manual_seed(time))
    found = network(ids, torch.ones_like(ids, dtype=torch.bool))
    torch.testing.assert_close(found, reference(network, network.embedding(ids)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_cnn_fills_short_sentences(length: int) -> None:
    """A sentence shorter than a window is seen once by it, filled with zeros."""
    network = cnn()
    ids = torch.tensor([[3, 4, 9, 1]])[:, :length]
    found = network(ids, torch.ones_like(ids, dtype=torch.bool))
    filled = F.pad(network.embedding(ids), (0, 0, 0, max(WINDOWS)))
    with pytest.MonkeyPatch.context() as patch:
        shortened = {width: filled[:, : max(width, length)] for width in WINDOWS}
        whole = F.conv1d
        patch.setattr(F, "conv1d", lambda _, kernel, bias: whole(shortened[kernel.shape[2]].mT, kernel, bias))
        expected = reference(network, filled)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_padding_does_not_change_the_logit() -> None:
    """A sentence scores the same alone, in a batch of longer ones, and as a roll-out padded to the greatest length."""
    network = cnn()
    ids = torch.randint(11, (12, 30), generator=torch.Generator().manual_seed(0))
    lengths = torch.arange(1, 13)
    mask = torch.arange(30) < lengths.unsqueeze(1)
    together = network(ids, mask)
    for i, length in enumerate(lengths):
        for time in (length, length + 1, 15, 30):
            alone = network(ids[i : i + 1, :time], mask[i : i + 1, :time])
            torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(network(torch.where(mask, ids, 10**6), mask), together)


@pytest.mark.parametrize("added", [-torch.inf, torch.inf], ids=["tables", "products"])
@pytest.mark.parametrize("time", [3, 5, 30])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cnn_scores_as_it_is_trained(added: float, time: int, precision: str, tune: Callable[..., None]) -> None:
    """Where nothing is differentiated rows are judged block by block, and by tables where these pay: the same logits,
    of sentences longer and shorter than the windows, whatever stands on padding."""
    tune(addition=added, response_rows=7)
    network = cnn()
    ids = torch.randint(9, (60, time), generator=torch.Generator().manual_seed(0)) + 1  # token 0 and 10 do not occur
    mask = torch.arange(time) < torch.arange(60).remainder(time).unsqueeze(1) + 1
    ids = torch.where(mask, ids, 10**6)
    expected = network(ids, mask).detach()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        found = network(ids, mask)
    tolerance = 1e-5 if precision == "fp32" else 0.03 * expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_cnn_looks_up_responses_to_many_rows(monkeypatch: pytest.MonkeyPatch, tune: Callable[..., None]) -> None:
    """Those of the paper's size to the completions of a batch; not to a batch, to soft text, or by too large tables."""
    network, looked_up, whole = TextCNN(5000), [], F.embedding_bag

    def counted(*inputs: Tensor, **options: str) -> Tensor:
        looked_up.append(inputs)
        return whole(*inputs, **options)

    monkeypatch.setattr(F, "embedding_bag", counted)
    ids, mask = torch.randint(5000, (1500, 20)), torch.ones(1500, 20, dtype=torch.bool)
    with torch.no_grad():
        network(ids[:64], mask[:64])
        network(torch.full((64, 20, 5000), 1 / 5000), mask[:64])
        assert not looked_up
        network(ids, mask)
        assert len(looked_up) == 3 * len(network.windows), "three blocks of rows"
        tune(table_entries=10**7)
        network(ids, mask)
        assert len(looked_up) == 3 * len(network.windows)


def test_minibatch_discrimination_equals_a_slow_loop() -> None:
    """The mean over the other rows of exp(-|difference|_1), each part apart; a row alone has nothing near."""
    torch.manual_seed(0)
    layer, features = MinibatchDiscrimination(4, 3, width=2), torch.randn(7, 4)
    rows = layer.project(features).view(7, 3, 2)
    found = layer(features, [3, 1, 3])
    for i, part in enumerate([range(3)] * 3 + [range(3, 4)] + [range(4, 7)] * 3):
        for b in range(3):
            near = [(-(rows[i, b] - rows[j, b]).abs().sum()).exp().item() for j in part if j != i]
            assert found[i, b].item() == pytest.approx(sum(near) / max(1, len(near)), abs=1e-6)
    torch.testing.assert_close(layer(features[4:]), found[4:])
    torch.testing.assert_close(layer(features[:1].expand(5, 4)), torch.ones(5, 3))


def test_cnn_compares_rows_only_where_it_is_asked_to() -> None:
    """Its logit then depends on the rows of its part, and on no others; without kernels it has no such layer."""
    torch.manual_seed(0)
    network, plain = TextCNN(11, 6, WINDOWS, FILTERS, kernels=3).eval(), cnn()
    ids = torch.randint(11, (8, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids, dtype=torch.bool)
    changed = torch.cat([ids[:4], ids[4:].flip(1)])
    before, after = network(ids, mask, [4, 4]), network(changed, mask, [4, 4])
    torch.testing.assert_close(before[:4], after[:4])
    assert not torch.allclose(network(ids, mask)[:4], network(changed, mask)[:4])
    assert not plain.compares_rows
    assert {name for name in network.state_dict() if name not in plain.state_dict()} == {"others.project.weight"}


def test_cnn_refuses_uneven_lists() -> None:
    """Each window needs its number of filters."""
    with pytest.raises(ValueError, match=r"2 windows but 1"):
        TextCNN(11, 6, (1, 2), (3,))


@pytest.mark.parametrize("load", [LSTMGenerator.from_pretrained, AutoModel.from_pretrained], ids=["itself", "auto"])
def test_saved_generator_is_the_same_model(load: object, tmp_path: Path) -> None:
    """What Hugging Face loads has the same weights and sizes, and the same samples from the same seed."""
    network = tiny_lstm(7, 6, 1)
    network.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert type(again) is LSTMGenerator
    assert {name: list(value.shape) for name, value in again.state_dict().items()} == {
        name: list(value.shape) for name, value in network.state_dict().items()
    }
    assert all(map(torch.equal, again.state_dict().values(), network.state_dict().values()))
    drawn = []
    for model in (network, again.eval()):
        torch.manual_seed(5)
        drawn.append(sampling.sample(model, 20, model.config.length, model.config.end))
    assert drawn[0].ids.equal(drawn[1].ids)
    assert drawn[0].mask.equal(drawn[1].mask)


def test_saved_folder_holds_no_pickle(tmp_path: Path) -> None:
    """JSON and safetensors alone, so that a stranger's model can hold no code."""
    tiny_lstm().save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
