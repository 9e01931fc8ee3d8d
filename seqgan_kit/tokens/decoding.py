"""Searching for likely sequences instead of drawing them, and choosing among those found."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqgan_kit.networks.text.output import block_rows
from seqgan_kit.samples import Tokens, rows
from seqgan_kit.tokens.sampling import TokenNetwork, select, until_end


class Beams(NamedTuple):
    """The sequences found for each row, best first.

    tokens: (batch * width, time); row b * width + k is the one of rank k of row b. `tokens.ids[::width]` are the best.
    log_probs: (batch, width), of whole sequences. Where there are fewer than `width` sequences of any probability, the
    rest have log-probability -inf and an empty mask.
    """

    tokens: Tokens
    log_probs: Tensor


class _Table(NamedTuple):
    """ids: (batch, n, length). log_probs, scores: (batch, n)."""

    ids: Tensor
    log_probs: Tensor
    scores: Tensor

    def best(self, count: int) -> _Table:
        order = self.scores.argsort(dim=1, descending=True, stable=True)[:, :count]
        return _Table(_taken(self.ids, order), self.log_probs.gather(1, order), self.scores.gather(1, order))


@torch.no_grad()
def beam_search(
    network: TokenNetwork,
    batch: int,
    length: int,
    end: int | None,
    width: int = 7,
    sibling: float = 0.0,
    length_penalty: float = 0.0,
) -> Beams:
    """The `width` best sequences of at most `length` tokens for each of `batch` rows, by beam search.

    `width` unfinished sequences a row are continued at a time, all rows in one batch. One is finished by its end token,
    if with that token it is among its row's `width` likeliest, or by its length; the `width` best finished ones are
    kept. An unfinished one that can't come among these any more leaves the batch, and the search ends with the last.
    So width 1 without penalties is greedy, and width vocabulary**length is exhaustive.

    sibling: what each better child of the same parent costs a child when a row's children are compared, so that they
    come from more parents (Li et al. 2016, A Simple, Fast Diverse Decoding Algorithm for Neural Generation). Ranks
    count from 0, as in the authors' code, but a cost is not carried on to the next token, as it is there.
    length_penalty: α of Wu et al. 2016, eq. 14: finished sequences are compared, and in the end sorted, by
    log p / ((5 + tokens) / 6)^α; the end token counts. Above 0 favours long ones.

    Neither penalty is in the log-probabilities returned. Raises ValueError for a width or length below 1 or a penalty
    below 0.
    """
    if width < 1 or length < 1:
        raise ValueError(f"width and length must be 1 or more, not {width} and {length}")
    if not (sibling >= 0.0 and length_penalty >= 0.0):
        raise ValueError(f"sibling and length_penalty must be 0 or more, not {sibling} and {length_penalty}")
    features, state = network.start(batch)
    device = features.device
    ids = torch.full((batch, width, length), end or 0, device=device)
    log_probs = torch.full((batch, width), -torch.inf, device=device)
    done = _Table(ids, log_probs, log_probs)
    log_probs = log_probs.clone()
    log_probs[:, 0] = 0.0
    live = torch.arange(batch, device=device) * width  # which of the batch * width places are in `features` and `state`
    for t in range(length):
        # one child may be the end, and no more than `width` of a row's children end, so that `width` go on
        totals, tokens = _children(network, features, log_probs, live, width + 1)
        ranks, totals, tokens, parents = _likeliest_children(totals, tokens, sibling, 2 * width)
        ids = _taken(ids, parents)
        ids[:, :, t] = tokens
        last = t + 1 == length
        ended = torch.full_like(tokens, last, dtype=torch.bool) if last or end is None else tokens == end
        done = _best_finished(done, ids, totals.masked_fill(~ended, -torch.inf), _norm(t + 1, length_penalty))
        if last:
            break
        going = ranks.masked_fill(ended, -torch.inf).topk(width).indices
        log_probs = totals.masked_fill(ended, -torch.inf).gather(1, going)
        ids, tokens, parents = _taken(ids, going), tokens.gather(1, going), parents.gather(1, going)
        before = live
        # more tokens can't raise a log-probability; -inf, for want of children, is never above
        hopeful = log_probs / _norm(length, length_penalty) > done.scores[:, -1:]
        live = hopeful.flatten().nonzero().squeeze(1)
        if not len(live):
            break
        state = select(state, _rows_of_parents(parents, before)[live])
        features, state = network.step(tokens.flatten()[live], state)
    return _beams(done, end)


def _children(
    network: TokenNetwork, features: Tensor, log_probs: Tensor, live: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Whole log-probabilities (batch, width, children) of the sequences continued by their likeliest tokens, and these
    tokens, best first, at most `count` each; -inf where a place of `log_probs`, (batch, width), is not `live`."""
    values, found = _likeliest_tokens(network, features, count)
    totals = values.new_full((log_probs.numel(), values.shape[1]), -torch.inf)
    totals[live] = log_probs.flatten()[live].unsqueeze(1) + values
    tokens = found.new_zeros(totals.shape)
    tokens[live] = found
    return totals.unflatten(0, log_probs.shape), tokens.unflatten(0, log_probs.shape)


def _likeliest_children(
    totals: Tensor, tokens: Tensor, sibling: float, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each row's children, (batch, width, children), the likeliest, (batch, at most `count`) each: log-probabilities
    less what better siblings cost, log-probabilities, tokens, and the parents' places in the row."""
    costs = sibling * torch.arange(totals.shape[2], device=totals.device)
    ranks = (totals - costs).flatten(1)
    ranks, chosen = ranks.topk(min(count, ranks.shape[1]))
    return ranks, totals.flatten(1).gather(1, chosen), tokens.flatten(1).gather(1, chosen), chosen // totals.shape[2]


def _best_finished(done: _Table, ids: Tensor, log_probs: Tensor, norm: float) -> _Table:
    """The best of `done` and of what has just finished, as many as before.

    log_probs: (batch, n), -inf for what has not finished; only a row's `width` likeliest children count.
    """
    width = done.scores.shape[1]
    finished = log_probs[:, :width]
    both = zip(done, _Table(ids[:, :width], finished, finished / norm), strict=True)
    return _Table(*(torch.cat(pair, dim=1) for pair in both)).best(width)


def _rows_of_parents(parents: Tensor, live: Tensor) -> Tensor:
    """Which row of the state belongs to each parent, (batch, width) places in their rows -> (batch * width,).

    live: the places, of all rows, that the state's rows stand for; a parent that is none of these has no meaning."""
    batch, width = parents.shape
    row = torch.empty(batch * width, dtype=torch.int64, device=live.device)
    row[live] = torch.arange(len(live), device=live.device)
    first = torch.arange(batch, device=live.device).unsqueeze(1) * width
    return row[(parents + first).flatten()]


def _likeliest_tokens(network: TokenNetwork, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities (rows, children) and ids of the likeliest next tokens, best first, at most `count`."""
    vocabulary = network.logits(features[:1]).shape[-1]
    values, tokens = [], []
    for part in features.split(block_rows(features.device, vocabulary)):
        logits = network.logits(part).float()
        best = logits.topk(min(count, vocabulary))
        values.append(best.values - logits.logsumexp(-1, keepdim=True))
        tokens.append(best.indices)
    return torch.cat(values), torch.cat(tokens)


def _taken(ids: Tensor, index: Tensor) -> Tensor:
    """(batch, n, length), (batch, m) -> (batch, m, length)."""
    return ids.gather(1, index.unsqueeze(2).expand(-1, -1, ids.shape[2]))


def _norm(tokens: int, penalty: float) -> float:
    """Wu et al. 2016, eq. 14, lp(Y)."""
    return float(((5 + tokens) / 6) ** penalty)


def _beams(table: _Table, end: int | None) -> Beams:
    ids = table.ids.flatten(0, 1)
    mask = until_end(ids, end) & (table.log_probs.flatten() > -torch.inf).unsqueeze(1)
    time = max(1, int(mask.sum(1).max())) if len(mask) else 1
    return Beams(Tokens(ids.masked_fill(~mask, end or 0)[:, :time], mask[:, :time]), table.log_probs)


def mutual_information(forward_log_probs: Tensor, backward_log_probs: Tensor, weight: float) -> Tensor:
    """(1 - weight) log p(y|x) + weight log p(x|y), which rewards replies that tell something of what they reply to.

    MMI-bidi of Li et al. 2016, A Diversity-Promoting Objective Function for Neural Conversation Models, eq. 11, without
    its reward for length. Log-probabilities of any one shape; a reply of probability 0 scores -inf at any weight.
    Raises ValueError for a weight outside [0, 1] or different shapes.
    """
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"weight must be from 0 to 1, not {weight}")
    if forward_log_probs.shape != backward_log_probs.shape:
        shapes = f"{tuple(forward_log_probs.shape)} and {tuple(backward_log_probs.shape)}"
        raise ValueError(f"forward and backward log-probabilities must have the same shape, not {shapes}")
    impossible = forward_log_probs == -torch.inf
    return ((1 - weight) * forward_log_probs + weight * backward_log_probs).masked_fill(impossible, -torch.inf)


def rerank(beams: Beams, scores: Tensor) -> Beams:
    """The beams of each row by these scores (batch, width), highest first; those of probability 0 stay last.

    Raises ValueError for scores of another shape.
    """
    if scores.shape != beams.log_probs.shape:
        raise ValueError(f"scores must be {tuple(beams.log_probs.shape)}, not {tuple(scores.shape)}")
    order = scores.masked_fill(beams.log_probs == -torch.inf, -torch.inf).argsort(dim=1, descending=True, stable=True)
    first = torch.arange(len(order), device=order.device).unsqueeze(1) * order.shape[1]
    return Beams(rows(beams.tokens, (first + order).flatten()), beams.log_probs.gather(1, order))
