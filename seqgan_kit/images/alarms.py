"""What is watched for in the game of a run of text to image, and what to try."""

from __future__ import annotations

from functools import partial

from seqgan_kit.images.config import ImagesConfig
from seqgan_kit.report import alarms
from seqgan_kit.report.alarms import Alarm


def of_stage(config: ImagesConfig, optimizer: str) -> dict[str, Alarm]:
    """optimizer: the options of the discriminator's."""
    critic = config.discriminator
    smoother = f"--discriminator.gradient_square {critic.gradient_square * 10 or 0.1:g}"
    shown = "--discriminator.augmentations '[colour, translation, cutout]'"
    augmented = [] if critic.augmentations else [shown]
    weaker = ", or ".join([smoother, *augmented, f"a lower {optimizer}.lr"])
    stronger = (
        f"a higher {optimizer}.lr, more --adversarial.turns.discriminator, or a smaller --discriminator.gradient_square"
    )
    found: dict[str, Alarm] = {
        "discriminator certain": partial(alarms.certain, advice=f"try {weaker}"),
        "discriminator at chance": partial(alarms.at_chance, advice=f"try {stronger}"),
        "few kinds of pictures": partial(alarms.few_kinds_of_pictures, advice=f"try {weaker}"),
    }
    if config.text.conditional and critic.mismatched:
        order = "--text.order pairs, or " if config.text.order != "pairs" else ""
        found["captions unread"] = partial(
            alarms.captions_unread, advice=f"try {order}more --discriminator.matching, or more --discriminator.wrong"
        )
    return found if config.adversarial.discriminator_weight else {}
