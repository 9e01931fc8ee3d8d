"""What a generator of replies is worth: likelihood, diversity, overlap, and what evaluators say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from seqgan_kit import progress
from seqgan_kit.dialogue import evaluators, metrics
from seqgan_kit.dialogue.evaluators import EvaluatorConfig, Split
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.verdict import Score, score_of
from seqgan_kit.errors import UserError
from seqgan_kit.files import record_line
from seqgan_kit.language import units
from seqgan_kit.language.likelihood import perplexity_score
from seqgan_kit.language.metrics import distinct, repetition
from seqgan_kit.language.units import Sentence, Unit
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.seq2seq import Seq2SeqGenerator
from seqgan_kit.report.measured import Measured
from seqgan_kit.samples import Replies, chunks, concatenate, map_tensors, rows, size, to
from seqgan_kit.tokens import sampling
from seqgan_kit.worlds.dialogues import Message, answer_shares

if TYPE_CHECKING:
    from seqgan_kit.dialogue.sources import Source

CHUNK = 256  # histories read at a time
LONGEST = 4  # n-grams of BLEU
Generator = Seq2SeqGenerator | LanguageModel


class Drawing(NamedTuple):
    """How a reply is drawn, as `sampling.sample` takes it."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


AS_LEARNED = Drawing()


class DialogueEvaluation:
    """Scores generators on one source. unit: what metrics count; None: words, or what `language.units.unit_of` says."""

    def __init__(self, source: Source, unit: Unit | None = None) -> None:
        self.source = source
        self._replies = [one.reply for one in source.held_out_exchanges]
        self.units = units.counted(units.unit_of(unit, source.name, human(source)), source.tokenizer)
        self.wanted = units.real_sentences(source, self.units, source.held_out, self._replies)
        self._unknown = units.has_unknown(source)
        self._rows = torch.zeros(0)  # log p of each human reply, as of the last call

    def measured(self, samples: int, tokens: str | None = None) -> Measured:
        """What the metrics of so many replies are of, for run.json. tokens: the kind of the tokenizer."""
        source = self.source
        changed = units.lossy(source, self.units, source.held_out, self.wanted)
        return Measured(
            self.units.unit,
            samples,
            len(self.wanted),
            units.fingerprint([*human(source), *self._replies]) if source.kind == "messages" else None,
            units.fingerprint(self._replies),
            tokens,
            units.unknown_rate(source.held_out, source.tokenizer) if self._unknown else None,
            [*([changed] if changed else []), *self._short(samples)],
            replies=True,
        )

    def _short(self, samples: int) -> list[str]:
        """Of BLEU-4 where most human replies have no four words in a row that could match."""
        wanted, unit = self.wanted[:samples], self.units.unit
        long = sum(len(reply) >= LONGEST for reply in wanted)
        if 2 * long >= len(wanted):
            return []
        which = f"{long} of {len(wanted)} human ones"
        return [f"bleu{LONGEST} is of replies of {LONGEST} {unit} or more, which {which} have"]

    def __call__(
        self, network: Generator, samples: int, drawing: Drawing = AS_LEARNED, chunk: int = CHUNK
    ) -> tuple[Metrics, list[str]]:
        """The metrics of replies to the first `samples` held-out histories, and these replies as strings.

        Perplexity is that of all held-out human replies, whatever the samples: of a token, and of a word (a character),
        ends of replies among them. All else counts words (characters, tokens: `units`), and an unknown token is one
        that no human says. BLEU is of each reply beside the human one. Of the shapes world, `said` is the share of
        replies that answer some question, `right` this one.
        """
        source = self.source
        asked = rows(source.held_out, slice(samples))
        drawn = draw(network, asked, source.length, source.end, drawing, chunk)
        texts = source.decode(drawn)
        ids = units.drawn_sentences(source, self.units, drawn, texts)
        found: Metrics = {"unknown": units.unknown_rate(drawn, source.tokenizer)} if self._unknown else {}
        per_token, self._rows = likelihoods(network, source.held_out, chunk)
        found |= self._perplexity(per_token)
        found |= {f"bleu{n}": metrics.reply_bleu(ids, self.wanted[: len(ids)], n) for n in (2, LONGEST)}
        found |= _alone(ids)
        if source.kind == "shapes":
            histories = [exchange.history for exchange in source.held_out_exchanges[: len(texts)]]
            found["said"], found["right"] = answer_shares(histories, texts)
        return found, list(map(source.template.words.shown, texts))

    def real(self, samples: int) -> Metrics:
        """What the human replies to the same histories score by themselves."""
        return _alone(self.wanted[:samples])

    def _perplexity(self, per_token: float) -> Metrics:
        """Of the human replies, by token and by what metrics count."""
        found, other = {"perplexity": per_token}, units.per(self.units.unit)
        if other is not None:
            found[f"perplexity{other}"] = float(torch.tensor(per_token, dtype=torch.float64) ** self._tokens())
        return found

    def _tokens(self) -> float:
        """In a word (a character) of the human replies."""
        return int(self.source.held_out.mask.sum()) / units.ended(self.wanted)

    def score(self, network: Generator, samples: int, name: str, found: Metrics | None = None) -> Score:
        """One of the metrics, with its error. found: what a call has just found, else as many replies are drawn."""
        if name.startswith("perplexity"):
            held_out, each = self.source.held_out, 1.0 if name == "perplexity" else self._tokens()
            return perplexity_score(self._rows if found else likelihoods(network, held_out)[1], held_out, each)
        return score_of(self(network, samples)[0] if found is None else found, name)

    def thorough(
        self,
        network: Generator,
        samples: int,
        config: EvaluatorConfig,
        seed: int,
        drawing: Drawing = AS_LEARNED,
        chunk: int = CHUNK,
    ) -> Metrics:
        """What evaluators say of replies to `samples` training histories, drawn by lot, and to the first `samples`
        held-out ones: adversarial success, and reliability with its four accuracies. Five evaluators are trained."""
        source = self.source
        lot = torch.randperm(size(source.train), generator=torch.Generator().manual_seed(seed))[:samples]
        human = Split(rows(source.train, lot), rows(source.held_out, slice(samples)))
        machine = Split(*(draw(network, some, source.length, source.end, drawing, chunk) for some in human))
        device = _ready(network)  # where evaluators are trained
        human, machine = (Split(*(to(some, device) for some in kind)) for kind in (human, machine))
        found = evaluators.evaluator_reliability_error(human, machine, config, seed, source.vocabulary)
        success = evaluators.adversarial_success(human, machine, config, seed, source.vocabulary)
        return {"adversarial_success": success, **found._asdict()}


def _alone(replies: Sequence[Sentence]) -> Metrics:
    """What needs no reference."""
    return {
        **{f"distinct{n}": distinct(replies, n) for n in (1, 2)},
        "length": metrics.mean_length(replies),
        "repetition": repetition(replies),
        "most_frequent": metrics.most_frequent(replies),
    }


def names(source: Source, unit: Unit) -> tuple[str, ...]:
    """The metrics that `DialogueEvaluation.score` knows; first the one that `--evaluation.best auto` is."""
    other = units.per(unit)
    found = ("perplexity", *([f"perplexity{other}"] if other else []), "bleu2", "bleu4")
    return (*found, "right", "said") if source.kind == "shapes" else found


def human(source: Source) -> list[str]:
    """The replies to train on, as they stood in the file."""
    return [one.reply for one in source.train_exchanges]


def check_evaluators(option: str, replies: int, source: Source) -> None:
    """Raises UserError where evaluators can't be trained on so many replies; 0 trains none."""
    if replies and (replies < 4 or size(source.train) < 4 or size(source.held_out) < 2):
        raise UserError(f"{option} {replies}: they need 4 replies, and 2 held-out ones; 0 leaves them out")


@torch.no_grad()
def draw(
    network: Generator,
    asked: Replies,
    length: int,
    end: int,
    drawing: Drawing = AS_LEARNED,
    chunk: int = CHUNK,
) -> Replies:
    """A reply of the network to each history of `asked`, `chunk` at a time; on the CPU."""
    device = _ready(network)
    parts = []
    total = -(-size(asked) // chunk)
    for part in progress.bar(chunks(asked, chunk), "drawing replies", total, " batches"):
        part = to(part, device)
        drawn = sampling.sample(sampling.with_context(network, part), size(part), length, end, *drawing)
        parts.append(map_tensors(replace(part, ids=drawn.ids, mask=drawn.mask), Tensor.cpu))
    return concatenate(parts)


def perplexity(network: Generator, replies: Replies, chunk: int = CHUNK) -> float:
    """exp of the mean negative log-likelihood of a token of these replies, their end tokens among them."""
    return likelihoods(network, replies, chunk)[0]


@torch.no_grad()
def likelihoods(network: Generator, replies: Replies, chunk: int = CHUNK) -> tuple[float, Tensor]:
    """The perplexity of these replies, and log p of each in nats, (replies,) float64 on the CPU."""
    device = _ready(network)
    total, found = torch.zeros((), dtype=torch.float64), []
    for part in chunks(replies, chunk):
        some = to(part, device)
        log_probs = network(some.ids, *some.context, mask=some.mask).cpu()
        total -= log_probs[part.mask].double().sum()
        found.append((log_probs * part.mask).double().sum(1))
    return float((total / replies.mask.sum()).exp()), torch.cat(found)


def table_of_replies(histories: Sequence[Sequence[Message]], replies: Sequence[str]) -> list[str]:
    """A line of each reply: the last message of its history, a tab, and the reply."""
    return [record_line(said[-1]["content"], reply) for said, reply in zip(histories, replies, strict=True)]


def _ready(network: Generator) -> torch.device:
    """Ends its training; -> where it is."""
    return next(network.eval().parameters()).device
