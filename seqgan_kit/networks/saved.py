"""Networks and tokenizers in local folders, as `save_pretrained` wrote them: nothing pickled is loaded or downloaded.

Every mistake is a UserError that names the folder.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import check_file, check_inside, parsed, read_bytes

VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model")
NO_CODE: dict[str, Any] = {"trust_remote_code": False}
LOCAL: dict[str, Any] = {"local_files_only": True, **NO_CODE}
PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
CONVERT = """python -c "import torch; from safetensors.torch import save_file; \
save_file({k: v.clone() for k, v in torch.load('{}', weights_only=True).items()}, '{}', {'format': 'pt'})"\
"""


# Of anybody


def check_folder(folder: Path, name: str | None = None) -> None:
    """Raises UserError where the folder of a model or tokenizer asks for what lies elsewhere, or for code to be run.

    name: of the folder, for the message, with its option.
    """
    name = name or str(folder)
    check_inside(folder)
    for path in folder.glob("*"):
        if path.exists():
            check_file(path)
    if (folder / "adapter_config.json").is_file():  # transformers would take the model that it was made for
        raise UserError(f"{name} holds adapters: give the folder of the model that they are merged into")
    for index in folder.glob("*.index.json"):
        for part in _parts_of(index):
            if not isinstance(part, str) or Path(part).name != part:
                raise UserError(f"{index} names {part!r}, which is no file beside it: copy the model again")
    config = folder / "config.json"
    if config.is_file() and re.search(rb'attn_implementation\w*"\s*:\s*"[^"]*/', read_bytes(config)):
        raise UserError(f"{config}: attn_implementation names code to download, and the kit runs none: delete that key")
    pickled = sorted(path for pattern in PICKLED for path in folder.glob(pattern))
    if pickled and not any(folder.glob("*.safetensors")):
        command = CONVERT.replace("{}", str(pickled[0]), 1).replace("{}", str(folder / "model.safetensors"), 1)
        raise UserError(f"{name} holds pickled weights, which are not read: convert them, `{command}`")


def _parts_of(index: Path) -> list[Any]:
    try:
        return list(parsed(read_bytes(index))["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []  # told by who reads it


def why(error: BaseException) -> str:
    """What a loader says, in one line."""
    if "trust_remote_code" in str(error):
        return "it needs code that came along with it, and the kit runs none: give a model that transformers has itself"
    return one_line(error, 300)


# Of a run


def load_network(kind: Any, folder: Path, run: Path) -> Any:
    """For inference, with all of its weights. kind: the class of the network. run: whose it is."""
    check_saved(folder, run)
    try:
        network, missing = _weights(kind, folder)
        if missing:
            raise ValueError(f"it lacks {missing[0]}")
    except Exception as error:  # as many kinds as there are ways to damage it
        raise unloadable(folder, run, error) from error
    return network


UNLOADABLE = {
    "ignore_mismatched_sizes": "config.json has other sizes than the weights",
    "backend tokenizer": "its tokenizer's files are missing or damaged",
}
"""What transformers says, by a token of it, in words of ours."""


def check_saved(folder: Path, run: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no model: it is written at the end of each phase; train on, or resume {run}")
    check_folder(folder)


def unloadable(folder: Path, run: Path, error: BaseException) -> UserError:
    if isinstance(error, MemoryError) or any(words in str(error) for words in ("allocate memory", "Storage size")):
        return UserError(f"{folder} asks for more memory than there is: resume {run} to write it anew")
    known = (words for token, words in UNLOADABLE.items() if token in str(error))
    return UserError(f"{folder} can't be loaded ({next(known, why(error))}); resume {run} to write it anew")


# Of a user


def model_folder(path: str | Path) -> Path:
    """The folder, which must be one with a model."""
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{path} is no folder: give a local one that save_pretrained wrote (nothing is downloaded)")
    if not (folder / "config.json").is_file():
        raise UserError(f"{path} has no config.json: give a folder that save_pretrained wrote")
    check_folder(folder)
    return folder


def read_config(folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, **LOCAL)
    except Exception as error:  # as many kinds as there are models
        raise UserError(f"{folder}: transformers can't read config.json ({why(error)}): copy it again") from None


def load_frozen(kind: Any, folder: Path) -> tuple[Any, list[str]]:
    """A network in float32 that is not trained, and the names of the weights that the folder lacks."""
    try:
        network, missing = _weights(kind, folder, dtype=torch.float32)
    except Exception as error:  # as many kinds as there are models
        raise UserError(
            f"{folder}: transformers can't load a model from it ({why(error)}): copy it again, with config.json "
            f"and model.safetensors"
        ) from None
    return network.requires_grad_(False), missing


def load_tokenizer(folder: Path) -> Any:
    """Its padding is on the right, and is the end token where it has no other."""
    # without any of these, transformers makes a tokenizer that knows no word
    if not any(path for pattern in VOCABULARIES for path in folder.glob(pattern)):
        raise UserError(f"{folder} has no tokenizer.json: copy the model's tokenizer there")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    except Exception as error:  # tokenizers raises bare ones
        raise UserError(f"{folder}: transformers can't load a tokenizer ({why(error)}): copy it there") from None
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        raise UserError(f"{folder}: the tokenizer has no padding token: copy the model's whole folder again")
    if tokenizer.pad_token is None:  # it is masked, so any will do
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer


def _weights(kind: Any, folder: Path, **options: Any) -> tuple[Any, list[str]]:
    network, found = kind.from_pretrained(folder, **LOCAL, use_safetensors=True, output_loading_info=True, **options)
    return network.eval(), sorted(found["missing_keys"])
