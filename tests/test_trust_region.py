"""The natural step against full Hessians, linear solvers and closed forms, and its line search case by case."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, distributions, nn
from torch.func import functional_call

from seqgan_kit.algorithms import trust_region
from seqgan_kit.algorithms.trust_region import Accepted
from seqgan_kit.engine.engine import Engine
from seqgan_kit.imitation.improvement import TRPO, Experience
from seqgan_kit.networks.policies.actions import Choices, Continuous
from seqgan_kit.networks.policies.actor import Actor, ActorConfig

NAN = math.nan


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive_definite(n: int, seed: int = 0) -> Tensor:
    """Eigenvalues between 0.5 and 3, so that rounding does not matter."""
    basis, _ = torch.linalg.qr(random(n, n, seed=seed))
    return basis @ torch.linspace(0.5, 3, n, dtype=torch.float64).diag() @ basis.T


@pytest.mark.parametrize(
    "actions", [Choices((4,), True), Choices((2, 2), False), Continuous((-1,) * 2, (1,) * 2, (2,))]
)
@pytest.mark.parametrize("same", [True, False])
def test_hessian_product_equals_the_hessian(actions: Choices | Continuous, same: bool) -> None:
    """Of a network's mean KL divergence, at its old parameters and away from them, damping included."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 4)).double()
    inputs = random(7, 3)
    old = network(inputs).detach() + (0 if same else random(7, 4, seed=1))
    parameters = [*network.parameters()]

    def divergence(vector: Tensor) -> Tensor:
        parts = vector.split([p.numel() for p in parameters])
        named = {name: part.view_as(p) for (name, p), part in zip(network.named_parameters(), parts, strict=True)}
        return actions.divergence(old, functional_call(network, named, inputs)).mean()

    vector = torch.cat([p.detach().flatten() for p in parameters])
    hessian = torch.autograd.functional.hessian(divergence, vector)
    value = actions.divergence(old, network(inputs)).mean()
    product = trust_region.hessian_product(value, parameters, damping=0.3)
    directions = random(len(vector), len(vector), seed=2)
    found = torch.stack([product(direction) for direction in directions])
    torch.testing.assert_close(found, directions @ hessian + 0.3 * directions)
    assert hessian.abs().max() > 0.1


def test_hessian_product_where_nothing_depends_on_a_parameter() -> None:
    """The rows of a parameter that the value does not depend on, or only linearly, hold the damping alone."""
    used, linear, unused = (random(2, seed=i).requires_grad_() for i in range(3))
    product = trust_region.hessian_product(used.pow(3).sum() + linear.sum(), [used, linear, unused], damping=0.1)
    vector = random(6, seed=4)
    curved = torch.cat([6 * used.detach(), torch.zeros(4, dtype=torch.float64)])
    torch.testing.assert_close(product(vector), curved * vector + 0.1 * vector)
    flat = trust_region.hessian_product(linear.sum(), [used, linear, unused], damping=0.1)
    torch.testing.assert_close(flat(vector), 0.1 * vector)


@pytest.mark.parametrize("n", [1, 2, 20])
def test_conjugate_gradient_solves(n: int) -> None:
    """After as many iterations as dimensions it equals a direct solver, and the target is left alone."""
    matrix, target = positive_definite(n), random(n, seed=1)
    kept = target.clone()
    found = trust_region.conjugate_gradient(matrix.matmul, target, n, tolerance=0.0)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, target))
    assert target.equal(kept)


def test_conjugate_gradient_needs_as_many_iterations_as_eigenvalues() -> None:
    """With two distinct eigenvalues two are enough, one is not, and then it stops by itself."""
    basis, _ = torch.linalg.qr(random(8, 8))
    matrix = basis @ torch.tensor([1.0] * 3 + [4.0] * 5, dtype=torch.float64).diag() @ basis.T
    target, calls = random(8, seed=1), []

    def product(vector: Tensor) -> Tensor:
        calls.append(vector)
        return matrix @ vector

    exact = torch.linalg.solve(matrix, target)
    assert (trust_region.conjugate_gradient(product, target, 1) - exact).norm() > 0.1
    torch.testing.assert_close(trust_region.conjugate_gradient(product, target, 2), exact)
    calls.clear()
    torch.testing.assert_close(trust_region.conjugate_gradient(product, target, 100), exact)
    assert len(calls) == 2


def test_natural_step_on_a_quadratic() -> None:
    """It is -sqrt(2 d / (g A^-1 g)) A^-1 g, of divergence d, and no other step of that divergence goes further down."""
    matrix, gradient, divergence = positive_definite(6), random(6, seed=1), 0.07
    step = trust_region.natural_step(matrix.matmul, gradient, divergence, 20)
    solved = torch.linalg.solve(matrix, gradient)
    torch.testing.assert_close(step, -(2 * divergence / gradient.dot(solved)).sqrt() * solved)
    assert (step @ matrix @ step / 2).item() == pytest.approx(divergence)
    others = random(1000, 6, seed=2)
    others *= (2 * divergence / torch.einsum("ni,ij,nj->n", others, matrix, others)).sqrt().unsqueeze(1)
    assert (others @ gradient > step @ gradient).all()


@pytest.mark.parametrize(
    ("matrix", "gradient"),
    [
        (torch.eye(2), [0.0, 0.0]),
        (-torch.eye(2), [1.0, 2.0]),
        (torch.eye(2), [NAN, 1.0]),
        (NAN * torch.eye(2), [1.0, 2.0]),
    ],
    ids=["no gradient", "curved the wrong way", "gradient is NaN", "curvature is NaN"],
)
def test_natural_step_into_nowhere_is_none(matrix: Tensor, gradient: list[float]) -> None:
    """Where there is no way down, or the numbers are broken, the step is exactly 0."""
    assert trust_region.natural_step(matrix.matmul, torch.tensor(gradient), 0.01, 10).tolist() == [0.0, 0.0]


class Path:
    """Parameters that a line search moves along a step, with a loss and a divergence at each fraction of it."""

    def __init__(self, loss: Callable[[float], float], divergence: Callable[[float], float] = lambda _: 0.0) -> None:
        self.loss, self.divergence = loss, divergence
        self.parameters = [random(2, 3), random(4, seed=1), random(1, seed=2).squeeze()]
        self.start = trust_region.flatten(self.parameters)
        self.step = random(11, seed=3)
        self.tried: list[float] = []

    def move(self, fraction: float) -> tuple[float, float]:
        self.tried.append(fraction)
        trust_region.assign(self.parameters, self.start + fraction * self.step)
        return self.loss(fraction), self.divergence(fraction)

    def search(self, slope: float = -1.0, limit: float = 1.0, halvings: int = 10, share: float = 0.1) -> Accepted:
        return trust_region.line_search(self.move, slope, self.loss(0.0), limit, halvings, share)

    def at(self, fraction: float) -> bool:
        return trust_region.flatten(self.parameters).equal(self.start + fraction * self.step)


def test_line_search_takes_the_full_step() -> None:
    """A loss that falls as its slope promised is taken at once."""
    path = Path(lambda f: 5 - f, lambda f: f / 2)
    assert path.search() == Accepted(1.0, 4.0, 0.5)
    assert path.tried == [1.0]
    assert path.at(1.0)


def test_line_search_halves_until_the_loss_falls() -> None:
    """5 - f + 3 f^2 lies above 5 at 1 and at 1/2, and below it at 1/4."""
    path = Path(lambda f: 5 - f + 3 * f**2)
    assert path.search() == Accepted(0.25, 5 - 0.25 + 3 / 16, 0.0)
    assert path.at(0.25)


def test_line_search_halves_until_the_divergence_fits() -> None:
    """4 f^2 is 4, 1 and 1/4: the first that is at most 1 is taken, and the limit itself is allowed."""
    path = Path(lambda f: 5 - f, lambda f: 4 * f**2)
    assert path.search(limit=1.0) == Accepted(0.5, 4.5, 1.0)
    assert path.search(limit=0.99) == Accepted(0.25, 4.75, 0.25)


@pytest.mark.parametrize(
    ("share", "fraction"), [(0.0, 1.0), (0.2, 1.0), (0.3, 0.5), (0.6, 0.5), (0.7, 0.25), (0.85, 0.125)]
)
def test_line_search_wants_its_share_of_the_promise(share: float, fraction: float) -> None:
    """5 - f + 3/4 f^2 falls by 1/4, 5/8, 13/16 and 29/32 of what its slope promises for those steps."""
    assert Path(lambda f: 5 - f + 0.75 * f**2).search(share=share).fraction == fraction


@pytest.mark.parametrize(
    ("loss", "divergence"),
    [
        (lambda f: 5 + f, lambda f: 0.0),
        (lambda f: 5.0, lambda f: 0.0),
        (lambda f: NAN if f else 5.0, lambda f: 0.0),
        (lambda f: 5 - f, lambda f: NAN if f else 0.0),
        (lambda f: 5 - f, lambda f: 2.0),
        (lambda f: math.inf if f else 5.0, lambda f: math.inf if f else 0.0),
    ],
    ids=["worse", "no better", "loss is NaN", "divergence is NaN", "too far", "infinite"],
)
def test_failed_line_search_restores(loss: Callable[[float], float], divergence: Callable[[float], float]) -> None:
    """After all halvings, none good, the parameters are what they were, bit for bit."""
    path = Path(loss, divergence)
    assert path.search(halvings=4) == Accepted(0.0, 5.0, 0.0)
    assert path.tried == [1.0, 0.5, 0.25, 0.125, 0.0]
    assert path.at(0.0)


def test_flatten_and_assign_are_inverse() -> None:
    """Through matrices, scalars and transposed memory, in place, and without a graph."""
    parameters = [nn.Parameter(random(2, 3)), nn.Parameter(random(3, 2).T), nn.Parameter(random(1).squeeze())]
    addresses = [p.data_ptr() for p in parameters]
    wanted = random(13, seed=1)
    trust_region.assign(parameters, wanted)
    assert trust_region.flatten(parameters).equal(wanted)
    assert [p.data_ptr() for p in parameters] == addresses
    assert parameters[0].tolist() == wanted[:6].view(2, 3).tolist()
    assert all(p.grad_fn is None for p in parameters)
    with pytest.raises(RuntimeError):
        trust_region.assign(parameters, random(12))


# -- one TRPO step of a real policy -----------------------------------------------------------------------------------


def actor(kind: str, recurrent: int = 0) -> Actor:
    box = {"low": [-1.0, -2.0], "high": [1.0, 2.0], "action": [2]}
    torch.manual_seed(0)
    return Actor(ActorConfig([3], **({"sizes": [4]} if kind == "choices" else box), hidden=[16], recurrent=recurrent))


def distribution(kind: str, parameters: Tensor) -> distributions.Distribution:
    if kind == "choices":
        return distributions.Categorical(logits=parameters)
    mean, log_std = parameters.chunk(2, -1)
    return distributions.Independent(distributions.Normal(mean, log_std.exp()), 1)


@torch.no_grad()
def experience(network: Actor, rows: int, time: int) -> Experience:
    """Random observations, the network's own actions, and advantages that favour some; not all steps count."""
    memory = network.start(rows)
    observations = torch.randn(rows, time, 3).to(memory.dtype)
    ended, mask = torch.rand(rows, time) < 0.2, torch.rand(rows, time) < 0.9
    parameters = network(observations, memory, ended)
    drawn = network.actions.draw(parameters, network.actions.noise(rows, time))
    wanted = (drawn if drawn.dim() == 2 else drawn[..., 0]) * observations[..., 0]
    advantages = (wanted - wanted[mask].mean()) / wanted[mask].std() * mask
    memories = torch.zeros(rows, time, memory.shape[1])  # after the first, only a value looks at them
    log_probs = network.actions.log_prob(parameters, drawn)
    return Experience(
        observations,
        memories,
        drawn,
        ended,
        mask,
        parameters,
        log_probs,
        advantages,
        torch.zeros_like(advantages),
    )


def measured(kind: str, network: Actor, done: Experience) -> tuple[float, float]:
    """The surrogate, and the mean KL divergence from the old policy, by torch's distributions."""
    with torch.no_grad():
        old = distribution(kind, done.parameters)
        new = distribution(kind, network(done.observations, done.memory, done.ended))
    ratio = (new.log_prob(done.drawn) - old.log_prob(done.drawn)).exp()
    surrogate = (ratio * done.advantages)[done.mask].mean().item()
    return surrogate, distributions.kl_divergence(old, new)[done.mask].mean().item()


@pytest.mark.parametrize("kind", ["choices", "box"])
@pytest.mark.parametrize("recurrent", [0, 5])
@pytest.mark.parametrize("share", [1.0, 0.2])
def test_trpo_improves_within_the_trust_region(kind: str, recurrent: int, share: float, engine: Engine) -> None:
    """The surrogate rises, the KL divergence is near its limit and never beyond 1.5 times it, both as reported."""
    network = actor(kind, recurrent)
    done = experience(network, *((20, 20) if recurrent else (400, 1)))
    before, _ = measured(kind, network, done)
    limit = 0.01
    metrics = TRPO(divergence=limit, share=share)._step(engine, network, done)
    surrogate, divergence = measured(kind, network, done)
    assert surrogate > before + 0.01
    assert 0.2 * limit < divergence <= 1.5 * limit
    assert metrics["surrogate"] == pytest.approx(surrogate - before, rel=1e-3)
    assert metrics["divergence"] == pytest.approx(divergence, rel=1e-3)
    assert metrics["step_fraction"] in (1.0, 0.5)
    entropy = distribution(kind, done.parameters).entropy()[done.mask].mean().item()
    assert metrics["entropy"] == pytest.approx(entropy, rel=1e-4)


def test_trpo_moves_along_the_natural_gradient(engine: Engine) -> None:
    """By -sqrt(2 d / (g A^-1 g)) A^-1 g, A the damped Hessian of torch's KL divergence, g by torch's density."""
    network = actor("choices").double()
    done = experience(network, 40, 1)
    named = {name: p.detach().clone() for name, p in network.named_parameters()}
    start = trust_region.flatten([*named.values()])

    def at(vector: Tensor) -> distributions.Distribution:
        parts = vector.split([p.numel() for p in named.values()])
        weights = {name: part.view_as(p) for (name, p), part in zip(named.items(), parts, strict=True)}
        return distribution("choices", functional_call(network, weights, (done.observations, done.memory, done.ended)))

    old = distribution("choices", done.parameters)

    def loss(vector: Tensor) -> Tensor:
        ratio = (at(vector).log_prob(done.drawn) - old.log_prob(done.drawn)).exp()
        return -(ratio * done.advantages)[done.mask].mean()

    gradient = torch.autograd.functional.jacobian(loss, start)
    fisher = torch.autograd.functional.hessian(
        lambda vector: distributions.kl_divergence(old, at(vector))[done.mask].mean(), start
    )
    solved = torch.linalg.solve(fisher + 0.01 * torch.eye(len(start), dtype=torch.float64), gradient)
    expected = -(2 * 1e-3 / gradient.dot(solved)).sqrt() * solved
    metrics = TRPO(divergence=1e-3, damping=0.01, share=1.0, iterations=200)._step(engine, network, done)
    moved = trust_region.flatten([p.detach() for p in network.parameters()]) - start
    assert metrics["step_fraction"] == 1
    assert expected.abs().max() > 1e-2
    # the conjugate gradient stops at a residual of norm 1e-5
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-5)


def test_trpo_ignores_what_does_not_count(engine: Engine) -> None:
    """Other actions and advantages on padding lead to the same weights."""
    found = []
    for garbage in (0.0, 100.0):
        network = actor("choices")
        torch.manual_seed(1)
        done = experience(network, 50, 1)
        assert not done.mask.all()
        done = dataclasses.replace(
            done,
            advantages=done.advantages + garbage * ~done.mask,
            log_probs=done.log_probs - garbage / 50 * ~done.mask,
        )
        TRPO()._step(engine, network, done)
        found.append(trust_region.flatten([*network.parameters()]))
    torch.testing.assert_close(found[1], found[0])


def test_trpo_that_finds_nothing_better_changes_nothing(engine: Engine) -> None:
    """Where a step must bring a thousand times what it promises, the weights stay as they were, bit for bit."""
    network = actor("box")
    start = trust_region.flatten([p.detach().clone() for p in network.parameters()])
    done = experience(network, 100, 1)
    metrics = TRPO(accept=1000.0)._step(engine, network, done)
    assert trust_region.flatten([*network.parameters()]).equal(start)
    assert (metrics["step_fraction"], metrics["surrogate"], metrics["divergence"]) == (0.0, 0.0, 0.0)
