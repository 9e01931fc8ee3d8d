"""Text that gradients flow through: how it is read, drawn and matched, and players that learn by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import runs
from runs import InStep, Victim
from seqgan_kit.algorithms import objectives
from seqgan_kit.algorithms.objectives import mean_matching, mmd, relativistic
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.stream import Stream
from seqgan_kit.errors import UserError
from seqgan_kit.game.trainer import Turns, play
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.networks.text.lstm_discriminator import TextLSTM
from seqgan_kit.networks.text.residual_text import NoiseToText, ResidualCritic
from seqgan_kit.networks.text.soft import gumbel_softmax
from seqgan_kit.samples import SoftTokens, Tokens, concatenate, rows, size, soft, trimmed
from seqgan_kit.text import checks
from seqgan_kit.text import config as configs
from seqgan_kit.text.differentiable import Convolutions, GumbelSoftmax, Route
from seqgan_kit.text.models import build_generator
from seqgan_kit.text.sampler import draw
from seqgan_kit.text.sources import DataConfig, Source, load
from seqgan_kit.tokens import sampling
from seqgan_kit.tokens import soft as soft_text
from seqgan_kit.tokens.soft import Gaussians, Means, Relaxed, filled
from test_processes import train_by_two
from test_text_models import gpt2

VOCABULARY, END, LENGTH = 7, 6, 5
ROUTE, GUMBEL = "--adversarial.route", "seqgan_kit.text.differentiable.GumbelSoftmax"
CHARACTERS = [
    "--data.tokenizer", "character", "--data.max_length", "40", "--data.too_long", "cut", "--likelihood.steps", "0",
    "--control.enabled", "false", ROUTE, "seqgan_kit.text.differentiable.Convolutions", f"{ROUTE}.width", "8",
    f"{ROUTE}.blocks", "1", f"{ROUTE}.noise", "4",
    "--discriminator.network", "seqgan_kit.networks.text.residual_text.ResidualCritic",
    "--discriminator.network.length", "41", "--discriminator.network.width", "8",
    "--discriminator.network.blocks", "1", "--discriminator.objective", "seqgan_kit.algorithms.objectives.wasserstein",
]  # fmt: skip
ROUTES = {
    "relgan": [ROUTE, GUMBEL, f"{ROUTE}.straight_through", "true", "--discriminator.objective",
               "seqgan_kit.algorithms.objectives.relativistic"],
    "textgan": [ROUTE, GUMBEL, f"{ROUTE}.matching", "seqgan_kit.tokens.soft.Gaussians"],
    "wgan_gp": CHARACTERS,
}  # fmt: skip


def far_from_uniform(network: nn.Module) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.7)
    return network.eval()


def writer(length: int = LENGTH) -> Any:
    sizes = {"vocabulary": VOCABULARY, "embedding": 4, "hidden": 4, "start": END, "end": END, "length": length}
    return far_from_uniform(LSTMGenerator(LSTMConfig(**sizes)))


def some_tokens(junk: int = 0) -> Tokens:
    """junk: what stands on padding."""
    ids = torch.randint(END, (6, LENGTH), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(LENGTH) < torch.tensor([5, 1, 3, 2, 4, 5]).unsqueeze(1)
    return Tokens(ids.masked_fill(~mask, junk), mask)


def some_soft(count: int = 6, length: int = LENGTH) -> SoftTokens:
    torch.manual_seed(2)
    weights = torch.randn(count, length, VOCABULARY).softmax(-1)
    return SoftTokens(weights.argmax(-1), torch.ones(count, length, dtype=torch.bool), weights)


# -- samples, and networks that read them -----------------------------------------------------------------------


def test_soft_tokens_are_cut_and_joined_with_their_weights() -> None:
    """Padded where they are shorter, cut where all are; and weights must be of the tokens."""
    short, long = soft(some_tokens(), VOCABULARY), some_soft(2, LENGTH + 2)
    both = concatenate([short, long])
    assert both.weights.shape == (8, LENGTH + 2, VOCABULARY)
    assert both.weights[:6, :LENGTH].equal(short.weights)
    assert not both.weights[:6, LENGTH:].any()
    assert both.weights[6:].equal(long.weights)
    assert trimmed(rows(both, slice(6))).weights.equal(short.weights)
    with pytest.raises(ValueError, match="weights"):
        SoftTokens(short.ids, short.mask, short.weights[:, 1:])


@pytest.mark.parametrize("kind", [TextCNN, TextLSTM])
@torch.no_grad()
def test_a_one_hot_text_has_the_lookup_s_logits(kind: Callable[..., nn.Module]) -> None:
    """Whatever stands on padding, of weights and of ids; and a mixture has the logit of neither."""
    network = far_from_uniform(kind(VOCABULARY, 8))
    expected = network(some_tokens().ids, some_tokens().mask)
    assert expected.std() > 0.05
    weights = soft(some_tokens(junk=99), VOCABULARY)
    torch.testing.assert_close(network(weights.read, weights.mask), expected, rtol=1e-6, atol=1e-6)
    dirty = weights.weights + ~weights.mask.unsqueeze(-1)
    torch.testing.assert_close(network(dirty, weights.mask), expected, rtol=1e-6, atol=1e-6)
    mixed = (weights.weights + weights.weights.roll(1, -1)) / 2
    assert (network(mixed, weights.mask) - expected).abs().max() > 0.01


@torch.no_grad()
def test_a_text_of_one_length_is_filled_with_end_tokens() -> None:
    """The residual critic reads ids, padded by end tokens, as it reads their one-hot weights; no other length."""
    network, tokens = far_from_uniform(ResidualCritic(VOCABULARY, LENGTH + 1, 4, 1)), some_tokens()
    full = filled(tokens, VOCABULARY, LENGTH + 1, END)
    assert full.mask.all()
    assert (full.ids[:, :LENGTH][~tokens.mask] == END).all()
    assert (full.ids[:, LENGTH] == END).all()
    torch.testing.assert_close(network(full.ids, full.mask), network(full.read, full.mask), rtol=0, atol=0)
    with pytest.raises(ValueError, match="reads 6 tokens, but texts have 5"):
        network(tokens.ids, tokens.mask)


# -- drawing ----------------------------------------------------------------------------------------------------


def test_gumbel_softmax_draws_each_token_with_its_probability() -> None:
    """To 4 standard deviations; its weight is the largest, and at once as good as all of it where they are sharp."""
    torch.manual_seed(0)
    p, count = torch.tensor([0.05, 0.1, 0.2, 0.65]), 40_000
    logits = p.log().expand(count, -1) + 3
    for sharpness in (1.0, 100.0):
        ids, weights = gumbel_softmax(logits, sharpness)
        found = ids.bincount(minlength=4) / count
        assert ((found - p).abs() < 4 * (p * (1 - p) / count).sqrt()).all(), found
        assert weights.argmax(-1).equal(ids)
        torch.testing.assert_close(weights.sum(-1), torch.ones(count))
    assert weights.amax(-1).mean() > 0.95
    assert gumbel_softmax(logits, 1.0)[1].amax(-1).mean() < 0.85


def test_straight_through_has_whole_tokens_and_the_soft_gradient() -> None:
    value = torch.randn(8, 4)
    found = []
    for straight_through in (False, True):
        torch.manual_seed(3)
        logits = torch.linspace(-1, 1, 32).view(8, 4).requires_grad_()
        ids, weights = gumbel_softmax(logits, 2.0, straight_through)
        (gradient,) = torch.autograd.grad((weights * value).sum(), logits)
        found.append((ids, gradient))
    assert weights.equal(nn.functional.one_hot(ids, 4).float())
    assert found[0][0].equal(found[1][0])
    assert found[0][1].abs().max() > 0.01
    torch.testing.assert_close(found[1][1], found[0][1])


def test_a_soft_text_ends_with_its_first_end_token() -> None:
    """Every row has one end token, the last that counts, or the full length; the tokens are the network's own."""
    torch.manual_seed(0)
    network, count = writer(), 4000
    drawn = sampling.soft_sample(network, count, LENGTH, END, 5.0)
    assert drawn.mask.equal(sampling.until_end(drawn.ids, END))
    assert drawn.weights.argmax(-1).equal(drawn.ids)
    ends = ((drawn.ids == END) & drawn.mask).sum(1)
    assert set(ends.tolist()) == {0, 1}
    assert (drawn.mask.sum(1)[ends == 0] == LENGTH).all()
    assert sampling.soft_sample(network, 20, 300, END, 5.0).ids.shape[1] < 300, "no longer than the longest"
    other = sampling.sample(network, count, LENGTH, END)
    for t in (0, 2):
        mine, theirs = (one.ids[one.mask[:, t], t].bincount(minlength=VOCABULARY) / count for one in (drawn, other))
        assert (mine - theirs).abs().max() < 4 * math.sqrt(0.5 / count), "as sample draws them"


def test_a_hugging_face_model_is_drawn_softly() -> None:
    """With its cache, the gradient reaches all its weights but those of places that no text has."""
    network = gpt2()
    drawn = sampling.soft_sample(network, 4, LENGTH, None, 2.0)
    assert drawn.weights.shape == (4, LENGTH, VOCABULARY)
    drawn.weights.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_the_pathwise_gradient_is_that_of_finite_differences() -> None:
    """Of the relativistic loss through critic, weights and states, in two directions, at the same random numbers."""
    network, critic, real = Relaxed(writer(), LENGTH, END), far_from_uniform(TextLSTM(VOCABULARY, 8, 8)), some_tokens()
    loss = soft_text.adversarial(relativistic())
    parameters = list(network.parameters())

    def value() -> Tensor:
        torch.manual_seed(5)
        fake = SoftTokens(*network(6, 1.0))
        return loss(soft(real, VOCABULARY), fake, lambda one: critic(one.read, one.mask))

    gradient = torch.autograd.grad(value(), parameters)
    assert all(one.abs().max() > 1e-4 for one in gradient)
    torch.manual_seed(6)
    for direction in ([g.clone() for g in gradient], [torch.randn_like(g) + 2 * g.sign() for g in gradient]):
        length = torch.cat([d.flatten() for d in direction]).norm()
        step = 5e-3
        found = []
        for side in (1, -1):
            with torch.no_grad():
                for p, d in zip(parameters, direction, strict=True):
                    p.add_(d, alpha=side * step / length.item())
                found.append(value().item())
                for p, d in zip(parameters, direction, strict=True):
                    p.sub_(d, alpha=side * step / length.item())
        expected = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)) / length
        assert (found[0] - found[1]) / (2 * step) == pytest.approx(float(expected), rel=0.03)


# -- losses -----------------------------------------------------------------------------------------------------


def test_the_relativistic_loss_by_hand() -> None:
    """-log sigmoid of what is between the two of a pair; a generator wants the opposite."""
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 1.0])
    game = relativistic()
    own = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2
    other = (math.log(1 + math.exp(1)) + math.log(1 + math.exp(-2))) / 2
    assert game.loss(real, fake).item() == pytest.approx(own, rel=1e-6)
    assert game.pathwise is not None
    assert game.pathwise(real, fake).item() == pytest.approx(other, rel=1e-6)
    shown, made = some_soft(2), some_soft(2)
    loss = soft_text.adversarial(game)(shown, made, lambda one: real if one is shown else fake)
    assert loss.item() == pytest.approx(other, rel=1e-6)
    plain = soft_text.adversarial(objectives.wasserstein())(some_soft(2), some_soft(2), lambda _: real)
    assert plain.item() == -0.5


def test_mmd_is_that_of_all_pairs() -> None:
    """Against loops over pairs of different rows, for two bandwidths and unequal numbers of rows."""
    torch.manual_seed(0)
    first, second = torch.randn(4, 3), torch.randn(5, 3) + 1

    def kernel(x: Tensor, y: Tensor) -> float:
        square = (x - y).square().sum().item()
        return (math.exp(-square / 2) + math.exp(-square / 8)) / 2

    one = [kernel(x, y) for i, x in enumerate(first) for j, y in enumerate(first) if i != j]
    other = [kernel(x, y) for i, x in enumerate(second) for j, y in enumerate(second) if i != j]
    across = [kernel(x, y) for x in first for y in second]
    expected = sum(one) / len(one) + sum(other) / len(other) - 2 * sum(across) / len(across)
    assert mmd(first, second, [1.0, 2.0]).item() == pytest.approx(expected, rel=1e-4)
    assert Gaussians((1.0, 2.0))(first, second).item() == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="at least 2"):
        mmd(first[:1], second, [1.0])


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_mmd_is_unbiased(shift: float) -> None:
    """Between normal distributions, its mean over many small samples is the closed form, 0 where they are equal."""
    random = torch.Generator().manual_seed(1)
    x, y = torch.randn(2000, 6, 1, generator=random), torch.randn(2000, 6, 1, generator=random) + shift
    found = torch.stack([mmd(a, b, [1.0]) for a, b in zip(x, y, strict=True)])
    closed = 2 * math.sqrt(1 / 3) * (1 - math.exp(-(shift**2) / 6))
    assert abs(found.mean().item() - closed) < 4 * found.std().item() / math.sqrt(2000)


def test_mean_matching_is_the_distance_of_means() -> None:
    found = mean_matching(torch.tensor([[0.0, 1], [2, 3]]), torch.tensor([[3.0, 0], [3, 0], [3, 0]]))
    assert found.item() == 4 + 4
    assert Means()(torch.zeros(2, 1), torch.ones(3, 1)).item() == 1


def test_the_penalty_of_a_linear_critic() -> None:
    """Without blocks its gradient is one matrix everywhere, so that the penalty is (|w| - 1)^2, whatever the texts."""
    critic = far_from_uniform(ResidualCritic(VOCABULARY, LENGTH, 4, 0))
    view = lambda one: filled(one, VOCABULARY, LENGTH, END)  # noqa: E731
    weight = torch.einsum("ct,cv->tv", critic.output.weight.view(4, LENGTH), critic.input.weight.squeeze(2))
    found = soft_text.penalty(critic, some_tokens(), some_soft(), view)
    torch.testing.assert_close(found, (weight.norm() - 1).square())


@pytest.mark.parametrize("kind", [TextCNN, TextLSTM])
def test_the_penalty_reaches_the_critic_through_soft_text(kind: Callable[..., nn.Module]) -> None:
    """All its weights but the last bias, also where one text is shorter; what is in neither does not count."""
    critic, real = far_from_uniform(kind(VOCABULARY, 8)), some_tokens()
    view = lambda one: soft(one, VOCABULARY)  # noqa: E731
    fake = soft(Tokens(real.ids[:, :3], real.mask[:, :3]), VOCABULARY)
    torch.manual_seed(0)
    value = soft_text.penalty(critic, real, fake, view)
    gradient = torch.autograd.grad(value, [p for n, p in critic.named_parameters() if n != "output.bias"])
    assert all(one.abs().max() > 1e-6 for one in gradient)
    shown: list[Tensor] = []
    hook = critic.register_forward_pre_hook(lambda _, given: shown.append(given[1]))
    soft_text.penalty(critic, real, rows(fake, torch.arange(6).flip(0)), view)
    hook.remove()
    assert shown[0].equal(real.mask | (real.mask.flip(0) & (torch.arange(LENGTH) < 3))), "what is in either"
    longer = concatenate([fake, some_soft(1, LENGTH + 3)])
    torch.manual_seed(0)
    torch.testing.assert_close(soft_text.penalty(critic, real, rows(longer, slice(6)), view), value)


# -- players ----------------------------------------------------------------------------------------------------


def source_of(folder: Path) -> Source:
    """Of six tokens, only the first two are in the data, as often; sentences of four."""
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(2, (400, 4), generator=random).tolist()
    (folder / "t.txt").write_text("".join(" ".join(map(str, row)) + "\n" for row in ids))
    return load(DataConfig(str(folder / "t.txt"), tokens=True, vocabulary=6), 0)


def configured(route: Route, network: Callable[[int], nn.Module], objective: Any, **others: Any) -> configs.TextConfig:
    optimizer = OptimizerConfig(lr=0.02, betas=(0.5, 0.9), clip=5.0, **others)
    return configs.TextConfig(
        likelihood=configs.LikelihoodConfig(steps=0),
        control=configs.ControlConfig(enabled=False),
        discriminator=configs.DiscriminatorConfig(network, objective=objective, batch_size=32, optimizer=optimizer),
        adversarial=configs.AdversarialConfig(rounds=60, batch_size=32, optimizer=optimizer, route=route),
    )


def cnn(vocabulary: int) -> nn.Module:
    return TextCNN(vocabulary, 4, (1, 2), (8, 8), dropout=0.0)


TOYS: dict[str, tuple[Route, Callable[[int], nn.Module], Any, dict[str, Any]]] = {
    "relgan": (GumbelSoftmax(5.0), cnn, relativistic, {}),
    "straight through, in parts": (GumbelSoftmax(5.0, True), cnn, relativistic, {"accumulate": 2}),
    "recurrent, penalised": (
        GumbelSoftmax(5.0, penalty=1.0), lambda n: TextLSTM(n, 4, 8, 0.0), objectives.wasserstein, {},
    ),
    "means": (GumbelSoftmax(5.0, matching=Means()), cnn, objectives.minimax, {}),
    "mmd": (GumbelSoftmax(5.0, matching=Gaussians((1.0, 2.0))), cnn, objectives.minimax, {}),
    "wgan-gp": (Convolutions(4, 8, 1), lambda n: ResidualCritic(n, 4, 8, 1), objectives.wasserstein, {}),
}  # fmt: skip


@pytest.mark.parametrize("toy", TOYS)
def test_every_route_learns_which_tokens_there_are(engine: Engine, tmp_path: Path, toy: str) -> None:
    """From a third, the share of the data's two tokens among six rises above 0.7, and both are still there."""
    route, judge, objective, others = TOYS[toy]
    config, source = configured(route, judge, objective, **others), source_of(tmp_path)
    torch.manual_seed(0)
    critic = config.discriminator.network(source.vocabulary)
    network: Any = route.network(source) or build_generator(config.generator, source)
    checks.check_route(config, source)
    route.check_judge(source, critic)
    generator, discriminator = route.players(engine, config, source, network, critic)
    engine.restore()

    def known() -> list[float]:
        torch.manual_seed(1)
        ids = draw(network.eval(), 400, source.length, source.end).ids
        return [(ids == token).float().mean().item() for token in (0, 1)]

    assert sum(known()) < 0.55
    real = Stream(source.train, 0)
    play(engine, "adversarial", 60, generator, discriminator, real, Turns(1, 3))
    after = known()
    print(toy, after)
    assert sum(after) > 0.7
    assert min(after) > 0.05


def test_sharpness_grows_with_the_rounds(engine: Engine, tmp_path: Path) -> None:
    """From 1 at first, over its root at half, to almost all at the end; a warm-up does not move it."""
    config, source = configured(GumbelSoftmax(16.0), cnn, relativistic), source_of(tmp_path)
    seen: list[float] = []

    class Spy(Relaxed):
        def forward(self, batch: int, sharpness: float) -> tuple[Tensor, Tensor, Tensor]:
            seen.append(sharpness)
            return super().forward(batch, sharpness)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqgan_kit.text.differentiable.Relaxed", Spy)
        players = GumbelSoftmax(16.0).players(
            engine,
            config,
            source,
            build_generator(config.generator, source),
            cnn(source.vocabulary),
        )
    for phase, steps in (("discriminator", 7), ("adversarial", 0), ("adversarial", 30), ("adversarial", 59)):
        engine.counters[phase] = steps
        players[0].sample(source.train)
    assert seen == pytest.approx([1.0, 1.0, 4.0, 16 ** (59 / 60)])


# -- runs -------------------------------------------------------------------------------------------------------


def test_characters_from_noise_by_the_command_line(tmp_path: Path) -> None:
    """A run without likelihood is trained, sampled and scored; bfloat16."""
    run = tmp_path / "run"
    short = ["--discriminator.steps", "2", "--adversarial.rounds", "4", "--run.precision", "bf16"]
    told = runs.finish(runs.tiny(run, *CHARACTERS, *short), tmp_path / "log")
    assert "self_bleu2" in told
    assert "nll_gen" not in told
    words = ["sample", str(run), "--count", "3"]
    first, again = (runs.finish(words, tmp_path / "log2").split("\n")[-4:] for _ in range(2))
    assert first == again, "the same seed"
    assert all(first[:3])
    found = runs.finish(["evaluate", str(run), "--samples", "16"], tmp_path / "log3")
    last = [line for line in runs.lines(run) if "eval/distinct1" in line][-1]["eval/distinct1"]
    assert ["distinct1", f"{last:.4f}"] in [line.split()[:2] for line in found.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_killed_in_every_phase_and_resumed_it_ends_equal(tmp_path: Path, route: str) -> None:
    straight = tmp_path / "straight" / "run"
    runs.finish(runs.tiny(straight, *ROUTES[route]), tmp_path / "log")
    victim = Victim(tmp_path / "run", runs.tiny(tmp_path / "run", *ROUTES[route]))
    for phase in [phase for phase in runs.PHASES if route != "wgan_gp" or phase in (runs.WARM_UP, runs.ADVERSARIAL)]:
        victim.kill(InStep(phase, 5, 0.5))
    victim.finish()
    runs.same(straight, victim.run)


@pytest.mark.slow
@pytest.mark.parametrize("route", ["relgan", "textgan"])
def test_bf16_runs(tmp_path: Path, route: str) -> None:
    run = tmp_path / "run"
    runs.finish(runs.tiny(run, *ROUTES[route], "--run.precision", "bf16"), tmp_path / "log")
    lines = [line for line in runs.lines(run) if line["phase"] == "adversarial"]
    assert all(math.isfinite(line["generator_loss"]) for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("route", ["relgan", "wgan_gp"])
def test_two_processes_stay_equal(tmp_path: Path, route: str) -> None:
    """What is differentiated goes through the prepared module: the same weights at the end on both."""
    train_by_two(tmp_path, runs.tiny(tmp_path / "run", *ROUTES[route]))


# -- mistakes ---------------------------------------------------------------------------------------------------


class Blind(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 2)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.embedding(ids).sum((1, 2))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"adversarial": {"passes": 2}}, "--adversarial.passes is for policy gradient"),
        ({"adversarial": {"discriminator_weight": 0.5}}, "--adversarial.discriminator_weight is for policy gradient"),
        ({"discriminator": {"output_decay": 0.1}}, "--discriminator.output_decay is for policy gradient"),
        ({"discriminator": {"network": Blind}}, "Blind can't read soft text"),
        ({"adversarial": {"route": GumbelSoftmax(0.5)}}, "sharpness 0.5: give at least 1"),
        (
            {
                "adversarial": {"route": GumbelSoftmax(matching=Means())},
                "discriminator": {"network": lambda n: Featureless(n)},
            },
            "Featureless has no method `features`",
        ),
        (
            {"adversarial": {"route": GumbelSoftmax(matching=Means()),
                             "optimizer": OptimizerConfig(accumulate=2)}},
            "features are matched over a whole batch",
        ),
        ({"adversarial": {"route": Convolutions()}, "likelihood": {"steps": 3}}, "no likelihood, give 0"),
        ({"adversarial": {"route": Convolutions()}, "control": {"enabled": True}}, "no likelihood, give false"),
        ({"adversarial": {"route": Convolutions(width=0)}}, "route.width 0: give at least 1"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, changes: dict[str, dict[str, Any]], told: str) -> None:
    config, source = configured(GumbelSoftmax(), cnn, relativistic), source_of(tmp_path)
    config = replace(config, **{name: replace(getattr(config, name), **some) for name, some in changes.items()})
    route = config.adversarial.route
    assert route is not None

    def check() -> None:
        checks.check_route(config, source)
        route.check_judge(source, config.discriminator.network(source.vocabulary))

    with pytest.raises(UserError, match=told.replace("(", r"\(")):
        check()


class Featureless(nn.Module):
    """It reads soft text, but has no features."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.layer = nn.Linear(vocabulary, 1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.layer(ids).sum((1, 2))


def test_a_generator_from_noise_is_loaded_as_it_was(tmp_path: Path) -> None:
    """The same noise writes the same text."""
    network = Convolutions(4, 8, 1).network(source_of(tmp_path))
    assert network is not None
    network.save_pretrained(tmp_path / "model")
    other = NoiseToText.from_pretrained(tmp_path / "model").eval()
    drawn = []
    for one in (network.eval(), other):
        torch.manual_seed(0)
        drawn.append(draw(one, 5, 4, None))
    assert size(drawn[0]) == 5
    assert drawn[0].ids.equal(drawn[1].ids)
