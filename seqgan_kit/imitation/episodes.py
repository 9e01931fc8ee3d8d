"""Episodes as files hold them -> `Demonstrations`: each is checked, and what became of it is counted.

Messages count episodes and steps from 0, as the arrays do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from seqgan_kit.errors import UserError
from seqgan_kit.imitation.demonstrations import DROP, BadEpisodes, Demonstrations, Episode, short
from seqgan_kit.tables import Intake


class Row(NamedTuple):
    """As `Episode`, in whatever type a file has it; None where unknown, of seeds also -1."""

    observations: Any
    actions: Any
    rewards: Any = None
    terminated: Any = False
    seed: Any = None
    earned: float | None = None


class About(NamedTuple):
    """What else a file says: as the fields of `Demonstrations` of the same name."""

    environment: str | None = None
    recorded: EnvSpec | None = None
    observation_space: spaces.Space[Any] | None = None
    ends_told: bool = False


class BadEpisode(UserError):
    """One episode that cannot be used. why: in few words, as it is counted."""

    def __init__(self, told: str, why: str) -> None:
        super().__init__(f"{told}, or leave such episodes out, {DROP}")
        self.why = why


def checked(
    name: str, rows: Iterable[Row], about: About | None = None, bad: BadEpisodes = "error", notes: Sequence[str] = ()
) -> Demonstrations:
    """The rows in our types. bad: whether an episode that cannot be used is a UserError, or is left out and counted.

    notes: what the reader has to say of them.
    """
    intake = Intake(name, "episodes", notes=list(notes))
    found: list[tuple[int, Episode]] = []
    given: list[np.ndarray] = []
    for number, row in enumerate(rows):
        intake.read += 1
        try:
            found.append((number, _episode(f"{name} episode {number}", row)))
            given.append(np.asarray(row.observations))
        except BadEpisode as error:
            leave_out(intake, error, bad)
    if not intake.read:
        raise UserError(f"{name} has no episodes: give at least one")
    kinds = [(e.observations.shape[1:], e.observations.dtype, e.actions.shape[1:], e.actions.dtype) for _, e in found]
    usual = Counter(kinds).most_common(1)[0][0] if kinds else None
    episodes = []
    for (number, episode), kind in zip(found, kinds, strict=True):
        if kind == usual:
            episodes.append(episode)
            continue
        others = "episode 0" if kinds[0] == usual else "most"
        told = f"{name} episode {number} has other observations or actions than {others}: make them alike"
        leave_out(intake, BadEpisode(told, "other observations or actions than most"), bad)
    intake.notes += rounded([array for array, kind in zip(given, kinds, strict=True) if kind == usual])
    return Demonstrations(some_left(episodes, intake), name=name, intake=used(intake, episodes), **_fields(about))


def _fields(about: About | None) -> dict[str, Any]:
    return (about or About())._asdict()


def leave_out(intake: Intake, error: BadEpisode, bad: BadEpisodes) -> None:
    if bad == "error":
        raise error
    intake.dropped[error.why] += 1


def some_left(episodes: Sequence[Episode], intake: Intake) -> Sequence[Episode]:
    if not episodes:
        why = ", ".join(f"{count} {reason}" for reason, count in intake.dropped.items())
        raise UserError(f"{intake.name}: all {intake.read} episodes were left out ({why}): give some that can be used")
    return episodes


def used(intake: Intake, episodes: Sequence[Episode]) -> Intake:
    intake.used = len(episodes)
    return intake


def _episode(where: str, row: Row) -> Episode:
    """The arrays in our types, or a UserError: they must fit together and be finite, also as float32."""
    for key, value in (("obs", row.observations), ("acts", row.actions), ("rews", row.rewards)):
        if value is not None and not is_numbers(value):
            raise BadEpisode(no_numbers(where, key, value), "no numbers")
    observations, actions, rewards = row.observations, row.actions, row.rewards
    steps = len(actions)
    if steps == 0:
        raise BadEpisode(f"{where} has 0 steps with an observation before and after: leave it out", "without a step")
    if len(observations) != steps + 1:
        told = f"{where} has {len(observations)} observations and {steps} actions"
        told += ": give one observation more, the one that it ended in"
        raise BadEpisode(told, "observations and actions that do not fit together")
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is told below
        observations = observations if observations.dtype == np.uint8 else observations.astype(np.float32)
        actions = actions.astype(np.float32 if actions.dtype.kind == "f" else np.int64)
        if actions.size == steps:  # a dimension of 1 may be missing in floats, and be there in integers
            actions = actions.reshape((steps, 1) if actions.dtype == np.float32 else steps)
        rewards = None if rewards is None else rewards.astype(np.float32)
    if rewards is not None and rewards.size == steps:
        rewards = rewards.reshape(steps)
    if rewards is not None and rewards.shape != (steps,):
        told = f"{where} has rewards of shape {rewards.shape} for {steps} steps: give one a step"
        raise BadEpisode(told, "rewards and actions that do not fit together")
    for what, array in (("observation", observations), ("action", actions), ("reward", rewards)):
        if array is not None and not np.isfinite(array).all():
            step = np.nonzero(~np.isfinite(array))[0][0]
            raise BadEpisode(f"{where} step {step}: the {what} has NaN or infinity: repair it", "NaN or infinity")
    seed = None if row.seed is None or row.seed < 0 else int(row.seed)
    return Episode(observations, actions, rewards, bool(row.terminated), seed, row.earned)


def is_numbers(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.ndim > 0


def is_single(value: Any) -> bool:
    return np.ndim(value) == 0 if isinstance(value, np.ndarray) else not isinstance(value, list | tuple)


def as_array(values: Any) -> np.ndarray:
    """Numbers where they are; objects where rows have different lengths."""
    try:
        return np.asarray(values)
    except ValueError:
        return np.array(values, object)


def no_numbers(where: str, key: str, value: Any) -> str:
    return f"{where}: {key} is no array of numbers, but {short(value)}: correct it"


def rounded(observations: Sequence[np.ndarray]) -> list[str]:
    """What is lost where observations become float32, if that is much of what one of their numbers varies by."""
    if not observations or observations[0].dtype.itemsize < 4 or observations[0].dtype == np.float32:
        return []
    flat = np.concatenate([array.reshape(len(array), -1) for array in observations]).astype(np.float64)
    lost, spread = np.abs(flat - flat.astype(np.float32)).max(0), flat.std(0)
    varies = flat.max(0) > flat.min(0)  # the deviation of equal numbers need not be 0
    if not (coarse := np.flatnonzero((lost > 0.01 * spread) & varies)).size:
        return []
    k = int(coarse[0])
    return [
        f"observations are rounded to float32, and number {k} varies by {spread[k]:.3g} only, around "
        f"{flat[:, k].mean():.7g}, so that it LOSES up to {lost[k]:.3g}: subtract a constant in data and environment"
    ]
