"""The recipes by hand take the same steps as the product: gradients, weights after likelihood and the first rounds."""

from __future__ import annotations

import ast
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor, nn
from torch.optim import optimizer as optimizers

from seqgan_kit.algorithms import trust_region
from seqgan_kit.cli import main as cli
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.stream import Order

RECIPES = Path(__file__).parents[1] / "recipes"
SEED, BATCH, LENGTH, VOCABULARY, WIDTH, WINDOWS, FILTERS, ROLLOUTS = 3, 8, 5, 7, 6, (2, 3), 5, 20
COPIES, LIMIT, HIDDEN, PAIRS = 4, 15, 8, 20


def recipe(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Steps:
    """Of each step of any optimiser, and of TRPO: the weights before it, its gradient, and the weights after it."""

    def __init__(self) -> None:
        self.before: list[list[Tensor]] = []
        self.gradients: list[list[Tensor]] = []
        self.after: list[list[Tensor]] = []

    def first(self, like: nn.Module) -> list[Tensor]:
        """The weights, before any step, of what has as many of them as a network by hand."""
        counts = [one.numel() for one in like.parameters()]
        return next(some for some in self.before if [one.numel() for one in some] == counts)

    def begin(self, weights: Sequence[Tensor], gradients: list[Tensor]) -> None:
        self.before.append([one.detach().clone() for one in weights])
        self.gradients.append([one.clone() for one in gradients])

    def end(self, weights: Sequence[Tensor]) -> None:
        self.after.append([one.detach().clone() for one in weights])


@contextmanager
def watched() -> Iterator[Steps]:
    steps = Steps()
    natural_step, assign = trust_region.natural_step, trust_region.assign
    gradient = torch.empty(0)

    def begin(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        weights = optimizer.param_groups[0]["params"]
        steps.begin(weights, [one.grad for one in weights])

    def end(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        steps.end(optimizer.param_groups[0]["params"])

    def watched_step(product: trust_region.Product, slope: Tensor, *others: Any, **options: Any) -> Tensor:
        nonlocal gradient
        gradient = slope
        return natural_step(product, slope, *others, **options)

    def watched_assign(parameters: Sequence[Tensor], vector: Tensor) -> None:
        steps.begin(parameters, [gradient])
        assign(parameters, vector)
        steps.end(parameters)

    handles = [
        optimizers.register_optimizer_step_pre_hook(begin),
        optimizers.register_optimizer_step_post_hook(end),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust_region, "natural_step", watched_step)
        patch.setattr(trust_region, "assign", watched_assign)
        try:
            yield steps
        finally:
            for handle in handles:
                handle.remove()


def product(folder: Path, task: str, config: dict[str, Any]) -> Steps:
    """What the product does. Its random numbers begin with the seed when its first phase does."""
    phases = Engine.steps
    begun = False

    def seeded(engine: Engine, phase: str, total: int, *others: Any) -> Iterator[int]:
        nonlocal begun
        if not begun:
            torch.manual_seed(SEED)
        begun = True
        yield from phases(engine, phase, total, *others)

    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({"run": {"seed": SEED, "threads": 1}, **config}))
    with watched() as steps, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "steps", seeded)
        cli(["train", task, "--config", str(file), "--run.folder", str(folder / "run")])
    return steps


def fill(network: nn.Module, weights: list[Tensor]) -> None:
    """Writes the product's weights into a network by hand, whose convolutions are linear layers over windows there."""
    with torch.no_grad():
        for own, other in zip(network.parameters(), weights, strict=True):
            own.copy_(other.unflatten(1, (own.shape[2], -1)).transpose(1, 2) if own.dim() == 3 else other)


def compare(found: Steps, expected: Steps) -> None:
    """The same steps, to rounding: the product differentiates by hand, fuses Adam's loop and adds up tables of filters.

    In norm, a network's weights may differ by 2e-6 of themselves (measured: 6e-7), and a gradient, whose weights are no
    longer quite the same, by ten times as much (5e-6). Not in each number: Adam divides by the gradient's size, so that
    rounding counts where that is about 0.
    """
    for own, others, share in [(found.gradients, expected.gradients, 2e-5), (found.after, expected.after, 2e-6)]:
        assert [len(some) for some in own] == [len(some) for some in others]
        for some, theirs in zip(own, others, strict=True):
            turned = [one.transpose(1, 2).flatten(1) if one.dim() == 3 else one for one in some]
            assert [one.shape for one in turned] == [one.shape for one in theirs]
            one, other = trust_region.flatten(turned), trust_region.flatten(theirs)
            assert (one - other).norm() <= share * other.norm()


@pytest.mark.parametrize(
    ("steps", "warm_up", "rounds"), [(0, 0, 1), (3, 2, 3)], ids=["from the same weights", "through all phases"]
)
def test_seqgan_by_hand_takes_the_steps_of_the_product(tmp_path: Path, steps: int, warm_up: int, rounds: int) -> None:
    """`train text` and the file by hand: each step's gradient, and the weights after it, to float rounding."""
    by_hand = recipe("seqgan_by_hand")
    by_hand.WRITING = 0.02  # so large that what the lagging policy draws is not what the generator would
    ids = torch.randint(VOCABULARY, (30, LENGTH), generator=torch.Generator().manual_seed(5))
    ids[0, 0] = VOCABULARY - 1
    data = tmp_path / "data.txt"
    data.write_text("".join(" ".join(map(str, row)) + "\n" for row in ids.tolist()))
    judge = {"embedding": WIDTH, "windows": list(WINDOWS), "filters": [FILTERS] * len(WINDOWS), "dropout": 0.25}
    expected = product(
        tmp_path,
        "text",
        {
            "data": {"path": str(data), "held_out_path": str(data), "tokens": True},
            "generator": {"embedding": WIDTH, "hidden": WIDTH},
            "likelihood": {"steps": steps, "batch_size": BATCH, "optimizer": {"lr": 0.01, "clip": 5.0}},
            "discriminator": {
                "network": {"class_path": "seqgan_kit.networks.text.cnn.TextCNN", "init_args": judge},
                "steps": warm_up,
                "batch_size": BATCH,
                "optimizer": {"lr": by_hand.JUDGING, "clip": 0},
            },
            "adversarial": {
                "rounds": rounds,
                "turns": {"generator": 1, "discriminator": 4},
                "batch_size": BATCH,
                "optimizer": {"lr": by_hand.WRITING, "clip": 5.0},
                "credit": {
                    "class_path": "seqgan_kit.tokens.credit.MonteCarlo",
                    "init_args": {"rollouts": ROLLOUTS, "lag": 0.8},
                },
            },
            "control": {"enabled": False},
            "evaluation": {"samples": 4},
        },
    )
    g, d = by_hand.Generator(VOCABULARY, WIDTH), by_hand.Discriminator(VOCABULARY, WIDTH, WINDOWS, FILTERS)
    fill(g, expected.first(g))
    fill(d, expected.first(d))
    order = Order(len(ids), SEED)
    real = (ids[order.take(BATCH)] for _ in itertools.count())
    torch.manual_seed(SEED)
    with watched() as found:
        by_hand.likelihood(g, torch.optim.Adam(g.parameters(), 0.01), real, steps)
        by_hand.play(g, d, real, warm_up, rounds, ROLLOUTS)
    assert len(found.after) == steps + warm_up + 5 * rounds
    compare(found, expected)


class Reseeded(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose episodes begin as the product's do: with a seed each."""

    def __init__(self, environment: gym.Env[Any, Any], seeds: Iterator[int]) -> None:
        super().__init__(environment)
        self.seeds = seeds

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=next(self.seeds), options=options)


def test_gail_by_hand_takes_the_steps_of_the_product(tmp_path: Path) -> None:
    """`train imitation` and the file by hand: TRPO's gradient and step, the value's, and the discriminator's."""
    by_hand, rounds, updates = recipe("gail_by_hand"), 3, 2
    random = np.random.default_rng(0)
    seen, done = random.normal(size=(PAIRS + 1, 4)).astype(np.float32), random.integers(2, size=PAIRS)
    np.savez(tmp_path / "expert.npz", obs=seen, acts=done)
    expected = product(
        tmp_path,
        "imitation",
        {
            "environment": {
                "id": "CartPole-v1",
                "arguments": {"max_episode_steps": LIMIT},
                "copies": COPIES,
                "vectorised": False,
            },
            "demonstrations": {"path": str(tmp_path / "expert.npz")},
            "policy": {
                "hidden": [HIDDEN],
                "steps": 512,
                "normalise": "none",
                "improvement": {
                    "class_path": "seqgan_kit.imitation.improvement.TRPO",
                    "init_args": {"share": 1.0, "minibatch": 1024, "optimizer": {"lr": 1e-3, "clip": 0}},
                },
            },
            "cloning": {"steps": 0},
            "discriminator": {
                "network": {
                    "class_path": "seqgan_kit.networks.policies.transition.TransitionNetwork",
                    "init_args": {"hidden": [HIDDEN]},
                },
                "updates": updates,
                "batch_size": None,
                "penalty": 0,
                "optimizer": {"lr": 1e-3, "clip": 0},
            },
            "adversarial": {"environment_steps": rounds * 512 * COPIES},
            "evaluation": {"episodes": 1, "final": 2, "every": 0, "video": 0},
        },
    )
    policy, value, d = (by_hand.layers(*sizes, [HIDDEN]) for sizes in ((4, 2), (4, 1), (6, 1)))
    for network in (policy, value, d):
        fill(network, expected.first(network))
    episodes = (int(np.random.SeedSequence([SEED, 0, i]).generate_state(1)[0]) for i in itertools.count())
    copies = SyncVectorEnv(
        [lambda: Reseeded(gym.make("CartPole-v1", max_episode_steps=LIMIT), episodes)] * COPIES,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    pairs, order = by_hand.pairs(torch.from_numpy(seen[:-1]), torch.from_numpy(done)), Order(PAIRS, SEED)
    # the product hands the policy a demonstration, too, at which it does not look
    taken = (order.take(count) for _ in range(rounds) for count in (1, *[PAIRS] * updates))
    real = (pairs[index] for index in taken if len(index) == PAIRS)
    torch.manual_seed(SEED)
    with watched() as found:
        by_hand.play(policy, value, d, copies, real, rounds, updates)
    assert len(found.after) >= rounds * (1 + 3 * 2 + updates)  # TRPO's tries, two parts of three passes, the verdicts
    compare(found, expected)


@pytest.mark.parametrize("name", ["seqgan_by_hand", "gail_by_hand"])
def test_recipe_by_hand_is_short_and_takes_nothing_but_pure_functions(name: str) -> None:
    """At most 150 lines, of the kit its algorithms alone, and a head as the other recipes have."""
    text = (RECIPES / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 150
    taken = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    kit = [ast.unparse(node) for node in taken if "seqgan_kit" in ast.unparse(node)]
    assert len(kit) == 1
    assert kit[0].startswith("from seqgan_kit.algorithms import ")
    head = (ast.get_docstring(ast.parse(text)) or "").lower()
    command = f"python recipes/{name}.py"
    assert all(word in head for word in ("source:", "expected:", "measured:", command))
    assert command in (RECIPES / "README.md").read_text()


def test_seqgan_by_hand_tells_every_phase(capsys: pytest.CaptureFixture[str]) -> None:
    """What it prints of a run of no time: three phases, each with both likelihoods, and those of an untrained LSTM."""
    recipe("seqgan_by_hand").main(steps=2, warm_up=1, rounds=1, rollouts=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  NLL")[0].strip() for line in lines] == ["likelihood", "SeqGAN", "likelihood for as long"]
    held_out = [float(line.split("held out ")[1].split()[0]) for line in lines]
    assert held_out[0] == pytest.approx(np.log(200), abs=0.1)
    assert held_out[2] < held_out[0]


def test_gail_by_hand_tells_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    """One round, and what it prints: the policy's return before and after, beside the expert's 500."""
    after = recipe("gail_by_hand").main(rounds=1, updates=1)
    told = capsys.readouterr().out
    assert told.startswith("return: policy 9.")
    assert f"{after:.1f} after it, expert 500.0; " in told


@pytest.mark.slow
@pytest.mark.learns
def test_gail_by_hand_learns_to_balance() -> None:
    """From one episode of the expert it holds the pole for most of 500 steps (seeds 0, 1, 2: 500, 382, 500), from 9."""
    assert recipe("gail_by_hand").main(rounds=25) > 250
