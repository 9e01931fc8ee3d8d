"""What a text generator is worth: likelihood, quality and diversity, side by side."""

from __future__ import annotations

from torch import Tensor

from seqgan_kit import sampling
from seqgan_kit.learning import Metrics
from seqgan_kit.networks.residual_text import NoiseToText
from seqgan_kit.samples import Tokens, concatenate, map_tensors
from seqgan_kit.text import metrics
from seqgan_kit.text.models import Generator
from seqgan_kit.text.sources import Source
from seqgan_kit.worlds.captions import grammatical_and_consistent
from seqgan_kit.worlds.oracle import negative_log_likelihood

ORDERS = (2, 3, 4, 5)
BLOCK = 2048  # sequences drawn at a time


class Evaluation:
    """Scores generators on one source, with reference counts computed once."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.references: metrics.References | None = None
        if source.kind in ("text", "tokens"):
            self.references = metrics.References([tuple(row) for row in source.ids(source.held_out)], max(ORDERS))

    def __call__(self, network: Generator, samples: int, temperature: float = 1.0) -> tuple[Metrics, list[str]]:
        """The metrics of `samples` sequences, and these sequences as strings.

        NLL in nats per token (NLL-gen is of held-out data under the generator, NLL-oracle of samples under the oracle),
        BLEU against the held-out sentences, Self-BLEU leave-one-out. Which there are depends on the source.
        """
        source = self.source
        drawn = draw(network.eval(), samples, source.length, source.end, temperature)
        ids = [tuple(row) for row in source.ids(drawn)]
        texts = source.decode(drawn)
        found: Metrics = {}
        if not isinstance(network, NoiseToText):  # which has no likelihood
            found["nll_gen"] = negative_log_likelihood(network, source.held_out)
        if source.oracle is not None:
            found["nll_oracle"] = negative_log_likelihood(source.oracle, drawn)
        if source.kind == "shapes":
            found["grammatical"], found["consistent"] = grammatical_and_consistent(texts)
        if self.references is not None:
            found |= {f"bleu{n}": value for n, value in metrics.bleu(ids, self.references, ORDERS).items()}
        if source.kind != "oracle":
            found |= {f"self_bleu{n}": value for n, value in metrics.self_bleu(ids, ORDERS).items()}
        found |= {f"distinct{n}": metrics.distinct(ids, n) for n in (1, 2)}
        return found, texts


def draw(network: Generator, count: int, length: int, end: int | None, temperature: float = 1.0) -> Tokens:
    """`count` sequences of at most `length` tokens, each up to and with its end token, on the CPU."""
    parts = []
    for start in range(0, count, BLOCK):
        part = sampling.sample(network, min(BLOCK, count - start), length, end, temperature)
        parts.append(map_tensors(part, Tensor.cpu))
    return concatenate(parts)
