"""Expert demonstrations: files of three kinds in and out, mistakes in them, and what training takes from them."""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from seqgan_kit.errors import UserError
from seqgan_kit.imitation.demonstrations import (
    DemonstrationConfig,
    Demonstrations,
    Episode,
    choose,
    transitions,
)
from seqgan_kit.imitation.fitting import fitted
from seqgan_kit.imitation.formats import (
    load,
    read_datasets,
    read_npz,
    write_datasets,
    write_npz,
)
from seqgan_kit.imitation.minari_data import read_minari, write_minari

DATA = os.environ.get("SEQGAN_KIT_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="SEQGAN_KIT_DATA does not name the folder of real data")


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


needs_datasets = needs("datasets")
needs_minari = needs("minari", "h5py")

Arrays = dict[str, Any]
Save = Callable[..., Path]


def expert(
    lengths: tuple[int, ...] = (3, 5, 1),
    observation: tuple[int, ...] = (4,),
    dim: int | None = None,
    rewards: bool = True,
    environment: str | None = "CartPole-v1",
    pictures: bool = False,
) -> Demonstrations:
    """Random episodes, every second one terminated; dim: of the actions, None for 0 or 1."""
    random = np.random.default_rng(7)
    episodes = []
    for number, steps in enumerate(lengths):
        shape = (steps + 1, *observation)
        episodes.append(
            Episode(
                random.integers(0, 256, shape, np.uint8) if pictures else random.standard_normal(shape, np.float32),
                random.integers(0, 2, steps) if dim is None else random.uniform(-1, 1, (steps, dim)).astype(np.float32),
                random.standard_normal(steps, np.float32) if rewards else None,
                terminated=number % 2 == 0,
                seed=100 + number if number else None,
            )
        )
    return Demonstrations(episodes, environment, "expert")


def assert_same(one: Demonstrations, other: Demonstrations, seeds: bool = True) -> None:
    """Bit for bit, with the same types."""
    assert len(one.episodes) == len(other.episodes)
    for a, b in zip(one.episodes, other.episodes, strict=True):
        for x, y in ((a.observations, b.observations), (a.actions, b.actions), (a.rewards, b.rewards)):
            if x is None or y is None:
                assert x is y
            else:
                assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
        assert (a.terminated, a.seed if seeds else None) == (b.terminated, b.seed if seeds else None)
        assert type(b.terminated) is bool


def arrays(demonstrations: Demonstrations) -> Arrays:
    """The keys of an .npz file, made here by hand."""
    episodes = demonstrations.episodes
    return {
        "obs": np.concatenate([e.observations for e in episodes]),
        "acts": np.concatenate([e.actions for e in episodes]),
        "rews": np.concatenate([e.rewards for e in episodes if e.rewards is not None]),
        "lens": np.array([len(e.actions) for e in episodes]),
        "terminal": np.array([e.terminated for e in episodes]),
    }


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """A user's npz file: the usual keys, changed or left out (None)."""

    def save(name: str = "expert.npz", **changes: Any) -> Path:
        path = tmp_path / name
        content = {key: value for key, value in (arrays(expert()) | changes).items() if value is not None}
        np.savez(path, **content)
        return path

    return save


def mistake(call: Callable[[], object]) -> str:
    """The one line that the user is told."""
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


KINDS: list[Arrays] = [
    {},
    {"dim": 2, "environment": None},
    {"dim": 1},
    {"observation": ()},
    {"observation": (5, 4, 3), "pictures": True},
    {"rewards": False},
    {"lengths": (1,)},
]


# Plain npz


@pytest.mark.parametrize("kind", KINDS)
def test_npz_round_trip(tmp_path: Path, kind: Arrays) -> None:
    """What is written is read again, bit for bit, with environment and seeds; nothing else stays in the folder."""
    path, there = tmp_path / "new" / "expert.npz", expert(**kind)
    write_npz(path, there)
    write_npz(path, there)
    back = load(DemonstrationConfig(path=str(path)))
    assert_same(there, back)
    assert (back.environment, back.name) == (there.environment, str(path))
    assert [item.name for item in path.parent.iterdir()] == ["expert.npz"]


def test_npz_keys(tmp_path: Path) -> None:
    """Written files have the keys of those that come with the kit's data, and need no pickle."""
    path = tmp_path / "expert.npz"
    write_npz(path, expert())
    with np.load(path, allow_pickle=False) as archive:
        content = {key: archive[key] for key in archive.files}
    assert set(content) == {"obs", "acts", "rews", "terminal", "lens", "returns", "seeds", "env_id", "meta"}
    for key, value in arrays(expert()).items():
        np.testing.assert_array_equal(content[key], value)
    np.testing.assert_array_equal(content["seeds"], [-1, 101, 102])
    np.testing.assert_array_equal(content["returns"], expert().returns())
    assert str(content["meta"]) == '{"source": "expert"}'


def test_npz_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails midway leaves the old file as it was and no other one."""
    path = tmp_path / "expert.npz"
    write_npz(path, expert())
    before = path.read_bytes()

    def fail(file: io.BufferedWriter, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        write_npz(path, expert((2,)))
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["expert.npz"]


def test_npz_is_on_disk_before_it_replaces_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file is synchronised, then renamed: whoever has the old one open goes on reading it."""
    path = tmp_path / "expert.npz"
    write_npz(path, expert())
    calls = []

    def watch(name: str) -> None:
        function = getattr(os, name)

        def called(*arguments: Any) -> None:
            calls.append(name)
            function(*arguments)

        monkeypatch.setattr(os, name, called)

    watch("fsync")
    watch("replace")
    with open(path, "rb") as old:
        before = path.read_bytes()
        write_npz(path, expert((2,)))
        assert old.read() == before
    assert calls == ["fsync", "replace"]
    assert_same(expert((2,)), read_npz(path))


def test_the_least_that_a_user_must_give(save: Save) -> None:
    """obs, acts and lens: rewards and returns are then unknown, and no episode counts as terminated."""
    there = read_npz(save(rews=None, terminal=None))
    assert [len(episode.actions) for episode in there.episodes] == [3, 5, 1]
    assert there.returns() is None
    assert there.environment is None
    assert not any(episode.terminated for episode in there.episodes)
    assert all(episode.rewards is None and episode.seed is None for episode in there.episodes)


def test_a_single_episode_needs_no_lens(save: Save) -> None:
    """With one row of obs more than of acts it is one episode."""
    there = read_npz(save(obs=np.zeros((6, 2)), acts=np.ones(5, int), lens=None, rews=None, terminal=None))
    assert [len(episode.actions) for episode in there.episodes] == [5]


def test_old_files_of_the_imitation_library(save: Save) -> None:
    """`indices` says where acts are split; their pickled `infos` are not touched."""
    infos = np.array([{"a": 1}] * 9, dtype=object)
    assert_same(expert(), read_npz(save(lens=None, indices=np.array([3, 8]), infos=infos)), seeds=False)


@pytest.mark.parametrize(
    ("given", "dtype", "shape"),
    [
        (np.zeros(9, np.int32), np.int64, ()),
        (np.zeros((9, 1), np.uint8), np.int64, ()),
        (np.zeros(9, bool), np.int64, ()),
        (np.zeros((9, 2), np.int32), np.int64, (2,)),
        (np.zeros(9), np.float32, (1,)),
        (np.zeros((9, 3)), np.float32, (3,)),
        (np.zeros((9, 2), bool), np.int64, (2,)),
        (np.zeros((9, 2, 2)), np.float32, (2, 2)),
    ],
)
def test_actions_in_our_types(save: Save, given: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    """Integers are one choice a step, floats a vector a step, whatever their width."""
    for episode in read_npz(save(acts=given)).episodes:
        assert episode.actions.dtype == dtype
        assert episode.actions.shape[1:] == shape


@pytest.mark.parametrize(("given", "wanted"), [(np.float64, np.float32), (np.int64, np.float32), (np.uint8, np.uint8)])
def test_observations_in_our_types(save: Save, given: type, wanted: type) -> None:
    """Bytes stay bytes, since they are pictures; all other numbers become float32."""
    assert {e.observations.dtype for e in read_npz(save(obs=np.ones((12, 4), given))).episodes} == {np.dtype(wanted)}


def changed(key: str, place: int, value: float) -> Arrays:
    array = arrays(expert())[key].astype(np.float64)
    array[place] = value
    return {key: array}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"acts": None}, "{path} has no acts: np.savez(path, obs=..., acts=..., lens=...) makes one"),
        ({"obs": None, "acts": None}, "{path} has no obs and no acts: "),
        ({"lens": None}, "{path} has 12 obs, 9 acts and no lens: give lens, "),
        (
            {"lens": np.array([3, 5])},
            "{path}: lens are 2 episodes that add up to 8 steps, so acts must have 8 rows, not 9",
        ),
        (
            {"obs": np.zeros((10, 4))},
            "{path}: lens are 3 episodes that add up to 9 steps, so obs must have 12 rows, not 10",
        ),
        ({"rews": np.zeros(8)}, "so rews must have 9 rows, not 8"),
        ({"terminal": np.zeros(9, bool)}, "so terminal must have 3 rows, not 9"),
        ({"seeds": np.zeros(2, int)}, "so seeds must have 3 rows, not 2"),
        ({"lens": np.array([3.0, 5.0, 1.0])}, "{path}: lens are float64 of shape (3,): give integers"),
        ({"lens": np.array([[3, 5, 1]])}, "{path}: lens are int64 of shape (1, 3): give integers"),
        ({"lens": np.array([3, 0, 6])}, "{path} episode 1 has 0 steps with an observation before and after: leave it"),
        ({"lens": np.array([10, -1])}, "{path} episode 1 has -1 steps: leave it out"),
        ({"lens": np.array([], int)}, "{path} has no episodes: give at least one"),
        (changed("obs", 5, np.nan), "{path} episode 1 step 1: the observation has NaN or infinity"),
        (changed("obs", 3, -np.inf), "{path} episode 0 step 3: the observation has NaN or infinity"),
        (changed("obs", 11, 1e300), "{path} episode 2 step 1: the observation has NaN or infinity"),
        (changed("acts", 8, np.nan), "{path} episode 2 step 0: the action has NaN or infinity"),
        (changed("rews", 3, np.inf), "{path} episode 1 step 0: the reward has NaN or infinity"),
        ({"rews": np.zeros((9, 2))}, "{path} episode 0 has rewards of shape (3, 2) for 3 steps: give one a step"),
        ({"obs": np.array(["a"] * 12)}, "{path}: obs is no array of numbers, but array(['a', 'a', "),
        ({"acts": np.array(3)}, "{path}: acts is no array of numbers, but array(3): correct it"),
        ({"obs": np.array([[1.0], [1.0, 2.0]], object)}, "{path} has pickled objects, and nothing pickled is loaded: "),
        ({"env_id": np.array({}, object)}, "{path} has pickled objects, and nothing pickled is loaded: "),
    ],
)
def test_mistakes_in_an_npz(save: Save, changes: Arrays, told: str) -> None:
    """Each is told with the file, and the episode and step where there is one."""
    path = save(**changes)
    assert told.format(path=path) in mistake(lambda: read_npz(path))


def pickled() -> bytes:
    return pickle.dumps({"obs": [1.0]})


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "{path} is empty: np.savez(path, obs=..., acts=..., lens=...) makes one"),
        (b"obs,acts\n", "{path} is no .npz file (and nothing pickled is loaded): np.savez(path, obs="),
        (pickled(), "{path} is no .npz file (and nothing pickled is loaded): np.savez(path, obs="),
        (npy(), "{path} is no .npz file (and nothing pickled is loaded): np.savez(path, obs="),
        (b"PK\x03\x04", "{path} cannot be read, cut off or damaged (File is not a zip file): copy it again"),
    ],
)
def test_no_npz(tmp_path: Path, content: bytes, told: str) -> None:
    """Empty files, pickles, arrays and text are told from npz files."""
    path = tmp_path / "expert.npz"
    path.write_bytes(content)
    assert mistake(lambda: read_npz(path)).startswith(told.format(path=path))


@pytest.mark.parametrize("compressed", [False, True])
def test_every_cut_and_many_damages_are_noticed(save: Save, compressed: bool) -> None:
    """Wherever a file is cut off it is refused; with a byte changed it is refused, or obs and acts are as before.

    Optional arrays may look missing: the zip's list of names has no checksum.
    """
    path = save()
    if compressed:
        np.savez_compressed(path, **arrays(expert()))
    whole, there = path.read_bytes(), read_npz(path)
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        assert str(path) in mistake(lambda: read_npz(path))
    refused = 0
    for place in range(0, len(whole), 23):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            back = read_npz(path)
        except UserError:
            refused += 1
        else:
            for one, other in zip(there.episodes, back.episodes, strict=True):
                np.testing.assert_array_equal(one.observations, other.observations)
                np.testing.assert_array_equal(one.actions, other.actions)
    assert refused > 20


def test_nothing_pickled_is_run(tmp_path: Path, save: Save) -> None:
    """A pickle that would leave a trace, as a file and inside of one, leaves none."""
    trace = tmp_path / "trace"

    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(trace),)

    inside = save(obs=np.array([Trap()], object), infos=np.array([Trap()], object))
    plain = tmp_path / "plain.npz"
    plain.write_bytes(pickle.dumps(Trap()))
    assert "nothing pickled is loaded" in mistake(lambda: read_npz(inside))
    assert "nothing pickled is loaded" in mistake(lambda: read_npz(plain))
    read_npz(save("infos.npz", infos=np.array([Trap()] * 9, object)))
    assert not trace.exists()
    with np.load(inside, allow_pickle=True) as archive:  # and the trap would have worked
        archive["obs"]
    assert trace.exists()


def test_a_missing_file_is_guessed(save: Save) -> None:
    """The nearest npz names in the folder are offered, or the first ones."""
    path = save("hopper_expert.npz")
    path.with_name("hopper_expert.txt").touch()
    missing = path.with_name("hoper_expert.npz")
    told = mistake(lambda: load(DemonstrationConfig(path=str(missing))))
    assert told == f"{missing} does not exist: did you mean hopper_expert.npz? ({path.parent})"
    told = mistake(lambda: read_npz(path.with_name("zzz")))
    assert told == f"{path.parent}/zzz does not exist: there is hopper_expert.npz ({path.parent})"
    assert f"neither does the folder {path.parent}/no" in mistake(lambda: read_npz(path.parent / "no" / "a.npz"))


def test_a_folder_that_is_no_data_set(save: Save) -> None:
    """The npz files in it are offered."""
    folder = save().parent
    told = mistake(lambda: load(DemonstrationConfig(path=str(folder))))
    assert told == f"{folder} is a folder, but no data set of `datasets` or Minari: there is expert.npz ({folder})"
    assert mistake(lambda: read_npz(folder)) == f"{folder} is a folder: there is expert.npz ({folder})"


@pytest.mark.parametrize("config", [DemonstrationConfig(), DemonstrationConfig(path="a.npz", minari="b/c-v0")])
def test_one_source(config: DemonstrationConfig) -> None:
    """Neither none nor two."""
    assert "either --demonstrations.path or --demonstrations.minari" in mistake(lambda: load(config))


# Hugging Face datasets


@needs_datasets
@pytest.mark.parametrize("kind", KINDS)
def test_datasets_round_trip(tmp_path: Path, kind: Arrays) -> None:
    """What is written is read again, bit for bit, but the seeds and the environment, which have no place there."""
    folder, there = tmp_path / "expert", expert(**kind)
    write_datasets(folder, there)
    back = load(DemonstrationConfig(path=str(folder)))
    assert_same(there, back, seeds=False)
    assert back.environment is None
    assert [item.name for item in tmp_path.iterdir()] == ["expert"]


@needs_datasets
def test_datasets_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails midway leaves nothing."""
    datasets = pytest.importorskip("datasets")

    def fail(self: Any, folder: str) -> None:
        Path(folder).mkdir()
        raise OSError("disk full")

    monkeypatch.setattr(datasets.Dataset, "save_to_disk", fail)
    with pytest.raises(OSError, match="disk full"):
        write_datasets(tmp_path / "expert", expert())
    assert list(tmp_path.iterdir()) == []


@needs_datasets
def test_datasets_layout(tmp_path: Path) -> None:
    """The columns that `imitation` reads: one row an episode, infos as JSON strings, one a step."""
    datasets = pytest.importorskip("datasets")

    write_datasets(tmp_path / "expert", expert())
    dataset = datasets.load_from_disk(str(tmp_path / "expert"))
    assert set(dataset.column_names) == {"obs", "acts", "rews", "terminal", "infos"}
    assert dataset["infos"][0] == ["{}"] * 3
    assert list(dataset["terminal"]) == [True, False, True]


def saved(folder: Path, columns: Arrays) -> Path:
    datasets = pytest.importorskip("datasets")

    datasets.Dataset.from_dict(columns).save_to_disk(str(folder))
    return folder


@needs_datasets
def test_datasets_with_less(tmp_path: Path) -> None:
    """obs and acts suffice; wider types are cast."""
    folder = saved(tmp_path / "a", {"obs": [np.zeros((3, 2)), np.ones((2, 2))], "acts": [[0, 1], [1]]})
    there = read_datasets(folder)
    assert there.returns() is None
    assert [e.actions.tolist() for e in there.episodes] == [[0, 1], [1]]
    assert {e.observations.dtype for e in there.episodes} == {np.dtype(np.float32)}


@needs_datasets
@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"obs": [[[0.0]]]}, "has no column acts, only ['obs']"),
        (
            {"obs": [[[0.0]] * 3], "acts": [[1]]},
            "episode 0 has 3 observations and 1 actions: give one observation more",
        ),
        ({"obs": [[[0.0]]], "acts": [[1]]}, "episode 0 has 0 steps with an observation before and after: leave it out"),
        (
            {"obs": [[[0.0]]], "acts": [np.zeros(0)]},
            "episode 0 has 0 steps with an observation before and after: leave",
        ),
        ({"obs": [[[0.0], [1.0, 2.0]]], "acts": [[1]]}, "episode 0: obs is no array of numbers"),
        ({"obs": [["a", "b"]], "acts": [[1]]}, "episode 0: obs is no array of numbers"),
        ({"obs": [[0.0, 1.0], [0.0, np.nan]], "acts": [[1], [1]]}, "episode 1 step 1: the observation has NaN"),
        ({"obs": [[[0.0]] * 2, [[0.0, 1.0]] * 2], "acts": [[1], [1]]}, "episode 1 has other observations or actions"),
        ({"obs": [], "acts": []}, "cannot be read as a data set of `datasets` ("),  # which cannot load an empty one
    ],
)
def test_mistakes_in_datasets(tmp_path: Path, columns: Arrays, told: str) -> None:
    """Told with the folder and the episode."""
    folder = saved(tmp_path / "a", columns)
    assert mistake(lambda: read_datasets(folder)).startswith(f"{folder} {told}")


@needs_datasets
def test_damaged_datasets(tmp_path: Path) -> None:
    """A file that is cut off, a folder that is none, several splits and a folder that is there are told."""
    datasets = pytest.importorskip("datasets")

    folder = tmp_path / "a"
    write_datasets(folder, expert((300,)))
    assert f"{folder} exists: give another folder" in mistake(lambda: write_datasets(folder, expert()))
    data = next(folder.glob("*.arrow"))
    data.write_bytes(data.read_bytes()[:1500])
    assert f"{folder} cannot be read as a data set of `datasets`" in mistake(lambda: read_datasets(folder))
    assert f"{tmp_path} cannot be read as a data set" in mistake(lambda: read_datasets(tmp_path))
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"obs": [[0.0] * 2], "acts": [[1]]})})
    splits.save_to_disk(str(tmp_path / "b"))
    told = mistake(lambda: load(DemonstrationConfig(path=str(tmp_path / "b"))))
    assert told == f"{tmp_path}/b has several splits: give {tmp_path}/b/train"


# Minari


@pytest.fixture
def minari_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


class Fake(gym.Env[Any, Any]):
    """Only spaces."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observation_space = observation_space
        self.action_space = action_space


@needs_minari
@pytest.mark.parametrize(
    ("kind", "observation_space", "action_space"),
    [
        ({"dim": 2}, spaces.Box(-np.inf, np.inf, (4,), np.float64), spaces.Box(-1, 1, (2,))),
        ({"observation": (36, 40, 3), "pictures": True}, spaces.Box(0, 255, (36, 40, 3), np.uint8), spaces.Discrete(2)),
    ],
)
def test_minari_round_trip(
    minari_root: Path, kind: Arrays, observation_space: gym.Space[Any], action_space: gym.Space[Any]
) -> None:
    """What is written is read again, bit for bit, with the seeds, by id and by either folder; pictures too."""
    there = expert(**kind)
    write_minari("kit/test-v0", there, Fake(observation_space, action_space))
    folder = minari_root / "kit" / "test-v0"
    for config in (
        DemonstrationConfig(minari="kit/test-v0"),
        DemonstrationConfig(path=str(folder)),
        DemonstrationConfig(path=str(folder / "data")),
    ):
        back = load(config)
        assert_same(there, back)
        assert back.environment is None


@needs_minari
def test_minari_keeps_the_environment(minari_root: Path) -> None:
    """Its id comes from its spec, and Minari itself sees the data as it should be."""
    minari = pytest.importorskip("minari")

    with gym.make("CartPole-v1") as environment:
        write_minari("cartpole/expert-v0", expert(), environment)
    back = read_minari("cartpole/expert-v0")
    assert_same(expert(), back)
    assert (back.environment, back.name) == ("CartPole-v1", "cartpole/expert-v0")
    dataset = minari.load_dataset("cartpole/expert-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (3, 9)
    assert [bool(episode.truncations[-1]) for episode in dataset] == [False, True, False]
    assert [int(episode.truncations.sum() + episode.terminations.sum()) for episode in dataset] == [1, 1, 1]


@needs_minari
def test_a_minari_data_set_that_is_not_there(minari_root: Path) -> None:
    """The nearest ids are offered, and the command that fetches it: the kit downloads nothing itself."""
    told = mistake(lambda: read_minari("cartpole/expert-v0"))
    assert told == (
        "no Minari data set cartpole/expert-v0 here: there is none, or fetch it, `minari download cartpole/expert-v0`"
    )
    write_minari("cartpole/expert-v0", expert(), Fake(spaces.Box(-9, 9, (4,)), spaces.Discrete(2)))
    told = mistake(lambda: load(DemonstrationConfig(minari="cartpole/expret-v0")))
    assert told.startswith("no Minari data set cartpole/expret-v0 here: did you mean cartpole/expert-v0?")
    assert mistake(lambda: read_minari(minari_root / "no")).startswith(f"{minari_root}/no cannot be read as a Minari")


@needs_minari
@pytest.mark.parametrize(
    ("observation_space", "action_space", "told"),
    [
        (
            spaces.Discrete(2),
            spaces.Tuple([spaces.Discrete(2)]),
            "kit/odd-v0 has Tuple(Discrete(2)) as actions, which cannot be learnt",
        ),
        (
            spaces.Discrete(2),
            spaces.Dict({"a": spaces.MultiBinary(2)}),
            "kit/odd-v0 has Dict('a': MultiBinary(2)) as actions, which cannot be learnt",
        ),
    ],
)
def test_minari_actions_that_are_no_arrays(
    minari_root: Path, observation_space: gym.Space[Any], action_space: gym.Space[Any], told: str
) -> None:
    """Told by the name of the space, from a real data set."""
    minari = pytest.importorskip("minari")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that author and so on are not given
        minari.create_dataset_from_buffers(
            "kit/odd-v0", [], observation_space=observation_space, action_space=action_space
        )
    assert mistake(lambda: read_minari("kit/odd-v0")).startswith(told)


@needs_minari
def test_minari_mistakes_when_writing(minari_root: Path) -> None:
    """Unknown rewards, an id that is taken or malformed, other spaces; a damaged file when reading."""
    environment = Fake(spaces.Box(-9, 9, (4,)), spaces.Discrete(2))
    assert "has no rewards, which Minari must have" in mistake(
        lambda: write_minari("kit/a-v0", expert(rewards=False), environment)
    )
    assert "observations of shape (3,)" in mistake(
        lambda: write_minari("kit/a-v0", expert(observation=(3,)), environment)
    )
    assert "a is no id for a Minari data set: give NAMESPACE/NAME-v0" in mistake(
        lambda: write_minari("a", expert(), environment)
    )
    write_minari("kit/a-v0", expert(), environment)
    assert "the Minari data set kit/a-v0 cannot be written: " in mistake(
        lambda: write_minari("kit/a-v0", expert(), environment)
    )
    assert_same(expert(), read_minari("kit/a-v0"))
    data = minari_root / "kit" / "a-v0" / "data" / "main_data.hdf5"
    data.write_bytes(data.read_bytes()[:1000])
    assert "kit/a-v0 cannot be read as a Minari data set: " in mistake(lambda: read_minari("kit/a-v0"))


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("minari", lambda folder: read_minari("a/b-v0")),
        ("minari", lambda folder: write_minari("a/b-v0", expert(), Fake(spaces.Discrete(2), spaces.Discrete(2)))),
        ("datasets", lambda folder: read_datasets(folder)),
        ("datasets", lambda folder: write_datasets(folder / "new", expert())),
    ],
    ids=["read minari", "write minari", "read datasets", "write datasets"],
)
def test_a_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, call: Callable[[Path], object]
) -> None:
    """The extra that installs it is named."""
    monkeypatch.setitem(sys.modules, package, None)
    told = mistake(lambda: call(tmp_path))
    assert told.startswith(f"{package} cannot be imported (")
    assert told.endswith(f"): pip install 'seqgan_kit[{package}]'")


def test_optional_packages_are_not_imported() -> None:
    """npz needs neither."""
    code = "import sys, seqgan_kit.imitation.formats; print({'minari', 'datasets', 'h5py'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# Spaces

BOX = spaces.Box(np.array([-1.0, -2.0], np.float32), np.array([1.0, 2.0], np.float32))
FLOATS = spaces.Box(-np.inf, np.inf, (4,), np.float64)


@pytest.mark.parametrize(
    ("kind", "observation_space", "action_space"),
    [
        ({}, FLOATS, spaces.Discrete(2)),
        ({"dim": 2}, FLOATS, BOX),
        ({"dim": 1, "observation": ()}, spaces.Discrete(5), spaces.Box(-1, 1, (1,))),
        ({"pictures": True, "observation": (2, 2, 3)}, spaces.Box(0, 255, (2, 2, 3), np.uint8), spaces.Discrete(9)),
    ],
)
def test_spaces_that_fit(kind: Arrays, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
    """Nothing is said; rounding of observations to float32 is no difference."""
    fitted(expert(**kind), Fake(observation_space, action_space))


def acting(*actions: Any) -> Demonstrations:
    """Two episodes, the second with these actions."""
    given = np.array(actions)
    first = Episode(np.zeros((2, 4), np.float32), np.zeros_like(given[:1]), None, False)
    return Demonstrations([first, Episode(np.zeros((len(given) + 1, 4), np.float32), given, None, False)], None, "mine")


@pytest.mark.parametrize(
    ("demonstrations", "observation_space", "action_space", "told"),
    [
        (
            expert(),
            spaces.Box(-1, 1, (11,)),
            spaces.Discrete(2),
            "expert (recorded in CartPole-v1): observations of shape (4,), but the environment's are (11,)",
        ),
        (expert(), spaces.Box(0, 255, (4,), np.uint8), spaces.Discrete(2), "observations are float32, but the env"),
        (expert(pictures=True), FLOATS, spaces.Discrete(2), "observations are uint8, but the environment's float64"),
        (expert(dim=1), FLOATS, spaces.Discrete(2), "actions are float32, but the environment's are Discrete(2): save"),
        (expert(), FLOATS, BOX, "actions are int64, but the environment's are Box("),
        (expert(dim=3), FLOATS, BOX, "actions of shape (3,), but the environment's are (2,)"),
        (
            acting(0, 1, 5, 0, 7),
            FLOATS,
            spaces.Discrete(5),
            "mine episode 1 step 2: the environment does not take the action 5, only Discrete(5): correct it",
        ),
        (
            acting(0, -1),
            FLOATS,
            spaces.Discrete(5),
            "mine episode 1 step 1: the environment does not take the action -1",
        ),
        (acting(1, 0), FLOATS, spaces.Discrete(2, start=1), "mine episode 0 step 0: "),
        (acting([1.0, 2.0], [1.0, 2.1]), FLOATS, BOX, "mine episode 1 step 1: "),
        (
            acting([-1.0002, 0.0]),
            FLOATS,
            BOX,
            "mine episode 1 step 0: the environment does not take the action [-1.0002",
        ),
        (expert(), FLOATS, spaces.Text(2), "the environment has Text actions: Discrete, MultiDiscrete, MultiBinary, "),
    ],
)
def test_spaces_that_differ(
    demonstrations: Demonstrations, observation_space: gym.Space[Any], action_space: gym.Space[Any], told: str
) -> None:
    """What differs is told, and for values the first episode and step."""
    assert told in mistake(lambda: fitted(demonstrations, Fake(observation_space, action_space)))


def test_rounding_outside_the_box() -> None:
    """Actions may stand out by rounding, as large as their bounds let it be, not by more."""
    fitted(acting([1.00009, -2.00019]), Fake(FLOATS, BOX))
    mistake(lambda: fitted(acting([1.0, -2.00021]), Fake(FLOATS, BOX)))


# What training takes


def test_the_first_trajectories() -> None:
    """In their order, so that a smaller set is a part of a larger one; None takes all."""
    there = expert()
    assert choose(there, DemonstrationConfig()).episodes == there.episodes
    two = choose(there, DemonstrationConfig(trajectories=2, seed=5))
    assert [episode is there.episodes[i] for i, episode in enumerate(two.episodes)] == [True, True]
    assert (two.environment, two.name) == (there.environment, there.name)


@pytest.mark.parametrize("count", [0, -1, 4])
def test_trajectories_that_are_not_there(count: int) -> None:
    """Not silently fewer, as in the paper's code."""
    told = mistake(lambda: choose(expert(), DemonstrationConfig(trajectories=count)))
    assert told == f"--demonstrations.trajectories {count}: give 1 to 3, as expert has"


@pytest.mark.parametrize(("stride", "shortest"), [(0, 1), (-3, 1), (2, 1)])
def test_strides_that_leave_an_episode_without_a_pair(stride: int, shortest: int) -> None:
    """Below 1, or longer than the shortest episode."""
    told = mistake(lambda: transitions(expert(), DemonstrationConfig(subsample=stride)))
    assert (
        told
        == f"--demonstrations.subsample {stride}: expert episode 2 has 1 steps, give 1 (keeps all) to {shortest}"
        + (", or drop such episodes, --demonstrations.bad_episodes drop" if stride > 0 else "")
    )


def test_a_seed_that_is_none() -> None:
    """Below 0."""
    assert "--demonstrations.seed -1: give a number" in mistake(
        lambda: transitions(expert(), DemonstrationConfig(seed=-1))
    )


@pytest.mark.parametrize("kind", [{}, {"dim": 2}, {"pictures": True, "observation": (2, 2, 3)}, {"rewards": False}])
@pytest.mark.parametrize(("stride", "seed", "count"), [(1, 0, None), (7, 0, 4), (20, 3, 6), (23, 0, None)])
def test_transitions_against_a_loop(kind: Arrays, stride: int, seed: int, count: int | None) -> None:
    """Step by step with starts drawn one at a time, every field of every kept step is the same, and its type."""
    there = expert((200, 57, 23, 41, 100, 24, 33), **kind)
    draw = np.random.RandomState(seed)
    wanted: list[list[Any]] = []
    for episode in there.episodes[:count]:
        next_one = draw.randint(0, stride)
        for step in range(len(episode.actions)):
            if step == next_one:
                next_one += stride
                last = step == len(episode.actions) - 1
                wanted.append(
                    [
                        episode.observations[step],
                        episode.actions[step],
                        episode.observations[step + 1],
                        0.0 if episode.rewards is None else episode.rewards[step],
                        last and episode.terminated,
                        last,
                        True,
                    ]
                )
    config = DemonstrationConfig(trajectories=count, subsample=stride, seed=seed)
    result = transitions(there, config)
    number = torch.uint8 if kind.get("pictures") else torch.float32
    choice = torch.float32 if kind.get("dim") else torch.int64
    types = [number, choice, number, torch.float32, torch.bool, torch.bool, torch.bool]
    for field, values, dtype in zip(fields(result), zip(*wanted, strict=True), types, strict=True):
        tensor = getattr(result, field.name)
        assert tensor.dtype == dtype, field.name
        torch.testing.assert_close(tensor, torch.tensor(np.array(values), dtype=dtype)[:, None], rtol=0, atol=0)


def test_starts_are_the_papers() -> None:
    """Those of scripts/imitate_mj.py, which draws all at once; fewer trajectories have the first of them."""
    starts = np.random.RandomState(0).randint(0, 20, size=11)
    steps = np.arange(1000, dtype=np.float32)
    episode = Episode(np.arange(1001, dtype=np.float32)[:, None], np.zeros(1000, np.int64), steps, False)
    there = Demonstrations([episode] * 11, None, "eleven")
    for count in (1, 4, 11):
        result = transitions(there, DemonstrationConfig(trajectories=count, subsample=20))
        assert result.rewards.shape == (50 * count, 1)
        np.testing.assert_array_equal(result.rewards.view(count, 50)[:, 0], starts[:count])


def test_the_end_of_an_episode() -> None:
    """Its last step has the episode's own last observation, and says whether the task or the time was over."""
    there = expert((3, 5))
    result = transitions(there, DemonstrationConfig())
    assert result.ended.flatten().tolist() == [False, False, True, False, False, False, False, True]
    assert result.terminated.flatten().tolist() == [False, False, True] + [False] * 5
    np.testing.assert_array_equal(result.next_observations[2, 0], there.episodes[0].observations[3])
    np.testing.assert_array_equal(result.next_observations[7, 0], there.episodes[1].observations[5])
    np.testing.assert_array_equal(result.next_observations[3:7, 0], result.observations[4:, 0])


# Real files

RETURNS = {  # episodes and mean return as the table of the peers has them, rounded as there
    "CartPole-v1_ppo_det": (50, 500.0),
    "CartPole-v1_ppo_sto": (50, 500.0),
    "Acrobot-v1_ppo_det": (50, -85.5),
    "Acrobot-v1_ppo_sto": (50, -80.5),
    "Pendulum-v1_sac_det": (50, -167.8),
    "Pendulum-v1_sac_sto": (50, -167.9),
    "Hopper-v5_oai_log_Hopper-v0_3_sto": (50, 3426.0),
    "Reacher-v4_oai_log_Reacher-v1_4_sto": (50, -4.2),
    "MountainCar-v0_oai_MountainCar-v0_sto": (50, -98.2),
    "CartPole-v1_oai_CartPole-v0_sto": (50, 456.1),
}


@needs_data
@pytest.mark.parametrize("name", RETURNS)
def test_real_demonstrations(tmp_path: Path, name: str) -> None:
    """Episodes, mean return, environment and spaces are those of the table, and they survive a round trip."""
    path = Path(str(DATA)) / "demos" / f"{name}.npz"
    there = load(DemonstrationConfig(path=str(path)))
    episodes, mean = RETURNS[name]
    returns = there.returns()
    assert returns is not None
    assert len(there.episodes) == episodes
    assert returns.mean() == pytest.approx(mean, abs=0.051)
    with np.load(path) as archive:
        np.testing.assert_allclose(returns, archive["returns"], rtol=1e-5, atol=1e-4)
    assert there.environment == name.split("_")[0]
    write_npz(tmp_path / "copy.npz", there)
    assert_same(there, read_npz(tmp_path / "copy.npz"))
    if there.environment == "Hopper-v5":
        pytest.importorskip("mujoco")
    if there.environment != "Reacher-v4":  # which needs an older MuJoCo to be made
        with gym.make(there.environment) as environment:
            fitted(there, environment)


@needs_data
def test_pairs_of_the_papers_data_sets() -> None:
    """MountainCar from one trajectory is 16 pairs, from ten 186, CartPole from one 50: a probe's counts."""
    folder = Path(str(DATA)) / "demos"
    for name, stride, count, pairs in (
        ("MountainCar-v0_oai_MountainCar-v0_sto", 5, 1, 16),
        ("MountainCar-v0_oai_MountainCar-v0_sto", 5, 10, 186),
        ("CartPole-v1_ppo_sto", 10, 1, 50),
    ):
        config = DemonstrationConfig(path=str(folder / f"{name}.npz"), trajectories=count, subsample=stride)
        assert len(transitions(load(config), config).mask) == pairs
