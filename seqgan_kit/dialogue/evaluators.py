"""Evaluators: networks that are trained to tell two kinds of replies apart, and what their accuracy says of a machine.

Li et al. (2017), "Adversarial Learning for Neural Dialogue Generation", section 4. An evaluator is a new network of the
discriminator's kind that takes no part in the game; it is trained on replies to training histories and tested on those
to held-out ones. Adversarial success and the accuracy of machine against random belong together: sampling from a plain
language model has the paper's best adversarial success and its worst other accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit import progress
from seqgan_kit.bounds import Count, Rate, Share, Whole
from seqgan_kit.networks.text.hierarchical import HierarchicalDiscriminator
from seqgan_kit.samples import Replies, chunks, concatenate, rows, size, trimmed
from seqgan_kit.tokens.discriminator import call

CHUNK = 256  # replies judged at a time


@dataclass(frozen=True)
class EvaluatorConfig:
    """An evaluator, and its training by Adam.

    Args:
        steps: Batches on which an evaluator learns.
        batch_size: Replies in a batch of an evaluator, half of them of either kind.
        lr: Learning rate of an evaluator.
        embedding: Width of a token's embedding in an evaluator, a `HierarchicalDiscriminator`.
        hidden: Width of the states of an evaluator's LSTMs.
        dropout: Share of an evaluator's features that is dropped in training. With dropout it learns late what fits a
            history.
        kept_back: Share of the training replies that an evaluator is not trained on. It ends as it judged these best.
        looks: Number of times that an evaluator judges the replies that were kept back.
    """

    steps: Whole = 500
    batch_size: Count = 64
    lr: Rate = 5e-3
    embedding: Count = 64
    hidden: Count = 64
    dropout: Share = 0.0
    kept_back: Share = 0.1
    looks: Whole = 20


class Split(NamedTuple):
    """Replies of one kind: to train an evaluator on, to training histories, and to test it on, to held-out ones."""

    train: Replies
    test: Replies


class Reliability(NamedTuple):
    """ere: mean distance of the four accuracies from what they should be, which `SHOULD_BE` says."""

    human_versus_human: float
    machine_versus_machine: float
    human_versus_random: float
    machine_versus_random: float
    ere: float


SHOULD_BE = (0.5, 0.5, 1.0, 1.0)


def adversarial_success(human: Split, machine: Split, config: EvaluatorConfig, seed: int, vocabulary: int) -> float:
    """AdverSuc: 1 - the accuracy of telling a machine's replies from human ones (Li et al. 2017, sec. 4.1).

    Higher is better; 0.5 is the best that there is, but for chance.
    """
    return 1 - accuracy(human, machine, config, seed, vocabulary)


def machine_versus_random(human: Split, machine: Split, config: EvaluatorConfig, seed: int, vocabulary: int) -> float:
    """The accuracy of telling a machine's replies from human replies to other histories (Li et al. 2017, table 3).

    Higher is better: the replies fit their histories, where random ones do not. But whatever else tells the machine
    from a human raises it, too: of noise which no human would write it is 1. So read it with `adversarial_success`,
    or give the machine's own replies as the human ones, which leaves nothing but how they fit their histories.
    """
    generator = torch.Generator().manual_seed(seed)
    random = Split(shuffled(human.train, generator), shuffled(human.test, generator))
    return accuracy(machine, random, config, seed, vocabulary)


def evaluator_reliability_error(
    human: Split, machine: Split, config: EvaluatorConfig, seed: int, vocabulary: int
) -> Reliability:
    """ERE: how far evaluators are from the right answer where it is known (Li et al. 2017, sec. 4.2); lower is better.

    Human against human and machine against machine should be 0.5: halves of the replies, to different histories. Human
    against random human replies should be 1, and so should machine against random human replies; that this is the
    paper's fourth scenario is the least sure. It is below 1 where a reply fits other histories, too ("yes ."), which
    is no fault of the evaluator; and chance alone makes it some 0.2 / sqrt(test replies).
    """
    generator = torch.Generator().manual_seed(seed)

    def apart(kind: Split) -> float:
        train, test = halves(kind.train, generator), halves(kind.test, generator)
        return accuracy(Split(train[0], test[0]), Split(train[1], test[1]), config, seed, vocabulary)

    found = (
        apart(human),
        apart(machine),
        machine_versus_random(human, human, config, seed, vocabulary),
        machine_versus_random(human, machine, config, seed, vocabulary),
    )
    return Reliability(*found, sum(abs(a - b) for a, b in zip(found, SHOULD_BE, strict=True)) / len(found))


def accuracy(positive: Split, negative: Split, config: EvaluatorConfig, seed: int, vocabulary: int) -> float:
    """The test accuracy of a new evaluator, the mean of its shares right on either kind.

    It is trained where the replies are. Deterministic in the seed on a CPU, whose global generator stays as it is; on a
    GPU dropout draws from that one's. Raises ValueError where there are not two training replies and one to be tested
    on, of either kind.
    """
    if min(size(positive.train), size(negative.train)) < 2 or not (size(positive.test) and size(negative.test)):
        raise ValueError("an evaluator needs at least two training replies and one to be tested on, of either kind")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
        network = train(positive.train, negative.train, config, seed, vocabulary)
    right = judge(network, positive.test) > 0, judge(network, negative.test) <= 0
    return sum(float(kind.float().mean()) for kind in right) / 2


def train(
    positive: Replies, negative: Replies, config: EvaluatorConfig, seed: int, vocabulary: int
) -> HierarchicalDiscriminator:
    """A new evaluator, whose logit of a whole reply is high where it is of the positive kind."""
    generator = torch.Generator().manual_seed(seed)
    positive, positive_kept = _divided(positive, config.kept_back, seed)
    negative, negative_kept = _divided(negative, config.kept_back, seed)
    device = positive.ids.device
    network = HierarchicalDiscriminator(vocabulary, config.embedding, config.hidden, config.dropout).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, fused=True)
    best, least = network.state_dict(), float("inf")
    half = max(1, config.batch_size // 2)
    for step in progress.bar(range(1, config.steps + 1), "training an evaluator", unit=" steps"):
        # one point for both kinds: where they are replies to the same histories, a history is in a batch with both
        where = torch.rand(half, generator=generator).to(device)
        chosen = [rows(kind, (where * size(kind)).long()) for kind in (positive, negative)]
        logits = call(network.train(), trimmed(concatenate(chosen)))
        loss = F.softplus(torch.cat([-logits[:half], logits[half:]])).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        if step * config.looks // config.steps > (step - 1) * config.looks // config.steps:
            kept = F.softplus(-judge(network, positive_kept)).mean() + F.softplus(judge(network, negative_kept)).mean()
            if (now := float(kept)) < least:
                best, least = {name: weight.clone() for name, weight in network.state_dict().items()}, now
    network.load_state_dict(best)
    return network.eval()


@torch.no_grad()
def judge(network: HierarchicalDiscriminator, replies: Replies) -> Tensor:
    """The logit of each whole reply: (batch,)."""
    network.eval()
    return torch.cat([call(network, part) for part in chunks(replies, CHUNK)])


def shuffled(replies: Replies, generator: torch.Generator) -> Replies:
    """To each history the reply of another row. Raises ValueError for fewer than 2 rows.

    No row keeps its own, but the other's may read the same.
    """
    if size(replies) < 2:
        raise ValueError("one reply can't be exchanged with another: give at least 2")
    order = torch.randperm(size(replies), generator=generator)  # one cycle through all rows
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    other = other.to(replies.ids.device)
    return replace(replies, ids=replies.ids[other], mask=replies.mask[other])


def halves(replies: Replies, generator: torch.Generator) -> tuple[Replies, Replies]:
    """Two random halves, of an odd number without the last. Raises ValueError for fewer than 2 rows."""
    if size(replies) < 2:
        raise ValueError("one reply has no halves: give at least 2")
    order = torch.randperm(size(replies), generator=generator).to(replies.ids.device)
    half = len(order) // 2
    return rows(replies, order[:half]), rows(replies, order[half : 2 * half])


def _divided(replies: Replies, share: float, seed: int) -> tuple[Replies, Replies]:
    """What is trained on, and what is kept back. Of two kinds of replies to the same histories, to the same ones."""
    order = torch.randperm(size(replies), generator=torch.Generator().manual_seed(seed)).to(replies.ids.device)
    count = min(max(1, round(share * len(order))), len(order) - 1)
    return rows(replies, order[count:]), rows(replies, order[:count])
