"""Data sets of Minari, read and written."""

from __future__ import annotations

import difflib
import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from seqgan_kit.archives import check_hdf5
from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import check_inside, library
from seqgan_kit.imitation.demonstrations import BadEpisodes, Demonstrations, short
from seqgan_kit.imitation.episodes import About, Row, checked
from seqgan_kit.imitation.fitting import ARRAYS, NESTED, fitted, flatten_steps
from seqgan_kit.imitation.recorded import named_by_text

JPEG = (
    "pictures were stored as JPEG, Minari's default, and so are NOT THOSE OF THE ENVIRONMENT: a discriminator can tell "
    "them apart by that alone; record them again with jpeg_encoding=False"
)


def read_minari(source: str | Path, bad: BadEpisodes = "error") -> Demonstrations:
    """Episodes of a Minari data set: a str is an id in the local root (MINARI_DATASETS_PATH), a Path is its folder.

    Observations that are no arrays (Dict, Tuple) are flattened. bad: see `episodes.checked`.
    Raises UserError where `minari` is not installed, the id is not there or actions are not arrays.
    """
    minari, name = library("minari"), str(source)
    try:
        if isinstance(source, Path):
            check_files(minari_folder(source))
            dataset = minari.MinariDataset(minari_folder(source))
        else:
            dataset = minari.load_dataset(source)
            check_files(Path(dataset.storage.data_path))
        seen = dataset.observation_space
        if not isinstance(dataset.action_space, ARRAYS):
            raise UserError(f"{name} has {short(dataset.action_space)} as actions, which cannot be learnt")
        metadata = dataset.storage.get_episode_metadata(dataset.episode_indices)
        rows = [
            Row(
                data.observations if isinstance(seen, ARRAYS) else flatten_steps(seen, data.observations),
                data.actions,
                data.rewards,
                any(data.terminations[-1:]),
                # one that options were given with does not bring the episode back
                None if about.get("options") else about.get("seed"),
            )
            for data, about in zip(dataset.iterate_episodes(), metadata, strict=True)
        ]
        jpeg = dataset.storage.metadata.get("jpeg_encoding", True) and _has_pictures(seen)
    except FileNotFoundError:
        there = offer(name, list(minari.list_local_datasets()))
        raise UserError(f"no Minari data set {name} here: {there}, or fetch it, `minari download {name}`") from None
    except (ImportError, OSError, ValueError, KeyError, AssertionError) as error:
        raise UserError(f"{name} cannot be read as a Minari data set: {one_line(error)}") from None
    spec = dataset.env_spec
    about = About(spec.id if spec else None, spec, seen if isinstance(seen, NESTED) else None, ends_told=True)
    return checked(name, rows, about, bad, [JPEG] if jpeg else [])


def check_files(folder: Path) -> None:
    """Raises UserError where the files of a data set lead to others, or are larger than fits."""
    check_inside(folder)
    for path in folder.glob("*.hdf5"):
        with library("h5py", "minari").File(path) as file:
            check_hdf5(file)


def _has_pictures(space: gym.Space[Any]) -> bool:
    """Whether some part is what Minari takes for a picture."""
    if isinstance(space, NESTED):
        return any(map(_has_pictures, space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces))
    return library("minari.dataset.minari_storage", "minari").is_image_space(space) is True


def write_minari(dataset_id: str, demonstrations: Demonstrations, environment: gym.Env[Any, Any]) -> None:
    """A new local data set `NAMESPACE/NAME-v0` with the id and the spaces of the environment; pictures lossless.

    Raises UserError where `minari` is not installed, the id is taken, or rewards are unknown, which Minari must have.
    """
    minari = library("minari")
    if not re.fullmatch(r".+-v\d+", dataset_id):
        raise UserError(f"{dataset_id} is no id for a Minari data set: give NAMESPACE/NAME-v0")
    if demonstrations.returns() is None:
        raise UserError(f"{demonstrations.name} has no rewards, which Minari must have: write an .npz instead")
    demonstrations = fitted(demonstrations, environment)
    buffers = []
    for episode in demonstrations.episodes:
        last = np.arange(len(episode.actions)) == len(episode.actions) - 1
        content = {"observations": episode.observations, "actions": episode.actions, "rewards": episode.rewards}
        ends = {"terminations": last & episode.terminated, "truncations": last & (not episode.terminated)}
        buffers.append(minari.data_collector.EpisodeBuffer(seed=episode.seed, **content, **ends))
    made_of = environment.spec.entry_point if environment.spec else None
    written: Any = named_by_text(environment.spec) if environment.spec and callable(made_of) else environment
    options = {"description": demonstrations.name, "jpeg_encoding": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that author, algorithm and so on are not given
            minari.create_dataset_from_buffers(dataset_id, buffers, env=written, **options)
    except (ImportError, OSError, ValueError) as error:
        raise UserError(f"the Minari data set {dataset_id} cannot be written: {one_line(error)}") from None


def minari_folder(folder: Path) -> Path:
    """Where its metadata is: users name the folder of the data set, Minari's own class wants the one inside."""
    return folder / "data" if (folder / "data").is_dir() else folder


def offer(name: str, names: list[str]) -> str:
    """What may have been meant, or what is there."""
    if close := difflib.get_close_matches(name, names):
        return f"did you mean {' or '.join(close)}?"
    return f"there is {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "there is none"
