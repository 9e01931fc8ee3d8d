"""A policy over tokens from flat options, as tests need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner
from seqgan_kit.tokens.credit import Credit
from seqgan_kit.tokens.policy import Anchor, PolicyGradient, TokenPolicy, WithLikelihood
from seqgan_kit.tokens.rewards import Rewards

GRADIENT = ("baseline", "critic", "estimator", "passes")
LIKELIHOOD = ("teacher_forcing", "prefix")


def token_policy(
    engine: Engine,
    learner: Learner,
    batch_size: int,
    length: int,
    end: int | None,
    reward: Callable[[Tensor], Tensor],
    credit: Credit,
    anchor: Anchor | None = None,
    **options: Any,
) -> TokenPolicy:
    """options: of `PolicyGradient`, `WithLikelihood` and `Rewards`, by name."""
    gradient = {name: options.pop(name) for name in GRADIENT if name in options}
    likelihood = {name: options.pop(name) for name in LIKELIHOOD if name in options}
    return TokenPolicy(
        engine=engine, learner=learner, batch_size=batch_size, length=length, end=end,
        rewards=Rewards(reward, **options), credit=credit, gradient=PolicyGradient(**gradient), anchor=anchor,
        likelihood=WithLikelihood(**likelihood),
    )  # fmt: skip
