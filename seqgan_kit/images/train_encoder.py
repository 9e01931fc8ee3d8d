"""A text encoder for pictures' captions, trained on its own: the joint embedding of Reed et al. 2016a."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from seqgan_kit.engine.engine import Engine, RunConfig
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.provenance import config_yaml
from seqgan_kit.errors import UserError
from seqgan_kit.game.trainer import Hook, fit
from seqgan_kit.images import metrics
from seqgan_kit.images.data import Captioned
from seqgan_kit.images.sources import DataConfig, Source, load
from seqgan_kit.images.text import JointConfig, joint_batches, joint_loss, joint_network, matches, real_pictures
from seqgan_kit.networks.pictures.joint_embedding import JointEmbedding
from seqgan_kit.report import write_report

TEXT = "text_encoder"


@dataclass(frozen=True)
class EncoderEvaluationConfig:
    """Evaluation on held-out pictures with captions.

    Args:
        samples: Number of held-out pictures of an evaluation, with a caption each; fewer where there are not so many.
        every: Steps between two evaluations. 0 evaluates at the end only.
        seed: Seed of the captions that stand beside a picture's own, the same at every evaluation.
    """

    samples: int = 500
    every: int = 500
    seed: int = 1234


@dataclass(frozen=True)
class EncoderConfig:
    """A run of the text encoder of images, a joint embedding: RUN/model is for `--text.encoder`,
    `--evaluation.matcher`."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    joint: JointConfig = field(default_factory=lambda: JointConfig(steps=2000))
    evaluation: EncoderEvaluationConfig = field(default_factory=EncoderEvaluationConfig)


def train(config: EncoderConfig, config_text: str = "", resume: bool = False) -> Path:
    """Trains it in the run folder, and returns that. Raises UserError for a mistake, Stopped after Ctrl-C."""
    for option, value in [("--joint.steps", config.joint.steps), ("--joint.batch_size", config.joint.batch_size)]:
        if value < 2:
            raise UserError(f"{option} {value}: give at least 2")
    source = load(config.data, config.data.kept(config.data.side), config.run.seed)
    with Engine(config.run, "encoder", config_text or config_yaml(config), resume) as engine:
        if engine.is_main:
            print(source.summary(), flush=True)
        torch.manual_seed(config.run.seed)  # the same initial weights on every process
        network = joint_network(config.joint, list(source.train.captions))
        learner = engine.learner("text_encoder", network, config.joint.optimizer)
        batches = joint_batches(
            network,
            source.train,
            config.data.side,
            config.run.seed,
            rank=engine.rank,
            processes=engine.processes,
            device=engine.device,
            name=source.name,
            flip=config.data.flip,
        )
        engine.keep("batches", batches)
        engine.export = network.save_pretrained
        engine.restore()

        def measure(phase: str, done: int) -> Metrics:
            found = evaluate(network, source, config, config.evaluation.samples, config.evaluation.seed)
            return {f"eval/{name}": value for name, value in found.items()}

        loss = partial(joint_loss, config.joint)
        hook = Hook(config.evaluation.every, measure)
        fit(engine, TEXT, config.joint.steps, learner, loss, batches, config.joint.batch_size, [hook])
        engine.finish()
        if engine.is_main:
            write_report(engine.folder)
    return engine.folder


def evaluate(network: JointEmbedding, source: Source, config: EncoderConfig, samples: int, seed: int) -> Metrics:
    """R-precision among 99 other captions, and recall both ways, on held-out and on training pictures."""
    network.eval()
    found: Metrics = {}
    for name, data in (("", source.held_out), ("train_", source.train)):
        pixels, captions = real_pictures(data, config.data.side, samples)
        found[f"{name}r_precision"] = matches(network, pixels, captions, data, seed)
        if not name:
            found |= _retrieval(network, data, pixels)
    return found


def _retrieval(network: JointEmbedding, data: Captioned, pixels: torch.Tensor) -> Metrics:
    first = [data.captions[j] for j in data.spoken[data.first[: len(pixels)]]]
    owner = torch.arange(len(first))
    return metrics.retrieval(network.embed_pictures(pixels), network.embed_text(first), owner, among=(1, 10))
