"""The command line of imitation end to end: train, resume, evaluate, record, watch, and what it says about mistakes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import runs
from seqgan_kit.cli import main, parse
from seqgan_kit.engine.provenance import config_yaml
from seqgan_kit.errors import UserError
from seqgan_kit.files import read_json
from seqgan_kit.imitation import video
from seqgan_kit.imitation.config import ImitationConfig, PolicyConfig
from seqgan_kit.imitation.demonstrations import DemonstrationConfig, Demonstrations
from seqgan_kit.imitation.environments import EnvironmentConfig, make
from seqgan_kit.imitation.evaluation import at_random, balancing
from seqgan_kit.imitation.evaluation import run as episodes_of
from seqgan_kit.imitation.formats import load, read_npz, write_npz
from seqgan_kit.imitation.improvement import PPO, TRPO
from seqgan_kit.imitation.recorded import settled
from seqgan_kit.imitation.train import ADVERSARIAL, CLONING, FROZEN
from seqgan_kit.networks.policies.actor import Actor

SMALL = (
    "--policy.steps", "50", "--policy.hidden", "[16]", "--environment.copies", "4", "--cloning.steps", "30",
    "--adversarial.environment_steps", "600", "--evaluation.episodes", "2", "--evaluation.final", "4",
    "--evaluation.video", "0", "--run.log_every", "1",
)  # fmt: skip
ROUND = 200  # steps of the environment
WORLDS = """
import gymnasium as gym
import numpy as np

class Dark(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 6
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.full(2, self.left / 6, np.float32), float(action), self.left == 0, False, {}

class Screenless(Dark):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def render(self):
        raise RuntimeError("an OpenGL platform library has not been loaded")

for made in (Dark, Screenless):
    gym.register(f"{made.__name__}-v0", entry_point=made)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with parts given by import path looked for in it, as the command does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "dark_worlds.py").write_text(WORLDS)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on CartPole, to be copied by whoever writes into it."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "imitation", *SMALL, "--run.folder", str(run)]) == 0
    return run


@pytest.fixture
def run(trained: Path, here: Path) -> Path:
    return Path(shutil.copytree(trained, here / "run"))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command that ends well prints."""
    capsys.readouterr()
    assert main(words) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on stderr that a mistake ends with, at status 1."""
    capsys.readouterr()
    assert main(words) == 1
    told = runs.errors(capsys.readouterr().err)
    assert len(told) == 1, told
    assert told[0].startswith("seqgan-kit: ")
    return told[0].removeprefix("seqgan-kit: ")


def last(run: Path, phase: str) -> dict[str, float]:
    """The last evaluation of a phase."""
    return [line for line in runs.lines(run) if line["phase"] == phase and "eval/return_greedy" in line][-1]


def table(told: str) -> dict[str, list[float]]:
    """The rows of the printed table: greedy mean and interval, sampled mean and interval."""
    rows = re.findall(r"^(\S.*?) {2,}(-?[\d.]+) ± +([\d.]+) +(-?[\d.]+) ± +([\d.]+)$", told, re.MULTILINE)
    return {name: [float(value) for value in values] for name, *values in rows}


# -- what it does --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("with_curves")
def test_training_ends_with_a_table_between_random_actions_and_the_expert(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its control, every phase has a row with the numbers of metrics.jsonl, and it is said what to do next."""
    told = said(capsys, "train", "imitation", *SMALL, "--control.frozen", "true", "--run.folder", "run")
    found = table(told)
    assert list(found) == [
        "random actions", "behaviour cloning", "adversarial", "frozen discriminator", "expert",
    ]  # fmt: skip
    for phase, row in ((CLONING, "behaviour cloning"), (ADVERSARIAL, "adversarial"), (FROZEN, "frozen discriminator")):
        line = last(here / "run", phase)
        names = [f"eval/return_{kind}{end}" for kind in ("greedy", "sampled") for end in ("", "_interval")]
        assert found[row] == pytest.approx([line[name] for name in names], abs=0.051)
    assert found["expert"][0] == 500
    assert found["random actions"][0] < 60
    assert all(f"seqgan-kit {command} run" in told for command in ("watch", "evaluate", "record"))
    page = (here / "run" / "report.html").read_text()
    assert page.count(">expert<") >= 3, "the summary's head, and a line in each panel of returns"


def test_a_resumed_run_goes_on_for_longer(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More steps of the environment are asked for: the rounds that are missing are played."""
    before = runs.lines(run)
    said(capsys, "resume", str(run), "--adversarial.environment_steps", str(5 * ROUND))
    after = runs.lines(run)
    assert after[: len(before)] == before
    assert [line["step"] for line in after if line["phase"] == ADVERSARIAL] == [1, 2, 3, 4, 5]
    assert yaml.safe_load((run / "config.yaml").read_text())["adversarial"]["environment_steps"] == 5 * ROUND


def test_evaluate_repeats_the_last_numbers_of_the_training_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On as many episodes from the same seed the numbers are the same; another seed gives others."""
    told = said(capsys, "evaluate", str(run), "--model", "game", "--episodes", "4")
    assert list(table(told)) == ["random actions", "behaviour cloning", "adversarial", "this policy", "expert"]
    assert table(told)["this policy"] == table(told)["adversarial"]
    found = json.loads((run / "evaluation.json").read_text())
    assert found["episodes"] == 4
    line = last(run, ADVERSARIAL)
    assert all(found["metrics"][name[5:]] == value for name, value in line.items() if name.startswith("eval/"))
    said(capsys, "evaluate", str(run), "--model", "game", "--episodes", "4", "--seed", "7")
    assert json.loads((run / "evaluation.json").read_text())["metrics"] != found["metrics"]


def test_evaluate_trains_the_missing_control_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The control plays as many rounds, leaves the policy alone, and is not trained a second time."""
    model, before = (run / "model" / "model.safetensors").read_bytes(), runs.lines(run)
    told = said(capsys, "evaluate", str(run), "--episodes", "4", "--frozen")
    assert "frozen discriminator" in table(told)
    after = runs.lines(run)
    assert after[: len(before)] == before
    assert [line["step"] for line in after[len(before) :] if line["phase"] == FROZEN] == [1, 2, 3]
    assert (run / "model" / "model.safetensors").read_bytes() == model
    assert "control: discriminator never trained" in (run / "report.html").read_text()
    assert table(said(capsys, "evaluate", str(run), "--episodes", "4", "--frozen")) == table(told)
    assert runs.lines(run) == after


def test_what_was_recorded_can_be_imitated(run: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An .npz of the policy's episodes, with seeds that repeat them, and the printed command, which trains on it."""
    told = said(capsys, "record", str(run), "--episodes", "3", "--out", "demos.npz", "--seed", "5")
    demonstrations = load(DemonstrationConfig(path="demos.npz"))
    returns = demonstrations.returns()
    assert returns is not None
    assert f"3 episodes, {sum(len(e.actions) for e in demonstrations.episodes)} steps" in told
    assert f"mean return {returns.mean():.1f}" in told
    assert [episode.seed for episode in demonstrations.episodes] == [5, 6, 7]
    words = told.split("imitate it: seqgan-kit ")[1].split()
    assert words == ["train", "imitation", "--environment.id", "CartPole-v1", "--demonstrations.path", "demos.npz"]
    told = said(capsys, *words, *SMALL, "--run.folder", "second")
    assert table(told)["expert"][0] == pytest.approx(returns.mean(), abs=0.051)

    said(capsys, "record", str(run), "--out", "one.npz", "--greedy")
    said(capsys, "record", str(run), "--out", "two.npz", "--greedy")
    one, two = (load(DemonstrationConfig(path=name)).episodes for name in ("one.npz", "two.npz"))
    assert all(np.array_equal(a.actions, b.actions) for a, b in zip(one, two, strict=True))


def test_demonstrations_in_other_formats(
    run: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of `datasets` and a Minari data set hold the same episodes, where these packages are installed."""
    pytest.importorskip("datasets")
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(here / "minari"))
    said(capsys, "record", str(run), "--out", "demos.npz", "--episodes", "2")
    said(capsys, "record", str(run), "--out", "folder", "--episodes", "2", "--format", "datasets")
    told = said(capsys, "record", str(run), "--out", "own/pole-v0", "--episodes", "2", "--format", "minari")
    assert "--demonstrations.minari own/pole-v0" in told
    episodes = load(DemonstrationConfig(path="demos.npz")).episodes
    for config in (DemonstrationConfig(path="folder"), DemonstrationConfig(minari="own/pole-v0")):
        for one, other in zip(load(config).episodes, episodes, strict=True):
            assert np.array_equal(one.observations, other.observations)
            assert np.array_equal(one.actions, other.actions)
    assert "folder exists" in refused(capsys, "record", str(run), "--out", "folder", "--format", "datasets")


def test_watch_writes_a_gif_that_the_report_shows(run: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture for every second step at 25 a second, 240 pixels wide, embedded in the page."""
    pytest.importorskip("pygame", reason="CartPole is drawn by pygame")
    told = said(capsys, "watch", str(run), "--steps", "40", "--episodes", "2")
    pictures, total, size = frames(run / "video.gif")
    assert size == (240, 160)
    assert 2 < pictures <= 2 * 22
    seen = [float(value) for value in told.split("return ")[1].split("\n")[0].split(", ")]
    assert len(seen) == 2
    assert total == pytest.approx(2000 + sum(20 * value for value in seen), abs=100)
    page = (run / "report.html").read_text()
    assert 'src="data:image/gif;base64,' in page
    assert "img-src data:" in page
    said(capsys, "watch", str(run), "--steps", "30", "--out", "other/drawn.gif", "--sampled", "--seed", "3")
    assert frames(here / "other" / "drawn.gif")[0] > 2


def frames(path: Path) -> tuple[int, int, tuple[int, int]]:
    """Number of pictures, milliseconds in all, and size."""
    with Image.open(path) as film:
        count = getattr(film, "n_frames", 1)
        total = 0
        for i in range(count):
            film.seek(i)
            total += film.info["duration"]
        return count, total, film.size


def test_a_long_film_is_made_smaller_but_not_shorter(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, which nothing compresses: fewer pixels, then fewer pictures, until it fits, for as many seconds."""
    monkeypatch.setattr(video, "LIMIT", 150_000)
    noise = np.random.default_rng(0).integers(0, 256, (60, 160, 200, 3), np.uint8)
    path = video.write_gif(here / "noise.gif", video.Film([Image.fromarray(one) for one in noise], [40] * 60, [0.0]))
    count, total, size = frames(path)
    assert path.stat().st_size <= 150_000
    assert size == (120, 96)
    assert 1 < count < 60
    assert total == 60 * 40
    assert [item.name for item in here.iterdir() if item.suffix != ".py"] == ["noise.gif"]


@pytest.mark.parametrize(
    ("rate", "every", "milliseconds"),
    [(50, 2, 40), (125, 5, 40), (30, 1, 30), (4, 1, 250), (100, 4, 40), (1000, 40, 40)],
)
def test_films_run_at_the_speed_of_the_environment(rate: float, every: int, milliseconds: int) -> None:
    """At most 25 pictures or so a second, and the time of each is a number of tens that GIF can say."""
    assert video._times(rate) == (every, milliseconds)


HEAVY = {"g": 2.0, "max_episode_steps": 60}


@pytest.fixture
def swings(here: Path) -> Path:
    """Demonstrations that were recorded in a Pendulum of other gravity and another time limit."""
    config = EnvironmentConfig("Pendulum-v1", HEAVY)
    with closing(make(config)) as environment:
        found = episodes_of(config, at_random(config, 0), 3, 0)
        write_npz(here / "swings.npz", Demonstrations(found, config.id, "swings", environment.spec))
    return here / "swings.npz"


def test_the_environment_of_the_demonstrations_is_taken(
    swings: Path, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    """Where no id is given: with arguments and time limit, in training, evaluation, resuming and recording."""
    words = ["--demonstrations.path", "swings.npz", "--run.folder", "run"]
    told = said(capsys, "train", "imitation", *SMALL, *words)
    assert told.splitlines()[2].startswith(
        f"environment Pendulum-v1, time limit 60, arguments {json.dumps(HEAVY)}: as "
    )
    assert "2 of them replayed from their seeds: returns of " in told
    assert "ANOTHER" not in told
    assert yaml.safe_load((here / "run" / "config.yaml").read_text())["environment"]["id"] == "recorded"
    said(capsys, "evaluate", "run", "--episodes", "2")
    assert read_json(here / "run" / "evaluation.json")["metrics"]["episode_length_greedy"] == 60
    said(capsys, "record", "run", "--episodes", "1")
    again = read_npz(here / "run" / "demonstrations.npz")
    assert [len(episode.actions) for episode in again.episodes] == [60]
    assert settled(EnvironmentConfig(), again) == EnvironmentConfig("Pendulum-v1", HEAVY)
    said(capsys, "resume", "run", "--adversarial.environment_steps", "800")


def test_another_environment_is_said_first_and_in_the_table(
    swings: Path, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    """By what the data says, and by what their actions earn when they are taken again."""
    words = ["--demonstrations.path", "swings.npz", "--environment.id", "Pendulum-v1", "--run.folder", "run"]
    told = said(capsys, "train", "imitation", *SMALL, *words)
    other = "g recorded as 2.0, here its default; time limit recorded as 60, here 200"
    assert f"ANOTHER ENVIRONMENT than the demonstrations are of: {other}" in told
    assert "the environment is ANOTHER one, or of another version, or not deterministic" in told
    assert re.search(r"^expert \*", told, re.M)
    for table_of in (told, said(capsys, "evaluate", "run", "--episodes", "2")):
        assert f"* of ANOTHER environment than this: {other}; replayed, episodes return " in table_of


def test_demonstrations_of_an_unknown_environment(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The advice is followed; what is not read is said, too."""
    np.savez(here / "a.npz", obs=np.zeros((7, 4)), acts=np.zeros(6, int))
    words = ["train", "imitation", *SMALL, "--demonstrations.path", "a.npz"]
    told = refused(capsys, *words, "--run.folder", "run")
    assert told == "a.npz does not say which environment it was recorded in: give --environment.id"
    assert not (here / "run").exists()
    told = said(capsys, *words, "--environment.id", "CartPole-v1", "--run.folder", "run")
    assert "a.npz does not say which environment it was recorded in\n" in told
    told = said(capsys, *words, "--reward", "environment", "--run.folder", "own")
    assert "--reward environment learns from rewards: a.npz is NOT READ\n" in told


def test_nothing_is_drawn_where_nothing_can_be(
    run: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pygame, no render mode, no OpenGL: `watch` says in one line what to do, and training only mentions it."""
    monkeypatch.setitem(sys.modules, "pygame", None)
    told = refused(capsys, "watch", str(run))
    assert told.startswith("CartPole-v1 can't be rendered (pygame is not installed")
    assert told.endswith("pip install 'seqgan_kit[video]'")
    for name, expected in (("Dark-v0", "render_modes have no rgb_array"), ("Screenless-v0", "MUJOCO_GL=egl")):
        config = EnvironmentConfig(f"dark_worlds:{name}")
        with pytest.raises(UserError, match=expected):
            video.play(config, at_random(config, 0), 1, 10, 0)
    heard: list[str] = []
    network = Actor.from_pretrained(run / "model")
    assert video.write_video(run, EnvironmentConfig("CartPole-v1"), network, 20, 0, heard.append) is None
    assert len(heard) == 1
    assert heard[0].startswith("no video: CartPole-v1 can't be rendered")
    assert not list(run.glob("*.gif")) + list(run.glob(".*gif*"))


def test_a_run_by_the_environment_s_own_reward(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It needs no demonstrations; its policy is evaluated and recorded like any other; it has no control."""
    words = ["train", "imitation", *SMALL, "--reward", "environment", "--run.folder", "run"]
    told = said(capsys, *words, "--environment.id", "dark_worlds:Dark-v0", "--policy.improvement", "PPO")
    assert list(table(told)) == ["random actions", "reinforcement"]
    assert list(table(said(capsys, "evaluate", "run", "--episodes", "2"))) == [
        "random actions", "reinforcement", "this policy",
    ]  # fmt: skip
    assert "demonstrations.npz: 10 episodes, 60 steps" in said(capsys, "record", "run")
    assert "without a discriminator" in refused(capsys, "evaluate", "run", "--frozen")
    assert "render_modes have no rgb_array" in refused(capsys, "watch", "run")


# -- options -------------------------------------------------------------------------------------------------------


def test_another_part_begins_with_its_own_defaults(here: Path) -> None:
    """Options that were given for TRPO, or are its defaults, do not reach PPO, wherever it is chosen."""
    whole = parse(["--policy.improvement", "TRPO", "--policy.improvement.epochs", "4"], "imitation")[1]
    (here / "trpo.yaml").write_text(whole)
    (here / "ppo.yaml").write_text("policy: {improvement: {class_path: PPO, init_args: {minibatch: 64}}}")
    (here / "short.yaml").write_text("policy: {improvement: seqgan_kit.imitation.improvement.PPO}")

    def chosen(*words: str) -> PPO | TRPO:
        return parse(list(words), "imitation")[0].policy.improvement

    assert chosen() == PPO()
    assert chosen("--policy.improvement", "TRPO") == TRPO()
    assert chosen("--config", "trpo.yaml") == TRPO(epochs=4)
    assert chosen("--policy.improvement", "PPO") == PPO()
    assert chosen("--config", "trpo.yaml", "--policy.improvement", "PPO") == PPO()
    assert chosen("--config", "short.yaml") == PPO()
    assert chosen("--config", "ppo.yaml") == PPO(minibatch=64)
    assert chosen("--config", "trpo.yaml", "--config", "ppo.yaml") == PPO(minibatch=64)
    path = "seqgan_kit.imitation.improvement.PPO"
    assert chosen("--policy.improvement", path, "--policy.improvement.epochs", "4") == PPO(epochs=4)
    assert chosen("--config", "ppo.yaml", "--policy.improvement.epochs", "4") == PPO(epochs=4, minibatch=64)
    text = parse(["--config", "ppo.yaml"], "imitation")[1]
    (here / "whole.yaml").write_text(text)
    assert parse(["--config", "whole.yaml"], "imitation")[1] == text
    config = ImitationConfig(policy=PolicyConfig(improvement=PPO(minibatch=64)))
    (here / "python.yaml").write_text(config_yaml(config))
    assert chosen("--config", "python.yaml") == PPO(minibatch=64), "also as a run from Python writes it"


def test_options_of_every_kind(here: Path) -> None:
    """JSON for the environment, an objective and own rewards by import path."""
    (here / "calmness.py").write_text("def calm(observations, actions, next_observations):\n    return 0 * actions\n")
    config, _ = parse(
        ["--environment.arguments", '{"sutton_barto_reward": true}', "--adversarial.rewards",
         '[{"function": "calmness.calm", "weight": 0.5}]', "--discriminator.objective",
         "seqgan_kit.algorithms.objectives.non_saturating", "--discriminator.inputs", "[state]"],
        "imitation",
    )  # fmt: skip
    assert config.environment.arguments == {"sutton_barto_reward": True}
    assert [(item.function.__name__, item.weight) for item in config.adversarial.rewards] == [("calm", 0.5)]
    assert config.discriminator.objective.__name__ == "non_saturating"
    assert config.discriminator.inputs == ["state"]


def test_a_configuration_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """--print_config and --help end well, with the options of this task."""
    with pytest.raises(SystemExit):
        main(["train", "imitation", "--policy.improvement", "PPO", "--print_config"])
    content = yaml.safe_load(capsys.readouterr().out)
    assert content["policy"]["improvement"]["class_path"] == "seqgan_kit.imitation.improvement.PPO"
    assert main(["train", "imitation", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("--environment.id", "--demonstrations.path", "--policy.improvement"))


# -- what it says about mistakes -------------------------------------------------------------------------------------

OPTIONS = {
    "--environment.id CartPol-v1": ["--environment.id CartPol-v1", "did you mean CartPole-v1"],
    "--environment.id nowhere:Own-v0": ["--environment.id nowhere:Own-v0", "no module 'nowhere'"],
    "--environment.arguments '{\"speed\": 3}'": ["--environment.arguments", "CartPole-v1", "speed"],
    "--environment.id Pendulum-v1": ["--demonstrations.path", "--demonstrations.minari"],
    "--environment.id Pendulum-v1 --demonstrations.path pole.npz": [
        "pole.npz (recorded in CartPole-v1)", "shape (4,)", "(3,)",
    ],
    "--demonstrations.path pol.npz": ["pol.npz does not exist", "did you mean pole.npz"],
    "pole.npz": ["pole.npz", "did you mean --demonstrations.path pole.npz?", "train imitation --help"],
    "own.yaml": ["did you mean --config own.yaml?"],
    "--policy.improvment PPO": ["unknown option --policy.improvment", "policy.improvement"],
    "--policy.improvement APO": ["--policy.improvement: there is no part APO: give MODULE.NAME"],
    "--policy.improvement.damping 0.1": ["--policy.improvement.damping", "takes no damping"],
    "--config own.yaml": ["own.yaml: unknown key policy.step", "policy.steps", "train imitation --help"],
    "--policy.steps 0": ["--policy.steps 0", "give at least 1"],
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_bad_options_are_told_with_the_remedy(here: Path, capsys: pytest.CaptureFixture[str], options: str) -> None:
    """Each is refused in one line before a run folder is made."""
    write_npz(here / "pole.npz", balancing("CartPole-v1", 2))
    (here / "own.yaml").write_text("policy: {step: 3}")
    told = refused(capsys, "train", "imitation", *shlex.split(options), "--run.folder", "run")
    assert all(part in told for part in OPTIONS[options]), told
    assert len(told) < 400, told
    assert not (here / "run").exists()


COMMANDS = {
    "sample run": ["sample is for runs of text", "run is one of imitation", "evaluate, watch, record"],
    "evaluate run --samples 3": ["evaluate RUN: unknown option --samples"],
    "evaluate run --episodes 1": ["evaluate --episodes 1: give at least 2"],
    "record run --out there.npz": ["there.npz exists: give another --out"],
    "record run --out demos.txt": ["record --out demos.txt", ".npz"],
    "record run --out x --format csv": ["--format", "csv", "npz"],
    "record run --format minari": ["--out NAMESPACE/NAME-v0"],
    "watch run --out film.mp4": ["watch --out film.mp4", ".gif"],
    "watch run --steps 0": ["watch --steps 0: give at least 1"],
    "watch run --seed -1": ["--seed -1: give a number from 0"],
    "evaluate run --seed 4294967296": ["--seed 4294967296: give a number from 0"],
    "watch begun": ["begun/model holds no model", "resume begun"],
    "watch text": ["watch is for runs of imitation", "text is one of text"],
    "watch other": ["other is a run of 'chess'", "text and dialogue and imitation"],
    "watch broken": ["broken/run.json: not a JSON object"],
    "train imitatio": ["unknown task 'imitatio'", "imitation"],
}


@pytest.mark.parametrize("words", COMMANDS)
def test_bad_commands_are_told_with_the_remedy(
    run: Path, here: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """What is not there, is there already, or belongs to another task: one line, and nothing is written."""
    (here / "there.npz").write_text("precious")
    shutil.copytree(run, "begun")
    shutil.rmtree("begun/model")
    for name, content in (("text", '{"task": "text"}'), ("other", '{"task": "chess"}'), ("broken", "{")):
        (here / name).mkdir()
        (here / name / "run.json").write_text(content)
    files = sorted(here.rglob("*"))
    told = refused(capsys, *shlex.split(words))
    assert all(part in told for part in COMMANDS[words]), told
    assert (here / "there.npz").read_text() == "precious"
    assert sorted(here.rglob("*")) == files


def test_the_control_waits_for_the_end_of_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was stopped is resumed first: `evaluate` would otherwise train on for as long as that takes."""
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "finished": False}))
    told = refused(capsys, "evaluate", str(run), "--frozen")
    assert told.endswith(f"has not come to its end: first seqgan-kit resume {run}")


def test_a_run_goes_on_with_its_own_demonstrations_only(
    swings: Path, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    """Others of the same shape would be learnt from without a word; runs of earlier versions do not know theirs."""
    words = ["--demonstrations.path", "swings.npz", "--run.folder", "run"]
    said(capsys, "train", "imitation", *SMALL, *words)
    arrays = dict(np.load(swings))
    np.savez(swings, **arrays | {"acts": -arrays["acts"]})
    told = refused(capsys, "resume", "run", "--adversarial.environment_steps", "800")
    assert told.startswith(
        "run: the data, or the tokenizer, have changed since this run began, so what it has learnt is"
    )
    record = read_json(here / "run" / "run.json")
    (here / "run" / "run.json").write_text(json.dumps(record | {"data": None}))
    said(capsys, "resume", "run", "--adversarial.environment_steps", "800")
