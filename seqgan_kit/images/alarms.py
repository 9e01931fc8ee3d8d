"""What is watched for in the game of a run of text to image, and what to try."""

from __future__ import annotations

from functools import partial

from seqgan_kit.images.config import ImagesConfig
from seqgan_kit.report import alarms
from seqgan_kit.report.alarms import Alarm, try_

ROUNDS = 100  # in which no generator makes a picture yet


def of_stage(config: ImagesConfig, optimizer: str) -> dict[str, Alarm]:
    """optimizer: the options of the discriminator's."""
    critic = config.discriminator
    shown = "--discriminator.augmentations '[colour, translation, cutout]'"
    weaker = [f"--discriminator.gradient_square {critic.gradient_square * 10 or 0.1:g}", f"a lower {optimizer}.lr"]
    weaker += [] if critic.augmentations else [shown]
    stronger = f"a higher {optimizer}.lr", "more --adversarial.turns.discriminator"
    kinds: dict[str, Alarm] = {"few kinds of pictures": partial(alarms.few_kinds_of_pictures, advice=try_(*weaker))}
    if not config.adversarial.discriminator_weight:
        return kinds
    found: dict[str, Alarm] = {
        "discriminator certain": partial(alarms.certain, advice=try_(*weaker), after=0.25, rounds=ROUNDS),
        "discriminator at chance": partial(alarms.at_chance, advice=try_(*stronger)),
    }
    if config.text.conditional and critic.mismatched:
        order = [] if config.text.order == "pairs" else ["--text.order pairs"]
        reading = [*order, "more --discriminator.matching", "more --discriminator.wrong"]
        found["captions unread"] = partial(alarms.captions_unread, advice=try_(*reading))
    return found | kinds
