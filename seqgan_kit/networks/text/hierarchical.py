"""The hierarchical discriminator of adversarial dialogue: of words, then of utterances (Li et al. 2017, sec. 3.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.bounds import Count, Share
from seqgan_kit.networks.text.histories import each_once, packed
from seqgan_kit.samples import last, sent


class HierarchicalDiscriminator(nn.Module):
    """History and reply -> a logit, higher = more human: (batch,); or one of each of the reply's prefixes.

    An LSTM reads the words of each utterance, another the utterances; the logit is linear in its last state. Every
    prefix of the reply is an utterance that the second LSTM reads from the same state, that after the history, so all
    prefixes cost one pass (Li et al. 2017, sec. 3.2, rewards for partial replies).

    Args:
        vocabulary: Number of token ids.
        embedding: Width of a token's embedding.
        hidden: Width of the states of both LSTMs.
        dropout: Share of embeddings, and of what utterances become, that is dropped in training.
    """

    scores_prefixes = True

    def __init__(self, vocabulary: int, embedding: Count = 128, hidden: Count = 128, dropout: Share = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.words = nn.LSTM(embedding, hidden, batch_first=True)
        self.utterances = nn.LSTM(hidden, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, 1)

    def forward(self, ids: Tensor, mask: Tensor, history: Tensor, turns: Tensor, prefixes: bool = False) -> Tensor:
        """ids, mask: (batch, time). history, turns: (batch, past), as of `Replies`. -> (batch,), float32, of what the
        mask shows; (batch, time), of each prefix, where it is asked for."""
        hidden, cell = each_once(self._after, history, turns)
        read, _ = self.words(self.dropout(self.embedding(ids)))
        if not prefixes:
            read = last(read, mask).unsqueeze(1)
        logits: Tensor = self.output(self.dropout(self._steps(self.dropout(read), hidden, cell)))
        return (logits.squeeze(-1) if prefixes else logits.flatten()).float()

    def _steps(self, read: Tensor, hidden: Tensor, cell: Tensor) -> Tensor:
        """States of the second LSTM after one more utterance, of several that it may be: (batch, utterances, hidden).

        read: (batch, utterances, hidden), what they become. hidden, cell: (batch, hidden), the state before them, whose
        part in the gates is computed once for all; the LSTM itself would be called for each.
        """
        lstm: Any = self.utterances
        known = F.linear(hidden, lstm.weight_hh_l0, lstm.bias_hh_l0).unsqueeze(1)
        gates = F.linear(read, lstm.weight_ih_l0, lstm.bias_ih_l0) + known
        enter, forget, new, leave = gates.chunk(4, dim=-1)
        cells = forget.sigmoid() * cell.unsqueeze(1) + enter.sigmoid() * new.tanh()
        return leave.sigmoid() * cells.tanh()

    def _after(self, history: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """The second LSTM's state after the history, (batch, hidden) twice."""
        ids, lengths = utterances(history, turns)
        batch, count, _ = ids.shape
        spoken = lengths.flatten().nonzero().squeeze(1)
        where = sent(spoken, ids.device)
        said = self.dropout(self.embedding(ids.flatten(0, 1)[where]))
        _, (last, _) = self.words(packed(said, lengths.flatten()[spoken]))
        read = last.new_zeros(batch * count, last.shape[2])
        read[where] = self.dropout(last[0])
        number = (lengths > 0).sum(1)
        _, (hidden, cell) = self.utterances(packed(read.view(batch, count, -1), number))
        return hidden[0], cell[0]


def utterances(history: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """Each utterance in a row of its own: ids (batch, utterances, longest), padded on the right, and on the CPU lengths
    (batch, utterances). history, turns: (batch, past); turns count up from 0, and are -1 on padding."""
    turns = turns.cpu()  # a GPU is waited for this once: all that follows depends on them
    count = int(turns.max()) + 1
    belongs = turns.unsqueeze(1) == torch.arange(count)[:, None]  # batch, utterances, past
    lengths = belongs.sum(2)
    rows, columns = (turns >= 0).nonzero(as_tuple=True)
    which = turns[rows, columns]
    place = (belongs.cumsum(2) - 1)[rows, which, columns]
    rows, columns, which, place = (sent(index, history.device) for index in (rows, columns, which, place))
    ids = history.new_zeros(len(history), count, int(lengths.max()))
    ids[rows, which, place] = history[rows, columns]
    return ids, lengths
