"""What a dialogue run refuses before anything is written."""

from __future__ import annotations

from seqgan_kit.dialogue.config import DialogueConfig
from seqgan_kit.dialogue.evaluation import check_evaluators
from seqgan_kit.dialogue.sources import Source
from seqgan_kit.engine.checks import within
from seqgan_kit.errors import UserError
from seqgan_kit.language import training
from seqgan_kit.samples import size


def check_numbers(config: DialogueConfig, source: Source) -> None:
    """Raises UserError where an option's number makes no sense, or a batch can't be filled."""
    judge, adversarial, evaluation = config.discriminator, config.adversarial, config.evaluation
    further = [
        ("--generator.layers", config.generator.layers, 1),
        ("--discriminator.beams", judge.beams, 0),
        ("--adversarial.teacher_forcing", adversarial.teacher_forcing, 0),
        ("--adversarial.kl", adversarial.kl, 0),
        ("--evaluation.shown", evaluation.shown, 0),
        ("--evaluation.evaluators", evaluation.evaluators, 0),
    ]
    training.check_phases(config, further, source.name, size(source.train), "replies")
    within(0, 1, ("--discriminator.mismatched", judge.mismatched))
    check_evaluators("--evaluation.evaluators", evaluation.evaluators, source)
    if judge.objective().distance is not None and judge.mismatched:
        raise UserError(
            "--discriminator.objective: one that compares samples in pairs takes no mismatched ones: "
            "give --discriminator.mismatched 0"
        )
