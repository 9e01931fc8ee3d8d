"""What a discriminator of steps sees, and its networks, rewards and regularisers, against hand-made rows and sums."""

from __future__ import annotations

import itertools
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, distributions, nn

from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.engine import Engine
from seqgan_kit.imitation.config import DiscriminatorConfig, ImitationConfig, PolicyConfig
from seqgan_kit.imitation.discriminator_inputs import Features, end_in_absorbing, penalty
from seqgan_kit.imitation.environments import EnvironmentConfig, make
from seqgan_kit.imitation.players import Game
from seqgan_kit.networks.policies.actions import Choices, from_space
from seqgan_kit.networks.policies.normaliser import Normaliser
from seqgan_kit.networks.policies.transition import Layout, ShapedNetwork, TransitionNetwork
from seqgan_kit.samples import Transitions, size
from seqgan_kit.samples import steps as in_single_steps

STATE = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
PICTURE = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
FOUR, CHOICES = gym.spaces.Discrete(4), Choices((4,), True)
INPUTS = ["state", "action", "next_state", "ended"]


def steps(state: gym.spaces.Box = STATE, action: gym.Space = FOUR, batch: int = 4) -> Transitions:
    """Random transitions, (batch, 5): some terminate, some are cut, some do not count."""
    random = np.random.default_rng(0)
    action.seed(0)
    shape = (2, batch, 5, *state.shape)
    if state.dtype == np.uint8:
        seen = random.integers(0, 256, shape, dtype=np.uint8)
    else:
        seen = random.standard_normal(shape).astype(np.float32)
    acted = torch.from_numpy(np.stack([[action.sample() for _ in range(5)] for _ in range(batch)]))
    terminated, cut, mask = torch.from_numpy(random.random((3, batch, 5)) < 0.3)
    before, after = torch.from_numpy(seen)
    return Transitions(before, acted, after, torch.zeros(batch, 5), terminated, terminated | cut, ~mask)


def normaliser(shape: tuple[int, ...]) -> Normaliser:
    found = Normaliser(shape)
    found.update(found.moments(2 + 3 * torch.randn(50, *shape, generator=torch.Generator().manual_seed(0))))
    return found


def action_row(action: gym.Space, value: np.ndarray) -> list[float]:
    if isinstance(action, gym.spaces.Box):
        return ((value - (action.low + action.high) / 2) / ((action.high - action.low) / 2)).ravel().tolist()
    sizes = [action.n] if isinstance(action, gym.spaces.Discrete) else action.nvec  # type: ignore[attr-defined]
    return [float(i == one) for size, one in zip(sizes, np.atleast_1d(value), strict=True) for i in range(size)]


@pytest.mark.parametrize(
    "inputs", [INPUTS, ["state"], ["state", "action"], ["next_state", "state"], ["action", "ended"]]
)
@pytest.mark.parametrize(
    "action",
    [
        gym.spaces.Discrete(4),
        gym.spaces.MultiDiscrete([2, 3]),
        gym.spaces.Box(-2, 1, (2,)),
        gym.spaces.Box(0, 1, (2, 2)),
    ],
)
@pytest.mark.parametrize("absorbing", [False, True])
@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_features_of_each_step(inputs: list[str], action: gym.Space, absorbing: bool, shape: tuple[int, ...]) -> None:
    """Written down step by step: normalised state, executed action, next state, and whether the task ended.

    With absorbing states, a state has one more number, and after the end there are no others.
    """
    state = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
    sample, scale = steps(state, action), normaliser(shape)
    features = Features(state, from_space(action), scale, inputs, absorbing)
    found = features(sample)
    assert found.dtype == torch.float32
    for b, t in itertools.product(range(4), range(5)):
        over = absorbing and not sample.mask[b, t].item()
        over_next = over or sample.terminated[b, t].item()

        def state_row(seen: Tensor, gone: bool) -> list[float]:
            values = ((seen.double() - scale.mean) / scale.variance.sqrt()).flatten().tolist()
            return [0.0] * len(values) * gone + values * (not gone) + [float(gone)] if absorbing else values

        acted = action_row(action, sample.actions[b, t].numpy())
        parts = {
            "state": state_row(sample.observations[b, t], over),
            "action": [0.0] * len(acted) if over else acted,
            "next_state": state_row(sample.next_observations[b, t], absorbing and over_next),
            "ended": [float(over_next)],
        }
        expected = [number for name, row in parts.items() if name in inputs for number in row]
        assert found[b, t].tolist() == pytest.approx(expected, abs=1e-5)
        for name, row in parts.items():
            there = found[b, t, getattr(features.layout, name)].tolist()
            assert there == (pytest.approx(row, abs=1e-5) if name in inputs else [])
    assert features.layout.size == found.shape[-1]
    assert features.layout.picture is None


def test_features_of_pictures() -> None:
    """Bytes become 0 to 1, in the order that the layout's picture has them; no normaliser touches them."""
    sample = steps(PICTURE)
    features = Features(PICTURE, CHOICES, None, INPUTS, discount=0.9)
    found, layout = features(sample), features.layout
    assert (layout.picture, layout.size, layout.discount) == ((8, 8, 3), 2 * 192 + 4 + 1, 0.9)
    for part, seen in [(layout.state, sample.observations), (layout.next_state, sample.next_observations)]:
        torch.testing.assert_close(found[..., part].unflatten(-1, layout.picture), seen.float() / 255)


# -- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [STATE, PICTURE], ids=["vector", "picture"])
@pytest.mark.parametrize("kind", [TransitionNetwork, ShapedNetwork])
@pytest.mark.parametrize("absorbing", [False, True])
def test_networks_score_each_step_by_itself(state: gym.spaces.Box, kind: type[nn.Module], absorbing: bool) -> None:
    """(batch, time, size) -> (batch, time), the same as step by step, and every input of a step matters."""
    torch.manual_seed(0)
    features = Features(state, CHOICES, None, INPUTS, absorbing, discount=0.9)
    network, rows = kind(features.layout), features(steps(state))
    logits = network(rows)
    assert logits.shape == (4, 5)
    torch.testing.assert_close(network(rows[1:2, 3:4]).squeeze(), logits[1, 3])
    flowing = rows.clone().requires_grad_()
    network(flowing).sum().backward()
    going_on = rows[..., features.layout.ended].squeeze(-1) == 0
    for part in (features.layout.state, features.layout.action, features.layout.next_state, features.layout.ended):
        assert (flowing.grad[going_on][:, part].abs().sum(1) > 0).all()
        if absorbing:  # whether a state is
            assert (flowing.grad[going_on][:, part.stop - 1] != 0).all()


def shaped(discount: float = 0.9) -> tuple[ShapedNetwork, Layout]:
    torch.manual_seed(0)
    layout = Features(STATE, CHOICES, None, INPUTS, discount=discount).layout
    return ShapedNetwork(layout, (16,), (8, 8)).double(), layout


def potential(network: ShapedNetwork, states: Tensor) -> Tensor:
    """h, by its layers."""
    return network.potential.output(network.potential.body(states)).squeeze(-1)


def worth(network: ShapedNetwork, rows: Tensor, layout: Layout) -> Tensor:
    """g, by its layers."""
    seen = torch.cat([rows[..., layout.state], rows[..., layout.action]], dim=-1)
    return network.reward.output(network.reward.body(seen)).squeeze(-1)


def test_shaped_network_is_its_equation() -> None:
    """f = g(s, a) + discount * h(s') - h(s), where h(s') is 0 after a termination, whatever s' is."""
    network, layout = shaped(0.9)
    rows = torch.randn(6, 5, layout.size, dtype=torch.float64)
    rows[..., layout.ended] = (torch.rand(6, 5, 1) < 0.4).double()
    following = potential(network, rows[..., layout.next_state]) * (1 - rows[..., layout.ended.start])
    expected = worth(network, rows, layout) + 0.9 * following - potential(network, rows[..., layout.state])
    torch.testing.assert_close(network(rows), expected)
    over = rows[..., layout.ended.start] == 1
    other = rows.clone()
    other[..., layout.next_state] += 100
    changed = network(other) != network(rows)
    assert changed.equal(~over)


@pytest.mark.parametrize("terminated", [True, False])
def test_shaping_telescopes(terminated: bool) -> None:
    """The discounted sum of f - g over an episode is -h(s_0), and discount^T h(s_T) more where it was only cut."""
    discount, length = 0.9, 12
    network, layout = shaped(discount)
    states = torch.randn(length + 1, 3, dtype=torch.float64)
    rows = torch.zeros(length, layout.size, dtype=torch.float64)
    rows[:, layout.state], rows[:, layout.next_state] = states[:-1], states[1:]
    rows[:, layout.action] = torch.eye(4, dtype=torch.float64)[torch.randint(4, (length,))]
    rows[-1, layout.ended] = float(terminated)
    found = ((network(rows) - worth(network, rows, layout)) * discount ** torch.arange(length)).sum()
    heights = potential(network, states)
    expected = -heights[0] + (0 if terminated else discount**length * heights[-1])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("log_prob", [True, False])
def test_logit_of_airl(name: str, log_prob: bool, engine: Engine) -> None:
    """f - log pi of the actions that were executed; without the option f itself."""
    critic = DiscriminatorConfig(ShapedNetwork, objectives.airl, [*INPUTS], log_prob=log_prob)
    config = ImitationConfig(
        environment=EnvironmentConfig(name, copies=2), discriminator=critic, policy=PolicyConfig(steps=6)
    )
    game = Game(engine, config, make(config.environment), None, "")
    with torch.no_grad():
        game.actor.output.weight.mul_(100)
        sample = in_single_steps(game.policy.sample(steps()))
        parameters = game.actor(sample.observations, game.actor.start(size(sample)), sample.ended)
        f = game.discriminator.learner.network(game.features(sample))
        found = game.discriminator.score(sample)
    if name == "CartPole-v1":
        surprise = -distributions.Categorical(logits=parameters).log_prob(sample.actions)
    else:
        mean, log_std = parameters.chunk(2, -1)
        # in halves of the bounds, which are 2
        surprise = -distributions.Normal(mean, log_std.exp()).log_prob(sample.actions / 2).sum(-1)
    assert surprise.std() > 0.01
    torch.testing.assert_close(found, f + log_prob * surprise)


@pytest.mark.parametrize("missing", ["state", "next_state", "ended"])
def test_shaped_network_says_what_it_misses(missing: str) -> None:
    """By the name of the input."""
    layout = Features(STATE, CHOICES, None, [name for name in INPUTS if name != missing]).layout
    with pytest.raises(ValueError, match=f"needs {missing} among"):
        ShapedNetwork(layout)


def test_shaped_network_of_states_alone() -> None:
    """Without the action among the inputs, g is a reward of the state: what transfers (Fu et al. 2018, sec. 5)."""
    layout = Features(STATE, CHOICES, None, ["state", "next_state", "ended"]).layout
    assert ShapedNetwork(layout)(torch.randn(2, 3, layout.size)).shape == (2, 3)


@pytest.mark.parametrize("state", [STATE, PICTURE], ids=["vector", "picture"])
def test_spectral_norm(state: gym.spaces.Box) -> None:
    """Each layer's greatest singular value is 1, so that no input moves the logit further than itself."""
    torch.manual_seed(0)
    features = Features(state, CHOICES, None, ["state", "action"])
    network, rows = TransitionNetwork(features.layout, (16, 16), spectral_norm=True), features(steps(state))
    for _ in range(300):  # each forward pass in training refines the estimate of the singular vectors
        network(rows)
    network.eval()
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    assert len(layers) == (3 if state is STATE else 7)
    for layer in layers:
        torch.testing.assert_close(
            torch.linalg.svdvals(layer.weight.flatten(1))[0], torch.tensor(1.0), rtol=1e-3, atol=0
        )
    if state is STATE:
        near = rows + torch.randn_like(rows)
        assert ((network(near) - network(rows)).abs() <= (near - rows).norm(dim=-1)).all()


# -- objectives and regularisers --------------------------------------------------------------------------------------


def test_signs_of_the_rewards() -> None:
    """Staying alive pays with minimax, costs with non-saturating, and may do either with airl; more real pays more."""
    logits = torch.linspace(-8, 8, 101).double()
    positive, negative, either = (
        make().reward(logits) for make in (objectives.minimax, objectives.non_saturating, objectives.airl)
    )
    assert (positive > 0).all()
    assert (negative < 0).all()
    assert either.min() < 0 < either.max()
    torch.testing.assert_close(positive + negative, either)
    assert all((reward.diff() > 0).all() for reward in (positive, negative, either))


def test_entropy_of_the_verdicts() -> None:
    """Torch's Bernoulli entropy, greatest at logit 0; subtracted from the loss by its weight, rewards as they were."""
    real, fake = torch.linspace(-6, 6, 40).double(), torch.linspace(-2, 3, 25).double()
    entropies = [distributions.Bernoulli(logits=logits).entropy() for logits in (real, fake)]
    torch.testing.assert_close(objectives.bernoulli_entropy(real), entropies[0])
    plain = objectives.minimax()
    kept = objectives.with_entropy(plain, 0.3)
    expected = plain.loss(real, fake) - 0.3 * (entropies[0].mean() + entropies[1].mean()) / 2
    torch.testing.assert_close(kept.loss(real, fake), expected)
    assert kept.reward(real).equal(plain.reward(real))
    extreme = torch.tensor([-1e4, 0.0, 1e4], requires_grad=True)
    (gradient,) = torch.autograd.grad(objectives.bernoulli_entropy(extreme).sum(), extreme)
    assert objectives.bernoulli_entropy(extreme).tolist() == pytest.approx([0, np.log(2), 0])
    assert gradient.tolist() == [0, 0, 0]


@pytest.mark.parametrize("norm", [0.0, 1.0])
@pytest.mark.parametrize("rows", [(4, 4), (2, 6), (6, 2)])
def test_penalty_of_a_linear_network(norm: float, rows: tuple[int, int]) -> None:
    """weight * (|w| - norm)^2, whatever the samples and however many of each; its gradient reaches the weights."""
    torch.manual_seed(0)
    features = Features(STATE, CHOICES, normaliser((3,)), ["state", "action"])
    network = nn.Sequential(nn.Linear(features.layout.size, 1), nn.Flatten(0))
    real, fake = (steps(batch=count) for count in rows)
    found = penalty(features, 2.5, norm)(network, real, fake)
    length = network[0].weight.norm()
    torch.testing.assert_close(found, 2.5 * (length - norm) ** 2)
    (slope,) = torch.autograd.grad(found, network[0].weight)
    torch.testing.assert_close(slope, 5 * (length - norm) * network[0].weight / length)


def test_penalty_looks_between_the_players() -> None:
    """At features between those of a demonstration and of a step of the policy, paired at random if one has more."""
    features, seen = Features(STATE, CHOICES, None, ["state"]), []

    class Spy(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            seen.append(rows.detach())
            return rows.sum(-1)

    real, fake = steps(batch=2), steps(batch=50)
    real = replace(real, observations=torch.zeros_like(real.observations))
    fake = replace(fake, observations=torch.arange(50.0).view(50, 1, 1).expand(50, 5, 3).contiguous() + 1)
    penalty(features, 1.0, 1.0)(Spy(), real, fake)
    assert seen[0].shape == (10, 3)
    assert (seen[0] > 0).all()
    assert (seen[0].max(1).values == seen[0].min(1).values).all()
    assert (seen[0] < 51).all()


def test_absorbing_share_of_a_replay() -> None:
    """As many steps as before; those that stand for the time after an end are their share of all, spread at random."""
    torch.manual_seed(0)
    sample = steps(batch=80)
    single = Transitions(
        **{name: getattr(sample, name).flatten(0, 1).unsqueeze(1) for name in Transitions.__dataclass_fields__}
    )
    single = replace(single, mask=torch.ones(400, 1, dtype=torch.bool))
    for left in (0, 100, 400, 1200):
        found = end_in_absorbing(single, left)
        gone = ~found.mask.squeeze(1)
        assert gone.sum().item() == round(400 * left / (400 + left))
        assert found.observations.equal(single.observations)
        if left:
            assert abs(gone.nonzero().float().mean() - 199.5) < 60
    assert single.mask.all()
