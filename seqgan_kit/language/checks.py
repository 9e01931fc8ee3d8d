"""Parts that users bring to a run of text or dialogue, tried before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_kit.engine.checks import before_a_run, kind, of_shape, tried
from seqgan_kit.errors import UserError, name_of
from seqgan_kit.samples import Tokens, rows, size
from seqgan_kit.tokens.credit import Credit, LikelihoodRatio, MonteCarlo, Prefixes
from seqgan_kit.tokens.discriminator import compares_rows
from seqgan_kit.tokens.rewards import Earned, Rewards

CREDIT, BASELINE, ESTIMATOR = "--adversarial.credit", "--adversarial.baseline", "--adversarial.estimator"


def check_parts(
    config: Any,
    source: Any,
    network: nn.Module,
    judge: nn.Module,
    columns: Callable[[Tokens], dict[str, list[Any]]] | None,
) -> None:
    """Raises UserError where a part of the game is of another kind than its option wants, does not go with another one,
    or gives something else than it should. Users' own are called with a few rows.

    config: `LanguageAdversarialConfig`. judge: the discriminator's network. columns: as of `LanguageTraining.policy`.
    """
    some = rows(source.train, slice(2))
    wanted = "a class of seqgan_kit.tokens.credit, or a subclass of its Credit"
    credit = tried(CREDIT, config.credit, network, source.length, source.end, wanted=wanted)
    if not isinstance(credit, Credit):
        raise UserError(f"{CREDIT}: {name_of(config.credit)} gives {kind(credit)}, no Credit: give {wanted}")
    _check_credit(credit, judge, config.turns.repeats)
    if not type(credit).__module__.startswith("seqgan_kit."):  # ours cost time, and are known
        _try_credit(credit, some)
    _try_gradient(config, 2 * max(2, config.turns.repeats))
    before_a_run(Rewards(torch.sigmoid, users=config.rewards, decode=source.decode, columns=columns).of_users, some)


def _check_credit(credit: Credit, judge: nn.Module, repeats: int) -> None:
    """Raises UserError for a credit that does not go with the discriminator, or with the samples of a context."""
    if isinstance(credit, LikelihoodRatio) and credit.group not in (None, repeats):
        raise UserError(
            f"{CREDIT}.group {credit.group}: samples that have a context in common are --adversarial.turns.repeats "
            f"{repeats}; give the same"
        )
    if isinstance(credit, (MonteCarlo, Prefixes)) and compares_rows(judge):
        raise UserError(
            "a discriminator that compares rows can't judge parts of them, which are too much alike: "
            f"give {CREDIT} seqgan_kit.tokens.credit.Terminal, or seqgan_kit.tokens.credit.LikelihoodRatio"
        )


class _Alone:
    """What a credit may ask of an engine, where there is none: one process."""

    rank = 0

    def gather(self, tensor: Tensor) -> Tensor:
        return tensor

    def drawing(self, network: nn.Module) -> AbstractContextManager[nn.Module]:
        return nullcontext(network.eval())


def _try_credit(credit: Credit, some: Tokens) -> None:
    """Raises UserError where it does not give a number for each token."""
    alone: Any = _Alone()
    rewards = Rewards(torch.sigmoid, all_prefixes=lambda tokens: torch.zeros(tokens.ids.shape))
    reward = Earned(rewards, lambda tokens: torch.zeros(size(tokens)), alone)
    wanted = "(sampled, earned, reward) -> credit of the shape (batch, time)"
    found = tried(CREDIT, credit, some, torch.full((size(some),), 0.5), reward, wanted=wanted)
    of_shape(CREDIT, type(credit), found, tuple(some.mask.shape), wanted)


def _try_gradient(config: Any, batch: int) -> None:
    """Raises UserError where a baseline gives no credit, or an estimator no loss that can be differentiated."""
    mask = torch.ones(batch, 3, dtype=torch.bool)
    mask[0, 2] = False
    credit = torch.linspace(0, 1, batch).unsqueeze(1) * mask
    wanted = "(credit, mask) -> credit, all of the shape (batch, time)"
    found = tried(BASELINE, config.baseline, credit, mask, wanted=wanted)
    of_shape(BASELINE, config.baseline, found, tuple(mask.shape), wanted)
    wanted = "(log_probs, old_log_probs, credit, mask), all (batch, time) -> a loss, one number with its graph"
    log_probs = torch.full(mask.shape, -1.0, requires_grad=True)
    found = tried(ESTIMATOR, config.estimator, log_probs, log_probs.detach(), credit, mask, wanted=wanted)
    of_shape(ESTIMATOR, config.estimator, found, (), wanted)
    if not found.requires_grad:
        raise UserError(f"{ESTIMATOR}: {name_of(config.estimator)} does not depend on log_probs: give {wanted}")
