"""Demonstrations and the environment: the one they were recorded in, its spaces, its time limit, its seeds."""

from __future__ import annotations

import importlib.util
import random
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from seqgan_kit.errors import UserError
from seqgan_kit.imitation import recorded
from seqgan_kit.imitation.demonstrations import DROP, DemonstrationConfig, Demonstrations, Episode
from seqgan_kit.imitation.environments import EnvironmentConfig, make
from seqgan_kit.imitation.fitting import fitted, flatten_steps, summary
from seqgan_kit.imitation.formats import load, read_npz, write_datasets, write_npz
from seqgan_kit.imitation.minari_data import read_minari, write_minari

needs_minari = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("minari", "h5py")), reason="not installed: minari"
)
ODD = "9223372036854775809"  # of 64 bits, as Minari draws seeds


def mistake(call: Callable[[], object]) -> str:
    """The one line that the user is told."""
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def minari_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def played(environment: gym.Env[Any, Any], episodes: int = 3, seed: int = int(ODD)) -> list[Episode]:
    """Whole episodes of random actions."""
    found = []
    for number in range(episodes):
        seen, _ = environment.reset(seed=seed + number)
        environment.action_space.seed(number)
        observations, actions, rewards, over, terminated = [seen], [], [], False, False
        while not over:
            actions.append(environment.action_space.sample())
            seen, reward, terminated, truncated, _ = environment.step(actions[-1])
            observations.append(seen)
            rewards.append(reward)
            over = terminated or truncated
        found.append(
            Episode(
                np.stack(observations).astype(np.float32),
                np.stack(actions),
                np.array(rewards, np.float32),
                bool(terminated),
                seed + number,
            )
        )
    return found


def pendulum(**arguments: Any) -> gym.Env[Any, Any]:
    return gym.make("Pendulum-v1", disable_env_checker=True, **arguments)


def of_pendulum(episodes: int = 3, **arguments: Any) -> Demonstrations:
    with pendulum(**arguments) as environment:
        return Demonstrations(played(environment, episodes), "Pendulum-v1", "swings", environment.spec)


HEAVY = {"g": 2.0, "max_episode_steps": 100}


# The environment that they were recorded in


def test_it_is_taken_where_none_is_given() -> None:
    """With its arguments and its time limit; those that are given go before them."""
    there = of_pendulum(1, **HEAVY)
    assert recorded.settled(EnvironmentConfig(), there) == EnvironmentConfig("Pendulum-v1", HEAVY)
    given = recorded.settled(EnvironmentConfig(arguments={"g": 3.0}), there)
    assert given == EnvironmentConfig("Pendulum-v1", HEAVY | {"g": 3.0})
    only = EnvironmentConfig("Pendulum-v1")
    assert recorded.settled(only, there) == only
    assert recorded.settled(EnvironmentConfig(), None) == EnvironmentConfig("CartPole-v1")
    by_id = Demonstrations(there.episodes, "Pendulum-v1", "swings")
    assert recorded.settled(EnvironmentConfig(), by_id) == only


def test_it_is_asked_for_where_it_is_not_known() -> None:
    """No id; and one for which a module would have to be imported, which a file must not choose."""
    episodes = of_pendulum(1).episodes
    message = mistake(lambda: recorded.settled(EnvironmentConfig(), Demonstrations(episodes, None, "a.npz")))
    assert message == "a.npz does not say which environment it was recorded in: give --environment.id"
    message = mistake(lambda: recorded.settled(EnvironmentConfig(), Demonstrations(episodes, "mine:Own-v0", "a.npz")))
    assert "a.npz was recorded in mine:Own-v0, which Gymnasium does not know by itself" in message
    assert "give --environment.id mine:Own-v0, where importing that module registers it" in message
    spec = gym.envs.registration.EnvSpec("Own-v0", entry_point="mine.walks:Own")
    there = Demonstrations(episodes, "Own-v0", "a.npz", spec)
    assert "give --environment.id mine:Own-v0, where" in mistake(lambda: recorded.settled(EnvironmentConfig(), there))
    assert there.name in mistake(lambda: recorded.settled(EnvironmentConfig(), replace(there, recorded=None)))


class Other(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Halves the actions."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)

    def step(self, action: Any) -> Any:
        return self.env.step(action / 2)


@pytest.mark.parametrize(
    ("given", "other"),
    [
        (HEAVY, []),
        ({"max_episode_steps": 100}, ["g recorded as 2.0, here its default"]),
        ({"g": 2.0, "max_episode_steps": 90}, ["time limit recorded as 100, here 90"]),
        ({"g": 2.0}, ["time limit recorded as 100, here 200"]),
    ],
)
def test_what_differs_is_said(given: dict[str, Any], other: list[str]) -> None:
    """Arguments and time limit; how pictures are drawn is no difference."""
    there = of_pendulum(1, render_mode="rgb_array", **HEAVY)
    with make(EnvironmentConfig("Pendulum-v1", given)) as environment:
        assert recorded.differences(there, environment) == other


def test_another_id_and_other_wrappers_are_said() -> None:
    """The module before an id is no difference, nor is FlattenObservation, whose effect the shapes show."""
    with pendulum() as environment:
        wrapped = gym.wrappers.FlattenObservation(Other(environment))
        episodes = played(wrapped, 1)
        there = Demonstrations(episodes, "Pendulum-v1", "swings", wrapped.spec)
        assert recorded.differences(there, environment) == ["recorded in the wrappers Other, which are not there here"]
        there = Demonstrations(episodes, "CartPole-v1", "swings")
        assert recorded.differences(there, environment) == ["recorded in CartPole-v1, here Pendulum-v1"]
        assert recorded.differences(Demonstrations(episodes, "mine:Pendulum-v1", ""), environment) == []
    with pendulum(max_episode_steps=50) as environment:
        there = Demonstrations(episodes, "Pendulum-v1", "swings")
        assert recorded.differences(there, environment) == ["episodes of up to 200 steps, but a time limit of 50 here"]


def test_returns_are_replayed_from_the_seeds() -> None:
    """Equal in the same environment, of 64-bit seeds, too; other where gravity is, whatever the data say of it."""
    there = of_pendulum(**HEAVY)
    lines, other = recorded.replayed(EnvironmentConfig("Pendulum-v1", HEAVY), there)
    assert lines[0].startswith("2 of them replayed from their seeds: returns of ")
    assert other == []
    lines, other = recorded.replayed(EnvironmentConfig("Pendulum-v1", {"max_episode_steps": 100}), there)
    assert "the environment is ANOTHER one" in lines[0]
    assert len(other) == 1
    unknown = Demonstrations(
        [Episode(e.observations, e.actions, None, False, e.seed) for e in there.episodes], None, ""
    )
    assert recorded.replayed(EnvironmentConfig("Pendulum-v1"), unknown) == ([], [])


class Global(gym.Env[Any, Any]):
    """It draws from the generators that all share."""

    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)

    def reset(self, **options: Any) -> Any:
        return np.float32([random.random()]), {}

    def step(self, action: Any) -> Any:
        return np.float32([np.random.rand()]), 1.0, False, False, {}  # noqa: NPY002


gym.register("Recorded/Global-v0", Global, max_episode_steps=4)


def test_a_replay_draws_no_random_numbers_of_the_run() -> None:
    """Else a file with seeds would change what a run learns."""
    with gym.make("Recorded/Global-v0", disable_env_checker=True) as environment:
        there = Demonstrations(played(environment), None, "")
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert recorded.replayed(EnvironmentConfig("Recorded/Global-v0"), there)[1] == []
    after = random.random(), np.random.rand()  # noqa: NPY002
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert after == (random.random(), np.random.rand())  # noqa: NPY002


class Walk(gym.Env[Any, Any]):
    """Registered by its class, as users do."""

    observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(3, start=1)

    def __init__(self, slope: float = 0.0) -> None:
        self.slope = slope

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.full(2, action / 9, np.float32), float(action), False, False, {}


gym.register("Recorded/Walk-v0", Walk, max_episode_steps=6)


@pytest.mark.parametrize("kind", ["npz", pytest.param("minari", marks=needs_minari)])
def test_what_is_written_says_how_its_environment_was_made(tmp_path: Path, minari_root: Path, kind: str) -> None:
    """Arguments and time limit of a class of one's own, which JSON can't hold; and seeds of 64 bits."""
    arguments = {"slope": 0.5, "max_episode_steps": 4}
    with gym.make("Recorded/Walk-v0", disable_env_checker=True, **arguments) as environment:
        there = Demonstrations(played(environment), "Recorded/Walk-v0", "walks", environment.spec)
        if kind == "npz":
            write_npz(tmp_path / "walk.npz", there)
            back = read_npz(tmp_path / "walk.npz")
        else:
            write_minari("kit/walk-v0", there, environment)
            back = read_minari("kit/walk-v0")
        assert recorded.differences(back, environment) == []
    assert [episode.seed for episode in back.episodes] == [int(ODD) + number for number in range(3)]
    assert recorded.settled(EnvironmentConfig(), back) == EnvironmentConfig("Recorded/Walk-v0", arguments)
    assert {1, 2, 3} >= set(np.concatenate([episode.actions for episode in back.episodes]).tolist())


@needs_minari
def test_seeds_of_minari_stay_as_they_are(tmp_path: Path, minari_root: Path) -> None:
    """Some unknown, some of 64 bits: through an .npz and back; floats, which cannot hold them, are refused."""
    episodes = [Episode(e.observations, e.actions, e.rewards, False, seed) for e, seed in _seeded()]
    with pendulum(max_episode_steps=5) as environment:
        write_minari("kit/seeds-v0", Demonstrations(episodes, None, ""), environment)
    write_npz(tmp_path / "seeds.npz", read_minari("kit/seeds-v0"))
    assert [episode.seed for episode in read_npz(tmp_path / "seeds.npz").episodes] == [None, int(ODD), 2**64 - 1, 5]
    arrays = dict(np.load(tmp_path / "seeds.npz")) | {"seeds": np.array([-1, 2.0**63, 2.0**64, 5])}
    np.savez(tmp_path / "floats.npz", **arrays)
    assert "seeds are float64: give integers, or strings" in mistake(lambda: read_npz(tmp_path / "floats.npz"))
    np.savez(tmp_path / "strings.npz", **arrays | {"seeds": np.array(["", ODD, str(2**64 - 1), "5"])})
    assert read_npz(tmp_path / "strings.npz").episodes[1].seed == int(ODD)


def _seeded() -> list[tuple[Episode, int | None]]:
    return list(zip(of_pendulum(4, max_episode_steps=5).episodes, [None, int(ODD), 2**64 - 1, 5], strict=True))


# Ends by a time limit


def test_ends_at_the_time_limit_are_cuts(tmp_path: Path) -> None:
    """A folder of `imitation`, which marks every end alike: as many steps as the limit are no termination.

    What the file says is taken where that is asked for, and from formats that tell the two kinds of end apart.
    """
    pytest.importorskip("datasets")
    episodes = [Episode(e.observations, e.actions, e.rewards, True) for e in of_pendulum(4).episodes]
    write_datasets(tmp_path / "swings", Demonstrations(episodes, None, ""))
    there = load(DemonstrationConfig(path=str(tmp_path / "swings")))
    with pendulum() as environment:
        cut = fitted(there, environment)
        assert [episode.terminated for episode in cut.episodes] == [False] * 4
        told = "\n".join(summary(cut, DemonstrationConfig()))
        assert "4 episodes are marked as terminated, but have exactly the 200 steps of the time limit: TAKEN AS" in told
        assert "--demonstrations.ends_at_limit terminated" in told
        as_told = fitted(there, environment, DemonstrationConfig(ends_at_limit="terminated"))
        assert all(episode.terminated for episode in as_told.episodes)
        assert all(
            e.terminated for e in fitted(Demonstrations(episodes, None, "", ends_told=True), environment).episodes
        )
    with pendulum(max_episode_steps=201) as environment:
        assert all(episode.terminated for episode in fitted(there, environment).episodes)


# Spaces


class Seen(gym.Env[Any, Any]):
    """Only spaces."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space


NESTED = spaces.Dict(
    OrderedDict(
        [
            ("way", spaces.Discrete(3, start=1)),
            ("at", spaces.Box(-1, 1, (2, 2))),
            ("more", spaces.Tuple((spaces.MultiBinary(3), spaces.MultiDiscrete([2, 3], start=[1, 0])))),
        ]
    )
)


def stacked(space: gym.Space[Any], samples: list[Any]) -> Any:
    """As Minari keeps the steps of an episode."""
    if isinstance(space, spaces.Dict):
        return {name: stacked(part, [each[name] for each in samples]) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(stacked(part, [each[k] for each in samples]) for k, part in enumerate(space.spaces))
    return np.array(samples)


@pytest.mark.parametrize(
    "space", [NESTED, spaces.Discrete(4, start=-1), spaces.MultiDiscrete([[2, 3], [4, 5]]), spaces.Text(5)]
)
def test_steps_are_flattened_as_gymnasium_does(space: gym.Space[Any]) -> None:
    """All at once, the same numbers."""
    space.seed(0)
    samples = [space.sample() for _ in range(20)]
    values = samples if isinstance(space, spaces.Text) else stacked(space, samples)
    np.testing.assert_array_equal(flatten_steps(space, values), [spaces.flatten(space, each) for each in samples])


class Parts(gym.Env[Any, Any]):
    """Its parts do not stand in the order of their names, as a data set's do."""

    observation_space, action_space = NESTED, spaces.Discrete(2)


gym.register("Recorded/Parts-v0", f"{__name__}:Parts")


@needs_minari
def test_parts_stand_in_the_order_of_the_environment(minari_root: Path) -> None:
    """Minari sorts them by name, so that flattening by its own space gives other columns, of the same shape."""
    minari = pytest.importorskip("minari")
    NESTED.seed(0)
    samples = [NESTED.sample() for _ in range(6)]
    content = {"actions": np.zeros(5, int), "rewards": np.zeros(5), "terminations": [False] * 5}
    buffer = minari.data_collector.EpisodeBuffer(observations=stacked(NESTED, samples), truncations=[0] * 5, **content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that author and so on are not given
        minari.create_dataset_from_buffers("kit/parts-v0", [buffer], env=Parts(), observation_space=NESTED)
    back = read_minari("kit/parts-v0")
    flat = gym.wrappers.FlattenObservation(Parts())
    wanted = np.array([flat.observation(each) for each in samples])
    np.testing.assert_allclose(fitted(back, flat).episodes[0].observations, wanted, rtol=1e-6)
    assert not np.allclose(back.episodes[0].observations, wanted), "that the trap is there"
    assert "the parts of the observations are put into the environment's own order" in "\n".join(
        fitted(back, flat).intake.notes
    )
    other = gym.wrappers.FlattenObservation(Seen(spaces.Dict({"at": spaces.Box(-1, 1, (2, 2))}), spaces.Discrete(2)))
    assert "observations are Dict('at'" in mistake(lambda: fitted(back, other))


def acting(actions: Any, observations: Any = None) -> Demonstrations:
    given = np.asarray(actions)
    seen = np.zeros((len(given) + 1, 2), np.float32) if observations is None else np.asarray(observations)
    return Demonstrations([Episode(seen, given, None, False)], None, "mine")


FLOATS = np.linspace(-1, 1, 12, dtype=np.float32)
PLAIN = spaces.Box(-np.inf, np.inf, (2,))


@pytest.mark.parametrize(
    ("space", "given", "wanted"),
    [
        (spaces.Box(-1, 1, (2, 2)), FLOATS.reshape(3, 4), FLOATS.reshape(3, 2, 2)),
        (spaces.Box(-1, 1, (2, 2)), FLOATS.reshape(3, 2, 2), FLOATS.reshape(3, 2, 2)),
        (spaces.Box(-1, 1, (4,)), FLOATS.reshape(3, 2, 2), FLOATS.reshape(3, 4)),
        (spaces.Box(-1, 1, (1,)), FLOATS, FLOATS.reshape(12, 1)),
        (spaces.Box(0, 9, (1,), np.int32), [0, 9], np.float32([[0], [9]])),
        (spaces.Discrete(3, start=1), [1, 2, 3], [1, 2, 3]),
        (spaces.Discrete(3, start=1), np.float32([[1], [2], [3]]), [1, 2, 3]),
        (spaces.MultiDiscrete([3]), [0, 2], [[0], [2]]),
        (spaces.MultiDiscrete([[2, 3]], start=[[1, 1]]), [[1, 3], [2, 1]], [[[1, 3]], [[2, 1]]]),
        (spaces.MultiBinary(2), [[0, 1], [1, 1]], [[0, 1], [1, 1]]),
    ],
)
def test_actions_become_those_of_the_space(space: gym.Space[Any], given: Any, wanted: Any) -> None:
    """Whatever shape and kind of number they were saved in; choices as int64, others as float32."""
    found = fitted(acting(given), Seen(PLAIN, space)).episodes[0].actions
    np.testing.assert_array_equal(found, wanted)
    assert found.shape == np.shape(wanted)
    assert found.dtype == (np.float32 if isinstance(space, spaces.Box) else np.int64)


@pytest.mark.parametrize(
    ("space", "given", "told"),
    [
        (spaces.Discrete(3, start=1), [1, 0], "mine episode 0 step 1: the environment does not take the action 0"),
        (spaces.MultiBinary(2), [[0, 2]], "does not take the action [0, 2]"),
        (
            spaces.Discrete(3),
            np.eye(3, dtype=int),
            "actions of shape (3,), but the environment's are (): give the number",
        ),
        (spaces.Discrete(3), [0.5, 1], "actions are float64, but the environment's are Discrete(3)"),
        (spaces.Box(0, 9, (1,), np.int32), np.float32([[0.5]]), "actions are float32, but the environment's are Box("),
        (spaces.Box(-0.01, 0.01, (1,)), np.float32([[0.0101]]), "does not take the action [0.01009"),
        (spaces.Box(-1e5, 1e5, (1,)), np.float32([[100_011]]), "does not take the action [100011.0]"),
    ],
)
def test_actions_that_are_none_of_the_space(space: gym.Space[Any], given: Any, told: str) -> None:
    """One-hot vectors, fractions of choices, values outside: by a tolerance that goes with the bounds."""
    assert told in mistake(lambda: fitted(acting(given), Seen(PLAIN, space)))
    fitted(acting(np.float32([[100_009]])), Seen(PLAIN, spaces.Box(-1e5, 1e5, (1,))))


def test_choices_are_numbered_anew_not_clipped() -> None:
    """Clipping would make one choice of two."""
    told = mistake(lambda: fitted(acting([1, 2, 2]), Seen(PLAIN, spaces.Discrete(2))))
    assert "does not take the action 2, only Discrete(2): number the choices from 0, as by adding -1 to all" in told
    told = mistake(lambda: fitted(acting([0, 2, 1]), Seen(PLAIN, spaces.Discrete(2))))
    assert "only Discrete(2): correct it, or leave" in told
    fitted(acting([0, 1, 1]), Seen(PLAIN, spaces.Discrete(2)))


def test_what_does_not_fit_names_the_recorded_environment() -> None:
    """Where another id was given; following it, the data fit."""
    swings = of_pendulum(1)
    told = mistake(lambda: fitted(swings, gym.make("CartPole-v1")))
    assert told.endswith("; without --environment.id, Pendulum-v1 is taken")
    used = recorded.settled(EnvironmentConfig(), swings)
    assert used.id == "Pendulum-v1"
    fitted(swings, make(used))
    own = mistake(lambda: fitted(replace(swings, environment="CartPole-v1"), gym.make("CartPole-v1")))
    assert "--environment.id" not in own


def test_a_time_limit_below_unknown_demonstrations_is_said() -> None:
    """Also where the file does not say which environment they are of."""
    unknown = replace(of_pendulum(1), environment=None, recorded=None)
    short_limit = pendulum(max_episode_steps=20)
    told, other = recorded.compared(unknown, short_limit, EnvironmentConfig("Pendulum-v1", {"max_episode_steps": 20}))
    assert any(line.startswith("ANOTHER ENVIRONMENT") and "a time limit of 20 here" in line for line in told)
    assert other


def flat(space: gym.Space[Any]) -> gym.Env[Any, Any]:
    return gym.wrappers.FlattenObservation(Seen(space, spaces.Discrete(2)))


@pytest.mark.parametrize(
    ("environment", "given", "wanted"),
    [
        (flat(spaces.Discrete(3)), np.array([0, 2, 1]), [[1, 0, 0], [0, 0, 1], [0, 1, 0]]),
        (flat(spaces.Discrete(3, start=1)), np.float32([[1], [3]]), [[1, 0, 0], [0, 0, 1]]),
        (flat(spaces.MultiDiscrete([2, 2])), np.array([[0, 1], [1, 1]]), [[1, 0, 0, 1], [0, 1, 0, 1]]),
        (flat(spaces.Box(-9, 9, (1, 2))), np.float32([[[1, 2]], [[3, 4]]]), [[1, 2], [3, 4]]),
        (
            Seen(spaces.Box(0, 255, (2,), np.uint8), spaces.Discrete(2)),
            np.float32([[1, 255], [0, 7]]),
            [[1, 255], [0, 7]],
        ),
        (Seen(spaces.Box(0, 255, (2,)), spaces.Discrete(2)), np.uint8([[1, 255], [0, 7]]), [[1, 255], [0, 7]]),
    ],
)
def test_observations_become_those_of_the_space(environment: gym.Env[Any, Any], given: Any, wanted: Any) -> None:
    """One-hot where the environment's choices are flattened; bytes and floats where they are the same numbers."""
    found = fitted(acting(np.zeros(len(given) - 1, int), given), environment)
    np.testing.assert_array_equal(found.episodes[0].observations, wanted)
    kind = np.uint8 if environment.observation_space.dtype == np.uint8 else np.float32
    assert found.episodes[0].observations.dtype == kind
    assert found.intake.notes, "what was done is said"


def test_observations_that_are_none_of_the_space() -> None:
    """A choice that there is not; scaled pictures for one that shows bytes, bytes for one that may show either."""
    given = acting([0], np.array([0, 3]))
    assert "mine episode 0 has observations that are not all of Discrete(3)" in mistake(
        lambda: fitted(given, flat(spaces.Discrete(3)))
    )
    scaled = acting([0], np.float32([[0, 0.5], [1, 1]]))
    pixels = Seen(spaces.Box(0, 255, (2,), np.uint8), spaces.Discrete(2))
    assert "observations are float32, but the environment's uint8" in mistake(lambda: fitted(scaled, pixels))
    for space in (PLAIN, spaces.Box(0, 1, (2,))):
        some = acting([0], np.uint8([[0, 255], [1, 1]]))
        assert "observations are uint8" in mistake(lambda: fitted(some, Seen(space, spaces.Discrete(2))))  # noqa: B023
    far = fitted(acting([0], np.float32([[0, 90], [1, 1]])), Seen(spaces.Box(-1, 1, (2,)), spaces.Discrete(2)))
    assert "50% of the observations lie OUTSIDE of the bounds" in far.intake.notes[0]


@needs_minari
def test_pictures_that_minari_compressed(minari_root: Path) -> None:
    """Its default is JPEG, so that what the expert saw is not what the environment shows: said, and not for ours."""
    minari = pytest.importorskip("minari")
    space = spaces.Box(0, 255, (32, 32, 3), np.uint8)
    pictures = (np.indices((6, 32, 32, 3)).sum(0) % 2 * 255).astype(np.uint8)
    there = Demonstrations([Episode(pictures, np.zeros(5, np.int64), np.zeros(5, np.float32), False)], None, "")
    write_minari("kit/ours-v0", there, Seen(space, spaces.Discrete(2)))
    assert read_minari("kit/ours-v0").intake.notes == []
    np.testing.assert_array_equal(read_minari("kit/ours-v0").episodes[0].observations, pictures)
    content = {"actions": np.zeros(5, int), "rewards": np.zeros(5), "terminations": [0] * 5, "truncations": [0] * 5}
    buffer = minari.data_collector.EpisodeBuffer(observations=pictures, **content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        minari.create_dataset_from_buffers("kit/jpeg-v0", [buffer], env=Seen(space, spaces.Discrete(2)))
    back = read_minari("kit/jpeg-v0")
    assert not np.array_equal(back.episodes[0].observations, pictures), "that the trap is there"
    assert "stored as JPEG" in back.intake.notes[0]


# What is said first


def test_odd_episodes_are_dropped_and_counted(tmp_path: Path) -> None:
    """NaN, no step, an action that is not taken, too few steps for the subsampling; and duplicates are said."""
    lens = [4, 0, 4, 4, 2, 4]
    obs, acts = np.arange(48, dtype=np.float32).reshape(24, 2) / 100, np.zeros(18, int)
    obs[6], acts[9] = np.nan, 7  # in the third, the fourth
    obs[19:24] = obs[0:5]  # the last is the first again
    np.savez(tmp_path / "odd.npz", obs=obs, acts=acts, lens=lens)
    config = DemonstrationConfig(path=str(tmp_path / "odd.npz"), bad_episodes="drop", subsample=3, trajectories=1)
    with gym.make("Recorded/Walk-v0", disable_env_checker=True) as environment:
        environment.unwrapped.action_space = spaces.Discrete(2)
        fit = fitted(load(config), environment, config)
        assert len(fit.episodes) == 2
        lines = summary(fit, config)
        assert fit.intake.balanced
        all_of_them = DemonstrationConfig(path=config.path)
        assert DROP in mistake(lambda: load(all_of_them))
    assert lines == [
        f"{tmp_path}/odd.npz: 6 episodes read, 1 used; 1 DROPPED (without a step); 1 DROPPED (NaN or infinity); "
        "1 DROPPED (an action that is not taken); 1 DROPPED (fewer steps than --demonstrations.subsample 3); "
        "1 DROPPED (beyond --demonstrations.trajectories 1)",
        "4 steps, one in 3 is learnt from, 2; episodes of 4 to 4 steps, 0 ended by the task, 1 cut; return unknown",
        "1 episodes are EXACT REPETITIONS of others, and count as often as they are there",
    ]
    hopeless = DemonstrationConfig(path=config.path, bad_episodes="drop", subsample=9)
    with gym.make("Recorded/Walk-v0", disable_env_checker=True) as environment:
        assert "all 6 episodes were left out (" in mistake(lambda: fitted(load(hopeless), environment, hopeless))


@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_what_float32_cannot_hold_is_said(tmp_path: Path, kind: type) -> None:
    """A clock of seconds since 1970 moves by less than float32 can tell."""
    obs = np.stack([np.arange(9), 1.7e9 + np.arange(9)], axis=1).astype(kind)
    np.savez(tmp_path / "clock.npz", obs=obs, acts=np.zeros(8, int))
    told = "\n".join(read_npz(tmp_path / "clock.npz").intake.notes)
    assert "observations are rounded to float32, and number 1 varies by 2.58 only, around 1.7e+09" in told
    np.savez(tmp_path / "clock.npz", obs=obs - [0, 1.7e9], acts=np.zeros(8, int))
    assert read_npz(tmp_path / "clock.npz").intake.notes == []
