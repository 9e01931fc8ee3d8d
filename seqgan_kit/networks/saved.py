"""Networks in the folder of a run, as `save_pretrained` wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqgan_kit.errors import UserError, one_line


def load_network(kind: Any, folder: Path, run: Path) -> Any:
    """For inference, with all of its weights; nothing pickled is loaded. kind: the class of the network.

    Raises UserError where it is not there, damaged, or no such network.
    """
    check_saved(folder, run)
    try:
        network, found = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        if missing := sorted(found["missing_keys"]):
            raise ValueError(f"it lacks {missing[0]}")
    except Exception as error:  # as many kinds as there are ways to damage it
        raise unloadable(folder, run, error) from error
    return network.eval()


def check_saved(folder: Path, run: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no model: it is written at the end of each phase; train on, or resume {run}")


def unloadable(folder: Path, run: Path, error: BaseException) -> UserError:
    return UserError(f"{folder} can't be loaded ({one_line(error, 300)}); resume {run} to write it anew")
