"""An independent judge of classes: a classifier that learns from real text alone, and has no part in the game."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit import progress
from seqgan_kit.bounds import Count, Rate, Share
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.stream import Stream
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.samples import LabelledTokens, chunks, size, to

CHUNK = 256  # texts classified at a time
SEED = 20_140_825  # its own: the same judge for all seeds of a run


@dataclass(frozen=True)
class LabelClassifierConfig:
    """The classifier that says of which class a text is, after Kim 2014 (CNN-rand), and its training by Adam.

    Its windows are narrower than the paper's 3, 4, 5, and its embeddings begin smaller than TextCNN's: with few and
    short sentences it is right more often so.

    Args:
        steps: Batches on which the judge of classes learns.
        batch_size: Sentences of the training set in a batch of the judge.
        lr: Learning rate of the judge of classes.
        filters: Number of filters of each of the judge's windows, which are 1, 2 and 3 tokens wide.
        dropout: Share of the judge's features that is dropped in training.
    """

    steps: Count = 400
    batch_size: Count = 64
    lr: Rate = 1e-3
    filters: Count = 64
    dropout: Share = 0.5


class LabelClassifier:
    """Trained as it is made, on the device; the CPU's global random numbers stay as they are.

    train: real texts. vocabulary: number of token ids. labels: the names of their classes.
    """

    def __init__(
        self,
        train: LabelledTokens,
        vocabulary: int,
        labels: tuple[str, ...],
        config: LabelClassifierConfig,
        device: torch.device | str = "cpu",
    ) -> None:
        self.labels, self.device = labels, torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(SEED)  # of the CPU alone: a GPU's would not come back
            self.network = _classifier(vocabulary, len(labels), config).to(self.device)
            _learn(self.network, train, config, self.device)

    def __call__(self, texts: LabelledTokens) -> Metrics:
        """The share of texts that are found to be of their class: of all, and of each class that there is.

        It can be no better than what the judge makes of real texts that it has not seen.
        """
        right = (self.classes(texts) == texts.labels).float()
        found = {"class_accuracy": right.mean().item()}
        for i, label in enumerate(self.labels):
            own = texts.labels == i
            if own.any():
                found[f"class_accuracy_{label}"] = right[own].mean().item()
        return found

    @torch.no_grad()
    def classes(self, texts: LabelledTokens) -> Tensor:
        """The likeliest class of each, (batch,)."""
        parts = (to(part, self.device) for part in chunks(texts, CHUNK))
        return torch.cat([self.network(part.ids, part.mask).argmax(1) for part in parts]).cpu()


def _classifier(vocabulary: int, classes: int, config: LabelClassifierConfig) -> nn.Module:
    network = TextCNN(vocabulary, windows=(1, 2, 3), filters=(config.filters,) * 3, dropout=config.dropout)
    nn.init.normal_(network.embedding.weight, std=0.1)
    network.output = nn.Linear(network.output.in_features, classes)
    return network


def _learn(network: nn.Module, train: LabelledTokens, config: LabelClassifierConfig, device: torch.device) -> None:
    optimizer = torch.optim.Adam(network.parameters(), config.lr)
    batches = Stream(train, SEED, device=device)
    for _ in progress.bar(range(config.steps), "learning classes", unit=" steps"):
        some = batches.take(min(config.batch_size, size(train)))
        assert isinstance(some, LabelledTokens)
        F.cross_entropy(network(some.ids, some.mask), some.labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    network.eval()
