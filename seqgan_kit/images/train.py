"""GAN-CLS and GAN-INT (Reed et al. 2016, algorithm 1) and StackGAN (Zhang et al. 2017): a caption becomes a picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.provenance import config_yaml
from seqgan_kit.errors import UserError
from seqgan_kit.files import write_json
from seqgan_kit.game.rewards import evaluate_pictures
from seqgan_kit.game.trainer import Hook, fit, play
from seqgan_kit.images.clip import ClipScores
from seqgan_kit.images.config import ImagesConfig
from seqgan_kit.images.data import Captioned, PictureBatches, shrunk
from seqgan_kit.images.encoders import Joint, Standardised, Standardiser, TextEncoder, embed, save_encoder
from seqgan_kit.images.evaluation import PictureEvaluation, evaluation_of_run
from seqgan_kit.images.features import HuggingFaceFeatures
from seqgan_kit.images.game import Game, objective_of
from seqgan_kit.images.grids import save_grid
from seqgan_kit.images.pictures import draw_all
from seqgan_kit.images.sources import Source, load
from seqgan_kit.images.text import encoder_of, joint_batches, joint_loss, joint_network, matches, real_pictures
from seqgan_kit.networks.pictures.generator import PictureConfig, PictureGenerator, StackedGenerator, doublings
from seqgan_kit.networks.pictures.joint_embedding import SHORTEST, JointEmbedding
from seqgan_kit.networks.pictures.style import StyleEncoder, StyleEncoderConfig
from seqgan_kit.report import write_report
from seqgan_kit.samples import Images

TEXT, MATCHING, ADVERSARIAL = "text_encoder", "matching", "adversarial"
SECOND_MATCHING, SECOND, STYLE = "second_matching", "second_stage", "style"
BASELINES = "baselines.json"
SHOWN = 64  # pictures of a grid, in 8 columns


def train(config: ImagesConfig, config_text: str = "", resume: bool = False) -> Path:
    """Runs all phases in the run folder, and returns it.

    config_text: the YAML that `config` was read from, if it was; it is kept in the folder, for `resume`.
    Raises UserError for a user's mistake, Stopped after Ctrl-C or SIGTERM.
    """
    _check(config)
    source = load(config.data, config.data.kept(max(config.data.side, config.second.side)), config.run.seed)
    models = _Models(config, source)
    with Engine(config.run, "images", config_text or config_yaml(config), resume) as engine:
        if engine.is_main:
            print(source.summary(), flush=True)
        torch.manual_seed(config.run.seed)  # the same initial weights on every process
        parts = _Parts(engine, config, source, models)
        engine.restore()
        _run(engine, config, parts)
        if engine.is_main:
            parts.draw()
        engine.finish()
        if engine.is_main:
            write_report(engine.folder)
    return engine.folder


class _Models:
    """What is read from folders that a user names, before a run folder is made."""

    def __init__(self, config: ImagesConfig, source: Source) -> None:
        settings, text = config.evaluation, config.text
        self.encoder: TextEncoder | None = None
        if not config.joint.steps:
            self.encoder = _standardised(config, encoder_of(text, list(source.train.captions)), source)
        self.matcher = Joint(settings.matcher).model if settings.matcher else None
        if settings.features not in ("learned", "none"):
            HuggingFaceFeatures(settings.features).prepare(source.train.pixels[:1], torch.zeros(1, 1), 0)
        if settings.clip:
            ClipScores(settings.clip)


class _Parts:
    """The games, the batches, the text encoder and the evaluation of one run."""

    def __init__(self, engine: Engine, config: ImagesConfig, source: Source, models: _Models) -> None:
        self.engine, self.config, self.source = engine, config, source
        self.joint: JointEmbedding | None = None
        self.matcher = models.matcher
        train = source.train
        small = shrunk(train, config.data.kept(config.data.side))
        if config.joint.steps:
            self.joint = joint_network(config.joint, list(train.captions))
            self.joint_learner = engine.learner("text_encoder", self.joint, config.joint.optimizer)
            self.joint_batches = joint_batches(
                self.joint, small, config.data.side, config.run.seed + 1, rank=engine.rank,
                processes=engine.processes, device=engine.device, name=source.name, flip=config.data.flip,
            )  # fmt: skip
            engine.keep("text_batches", self.joint_batches)
            self.dim = config.joint.dim
        else:
            assert models.encoder is not None
            self.encoder = models.encoder
            self.dim = self.encoder.dim
        self.picture = _picture_config(config, self.dim)
        network = PictureGenerator(self.picture)
        critic = _built("--discriminator.network", config.discriminator.network, config.data.side, self.dim)
        optimizers = config.generator.optimizer, config.discriminator.optimizer
        self.first = Game(
            engine, "", network, critic, config.generator, config.discriminator, config.adversarial, optimizers
        )
        self.batches = self._batches("real", small, config.data.side, config.run.seed)
        self.second = self._second_stage() if config.second.side else None
        self.style = StyleEncoder(StyleEncoderConfig(config.generator.noise)) if config.style.steps else None
        if self.style is not None:
            self.style_learner = engine.learner("style", self.style, config.style.optimizer)
        self.shown = self.first.shown

    def _batches(self, name: str, data: Captioned, side: int, seed: int) -> PictureBatches:
        engine, config = self.engine, self.config
        critic = config.discriminator
        wrong, near = (critic.wrong, critic.near) if critic.mismatched else (0, 0)
        batches = PictureBatches(
            data, torch.empty(0), side, seed, engine.rank, engine.processes, engine.device, name=self.source.name,
            flip=config.data.flip, wrong=wrong, near=near, averaged=config.text.averaged,
        )  # fmt: skip
        engine.keep(name, batches)
        return batches

    def _second_stage(self) -> Game:
        config, second = self.config, self.config.second
        network = StackedGenerator(self.picture)
        network.freeze(not second.train_first)
        critic = _built("--second.discriminator", second.discriminator, second.side, self.dim)
        self.second_batches = self._batches("second_real", self.source.train, second.side, config.run.seed + 2)
        adversarial = replace(config.adversarial, batch_size=second.batch_size)
        optimizers = second.optimizer, second.discriminator_optimizer
        return Game(
            self.engine, "second_", network, critic, replace(config.generator, augmentation=True),
            config.discriminator, adversarial, optimizers,
        )  # fmt: skip

    def embed(self) -> None:
        """Captions become vectors, once, when the encoder that makes them is there."""
        engine, config = self.engine, self.config
        if self.joint is not None:
            folder = engine.folder / "text_encoder"
            if engine.is_main:
                self.joint.save_pretrained(folder)
            engine.accelerator.wait_for_everyone()
            self.encoder = _standardised(config, Joint(folder), self.source)
            self.matcher = self.matcher or self.joint
        cache = Path(config.text.cache) if config.text.cache else None
        found = embed(self.encoder, self.source.train.captions, cache)
        self.batches.embeddings = found if config.text.conditional else torch.zeros_like(found)
        if self.second is not None:
            self.second_batches.embeddings = self.batches.embeddings
        engine.export = self.export

    def evaluation(self, side: int) -> PictureEvaluation | None:
        """The main process's; the others have none, and wait for it where they next meet."""
        engine = self.engine
        if not engine.is_main:
            return None
        return evaluation_of_run(self.config, self.source, self.encoder, self.matcher, side, engine.folder, engine.say)

    def hook(self, evaluation: PictureEvaluation | None, network: nn.Module) -> Hook:
        def measure(phase: str, done: int) -> Metrics:
            assert evaluation is not None
            with self.engine.fixed_random(self.config.evaluation.seed):
                found, pictures = evaluation(network)
            captions = evaluation.samples[""].captions[:SHOWN]
            save_grid(self.engine.folder / "samples" / f"{phase}-{done:06d}", pictures[:SHOWN], 8, captions)
            return {f"eval/{name}": value for name, value in found.items()}

        # by the main process alone, and told to the others, whose log must have the same names
        run = lambda phase, done: self.engine.on_main(lambda: measure(phase, done))  # noqa: E731
        return Hook(self.config.evaluation.every, run)

    def export(self, folder: Path) -> None:
        """The generator as `from_pretrained` reads it, with the encoders that a caption or a picture goes through."""
        self.shown.save_pretrained(folder)  # type: ignore[operator]
        save_encoder(self.encoder, folder / "text")
        if self.style is not None and self.engine.started(STYLE):
            self.style.save_pretrained(folder / "style")

    def draw(self) -> None:
        """The pictures of the report: walks, interpolations, nearest neighbours."""
        side = self.config.second.side or self.config.data.side
        with self.engine.fixed_random(self.config.evaluation.seed):
            draw_all(
                self.engine.folder / "pictures",
                self.shown,
                self.encoder,
                self.source,
                self.config.text.conditional,
                side,
            )


def _run(engine: Engine, config: ImagesConfig, parts: _Parts) -> None:
    if parts.joint is not None:
        hook = Hook(0, lambda phase, done: engine.on_main(lambda: {"eval/r_precision_real": _matched(parts)}))
        joint, match = config.joint, partial(joint_loss, config.joint)
        fit(engine, TEXT, joint.steps, parts.joint_learner, match, parts.joint_batches, joint.batch_size, [hook])
    _try_rewards(engine, config, parts.dim)
    parts.embed()
    adversarial, first = config.adversarial, parts.first
    evaluation = parts.evaluation(config.data.side)
    _baselines(engine, "", evaluation)
    hooks = [*first.follow(), parts.hook(evaluation, first.shown)]
    _match(engine, config, MATCHING, first, parts.batches)
    play(
        engine, ADVERSARIAL, adversarial.rounds, first.generator, first.discriminator, parts.batches,
        adversarial.turns, hooks, first.replay,
    )  # fmt: skip
    if parts.second is not None:
        _second_stage(engine, config, parts, parts.second)
    if parts.style is not None:
        shown, network = parts.shown.eval(), parts.style

        def loss(module: nn.Module, batch: Images) -> tuple[Tensor, dict[str, Tensor]]:
            return style_loss(shown, module, batch)

        batches = parts.second_batches if parts.second is not None else parts.batches
        fit(engine, STYLE, config.style.steps, parts.style_learner, loss, batches, config.style.batch_size)
        network.eval()


def _try_rewards(engine: Engine, config: ImagesConfig, dim: int) -> None:
    """The user's rewards of two pictures of noise, so that a mistake is told before the warm-up."""
    side = config.data.side
    with engine.fixed_random(0):
        pixels = (torch.rand(2, 3, side, side, device=engine.device) * 2 - 1).requires_grad_()
        for reward in config.adversarial.rewards:
            evaluate_pictures(reward, Images(pixels, torch.zeros(2, dim, device=engine.device)))


def _second_stage(engine: Engine, config: ImagesConfig, parts: _Parts, second: Game) -> None:
    network: Any = second.network
    if not engine.started(SECOND):
        network.stage_one.load_state_dict(parts.first.shown.state_dict())
        if second.average is not None:
            second.average.restart()
    evaluation = parts.evaluation(config.second.side)
    _baselines(engine, "second_", evaluation, parts.first.shown)
    parts.shown = second.shown
    _match(engine, config, SECOND_MATCHING, second, parts.second_batches)
    play(
        engine, SECOND, config.second.rounds, second.generator, second.discriminator, parts.second_batches,
        config.adversarial.turns, [*second.follow(), parts.hook(evaluation, second.shown)], second.replay,
    )  # fmt: skip


def _match(engine: Engine, config: ImagesConfig, phase: str, game: Game, batches: PictureBatches) -> None:
    """The discriminator's warm-up on real pictures alone."""
    critic, settings = game.discriminator, config.discriminator
    if settings.matching and settings.mismatched:

        def loss(module: Any, batch: Images) -> tuple[Tensor, dict[str, Tensor]]:
            return game.pairs.matching(critic.objective, module, batch)

        fit(engine, phase, settings.matching, critic.learner, loss, batches, critic.batch_size)


def style_loss(generator: Any, module: nn.Module, batch: Images) -> tuple[Tensor, dict[str, Tensor]]:
    """E |z - S(G(z, t))|^2, the mean over the noise's width; 1 is chance (Reed et al. 2016, sec. 4.4)."""
    noise = torch.randn(len(batch.condition), generator.config.noise, device=batch.condition.device)
    with torch.no_grad():
        pixels, _ = generator(noise, batch.condition)
    return F.mse_loss(module(pixels), noise), {}


def _built(option: str, network: Callable[[int, int], nn.Module], side: int, dim: int) -> nn.Module:
    try:
        return network(side, dim)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from error


def _picture_config(config: ImagesConfig, condition: int) -> PictureConfig:
    generator, second = config.generator, config.second
    return PictureConfig(
        condition=condition,
        noise=generator.noise,
        side=config.data.side,
        width=generator.width,
        text=generator.text,
        augmentation=generator.augmentation,
        upsampling=generator.upsampling,
        residual=generator.residual,
        modulation=generator.modulation,
        attention=generator.attention,
        norm=generator.norm,
        second_side=second.side,
        second_width=second.width,
        second_blocks=second.blocks,
    )


def _standardised(config: ImagesConfig, encoder: TextEncoder, source: Source) -> TextEncoder:
    if not config.text.standardise:
        return encoder
    cache = Path(config.text.cache) if config.text.cache else None
    return Standardised(encoder, Standardiser.of(embed(encoder, source.train.captions, cache)))


def _matched(parts: _Parts) -> float:
    assert parts.joint is not None
    held_out = shrunk(parts.source.held_out, parts.config.data.kept(parts.config.data.side))
    pixels, captions = real_pictures(held_out, parts.config.data.side, parts.config.evaluation.samples)
    parts.joint.eval()
    return matches(parts.joint, pixels, captions, held_out, parts.config.evaluation.seed)


def _baselines(
    engine: Engine, name: str, evaluation: PictureEvaluation | None, enlarge: nn.Module | None = None
) -> None:
    """What real pictures score, with their captions and with others', in a file: every result stands between them."""
    path = engine.folder / BASELINES
    found = json.loads(path.read_bytes()) if path.is_file() else {}
    if evaluation is None or any(key.startswith(name) for key in found if name or not key.startswith("second_")):
        return
    with engine.fixed_random(evaluation.seed):
        measured = evaluation.baselines()
        if enlarge is not None:
            measured["first stage, enlarged"] = evaluation.enlarged(enlarge)
    found |= {f"{name}{key}": {"metrics": values} for key, values in measured.items()}
    write_json(path, found)


def _check(config: ImagesConfig) -> None:
    """Before anything is read or written: every number makes sense."""
    critic, adversarial, second = config.discriminator, config.adversarial, config.second
    for option, value, least in [
        ("--generator.width", config.generator.width, 1),
        ("--generator.noise", config.generator.noise, 1),
        ("--generator.text", config.generator.text, 1),
        ("--joint.steps", config.joint.steps, 0),
        ("--discriminator.wrong", critic.wrong, 1),
        ("--discriminator.near", critic.near, 0),
        ("--adversarial.rounds", adversarial.rounds, 0),
        ("--adversarial.batch_size", adversarial.batch_size, 2),
        ("--second.batch_size", second.batch_size, 2),
        ("--joint.batch_size", config.joint.batch_size, 2),
        ("--style.batch_size", config.style.batch_size, 1),
        ("--second.rounds", second.rounds, 0),
        ("--style.steps", config.style.steps, 0),
        ("--evaluation.samples", config.evaluation.samples, 10),
        ("--text.averaged", config.text.averaged, 1),
        ("--joint.length", config.joint.length, SHORTEST),
        ("--adversarial.turns.generator", adversarial.turns.generator, 1),
        ("--adversarial.turns.discriminator", adversarial.turns.discriminator, 0),
        ("--run.log_every", config.run.log_every, 1),
    ]:
        if value < least:
            raise UserError(f"{option} {value}: give at least {least}")
    for option, weight in [
        ("--adversarial.interpolation", adversarial.interpolation),
        ("--generator.divergence", config.generator.divergence),
        ("--discriminator.gradient_square", critic.gradient_square),
        ("--discriminator.penalty", critic.penalty),
    ]:
        if weight < 0:
            raise UserError(f"{option} {weight:g}: give 0 or more")
    if critic.near > critic.wrong:
        raise UserError(f"--discriminator.near {critic.near}: give at most --discriminator.wrong {critic.wrong}")
    if not 0 < critic.penalised <= 1:
        raise UserError(f"--discriminator.penalised {critic.penalised:g}: give a share above 0, at most 1")
    sides = [4 * 2**i for i in range(16) if 4 * 2**i < config.data.side]
    if config.generator.attention and config.generator.attention not in sides:
        raise UserError(f"--generator.attention {config.generator.attention}: give 0, or one of {sides}")
    for option, share in [
        ("--discriminator.mismatched", critic.mismatched),
        ("--adversarial.beta", adversarial.beta),
        ("--generator.average", config.generator.average),
        ("--discriminator.smoothing", critic.smoothing),
    ]:
        if not 0 <= share <= 1:
            raise UserError(f"{option} {share:g}: give a number from 0 to 1")
    for option, side, start in [
        ("--data.side", config.data.side, 4),
        *([("--second.side", second.side, config.data.side // 4)] if second.side else []),
    ]:
        try:
            doublings(side, start)
        except ValueError:
            raise UserError(f"{option} {side}: give {start} times a power of 2, at least {2 * start}") from None
    if second.side and second.side <= config.data.side:
        raise UserError(f"--second.side {second.side}: give more than --data.side {config.data.side}")
    if critic.objective().distance is not None and (critic.mismatched or critic.matching or adversarial.interpolation):
        raise UserError(
            "--discriminator.objective: one that compares pictures in pairs needs --discriminator.mismatched 0, "
            "--discriminator.matching 0 and --adversarial.interpolation 0"
        )
    try:
        objective_of(critic)
    except ValueError as error:
        raise UserError(f"--discriminator.smoothing: {error}") from error
