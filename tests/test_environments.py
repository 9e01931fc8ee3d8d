"""Copies of environments against single ones stepped in a plain loop, and what they do when those break."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import toys
from seqgan_kit.engine.checkpoints import pack, unpack
from seqgan_kit.errors import UserError
from seqgan_kit.imitation.copies import Copies, Step, Vectorised, build
from seqgan_kit.imitation.environments import BROKEN, EnvironmentConfig, make
from seqgan_kit.worlds.cartpole import FIXED_HORIZON, balance

WALK, PUSH = "toys/Walk-v0", "toys/Push-v0"
needs_mujoco = pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="not installed: mujoco")
kinds = pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (WALK, {}),
        (PUSH, {}),
        ("CartPole-v1", {}),
        ("CartPole-v1", {"max_episode_steps": 15}),
        (FIXED_HORIZON, {"max_episode_steps": 20}),
        ("Pendulum-v1", {"max_episode_steps": 12}),
        ("MountainCar-v0", {"max_episode_steps": 11}),
        pytest.param("Hopper-v5", {}, marks=needs_mujoco),
    ],
)


def config(name: str, arguments: dict[str, Any], copies: int = 3) -> EnvironmentConfig:
    return EnvironmentConfig(name, arguments, copies)


def chosen(environments: Copies | Vectorised, steps: int, seed: int = 0) -> list[np.ndarray]:
    """Random actions: (copies, ...) for each step."""
    space = environments.action_space
    space.seed(seed)
    return [np.stack([space.sample() for _ in range(environments.copies)]) for _ in range(steps)]


def through_a_checkpoint(state: dict[str, Any]) -> dict[str, Any]:
    tensors: dict[str, Any] = {}
    return unpack(json.loads(json.dumps(pack(state, tensors))), tensors)


def assert_same(first: Step, second: Step) -> None:
    for name, one, other in zip(Step._fields, first, second, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name, strict=True)


def alone(copies: Copies, some: EnvironmentConfig, actions: list[np.ndarray]) -> Iterator[tuple[Step, Step]]:
    """What `copies` give at each step, beside what single environments with the same seeds and actions do."""
    single = [make(some) for _ in range(copies.copies)]
    seeds, elapsed = copies.state_dict()["seeds"], [0] * copies.copies
    seen = [environment.reset(seed=seed)[0] for environment, seed in zip(single, seeds, strict=True)]
    for here in actions:
        np.testing.assert_array_equal(copies.observations, np.stack(seen).astype(copies.observations.dtype))
        given = here.copy()
        found = copies.step(given)
        np.testing.assert_array_equal(given, here)  # whatever an environment does to its own
        rows, seeds = [], copies.state_dict()["seeds"]
        for i, environment in enumerate(single):
            elapsed[i] += 1
            action = int(here[i]) if here.ndim == 1 else here[i].copy()
            try:
                observation, reward, terminated, truncated, _ = environment.step(action)
                broken = not (np.isfinite(observation).all() and np.isfinite(reward))
            except ZeroDivisionError:
                broken = True
            if broken:
                rows.append((np.zeros_like(seen[i]), 0.0, False, True, False, True, elapsed[i]))
            else:
                rows.append((observation, reward, terminated, terminated or truncated, True, False, elapsed[i]))
            seen[i] = rows[-1][0]
            if rows[-1][3]:
                seen[i], elapsed[i] = environment.reset(seed=seeds[i])[0], 0
        columns = [np.stack(column) for column in zip(*rows, strict=True)]
        types = [copies.observations.dtype, np.float32, bool, bool, bool, bool, np.int64]
        yield found, Step(*(column.astype(kind) for column, kind in zip(columns, types, strict=True)))


@kinds
def test_copies_equal_single_environments(name: str, arguments: dict[str, Any]) -> None:
    """Observations, rewards, both kinds of end and elapsed steps; the last observation of an episode is its own.

    The next actions are then for the first observation of the next episode.
    """
    some = config(name, arguments)
    copies = Copies(some, seed=1)
    falls = cuts = 0
    for found, expected in alone(copies, some, chosen(copies, 60)):
        assert_same(found, expected)
        falls += found.terminated.sum()
        cuts += (found.ended & ~found.terminated).sum()
    limit = arguments.get("max_episode_steps")
    assert (falls > 0) == (name in (WALK, PUSH, "CartPole-v1", "Hopper-v5"))
    assert (cuts > 0) == (limit is not None or name in (WALK, PUSH))
    copies.close()


def test_a_fall_is_no_time_limit() -> None:
    """CartPole that falls terminates, also at its limit; balanced until then it is cut there, after so many steps."""
    some = config("CartPole-v1", {"max_episode_steps": 30}, copies=2)
    copies = Copies(some, seed=0)
    for t in range(1, 31):
        step = copies.step(np.array([balance(copies.observations[0]), 1]))
        assert step.elapsed[0] == t
        assert not step.terminated[0]
        assert step.ended[0] == (t == 30)
        assert step.terminated[1] == step.ended[1]
    step = copies.step(np.array([0, 0]))
    assert step.elapsed[0] == 1
    # the same episode again, with its limit where it falls
    single = make(some)
    fallen = next(t for t in range(1, 30) if single.reset(seed=3) and all_right(single, t))
    short = Copies(config("CartPole-v1", {"max_episode_steps": fallen}, copies=1), seed=0)
    short._reset(0, 3)
    steps = [short.step(np.array([1])) for _ in range(fallen)]
    assert [bool(step.terminated[0]) for step in steps] == [False] * (fallen - 1) + [True]


def all_right(environment: Any, steps: int) -> bool:
    """Whether the pole has fallen after so many pushes to the right."""
    return [environment.step(1)[2] for _ in range(steps)][-1]


def test_every_episode_has_a_seed_of_its_own() -> None:
    """Of all copies, episodes, processes and runs; the same run has the same ones."""
    found = []
    for seed, rank in [(0, 0), (0, 1), (1, 0), (0, 0)]:
        toys.SEEDS.clear()
        copies = Copies(config(WALK, {}), seed, rank)
        for actions in chosen(copies, 30):
            copies.step(actions)
        found.append(list(toys.SEEDS))
    assert all(len(seeds) > 3 + 15 for seeds in found)
    assert len({*found[0], *found[1], *found[2]}) == sum(map(len, found[:3]))
    assert found[3] == found[0]


# -- state ------------------------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("used", [False, True])
def test_copies_go_on_from_their_state(name: str, arguments: dict[str, Any], used: bool) -> None:
    """Bit for bit, through a checkpoint, in new copies or in those that went on meanwhile, and without a word."""
    some, told = config(name, arguments), []
    copies = Copies(some, seed=1)
    actions = chosen(copies, 70)
    for here in actions[:25]:
        copies.step(here)
    state = through_a_checkpoint(copies.state_dict())
    observations = copies.observations.copy()
    expected = [copies.step(here) for here in actions[25:]]
    restored = copies if used else Copies(some, seed=1)
    restored._say = told.append
    restored.load_state_dict(state)
    np.testing.assert_array_equal(restored.observations, observations)
    for here, step in zip(actions[25:], expected, strict=True):
        assert_same(restored.step(here), step)
    assert told == []
    copies.close()


def test_state_of_another_number_of_copies_is_refused() -> None:
    """It belongs to another run."""
    state = Copies(config(WALK, {}, 2), seed=0).state_dict()
    with pytest.raises(ValueError, match=f"2 copies of {WALK} were saved, not 3"):
        Copies(config(WALK, {}, 3), seed=0).load_state_dict(state)


def test_copies_start_anew_from_the_state_of_a_vectorised_form() -> None:
    """Which an earlier version used, where today's finds that it is another task; this is told."""
    told: list[str] = []
    copies = Copies(config("CartPole-v1", {}), 0, say=told.append)
    before = copies.observations.copy()
    copies.load_state_dict(through_a_checkpoint(vectorised(3).state_dict()))
    np.testing.assert_array_equal(copies.observations, before)
    assert len(told) == 1
    assert "unfinished episodes start anew" in told[0]


def test_an_environment_that_is_not_deterministic_starts_anew() -> None:
    """Copies whose episodes do not repeat get new ones, of seeds never used, and this is told; the others go on."""
    some, told = config(WALK, {"trouble": "noisy"}, 6), []
    toys.SEEDS.clear()
    copies = Copies(some, seed=0)
    steps = [copies.step(actions) for actions in chosen(copies, 30)]
    used, state = {*toys.SEEDS}, through_a_checkpoint(copies.state_dict())
    elapsed, observations = np.where(steps[-1].ended, 0, steps[-1].elapsed), copies.observations.copy()
    # in these the second step was not what it will be when it is taken again
    lost = np.array(
        [
            len(taken) >= 2 and start_of(seed) % 3 == 0
            for taken, seed in zip(state["taken"], state["seeds"], strict=True)
        ]
    )
    assert 0 < lost.sum() < 6
    restored = Copies(some, seed=0, say=told.append)
    restored.load_state_dict(state)
    assert len(told) == 1
    assert f"{lost.sum()} unfinished episodes did not repeat" in told[0]
    assert "not deterministic" in told[0]
    np.testing.assert_array_equal(restored.observations[~lost], observations[~lost])
    seeds = np.array(restored.state_dict()["seeds"])
    assert seeds[~lost].tolist() == np.array(state["seeds"])[~lost].tolist()
    assert not {*seeds[lost].tolist()} & used
    step = restored.step(chosen(restored, 1)[0])
    assert step.elapsed.tolist() == np.where(lost, 1, elapsed + 1).tolist()
    toys.SEEDS.clear()
    for actions in chosen(restored, 30):
        restored.step(actions)
    assert not {*toys.SEEDS} & (used | {*seeds.tolist()})


def start_of(seed: int) -> int:
    return int(make(config(WALK, {})).reset(seed=seed)[0][0])


# -- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("raises", "raised ZeroDivisionError: no luck"),
        ("nan", "returned an observation or a reward that is not finite"),
        ("inf", "returned an observation or a reward that is not finite"),
    ],
)
def test_broken_episodes_are_discarded(trouble: str, told: str) -> None:
    """They end at once and do not count; seed and step are told; the copies beside them do not notice."""
    some, said = config(WALK, {"trouble": trouble}, 4), []
    copies = Copies(some, seed=0, say=said.append)
    before, broken = copies.state_dict()["seeds"], 0
    for found, expected in alone(copies, some, chosen(copies, 60)):
        assert_same(found, expected)
        for i in np.flatnonzero(found.broken):
            assert f"{WALK} (seed {before[i]}, step 2 of its episode) {told}. The episode is discarded" in said[broken]
            broken += 1
        before = copies.state_dict()["seeds"]
    assert broken == len(said) > 5


@pytest.mark.parametrize("trouble", ["raises at reset", "nan at reset"])
def test_episodes_that_do_not_begin_are_discarded(trouble: str) -> None:
    """Another one begins in their place, before the policy sees anything of them."""
    said: list[str] = []
    copies = Copies(config(WALK, {"trouble": trouble}, 4), seed=0, say=said.append)
    for actions in chosen(copies, 60):
        assert np.isfinite(copies.observations).all()
        assert all(start_of(seed) % 3 for seed in copies.state_dict()["seeds"])
        assert copies.step(actions).counts.all()
    assert len(said) > 5
    assert all("step 0 of its episode" in line for line in said)
    with pytest.raises(UserError, match="in a row"):
        Copies(config(WALK, {"trouble": trouble, "every": 1}, 1), seed=0)


def test_an_environment_that_always_breaks_stops_the_run() -> None:
    """After 20 episodes in a row; where others end well in between, it goes on."""
    copies = Copies(config(WALK, {"trouble": "raises", "every": 1}, 1), seed=0)
    for _ in range(2 * BROKEN - 1):  # each breaks at its second step
        copies.step(np.array([0]))
    with pytest.raises(UserError, match=f"no luck; {BROKEN} episodes in a row were lost") as raised:
        copies.step(np.array([0]))
    assert "mend the environment" in str(raised.value)
    said: list[str] = []
    copies = Copies(config(WALK, {"trouble": "raises"}, 1), seed=0, say=said.append)
    for _ in range(400):
        copies.step(np.array([0]))
    assert len(said) > BROKEN


def test_pictures_stay_bytes() -> None:
    """Four times as small as floats."""
    copies = Copies(config("toys/Picture-v0", {}, 2), seed=0)
    step = copies.step(np.array([0, 1]))
    assert copies.observations.dtype == step.observations.dtype == np.uint8
    assert copies.observations.shape == (2, 4, 4, 3)


# -- CartPole ---------------------------------------------------------------------------------------------------------


def vectorised(copies: int = 5, limit: int = 25, seed: int = 0) -> Vectorised:
    some = EnvironmentConfig("CartPole-v1", {"max_episode_steps": limit}, copies, vectorised=True)
    found = build(some, seed)
    assert isinstance(found, Vectorised)
    return found


def test_vectorised_resets_are_no_steps() -> None:
    """The step after an end only resets: it does not count, earns nothing, and elapsed starts again."""
    environments = vectorised()
    ended, elapsed, cuts, falls = np.zeros(5, bool), np.zeros(5, np.int64), 0, 0
    for actions in chosen(environments, 120):
        actions[:2] = [balance(observation) for observation in environments.observations[:2]]
        before = environments.observations.copy()
        step = environments.step(actions)
        assert step.counts.tolist() == (~ended).tolist()
        elapsed = np.where(ended, 0, elapsed + 1)
        assert step.elapsed.tolist() == elapsed.tolist()
        assert step.rewards.tolist() == (~ended).astype(float).tolist()
        assert (abs(step.observations[ended]) <= 0.05).all()
        assert not (step.ended & ended).any()
        assert not step.broken.any()
        position, angle = step.observations[:, 0], step.observations[:, 2]
        fallen = (abs(position) > 2.4) | (abs(angle) > 12 * 2 * np.pi / 360)
        assert (step.terminated[~ended] == fallen[~ended]).all()
        assert step.ended.tolist() == ((fallen | (elapsed == 25)) & ~ended).tolist()
        assert (
            np.shares_memory(step.observations, environments.observations)
            or (step.observations == environments.observations).all()
        )
        for i in np.flatnonzero(~ended):
            np.testing.assert_allclose(step.observations[i], pushed(before[i], actions[i]), atol=1e-5)
        cuts += (step.ended & ~step.terminated).sum()
        falls += step.terminated.sum()
        ended = step.ended.copy()
    assert cuts >= 8
    assert falls > 5


def pushed(observation: np.ndarray, action: int) -> np.ndarray:
    """One step of a single CartPole from there."""
    environment = gym.make("CartPole-v1").unwrapped
    environment.reset()
    environment.state = tuple(observation.astype(float))  # type: ignore[attr-defined]
    return environment.step(action)[0]


def test_vectorised_goes_on_from_its_state() -> None:
    """Bit for bit, in a new one of another seed, its random numbers included."""
    environments = vectorised(seed=0)
    actions = chosen(environments, 120)
    for here in actions[:40]:
        environments.step(here)
    state, observations = through_a_checkpoint(environments.state_dict()), environments.observations.copy()
    expected = [Step(*map(np.copy, environments.step(here))) for here in actions[40:]]
    restored = vectorised(seed=7)
    restored.load_state_dict(state)
    np.testing.assert_array_equal(restored.observations, observations)
    for here, step in zip(actions[40:], expected, strict=True):
        assert_same(restored.step(here), step)


def test_vectorised_differs_by_seed_and_process() -> None:
    """Each copy of each process starts elsewhere."""
    some = EnvironmentConfig("CartPole-v1", {}, 3, vectorised=True)
    starts = np.concatenate([Vectorised(some, seed, rank).observations for seed, rank in [(0, 0), (0, 1), (1, 0)]])
    assert len(np.unique(starts[:, 0])) == 9


def test_vectorised_where_there_is_no_such_form() -> None:
    """Told by the option, where it was asked for; else there are copies."""
    with pytest.raises(UserError, match="Pendulum-v1 can't"):
        build(EnvironmentConfig("Pendulum-v1", vectorised=True), 0)
    assert isinstance(build(EnvironmentConfig("Pendulum-v1"), 0), Copies)
    assert isinstance(build(EnvironmentConfig("CartPole-v1"), 0), Vectorised)
    assert isinstance(build(EnvironmentConfig("CartPole-v1", vectorised=False), 0), Copies)


def test_a_vectorised_form_that_differs_is_not_used() -> None:
    """Where it does not take the arguments of the single one or its seeds, is another task, or keeps its state where no
    checkpoint sees it."""
    for name, arguments, told in [
        ("toys/Differs-v0", {"only": 1}, "only"),
        ("toys/Other-v0", {}, r"is another task in this form, with observations Box.*\(4,\), .* not Box.*\(2,\)"),
        ("toys/Hides-v0", {}, "keeps a object as its simulator"),
        ("toys/SmallSeeds-v0", {}, "a seed is one figure"),
    ]:
        assert isinstance(build(EnvironmentConfig(name, arguments), 0), Copies)
        with pytest.raises(UserError, match=f"--environment.vectorised: {name} .*{told}"):
            build(EnvironmentConfig(name, arguments, vectorised=True), 0)


def test_fixed_horizon_cart_pole() -> None:
    """It moves as CartPole does until the fall, goes on after it, ends at its limit alone; standing earns 1."""
    fixed, plain = make(config(FIXED_HORIZON, {})), make(config("CartPole-v1", {}))
    np.testing.assert_array_equal(fixed.reset(seed=2)[0], plain.reset(seed=2)[0])
    fallen, earned = False, []
    for t in range(1, 501):
        observation, reward, terminated, truncated, _ = fixed.step(t % 3 // 2)
        if not fallen:
            expected, _, fallen, _, _ = plain.step(t % 3 // 2)
            np.testing.assert_array_equal(observation, expected)
        standing = abs(observation[0]) <= 2.4 and abs(observation[2]) <= 12 * 2 * np.pi / 360
        earned.append(reward)
        assert reward == float(standing)
        assert (terminated, truncated) == (False, t == 500)
    assert 0 < sum(earned) < 100
    balanced = make(config(FIXED_HORIZON, {}))
    observation, total = balanced.reset(seed=0)[0], 0.0
    for _ in range(500):
        observation, reward, *_ = balanced.step(balance(observation))
        total += float(reward)
    assert total == 500


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("Cartpol-v1", {}, r"knows none of this name \(did you mean CartPole-v1"),
        ("CartPole-v77", {}, "give CartPole-v1, its newest version here"),
        ("Taxi-v3", {}, "Please use `Taxi-v4` instead; give Taxi-v4, its newest version here"),
        ("Hopper-v2", {}, "moved to .*; give Hopper-v5, its newest version here"),
        ("Pusher-v4", {}, "only supported on .*; give Pusher-v5, its newest version here"),
        ("toys:toys/Walk-v7", {}, "give toys:toys/Walk-v0, its newest version here"),
        ("LunarLander-v2", {}, "give LunarLander-v3"),
        pytest.param(
            "Hopper-v5", {"xml_file": "nope.xml"}, "with {'xml_file': 'nope.xml'} .*exist", marks=needs_mujoco
        ),
        ("CartPole-v1", {"max_episode_steps": 0}, "--environment.arguments: CartPole-v1 can't be made with .*positive"),
        ("toys/Breaks-v0", {}, r"--environment.id toys/Breaks-v0: it can't be made \(OSError: no disk\)"),
        ("ALE/Pong-v5", {}, r"give ale_py:ALE/Pong-v5, which pip install 'seqgan_kit\[atari\]' brings"),
        ("ale_py:ALE/Pong-v5", {}, r"no module 'ale_py' here: pip install 'seqgan_kit\[atari\]'"),
        ("Hoper-v5", {}, "did you mean Hopper-v5"),
        ("what is this", {}, "knows none of this name; for an own one give MODULE:ID"),
        ("toys:toys/Wlak-v0", {}, "did you mean toys/Walk-v0"),
        ("no_such_module:Own-v0", {}, "there is no module 'no_such_module' here"),
        ("toys/needs_box2d-v0", {}, r"misses a package .*: pip install 'seqgan_kit\[box2d\]'"),
        ("toys/needs_mujoco-v0", {}, r"misses a package .*: pip install 'seqgan_kit\[mujoco\]'"),
        ("toys/Written-v0", {}, r"observes Text\(.*, which is no array of numbers: leave it out by a wrapper"),
        ("CartPole-v1", {"gravity": 3}, r"--environment.arguments: CartPole-v1 can't be made with {'gravity': 3} \(.*"),
    ],
)
def test_environments_that_can_not_be_made(name: str, arguments: dict[str, Any], told: str) -> None:
    """Say what to do."""
    with pytest.raises(UserError, match=told):
        make(config(name, arguments))


def test_own_environments_by_module() -> None:
    """MODULE:ID imports the module that registers it."""
    assert make(config(f"toys:{WALK}", {})).reset(seed=0)[0].shape == (2,)
    assert build(config(f"toys:{WALK}", {}), 0).observations.shape == (3, 2)
