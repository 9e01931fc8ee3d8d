"""What a text generator is worth: likelihood, quality and diversity, side by side, and what real text scores."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seqgan_kit.algorithms.distances import Moments, frechet_distance
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.verdict import Score, score_of
from seqgan_kit.language import metrics, units
from seqgan_kit.language.encoding import collector_paused
from seqgan_kit.language.likelihood import likelihood_score
from seqgan_kit.language.mauve import mauve
from seqgan_kit.language.ngram_distance import LEAST, MOST, Profile, ngram_distance
from seqgan_kit.language.ngram_distance import NAME as NGRAMS
from seqgan_kit.language.units import Sentence, Unit
from seqgan_kit.networks.text.residual_text import NoiseToText
from seqgan_kit.report.measured import Measured
from seqgan_kit.report.metrics import CLASSES, INTERVAL
from seqgan_kit.samples import LabelledTokens, Tokens, rows
from seqgan_kit.text.label_classifier import LabelClassifier, LabelClassifierConfig
from seqgan_kit.text.models import Generator
from seqgan_kit.text.sampler import draw
from seqgan_kit.text.sources import Source
from seqgan_kit.worlds.captions import grammatical_and_consistent
from seqgan_kit.worlds.oracle import log_likelihoods, negative_log_likelihood

ORDERS = (2, 3, 4, 5)
NOVEL = (2, 3, 4)
DIVERGENCES = (1, 2, 3)
LIKELIHOODS = ("nll_gen", "nll_word", "nll_character")
FEW = 10  # samples of a class: fewer are said

Embed = Callable[[list[str]], Tensor]
"""Sentences -> their vectors, (sentences, width)."""


class TextEvaluation:
    """Scores generators on one source, with reference counts computed once.

    embed: of sentences, for the metrics that compare vectors. judge: how the judge of classes learns, which it does as
    this is made, on the device. unit: what metrics count; None: words, or what `language.units.unit_of` says.
    """

    def __init__(
        self,
        source: Source,
        embed: Embed | None = None,
        judge: LabelClassifierConfig | None = None,
        unit: Unit | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.source, self.embed = source, embed
        self.units = units.counted(units.unit_of(unit, source.name, source.train_texts), source.tokenizer)
        self.references: metrics.References | None = None
        self._embedded: dict[int, Tensor] = {}
        self._profile: Profile | None = None
        self._last: Score | None = None  # the distance of n-grams that was found last
        self.judge: LabelClassifier | None = None
        if isinstance(source.train, LabelledTokens):
            self.judge = LabelClassifier(
                source.train, source.vocabulary, source.labels, judge or LabelClassifierConfig(), device
            )
        with collector_paused():
            self._count()
        self._unknown = units.has_unknown(source)

    def _count(self) -> None:
        """What samples are compared with: the real sentences and their n-grams."""
        source = self.source
        self._train = units.real_sentences(source, self.units, source.train, source.train_texts)
        self._held_out = units.real_sentences(source, self.units, source.held_out, source.held_out_texts)
        if source.kind in ("text", "tokens"):
            self.references = metrics.References(self._held_out, max(ORDERS))
        if source.kind != "oracle":
            self._training = metrics.References(self._train, max(NOVEL), clipped=False)
            self._sentences = set(self._train)
            self._counts = {n: metrics.ngrams(self._held_out, n) for n in DIVERGENCES}
            if len(self._held_out) >= LEAST:
                some = evenly(torch.arange(len(self._held_out)), min(len(self._held_out), MOST)).tolist()
                labels = _labels(source.held_out)
                chosen = None if labels is None else [labels[row] for row in some]
                self._profile = Profile([self._held_out[row] for row in some], chosen)

    def measured(self, samples: int, tokens: str | None = None) -> Measured:
        """What the metrics of so many samples are of, for run.json. tokens: the kind of the tokenizer."""
        source, held_out = self.source, self._held_out
        changed = units.lossy(source, self.units, source.held_out, held_out)
        texts = [source.train_texts or self._train, source.held_out_texts or held_out]
        own = units.fingerprint(texts[1])
        if source.oracle is not None:  # another machine's rounding may draw other sequences from the same one
            own = units.fingerprint(round(float(weight.double().sum()), 3) for weight in source.oracle.parameters())
        return Measured(
            self.units.unit,
            samples,
            len(held_out),
            units.fingerprint([*texts[0], *texts[1]]) if source.kind in ("text", "tokens") else None,
            own,
            tokens,
            units.unknown_rate(source.held_out, source.tokenizer) if self._unknown else None,
            [one for one in (changed, self._unscored(samples)) if one],
        )

    def _unscored(self, samples: int) -> str | None:
        """Which classes `class_accuracy` says nothing of, or little."""
        if not isinstance(self.source.held_out, LabelledTokens):
            return None
        counts = of_each(self.source.held_out.labels, samples).bincount(minlength=len(self.source.labels)).tolist()
        few = [f"{count} of {label!r}" for label, count in zip(self.source.labels, counts, strict=True) if count < FEW]
        return f"few samples of a class: {', '.join(few)}; class_accuracy says nothing of one without" if few else None

    def __call__(
        self, network: Generator, samples: int, temperature: float = 1.0, drawn: Tokens | None = None
    ) -> tuple[Metrics, list[str]]:
        """The metrics of `samples` sequences, and these sequences as strings.

        NLL in nats per token: `nll_gen`, which others call NLL-test, is of held-out data under the generator at that
        temperature, `nll_oracle` of samples under the oracle; `nll_word` is the first one per word, ends of sentences
        among them, whatever the tokenizer. All else counts words (characters, tokens: `units`), and an unknown token is
        one that no text has; `unknown` is its share in the samples. BLEU is against the held-out sentences, Self-BLEU
        leave-one-out, what is novel so against the training set, the Jensen-Shannon divergence of n-grams from the
        held-out sentences. Of labelled texts, samples have the labels of held-out ones, under which they are drawn, and
        `class_accuracy` says how many the judge finds to be of their class. Which there are depends on the source.
        drawn: the samples, where they are drawn already.
        """
        source = self.source
        drawn = self._draw(network, samples, temperature) if drawn is None else drawn
        found: Metrics = {}
        if not isinstance(network, NoiseToText):  # which has no likelihood
            found |= self._likelihood(negative_log_likelihood(network, source.held_out, temperature))
        texts = source.decode(drawn)
        ids = units.drawn_sentences(source, self.units, drawn, texts)
        return found | self._scores(drawn, texts, ids), source.shown(drawn)

    def score(self, network: Generator, samples: int, name: str, found: Metrics | None = None) -> Score:
        """One of the metrics, with its error. found: what a call has just found, else as many samples are drawn."""
        source = self.source
        if name in LIKELIHOODS:
            return likelihood_score(log_likelihoods(network, source.held_out), source.held_out, self._per(name))
        if name == NGRAMS:
            if found is None:
                drawn = self._draw(network, samples, 1.0)
                return self._distance(drawn, units.drawn_sentences(source, self.units, drawn, source.decode(drawn)))
            assert self._last is not None
            return self._last
        return score_of(self(network, samples)[0] if found is None else found, name)

    def real(self, samples: int, seed: int) -> Metrics:
        """The same of as many sentences of the training set, of which what is a distance is from the held-out ones.

        They are drawn by the seed; all where there are fewer. What is novel is so of the held-out sentences instead,
        the judge's accuracy is that on these, too, and no likelihood is known but the oracle's.
        """
        source = self.source
        count = len(source.train.ids)
        chosen = sorted(random.Random(seed).sample(range(count), min(samples, count)))
        some = rows(source.train, torch.tensor(chosen))
        scores = self._scores(some, source.decode(some), [self._train[row] for row in chosen])
        unseen = {} if source.kind == "oracle" else self._novelty(self._held_out)
        if self._unknown:
            unseen["unknown"] = units.unknown_rate(source.held_out, source.tokenizer)
        # the judge has learned from these
        scores = {name: value for name, value in scores.items() if not name.startswith("class_")}
        return scores | unseen | self._classes(source.held_out)

    def draw_share(self, network: Generator, samples: int, share: int, shares: int) -> Tokens:
        """One of so many shares of the samples that are drawn, as large as the others, on the CPU."""
        source, each, labels = self.source, -(-samples // shares), None
        if isinstance(source.held_out, LabelledTokens):
            places = torch.arange(share * each, (share + 1) * each) % samples
            labels = of_each(source.held_out.labels, samples)[places]
        return draw(network.eval(), each, source.length, source.end, 1.0, labels)

    def joined(self, ids: Tensor, mask: Tensor, samples: int) -> Tokens:
        """The samples from all shares, (rows, time), where padding may hold anything."""
        ids, mask = ids[:samples].masked_fill(~mask[:samples], self.source.end or 0), mask[:samples]
        if isinstance(self.source.held_out, LabelledTokens):
            return LabelledTokens(ids, mask, of_each(self.source.held_out.labels, samples))
        return Tokens(ids, mask)

    def _draw(self, network: Generator, samples: int, temperature: float) -> Tokens:
        source, labels = self.source, None
        if isinstance(source.held_out, LabelledTokens):
            labels = of_each(source.held_out.labels, samples)
        return draw(network.eval(), samples, source.length, source.end, temperature, labels)

    def _distance(self, drawn: Tokens, ids: Sequence[Sentence]) -> Score:
        assert self._profile is not None
        return ngram_distance(Profile(ids, _labels(drawn)), self._profile)

    def _per(self, name: str) -> float:
        """Tokens of held-out text in what a likelihood is per."""
        if name == "nll_gen":
            return 1.0
        return int(self.source.held_out.mask.sum()) / units.ended(self._held_out)

    def _likelihood(self, per_token: float) -> Metrics:
        """Of the held-out text, by token and by what metrics count."""
        found, other = {"nll_gen": per_token}, units.per(self.units.unit)
        if other is not None:
            found[f"nll{other}"] = per_token * int(self.source.held_out.mask.sum()) / units.ended(self._held_out)
        return found

    def _scores(self, drawn: Tokens, texts: list[str], ids: Sequence[Sentence]) -> Metrics:
        """ids: the texts as what metrics count."""
        source = self.source
        found: Metrics = {"unknown": units.unknown_rate(drawn, source.tokenizer)} if self._unknown else {}
        if source.oracle is not None:
            found["nll_oracle"] = negative_log_likelihood(source.oracle, drawn)
        if source.kind == "shapes":
            found["grammatical"], found["consistent"] = grammatical_and_consistent(texts)
        if self.references is not None:
            found |= {f"bleu{n}": value for n, value in metrics.bleu(ids, self.references, ORDERS).items()}
        if source.kind != "oracle":
            found |= {f"self_bleu{n}": value for n, value in metrics.self_bleu(ids, ORDERS).items()}
        found |= {f"distinct{n}": metrics.distinct(ids, n) for n in (1, 2)}
        if source.kind != "oracle":
            found["length"] = sum(map(len, ids)) / len(ids)
            found["repetition"] = metrics.repetition(ids)
            found |= self._novelty(ids)
            counts = {n: metrics.ngrams(ids, n) for n in DIVERGENCES}
            found |= {f"js{n}": metrics.jensen_shannon(counts[n], self._counts[n]) for n in DIVERGENCES}
            if self._profile is not None and len(ids) >= LEAST:
                self._last = self._distance(drawn, ids)
                found |= {NGRAMS: self._last.value, NGRAMS + INTERVAL: self._last.interval}
        return found | self._classes(drawn) | self._embedding(texts)

    def _classes(self, tokens: Tokens) -> Metrics:
        if self.judge is None:
            return {}
        assert isinstance(tokens, LabelledTokens)
        return self.judge(tokens)

    def _novelty(self, ids: Sequence[Sentence]) -> Metrics:
        found = metrics.novelty(ids, self._training, NOVEL)
        return {f"novel{n}": value for n, value in found.items()} | {
            "novel_sentences": metrics.new_sentences(ids, self._sentences)
        }

    def _embedding(self, texts: list[str]) -> Metrics:
        """Distances of the vectors from those of as many held-out sentences; of some where there are fewer of these."""
        if self.embed is None:
            return {}
        count = min(len(texts), len(self.source.held_out.ids))
        if count not in self._embedded:
            held_out = self.source.held_out  # over the whole file: it may be sorted
            some = rows(held_out, evenly(torch.arange(len(held_out.ids)), count))
            self._embedded[count] = self.embed(self.source.decode(some))
        places = evenly(torch.arange(len(texts)), count).tolist()
        real, fake = self._embedded[count], self.embed([texts[place] for place in places])
        moments = Moments(), Moments()
        for one, vectors in zip(moments, (real, fake), strict=True):
            one.add(vectors)
        return {"frechet_embedding": frechet_distance(*moments), "mauve": mauve(real, fake)}


def names(source: Source, unit: Unit, network: Generator, samples: int) -> tuple[str, ...]:
    """The metrics that `TextEvaluation.score` knows of a network; first the one that `--evaluation.best auto` is."""
    other, likelihood = units.per(unit), not isinstance(network, NoiseToText)
    found = [NGRAMS] if source.kind != "oracle" and min(samples, len(source.held_out.ids)) >= LEAST else []
    found += ["nll_gen", *([f"nll{other}"] if other else [])] if likelihood else []
    found += ["nll_oracle"] if source.oracle is not None else []
    found += ["grammatical", "consistent"] if source.kind == "shapes" else []
    found += [f"bleu{n}" for n in ORDERS] if source.kind in ("text", "tokens") else []
    return (*found, *([CLASSES] if isinstance(source.train, LabelledTokens) else []))


def _labels(tokens: Tokens) -> list[int] | None:
    """The class of each text, where it has one."""
    return tokens.labels.tolist() if isinstance(tokens, LabelledTokens) else None


def evenly(values: Tensor, count: int) -> Tensor:
    """So many of the sorted values, (rows,): in the shares that they have there."""
    return values[torch.arange(count) * len(values) // count]


def of_each(labels: Tensor, count: int) -> Tensor:
    """So many labels, (count,), in the shares that they have there, but at least one of each class if these suffice."""
    found = evenly(labels.sort().values, count)
    for lacking in sorted(set(labels.tolist()) - set(found.tolist())):
        counts = found.bincount()
        if counts.max() > 1:
            found[(found == counts.argmax()).nonzero()[0]] = lacking
    return found.sort().values
