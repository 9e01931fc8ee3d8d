"""Distributions over actions against torch's own, and densities against what they must integrate to."""

from __future__ import annotations

import itertools
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, distributions

from seqgan_kit.networks.policies.actions import Choices, Continuous, from_space

ONE, SEVERAL = Choices((4,), True), Choices((2, 3, 4), False)
CLIPPED = Continuous((-1.0, -0.5, -math.inf), (1.0, 2.0, math.inf), (3,))
GRID = Continuous((-1.0, 0.0, -2.0, -4.0), (1.0, 3.0, 0.5, 4.0), (2, 2))
SQUASHED = Continuous((-1.0, 0.0, -4.0), (1.0, 3.0, 0.5), (3,), squash=True)
EVERY = [ONE, SEVERAL, CLIPPED, GRID, SQUASHED]
GAUSSIAN = [CLIPPED, GRID]
every = pytest.mark.parametrize("actions", EVERY, ids=["one", "several", "clipped", "grid", "squashed"])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def categoricals(actions: Choices, parameters: Tensor) -> list[distributions.Categorical]:
    bounds = np.cumsum([0, *actions.sizes])
    return [distributions.Categorical(logits=parameters[..., a:b]) for a, b in itertools.pairwise(bounds)]


def gaussian(actions: Continuous, parameters: Tensor) -> distributions.Independent:
    """Over flat actions."""
    count = len(actions.low)
    return distributions.Independent(distributions.Normal(parameters[..., :count], parameters[..., count:].exp()), 1)


def executed(actions: Continuous, parameters: Tensor) -> distributions.TransformedDistribution:
    """Of squashed actions, over what the environment gets."""
    low, high = torch.tensor(actions.low).double(), torch.tensor(actions.high).double()
    affine = distributions.AffineTransform((low + high) / 2, (high - low) / 2, event_dim=1)
    return distributions.TransformedDistribution(gaussian(actions, parameters), [distributions.TanhTransform(), affine])


def drawn(actions: Choices | Continuous, parameters: Tensor) -> Tensor:
    """One action for each distribution, whatever the batch dimensions."""
    torch.manual_seed(0)
    return actions.draw(parameters, actions.noise(*parameters.shape[:-1]))


# -- densities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(6,), (3, 5)])
def test_log_prob_of_choices(batch: tuple[int, ...]) -> None:
    """The sum of torch's Categorical over the components."""
    for actions in (ONE, SEVERAL):
        parameters = 2 * random(*batch, actions.size)
        chosen = drawn(actions, parameters)
        parts = [chosen] if actions.single else chosen.unbind(-1)
        references = categoricals(actions, parameters)
        expected = sum(one.log_prob(part) for one, part in zip(references, parts, strict=True))
        torch.testing.assert_close(actions.log_prob(parameters, chosen), expected)
        assert chosen.shape == batch + (() if actions.single else (3,))


@pytest.mark.parametrize("actions", GAUSSIAN)
@pytest.mark.parametrize("batch", [(6,), (3, 5)])
def test_log_prob_of_a_box_is_the_density_of_what_was_drawn(actions: Continuous, batch: tuple[int, ...]) -> None:
    """Torch's Normal at the action before it is clipped, which many of these are."""
    parameters = random(*batch, actions.size)
    chosen = drawn(actions, parameters)
    assert chosen.shape == (*batch, *actions.shape)
    assert (actions.execute(chosen) != chosen).float().mean() > 0.1
    flat = chosen.reshape(*batch, -1)
    torch.testing.assert_close(actions.log_prob(parameters, chosen), gaussian(actions, parameters).log_prob(flat))


def test_log_prob_of_a_squashed_box() -> None:
    """Torch's Normal, transformed by tanh and to the bounds, at what the environment gets."""
    parameters = random(50, SQUASHED.size) / 2
    chosen = drawn(SQUASHED, parameters)
    expected = executed(SQUASHED, parameters).log_prob(SQUASHED.execute(chosen).double())
    # the bounds are float32
    torch.testing.assert_close(SQUASHED.log_prob(parameters, chosen), expected, rtol=1e-6, atol=1e-6)


def test_squashed_log_prob_far_out() -> None:
    """Where tanh is 1 in floating point, the log-density is still that of the exact slope, and finite."""
    actions = Continuous((-1.0,), (1.0,), (1,), squash=True)
    far = torch.tensor([[-60.0], [-20.0], [20.0], [60.0]], dtype=torch.float64)
    parameters = torch.tensor([0.0, 3.0], dtype=torch.float64).expand(4, 2)
    slope = [math.log(4) - 2 * abs(x) for x in far.flatten().tolist()]  # of 1 - tanh^2, which is 4 exp(-2 |x|) there
    expected = stats.norm.logpdf(far.flatten().numpy(), 0, math.exp(3)) - slope
    torch.testing.assert_close(actions.log_prob(parameters, far), torch.tensor(expected))
    assert actions.log_prob(parameters.float(), far.float()).isfinite().all()


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.7, -0.5), (-0.4, -1.5)])
def test_squashed_density_is_one_over_the_bounds(mean: float, log_std: float) -> None:
    """Up to any point it integrates, by the midpoint rule, to the probability that the Gaussian gives its inverse."""
    low, high, count = -1.0, 3.0, 200_000
    actions = Continuous((low,), (high,), (1,), squash=True)
    middles = low + (high - low) * (torch.arange(count, dtype=torch.float64) + 0.5) / count
    parameters = torch.tensor([mean, log_std], dtype=torch.float64).expand(count, 2)
    density = actions.log_prob(parameters, actions.recover(middles.unsqueeze(1))).exp()
    below = density.cumsum(0) * (high - low) / count
    assert below[-1].item() == pytest.approx(1, abs=1e-3)  # recover moves what is nearer than 1e-4 to a bound
    for share in (0.1, 0.5, 0.9):
        at = int(share * count)
        point = np.arctanh(2 * at / count - 1)
        assert below[at - 1].item() == pytest.approx(stats.norm.cdf(point, mean, math.exp(log_std)), abs=1e-4)


@every
def test_entropy_and_divergence(actions: Choices | Continuous) -> None:
    """Torch's, for every batch shape; tanh is one to one, so it leaves the divergence as it is."""
    for batch in [(6,), (3, 5)]:
        old, new = random(*batch, actions.size), random(*batch, actions.size, seed=1)
        if isinstance(actions, Choices):
            pairs = zip(categoricals(actions, old), categoricals(actions, new), strict=True)
            divergence = sum(distributions.kl_divergence(a, b) for a, b in pairs)
            entropy = sum(one.entropy() for one in categoricals(actions, old))
        else:
            divergence = distributions.kl_divergence(gaussian(actions, old), gaussian(actions, new))
            entropy = gaussian(actions, old).entropy()
        torch.testing.assert_close(actions.divergence(old, new), divergence)
        torch.testing.assert_close(actions.entropy(old), entropy)
        assert actions.divergence(old, old).abs().max() < 1e-12


@every
def test_divergence_is_the_mean_of_the_log_ratio(actions: Choices | Continuous) -> None:
    """Under the old distribution, within 5 standard errors: the executed density's too, where it is squashed."""
    old, new = (random(1, actions.size, seed=i).expand(20_000, -1) / 2 for i in range(2))
    chosen = drawn(actions, old)
    ratio = actions.log_prob(old, chosen) - actions.log_prob(new, chosen)
    assert abs(ratio.mean() - actions.divergence(old, new)[0]) < 5 * ratio.std() / len(ratio) ** 0.5


# -- draws ------------------------------------------------------------------------------------------------------------


def test_draws_of_choices() -> None:
    """Joint frequencies of the components fit the product of their softmaxes; each row has its own distribution."""
    count = 20_000
    parameters = random(2, SEVERAL.size).repeat_interleave(count, 0)
    chosen = drawn(SEVERAL, parameters).view(2, count, 3)
    for row in range(2):
        parts = [one.probs[row * count] for one in categoricals(SEVERAL, parameters)]
        joint = torch.einsum("a,b,c->abc", *parts).flatten()
        cells = chosen[row] @ torch.tensor([12, 4, 1])
        assert stats.chisquare(cells.bincount(minlength=24), joint * count).pvalue > 1e-3
    single = drawn(ONE, random(1, 4).expand(count, 4))
    assert stats.chisquare(single.bincount(minlength=4), random(1, 4).softmax(1)[0] * count).pvalue > 1e-3


@pytest.mark.parametrize("actions", [*GAUSSIAN, SQUASHED])
def test_draws_of_a_box(actions: Continuous) -> None:
    """Each component is normal with its mean and deviation, and they do not move together."""
    parameters = random(1, actions.size).expand(10_000, -1)
    chosen = drawn(actions, parameters).flatten(1)
    count = chosen.shape[1]
    standard = (chosen - parameters[:, :count]) / parameters[:, count:].exp()
    for component in standard.T:
        assert stats.kstest(component.numpy(), "norm").pvalue > 1e-3
    correlation = torch.corrcoef(standard.T) - torch.eye(count)
    assert correlation.abs().max() < 5 / len(chosen) ** 0.5


@every
def test_mode_is_the_likeliest(actions: Choices | Continuous) -> None:
    """No draw is likelier than the greedy action, before squashing; it has a draw's shape and type."""
    parameters = random(5, actions.size)
    mode = actions.mode(parameters)
    before = Continuous(actions.low, actions.high, actions.shape) if isinstance(actions, Continuous) else actions
    for seed in range(50):
        torch.manual_seed(seed)
        other = actions.draw(parameters, actions.noise(5))
        assert (other.shape, other.dtype) == (mode.shape, mode.dtype)
        assert (before.log_prob(parameters, other) <= before.log_prob(parameters, mode)).all()
    assert actions.mode(parameters.view(5, 1, -1)).squeeze(1).equal(mode)


# -- what is executed, and what a network sees of it -------------------------------------------------------------------


@pytest.mark.parametrize("actions", [ONE, SEVERAL])
def test_choices_are_executed_as_they_are(actions: Choices) -> None:
    """And recovered so."""
    chosen = drawn(actions, random(6, actions.size))
    assert actions.execute(chosen).equal(chosen)
    assert actions.recover(chosen).equal(chosen)
    assert chosen.dtype == torch.int64


@pytest.mark.parametrize("actions", GAUSSIAN)
def test_clipping_equals_numpy(actions: Continuous) -> None:
    """Infinite bounds clip nothing, and a demonstrated action is taken as if drawn so."""
    chosen = 3 * random(40, *actions.shape).float()
    bounds = [np.array(bound, np.float32).reshape(actions.shape) for bound in (actions.low, actions.high)]
    np.testing.assert_array_equal(actions.execute(chosen).numpy(), np.clip(chosen.numpy(), *bounds))
    assert actions.recover(chosen).equal(chosen)
    together = actions.execute(chosen.view(8, 5, *actions.shape))
    assert together.equal(actions.execute(chosen).view(8, 5, *actions.shape))


def test_squashing_and_its_inverse() -> None:
    """Executed actions lie within the bounds, at the middle for 0, and are recovered; even at a bound it is finite."""
    low, high = torch.tensor(SQUASHED.low).double(), torch.tensor(SQUASHED.high).double()
    chosen = random(100, 3)
    done = SQUASHED.execute(chosen)
    assert ((done > low) & (done < high)).all()
    torch.testing.assert_close(SQUASHED.recover(done), chosen, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(done, (low + high) / 2 + (high - low) / 2 * torch.from_numpy(np.tanh(chosen.numpy())))
    torch.testing.assert_close(SQUASHED.execute(torch.zeros(3).double()), (low + high) / 2)
    assert SQUASHED.recover(torch.stack([low, high, high + 1])).isfinite().all()


def test_features_of_choices() -> None:
    """One-hot, component after component."""
    chosen = torch.tensor([[[1, 2, 0], [0, 1, 3]]])
    rows = [np.concatenate([np.eye(n)[i] for n, i in zip((2, 3, 4), row, strict=True)]) for row in chosen[0].tolist()]
    np.testing.assert_array_equal(SEVERAL.features(chosen).numpy(), np.array([rows]))
    np.testing.assert_array_equal(ONE.features(torch.tensor([3, 0])).numpy(), np.eye(4)[[3, 0]])


def test_features_of_a_box() -> None:
    """The bounds become -1 and 1; a component without both, or with one point between them, is not scaled."""
    low, high = (torch.tensor(bound).view(2, 2) for bound in (GRID.low, GRID.high))
    ends = torch.stack([low, (low + high) / 2, high])
    torch.testing.assert_close(GRID.features(ends), torch.tensor([-1.0, 0.0, 1.0]).view(3, 1).expand(3, 4))
    half = Continuous((-math.inf, 0.0, -math.inf), (math.inf, math.inf, 2.0), (3,))
    values = torch.tensor([[5.0, 6.0, -7.0]])
    assert half.features(values).equal(values)
    point = Continuous((1.0, -1.0), (1.0, 1.0), (2,))
    assert point.features(torch.ones(1, 2)).equal(torch.ones(1, 2))


# -- spaces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "squash", "expected"),
    [
        (gym.spaces.Discrete(3), False, Choices((3,), True)),
        (gym.spaces.MultiDiscrete([2, 5]), False, Choices((2, 5), False)),
        (gym.spaces.Discrete(3, start=1), False, Choices((3,), True, (1,))),
        (gym.spaces.MultiDiscrete([3, 4], start=[0, 2]), False, Choices((3, 4), False, (0, 2))),
        (gym.spaces.MultiDiscrete([[3, 4], [2, 5]]), False, Choices((3, 4, 2, 5), False, (), (2, 2))),
        (gym.spaces.MultiBinary(2), False, Choices((2, 2), False)),
        (gym.spaces.MultiBinary((2, 1)), False, Choices((2, 2), False, (), (2, 1))),
        (gym.spaces.Box(0, 5, (2,), dtype=np.int64), False, Choices((6, 6), False)),
        (
            gym.spaces.Box(np.array([[-1, 2]]), np.array([[1, 9]]), dtype=np.int32),
            False,
            Choices((3, 8), False, (-1, 2), (1, 2)),
        ),
        (gym.spaces.Box(-1, 1, (2,)), False, Continuous((-1.0, -1.0), (1.0, 1.0), (2,))),
        (
            gym.spaces.Box(-2, 1, (2,)),
            False,
            Continuous((-2.0, -2.0), (1.0, 1.0), (2,), False, (-0.5, -0.5), (1.5, 1.5)),
        ),
        (
            gym.spaces.Box(-2, 1, (2,)),
            True,
            Continuous((-2.0, -2.0), (1.0, 1.0), (2,), True, (-0.5, -0.5), (1.5, 1.5)),
        ),
        (
            gym.spaces.Box(np.array([[0.0, -math.inf]]), np.array([[1.0, math.inf]]), dtype=np.float64),
            False,
            Continuous((0.0, -math.inf), (1.0, math.inf), (1, 2), False, (0.5, 0.0), (0.5, 1.0)),
        ),
    ],
)
def test_actions_of_a_space(space: gym.Space, squash: bool, expected: Choices | Continuous) -> None:
    """What is drawn and executed lies in the space; what the space samples has a probability and features."""
    actions = from_space(space, squash)
    assert actions == expected
    done = actions.execute(drawn(actions, 2 * random(50, actions.size).float()))
    kind = space.dtype.type
    assert all(space.contains(kind(one) if one.ndim == 0 else one.astype(kind)) for one in done.numpy())
    space.seed(0)
    samples = torch.from_numpy(np.stack([space.sample() for _ in range(20)]))
    parameters = random(20, actions.size)
    assert actions.log_prob(parameters, actions.recover(samples)).isfinite().all()
    assert actions.features(samples).isfinite().all()
    assert actions.features(samples).shape == (20, sum(getattr(actions, "sizes", (len(samples[0].flatten()),))))


@pytest.mark.parametrize(
    ("space", "squash", "told"),
    [
        (gym.spaces.Box(-(2**31), 2**31 - 1, (2,), dtype=np.int32), False, "4294967296 integers to choose from"),
        (gym.spaces.Box(-(2**63), 2**63 - 1, (2,), dtype=np.int64), False, "integers to choose from, more than 1024"),
        (gym.spaces.Box(0, 1, ()), False, "or a wrapper"),
        (gym.spaces.Box(-math.inf, 1, (2,)), True, "no finite bounds"),
        (gym.spaces.Box(np.zeros(2), np.array([1.0, 0.0]), dtype=np.float64), True, "apart from each other"),
        (gym.spaces.Dict(a=gym.spaces.Discrete(2)), False, "use Discrete"),
    ],
)
def test_spaces_that_have_no_distribution(space: gym.Space, squash: bool, told: str) -> None:
    """Are refused by name, rather than acted in wrongly."""
    with pytest.raises(ValueError, match=told):
        from_space(space, squash)


# -- units ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize(("low", "high"), [(-0.01, 0.01), (-1000.0, 1000.0), (500.0, 1500.0), (-2.0, 1.0)])
def test_actions_are_drawn_in_the_unit_of_their_bounds(low: float, high: float, squash: bool) -> None:
    """The same parameters and noise execute the same share of any bounds, as likely as with bounds of -1 and 1."""
    own = from_space(gym.spaces.Box(low, high, (3,), np.float64), squash)
    unit = from_space(gym.spaces.Box(-1, 1, (3,)), squash)
    parameters, noise = random(200, 6).float(), random(200, 3, seed=1).float()
    found, expected = own.draw(parameters, noise), unit.draw(parameters, noise)
    assert found.equal(expected)
    middle, half = (high + low) / 2, (high - low) / 2
    torch.testing.assert_close((own.execute(found) - middle) / half, unit.execute(expected), rtol=0, atol=1e-5)
    assert ((own.execute(found) >= low) & (own.execute(found) <= high)).all()
    share = torch.linspace(-0.9, 0.9, 200).unsqueeze(-1).expand(-1, 3)
    again = own.recover(middle + half * share)
    torch.testing.assert_close(again, unit.recover(share), rtol=0, atol=1e-3)
    torch.testing.assert_close(own.log_prob(parameters, again), unit.log_prob(parameters, again))
    torch.testing.assert_close(own.features(middle + half * share), share, rtol=0, atol=1e-4)


def test_actions_without_bounds_are_drawn_in_the_unit_of_the_demonstrations() -> None:
    """Mean and two deviations of each component that has no bounds, or those that stand for none; else its own."""
    most = np.finfo(np.float32).max
    space = gym.spaces.Box(np.array([-np.inf, -most, 0, -np.inf]), np.array([np.inf, most, 10, 3]), dtype=np.float64)
    shown = np.array([[300.0, -2, 1, 5], [500, -2, 2, 5], [700, -2, 3, 7], [100, -2, 4, 7]])
    actions = from_space(space, shown=shown)
    assert isinstance(actions, Continuous)
    np.testing.assert_allclose(actions.middle, [400, -2, 5, 6])
    np.testing.assert_allclose(actions.half, [2 * shown[:, 0].std(), 1, 5, 2])
    assert from_space(space).middle == (0, 0, 5, 0)
    assert from_space(space).half == (1, 1, 5, 1)


def test_integers_are_chosen_from_where_they_start() -> None:
    """What is executed lies in the space; its recovered form counts from 0, in one row, and is what was drawn."""
    actions = from_space(gym.spaces.MultiDiscrete([[2, 3], [4, 2]], start=[[1, 0], [-2, 5]]))
    chosen = torch.tensor([[0, 2, 3, 1], [1, 0, 0, 0]])
    done = actions.execute(chosen)
    assert done.tolist() == [[[1, 2], [1, 6]], [[2, 0], [-2, 5]]]
    assert actions.recover(done).equal(chosen)
    assert actions.features(done)[0].tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1]
    one = from_space(gym.spaces.Discrete(3, start=5))
    assert one.execute(torch.tensor([0, 2])).tolist() == [5, 7]
    assert one.features(torch.tensor([7])).tolist() == [[0, 0, 1]]
