"""What generators make and discriminators score: frozen dataclasses of tensors whose first dimension is the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Tokens:
    """Token sequences, padded on the right.

    ids: (batch, time) int64.
    mask: (batch, time) bool, True where a token counts: the end token does, padding does not.
    """

    ids: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.ids.dim() != 2 or self.ids.shape != self.mask.shape:
            raise ValueError(f"ids and mask must both be (batch, time), not {self.shapes()}")

    def shapes(self) -> str:
        return f"{tuple(self.ids.shape)} and {tuple(self.mask.shape)}"

    @property
    def context(self) -> tuple[Tensor, ...]:
        """What else networks are given, after the ids (generators) or the mask (discriminators)."""
        return ()

    @property
    def read(self) -> Tensor:
        """What discriminators are given as the text: the ids, or weights in their place."""
        return self.ids


@dataclass(frozen=True)
class SoftTokens(Tokens):
    """Tokens through which a gradient can flow: every place holds some of each token of the vocabulary.

    ids: the tokens that they stand for, those of the largest weights.
    weights: (batch, time, vocabulary) float32, not below 0, of sum 1 in each place; one-hot for real text.
    """

    weights: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights.shape[:2] != self.ids.shape:
            raise ValueError(f"weights {tuple(self.weights.shape)} of {self.shapes()}")

    @property
    def read(self) -> Tensor:
        return self.weights


@dataclass(frozen=True)
class LabelledTokens(Tokens):
    """Tokens, and the class that each row is of.

    labels: (batch,) int64, from 0.
    """

    labels: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels.shape != self.ids.shape[:1]:
            raise ValueError(f"labels {tuple(self.labels.shape)} of {self.shapes()}")

    @property
    def context(self) -> tuple[Tensor, ...]:
        return (self.labels,)


@dataclass(frozen=True)
class Replies(Tokens):
    """Replies, as Tokens, and the dialogues that they are replies to.

    history: (batch, past) int64, padded on the left, up to where the reply begins.
    turns: (batch, past) int64, which utterance a token is of, from 0, and -1 on padding.
    origin: (batch,) int64, the row of the data whose history it is; -1 where there is none.
    """

    history: Tensor
    turns: Tensor
    origin: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.history.shape != self.turns.shape or len(self.history) != len(self.ids):
            raise ValueError(f"history {tuple(self.history.shape)}, turns {tuple(self.turns.shape)} of {self.shapes()}")
        if self.origin is None:
            object.__setattr__(self, "origin", self.ids.new_full((len(self.ids),), -1))

    @property
    def context(self) -> tuple[Tensor, ...]:
        return self.history, self.turns

    @property
    def told(self) -> Tensor:
        """(batch, past) bool, False on padding."""
        return self.turns >= 0


@dataclass(frozen=True)
class Transitions:
    """Steps of an environment: a row is one episode, padded on the right, or several one after another.

    observations, next_observations: (batch, time, ...) float32; the last next_observation of an episode is its own,
    not that of the episode after it.
    actions: (batch, time) int64, or (batch, time, dim) float32 as the environment executed them.
    rewards: (batch, time) float32, the environment's own.
    terminated: (batch, time) bool, the task itself ended here, so nothing is worth anything after it.
    ended: (batch, time) bool, the episode ended here, by termination or by a time limit.
    mask: (batch, time) bool, False on padding.
    """

    observations: Tensor
    actions: Tensor
    next_observations: Tensor
    rewards: Tensor
    terminated: Tensor
    ended: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Rollout(Transitions):
    """Transitions of a policy, with what its improvement needs beside them; where they are padding, nothing was done.

    drawn: (batch, time, ...), the actions as the policy drew them, before they were clipped or squashed.
    memory, next_memory: (batch, time, dim) float32, the recurrent state before a step, and after it whatever ended;
    dim is 0 for a policy without one.
    elapsed: (batch, time) int64, steps of the episode up to and with this one.
    """

    drawn: Tensor
    memory: Tensor
    next_memory: Tensor
    elapsed: Tensor


@dataclass(frozen=True)
class Images:
    """Pictures, and what they were made under. What is left out has `dim` 0, or is 0.

    pixels: (batch, channels, height, width) float32 in [-1, 1].
    condition: (batch, dim) float32, an embedding of the caption.
    wrong: (batch, captions, dim) float32, embeddings of captions that do not fit, beside real pictures.
    noise: (batch, dim) float32, what a generator drew beside the condition.
    divergence: (batch,) float32, what drawing the condition itself costs a generator (StackGAN's KL).
    """

    pixels: Tensor
    condition: Tensor
    wrong: Tensor = None  # type: ignore[assignment]
    noise: Tensor = None  # type: ignore[assignment]
    divergence: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name, dims in (("wrong", (0, 0)), ("noise", (0,)), ("divergence", ())):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.pixels.new_zeros(len(self.pixels), *dims))


S = TypeVar("S", Tokens, SoftTokens, Replies, Transitions, Images)


def map_tensors(sample: S, function: Callable[[Tensor], Tensor]) -> S:
    """The same sample with `function` applied to each of its tensors: device moves, row selection, detaching."""
    return replace(sample, **{f.name: function(getattr(sample, f.name)) for f in fields(sample)})


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. A GPU copies it while the CPU goes on, so it must not be written to any more."""
    if tensor.device.type != "cpu" or device.type in ("cpu", "mps"):  # what is read is waited for; MPS copies at once
        return tensor.to(device)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def to(sample: S, device: torch.device) -> S:
    return map_tensors(sample, lambda tensor: sent(tensor, device))


def soft(tokens: Tokens, vocabulary: int) -> SoftTokens:
    """The tokens with all weight on themselves, and none on padding; what is soft already stays as it is."""
    if isinstance(tokens, SoftTokens):
        return tokens
    # ids beyond the vocabulary stand only on padding, where another one's end token may be written
    weights = F.one_hot(tokens.ids * tokens.mask, vocabulary).float() * tokens.mask.unsqueeze(-1)
    return SoftTokens(tokens.ids, tokens.mask, weights)


def rows(sample: S, index: Tensor | slice) -> S:
    """The chosen rows; `index` is a slice, or (n,) integers or (batch,) booleans."""
    return map_tensors(sample, lambda tensor: tensor[index])


def size(sample: Tokens | Transitions | Images) -> int:
    """The number of rows."""
    return len(getattr(sample, fields(sample)[0].name))


def size_in_bytes(tree: Any) -> int:
    """Of the tensors of a tree, each counted once."""
    return sum({id(one): one.numel() * one.element_size() for one in tree_leaves(tree)}.values())


def trimmed(sample: S) -> S:
    """Tokens without the columns that are padding in all rows; anything else as it is."""
    cut: dict[str, Tensor] = {}
    if isinstance(sample, Tokens):
        time = _longest(sample.mask)
        cut = {"ids": sample.ids[:, :time], "mask": sample.mask[:, :time]}
    if isinstance(sample, SoftTokens):
        cut["weights"] = sample.weights[:, : len(cut["ids"][0])]
    if isinstance(sample, Replies):
        start = sample.history.shape[1] - _longest(sample.told.flip(1))
        cut |= {"history": sample.history[:, start:], "turns": sample.turns[:, start:]}
    return replace(sample, **cut) if cut else sample


def chunks(sample: S, count: int) -> Iterator[S]:
    """The rows, at most so many at a time, each part `trimmed`."""
    return (trimmed(rows(sample, slice(start, start + count))) for start in range(0, size(sample), count))


def _longest(mask: Tensor) -> int:
    """The length of the longest row of a (batch, time) mask: everything after it is padding."""
    padding = mask.any(dim=0).flip(0).int().argmax() if mask.shape[1] else 0  # the first True from the right
    return mask.shape[1] - int(padding)


def repeated(sample: S, times: int) -> S:
    """Each row so many times, one after another."""
    return sample if times == 1 else map_tensors(sample, lambda tensor: tensor.repeat_interleave(times, dim=0))


def last(values: Tensor, mask: Tensor) -> Tensor:
    """The value at the last counted step of each row: (batch, time, ...) and (batch, time) -> (batch, ...)."""
    place = (mask.sum(1) - 1).view(-1, *[1] * (values.dim() - 1))
    return values.gather(1, place.expand(-1, -1, *values.shape[2:])).squeeze(1)


def actions(sample: Tokens | Transitions | Images) -> int:
    """What a sample is counted by in samples per second: sequences, pictures, but counted steps of an environment."""
    return int(sample.mask.sum()) if isinstance(sample, Transitions) else size(sample)


def steps(sample: Transitions) -> Transitions:
    """Each counted step as a row of its own: (batch, time, ...) -> (steps, 1, ...); of a rollout the transitions."""
    chosen = sample.mask.flatten().nonzero().squeeze(1)
    flat = Transitions(**{f.name: getattr(sample, f.name).flatten(0, 1).unsqueeze(1) for f in fields(Transitions)})
    return flat if len(chosen) == size(flat) else rows(flat, chosen)


def concatenate(samples: Sequence[S]) -> S:
    """One sample of all the rows, of the first one's type. Tokens of different lengths are padded on the right, and
    histories on the left."""
    first = samples[0]
    joined = {}
    for field in fields(first):
        parts = [getattr(sample, field.name) for sample in samples]
        if isinstance(first, Tokens) and parts[0].dim() > 1:
            longest = max(part.shape[1] for part in parts)
            left, value = field.name in ("history", "turns"), -1 if field.name == "turns" else 0
            missing = [longest - part.shape[1] for part in parts]
            inner: tuple[int, ...] = (0, 0) * (parts[0].dim() - 2)
            sides = [(*inner, n, 0) if left else (*inner, 0, n) for n in missing]
            parts = [F.pad(part, side, value=value) for part, side in zip(parts, sides, strict=True)]
        joined[field.name] = torch.cat(parts)
    return replace(first, **joined)
