"""The players learn, through the real engine and the real loop, within seconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from enumeration import every_sequence, probabilities
from policies import token_policy
from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators, f_gan, objectives
from seqgan_kit.algorithms.objectives import Objective
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig, build_optimizer, lay_out_as_weights
from seqgan_kit.engine.stream import Stream
from seqgan_kit.game.players import Discriminator
from seqgan_kit.game.rewards import Reward
from seqgan_kit.game.trainer import Turns, play
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.networks.text.value_head import ValueHead
from seqgan_kit.samples import Images, Tokens
from seqgan_kit.text.players import prefix_at
from seqgan_kit.tokens.credit import LikelihoodRatio, MonteCarlo, Terminal
from seqgan_kit.tokens.discriminator import compare_apart
from seqgan_kit.tokens.policy import Critic

pytestmark = pytest.mark.learns
TARGET = "bdac"


def spell(tokens: Tokens) -> list[str]:
    return ["".join(chr(ord("a") + token) for token in row) for row in tokens.ids.tolist()]


def hits(completions: list[str]) -> list[float]:
    """The share of letters that are the target's."""
    return [sum(map(str.__eq__, text, TARGET)) / len(TARGET) for text in completions]


class Silent:
    """A discriminator that must not be asked."""

    batch_size = 2

    def score(self, sample: Tokens) -> Tensor:
        raise AssertionError("a discriminator of weight 0 was asked")

    def update(self, real: Tokens, fake: Tokens) -> dict[str, float]:
        raise AssertionError("a discriminator without turns was updated")


def generator(vocabulary: int, length: int, seed: int = 0, deviation: float = 0.1) -> LSTMGenerator:
    torch.manual_seed(seed)
    return LSTMGenerator(LSTMConfig(vocabulary, 8, 16, start=vocabulary, length=length, deviation=deviation))


@pytest.mark.parametrize("kind", ["terminal", "monte carlo", "ppo"])
def test_policy_learns_from_a_users_reward_alone(kind: str, engine: Engine) -> None:
    """With the discriminator's weight 0, the share of right letters rises from a quarter to nearly all."""
    network = generator(4, 4, deviation=0.5)
    learner = engine.learner("policy", network, OptimizerConfig(lr=0.02))
    policy = token_policy(
        engine,
        learner,
        batch_size=64,
        length=4,
        end=None,
        reward=torch.sigmoid,
        credit=MonteCarlo(network, 4, None, rollouts=4, lag=0.0)
        if kind == "monte carlo"
        else Terminal(network, 4, None),
        estimator=estimators.ppo if kind == "ppo" else estimators.reinforce,
        passes=3 if kind == "ppo" else 1,
        users=[Reward(hits)],
        decode=spell,
        discriminator_weight=0.0,
    )
    real = Stream(Tokens(torch.zeros(64, 4, dtype=torch.int64), torch.ones(64, 4, dtype=torch.bool)), seed=0)
    engine.restore()

    def right() -> float:
        texts = spell(policy.sample(real.take(64)))
        return sum(hits(texts)) / len(texts)

    assert right() < 0.5
    play(engine, "policy", 150, policy, Silent(), real, Turns(discriminator=0))
    assert right() > 0.9


def test_rewards_of_tokens_need_no_roll_outs(engine: Engine) -> None:
    """A reward for each token teaches the same task from what follows each token."""

    def hit_by_hit(completions: list[str]) -> list[list[float]]:
        return [[float(a == b) for a, b in zip(text, TARGET, strict=True)] for text in completions]

    network = generator(4, 4, deviation=0.5)
    policy = token_policy(
        engine,
        engine.learner("policy", network, OptimizerConfig(lr=0.02)),
        batch_size=64,
        length=4,
        end=None,
        reward=torch.sigmoid,
        credit=Terminal(network, 4, None),
        users=[Reward(hit_by_hit)],
        decode=spell,
        discriminator_weight=0.0,
    )
    real = Stream(Tokens(torch.zeros(64, 4, dtype=torch.int64), torch.ones(64, 4, dtype=torch.bool)), seed=0)
    engine.restore()
    play(engine, "policy", 100, policy, Silent(), real, Turns(discriminator=0))
    texts = spell(policy.sample(real.take(64)))
    assert sum(hits(texts)) / len(texts) > 0.9


class Fixed:
    """A generator that does not learn: points around (-1, 0)."""

    batch_size = 64

    def sample(self, real: Images) -> Images:
        return points(-1.0, len(real.pixels))

    def update(self, real: Images, fake: Images, score: Callable[[Images], Tensor]) -> dict[str, float]:
        raise AssertionError("a generator without turns was updated")


def points(centre: float, count: int) -> Images:
    """Two numbers a row, the first around `centre`, with deviation 1/2."""
    where = torch.randn(count, 2) / 2 + torch.tensor([centre, 0.0])
    return Images(where.view(count, 2, 1, 1), torch.zeros(count, 0))


def weight_decay(module: nn.Module, real: Images, fake: Images) -> Tensor:
    """Keeps a critic without bounds within them."""
    return 0.1 * torch.stack([p.square().sum() for p in module.parameters()]).sum()


@pytest.mark.parametrize(
    "make",
    [
        objectives.seqgan,
        objectives.minimax,
        objectives.non_saturating,
        objectives.airl,
        objectives.wasserstein,
        objectives.hinge,
        objectives.least_squares,
        objectives.ls_gan,
        objectives.ebgan,
        f_gan.kl,
        f_gan.reverse_kl,
        f_gan.pearson,
        f_gan.squared_hellinger,
        f_gan.jensen_shannon,
    ],
)
def test_discriminator_separates_two_clouds(make: Callable[[], Objective], engine: Engine) -> None:
    """With every objective, nearly all real points soon lie above nearly all fake ones."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
    discriminator = Discriminator(
        engine,
        engine.learner("discriminator", network, OptimizerConfig(lr=0.01)),
        batch_size=64,
        objective=make(),
        call=lambda module, sample: module(sample.pixels),
        regulariser=weight_decay if make is objectives.wasserstein else None,
    )
    real = Stream(points(1.0, 500), seed=0)
    engine.restore()
    play(engine, "warm-up", 60, Fixed(), discriminator, real, Turns(generator=0))
    with torch.no_grad():
        above = discriminator.score(points(1.0, 200)).unsqueeze(1) > discriminator.score(points(-1.0, 200))
    assert above.float().mean() > 0.95


def jensen_shannon(first: Tensor, second: Tensor) -> float:
    middle = (first + second) / 2
    return float(((first * (first / middle).log()).sum() + (second * (second / middle).log()).sum()) / 2)


@pytest.mark.parametrize("passes", [1, 3])
def test_a_clipped_critic_separates_within_its_bound(passes: int, engine: Engine) -> None:
    """WGAN's: after every step no weight is larger than the bound, many lie on it, and real points score higher."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
    learner = engine.learner("discriminator", network, OptimizerConfig(lr=0.01))
    discriminator = Discriminator(
        engine, learner, 64, objectives.wasserstein(), lambda module, sample: module(sample.pixels),
        passes=passes, clip_weights=0.1,
    )  # fmt: skip
    sizes: list[float] = []
    learner.optimizer.register_step_pre_hook(
        lambda *_: sizes.append(max(float(p.detach().abs().max()) for p in learner.parameters))
    )
    real = Stream(points(1.0, 500), seed=0)
    engine.restore()
    play(engine, "warm-up", 60, Fixed(), discriminator, real, Turns(generator=0))
    assert sizes[0] > 0.1
    assert max(sizes[1:]) <= 0.1 + 1e-7
    assert (network[1].weight.abs() > 0.0999).float().mean() > 0.3
    with torch.no_grad():
        above = discriminator.score(points(1.0, 200)).unsqueeze(1) > discriminator.score(points(-1.0, 200))
    assert above.float().mean() > 0.95


def test_history_by_hand(engine: Engine) -> None:
    """Steps are Adam's with the gradient of weight * |w - mean of w after each step so far|^2; the first has none."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    other = nn.Linear(3, 2)
    other.load_state_dict(layer.state_dict())
    config = OptimizerConfig(lr=0.1, clip=0.0, history=0.7)
    learner = engine.learner("learner", layer, config)
    adam = torch.optim.Adam(other.parameters(), lr=0.1)
    past: list[list[Tensor]] = []
    for step in range(5):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        engine.update(learner, lambda part: (learner.module(x[part]).square().mean(), {}), 4)  # noqa: B023
        loss = other(x).square().mean()
        for i, weight in enumerate(other.parameters()):
            if past:
                loss = loss + 0.7 * (weight - torch.stack([before[i] for before in past]).mean(0)).square().sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        past.append([weight.detach().clone() for weight in other.parameters()])
        torch.testing.assert_close(list(layer.parameters()), list(other.parameters()))
    again = build_optimizer(layer, config)
    again.load_state_dict(learner.optimizer.state_dict())
    assert all(state["mean"].equal(again.state[weight]["mean"]) for weight, state in learner.optimizer.state.items())


@pytest.mark.parametrize("kernels", [0, 8])
def test_who_compares_rows_finds_a_generator_that_repeats_itself(kernels: int, engine: Engine) -> None:
    """Fake batches are one real sentence, another each time, many times: nothing gives it away but its companions."""
    torch.manual_seed(0)
    data = Tokens(torch.randint(6, (400, 5)), torch.ones(400, 5, dtype=torch.bool))

    class Repeats(Fixed):
        def sample(self, real: Tokens) -> Tokens:
            return Tokens(real.ids[:1].expand_as(real.ids), real.mask)

    network = TextCNN(6, 8, (1, 2), (16, 16), kernels=kernels)
    discriminator = Discriminator(
        engine, engine.learner("discriminator", network, OptimizerConfig(lr=0.01)), 64, objectives.seqgan(),
        lambda module, tokens: module(tokens.ids, tokens.mask), compare=compare_apart,
    )  # fmt: skip
    engine.restore()
    real = Stream(data, seed=0)
    play(engine, "warm-up", 60, Repeats(), discriminator, real, Turns(generator=0))
    right = []
    for _ in range(10):
        batch = real.take(64)
        with torch.no_grad():
            found, fake = discriminator.score(batch), discriminator.score(Repeats().sample(batch))
        right += [(found > 0).float().mean(), (fake <= 0).float().mean()]
    share = torch.stack(right).mean()
    assert share > 0.9 if kernels else share < 0.75


@pytest.mark.parametrize("credit", [Terminal, MonteCarlo, LikelihoodRatio, "mixed", "critic"])
def test_seqgan_approaches_the_data(credit: type | str, engine: Engine) -> None:
    """From an untrained generator, the game alone halves the exact JS divergence to the distribution of the data.

    "mixed": MaliGAN's, where likelihood helps in the first half. "critic": in place of the other baseline.
    """
    torch.manual_seed(3)
    truth = LSTMGenerator(LSTMConfig(4, 8, 8, start=4, length=4, deviation=1.5)).eval()
    every = every_sequence(4, 4, None)
    target = probabilities(truth, every).detach()
    drawn = torch.multinomial(target, 2000, replacement=True)
    data = Stream(Tokens(every.ids[drawn], every.mask[drawn]), seed=0)
    network, critic = generator(4, 4), TextCNN(4, 8, (1, 2, 3, 4), (16, 16, 16, 16))
    policy = token_policy(
        engine,
        engine.learner("policy", network, OptimizerConfig(lr=0.01)),
        batch_size=64,
        length=4,
        end=None,
        reward=objectives.seqgan().reward,
        credit={"mixed": LikelihoodRatio, "critic": Terminal}.get(credit, credit)(network, 4, None),
        baseline=credits.no_baseline if credit == "critic" else credits.leave_one_out,
        critic=Critic(engine, engine.learner("critic", ValueHead(16), OptimizerConfig(lr=0.01)))
        if credit == "critic"
        else None,
        prefix=(lambda: prefix_at(engine.counters.get("game", 0), 100, 3)) if credit == "mixed" else None,
    )
    discriminator = Discriminator(
        engine,
        engine.learner("discriminator", critic, OptimizerConfig(lr=0.003)),
        batch_size=64,
        objective=objectives.seqgan(),
        call=lambda module, tokens: module(tokens.ids, tokens.mask),
    )
    engine.restore()

    def distance() -> float:
        with torch.no_grad():
            return jensen_shannon(probabilities(network.eval(), every), target)

    before = distance()
    play(engine, "warm-up", 30, policy, discriminator, data, Turns(generator=0))
    assert distance() == before
    play(engine, "game", 100, policy, discriminator, data, Turns(generator=1, discriminator=2))
    assert distance() < before / 2


def test_moments_that_were_saved_are_laid_out_as_the_weights() -> None:
    """A step after loading equals the one without, for weights in channels-last order."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    optimizers = []
    for layer in layers:
        layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        optimizers.append(build_optimizer(layer, OptimizerConfig()))
    x = torch.randn(2, 3, 8, 8)
    for layer, optimizer in zip(layers, optimizers, strict=True):
        layer(x).square().sum().backward()
        optimizer.step()
    saved = optimizers[0].state_dict()
    for state in saved["state"].values():
        state |= {name: value.contiguous() for name, value in state.items()}
    optimizers[0].load_state_dict(saved)
    lay_out_as_weights(optimizers[0])
    for optimizer in optimizers:
        optimizer.step()
    torch.testing.assert_close(layers[0].weight, layers[1].weight, rtol=0, atol=0)
