"""A text encoder for pictures' captions, trained on its own: the joint embedding of Reed et al. 2016a."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch

from seqgan_kit import bounds
from seqgan_kit.bounds import Count, Seed, Whole
from seqgan_kit.engine.budget import Part, budgeted
from seqgan_kit.engine.checks import batches, not_sharded
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.memory import within_memory
from seqgan_kit.engine.run import run
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.engine.run_folder import MODEL
from seqgan_kit.game.trainer import evaluated, fit
from seqgan_kit.images import metrics
from seqgan_kit.images.caption_embedding import (
    JointConfig,
    joint_batches,
    joint_loss,
    joint_network,
)
from seqgan_kit.images.checks import check_joint
from seqgan_kit.images.matching import matches, one_caption, real_pictures
from seqgan_kit.images.sources import DataConfig, Source, load
from seqgan_kit.networks.pictures.joint_embedding import JointEmbedding
from seqgan_kit.report.alarms import Alarms

TEXT = "text_encoder"
SHORTER = {TEXT: "--joint.steps"}


@dataclass(frozen=True)
class EncoderEvaluationConfig:
    """Evaluation on held-out pictures with captions.

    Args:
        samples: Number of held-out pictures of an evaluation, with a caption each; fewer where there are not so many.
        every: Steps between two evaluations. 0 evaluates at the end only.
        seed: Seed of the captions that stand beside a picture's own, the same at every evaluation.
    """

    samples: Count = 500
    every: Whole = 500
    seed: Seed = 1234


@dataclass(frozen=True)
class EncoderConfig:
    """A run of the text encoder of images, a joint embedding: RUN/model is for `--text.encoder`,
    `--evaluation.matcher`."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    joint: JointConfig = field(default_factory=lambda: JointConfig(steps=2000))
    evaluation: EncoderEvaluationConfig = field(default_factory=EncoderEvaluationConfig)


def train(config: EncoderConfig, config_text: str = "", resume: bool = False) -> Path:
    """Trains it in the run folder, and returns that; see `engine.run.run`."""
    bounds.check_numbers(config)
    config, config_text, record = budgeted(config, config_text, resume, parts(config), train)
    with within_memory():
        task = EncoderTask(config)
    return run(task, config_text, resume, record)


def parts(config: EncoderConfig) -> list[Part]:
    """What --run.budget sizes."""
    return [Part(TEXT, "joint.steps", config.joint.steps, every=config.evaluation.every)]


class EncoderTask:
    """A run of a text encoder; see `engine.run.Task`. Raises UserError where data and options do not go together."""

    name = "encoder"
    shorter = SHORTER
    alarms: ClassVar[Alarms] = {}
    data = None

    def __init__(self, config: EncoderConfig) -> None:
        self.config = config
        not_sharded(config.run.shard, "networks of pictures are whole on each process")
        check_joint(config.joint, 2)
        self.source = load(config.data, config.data.kept(config.data.side), config.run.seed)
        batches(
            self.source.name,
            len(self.source.train.pixels),
            "pictures",
            ("--joint.batch_size", config.joint.batch_size),
        )

    def parts(self) -> list[Part]:
        return parts(self.config)

    def first_lines(self) -> list[str]:
        return [self.source.summary(), *self.source.told, *one_caption(self.source.held_out)]

    def build(self, engine: Engine) -> None:
        config, source, self.engine = self.config, self.source, engine
        self.network = joint_network(config.joint, list(source.train.captions))
        self.learner = engine.learner("text_encoder", self.network, config.joint.optimizer)
        self.batches = joint_batches(engine, self.network, source.train, config.data, config.run.seed, source.name)
        engine.keep("batches", self.batches.order)

    def play(self) -> None:
        config, settings, network = self.config, self.config.evaluation, self.network

        def measure(phase: str, done: int) -> Metrics:
            return evaluate(network, self.source, config, settings.samples, settings.seed)

        hooks = [evaluated(self.engine, settings.every, settings.seed, measure)]
        loss = partial(joint_loss, config.joint)
        steps, size, exports = config.joint.steps, config.joint.batch_size, {MODEL: network.save_pretrained}
        fit(self.engine, TEXT, steps, self.learner, loss, self.batches, size, hooks, exports)


def evaluate(network: JointEmbedding, source: Source, config: EncoderConfig, samples: int, seed: int) -> Metrics:
    """R-precision among 99 other captions, and recall both ways, on held-out and on training pictures."""
    network.eval()
    found: Metrics = {}
    for name, data in (("", source.held_out), ("train_", source.train)):
        pixels, captions = real_pictures(data, config.data.side, samples)
        if len(data.captions) > 1:
            found[f"{name}r_precision"] = matches(network, pixels, captions, data, seed)
        if not name:
            found |= _recalls(network.embed_pictures(pixels), captions, network.embed_text)
    return found


def _recalls(pictures: torch.Tensor, captions: list[str], embed: Callable[[list[str]], torch.Tensor]) -> Metrics:
    """`metrics.retrieval` where several pictures may have the same caption: any of them is right.

    captions: of each picture. That function knows several captions of a picture, so the two change places.
    """
    different = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    owner = torch.tensor([different[caption] for caption in captions])
    turned = metrics.retrieval(embed(list(different)), pictures, owner, among=(1, 10))
    ways = ("picture_of_caption", "caption_of_picture")
    pairs = zip(ways, ways[::-1], strict=True)
    return {f"{way}_at_{k}": turned[f"{other}_at_{k}"] for way, other in pairs for k in (1, 10)}
