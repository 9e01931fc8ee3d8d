"""GAN-CLS and GAN-INT (Reed et al. 2016, algorithm 1) and StackGAN (Zhang et al. 2017): a caption becomes a picture."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit import bounds
from seqgan_kit.engine import devices
from seqgan_kit.engine.budget import Part, budgeted
from seqgan_kit.engine.choice import Choice, Roles, check_best, with_weights
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.memory import within_memory
from seqgan_kit.engine.run import run
from seqgan_kit.engine.run_folder import GAME, MODEL, Exports
from seqgan_kit.engine.verdict import Score
from seqgan_kit.errors import UserError
from seqgan_kit.files import read_json, write_json
from seqgan_kit.game.trainer import Hook, evaluated, fit, play
from seqgan_kit.images.alarms import of_stage
from seqgan_kit.images.caption_embedding import (
    encoder_of,
    joint_batches,
    joint_loss,
    joint_network,
    order_told,
    unread_ends,
)
from seqgan_kit.images.caption_encoders import Joint, Standardised, TextEncoder, embed, order_for, save_encoder
from seqgan_kit.images.checks import check_batches, check_numbers, check_parts
from seqgan_kit.images.clip import ClipScores
from seqgan_kit.images.config import ImagesConfig
from seqgan_kit.images.data import Captioned, PictureBatches, shrunk
from seqgan_kit.images.evaluation import PictureEvaluation, names, too_few
from seqgan_kit.images.features import HuggingFaceFeatures
from seqgan_kit.images.grids import save_grid
from seqgan_kit.images.interpolations import draw_all
from seqgan_kit.images.matching import matches, one_caption, real_pictures
from seqgan_kit.images.players import Game, picture_config
from seqgan_kit.images.sources import Source, load
from seqgan_kit.networks.pictures.generator import PictureGenerator, StackedGenerator
from seqgan_kit.networks.pictures.joint_embedding import JointEmbedding
from seqgan_kit.networks.pictures.style import StyleEncoder, StyleEncoderConfig
from seqgan_kit.samples import Images

TEXT, MATCHING, ADVERSARIAL = "text_encoder", "matching", "adversarial"
SECOND_MATCHING, SECOND, STYLE = "second_matching", "second_stage", "style"
SHORTER = {
    TEXT: "--joint.steps",
    MATCHING: "--discriminator.matching",
    ADVERSARIAL: "--adversarial.rounds, --data.side",
    SECOND_MATCHING: "--discriminator.matching",
    SECOND: "--second.rounds, --second.side",
    STYLE: "--style.steps",
}
BASELINES = "baselines.json"
SHOWN = 64  # pictures of a grid, in 8 columns


def train(config: ImagesConfig, config_text: str = "", resume: bool = False) -> Path:
    """Runs all phases in the run folder, and returns it; see `engine.run.run`."""
    bounds.check_numbers(config)
    config, config_text, record = budgeted(config, config_text, resume, parts(config), train)
    with within_memory():
        task = ImagesTask(config, resume)
    if config_text and task.config != config:  # with what was left open filled in
        content = yaml.safe_load(config_text)
        content["text"]["order"] = task.config.text.order
        config_text = yaml.safe_dump(content, sort_keys=False)
    return run(task, config_text, resume, record)


def parts(config: ImagesConfig) -> list[Part]:
    """What --run.budget sizes."""
    matching = config.discriminator.matching if config.discriminator.mismatched else 0
    every = config.evaluation.every
    second = (config.second.rounds, matching) if config.second.side else (0, 0)
    found = [
        Part(TEXT, "joint.steps", config.joint.steps),
        Part(MATCHING, "discriminator.matching", matching, every=None),
        Part(ADVERSARIAL, "adversarial.rounds", config.adversarial.rounds, every=every),
        Part(SECOND_MATCHING, "discriminator.matching", second[1], every=None),
        Part(SECOND, "second.rounds", second[0], every=every),
        Part(STYLE, "style.steps", config.style.steps, every=None),
    ]
    return [part for part in found if part.value]


class ImagesTask:
    """A run of text to image; see `engine.run.Task`. Raises UserError where data and options do not go together."""

    name = "images"
    shorter = SHORTER
    data = None

    def __init__(self, config: ImagesConfig, resume: bool = False) -> None:
        check_numbers(config)
        self.source = load(config.data, config.data.kept(max(config.data.side, config.second.side)), config.run.seed)
        captions = list(self.source.train.captions)
        if config.text.order == "auto":
            config = replace(config, text=replace(config.text, order=order_for(captions)))
        self.config = config
        stages = {ADVERSARIAL: "--discriminator.optimizer", SECOND: "--second.discriminator_optimizer"}
        self.alarms = {phase: of_stage(config, optimizer) for phase, optimizer in stages.items()}
        self.encoder: Any = None  # a `TextEncoder`, as soon as there is one
        self.warning: str | None = None
        if not config.joint.steps:
            device = devices.chosen(config.run.device)
            encoder = encoder_of(config.text, captions, self.source.train.given(), device)
            self.warning = unread_ends(encoder, captions)
            if self.warning and not resume:
                raise UserError(self.warning)
            self.encoder = _standardised(config, encoder, self.source)
        settings = config.evaluation
        # read before a run folder is made, so that a mistake is told
        if settings.matcher not in (None, "auto", "learned", "none"):
            Joint(settings.matcher)
        if settings.features not in ("learned", "none"):
            HuggingFaceFeatures(settings.features)
        if settings.clip:
            ClipScores(settings.clip)
        check_batches(config, self.source)
        check_parts(config, config.joint.dim if self.encoder is None else self.encoder.dim)
        self.best = check_best(settings, names(settings, self.source))

    def parts(self) -> list[Part]:
        return parts(self.config)

    def first_lines(self) -> list[str]:
        config, source = self.config, self.source
        counted = config.text.encoder == "words" and not config.joint.steps
        lines = [source.summary(), *source.told, *too_few(config.evaluation, source)]
        lines += order_told(config.text, counted, list(source.train.captions)) if config.text.conditional else []
        lines += one_caption(source.held_out) if config.joint.steps else []
        return [*lines, self.warning] if self.warning else lines

    def build(self, engine: Engine) -> None:
        config, source, self.engine = self.config, self.source, engine
        small = shrunk(source.train, config.data.kept(config.data.side))
        self.joint: JointEmbedding | None = None
        if config.joint.steps:
            self.joint = joint_network(config.joint, list(source.train.captions))
            self.joint_learner = engine.learner("text_encoder", self.joint, config.joint.optimizer)
            self.joint_batches = joint_batches(engine, self.joint, small, config.data, config.run.seed + 1, source.name)
            engine.keep("text_batches", self.joint_batches.order)
        self.dim = config.joint.dim if self.encoder is None else self.encoder.dim
        self.picture = picture_config(config, self.dim)
        network = PictureGenerator(self.picture)
        critic = config.discriminator.network(config.data.side, self.dim)
        optimizers = config.generator.optimizer, config.discriminator.optimizer
        self.first = Game(
            engine, "", network, critic, config.generator, config.discriminator, config.adversarial, optimizers
        )
        self.batches = self._batches("real", small, config.data.side, config.run.seed)
        self.second = self._second_game() if config.second.side else None
        self.style = StyleEncoder(StyleEncoderConfig(config.generator.noise)) if config.style.steps else None
        if self.style is not None:
            self.style_learner = engine.learner("style", self.style, config.style.optimizer)
        self.shown = self.first.shown
        self.evaluation: PictureEvaluation | None = None  # of the stage at work, in the main process
        self.exports: Exports = {MODEL: self._export}
        if self.best != "none":
            settings, roles = config.evaluation, Roles("", SECOND if self.second else ADVERSARIAL, "")
            engine.choice = Choice(
                engine, self.best, settings, roles,
                lambda model, _: self._measured(model),
                lambda phase, weights: with_weights(self._game_of(phase).shown, weights),
                lambda _, model, folder: self._save(model, folder),
            )  # fmt: skip

    def play(self) -> None:
        if self.joint is not None:
            self._learn_captions()
        self._embed()
        side, rounds = self.config.data.side, self.config.adversarial.rounds
        self._stage(MATCHING, ADVERSARIAL, "", side, rounds, self.first, self.batches)
        if self.second is not None:
            self._second_stage(self.second)
        if self.style is not None:
            self._learn_style(self.style)
        if self.engine.is_main:
            self._draw()

    # -- parts ---------------------------------------------------------------------------------------------------

    def _batches(self, name: str, data: Captioned, side: int, seed: int) -> PictureBatches:
        engine, config = self.engine, self.config
        critic = config.discriminator
        wrong, near = (critic.wrong, critic.near) if critic.mismatched else (0, 0)
        batches = PictureBatches(
            data, torch.empty(0), side, seed, engine.rank, engine.processes, engine.device, name=self.source.name,
            flip=config.data.flip, wrong=wrong, near=near, averaged=config.text.averaged,
        )  # fmt: skip
        engine.keep(name, batches.order)
        return batches

    def _second_game(self) -> Game:
        config, second = self.config, self.config.second
        network = StackedGenerator(self.picture)
        network.freeze(not second.train_first)
        critic = second.discriminator(second.side, self.dim)
        self.second_batches = self._batches("second_real", self.source.train, second.side, config.run.seed + 2)
        adversarial = replace(config.adversarial, batch_size=second.batch_size)
        optimizers = second.optimizer, second.discriminator_optimizer
        return Game(
            self.engine, "second_", network, critic, replace(config.generator, augmentation=True),
            config.discriminator, adversarial, optimizers,
        )  # fmt: skip

    def _game_of(self, phase: str) -> Game:
        return self.second if phase == SECOND and self.second is not None else self.first

    def _measured(self, network: nn.Module, found: Metrics | None = None) -> Score:
        assert self.evaluation is not None
        return self.evaluation.score(network, self.best, found)

    def _hook(self, evaluation: PictureEvaluation | None, network: nn.Module) -> Hook:
        choice = self.engine.choice

        def measure(phase: str, done: int) -> tuple[Metrics, Score | None]:
            assert evaluation is not None
            found, pictures = evaluation(network)
            captions = evaluation.samples[""].captions[:SHOWN]
            save_grid(self.engine.folder / "samples" / f"{phase}-{done:06d}", pictures[:SHOWN], 8, captions)
            return found, None if choice is None else self._measured(network, found)

        def on_main(phase: str, done: int) -> Metrics:
            """By the main process alone, and told to the others, whose log must have the same names."""
            found, score = self.engine.on_main(lambda: measure(phase, done))
            if choice is not None:
                choice.offer(phase, done, score, network)
            return dict(found)

        return evaluated(self.engine, self.config.evaluation.every, self.config.evaluation.seed, on_main)

    def _export(self, folder: Path) -> None:
        self._save(self.shown, folder)

    def _save(self, generator: nn.Module, folder: Path) -> None:
        """The generator as `from_pretrained` reads it, with the encoders that a caption or a picture goes through."""
        generator.save_pretrained(folder)  # type: ignore[operator]
        save_encoder(self.encoder, folder / "text")
        if self.style is not None and self.engine.started(STYLE):
            self.style.save_pretrained(folder / "style")

    # -- phases --------------------------------------------------------------------------------------------------

    def _learn_captions(self) -> None:
        joint, engine = self.config.joint, self.engine
        hook = Hook(0, lambda phase, done: engine.on_main(self._matched))
        loss = partial(joint_loss, joint)
        fit(engine, TEXT, joint.steps, self.joint_learner, loss, self.joint_batches, joint.batch_size, [hook])

    def _matched(self) -> Metrics:
        assert self.joint is not None
        if one_caption(self.source.held_out):
            return {}
        config = self.config
        held_out = shrunk(self.source.held_out, config.data.kept(config.data.side))
        pixels, captions = real_pictures(held_out, config.data.side, config.evaluation.samples)
        self.joint.eval()
        return {"eval/r_precision_real": matches(self.joint, pixels, captions, held_out, config.evaluation.seed)}

    def _embed(self) -> None:
        """Captions become vectors, once, when the encoder that makes them is there."""
        engine, config = self.engine, self.config
        if self.joint is not None:
            folder = engine.folder / "text_encoder"
            if engine.is_main:
                self.joint.save_pretrained(folder)
            engine.accelerator.wait_for_everyone()
            self.encoder = _standardised(config, Joint(folder, engine.device), self.source)
        found = embed(self.encoder, self.source.train.captions, config.text.cache)
        self.batches.embeddings = found if config.text.conditional else torch.zeros_like(found)
        if self.second is not None:
            self.second_batches.embeddings = self.batches.embeddings

    def _second_stage(self, second: Game) -> None:
        network: Any = second.network
        if self.engine.choice is not None:
            self.engine.choice.begin(SECOND)
        if not self.engine.started(SECOND):
            network.stage_one.load_state_dict(self.first.shown.state_dict())
            if second.average is not None:
                second.average.restart()
        self.shown = second.shown
        side, rounds = self.config.second.side, self.config.second.rounds
        self._stage(SECOND_MATCHING, SECOND, "second_", side, rounds, second, self.second_batches, self.first.shown)

    def _stage(
        self,
        warm_up: str,
        phase: str,
        name: str,
        side: int,
        rounds: int,
        game: Game,
        batches: PictureBatches,
        enlarge: nn.Module | None = None,
    ) -> None:
        """The discriminator's warm-up on real pictures alone, then the game. name, enlarge: of the baselines."""
        engine, settings, critic = self.engine, self.config.discriminator, game.discriminator
        evaluation = None  # the other processes wait for the main one's where they next meet
        if engine.is_main:
            evaluation = PictureEvaluation(
                self.config, self.source, self.encoder, side, engine.folder, engine.say, engine.device
            )
        self.evaluation = evaluation
        _baselines(engine, name, evaluation, enlarge)
        hooks = [*game.follow(), self._hook(evaluation, game.shown)]
        if settings.matching and settings.mismatched:

            def loss(module: Any, batch: Images) -> tuple[Tensor, dict[str, Tensor]]:
                return game.pairs.matching(critic.objective, module, batch)

            steps, size = settings.matching, critic.batch_size
            fit(engine, warm_up, steps, critic.learner, loss, batches, size, exports=self.exports)
        turns, exports = self.config.adversarial.turns, {**self.exports, GAME: self._export}
        play(engine, phase, rounds, game.generator, critic, batches, turns, hooks, game.replay, exports)

    def _learn_style(self, style: StyleEncoder) -> None:
        choice = self.engine.choice
        shown = self.shown.eval() if choice is None else choice.model(self.shown).to(self.engine.device).eval()
        batches = self.second_batches if self.second is not None else self.batches
        steps, size = self.config.style.steps, self.config.style.batch_size
        loss = partial(style_loss, shown)
        fit(self.engine, STYLE, steps, self.style_learner, loss, batches, size, exports=self.exports)
        style.eval()
        if choice is not None:
            choice.export()  # with the style encoder beside it

    def _draw(self) -> None:
        """The pictures of the report: walks, interpolations, nearest neighbours."""
        config, folder = self.config, self.engine.folder / "pictures"
        side = config.second.side or config.data.side
        with self.engine.fixed_random(config.evaluation.seed):
            shown = self.shown if self.engine.choice is None else self.engine.choice.model(self.shown)
            draw_all(folder, shown, self.encoder, self.source, config.text.conditional, side)


def style_loss(generator: Any, module: nn.Module, batch: Images) -> tuple[Tensor, dict[str, Tensor]]:
    """E |z - S(G(z, t))|^2, the mean over the noise's width; 1 is chance (Reed et al. 2016, sec. 4.4)."""
    noise = torch.randn(len(batch.condition), generator.config.noise, device=batch.condition.device)
    with torch.no_grad():
        pixels, _ = generator(noise, batch.condition)
    return F.mse_loss(module(pixels), noise), {}


def _standardised(config: ImagesConfig, encoder: TextEncoder, source: Source) -> TextEncoder:
    if not config.text.standardise:
        return encoder
    return Standardised.by(encoder, embed(encoder, source.train.captions, config.text.cache))


def _baselines(
    engine: Engine, name: str, evaluation: PictureEvaluation | None, enlarge: nn.Module | None = None
) -> None:
    """What real pictures score, with their captions and with others', in a file: every result stands between them."""
    path = engine.folder / BASELINES
    found = read_json(path) if path.is_file() else {}
    if evaluation is None or any(key.startswith(name) for key in found if name or not key.startswith("second_")):
        return
    with engine.fixed_random(evaluation.seed):
        measured = evaluation.baselines()
        if enlarge is not None:
            measured["first stage, enlarged"] = evaluation.enlarged(enlarge)
    found |= {f"{name}{key}": {"metrics": values} for key, values in measured.items()}
    write_json(path, found)
