"""Replies to histories of several turns, all of different lengths; networks and scores that depend on each token."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from seqgan_kit.dialogue.template import EncodedHistory, to_replies
from seqgan_kit.samples import Replies, Tokens, rows, size, trimmed

M = TypeVar("M", bound=nn.Module)
END, VOCABULARY, LENGTH = 0, 20, 6
WORTH = torch.linspace(-2, 1, VOCABULARY)  # of each token, to a discriminator
# lengths of each history's turns, and of its reply
SHAPES = [([3], 6), ([2, 4], 1), ([1, 3, 5], 4), ([1], 3), ([4, 1], 6)]


def some_replies(seed: int = 0) -> Replies:
    """Histories of one turn or more and replies, all of different lengths; most have ended before the last token."""
    rng = random.Random(seed)

    def words(count: int) -> list[int]:
        return [*rng.choices(range(1, VOCABULARY), k=count - 1), END]

    found = []
    for turns, count in SHAPES:
        history = [token for turn in turns for token in words(turn)]
        numbers = [number for number, turn in enumerate(turns) for _ in range(turn)]
        found.append((EncodedHistory(history, numbers, cut=False), words(count)))
    return to_replies(found, END)


REPLIES = some_replies()


def alone(replies: Replies) -> list[Replies]:
    """Each row without the padding of the others."""
    return [trimmed(rows(replies, slice(row, row + 1))) for row in range(size(replies))]


def with_other_padding(replies: Replies) -> Replies:
    """The same, with any tokens where there is padding."""
    torch.manual_seed(9)
    ids, history = (torch.randint_like(part, VOCABULARY) for part in (replies.ids, replies.history))
    return replace(
        replies,
        ids=torch.where(replies.mask, replies.ids, ids),
        history=torch.where(replies.told, replies.history, history),
    )


def far_from_uniform(model: M, deviation: float = 0.4) -> M:
    """Weights so large that each token matters."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=deviation)
    return model


def stepped(generator: Any, replies: Replies) -> Tensor:
    """The log-probabilities of a reply's tokens while it is drawn."""
    view = generator.given(*replies.context)
    features, state = view.start(size(replies))
    columns = []
    for token in replies.ids.T:
        columns.append(view.logits(features).float().log_softmax(-1).gather(1, token.unsqueeze(1)))
        features, state = view.step(token, state)
    return torch.cat(columns, dim=1)


def texts(tokens: Tokens) -> list[str]:
    return [" ".join(map(str, row)) for row in shown(tokens)]


def shown(tokens: Tokens) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(tokens.ids, tokens.mask, strict=True)]


def total(tokens: Tokens) -> Tensor:
    """A discriminator of whole rows."""
    return (WORTH[tokens.ids] * tokens.mask).sum(1)


def running(tokens: Tokens) -> Tensor:
    """The same, as one of every prefix."""
    return WORTH[tokens.ids].cumsum(1)
