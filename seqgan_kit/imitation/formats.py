"""Files and folders of demonstrations: .npz, HDF5, parquet, Hugging Face `datasets` as `imitation` saves them, Minari.

Messages count episodes and steps from 0, as the arrays do.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqgan_kit.archives import check_hdf5, check_npz
from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import check_file, library, listed, replacing
from seqgan_kit.imitation import steps as tables_of_steps
from seqgan_kit.imitation.demonstrations import BadEpisodes, DemonstrationConfig, Demonstrations
from seqgan_kit.imitation.episodes import About, Row, as_array, checked, is_numbers, is_single, no_numbers
from seqgan_kit.imitation.minari_data import minari_folder, offer, read_minari
from seqgan_kit.imitation.recorded import from_json, to_json
from seqgan_kit.tables import data_set, is_table, records, told_as_data_set

HOW = "np.savez(path, obs=..., acts=..., lens=...) makes one"
HDF5 = (".hdf5", ".h5", ".hdf")


def load(config: DemonstrationConfig) -> Demonstrations:
    """All that `path` or `minari` holds; raises UserError where that is not exactly one, or cannot be used."""
    bad = config.bad_episodes
    if config.minari is not None and config.path is None:
        return read_minari(config.minari, bad)
    if config.path is None or config.minari is not None:
        raise UserError("give the demonstrations: either --demonstrations.path or --demonstrations.minari")
    path = Path(config.path)
    if not path.is_dir():
        if is_table(path):
            return read_table(path, bad)
        return read_hdf5(path, bad) if path.suffix in HDF5 else read_npz(path, bad)
    if any((path / name).exists() for name in ("dataset_info.json", "state.json", "dataset_dict.json")):
        return read_datasets(path, bad)
    if minari_folder(path).joinpath("metadata.json").exists():
        return read_minari(path, bad)
    raise UserError(f"{path} is a folder, but no data set of `datasets` or Minari: {_names_of(path)}")


# Plain npz, and tables of steps


def read_npz(path: Path, bad: BadEpisodes = "error") -> Demonstrations:
    """Episodes from an .npz file; nothing pickled is loaded. The least that is needed:

        np.savez("expert.npz", obs=obs, acts=acts, lens=lens)

    obs: (steps + episodes, ...), the episodes one after another, each with the observation that it ended in.
    acts: (steps,) or (steps, *shape) integers or floats. lens: (episodes,) steps of each; not needed for a single
    episode.
    Optional: rews (steps,), terminal (episodes,) bool, False where missing, seeds (episodes,), integers or strings of
    them, -1 or "" unknown, env_id, env_spec.
    Files that `imitation` saved before it used `datasets` have `indices`, where to split acts, instead of lens.

    Those of stable-baselines (obs, actions, rewards, episode_starts) and D4RL (observations, actions, rewards,
    terminals, timeouts and perhaps next_observations) are read as `steps.split` tells; so is obs without the last ones.

    bad: see `episodes.checked`. Raises UserError for whatever is not like this, and for NaN and infinity.
    """
    path = Path(path)
    arrays = _arrays(path)
    return _from_arrays(str(path), arrays, bad)


def read_hdf5(path: Path, bad: BadEpisodes = "error") -> Demonstrations:
    """Episodes from an HDF5 file with arrays as in an .npz file, as D4RL has them; see `read_npz`."""
    if not path.exists():
        raise UserError(f"{path} does not exist: {_names_of(path.parent, path.name, HDF5)}")
    h5py = library("h5py", "minari")
    try:
        with h5py.File(path) as file:
            if "episode_0" in file:
                raise UserError(f"{path} is of a Minari data set: give the folder of it, {path.parent.parent}")
            check_hdf5(file, ())
            there = {key: value for key, value in file.items() if isinstance(value, h5py.Dataset)}
            wanted = _wanted(str(path), there)
            check_hdf5(file, wanted)
            arrays = {key: value[()] for key, value in there.items() if key in wanted}
            groups = [f"{key}/" for key in file if key not in there]
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"{path} cannot be read as HDF5 ({one_line(error)}): copy it again") from None
    texts = {key: value.decode() for key, value in arrays.items() if isinstance(value, bytes)}
    return _from_arrays(str(path), arrays | texts, bad, [*there, *groups])


def _from_arrays(
    name: str, arrays: dict[str, Any], bad: BadEpisodes, there: Sequence[str] | None = None
) -> Demonstrations:
    names = tables_of_steps.named(name, arrays)
    columns = {column: arrays[key] for column, key in names.items()}
    if not {"obs", "acts"} <= columns.keys():
        _refuse_missing(name, columns, arrays if there is None else there)
    about = About(str(arrays["env_id"]) if "env_id" in arrays else None, from_json(arrays.get("env_spec")))
    for key in ("obs", "acts"):
        if not is_numbers(columns[key]):
            raise UserError(no_numbers(name, names[key], columns[key]))
    lens = _lengths(name, arrays, columns)
    if lens is not None and len(columns["obs"]) != len(columns["acts"]):
        return checked(name, _whole_episodes(name, arrays, columns, lens), about, bad)
    if lens is None and len(columns["obs"]) != len(columns["acts"]):
        raise UserError(
            f"{name} has {len(columns['obs'])} obs, {len(columns['acts'])} acts and no lens: give lens, the steps of "
            "each episode, and in obs one more an episode than in acts, the one that it ended in"
        )
    if lens is not None and "terminal" in arrays and "terminals" not in columns:
        columns["terminals"] = np.zeros(len(columns["acts"]), bool)
        columns["terminals"][np.cumsum(lens) - 1] = arrays["terminal"]
    rows, notes = tables_of_steps.split(name, columns, lens)
    notes += _unlike_returns(rows, arrays.get(tables_of_steps.RETURNS))
    return checked(name, rows, about._replace(ends_told="timeouts" in columns), bad, notes)


def _unlike_returns(rows: Sequence[Row], told: np.ndarray | None) -> list[str]:
    """Where a file's own returns are not what its rewards add up to, which the expert's row is made of."""
    if told is None or not is_numbers(told):
        return []
    if told.size != len(rows):
        return [f"{tables_of_steps.RETURNS} are of {told.size} episodes, but {len(rows)} are FOUND in the steps"]
    sums = [np.nan if row.rewards is None else np.sum(row.rewards, dtype=np.float64) for row in rows]
    sums = [one if row.earned is None else row.earned for one, row in zip(sums, rows, strict=True)]
    finite = np.isfinite(sums)  # what is not, is told of by its episode
    told = told.reshape(-1)[finite]
    unlike = int((~np.isclose(np.array(sums)[finite], told, rtol=1e-3, atol=1e-2)).sum())
    which = f"{unlike} of {len(rows)} {tables_of_steps.RETURNS} are NOT what the rewards of the steps add up to"
    return [f"{which}: the latter are taken"] if unlike else []


def _refuse_missing(name: str, columns: Any, there: Any) -> None:
    missing = " and no ".join(key for key in ("obs", "acts") if key not in columns)
    has = f" (it has {listed(sorted(there))})" if there else ""
    raise UserError(f"{name} has no {missing}: {HOW}{has}")


def _whole_episodes(name: str, arrays: dict[str, Any], columns: dict[str, np.ndarray], lens: np.ndarray) -> list[Row]:
    """The episodes of an .npz whose obs are one more than the steps of each."""
    count, steps = len(lens), int(lens.sum())
    seeds = _seeds(name, arrays["seeds"]) if "seeds" in arrays else [None] * count
    given = {**columns, **{key: arrays[key] for key in ("terminal",) if key in arrays}, "seeds": seeds}
    rows = {"acts": steps, "obs": steps + count, "rews": steps, "terminal": count, "seeds": count}
    for key, wanted in rows.items():
        if key in given and len(given[key]) != wanted:
            raise UserError(
                f"{name}: lens are {count} episodes that add up to {steps} steps, so {key} must have {wanted} rows, "
                f"not {len(given[key])}: correct one of them"
            )
    ends = np.cumsum(lens)[:-1]
    parts = zip(
        np.split(columns["obs"], ends + np.arange(1, count)),
        np.split(columns["acts"], ends),
        np.split(columns["rews"], ends) if "rews" in columns else [None] * count,
        arrays.get("terminal", [False] * count),
        seeds,
        strict=True,
    )
    return [Row(*each) for each in parts]


def _seeds(name: str, seeds: np.ndarray) -> list[int | None]:
    """As they were, of 64 bits, too: floats would not hold them, so that those are refused as no seeds."""
    if seeds.dtype.kind == "U":
        return [int(seed) if seed.isdecimal() else None for seed in seeds.tolist()]
    if seeds.dtype.kind not in "iu":
        raise UserError(f"{name}: seeds are {seeds.dtype}: give integers, or strings of them, or leave seeds out")
    return [seed if seed >= 0 else None for seed in seeds.tolist()]


def write_npz(path: Path, demonstrations: Demonstrations) -> None:
    """The file that `read_npz` reads, whole or not at all; `rews` and `returns` are left out where unknown."""
    path, episodes, returns = Path(path), demonstrations.episodes, demonstrations.returns()
    seeds = [-1 if episode.seed is None else episode.seed for episode in episodes]
    arrays: dict[str, Any] = {
        "obs": np.concatenate([episode.observations for episode in episodes]),
        "acts": np.concatenate([episode.actions for episode in episodes]),
        "terminal": np.array([episode.terminated for episode in episodes]),
        "lens": np.array([len(episode.actions) for episode in episodes]),
        # of 64 bits, as Minari draws them, they would become floats
        "seeds": np.array(seeds, np.int64) if max(seeds) < 2**63 else np.array([str(max(seed, -1)) for seed in seeds]),
        "meta": np.array(json.dumps({"source": demonstrations.name})),
    }
    if returns is not None:
        arrays |= {"rews": np.concatenate([episode.rewards for episode in episodes]), "returns": returns}
    if demonstrations.environment is not None:
        arrays["env_id"] = np.array(demonstrations.environment)
    if demonstrations.recorded is not None and (spec := to_json(demonstrations.recorded)) is not None:
        arrays["env_spec"] = np.array(spec)
    with replacing(path) as unfinished, open(unfinished, "wb") as file:
        np.savez_compressed(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


def _wanted(name: str, there: Any) -> set[str]:
    return {*tables_of_steps.named(name, there).values(), *tables_of_steps.EPISODES}


def _arrays(path: Path) -> dict[str, Any]:
    """Those of the known keys that the file has. Others, as old `infos`, may be pickled: they are left alone."""
    try:
        check_file(path)
        with open(path, "rb") as file:
            if (start := file.read(4)) != b"PK\x03\x04":
                what = "is no .npz file (and nothing pickled is loaded)" if start else "is empty"
                raise UserError(f"{path} {what}: {HOW}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                wanted = _wanted(str(path), archive)
                check_npz(str(path), archive, [key for key in archive.files if key in wanted])
                arrays = {key: np.asarray(archive[key]) for key in archive.files if key in wanted}
                if not arrays:
                    _refuse_missing(str(path), {}, archive.files)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {_names_of(path.parent, path.name)}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: {_names_of(path)}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        what = f"cannot be read, cut off or damaged ({one_line(error)}): copy it again"
        if "allow_pickle" in str(error):
            what = f"has pickled objects, and nothing pickled is loaded: give arrays of numbers, {HOW}"
        raise UserError(f"{path} {what}") from None
    return arrays


def _lengths(name: str, arrays: dict[str, Any], columns: dict[str, np.ndarray]) -> np.ndarray | None:
    """(episodes,) steps of each, or None where the file does not say by lens or indices."""
    observations, actions = len(columns["obs"]), len(columns["acts"])
    given = next((key for key in ("lens", "indices") if key in arrays), None)
    if given is not None:
        lens = arrays[given] if arrays[given].size else arrays[given].astype(np.int64)  # of no numbers, of no kind
        if lens.ndim != 1 or lens.dtype.kind not in "iu":
            raise UserError(f"{name}: {given} are {lens.dtype} of shape {lens.shape}: give integers, one an episode")
        if given == "indices":
            lens = np.diff(lens, prepend=0, append=actions)
    elif observations == actions + 1:
        lens = np.array([actions])
    else:
        return None
    if len(lens) == 0:
        raise UserError(f"{name} has no episodes: give at least one")
    if lens.min() < 0:
        raise UserError(f"{name} episode {lens.argmin()} has {lens.min()} steps: leave it out of lens and obs")
    return np.asarray(lens)


# Hugging Face datasets


def read_datasets(folder: Path, bad: BadEpisodes = "error") -> Demonstrations:
    """Episodes from a folder that `imitation.data.serialize.save` or `write_datasets` made, one a row.

    Columns: obs, acts and, optional, rews and terminal. `infos` is not decoded: jsonpickle can run code in it. One step
    a row is read, too, as in `read_table`.
    Raises UserError where `datasets` is not installed and for data that cannot be used.
    """
    dataset, name = data_set(Path(folder)), str(folder)
    with told_as_data_set(folder):
        names = _names(name, dataset.column_names)
        columns = [*names.values(), *({"terminal"} & set(dataset.column_names))]
        # the numpy format makes all integers int64
        kind = np.uint8 if "'uint8'" in str(dataset.features[names["obs"]]) else None
        rows = list(dataset.select_columns(columns).with_format("numpy"))
    return _from_rows(name, names, rows, bad, kind)


def read_table(path: Path, bad: BadEpisodes = "error") -> Demonstrations:
    """Episodes from a parquet file, or JSON lines, of one step or one episode a row, named as in `steps.NAMES`.

    Rows of steps have timeouts, or the number of their episode, say `episode_index`, or next_obs beside obs: see
    `steps.split`. Raises UserError for data that cannot be used.
    """
    name, rows = str(path), [record for _, record in records(Path(path), '{"obs": [...], "acts": 1, ...}')]
    if not rows:
        raise UserError(f"{name} has no episodes: give at least one")
    return _from_rows(name, _names(name, list(rows[0])), rows, bad)


def _names(name: str, there: list[str]) -> dict[str, str]:
    names = tables_of_steps.named(name, there)
    if missing := [key for key in ("obs", "acts") if key not in names]:
        raise UserError(f"{name} has no column {' and no '.join(missing)}, only {there}")
    return names


def _from_rows(
    name: str, names: dict[str, str], rows: list[Any], bad: BadEpisodes, kind: type | None = None
) -> Demonstrations:
    """kind: of observations, where it is known."""
    about = About(ends_told="timeouts" in names)
    told_by = ["rews"] if "rews" in names else [*tables_of_steps.FLAGS, "acts"]
    if any(column in names and is_single(rows[0][names[column]]) for column in told_by):  # one step a row
        columns = {column: as_array([row[key] for row in rows]) for column, key in names.items()}
        if kind is not None and is_numbers(columns["obs"]):
            columns["obs"] = columns["obs"].astype(kind)
        episodes, notes = tables_of_steps.split(name, columns)
        return checked(name, episodes, about, bad, notes)
    given = [_row(row, names, kind) for row in rows]
    if all(is_numbers(each) for row in given for each in row[:2]) and all(len(o) == len(a) for o, a, *_ in given):
        lens = np.array([len(row.actions) for row in given])
        columns = {column: np.concatenate([as_array(row[key]) for row in rows]) for column, key in names.items()}
        episodes, notes = tables_of_steps.split(name, columns, lens)
        return checked(name, episodes, about, bad, notes)
    return checked(name, given, about, bad)


def _row(row: Any, names: dict[str, str], kind: type | None) -> Row:
    """An episode that is one row of a table."""
    observations, rewards = as_array(row[names["obs"]]), row[names["rews"]] if "rews" in names else None
    if kind is not None and is_numbers(observations):
        observations = observations.astype(kind)
    ends = next((row[names[key]] for key in ("terminals", "dones") if key in names), row.get("terminal", False))
    terminated = ends if is_single(ends) else any(ends[-1:])
    return Row(observations, as_array(row[names["acts"]]), None if rewards is None else as_array(rewards), terminated)


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


def _names_of(folder: Path, name: str = "", suffixes: Sequence[str] = (".npz",)) -> str:
    if not folder.is_dir():
        return f"neither does the folder {folder}, check the path"
    return f"{offer(name, sorted(item.name for item in folder.iterdir() if item.suffix in suffixes))} ({folder})"
