"""Alarms: what the metrics of a run say is going wrong, in one sentence, and what to try.

Each is a pure function of the metrics so far -> None, or what is seen. It looks at the phase at work, at what came
before it and at what the data score. A number must be beyond its bound for a while, in several lines or evaluations,
and a game is given time to begin: a discriminator that is right at first, or a policy that falls at first, is normal.
Where a source names a number, the threshold is that, or beyond it; the others are set by runs of the recipes, which
must not ring, and by runs made to fail, which must.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from seqgan_kit.report.seen import LINES, SHARE, Seen

ALARMS, ALARM = "alarms", ("name", "phase", "step", "sentence")  # what rang, in run.json: a list, and what each has
MISMATCHED, FITTING = "discriminator_mismatched", 0.55  # of what does not fit its context, found out at least so much
NEAR = 0.8  # of the way from random actions to the expert: a policy that came as far has learnt its task


Alarm = Callable[[Seen], str | None]
"""What is seen, and what to try; None where all is well."""
Alarms = Mapping[str, Mapping[str, Alarm]]
"""Of a use: phase -> name -> alarm. Phases that are not named are not watched."""


def ringing(alarms: Alarms, seen: Seen) -> dict[str, str]:
    """The sentences of the alarms that ring now, by name."""
    found = {name: alarm(seen) for name, alarm in alarms.get(seen.phase, {}).items()}
    return {name: sentence for name, sentence in found.items() if sentence}


def try_(*options: str) -> str:
    """What to try, the first thing first."""
    return f"try {', or '.join(options)}"


def fills(slot: Any, part: Any) -> bool:
    """Whether an option's class or function is this one, also where it was given parameters."""
    return part in (slot, getattr(slot, "func", None), *getattr(slot, "args", ()))


# Of the discriminator


def certain(seen: Seen, advice: str, after: float = SHARE, rounds: int = 0) -> str | None:
    """The discriminator is always right, so that its reward says nothing any more of what is better.

    Arjovsky and Bottou (2017), theorems 2.4 and 2.6: the gradient through a perfect discriminator vanishes, or is
    noise. Threshold: .98 on samples that it has not learnt from, in all lines; replications of GAD (Ye et al. 2025)
    report 96 to 99 % where it went wrong. rounds: at the begin, that a generator from nothing is given in any case.
    """
    accuracy = _fresh(seen, SHARE, after)
    if not accuracy or seen.rows[-1].step <= rounds or min(accuracy) < 0.98:
        return None
    return f"the discriminator is right about {min(accuracy):.0%} of new samples, so its reward says little: {advice}"


def at_chance(seen: Seen, advice: str, bound: float = 0.51) -> str | None:
    """The discriminator cannot tell: samples are as good as data, or it learns nothing and its reward is noise.

    Goodfellow et al. (2014), theorem 1: .5 is where the game ends, so this is said as what it is. Threshold: on average
    at most .51, over a fifth of the phase, after half of it: samples that begin as real ones do (MaliGAN's mixed
    scheme) are not told from them at first. One that finds out what does not fit its context does learn.
    """
    accuracy, mismatched = _fresh(seen, 2 * SHARE, SHARE), seen.lately(MISMATCHED, 2 * SHARE)
    if not accuracy or seen.done < 0.5 or _mean(accuracy) > bound or (mismatched and _mean(mismatched) > FITTING):
        return None
    return (
        f"the discriminator is at chance ({_mean(accuracy):.0%} of new samples right): the samples are as good as the "
        f"data, or, if they are not, it does not learn: {advice}"
    )


def at_chance_far_from_the_expert(seen: Seen, advice: str) -> str | None:
    """The discriminator hardly tells the policy from the expert, whose return is far: the policy has nothing to climb.

    Threshold: .55 on average over a fifth of the phase, as policies that do as the expert does reach .55, too; these
    are told by their return. Where the expert's is unknown, as `at_chance`.
    """
    if (far := _far(seen)) is None:
        return at_chance(seen, advice)
    return at_chance(seen, advice, 0.55) if far else None


def captions_unread(seen: Seen, advice: str) -> str | None:
    """The discriminator does not find out which caption belongs to a picture, so that no generator can learn it.

    GAN-CLS (Reed et al. 2016, sec. 4.2) rests on that. Threshold: .55 of mismatched pairs on average, over a fifth of
    the phase; chance is .5.
    """
    found = seen.lately(MISMATCHED, 2 * SHARE)
    if not found or _mean(found) > FITTING:
        return None
    return (
        f"the discriminator finds out {_mean(found):.0%} of the captions that do not fit, chance is 50 %, so "
        f"pictures will not show what captions say: {advice}"
    )


def _fresh(seen: Seen, share: float, after: float) -> list[float]:
    """Accuracy on samples that the discriminator has not learnt from yet, where that is another one than accuracy."""
    name = "discriminator_fresh"
    if not any(name in row.values for row in seen.rows[-LINES:]):
        name = "discriminator_accuracy"
    return seen.lately(name, share, after)


# Of what is sampled


def length_drifts(seen: Seen, advice: str) -> str | None:
    """Samples are longer or shorter than the data, and more so than before the game.

    Length is the first thing that a reward is gained by (GAD, Ye et al. 2025: a frozen discriminator's answers grow to
    1,300 tokens). Threshold: 20 % and half a word, in two evaluations, and 5 % further than before, as
    samples differ by chance; the recipe of captions stays within 10 %.
    """
    found, real, before = seen.confirmed("length"), seen.of_data("length"), seen.before("length")
    if not found or not real or len({value > real for value in found}) > 1:
        return None
    away = min(abs(value - real) for value in found)
    was_further = (
        before is not None and (before > real) == (found[-1] > real) and abs(before - real) + 0.05 * real >= away
    )
    if away <= max(0.2 * real, 0.5) or was_further:
        return None
    was = f", {before:.3g} before the game" if before is not None else ""
    way = "longer" if found[-1] > real else "shorter"
    return f"samples are {way} than the data: {found[-1]:.3g} against {real:.3g} on average{was}: {advice}"


def repeats_itself(seen: Seen, advice: str) -> str | None:
    """Samples repeat three words (or what metrics count) far more often than the data do.

    Holtzman et al. (2020): repetition is how neural text degenerates. Threshold: a share of samples that is .2 above
    the data's, and .1 above that before the game, in two evaluations.
    """
    found, real, before = seen.confirmed("repetition"), seen.of_data("repetition"), seen.before("repetition")
    if not found or real is None or min(found) <= real + 0.2 or (before is not None and min(found) <= before + 0.1):
        return None
    return f"{found[-1]:.0%} of the samples repeat three words, of the data {real:.0%}: {advice}"


def few_distinct(seen: Seen, advice: str) -> str | None:
    """Samples are like each other: the generator has collapsed to a few.

    distinct-2 (Li et al. 2016), beside as many real texts. Threshold: less than half of theirs, and less than .8 of
    what it was before the game, in two evaluations.
    """
    found, real, before = seen.confirmed("distinct2"), seen.of_data("distinct2"), seen.before("distinct2")
    if not found or not real or max(found) >= real / 2 or (before is not None and max(found) >= 0.8 * before):
        return None
    return (
        f"samples are much alike: distinct2, their share of different pairs of words, is {found[-1]:.2g}, that of as "
        f"many real texts {real:.2g}: {advice}"
    )


def few_kinds_of_pictures(seen: Seen, advice: str) -> str | None:
    """Pictures are good but cover few of the real ones: the generator has collapsed.

    Precision and recall (Kynkaanniemi et al. 2019). Threshold: recall below a tenth of real pictures', where precision
    is above half of theirs, in two evaluations of 30 pictures or more; a generator that has just begun has neither.
    """
    precision, recall = seen.confirmed("precision"), seen.confirmed("recall")
    real = seen.of_data("precision"), seen.of_data("recall")
    counts = *seen.evaluated("pictures")[-1:], *seen.evaluated("held_out_pictures")[-1:]
    if not precision or not recall or None in real or min(counts, default=0) < 30:
        return None
    if min(precision) <= real[0] / 2 or max(recall) >= real[1] / 10:  # type: ignore[operator]
        return None
    return f"pictures are of few kinds (recall {recall[-1]:.2g}, real ones {real[1]:.2g}): {advice}"


def no_choice_left(seen: Seen, advice: str) -> str | None:
    """The generator hardly chooses any more: nothing new is sampled, so nothing better can be found.

    Entropy of its tokens, nats each (premature convergence, Williams and Peng 1991). Threshold: a fifth of what it was
    when the phase began, and below .2.
    """
    found = seen.lately("entropy")
    first = next((row.values["entropy"] for row in seen.rows if "entropy" in row.values), math.nan)
    if not found or not max(found) < min(first / 5, 0.2):
        return None
    return (
        f"the generator has hardly a choice left: entropy {found[-1]:.2g} nats a token, {first:.2g} when the game "
        f"began, so it can find nothing better: {advice}"
    )


def policy_has_no_choice_left(seen: Seen, advice: str, floor: float) -> str | None:
    """A policy that is far from the expert hardly varies its actions, so that it can find nothing better.

    Premature convergence (Mnih et al. 2016, sec. 4). Threshold: `floor` nats, of all actions of a step. An expert that
    always does the same has no entropy either: silent where the return is near to the expert's, or not known to be far.
    """
    found = seen.lately("entropy")
    if not found or max(found) >= floor or not _far(seen):
        return None
    return f"the policy hardly varies its actions (entropy {found[-1]:.2g} nats) far from the expert's return: {advice}"


# Of imitation


def below_cloning(seen: Seen, cloning: str, advice: str) -> str | None:
    """The game earns less than behaviour cloning, its simplest rival, did. cloning: the phase.

    Threshold: by more than the 95 % intervals of both, and a tenth of the way from random actions to cloning, in all of
    the last two evaluations, after half of the phase, where it does not rise or the
    phase is over.
    """
    name = "return_sampled"
    cloned, found = seen.evaluated(name, cloning)[-1:], seen.confirmed(name)
    if not cloned or not found or seen.done < 0.5:
        return None
    widths = [*seen.evaluated(f"{name}_interval", cloning)[-1:], *seen.evaluated(f"{name}_interval")[-2:]]
    least = max(widths, default=0.0) * math.sqrt(2)
    random = seen.baseline("random", "mean")
    if random is not None:
        least = max(least, 0.1 * abs(cloned[0] - random))
    if cloned[0] - max(found) <= least or (seen.done < 1 and _rises(found, cloned[0])):
        return None
    return f"the policy earns less than behaviour cloning, {found[-1]:.4g} against {cloned[0]:.4g}: {advice}"


def episodes_too_long(seen: Seen, advice: str) -> str | None:
    """Episodes are longer than the expert's, and earn less: a reward above 0 pays for going on (Kostrikov et al. 2019,
    sec. 4.1).

    Threshold: 1.3 times the expert's, over a fifth of the phase, after half of it, where they come no nearer: where
    an early end is a success, policies begin with long episodes.
    """
    expert = seen.baseline("expert", "length")
    found = _episodes(seen, expert)
    if not found or not expert or min(found) <= 1.3 * expert or _far(seen) is False:
        return None
    return f"episodes are longer than the expert's, {found[-1]:.0f} steps against {expert:.0f}: {advice}"


def episodes_too_short(seen: Seen, advice: str) -> str | None:
    """Episodes are shorter than the expert's, and earn less: a reward below 0 pays for an end (Kostrikov et al. 2019,
    sec. 4.1).

    Threshold: .7 times the expert's, over a fifth of the phase, after half of it, where they come no nearer: a policy
    that falls begins with short episodes.
    """
    expert = seen.baseline("expert", "length")
    found = _episodes(seen, expert)
    if not found or not expert or max(found) >= 0.7 * expert or _far(seen) is False:
        return None
    return f"episodes are shorter than the expert's, {found[-1]:.0f} steps against {expert:.0f}: {advice}"


def value_knows_nothing(seen: Seen, advice: str) -> str | None:
    """The value predicts returns no better than their mean: advantages are noise.

    Explained variance, 0 for a constant, below it for worse (as OpenAI baselines log it). Threshold: a median of at
    most 0, as single rollouts go far below, over a fifth of the phase, the first quarter left out.
    """
    found = seen.lately("explained_variance", 2 * SHARE, 0.25)
    if not found or median(found) > 0:
        return None
    return f"the value knows nothing of the returns (explained variance {median(found):.2g}): {advice}"


def steps_too_large(seen: Seen, advice: str, bound: float = 0.1) -> str | None:
    """A step of the policy goes further than the improvement is meant to.

    KL divergence of the policy before and after, nats. Threshold: on average .1 for PPO, twice the largest target that
    Spinning Up calls usual (.01 or .05), and for TRPO 1.5 times its own, where its line search ends.
    """
    found = seen.lately("divergence")
    if not found or _mean(found) <= bound:
        return None
    return f"the policy's steps are too large: KL {_mean(found):.2g} nats a step, above {bound:.2g}: {advice}"


def no_steps(seen: Seen, advice: str) -> str | None:
    """TRPO's line search finds no step that is better, so that the policy stays as it is.

    Schulman et al. (2015), appendix C. Threshold: .05 of whole steps on average, over a tenth of the phase.
    """
    found = seen.lately("step_fraction")
    if not found or _mean(found) > 0.05:
        return None
    return f"TRPO finds no step that helps ({_mean(found):.2g} of whole ones), the policy stands still: {advice}"


def far_from_anchor(seen: Seen, advice: str) -> str | None:
    """The generator has gone far from the model that its KL penalty is to keep it near.

    Nats a token. Threshold: .5 on average; the target of Ziegler et al. (2019, sec. 2.2) is 6 nats for a text of 24
    tokens, .25.
    """
    found = seen.lately("kl")
    if not found or _mean(found) <= 0.5:
        return None
    return f"the generator is far from where the game began: KL {_mean(found):.2g} nats a token: {advice}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _episodes(seen: Seen, expert: float | None) -> list[float]:
    """Lengths lately, after half of the phase, where they don't come nearer to the expert's."""
    found = seen.lately("episode_length", 2 * SHARE) if seen.done >= 0.5 else []
    return [] if not found or not expert or _rises(found, expert) else found


def _far(seen: Seen) -> bool | None:
    """Whether the policy earns far less than the expert, and does not come nearer; None where that is not known."""
    random, expert = seen.baseline("random", "mean"), seen.baseline("expert", "mean")
    found = seen.confirmed("return_sampled")
    if random is None or expert is None or not found or expert <= random:
        return None
    return max(found) < random + NEAR * (expert - random) and not _rises(found, expert)


def _rises(found: Sequence[float], goal: float) -> bool:
    """Whether the last value is nearer to a goal than the first by a tenth of what was missing."""
    return abs(goal - found[0]) - abs(goal - found[-1]) > 0.1 * abs(goal - found[0])
