"""Demonstrations as other libraries save them: each step is read as it was, or counted as left out."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from seqgan_kit.errors import UserError
from seqgan_kit.imitation.config import ImitationConfig, PolicyConfig
from seqgan_kit.imitation.demonstrations import DROP, DemonstrationConfig, Demonstrations
from seqgan_kit.imitation.environments import EnvironmentConfig
from seqgan_kit.imitation.formats import load
from seqgan_kit.imitation.train import ImitationTask

Arrays = dict[str, Any]


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


class Made(NamedTuple):
    """An episode as it happened: obs (steps + 1, 2), acts (steps,), rews (steps,)."""

    obs: np.ndarray
    acts: np.ndarray
    rews: np.ndarray
    terminated: bool


def made(*lengths: int, terminated: tuple[bool, ...] = (), seed: int = 0) -> list[Made]:
    """terminated: of each; every second one where it is not given."""
    random = np.random.default_rng(seed)
    ends = terminated or tuple(number % 2 == 0 for number in range(len(lengths)))
    return [
        Made(
            random.standard_normal((steps + 1, 2), np.float32),
            random.integers(0, 3, steps),
            random.standard_normal(steps, np.float32),
            end,
        )
        for steps, end in zip(lengths, ends, strict=True)
    ]


def columns(episodes: list[Made]) -> Arrays:
    """A row a step, by the names of D4RL; `last`, whether it is the last one of its episode."""
    last = np.concatenate([np.arange(len(e.acts)) == len(e.acts) - 1 for e in episodes])
    terminals = last & np.concatenate([np.full(len(e.acts), e.terminated) for e in episodes])
    return {
        "observations": np.concatenate([e.obs[:-1] for e in episodes]),
        "next_observations": np.concatenate([e.obs[1:] for e in episodes]),
        "actions": np.concatenate([e.acts for e in episodes]),
        "rewards": np.concatenate([e.rews for e in episodes]),
        "terminals": terminals,
        "timeouts": last & ~terminals,
        "last": last,
    }


def read(path: Path, **options: Any) -> Demonstrations:
    return load(DemonstrationConfig(path=str(path), **options))


def mistake(call: Callable[[], object]) -> str:
    """The one line that the user is told."""
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def told(demonstrations: Demonstrations) -> str:
    return "\n".join(demonstrations.intake.lines())


def assert_read(demonstrations: Demonstrations, episodes: list[Made], known: bool) -> None:
    """Each step as it happened; where the last observation is not known, without the last step and the end."""
    assert len(demonstrations.episodes) == len(episodes)
    earned = demonstrations.returns()
    for number, (there, was) in enumerate(zip(demonstrations.episodes, episodes, strict=True)):
        steps = len(was.acts) - (not known)
        np.testing.assert_array_equal(there.observations, was.obs[: steps + 1])
        np.testing.assert_array_equal(there.actions, was.acts[:steps])
        assert there.terminated == (known and was.terminated)
        if earned is not None:
            assert earned[number] == pytest.approx(was.rews.sum(dtype=np.float64)), "the whole episode's, all the same"


# stable-baselines


def stable_baselines(path: Path, episodes: list[Made]) -> None:
    """As its generate_expert_traj saves them."""
    table = columns(episodes)
    np.savez(
        path,
        actions=table["actions"].reshape(-1, 1),
        obs=table["observations"],
        rewards=table["rewards"],
        episode_returns=np.array([e.rews.sum() for e in episodes]),
        episode_starts=np.concatenate([[True], table["last"][:-1]]),
    )


def test_stable_baselines(tmp_path: Path) -> None:
    """The last observation of an episode is not in its files, nor what ended it: nothing is made up for them."""
    episodes = made(4, 2, 7)
    stable_baselines(tmp_path / "expert.npz", episodes)
    there = read(tmp_path / "expert.npz")
    assert_read(there, episodes, known=False)
    assert "the LAST STEP of 3 episodes is LEFT OUT, since the observation after it is not in the file" in told(there)
    assert "episode_returns" not in told(there)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda returns: np.add(returns, [0, 1, 0]),
            "1 of 3 episode_returns are NOT what the rewards of the steps add up to",
        ),
        (lambda returns: returns[1:], "episode_returns are of 2 episodes, but 3 are FOUND in the steps"),
    ],
)
def test_returns_that_are_not_those_of_the_rewards_are_told(tmp_path: Path, change: Any, message: str) -> None:
    """As where rewards were normalised, or the files of two runs were mixed."""
    stable_baselines(tmp_path / "expert.npz", made(4, 2, 7))
    arrays = dict(np.load(tmp_path / "expert.npz"))
    np.savez(tmp_path / "other.npz", **arrays | {"episode_returns": change(arrays["episode_returns"])})
    assert message in told(read(tmp_path / "other.npz"))


# D4RL


def d4rl(path: Path, episodes: list[Made], leave_out: tuple[str, ...] = ()) -> None:
    content = {key: value for key, value in columns(episodes).items() if key not in (*leave_out, "last")}
    if path.suffix == ".npz":
        np.savez(path, **content)
        return
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            file[key] = value
        file["infos/qpos"] = np.zeros(3)


SUFFIXES = ["npz", pytest.param("hdf5", marks=needs("h5py"))]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("known", [True, False])
def test_d4rl(tmp_path: Path, suffix: str, known: bool) -> None:
    """With next_observations all is known; without them no observation of the next episode gets into this one."""
    episodes, path = made(4, 2, 7, 1, 3)[: 5 if known else 3], tmp_path / f"hopper.{suffix}"
    d4rl(path, episodes, () if known else ("next_observations",))
    there = read(path)
    assert_read(there, episodes, known)
    assert there.ends_told
    assert ("LAST STEP of 3 episodes" in told(there)) == (not known)
    assert ("2 of them were terminations, which are not seen" in told(there)) == (not known)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_d4rl_without_timeouts(tmp_path: Path, suffix: str) -> None:
    """Its older files: where a time limit cut an episode shows where the next observation is of another one."""
    episodes, path = made(4, 2, 7), tmp_path / f"hopper.{suffix}"
    d4rl(path, episodes, ("timeouts",))
    there = read(path)
    assert_read(there, episodes, known=True)
    assert not there.ends_told
    assert "1 ends are where the next observation is not the one of the following step" in told(there)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_d4rl_that_cannot_be_split(tmp_path: Path, suffix: str) -> None:
    """Terminations alone would join what a time limit cut. The advice is followed to its end."""
    path = tmp_path / f"hopper.{suffix}"
    d4rl(path, made(4, 2, 7), ("timeouts", "next_observations"))
    message = mistake(lambda: read(path))
    assert f"{path} has terminals alone, which do not tell where a time limit cut an episode: give timeouts" in message
    assert "all False if none did" in message
    d4rl(path, made(4, 2, 7), ("next_observations",))
    assert len(read(path).episodes) == 3
    table = columns(made(4, 2, 7))
    np.savez(tmp_path / "lens.npz", obs=table["observations"], acts=table["actions"], lens=[4, 2, 7])
    assert len(read(tmp_path / "lens.npz").episodes) == 3


def test_what_follows_an_end_is_of_another_episode(tmp_path: Path) -> None:
    """Replay buffers of environments that start anew at once keep the new episode's start as the next observation."""
    episodes = made(4, 2, 7)
    table = columns(episodes)
    following = table["next_observations"].copy()
    ends = np.flatnonzero(table["last"])[:-1]
    following[ends] = table["observations"][ends + 1]
    np.savez(tmp_path / "buffer.npz", **table | {"next_observations": following})
    there = read(tmp_path / "buffer.npz")
    assert_read(Demonstrations(there.episodes[:2], None, ""), episodes[:2], known=False)
    assert_read(Demonstrations(there.episodes[2:], None, ""), episodes[2:], known=True)
    assert "at 2 ends the next observation is the one that ANOTHER episode starts with" in told(there)
    assert "the LAST STEP of 2 episodes is LEFT OUT" in told(there)


def test_a_file_that_stops_within_an_episode(tmp_path: Path) -> None:
    """It is used up to there, and said."""
    table = {key: values[:-2] for key, values in columns(made(4, 2, 7)).items()}
    np.savez(tmp_path / "part.npz", **table)
    there = read(tmp_path / "part.npz")
    assert [len(e.actions) for e in there.episodes] == [4, 2, 5]
    assert not there.episodes[2].terminated
    assert "the last episode does not come to its end in the file, and counts as cut there" in told(there)


# The kit's own names


def test_observations_as_many_as_actions(tmp_path: Path) -> None:
    """obs and acts of equal length with lens: the last step of each is left out, also where the task ended it."""
    episodes = made(4, 2, 7)
    table = columns(episodes)
    ends = {"lens": [4, 2, 7], "terminal": [True, False, True]}
    np.savez(tmp_path / "own.npz", obs=table["observations"], acts=table["actions"], rews=table["rewards"], **ends)
    there = read(tmp_path / "own.npz")
    assert_read(there, episodes, known=False)
    assert "2 of them were terminations, which are not seen" in told(there)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"observations": np.zeros((3, 2)), "action_probabilities": np.zeros(3)}, "has no acts: np.savez(path, obs="),
        ({"x": np.zeros(3), "y": np.zeros(3)}, "has no obs and no acts: np.savez(path, obs=..., acts=..., lens=...) "),
        ({"x": np.zeros(3), "y": np.zeros(3)}, "makes one (it has 'x', 'y')"),
        (
            {"obs": np.zeros((3, 2)), "observations": np.zeros((3, 2)), "acts": np.zeros(3)},
            "has obs and observations, which are the same here: leave out one of them",
        ),
        (
            {"obs": np.zeros((3, 2)), "acts": np.zeros(3), "dones": np.zeros(2)},
            "dones has 2 rows, actions 3: they must be as many, correct one of them",
        ),
        ({"obs": np.zeros((3, 2)), "acts": np.zeros(3)}, "has nothing that tells where a time limit cut an episode"),
        ({"obs": np.zeros((5, 2)), "acts": np.zeros(3)}, "has 5 obs, 3 acts and no lens: give lens"),
        ({"obs": np.zeros((0, 2)), "acts": np.zeros(0), "dones": np.zeros(0)}, "has no steps: give at least one"),
    ],
)
def test_messages_see_what_is_there(tmp_path: Path, content: Arrays, message: str) -> None:
    """In an .npz; an HDF5 file is told of in the same words."""
    path = tmp_path / "some.npz"
    np.savez(path, **content)
    assert message in mistake(lambda: read(path))


@needs("h5py")
def test_hdf5_that_is_another(tmp_path: Path) -> None:
    """Text under that name, groups of another library, a Minari data set's own file, a name that is not there."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.hdf5"
    path.write_text("no")
    assert mistake(lambda: read(path)).startswith(f"{path} cannot be read as HDF5 (")
    with h5py.File(path, "w") as file:
        file["data/demo_0/obs"] = np.zeros(3)
    assert "has no obs and no acts" in mistake(lambda: read(path))
    assert mistake(lambda: read(path)).endswith("(it has 'data/')")
    inner = tmp_path / "hopper" / "expert-v0" / "data" / "main_data.hdf5"
    inner.parent.mkdir(parents=True)
    with h5py.File(inner, "w") as file:
        file["episode_0/actions"] = np.zeros(3)
    assert mistake(lambda: read(inner)).endswith(f"of a Minari data set: give the folder of it, {inner.parent.parent}")
    assert "did you mean a.hdf5?" in mistake(lambda: read(tmp_path / "b.hdf5"))


# Tables


def parquet(path: Path, content: Arrays) -> None:
    table = pytest.importorskip("pyarrow").table({key: list(values) for key, values in content.items()})
    pytest.importorskip("pyarrow.parquet").write_table(table, str(path))


def json_lines(path: Path, content: Arrays) -> None:
    lists = {key: [np.asarray(value).tolist() for value in values] for key, values in content.items()}
    rows = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


TABLES = [pytest.param("parquet", parquet, marks=needs("pyarrow")), ("jsonl", json_lines)]


@pytest.mark.parametrize(("suffix", "write"), TABLES)
def test_a_row_is_a_step(tmp_path: Path, suffix: str, write: Callable[..., None]) -> None:
    """By the names of LeRobot; rows may stand in any order, by episode and number."""
    episodes, path = made(4, 2, 7), tmp_path / f"robot.{suffix}"
    table = columns(episodes)
    rows = {
        "observation.state": table["observations"],
        "action": table["actions"],
        "next.reward": table["rewards"],
        "next.done": table["last"],
        "episode_index": np.repeat([0, 1, 2], [4, 2, 7]),
        "frame_index": np.concatenate([np.arange(4), np.arange(2), np.arange(7)]),
    }
    write(path, rows)
    assert_read(read(path), episodes, known=False)
    order = np.random.default_rng(0).permutation(13)
    order = order[np.argsort(order != 0, kind="stable")]  # what is first names the first episode
    write(path, {key: values[order] for key, values in rows.items()})
    assert sorted(len(e.actions) for e in read(path).episodes) == [1, 3, 6]
    lost = np.arange(13) != 9
    write(path, {key: values[lost] for key, values in rows.items()})
    there = read(path)
    assert [len(e.actions) for e in there.episodes] == [3, 1, 2, 2]
    assert "1 EPISODES ARE CUT IN TWO where steps are missing" in told(there)


@pytest.mark.parametrize(("suffix", "write"), TABLES)
@pytest.mark.parametrize("known", [True, False])
def test_a_row_is_an_episode(tmp_path: Path, suffix: str, write: Callable[..., None], known: bool) -> None:
    """With the observation that it ended in, or without."""
    episodes, path = made(4, 2, 7), tmp_path / f"expert.{suffix}"
    content = {
        "obs": [list(e.obs.astype(float) if known else e.obs[:-1].astype(float)) for e in episodes],
        "acts": [e.acts for e in episodes],
        "rews": [e.rews.astype(float) for e in episodes],
    }
    if known:
        content["terminal"] = [e.terminated for e in episodes]
    write(path, content)
    assert_read(read(path), episodes, known)


def test_a_table_of_something_else(tmp_path: Path) -> None:
    """Its columns are named; nothing is read from an empty one."""
    path = tmp_path / "a.jsonl"
    json_lines(path, {"text": ["a"]})
    assert mistake(lambda: read(path)) == f"{path} has no column obs and no acts, only ['text']"
    path.write_text("\n")
    assert "has no episodes: give at least one" in mistake(lambda: read(path))


# Every step is used or told


def kit(path: Path, episodes: list[Made]) -> None:
    np.savez(
        path,
        obs=np.concatenate([e.obs for e in episodes]),
        acts=np.concatenate([e.acts for e in episodes]),
        rews=np.concatenate([e.rews for e in episodes]),
        lens=[len(e.acts) for e in episodes],
        terminal=[e.terminated for e in episodes],
    )


def by_index(path: Path, episodes: list[Made]) -> None:
    table = columns(episodes)
    number = np.repeat(np.arange(len(episodes)), [len(e.acts) for e in episodes])
    names = {"obs": "observations", "acts": "actions", "rews": "rewards", "next_obs": "next_observations"}
    json_lines(path, {key: table[name] for key, name in names.items()} | {"done": table["last"], "episode": number})


WRITERS: dict[str, tuple[str, Callable[..., None], bool]] = {
    "kit": ("npz", kit, True),
    "stable-baselines": ("npz", stable_baselines, False),
    "D4RL": ("npz", d4rl, True),
    "D4RL without next": ("npz", lambda path, episodes: d4rl(path, episodes, ("next_observations",)), False),
    "D4RL in HDF5": ("hdf5", d4rl, True),
    "steps in JSON lines": ("jsonl", by_index, True),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_episode_is_used_or_told(tmp_path: Path, name: str) -> None:
    """Generated files, some of whose episodes are odd: NaN, infinity, or too short to be used without their end."""
    suffix, write, known = WRITERS[name]
    if suffix == "hdf5":
        pytest.importorskip("h5py")
    path = tmp_path / f"some.{suffix}"
    for seed in range(12):
        random = np.random.default_rng(seed)
        episodes = made(*random.integers(1, 9, random.integers(2, 9)).tolist(), seed=seed)
        odd = set()
        for number, episode in enumerate(episodes):
            if random.random() < 0.2:
                array, value = [(episode.obs, np.nan), (episode.obs, np.inf), (episode.rews, -np.inf)][seed % 3]
                array[random.integers(0, len(array) - (len(array) > len(episode.acts)))] = value
                odd.add(number)
        usable = [e for k, e in enumerate(episodes) if k not in odd and (known or len(e.acts) > 1)]
        # NaN or infinity that stands in the last step, which is left out, does no harm
        fine = [k for k in odd if not known and np.isfinite(episodes[k].obs[:-1].sum() + episodes[k].rews[:-1].sum())]
        write(path, episodes)
        if not usable or fine:
            continue
        there = read(path, bad_episodes="drop")
        ended = [False] * len(usable) if not known or "JSON" in name else [e.terminated for e in usable]
        if "JSON" in name:
            ended = [True] * len(usable)  # `done` is all it says
        assert_read(there, [e._replace(terminated=end) for e, end in zip(usable, ended, strict=True)], known)
        assert there.intake.balanced
        assert (there.intake.read, there.intake.used) == (len(episodes), len(usable))
        if len(usable) < len(episodes):
            message = mistake(lambda: read(path))
            assert f"{path} episode " in message
            assert DROP in message, "the advice that was followed above"


# What looks like something else


def test_rows_that_are_episodes_are_told(tmp_path: Path) -> None:
    """(episodes, steps, ...) is no table of steps: said so, with or without flags, and no traceback."""
    obs, acts = np.zeros((4, 20, 3)), np.zeros((4, 20), int)
    for more in ({}, {"dones": np.zeros((4, 20), bool)}, {"obs": np.zeros((4, 21, 3))}):
        np.savez(tmp_path / "a.npz", **({"obs": obs, "acts": acts} | more))
        told = mistake(lambda: read(tmp_path / "a.npz"))
        assert "its 4 rows look like episodes of 20 steps: then give obs.reshape(-1, *obs.shape[2:])" in told
    np.savez(tmp_path / "b.npz", obs=obs.reshape(-1, 3), acts=acts.reshape(-1), lens=np.full(4, 20))
    assert len(read(tmp_path / "b.npz").episodes) == 4


def test_numbers_that_do_not_vary_lose_nothing(tmp_path: Path) -> None:
    """Their deviation is not 0 after rounding."""
    obs = np.stack([np.arange(21.0), np.full(21, 0.3)], 1)
    np.savez(tmp_path / "a.npz", obs=obs, acts=np.zeros(20, int))
    assert read(tmp_path / "a.npz").intake.notes == []


def test_fewer_trajectories_than_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before there is a folder: a recurrent policy is cloned from whole ones."""
    np.savez(tmp_path / "a.npz", obs=np.zeros((21, 4)), acts=np.zeros(20, int), lens=[20])
    given = DemonstrationConfig(path=str(tmp_path / "a.npz"))
    config = ImitationConfig(
        environment=EnvironmentConfig("CartPole-v1"), demonstrations=given, policy=PolicyConfig(recurrent=4)
    )
    ImitationTask(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "has 1 trajectories for 2 processes: give more, or launch 1" in mistake(lambda: ImitationTask(config))
    ImitationTask(replace(config, policy=PolicyConfig()))
