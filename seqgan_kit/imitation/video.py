"""An animated GIF of a policy at work."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from ctypes.util import find_library
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from PIL import Image

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import write_whole
from seqgan_kit.imitation.environments import EnvironmentConfig, make
from seqgan_kit.imitation.evaluation import Act, acts
from seqgan_kit.imitation.returned import array_kind, given, number, observed
from seqgan_kit.networks.policies.actor import Actor

NAME = "video.gif"
WIDTH, NARROW, LIMIT = 240, 120, 1_500_000  # pixels, pixels, bytes
RATE = 25  # pictures a second at most: browsers slow down what is much faster
COLOURS = 64
PAUSE = 1000  # milliseconds that the end of an episode stays


class Film(NamedTuple):
    """pictures: all of one size. durations: milliseconds of each. returns: of each episode, as far as it is seen."""

    pictures: list[Image.Image]
    durations: list[int]
    returns: list[float]


def write_video(
    run: Path,
    environment: EnvironmentConfig,
    network: Actor,
    steps: int,
    seed: int,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Path | None:
    """Writes RUN/video.gif of the likeliest actions; where nothing can be rendered, only `say` is told why."""
    try:
        film = play(environment, acts(network.eval(), greedy=True), 1, steps, seed)
        return write_gif(run / NAME, film)
    except UserError as error:
        say(f"no video: {error}")
        return None


def play(config: EnvironmentConfig, act: Act, episodes: int, steps: int, seed: int) -> Film:
    """Renders episodes from seeds of their own, at most `steps` steps of each. Raises UserError where that can't be."""
    film = Film([], [], [])
    _prepare()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # graphics libraries look for screens that are not there
        environment = _renderable(config)
        every, duration = _times(environment.metadata.get("render_fps") or 30)
        try:
            for episode in range(episodes):
                _episode(environment, act, steps, every, seed + episode, film)
                film.durations.extend([duration] * (len(film.pictures) - len(film.durations)))
                film.durations[-1] = PAUSE
        except UserError:
            raise
        except Exception as error:  # whatever a renderer lacks; MuJoCo's raise what they like
            raise UserError(_advice(config.id, error)) from error
        finally:
            environment.close()
    return film


def _renderable(config: EnvironmentConfig) -> gym.Env[Any, Any]:
    """The environment that renders. The check comes first: without the mode, making it fails in many ways."""
    with closing(make(config)) as plain:
        modes = plain.metadata.get("render_modes", [])
    if "rgb_array" not in modes:
        raise UserError(f"{config.id} can't be rendered: its metadata's render_modes have no rgb_array")
    return make(config, render=True)


def _episode(environment: Any, act: Act, steps: int, every: int, seed: int, film: Film) -> None:
    space = environment.observation_space
    kind = array_kind(space)
    observation, _ = environment.reset(seed=seed)
    film.pictures.append(_picture(environment))
    memory, earned = None, 0.0
    for step in range(1, steps + 1):
        chosen, memory = act(observed(observation, space).astype(kind)[None], memory)
        action = given(chosen, environment.action_space)[0]
        observation, reward, terminated, truncated, _ = environment.step(action)
        earned += number(reward)
        last = terminated or truncated or step == steps
        if last or step % every == 0:
            film.pictures.append(_picture(environment))
        if last:
            break
    film.returns.append(earned)


def _picture(environment: Any) -> Image.Image:
    """At most WIDTH wide: whole ones of a long episode would fill the memory."""
    found = environment.render()
    if not isinstance(found, np.ndarray) or found.ndim != 3 or found.shape[-1] != 3:
        raise UserError(f"{environment.spec.id} can't be rendered: render() returns no (height, width, 3) array")
    return _narrow(Image.fromarray(found.astype(np.uint8)), WIDTH)


def _narrow(picture: Image.Image, width: int) -> Image.Image:
    if picture.width <= width:
        return picture
    return picture.resize((width, max(1, round(picture.height * width / picture.width))), Image.Resampling.BOX)


def _times(rate: float) -> tuple[int, int]:
    """Frames a second -> steps between two pictures, and milliseconds of each, of which GIF knows tens."""
    every = max(1, round(rate / RATE))
    return every, max(20, round(100 * every / rate) * 10)


def write_gif(path: Path, film: Film) -> Path:
    """A GIF that loops, below LIMIT bytes and whole or not at all. Raises UserError where the disk refuses."""
    width = film.pictures[0].width
    while len(content := encode(film, width)) > LIMIT and len(film.pictures) > 1:
        if width > NARROW:
            width = max(NARROW, int(width * min(0.9, (LIMIT / len(content)) ** 0.5)))
        else:  # as long, with half as many pictures
            times = [sum(film.durations[i : i + 2]) for i in range(0, len(film.durations), 2)]
            film = Film(film.pictures[::2], times, film.returns)
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror or error}; give another --out") from error
    return path


def encode(film: Film, width: int) -> bytes:
    """All pictures have one palette, from a few of them, so that colours do not flicker."""
    small = [_narrow(picture, width) for picture in film.pictures]
    some = small[:: max(1, len(small) // 4)]
    palette = Image.fromarray(np.concatenate([np.asarray(picture) for picture in some])).quantize(COLOURS)
    first, *others = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in small)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=film.durations, loop=0)
    return buffer.getvalue()


def _prepare() -> None:
    """Off-screen graphics, unless the user has chosen."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if "MUJOCO_GL" not in os.environ:
        found = [name for name, library in (("egl", "EGL"), ("osmesa", "OSMesa")) if find_library(library)]
        if found:  # MuJoCo by itself asks for a screen
            os.environ["MUJOCO_GL"] = found[0]


def _advice(name: str, error: Exception) -> str:
    words = one_line(error)
    what = f"{name} can't be rendered ({words})"
    if "pygame" in words:
        return f"{what}: pip install 'seqgan_kit[video]'"
    if re.search(r"GL|\bgl[A-Z]", words):
        return f"{what}: MuJoCo needs OpenGL without a screen, on Debian or Ubuntu `apt install libegl1`; MUJOCO_GL=egl"
    return what
