"""Networks of a dialogue run: built from its configuration, written as usual Hugging Face models, and loaded again."""

from __future__ import annotations

import importlib.util
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from seqgan_kit.dialogue.config import DiscriminatorConfig, GeneratorConfig
from seqgan_kit.dialogue.sources import Source
from seqgan_kit.dialogue.template import Template
from seqgan_kit.errors import UserError
from seqgan_kit.networks.judge import Judge
from seqgan_kit.networks.language_models import LanguageModel
from seqgan_kit.networks.reply_encoder import ReplyEncoder, RetokenisedEncoder
from seqgan_kit.networks.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.provenance import write_json
from seqgan_kit.samples import rows

SETTINGS = "dialogue.json"
GENERATOR, DISCRIMINATOR = "--generator", "--discriminator"
OTHERS = "give a causal model or an encoder-decoder"


def tokenizer_of(config: GeneratorConfig) -> PreTrainedTokenizerBase | None:
    """The model's own tokenizer; None where the model begins anew. Raises UserError."""
    if config.model is None:
        return None
    return _tokenizer(f"{GENERATOR}.model", config.model)


def limits_of(config: GeneratorConfig) -> tuple[int | None, int | None]:
    """The most tokens that the model takes, history and reply together, if it says so; and how many different ones a
    model that does not begin anew can emit, which may be more than its tokenizer has. Raises UserError."""
    if config.model is not None and config.config is not None:
        raise UserError(f"{GENERATOR}.model and {GENERATOR}.config are both given: leave out one")
    if config.config is not None:
        found = _configured(GENERATOR, config.config, {})
        _kind(f"{GENERATOR}.config", found)
        return _context(found), None
    if config.model is None:
        return None, None
    found = _loaded(f"{GENERATOR}.model", config.model, AutoConfig)
    _kind(f"{GENERATOR}.model {config.model}", found)
    return _context(found), getattr(found.get_text_config(decoder=True), "vocab_size", None)


def build_generator(config: GeneratorConfig, source: Source) -> Seq2SeqGenerator | LanguageModel:
    """The network that the configuration asks for. Raises UserError."""
    if config.model is not None:
        option = f"{GENERATOR}.model {config.model}"
        kind = _kind(option, _loaded(f"{GENERATOR}.model", config.model, AutoConfig))
        # not as it was saved: Adam's steps are too small for bfloat16; --run.precision says how it computes
        model = _loaded(f"{GENERATOR}.model", config.model, kind, dtype=torch.float32)
        most = model.get_input_embeddings().num_embeddings
        if source.vocabulary > most:
            raise UserError(
                f"{option}: its tokenizer has {source.vocabulary} tokens, the model only {most}: give a tokenizer and "
                "a model that belong together"
            )
    elif config.config is not None:
        special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), source.end)
        special["decoder_start_token_id"] = source.end
        option = f"{GENERATOR}.config"
        found = _configured(GENERATOR, config.config, {"vocab_size": source.vocabulary, **special})
        model = _built(GENERATOR, _kind(option, found), found)
    else:
        if config.lora:
            raise UserError(
                f"{GENERATOR}.lora {config.lora}: adapters are for Hugging Face models, give {GENERATOR}.model"
            )
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
    try:
        network = LanguageModel(model)
        _check_draws(network.eval())
    except Exception as error:  # whatever models make of being asked in a way that is not theirs
        raise UserError(f"{option}: {_line(error)}: {OTHERS}") from error
    if config.lora:
        _adapt(network, config.lora)
    return network


@torch.no_grad()
def _check_draws(network: LanguageModel) -> None:
    """Raises ValueError where what is drawn token by token is not what is differentiated: a model that reads what comes
    after, or that keeps something else than keys and values."""
    ids = torch.tensor([[0, 1, 2]])
    turns = torch.zeros_like(ids)
    expected, drawn = network(ids, ids, turns)[0], network.given(ids, turns)
    features, state = drawn.start(1)
    for t, token in enumerate(ids[0]):
        found = drawn.logits(features).float().log_softmax(-1)[0, token]
        if not torch.isclose(found, expected[t], rtol=1e-3, atol=1e-3):
            raise ValueError(f"{type(network.model).__name__} does not draw what it reads")
        features, state = drawn.step(token[None], state)


def _adapt(network: LanguageModel, rank: int) -> None:
    """Adapters in all linear layers but the head; only they are trained."""
    if importlib.util.find_spec("peft") is None:
        raise UserError(f"{GENERATOR}.lora {rank} needs peft: pip install 'seqgan_kit[lora]'")
    try:
        import peft  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError(
            f"{GENERATOR}.lora {rank}: peft can't be imported ({_line(error)}): pip install -U 'seqgan_kit[lora]'"
        ) from error

    network.adapted = peft.get_peft_model(network.model, peft.LoraConfig(r=rank, target_modules="all-linear"))


def save_generator(network: Seq2SeqGenerator | LanguageModel, source: Source, folder: Path) -> None:
    """As `from_pretrained` reads it; with adapters, these merged into the weights, and by themselves in adapter/.

    dialogue.json beside it says how replies were made: their end token's id, and the most tokens of either part.
    """
    model = network if isinstance(network, Seq2SeqGenerator) else network.model
    if isinstance(network, LanguageModel) and network.adapted is not None:
        network.adapted.save_pretrained(folder / "adapter")
        model = deepcopy(network.adapted).merge_and_unload()
    model.save_pretrained(folder)
    source.tokenizer.save_pretrained(folder)
    known = {"end": source.end, "max_history": source.template.max_history, "length": source.length}
    write_json(folder / SETTINGS, known)


def load_generator(run: Path) -> Seq2SeqGenerator | LanguageModel:
    """The model of a run. Raises UserError where there is none."""
    folder = run / "model"
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no model: it is written at the end of each phase; train on, or resume {run}")
    try:
        found = AutoConfig.from_pretrained(folder, local_files_only=True)
        if isinstance(found, Seq2SeqConfig):
            return Seq2SeqGenerator.from_pretrained(folder, local_files_only=True).eval()
        kind = AutoModelForSeq2SeqLM if found.is_encoder_decoder else AutoModelForCausalLM
        return LanguageModel(kind.from_pretrained(folder, local_files_only=True)).eval()
    except Exception as error:
        raise UserError(f"{folder} can't be loaded ({_line(error)}); resume {run} to write it anew") from error


def load_template(run: Path) -> tuple[Template, int]:
    """How a run's messages become tokens, and the most tokens of a reply. Raises UserError."""
    folder = run / "model"
    try:
        known = json.loads((folder / SETTINGS).read_text("utf-8"))
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return Template(tokenizer, int(known["end"]), int(known["max_history"])), int(known["length"])
    except Exception as error:
        raise UserError(f"{folder} can't be loaded ({_line(error)}); resume {run} to write it anew") from error


def width_of(generator: Seq2SeqGenerator | LanguageModel, source: Source) -> int:
    """The width of its features."""
    some, device = rows(source.train, slice(1)), next(generator.parameters()).device
    with torch.no_grad():
        features = generator.eval().features(*(part.to(device) for part in (some.ids, *some.context)))
    return features.shape[-1]


def build_discriminator(
    config: DiscriminatorConfig, source: Source, generator: Seq2SeqGenerator | LanguageModel
) -> nn.Module:
    """The network that the configuration asks for. Raises UserError."""
    ways = {"model": config.model, "config": config.config, "from_generator": config.from_generator or None}
    given = [f"{DISCRIMINATOR}.{name}" for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} are given: leave out all but one")
    try:
        found = _discriminator(config, source, generator)
        _check_judges(found, source)
    except UserError:
        raise
    except Exception as error:  # whatever a model or a user's class makes of being asked in a way that is not its own
        option = given[0] if given else f"{DISCRIMINATOR}.network"
        wanted = "an encoder, such as a BERT" if given else "a class whose forward takes ids, mask, history and turns"
        raise UserError(f"{option}: {_line(error)}: give {wanted}") from error
    return found


@torch.no_grad()
def _check_judges(network: nn.Module, source: Source) -> None:
    """Raises ValueError, or whatever the network raises, where it does not judge replies."""
    some = rows(source.train, slice(2))
    logits = network.eval()(some.ids, some.mask, *some.context)
    network.train()
    if logits.shape not in (some.ids.shape[:1], some.ids.shape):
        raise ValueError(
            f"it gives {tuple(logits.shape)} for replies {tuple(some.ids.shape)}, not a logit a row or token"
        )


def _discriminator(
    config: DiscriminatorConfig, source: Source, generator: Seq2SeqGenerator | LanguageModel
) -> nn.Module:
    if config.from_generator:
        return Judge(generator, width_of(generator, source))
    if config.model is not None:
        encoder = _loaded(f"{DISCRIMINATOR}.model", config.model, AutoModel, dtype=torch.float32)
        tokenizer = _tokenizer(f"{DISCRIMINATOR}.model", config.model)
        length = _context(encoder.config) or 512
        return RetokenisedEncoder(encoder, tokenizer, source.template.text, length)
    if config.config is not None:
        special = {"vocab_size": source.vocabulary, "pad_token_id": None}
        found = _configured(DISCRIMINATOR, config.config, special)
        room, need = _context(found), source.template.max_history + source.length
        if room is not None and room < need:
            raise UserError(
                f"{DISCRIMINATOR}.config takes {room} tokens, but history and reply have up to {need}: "
                f"give max_position_embeddings {need}, or a lower --data.max_history"
            )
        return ReplyEncoder(_built(DISCRIMINATOR, AutoModel, found))
    return config.network(source.vocabulary)


def _kind(option: str, config: PretrainedConfig) -> Any:
    """The class that builds such a model. Raises UserError for what writes no text from left to right."""
    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    encoder = not config.is_encoder_decoder and type(config) in AutoModelForMaskedLM._model_mapping
    if type(config) not in kind._model_mapping or (encoder and not getattr(config, "is_decoder", False)):
        raise UserError(f"{option}: {config.model_type} is neither causal nor an encoder-decoder: {OTHERS}")
    return kind


def _tokenizer(option: str, name: str) -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = _loaded(option, name, AutoTokenizer)
    # where there is none, transformers make one up of little but special tokens
    if len(found.get_vocab().keys() - set(found.all_special_tokens)) < 2:
        raise UserError(f"{option} {name} has no tokenizer: save one beside the model, `tokenizer.save_pretrained`")
    return found


def _loaded(option: str, name: str, kind: Any, **options: Any) -> Any:
    try:
        return kind.from_pretrained(name, **options)
    except Exception as error:  # whatever the loaders make of a folder that is not as they expect
        here = "" if Path(name).is_dir() else ", which is no folder here"
        raise UserError(f"{option} {name}{here}: {_line(error)}") from error


def _configured(option: str, given: dict[str, Any], filled: dict[str, Any]) -> PretrainedConfig:
    kind = given.get("model_type")
    if not isinstance(kind, str):
        raise UserError(f"{option}.config {given}: name a model_type, such as gpt2, llama, t5, bart")
    try:
        return AutoConfig.for_model(**{**filled, **given})
    except Exception as error:
        raise UserError(f"{option}.config {given}: {_line(error)}") from error


def _built(option: str, kind: Any, config: PretrainedConfig) -> PreTrainedModel:
    try:
        model: PreTrainedModel = kind.from_config(config)
    except Exception as error:
        raise UserError(f"{option}.config of {config.model_type}: {_line(error)}") from error
    return model


def _context(config: PretrainedConfig) -> int | None:
    places = [getattr(config, name, None) for name in ("n_positions", "max_position_embeddings")]
    known = [place for place in places if isinstance(place, int) and place > 0]
    if not known or config.model_type in ("t5", "mt5", "umt5"):  # places that are told by distance have no last one
        return None
    # counted from after the padding's own place, where there is one
    return min(known) - (2 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
