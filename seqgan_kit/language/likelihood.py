"""The likelihood of held-out texts as a score with its error."""

from __future__ import annotations

from torch import Tensor

from seqgan_kit.engine.verdict import Score
from seqgan_kit.samples import Tokens


def likelihood_score(log_probs: Tensor, tokens: Tokens, each: float = 1.0) -> Score:
    """Nats per token, a ratio of sums, and what each text adds to its error (the delta method).

    log_probs: (rows,) of the texts. tokens: these. each: tokens in what it is per, as a word.
    """
    counts = tokens.mask.sum(1).to(log_probs)
    value = -log_probs.sum() / counts.sum()
    rows = (-log_probs - value * counts) / counts.mean()
    return Score(float(value * each), 0.0, rows * each)


def perplexity_score(log_probs: Tensor, tokens: Tokens, each: float = 1.0) -> Score:
    """The same as perplexity, exp of it."""
    found = likelihood_score(log_probs, tokens, each)
    assert found.rows is not None
    value = float(Tensor.exp(log_probs.new_tensor(found.value)))
    return Score(value, 0.0, found.rows * value)
