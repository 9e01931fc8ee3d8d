"""What is watched for in the game of a run of text or dialogue, and what to try."""

from __future__ import annotations

from functools import partial
from typing import Any

from seqgan_kit.algorithms.credit import no_baseline
from seqgan_kit.language.training import ADVERSARIAL
from seqgan_kit.report import alarms
from seqgan_kit.report.alarms import Alarm, Alarms, fills, try_
from seqgan_kit.tokens.credit import MonteCarlo

SLOWER = "a lower --adversarial.optimizer.lr"
SOONER = "an end while samples are good (--adversarial.rounds)"


def alarms_of(config: Any) -> Alarms:
    """config: a `TextConfig` or `DialogueConfig`, with its learning rates."""
    adversarial = config.adversarial
    route, anchored = getattr(adversarial, "route", None), getattr(adversarial, "kl", None)
    stay = (
        [] if anchored is None else [f"--adversarial.kl {max(2 * anchored, 0.1):g}, which keeps it near where it began"]
    )
    steady = [SLOWER, *stay]
    if route is None and fills(adversarial.credit, MonteCarlo):
        steady.append("more --adversarial.credit.rollouts")
    if route is None and fills(adversarial.baseline, no_baseline):
        steady.append("--adversarial.baseline seqgan_kit.algorithms.credit.leave_one_out")
    fewer = ["fewer --adversarial.turns.discriminator"] if adversarial.turns.discriminator > 1 else []
    weaker = ["a lower --discriminator.optimizer.lr", *fewer, "more --likelihood.steps before the game"]
    found: dict[str, Alarm] = {
        "length": partial(alarms.length_drifts, advice=try_(*steady, SOONER)),
        "repetition": partial(alarms.repeats_itself, advice=try_(*steady, SOONER)),
        "few distinct": partial(alarms.few_distinct, advice=try_(*steady, SOONER)),
        "entropy": partial(alarms.no_choice_left, advice=try_(*steady, SOONER)),
        "step KL": partial(alarms.steps_too_large, advice=try_(SLOWER, "fewer --adversarial.passes")),
    }
    if adversarial.discriminator_weight:
        learn = try_("more --discriminator.steps", "a higher --discriminator.optimizer.lr")
        found["discriminator certain"] = partial(alarms.certain, advice=try_(*weaker))
        found["discriminator at chance"] = partial(alarms.at_chance, advice=learn)
    if anchored:
        found["anchor KL"] = partial(alarms.far_from_anchor, advice=try_(SLOWER, *stay))
    return {ADVERSARIAL: found}
