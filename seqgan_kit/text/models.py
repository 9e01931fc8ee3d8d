"""Networks of a text run: built from its configuration, written as usual Hugging Face models, and loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoTokenizer

from seqgan_kit.errors import UserError
from seqgan_kit.files import read_json, write_json
from seqgan_kit.language import pretrained
from seqgan_kit.language.data import unknown_id
from seqgan_kit.language.words import check_words, words_of
from seqgan_kit.networks.saved import LOCAL, unloadable
from seqgan_kit.networks.text.class_head import ClassHead
from seqgan_kit.networks.text.language_models import LanguageModel, Unprompted
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.networks.text.residual_text import NoiseToText
from seqgan_kit.samples import rows
from seqgan_kit.text.network_config import DiscriminatorConfig, TextGeneratorConfig
from seqgan_kit.text.sampler import SETTINGS, Sampler, labels_of
from seqgan_kit.text.sources import Source
from seqgan_kit.tokens.discriminator import check_judged, compares_rows

Generator = LSTMGenerator | Unprompted | NoiseToText


def build_generator(config: TextGeneratorConfig, source: Source, precision: str = "fp32") -> Generator:
    """The network that the configuration asks for. Raises UserError."""
    how = pretrained.how(config, precision)
    given = config.model, config.config, config.lora, source.vocabulary, source.end, pretrained.CAUSAL, how
    found = pretrained.generator(*given, length=source.length)
    _check_labels(config.model, source, whole=isinstance(found, LSTMGenerator))
    check_words(config.model, SETTINGS, source.words)
    if isinstance(found, LSTMGenerator):
        return found
    if found is not None:
        if len(source.labels) > source.vocabulary:
            raise UserError(
                f"{source.name} has {len(source.labels)} labels, more than the generator has tokens to tell them by"
            )
        # a start token that is never emitted would be one more for the head: its place in the text tells it, too
        return Unprompted(found, source.start if source.start < source.vocabulary else 0)
    return LSTMGenerator(
        LSTMConfig(
            vocabulary=source.vocabulary,
            embedding=config.embedding,
            hidden=config.hidden,
            start=source.vocabulary if source.labels else source.start,  # a start token for each class, never emitted
            end=source.end,
            length=source.length,
            deviation=config.deviation,
            classes=len(source.labels),
        )
    )


def _check_labels(model: str | None, source: Source, whole: bool = False) -> None:
    """Raises UserError where a run's model that is trained on knows other classes; whole: also where it knows none."""
    if model is None:
        return
    labels = labels_of(_settings(Path(model)))
    if labels != source.labels and (labels or whole):
        told = [", ".join(some) or "none" for some in (labels, source.labels)]
        raise UserError(
            f"--generator.model {model}: it has the labels {told[0]}, {source.name} {told[1]}: give the same"
        )


def _settings(folder: Path) -> dict[str, Any]:
    """What `save_generator` writes beside a model; nothing where that is none of ours. Raises UserError."""
    return read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}


def is_ended(model: str | None) -> bool:
    """Whether a run's model that is trained on emits an end token; sequences of one length need none."""
    return model is None or _settings(Path(model)).get("end", 0) is not None


def check_length(option: str, most: int | None, source: Source) -> None:
    """Raises UserError where the generator can't read the longest text, held out or not, and its start token."""
    before, longest = 2 if source.labels else 1, max(source.length, source.held_out.ids.shape[1])
    if most is not None and longest + before > most:
        raise UserError(
            f"{option} takes {most} tokens, but texts have up to {longest} and {before} before them: give a "
            f"model that takes more, or --data.max_length {most - before - 1} --data.too_long cut"
        )


def save_generator(network: Generator, source: Source, folder: Path) -> None:
    """As `from_pretrained` reads it; text.json beside it says with which tokens a text begins and ends, and how long it
    may be."""
    if isinstance(network, Unprompted):
        pretrained.save(network.language, source.tokenizer, folder, source.end)
        start: int | None = network.first
    else:
        network.save_pretrained(folder)
        source.tokenizer.save_pretrained(folder)
        start = getattr(network.config, "start", None)
    labels = {"labels": list(source.labels)} if source.labels else {}
    more = labels | source.words.saved()
    write_json(folder / SETTINGS, {"start": start, "end": source.end, "length": source.length, **more})


def load_generator(folder: Path) -> Sampler:
    """What a run saved. Raises UserError where it can't be loaded."""
    found: Any = pretrained.load(folder, LSTMGenerator, NoiseToText)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        known = _settings(folder)
        if isinstance(found, LanguageModel):
            found, ends = Unprompted(found, int(known["start"])).eval(), known
        else:
            ends = found.config.to_dict()
        words = words_of(known)
        text = lambda ids: words.shown(str(tokenizer.decode(list(ids))))  # noqa: E731
        ids = lambda text: list(tokenizer(words.read(text), add_special_tokens=False)["input_ids"])  # noqa: E731
        by_token = not isinstance(found, NoiseToText)
        length, end = int(ends["length"]), ends["end"]
        return Sampler(found, text, ids, length, end, labels_of(known), unknown_id(tokenizer), by_token)
    except Exception as error:
        raise unloadable(folder, folder.parent, error) from error


def build_discriminator(config: DiscriminatorConfig, source: Source) -> nn.Module:
    """The network that the configuration asks for. Raises UserError."""

    def build() -> nn.Module:
        need = source.length, "texts"
        found = pretrained.encoder(config.model, config.config, source.vocabulary, need, source.text)
        network = config.network(source.vocabulary) if found is None else found
        if source.labels and compares_rows(network):
            raise UserError(
                "--data.labelled: a discriminator that compares rows tells no classes: leave out its kernels, or "
                "--data.labelled"
            )
        return ClassHead(network, len(source.labels)) if source.labels else network

    def check(network: nn.Module) -> None:
        some = rows(source.train, slice(2))
        judged: Tensor = network(some.ids, some.mask, *some.context)
        check_judged(judged[..., 0] if source.labels else judged, some)

    given = {"model": config.model, "config": config.config}
    return pretrained.checked_discriminator(given, "ids and mask", build, check)
