"""Drawing tokens from a network: no gradient, one step of time at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from seqgan_kit.networks import device_sizes
from seqgan_kit.networks.categorical import draw
from seqgan_kit.networks.text.output import block_rows
from seqgan_kit.networks.text.soft import gumbel_softmax
from seqgan_kit.samples import SoftTokens, Tokens, rows, size

LOOKS = 16  # tokens between two looks at what has ended, on a device that is no CPU
State = Any
"""A network's memory of what it has read: a tuple (of tuples) of tensors whose first dimension is the batch."""


class TokenNetwork(Protocol):
    """What a network must offer to be sampled; its `forward(ids, mask=mask)` gives the log-probabilities to
    differentiate, (batch, time), 0 where the mask is False."""

    def start(self, batch: int) -> tuple[Tensor, State]:
        """Features (batch, hidden) and state after the start token."""

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Features (batch, hidden) and state after one more token each, (batch,)."""

    def logits(self, features: Tensor) -> Tensor:
        """(batch, hidden) -> (batch, vocabulary)."""


def with_context(network: Any, tokens: Tokens) -> TokenNetwork:
    """What draws tokens under the samples' context, if they have one: `network.given(*context)`, or the network."""
    context_network: TokenNetwork = network.given(*tokens.context) if tokens.context else network
    return context_network


class Without:
    """A network that never draws some tokens: the others share what is left in proportion to what they have.

    What it draws has other log-probabilities than the network tells, so training never draws so.

    Args:
        network: a `TokenNetwork`, or what is one once it is `given` a context.
        tokens: ids that are not drawn.
        temperature, top_k, top_p: how it is drawn from, as of `sample`; only `expected` depends on them.
        sums: what `expected` is made of, by device, of all contexts; new ones if None.
    """

    def __init__(
        self,
        network: Any,
        tokens: Sequence[int],
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        sums: dict[torch.device, Tensor] | None = None,
    ) -> None:
        self.network, self.tokens = network, list(tokens)
        self.drawing = temperature, top_k, top_p
        self.sums = {} if sums is None else sums
        self.start, self.step = network.start, network.step

    def parameters(self) -> Iterator[Tensor]:
        found: Iterator[Tensor] = self.network.parameters()
        return found

    @property
    def expected(self) -> float:
        """How many of these tokens the network would have drawn so."""
        return sum(float(one) for one in self.sums.values())

    def given(self, *context: Tensor) -> Without:
        return Without(self.network.given(*context), self.tokens, *self.drawing, self.sums)

    def logits(self, features: Tensor) -> Tensor:
        found = self.network.logits(features).float()
        tokens = torch.tensor(self.tokens, dtype=torch.int64, device=found.device)
        temperature, top_k, top_p = self.drawing
        heated = found / temperature if temperature else found.masked_fill(~likeliest(found, 1), -torch.inf)
        shares = heated.masked_fill(~likeliest(heated, top_k, top_p), -torch.inf).softmax(-1)
        self.sums[found.device] = self.sums.get(found.device, 0) + shares[..., tokens].sum()
        return found.index_fill(-1, tokens, -torch.inf)


def draw_from(
    network: TokenNetwork, features: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Tensor:
    """`draw` from the network's logits, block by block, so that all the rows' logits never exist at once.

    At temperature 0 the likeliest token is taken. top_k, top_p: see `likeliest`.
    """
    if not len(features):
        return torch.empty(0, dtype=torch.int64, device=features.device)
    tokens, few = [], device_sizes.sizes(features.device).first_rows
    first, rest = network.logits(features[:few]), features[few:]  # it tells how large the vocabulary is
    parts = rest.split(block_rows(features.device, first.shape[-1])) if len(rest) else ()
    for block in chain([first], map(network.logits, parts)):
        logits = block.float()
        if temperature == 0.0:
            tokens.append(logits.argmax(-1))
            continue
        if top_k or top_p < 1.0:
            logits = logits.masked_fill(~likeliest(logits / temperature, top_k, top_p), -torch.inf)
        tokens.append(draw(logits / temperature if temperature != 1.0 else logits))
    return torch.cat(tokens)


def likeliest(logits: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Which tokens may be drawn: (batch, vocabulary) bool.

    top_k: the k most likely (Fan et al. 2018); 0 for all.
    top_p: of those, renormalised, the fewest whose probability together reaches p (Holtzman et al. 2020, eq. 2); 1 for
    all. At least one is left; of equally likely ones, as many as it takes.
    """
    sort = logits.topk(min(top_k, logits.shape[-1])) if top_k else logits.sort(descending=True)
    keep = torch.ones_like(sort.indices, dtype=torch.bool)
    if top_p < 1.0:
        keep[:, 1:] = sort.values.softmax(-1).cumsum(-1)[:, :-1] < top_p
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, sort.indices, keep)


def _check(temperature: float, top_k: int, top_p: float) -> None:
    if not 0.0 <= temperature < math.inf:
        raise ValueError(f"temperature must be 0 or more, not {temperature}")
    if top_k < 0:
        raise ValueError(f"top_k must be 0 (all tokens) or more, not {top_k}")
    if not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p must be above 0, and at most 1 (all tokens), not {top_p}")


def until_end(ids: Tensor, end: int | None) -> Tensor:
    """The mask (batch, time) of tokens up to and with the first end token; all True where there is none."""
    if end is None:
        return torch.ones_like(ids, dtype=torch.bool)
    ended = (ids == end).cumsum(1)
    return (ended == 0) | ((ended == 1) & (ids == end))


def select(state: State, index: Tensor) -> State:
    return tree_map(lambda tensor: tensor[index], state)


def join(first: State, second: State) -> State:
    return tree_map(lambda a, b: torch.cat([a, b]), first, second)


@torch.no_grad()
def sample(
    network: TokenNetwork,
    batch: int,
    length: int,
    end: int | None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    given: Tensor | None = None,
) -> Tokens:
    """`batch` sequences of at most `length` tokens, each up to and with its end token: (batch, time <= length).

    Padding holds the end token. Rows that have ended leave the batch, so short sentences cost little; where a device
    would have to be waited for (`looks`) only now and then, so that columns at the end may be all padding.
    temperature divides the logits; 0 takes the likeliest token. top_k, top_p: see `likeliest`; whoever differentiates
    the log-probabilities that the network gives leaves all three as they are.
    given: the sequences' first tokens, (batch, prefix), which are not drawn.
    Raises ValueError for a temperature below 0, a top_k below 0, and a top_p that is not above 0 and at most 1.
    """
    _check(temperature, top_k, top_p)
    features, state = network.start(batch)
    ids = torch.full((batch, length), end or 0, device=features.device)
    alive: Any = torch.arange(batch, device=features.device)
    ended = torch.zeros(batch, dtype=torch.bool, device=features.device)
    for t in range(length):
        if given is not None and t < given.shape[1]:
            tokens = given[alive, t]
        else:
            tokens = draw_from(network, features, temperature, top_k, top_p)
        ids[alive, t] = tokens
        if end is not None:
            ended = (tokens == end) | ended
            tokens, state, ended, alive = without_ended(t, tokens, state, ended, alive)
        if t + 1 == length or not len(alive):
            break
        features, state = network.step(tokens, state)
    ids = ids[:, : t + 1]
    mask = until_end(ids, end)
    return Tokens(ids if end is None else ids.masked_fill(~mask, end), mask)


def soft_sample(
    network: TokenNetwork,
    batch: int,
    length: int,
    end: int | None,
    sharpness: float,
    straight_through: bool = False,
) -> SoftTokens:
    """`batch` sequences as `sample` draws them, and with their graph: (batch, time <= length, vocabulary).

    The network reads the token that was drawn, not the soft one, as in the code of Nie et al. 2019: so the ids are
    exact samples of it, and the gradient goes through the weights of each place and the states before it.
    A sequence ends with the first end token that was drawn, whose place counts: what follows is masked. No gradient
    goes through the choice to end there, but the end token's weight in each place before, and in that one, has one.
    """
    features, state = network.start(batch)
    ids: list[Tensor] = []
    weights: list[Tensor] = []
    ended = torch.zeros(batch, dtype=torch.bool, device=features.device)
    for t in range(length):
        tokens, soft = gumbel_softmax(network.logits(features), sharpness, straight_through)
        ids.append(tokens)
        weights.append(soft)
        ended = ended | (tokens == end) if end is not None else ended
        if t + 1 == length or (looks(t, ended.device) and bool(ended.all())):
            break
        features, state = network.step(tokens, state)
    joined = torch.stack(ids, dim=1)
    return SoftTokens(joined, until_end(joined, end), torch.stack(weights, dim=1))


@torch.no_grad()
def stream(
    network: TokenNetwork,
    length: int,
    end: int | None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Iterator[int]:
    """The tokens of one `sample`, each as soon as it is drawn, without the end token. Raises as `sample` does."""
    _check(temperature, top_k, top_p)
    features, state = network.start(1)
    for t in range(length):
        token = draw_from(network, features, temperature, top_k, top_p)
        if int(token) == end:
            return
        yield int(token)
        if t + 1 < length:
            features, state = network.step(token, state)


def looks(t: int, device: torch.device) -> bool:
    """Whether to look now at what has ended, for which a device that is no CPU must be waited for."""
    return device.type == "cpu" or t % LOOKS == LOOKS - 1


def without_ended(
    t: int, tokens: Tensor, state: State, ended: Tensor, here: Tensor | slice, patience: float = 0.0
) -> tuple[Tensor, State, Tensor, Tensor | slice]:
    """Tokens, states, whether it has ended, and the number of each row that has not, (rows, ...), where it is looked.

    here: the rows' numbers; a slice of the first ones. patience: share of rows that may have ended and are not worth
    copying the states of the others.
    """
    if not looks(t, tokens.device):
        return tokens, state, ended, here
    keep = (~ended).nonzero().squeeze(1)
    if len(ended) - len(keep) <= patience * len(ended):
        return tokens, state, ended, here
    return tokens[keep], select(state, keep), ended[keep], keep if isinstance(here, slice) else here[keep]


def in_chunks(score: Callable[[Tokens], Tensor], tokens: Tokens, chunk: int) -> Tensor:
    """`score` over at most `chunk` rows at a time, (rows,): bounded memory for the many completions of a roll-out."""
    return torch.cat([score(rows(tokens, slice(i, i + chunk))) for i in range(0, size(tokens), chunk)])
