"""Tables of steps, one after another, as stable-baselines, D4RL and parquet files have them -> their episodes.

Nothing is invented: where the observation that an episode ended in is not in the file, its last step is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from seqgan_kit.errors import UserError
from seqgan_kit.imitation.episodes import Row, is_numbers, no_numbers

# What each column is called where. The first name is the kit's own.
NAMES = {
    "obs": ("obs", "observations", "observation", "observation.state", "states", "state"),
    "acts": ("acts", "actions", "action"),
    "rews": ("rews", "rewards", "reward", "next.reward"),
    "next_obs": ("next_obs", "next_observations", "next_observation"),
    "terminals": ("terminals", "terminations", "terminated", "next.terminated"),
    "timeouts": ("timeouts", "truncations", "truncated", "next.truncated"),
    "dones": ("dones", "done", "next.done"),
    "starts": ("episode_starts", "is_first"),
    "episode": ("episode", "episode_id", "episode_index", "trajectory_id"),
    "step": ("step", "frame_index", "timestep"),
}
FLAGS = ("terminals", "timeouts", "dones", "starts")  # of each step
RETURNS = "episode_returns"  # of stable-baselines
EPISODES = ("lens", "indices", "terminal", "seeds", "env_id", "env_spec", RETURNS)  # what is not of each step
ENDS = "timeouts (steps,), whether a time limit cut the episode at each step, all False if none did"
MOST = 1e-5  # by which an observation and the next one of the step before may differ, of its size


def named(name: str, there: Iterable[str]) -> dict[str, str]:
    """What each column is called in a file that has these. Raises UserError where one is there by two names."""
    names, found = set(there), {}
    for column, known in NAMES.items():
        here = [each for each in known if each in names]
        if len(here) > 1:
            raise UserError(f"{name} has {' and '.join(here)}, which are the same here: leave out one of them")
        if here:
            found[column] = here[0]
    return found


def split(name: str, columns: Mapping[str, np.ndarray], lens: np.ndarray | None = None) -> tuple[list[Row], list[str]]:
    """The episodes of a table, and what is to be said of them.

    columns: by the keys of NAMES, each (steps, ...). lens: (episodes,) steps of each, where known.
    An episode ends where lens, terminals, timeouts, dones, the next episode's start or number say so, or where next_obs
    is not the observation of the following step. What it ended in is in next_obs, or unknown.
    Raises UserError where that cannot be told.
    """
    columns = _whole(name, columns)
    steps, notes = len(columns["acts"]), list[str]()
    ends = _ends(name, columns, lens, notes)
    known = _known_next(columns, ends, notes)
    terminated = columns.get("terminals", columns.get("dones", np.zeros(steps, bool))).reshape(steps).astype(bool)
    if "dones" in columns and "terminals" not in columns:
        notes.append("`done` says that an episode ended, not by what: taken as terminated, but at the time limit")
    bounds = np.flatnonzero(ends) + 1
    rows = [
        _row(columns, start, stop, known[stop - 1], terminated[stop - 1])
        for start, stop in zip([0, *bounds[:-1].tolist()], bounds.tolist(), strict=True)
    ]
    if lost := int((~known[bounds - 1]).sum()):
        lost_ends = int((terminated & ends & ~known).sum())
        notes.append(
            f"the LAST STEP of {lost} episodes is LEFT OUT, since the observation after it is not in the file"
            + (f"; {lost_ends} of them were terminations, which are not seen" if lost_ends else "")
        )
    return rows, notes


def _row(columns: Mapping[str, np.ndarray], start: int, stop: int, known: bool, terminated: bool) -> Row:
    rewards = columns["rews"][start:stop].reshape(-1) if "rews" in columns else None
    observations, actions = columns["obs"][start:stop], columns["acts"][start:stop]
    if known:
        return Row(np.concatenate([observations, columns["next_obs"][stop - 1 : stop]]), actions, rewards, terminated)
    if rewards is None:
        return Row(observations, actions[:-1])
    return Row(observations, actions[:-1], rewards[:-1], earned=float(rewards.sum(dtype=np.float64)))


def _whole(name: str, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All of as many rows; steps in the order of their numbers, episode by episode."""
    for key, values in columns.items():
        if not is_numbers(values) and key != "episode":
            raise UserError(no_numbers(name, NAMES[key][0], values))
        if len(values) != len(columns["acts"]):
            rows = f"{len(values)} rows, actions {len(columns['acts'])}"
            raise UserError(f"{name}: {key} has {rows}: they must be as many, correct one of them")
        if key in (*FLAGS, "episode", "step") and values.size != len(values):
            told = f"{key} of shape {values.shape}: give one number a step"
            raise UserError(f"{name} has {told}{_as_episodes(columns)}")
    if len(columns["acts"]) == 0:
        raise UserError(f"{name} has no steps: give at least one")
    if "episode" not in columns:
        return dict(columns)
    _, first, group = np.unique(columns["episode"], return_index=True, return_inverse=True)
    order = np.lexsort((*([columns["step"].reshape(-1)] if "step" in columns else []), first[group.reshape(-1)]))
    return {key: values[order] for key, values in columns.items()}


def _as_episodes(columns: Mapping[str, np.ndarray]) -> str:
    """For the end of a message, that rows look like whole episodes, not steps."""
    obs, acts = columns["obs"], columns["acts"]
    if obs.ndim < 3 or acts.ndim < 2 or obs.shape[1] - acts.shape[1] not in (0, 1):
        return ""
    count, steps = acts.shape[:2]
    return (
        f"; its {count} rows look like episodes of {steps} steps: then give obs.reshape(-1, *obs.shape[2:]), acts and "
        f"others alike, and lens of {count} times {steps}"
    )


def _ends(name: str, columns: Mapping[str, np.ndarray], lens: np.ndarray | None, notes: list[str]) -> np.ndarray:
    """(steps,) bool, whether it is the last one of its episode."""
    steps = len(columns["acts"])
    ends = np.zeros(steps, bool)
    for key in ("terminals", "timeouts", "dones"):
        if key in columns:
            ends |= columns[key].reshape(steps).astype(bool)
    if "starts" in columns:
        ends[:-1] |= columns["starts"].reshape(steps)[1:].astype(bool)
    if "episode" in columns:
        ends[:-1] |= columns["episode"][1:] != columns["episode"][:-1]
    if lens is not None:
        if lens.sum() != steps:
            raise UserError(f"{name}: lens add up to {lens.sum()} steps, but acts has {steps}: correct one of them")
        ends[np.cumsum(lens) - 1] = True
    if "next_obs" in columns:
        broken = np.zeros(steps, bool)
        broken[:-1] = ~_equal(columns["next_obs"][:-1], columns["obs"][1:]) & ~ends[:-1]
        if broken.any():
            notes.append(f"{broken.sum()} ends are where the next observation is not the one of the following step")
        ends |= broken
    if "step" in columns and "episode" in columns:
        holes = np.zeros(steps, bool)
        holes[:-1] = (np.diff(columns["step"].reshape(-1)) != 1) & ~ends[:-1]
        if holes.any():
            notes.append(f"{holes.sum()} EPISODES ARE CUT IN TWO where steps are missing")
        ends |= holes
    told = {"timeouts", "dones", "starts", "episode", "next_obs"} & columns.keys()
    if lens is None and not told:
        there = "terminals alone, which do not tell" if "terminals" in columns else "nothing that tells"
        advice = f"give {ENDS}, or lens (episodes,){_as_episodes(columns)}"
        raise UserError(f"{name} has {there} where a time limit cut an episode: {advice}")
    if not ends[-1]:
        if lens is None and not {"starts", "episode"} & columns.keys():
            notes.append("the last episode does not come to its end in the file, and counts as cut there")
        ends[-1] = True
    return ends


def _known_next(columns: Mapping[str, np.ndarray], ends: np.ndarray, notes: list[str]) -> np.ndarray:
    """(steps,) bool, whether next_obs of an end is what the episode ended in, and not what the next one starts with."""
    known = np.full(len(ends), "next_obs" in columns)
    if "next_obs" in columns:
        of_next = np.zeros(len(ends), bool)
        of_next[:-1] = ends[:-1] & _equal(columns["next_obs"][:-1], columns["obs"][1:])
        if of_next.any():
            notes.append(f"at {of_next.sum()} ends the next observation is the one that ANOTHER episode starts with")
        known &= ~of_next
    return known


def _equal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(steps,) bool, but for rounding."""
    flat, rest = (each.reshape(len(each), -1).astype(np.float64) for each in (one, other))
    close: np.ndarray = np.isclose(flat, rest, rtol=MOST, atol=1e-6, equal_nan=True)
    return np.asarray(close.all(1))
