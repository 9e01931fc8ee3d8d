"""Files and folders of demonstrations: plain .npz, Hugging Face `datasets` as `imitation` saves them, Minari.

Messages count episodes and steps from 0, as the arrays do.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import library, replacing
from seqgan_kit.imitation.demonstrations import (
    DemonstrationConfig,
    Demonstrations,
    check_spaces,
    checked,
    numbers,
    unusable,
)
from seqgan_kit.tables import data_set, told_as_data_set

KEYS = ("obs", "acts", "lens", "indices", "rews", "terminal", "seeds", "env_id")
HOW = "np.savez(path, obs=..., acts=..., lens=...) makes one"


def load(config: DemonstrationConfig) -> Demonstrations:
    """All that `path` or `minari` holds; raises UserError where that is not exactly one, or cannot be used."""
    if config.minari is not None and config.path is None:
        return read_minari(config.minari)
    if config.path is None or config.minari is not None:
        raise UserError("give the demonstrations: either --demonstrations.path or --demonstrations.minari")
    path = Path(config.path)
    if not path.is_dir():
        return read_npz(path)
    if any((path / name).exists() for name in ("dataset_info.json", "state.json", "dataset_dict.json")):
        return read_datasets(path)
    if _minari_data(path).joinpath("metadata.json").exists():
        return read_minari(path)
    raise UserError(f"{path} is a folder, but no data set of `datasets` or Minari: {_npz_names(path)}")


# Plain npz


def read_npz(path: Path) -> Demonstrations:
    """Episodes from an .npz file; nothing pickled is loaded. The least that is needed:

        np.savez("expert.npz", obs=obs, acts=acts, lens=lens)

    obs: (steps + episodes, ...), the episodes one after another, each with the observation that it ended in.
    acts: (steps,) or (steps, choices) integers, or (steps, dim) floats. lens: (episodes,) steps of each; not needed for
    a single episode.
    Optional: rews (steps,), terminal (episodes,) bool, False where missing, seeds (episodes,), -1 unknown, env_id.
    Files that `imitation` saved before it used `datasets` have `indices`, where to split acts, instead of lens.

    Raises UserError for whatever is not like this, and for NaN and infinity.
    """
    path = Path(path)
    arrays = _arrays(path)
    if missing := [key for key in ("obs", "acts") if key not in arrays]:
        raise UserError(f"{path} has no {' and no '.join(missing)}: {HOW}")
    lens = _lengths(path, arrays)
    count, steps = len(lens), int(lens.sum())
    rows = {"acts": steps, "obs": steps + count, "rews": steps, "terminal": count, "seeds": count}
    for key, wanted in rows.items():
        if key in arrays and len(arrays[key]) != wanted:
            raise UserError(
                f"{path}: lens are {count} episodes that add up to {steps} steps, so {key} must have {wanted} rows, "
                f"not {len(arrays[key])}: correct one of them"
            )
    ends = np.cumsum(lens)[:-1]
    columns = zip(
        np.split(arrays["obs"], ends + np.arange(1, count)),
        np.split(arrays["acts"], ends),
        np.split(arrays["rews"], ends) if "rews" in arrays else [None] * count,
        arrays.get("terminal", [False] * count),
        arrays.get("seeds", [-1] * count),
        strict=True,
    )
    return checked(str(path), str(arrays["env_id"]) if "env_id" in arrays else None, columns)


def write_npz(path: Path, demonstrations: Demonstrations) -> None:
    """The file that `read_npz` reads, whole or not at all; `rews` and `returns` are left out where unknown."""
    path, episodes, returns = Path(path), demonstrations.episodes, demonstrations.returns()
    arrays: dict[str, Any] = {
        "obs": np.concatenate([episode.observations for episode in episodes]),
        "acts": np.concatenate([episode.actions for episode in episodes]),
        "terminal": np.array([episode.terminated for episode in episodes]),
        "lens": np.array([len(episode.actions) for episode in episodes]),
        "seeds": np.array([-1 if episode.seed is None else episode.seed for episode in episodes]),
        "meta": np.array(json.dumps({"source": demonstrations.name})),
    }
    if returns is not None:
        arrays |= {"rews": np.concatenate([episode.rewards for episode in episodes]), "returns": returns}
    if demonstrations.environment is not None:
        arrays["env_id"] = np.array(demonstrations.environment)
    with replacing(path) as unfinished, open(unfinished, "wb") as file:
        np.savez_compressed(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Those of the known keys that the file has. Others, as old `infos`, may be pickled: they are left alone."""
    try:
        with open(path, "rb") as file:
            if (start := file.read(4)) != b"PK\x03\x04":
                what = "is no .npz file (and nothing pickled is loaded)" if start else "is empty"
                raise UserError(f"{path} {what}: {HOW}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {key: np.asarray(archive[key]) for key in KEYS if key in archive}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {_npz_names(path.parent, path.name)}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: {_npz_names(path)}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        what = f"cannot be read, cut off or damaged ({one_line(error)}): copy it again"
        if "allow_pickle" in str(error):
            what = f"has pickled objects, and nothing pickled is loaded: give arrays of numbers, {HOW}"
        raise UserError(f"{path} {what}") from None
    return {key: array if key == "env_id" else numbers(str(path), key, array) for key, array in arrays.items()}


def _lengths(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """(episodes,) steps of each, at least 1."""
    observations, actions = len(arrays["obs"]), len(arrays["acts"])
    if "lens" in arrays:
        lens = arrays["lens"]
    elif "indices" in arrays:
        lens = np.diff(arrays["indices"], prepend=0, append=actions)
    elif observations == actions + 1:
        lens = np.array([actions])
    else:
        raise UserError(
            f"{path} has {observations} obs, {actions} acts and no lens: give lens, the steps of each episode, "
            f"and in obs one more an episode than in acts, the one that it ended in"
        )
    if len(lens) == 0:
        raise UserError(f"{path} has no episodes: give at least one")
    if lens.ndim != 1 or lens.dtype.kind not in "iu":
        raise UserError(f"{path}: lens are {lens.dtype} of shape {lens.shape}: give integers, one an episode")
    if lens.min() < 1:
        raise UserError(f"{path} episode {lens.argmin()} has {lens.min()} steps: leave it out of lens and obs")
    return lens


# Hugging Face datasets


def read_datasets(folder: Path) -> Demonstrations:
    """Episodes from a folder that `imitation.data.serialize.save` or `write_datasets` made, one a row.

    Columns: obs, acts and, optional, rews and terminal. `infos` is not decoded: jsonpickle can run code in it.
    Raises UserError where `datasets` is not installed and for data that cannot be used.
    """
    dataset, name = data_set(Path(folder)), str(folder)
    with told_as_data_set(folder):
        if missing := {"obs", "acts"} - set(dataset.column_names):
            raise UserError(f"{name} has no column {' and no '.join(sorted(missing))}, only {dataset.column_names}")
        columns = [key for key in ("obs", "acts", "rews", "terminal") if key in dataset.column_names]
        # the numpy format makes all integers int64
        kind = np.uint8 if "'uint8'" in str(dataset.features["obs"]) else None
        rows = [
            (np.asarray(row["obs"], kind), row["acts"], row.get("rews"), row.get("terminal", False), None)
            for row in dataset.select_columns(columns).with_format("numpy")
        ]
    return checked(name, None, rows)


def write_datasets(folder: Path, demonstrations: Demonstrations) -> None:
    """A new folder that `imitation.data.serialize.load` and `read_datasets` read, whole or not at all.

    The layout has no place for the environment's id and the seeds. UserError where the folder exists.
    """
    folder, episodes = Path(folder), demonstrations.episodes
    if folder.exists():
        raise UserError(f"{folder} exists: give another folder or remove it")
    columns: dict[str, Any] = {
        "obs": [episode.observations for episode in episodes],
        "acts": [episode.actions for episode in episodes],
        "infos": [["{}"] * len(episode.actions) for episode in episodes],  # JSON, one a step
        "terminal": [episode.terminated for episode in episodes],
    }
    if demonstrations.returns() is not None:
        columns["rews"] = [episode.rewards for episode in episodes]
    dataset = library("datasets").Dataset.from_dict(columns)
    with replacing(folder) as unfinished:
        dataset.save_to_disk(str(unfinished))


# Minari


def read_minari(source: str | Path) -> Demonstrations:
    """Episodes of a Minari data set: a str is an id in the local root (MINARI_DATASETS_PATH), a Path is its folder.

    Raises UserError where `minari` is not installed, the id is not there or the spaces are not arrays.
    """
    minari, name = library("minari"), str(source)
    try:
        folder = isinstance(source, Path)
        dataset = minari.MinariDataset(_minari_data(Path(source))) if folder else minari.load_dataset(source)
        if problem := unusable(dataset.observation_space, dataset.action_space):
            raise UserError(f"{name} has {problem}")
        metadata = dataset.storage.get_episode_metadata(dataset.episode_indices)
        rows = [
            (data.observations, data.actions, data.rewards, any(data.terminations[-1:]), about.get("seed"))
            for data, about in zip(dataset.iterate_episodes(), metadata, strict=True)
        ]
    except FileNotFoundError:
        there = _offer(name, list(minari.list_local_datasets()))
        raise UserError(f"no Minari data set {name} here: {there}, or fetch it, `minari download {name}`") from None
    except (ImportError, OSError, ValueError, KeyError, AssertionError) as error:
        raise UserError(f"{name} cannot be read as a Minari data set: {one_line(error)}") from None
    return checked(name, dataset.env_spec.id if dataset.env_spec else None, rows)


def write_minari(dataset_id: str, demonstrations: Demonstrations, environment: gym.Env) -> None:
    """A new local data set `NAMESPACE/NAME-v0` with the id and the spaces of the environment; pictures lossless.

    Raises UserError where `minari` is not installed, the id is taken, or rewards are unknown, which Minari must have.
    """
    minari = library("minari")
    if not re.fullmatch(r".+-v\d+", dataset_id):
        raise UserError(f"{dataset_id} is no id for a Minari data set: give NAMESPACE/NAME-v0")
    if demonstrations.returns() is None:
        raise UserError(f"{demonstrations.name} has no rewards, which Minari must have: write an .npz instead")
    check_spaces(demonstrations, environment.observation_space, environment.action_space)
    buffers = []
    for episode in demonstrations.episodes:
        last = np.arange(len(episode.actions)) == len(episode.actions) - 1
        content = {"observations": episode.observations, "actions": episode.actions, "rewards": episode.rewards}
        ends = {"terminations": last & episode.terminated, "truncations": last & (not episode.terminated)}
        buffers.append(minari.data_collector.EpisodeBuffer(seed=episode.seed, **content, **ends))
    options = {"env": environment, "description": demonstrations.name, "jpeg_encoding": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that author, algorithm and so on are not given
            minari.create_dataset_from_buffers(dataset_id, buffers, **options)
    except (ImportError, OSError, ValueError) as error:
        raise UserError(f"the Minari data set {dataset_id} cannot be written: {one_line(error)}") from None


def _minari_data(folder: Path) -> Path:
    """Where its metadata is: users name the folder of the data set, Minari's own class wants the one inside."""
    return folder / "data" if (folder / "data").is_dir() else folder


def _npz_names(folder: Path, name: str = "") -> str:
    if not folder.is_dir():
        return f"neither does the folder {folder}, check the path"
    return f"{_offer(name, sorted(item.name for item in folder.glob('*.npz')))} ({folder})"


def _offer(name: str, names: Sequence[str]) -> str:
    if close := difflib.get_close_matches(name, names):
        return f"did you mean {' or '.join(close)}?"
    return f"there is {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "there is none"
