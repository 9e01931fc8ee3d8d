"""Networks of a dialogue run: built from its configuration, written as usual Hugging Face models, and loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoTokenizer

from seqgan_kit.dialogue.config import DialogueGeneratorConfig, DiscriminatorConfig
from seqgan_kit.dialogue.sources import Source
from seqgan_kit.dialogue.template import Template
from seqgan_kit.files import parsed, read_bytes, write_json
from seqgan_kit.language import pretrained
from seqgan_kit.language.training import features_width
from seqgan_kit.language.words import check_words, words_of
from seqgan_kit.networks.saved import LOCAL, unloadable
from seqgan_kit.networks.text.generator_discriminator import GeneratorDiscriminator
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.samples import rows
from seqgan_kit.tokens.discriminator import check_judged

SETTINGS = "dialogue.json"
EXAMPLES = 200  # histories on which a chat template is tried


def build_generator(
    config: DialogueGeneratorConfig, source: Source, precision: str = "fp32"
) -> Seq2SeqGenerator | LanguageModel:
    """The network that the configuration asks for. Raises UserError."""
    check_words(config.model, SETTINGS, source.template.words)
    how = pretrained.how(config, precision)
    given = config.model, config.config, config.lora, source.vocabulary, source.end, pretrained.EITHER, how
    found: Seq2SeqGenerator | LanguageModel | None = pretrained.generator(*given, dropout=config.dropout)
    if found is not None:
        return found
    return Seq2SeqGenerator(
        Seq2SeqConfig(
            vocabulary=source.vocabulary,
            embedding=config.embedding,
            hidden=config.hidden,
            layers=config.layers,
            start=source.end,
            end=source.end,
            dropout=config.dropout,
        )
    )


def save_generator(network: Seq2SeqGenerator | LanguageModel, source: Source, folder: Path) -> None:
    """As `from_pretrained` reads it; with adapters, these merged into the weights, and by themselves in adapter/.

    dialogue.json beside it says how replies were made: their end token's id, and the most tokens of either part.
    """
    tokenizer = source.template.saved_tokenizer([one.history for one in source.train_exchanges[:EXAMPLES]])
    if isinstance(network, LanguageModel):
        pretrained.save(network, tokenizer, folder, source.end)
    else:
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    known = {"end": source.end, "max_history": source.template.max_history, "length": source.length}
    write_json(folder / SETTINGS, known | source.template.words.saved())


def load_generator(run: Path, folder: Path | None = None) -> Seq2SeqGenerator | LanguageModel:
    """The model of a run, or one that it keeps in another folder. Raises UserError where there is none."""
    found: Any = pretrained.load(folder or run / "model", Seq2SeqGenerator)
    return found


def load_template(run: Path, folder: Path | None = None) -> tuple[Template, int]:
    """How a run's messages become tokens, and the most tokens of a reply; folder: see there. Raises UserError."""
    folder = folder or run / "model"
    try:
        known = parsed(read_bytes(folder / SETTINGS))
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        end, most = int(known["end"]), int(known["max_history"])
        return Template(tokenizer, end, most, words_of(known)), int(known["length"])
    except Exception as error:
        raise unloadable(folder, folder.parent, error) from error


def build_discriminator(
    config: DiscriminatorConfig, source: Source, generator: Seq2SeqGenerator | LanguageModel
) -> nn.Module:
    """The network that the configuration asks for. Raises UserError."""

    def build() -> nn.Module:
        if config.from_generator:
            return GeneratorDiscriminator(generator, features_width(generator, source.train))
        need = source.template.max_history + source.length, "history and reply"
        found = pretrained.encoder(config.model, config.config, source.vocabulary, need, source.template.text)
        return config.network(source.vocabulary) if found is None else found

    def check(network: nn.Module) -> None:
        some = rows(source.train, slice(2))
        check_judged(network(some.ids, some.mask, *some.context), some)

    given = {"model": config.model, "config": config.config, "from_generator": config.from_generator or None}
    return pretrained.checked_discriminator(given, "ids, mask, history and turns", build, check)
