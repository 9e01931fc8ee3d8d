"""What `seqgan-kit` does with a run of imitation: returns beside baselines, demonstrations, a video, and the table."""

from __future__ import annotations

import json
import math
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_kit.bounds import SAMPLE, Bound, Count, check_fits
from seqgan_kit.commands import add_seed, is_main_process
from seqgan_kit.errors import UserError
from seqgan_kit.files import read_record, write_json
from seqgan_kit.report.metrics import read_baselines, read_metrics
from seqgan_kit.report.models import add_model, model_folder, tell_model
from seqgan_kit.report.terminal import aligned, print_places

if TYPE_CHECKING:
    from seqgan_kit.imitation.config import ImitationConfig
    from seqgan_kit.imitation.demonstrations import Demonstrations
    from seqgan_kit.imitation.environments import EnvironmentConfig
    from seqgan_kit.networks.policies.actor import Actor

Read = Callable[..., "tuple[ImitationConfig, str]"]
"""Further options -> the run's configuration with them, and its YAML."""
Cell = tuple[float, float]
"""A mean return and half the width of its 95 % interval."""
KINDS = ("greedy", "sampled")


def evaluate_options(parser: ArgumentParser) -> None:
    _episodes_option(parser, 100, "Number of episodes of the greedy policy, and of the sampled one")
    add_seed(parser, "the episodes", as_in_training=True)
    add_model(parser)
    parser.add_argument(
        "--frozen", action="store_true", help="Train the control, whose discriminator never learns, if it is missing"
    )


def _episodes_option(parser: ArgumentParser, default: int, text: str) -> None:
    parser.add_argument("--episodes", type=Count, default=default, help=f"{text} (default: %(default)s)")


def evaluate(run: Path, options: Namespace, read: Read) -> None:
    """Returns of a run's policy over whole episodes, beside random actions, behaviour cloning and the expert."""
    from seqgan_kit.imitation.evaluation import evaluate as measure
    from seqgan_kit.imitation.evaluation import scores
    from seqgan_kit.imitation.recorded import of_run
    from seqgan_kit.imitation.train import FROZEN

    config, _ = read()
    seed = config.evaluation.seed if options.seed is None else options.seed
    Bound(2).check("evaluate --episodes", options.episodes)
    check_fits("evaluate --episodes", options.episodes, SAMPLE)
    later = options.frozen and FROZEN not in _evaluated(run)
    network = None if later and options.model == "control" else _load_model(run, options)
    if later:
        _train_control(run, config, read)
    if not is_main_process():
        return
    network = network or _load_model(run, options)
    environment = of_run(run, config.environment)
    tell_model(run, options.model)
    measured = measure(environment, network, options.episodes, seed, longest=config.evaluation.longest)
    lengths = {f"episode_length_{kind}": float(found.lengths.mean()) for kind, found in measured.items()}
    head = f"{environment.id}: mean return ± 95 % interval"
    print(f"{head}; this policy on {options.episodes} episodes of each kind")
    print(_table(run, [(found.mean, found.interval) for found in measured.values()]))
    write_json(
        run / "evaluation.json",
        {"model": options.model, "episodes": options.episodes, "seed": seed, "metrics": scores(measured) | lengths},
    )


def _train_control(run: Path, config: ImitationConfig, read: Read) -> None:
    from seqgan_kit.imitation.train import train

    if config.reward == "environment":
        raise UserError(
            f"evaluate --frozen: {run} learnt from the environment's own reward, without a discriminator: leave it out"
        )
    if not read_record(run).get("finished"):
        raise UserError(f"evaluate --frozen: {run} has not come to its end: first seqgan-kit resume {run}")
    train(*read("--control.frozen", "true"), resume=True)


def record_options(parser: ArgumentParser) -> None:
    _episodes_option(parser, 10, "Number of episodes that are recorded")
    parser.add_argument("--out", help="New file or folder; of minari the id NAME-v0 (default: RUN/demonstrations.npz)")
    parser.add_argument(
        "--format",
        choices=("npz", "datasets", "minari"),
        default="npz",
        help="Format of the demonstrations (default: %(default)s)",
    )
    parser.add_argument("--greedy", action="store_true", help="Take the likeliest actions, not drawn ones")
    add_model(parser)
    add_seed(parser, "the first episode")


def record(run: Path, options: Namespace, read: Read) -> None:
    """Writes demonstrations of a run's policy, for others to imitate."""
    from seqgan_kit.imitation.demonstrations import Demonstrations
    from seqgan_kit.imitation.environments import make
    from seqgan_kit.imitation.evaluation import acts, returns
    from seqgan_kit.imitation.evaluation import run as episodes_of
    from seqgan_kit.imitation.fitting import fitted
    from seqgan_kit.imitation.recorded import of_run

    check_fits("record --episodes", options.episodes, SAMPLE)
    target = _target(run, options)
    config, _ = read()
    network = _load_model(run, options)
    _seed(options.seed)
    made_of = of_run(run, config.environment)
    act, longest = acts(network, options.greedy), config.evaluation.longest
    found = episodes_of(made_of, act, options.episodes, options.seed, longest=longest)
    with closing(make(made_of)) as environment:
        told = Demonstrations(found, made_of.id, f"the policy of {run}", environment.spec, ends_told=True)
        _write(options.format, target, fitted(told, environment), environment)
    tell_model(run, options.model)
    measured = returns(found)
    steps = int(measured.lengths.sum())
    print(f"{target}: {len(found)} episodes, {steps} steps, mean return {_cell((measured.mean, measured.interval))}")
    option = "--demonstrations.minari" if options.format == "minari" else "--demonstrations.path"
    print(f"imitate it: seqgan-kit train imitation {_same(made_of)} {shlex.join([option, target])}")


def _target(run: Path, options: Namespace) -> str:
    """Raises UserError where it can't be written, before any episode is played."""
    if options.format == "minari":
        if options.out is None:
            raise UserError("record --format minari: give the id of the new data set, --out NAMESPACE/NAME-v0")
        return options.out
    suffix = ".npz" if options.format == "npz" else ""
    target = Path(options.out or run / f"demonstrations{suffix}")
    if options.format == "npz" and target.suffix != ".npz":
        raise UserError(f"record --out {target}: end its name in .npz, or give --format datasets or minari")
    if target.exists():
        raise UserError(f"{target} exists: give another --out")
    return str(target)


def _write(kind: str, target: str, demonstrations: Demonstrations, environment: Any) -> None:
    from seqgan_kit.imitation.formats import write_datasets, write_npz
    from seqgan_kit.imitation.minari_data import write_minari

    if kind == "minari":
        write_minari(target, demonstrations, environment)
        return
    try:
        (write_npz if kind == "npz" else write_datasets)(Path(target), demonstrations)
    except OSError as error:
        raise UserError(f"can't write {target}: {error.strerror or error}; give another --out") from error


def _same(environment: EnvironmentConfig) -> str:
    words = ["--environment.id", environment.id]
    if environment.arguments:
        words += ["--environment.arguments", json.dumps(environment.arguments)]
    return shlex.join(words)


def watch_options(parser: ArgumentParser) -> None:
    _episodes_option(parser, 1, "Number of episodes that are shown")
    parser.add_argument(
        "--steps", type=Count, default=500, help="Greatest number of steps of an episode (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="File of the GIF, which is written anew (default: RUN/video.gif)")
    parser.add_argument("--sampled", action="store_true", help="Draw the actions, in place of the likeliest ones")
    add_model(parser)
    add_seed(parser, "the first episode")


def watch(run: Path, options: Namespace, read: Read) -> None:
    """Writes an animated GIF of a run's policy; the report shows RUN/video.gif."""
    from seqgan_kit.imitation.evaluation import acts
    from seqgan_kit.imitation.recorded import of_run
    from seqgan_kit.imitation.video import NAME, WIDTH, play, write_gif
    from seqgan_kit.report import write_report

    check_fits("watch --episodes", options.episodes, 3 * WIDTH**2)
    path = options.out or run / NAME
    if path.suffix != ".gif":
        raise UserError(f"watch --out {path}: only GIF can be written, end its name in .gif")
    config, _ = read()
    network = _load_model(run, options)
    _seed(options.seed)
    environment = of_run(run, config.environment)
    film = play(environment, acts(network, not options.sampled), options.episodes, options.steps, options.seed)
    write_gif(path, film)
    tell_model(run, options.model)
    earned = ", ".join(f"{value:g}" for value in film.returns)
    print(f"{path}: {len(film.pictures)} pictures, return {earned}")
    if path == run / NAME and (run / "metrics.jsonl").is_file():
        print(write_report(run))


COMMANDS = {
    "evaluate": (evaluate_options, evaluate),
    "watch": (watch_options, watch),
    "record": (record_options, record),
}


def summarise(run: Path) -> None:
    """What random actions, each phase and the expert earn, and what to do with the run."""
    print(f"\n{_table(run)}\n")
    print_places(run, f"watch {run}", f"evaluate {run}", f"record {run} --out demos.npz")


def _rows(run: Path, measured: list[Cell | None] | None = None) -> dict[str, list[Cell | None]]:
    """The baselines, each phase as it was last evaluated, and the policy as it was `measured`: (greedy, sampled)."""
    from seqgan_kit.imitation.train import ADVERSARIAL, BASELINES, CLONING, FROZEN, REINFORCEMENT

    base: dict[str, list[Cell | None]] = {
        name: [found] * 2 for name, found in read_baselines(run / BASELINES).items() if isinstance(found, tuple)
    }
    evaluated = _evaluated(run)
    rows: dict[str, list[Cell | None] | None] = {
        "random actions": base.get("random"),
        "behaviour cloning": evaluated.get(CLONING),
        "adversarial": evaluated.get(ADVERSARIAL),
        "reinforcement": evaluated.get(REINFORCEMENT),
        "frozen discriminator": evaluated.get(FROZEN),
        "this policy": measured,
        "expert": base.get("expert"),
    }
    return {name: cells for name, cells in rows.items() if cells}


def _evaluated(run: Path) -> dict[str, list[Cell | None]]:
    """What each phase was last evaluated to, where it was."""
    found: dict[str, list[Cell | None]] = {}
    for phase, rows in read_metrics(run / "metrics.jsonl").items():
        last = {name: value for row in rows for name, value in row.values.items()}
        names = [f"eval/return_{kind}" for kind in KINDS]
        if any(name in last for name in names):
            found[phase] = [(last[n], last.get(f"{n}_interval", math.nan)) if n in last else None for n in names]
    return found


def _table(run: Path, measured: list[Cell | None] | None = None) -> str:
    """The rows, and below them in which way the expert's are of another environment."""
    from seqgan_kit.imitation.recorded import other_in

    rows, other = _rows(run, measured), other_in(run)
    cells = [[f"{name} *" if other and name == "expert" else name, *map(_cell, rows[name])] for name in rows]
    notes = [f"* of ANOTHER environment than this: {'; '.join(other)}"] if other and "expert" in rows else []
    return "\n".join([*aligned(["mean return", *KINDS], cells), *notes])


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    mean, interval = cell
    return f"{mean:.1f} ± {interval:>5.1f}" if math.isfinite(interval) else f"{mean:.1f}"


def _seed(seed: int) -> None:
    """As the evaluations while training do, so that the same seed gives the same numbers."""
    from accelerate.utils import set_seed

    set_seed(seed)


def _load_model(run: Path, options: Namespace) -> Actor:
    from seqgan_kit.networks.policies.actor import Actor
    from seqgan_kit.networks.saved import load_network

    return load_network(Actor, model_folder(run, options.model), run)
