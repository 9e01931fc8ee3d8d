"""Models of Hugging Face as generators and discriminators of text: from a folder, a name, or a configuration alone."""

from __future__ import annotations

import difflib
import gc
import importlib
import inspect
import os
import re
import socket
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import huggingface_hub.constants
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import parsed, read_bytes
from seqgan_kit.language.adapters import adapt
from seqgan_kit.language.data import unknown_id
from seqgan_kit.networks.saved import LOCAL, NO_CODE, check_folder, check_saved, unloadable, why
from seqgan_kit.networks.text.checkpointing import checkpointed
from seqgan_kit.networks.text.language_models import LanguageModel, Unsuited
from seqgan_kit.networks.text.lstm import LSTMGenerator
from seqgan_kit.networks.text.reply_encoder import ReplyEncoder, RetokenisedEncoder
from seqgan_kit.networks.text.seq2seq import Seq2SeqGenerator

GENERATOR, DISCRIMINATOR = "--generator", "--discriminator"
CAUSAL, EITHER = "give a causal model", "give a causal model or an encoder-decoder"
OWN: dict[str, type[PreTrainedModel]] = {CAUSAL: LSTMGenerator, EITHER: Seq2SeqGenerator}
"""The networks of ours that can be trained on, in texts and in dialogue."""
TOKENIZER_FILES = ("*token*", "*vocab*", "*.model", "*.spm", "merges*", "*bpe*")
"""What the files are called, one of which a tokenizer has at least."""


def tokenizer_of(model: str | None) -> PreTrainedTokenizerBase | None:
    """The generator's own tokenizer; None where it begins anew. Raises UserError."""
    return None if model is None else _tokenizer(f"{GENERATOR}.model", model)


def limits_of(model: str | None, config: dict[str, Any] | None, wanted: str = EITHER) -> tuple[int | None, int | None]:
    """The most tokens that the generator reads and writes, if it says so; and how many different ones a model that does
    not begin anew can emit, which may be more than its tokenizer has. Raises UserError."""
    if model is not None and config is not None:
        raise UserError(f"{GENERATOR}.model and {GENERATOR}.config are both given: leave out one")
    if config is not None:
        found = _configured(GENERATOR, config, {})
        _kind(f"{GENERATOR}.config", found, wanted)
        return _context(found), None
    if model is None:
        return None, None
    found = _loaded(f"{GENERATOR}.model", model, AutoConfig)
    if type(found) is not OWN[wanted].config_class:
        _kind(f"{GENERATOR}.model {model}", found, wanted)
    return _context(found), getattr(found.get_text_config(decoder=True), "vocab_size", None)


def is_own(model: str | None) -> bool:
    """Whether a folder holds a network of ours, which is small, and not one of Hugging Face."""
    if model is None:
        return False
    try:
        known = parsed(read_bytes(Path(model) / "config.json"))
        return known["model_type"] in [kind.config_class.model_type for kind in OWN.values()]  # type: ignore[union-attr]
    except (OSError, ValueError, TypeError, KeyError):
        return False


@dataclass(frozen=True)
class How:
    """What a Hugging Face model computes by.

    attention: transformers' name of it; None is the model's own. dtype: of the weights. checkpointing: whether layers
    keep only their inputs for the gradient.
    """

    attention: str | None = None
    dtype: torch.dtype = torch.float32
    checkpointing: bool = False


def how(config: Any, precision: str) -> How:
    """As a generator's configuration asks for it, in this precision. Raises UserError where there is no such model.

    In bfloat16 the kernels behind sdpa round at other places for a token after a cache than for a whole text.
    """
    asked = {"attention": config.attention, "checkpointing": config.checkpointing or None}
    asked["dtype"] = None if config.dtype == "float32" else config.dtype
    given = [f"{GENERATOR}.{name} {value}" for name, value in asked.items() if value is not None]
    if given and config.config is None and (config.model is None or is_own(config.model)):
        raise UserError(
            f"{given[0]} is for Hugging Face models: name one by {GENERATOR}.model or {GENERATOR}.config, or leave it "
            "out"
        )
    low = precision == "bf16" or config.dtype == "bfloat16"
    attention: str | None = config.attention
    if attention is None and low and "attn_implementation" not in (config.config or {}):
        attention = "eager"
    return How(attention, getattr(torch, config.dtype), config.checkpointing)


def generator(
    model: str | None,
    config: dict[str, Any] | None,
    lora: int,
    vocabulary: int,
    end: int | None,
    wanted: str,
    how: How = How(),
    **options: Any,
) -> Any:
    """The generator that is loaded, one of ours or a `LanguageModel`, or such a model that begins anew; None where
    neither is asked for. Raises UserError.

    lora: rank of adapters. vocabulary: how many tokens it must know. end: its special token. wanted: CAUSAL or EITHER.
    how: a model of Hugging Face computes. options: of the configuration of one of ours, instead of what it has.
    """
    if model is not None:
        known = _loaded(f"{GENERATOR}.model", model, AutoConfig)
        if type(known) is OWN[wanted].config_class:
            return _own_model(model, lora, vocabulary, end, wanted, options)
        option = f"{GENERATOR}.model {model}"
        # not as it was saved: Adam's steps are too small for bfloat16; --run.precision says how it computes
        found = _loaded(f"{GENERATOR}.model", model, _kind(option, known, wanted), dtype=how.dtype)
        most = found.get_input_embeddings().num_embeddings
        if vocabulary > most:
            raise UserError(
                f"{option}: its tokenizer has {vocabulary} tokens, the model only {most}: give a tokenizer and "
                "a model that belong together"
            )
    elif config is not None:
        special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"), end)
        option = f"{GENERATOR}.config"
        made = _configured(GENERATOR, config, {"vocab_size": vocabulary, **special})
        found = _built(GENERATOR, _kind(option, made, wanted), made)
        nn.Module.to(found, dtype=how.dtype)
    elif lora:
        raise UserError(
            f"{GENERATOR}.lora {lora}: adapters are for Hugging Face models: give {GENERATOR}.model, or leave them out"
        )
    else:
        return None
    if how.attention is not None:
        _attend(found, how.attention)
    network = _suited(option, found, wanted)
    if lora:
        adapt(network, lora, f"{GENERATOR}.lora")
    if how.checkpointing:
        checkpointed(network.model)
    return network


def _attend(model: PreTrainedModel, attention: str) -> None:
    try:
        model.set_attn_implementation(attention)
    except Exception as error:  # whatever it makes of what is not known, or not installed
        raise UserError(f"{GENERATOR}.attention {attention}: {one_line(error, 300)}: give eager or sdpa") from error


def _own_model(model: str, lora: int, vocabulary: int, end: int | None, wanted: str, options: dict[str, Any]) -> Any:
    if lora:
        raise UserError(
            f"{GENERATOR}.lora {lora}: adapters are for Hugging Face models, and {model} holds an LSTM: leave them out"
        )
    found = _loaded(f"{GENERATOR}.model", model, OWN[wanted], dtype=torch.float32, **options)
    if found.config.vocabulary < vocabulary or found.config.end != end:
        raise UserError(
            f"{GENERATOR}.model {model}: the model has {found.config.vocabulary} tokens and ends with number "
            f"{found.config.end}, the text {vocabulary} and {end}: give what was saved together, and no other end"
        )
    return found


def encoder(
    model: str | None,
    config: dict[str, Any] | None,
    vocabulary: int,
    need: tuple[int, str],
    decode: Callable[[list[int]], str],
) -> nn.Module | None:
    """The discriminator that is loaded and reads by its own tokenizer, or begins anew and reads the generator's tokens;
    None where neither is asked for. Raises UserError.

    vocabulary: how many tokens it must know. need: the most tokens that there are to read, and which these are.
    decode: ids of the generator's tokens -> text.
    """
    if model is not None:
        found = _loaded(f"{DISCRIMINATOR}.model", model, AutoModel, dtype=torch.float32)
        return RetokenisedEncoder(
            found, _tokenizer(f"{DISCRIMINATOR}.model", model), decode, _context(found.config) or 512
        )
    if config is None:
        return None
    made = _configured(DISCRIMINATOR, config, {"vocab_size": vocabulary, "pad_token_id": None})
    room = _context(made)
    if room is not None and room < need[0]:
        raise UserError(
            f"{DISCRIMINATOR}.config takes {room} tokens, but {need[1]} have up to {need[0]}: "
            f"give max_position_embeddings {need[0]}, or shorten them"
        )
    return ReplyEncoder(_built(DISCRIMINATOR, AutoModel, made))


def checked_discriminator(
    given: dict[str, Any], wanted: str, build: Callable[[], nn.Module], check: Callable[[nn.Module], None]
) -> nn.Module:
    """What `build` makes. given: the ways to ask for it, by the names of their options, of which one at most is set.
    Raises UserError where it can't be built, or `check` raises; wanted: what its forward must take."""
    set_ones = [f"{DISCRIMINATOR}.{name}" for name, value in given.items() if value is not None]
    if len(set_ones) > 1:
        raise UserError(f"{' and '.join(set_ones)} are given: leave out all but one")
    try:
        found = build()
        if not any(parameter.requires_grad for parameter in found.parameters()):
            raise ValueError(f"{type(found).__name__} has no weights to train")
        with torch.no_grad():
            check(found.eval())
    except UserError:
        raise
    except Exception as error:  # whatever a model or a user's class makes of being asked in a way that is not its own
        option = set_ones[0] if set_ones else f"{DISCRIMINATOR}.network"
        other = "an encoder, such as a BERT" if set_ones else f"a class whose forward takes {wanted}"
        raise UserError(f"{option}: {one_line(error, 300)}: give {other}") from error
    return found.train()


def save(network: LanguageModel, tokenizer: PreTrainedTokenizerBase, folder: Path, end: int | None) -> None:
    """As `from_pretrained` reads it; with adapters, these merged into the weights, and by themselves in adapter/.

    Plain `generate` then draws what the kit draws, up to the token `end`: of a model without a generation_config, or
    with one whose top_k is None, it would draw from the 50 likeliest tokens, and never what was learned.
    """
    model = network.model
    if network.adapted is not None:
        network.adapted.save_pretrained(folder / "adapter")
        model = deepcopy(network.adapted).merge_and_unload()
    model.save_pretrained(folder)
    if network.adapted is not None:  # the merged copy lies in cycles, and is as large as the model
        model = network.model
        gc.collect()
    tokenizer.save_pretrained(folder)
    known, unknown = model.config.to_dict(), unknown_id(tokenizer)
    pad = known.get("pad_token_id")  # of some, the configuration has none
    GenerationConfig(
        do_sample=True,
        top_k=0,
        top_p=1.0,
        temperature=1.0,
        suppress_tokens=None if unknown is None else [unknown],
        bos_token_id=known.get("bos_token_id"),
        eos_token_id=end,
        pad_token_id=end if pad is None else pad,
        decoder_start_token_id=network.first if network.encodes else None,
    ).save_pretrained(folder)


def load(folder: Path, *own: type[PreTrainedModel]) -> PreTrainedModel | LanguageModel:
    """What a run saved, one of our `own` models or another one, to draw from. Raises UserError where it can't be."""
    check_saved(folder, folder.parent)
    try:
        found = AutoConfig.from_pretrained(folder, **LOCAL)
        for ours in own:
            if isinstance(found, ours.config_class):  # type: ignore[arg-type]
                return ours.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()
        kind = AutoModelForSeq2SeqLM if found.is_encoder_decoder else AutoModelForCausalLM
        return LanguageModel(kind.from_pretrained(folder, use_safetensors=True, **LOCAL)).eval()
    except Exception as error:
        raise unloadable(folder, folder.parent, error) from error


def _suited(option: str, model: PreTrainedModel, wanted: str) -> LanguageModel:
    """The model as a generator. Raises UserError where it can't be one, in words of ours: what a library says of a call
    that is not its own helps nobody."""
    such = "such as gpt2 or llama" if wanted == CAUSAL else "such as gpt2, llama, t5 or bart"
    try:
        network = LanguageModel(model)
        _check_draws(network.eval())
    except Unsuited as error:
        raise UserError(f"{option}: {error}: {wanted.replace('a causal', 'another causal')}, {such}") from error
    except Exception as error:  # whatever models make of sizes that do not go together
        raise UserError(
            f"{option}: {model.config.model_type} can't read a text ({one_line(error, 300)}): give sizes that go "
            f"together, or another model, {such}"
        ) from error
    return network


@torch.no_grad()
def _check_draws(network: LanguageModel) -> None:
    """Raises Unsuited where what is drawn token by token is not what is differentiated: a model that reads what comes
    after, or that keeps something else than keys and values."""
    padding = getattr(network.model.config, "pad_token_id", None)  # whose places some models do not count
    ids = torch.tensor([[token for token in range(4) if token != padding][:3]])
    turns = torch.zeros_like(ids)
    expected, found = network(ids, ids, turns)[0], []
    try:
        drawn = network.given(ids, turns)
        features, state = drawn.start(1)
        for token in ids[0]:
            found.append(drawn.logits(features).float().log_softmax(-1)[0, token])
            features, state = drawn.step(token[None], state)
    except Exception as error:  # each model's own, of a cache that it does not know
        raise Unsuited(
            f"{network.model.config.model_type} does not remember what it read by keys and values of every layer, by "
            "which alone the kit draws"
        ) from error
    close = 1e-3 if expected.dtype == network.head.weight.dtype else 0.1  # of weights in a lower precision
    if not torch.allclose(torch.stack(found), expected, rtol=close, atol=close):
        raise Unsuited(f"{type(network.model).__name__} does not draw what it reads")


def _kind(option: str, config: PretrainedConfig, wanted: str) -> Any:
    """The class that builds such a model. Raises UserError for what writes no text from left to right."""
    if config.model_type.startswith("seqgan_"):
        if config.model_type == "seqgan_noise_to_text":
            raise UserError(f"{option}: {config.model_type} has no likelihood, so it can't be trained on: {wanted}")
        use = "text" if wanted == CAUSAL else "dialogue"
        raise UserError(f"{option}: {config.model_type} is not of a run of {use}: {wanted}, or one of such a run")
    if config.is_encoder_decoder and wanted == CAUSAL:
        raise UserError(f"{option}: {config.model_type} is an encoder-decoder, and here is nothing to encode: {wanted}")
    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    encoder = not config.is_encoder_decoder and type(config) in AutoModelForMaskedLM._model_mapping
    if type(config) not in kind._model_mapping or (encoder and not getattr(config, "is_decoder", False)):
        raise UserError(f"{option}: {config.model_type} is neither causal nor an encoder-decoder: {wanted}")
    return kind


def _tokenizer(option: str, name: str) -> PreTrainedTokenizerBase:
    missing = f"{option} {name} has no tokenizer: save one beside the model, `tokenizer.save_pretrained`"
    try:
        found: PreTrainedTokenizerBase = _loaded(option, name, AutoTokenizer)
    except UserError as error:  # some say so in their own way, or stumble over the path that they have not got
        if Path(name).is_dir() and not any(list(Path(name).glob(kind)) for kind in TOKENIZER_FILES):
            raise UserError(missing) from error
        raise
    # where there is none, transformers make one up of little but special tokens
    if len(found.get_vocab().keys() - set(found.all_special_tokens)) < 2:
        raise UserError(missing)
    return found


def _loaded(option: str, name: str, kind: Any, **options: Any) -> Any:
    folder = Path(name).is_dir()
    if folder:
        check_folder(Path(name), f"{option} {name}")
    if kind not in (AutoConfig, AutoTokenizer):
        options["use_safetensors"] = True
    # the hub's own library would try for half a minute to reach it
    local = folder or not _hub_answers()
    try:
        return kind.from_pretrained(name, local_files_only=local, **NO_CODE, **options)
    except Exception as error:  # whatever the loaders make of a folder that is not as they expect
        if local and not folder and isinstance(error, OSError):
            raise UserError(
                f"{option} {name}, which is no folder here, nor a model that was downloaded before, and the hub can't "
                "be reached: give the path of a folder"
            ) from error
        here = "" if folder else ", which is no folder here"
        raise UserError(f"{option} {name}{here}: {why(error)}") from error


@cache
def _hub_answers() -> bool:
    """Whether models can be downloaded; taken for granted behind a proxy."""
    hub = urlparse(huggingface_hub.constants.ENDPOINT)
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    try:
        socket.create_connection((hub.hostname or "", hub.port or 443), timeout=3).close()
    except OSError:
        return False
    return True


def _configured(option: str, given: dict[str, Any], filled: dict[str, Any]) -> PretrainedConfig:
    kind = given.get("model_type")
    if not isinstance(kind, str):
        raise UserError(f"{option}.config {given}: name a model_type, such as gpt2, llama, t5, bart")
    if any("attn_implementation" in key and "/" in str(value) for key, value in given.items()):
        raise UserError(f"{option}.config {given}: its attn_implementation is code to download: leave it out")
    for key, value in given.items():
        if isinstance(value, int) and value < 0 and not key.endswith(("_id", "_index")):
            raise UserError(f"{option}.config: {key} {value}: give a number above 0")
    try:
        made = AutoConfig.for_model(**{**filled, **given})
    except Exception as error:
        raise UserError(f"{option}.config {given}: {one_line(error, 300)}") from error
    _check_keys(option, given, made)
    return made


def _check_keys(option: str, given: dict[str, Any], made: PretrainedConfig) -> None:
    """Raises UserError for a key that the model does not have: the configuration keeps it, and nothing reads it."""
    known = vars(type(made)()).keys() | made.attribute_map.keys()
    for key in given:
        if key in vars(made) and key not in known and not _reads(made, key):
            close = difflib.get_close_matches(key, [name for name in known if name[0] != "_"], n=1, cutoff=0.5)
            meant = f"did you mean {close[0]!r}?" if close else "leave it out"
            raise UserError(f"{option}.config: {made.model_type} has no {key!r}: {meant}")


def _reads(made: PretrainedConfig, key: str) -> bool:
    """Whether the model asks its configuration for a key that the configuration's class does not name (head_dim)."""
    module = type(made).__module__.replace(".configuration_", ".modeling_")
    try:
        code = inspect.getsource(importlib.import_module(module))
    except (ImportError, OSError, TypeError):
        return False
    return re.search(rf"""getattr\(\s*(self\.)?config,\s*["']{re.escape(key)}["']""", code) is not None


def _built(option: str, kind: Any, config: PretrainedConfig) -> PreTrainedModel:
    try:
        model: PreTrainedModel = kind.from_config(config, **NO_CODE)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if "allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        raise UserError(f"{option}.config of {config.model_type}: {one_line(error, 300)}") from error
    return model


def _context(config: PretrainedConfig) -> int | None:
    places = [getattr(config, name, None) for name in ("n_positions", "max_position_embeddings")]
    known = [place for place in places if isinstance(place, int) and place > 0]
    if not known or config.model_type in ("t5", "mt5", "umt5"):  # places that are told by distance have no last one
        return None
    # counted from after the padding's own place, where there is one
    return min(known) - (2 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0)
