"""What a dialogue run refuses before anything is written."""

from __future__ import annotations

from seqgan_kit.bounds import SAMPLE, check_fits
from seqgan_kit.dialogue.config import DialogueConfig
from seqgan_kit.dialogue.evaluation import check_evaluators
from seqgan_kit.dialogue.sources import Source
from seqgan_kit.engine.checks import objective
from seqgan_kit.errors import UserError
from seqgan_kit.language import training
from seqgan_kit.samples import size


def check_numbers(config: DialogueConfig, source: Source) -> None:
    """Raises UserError where an option's number makes no sense, or a batch can't be filled."""
    judge, evaluation = config.discriminator, config.evaluation
    distance = objective(judge.objective).distance
    training.check_phases(config, source.name, size(source.train), "replies")
    check_fits("--discriminator.beams", judge.beams, 4 * SAMPLE)
    check_evaluators("--evaluation.evaluators", evaluation.evaluators, source)
    if distance is not None and judge.mismatched:
        raise UserError(
            "--discriminator.objective: one that compares samples in pairs takes no mismatched ones: give "
            "--discriminator.mismatched 0"
        )
