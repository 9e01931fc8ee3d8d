"""A state that lies in a file until it is needed: a checkpoint has its name alone, and no process holds it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from seqgan_kit.engine.checkpoints import pack, unpack
from seqgan_kit.engine.processes import Processes
from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import parsed, read_bytes

FOLDER = "aside"
FILE = "file"


class SetAside:
    """One state in RUN/checkpoints/aside. As a part of a checkpoint it is the file's name, which its content has made.

    A checkpoint that holds the state itself, as earlier versions wrote it, is taken, too. All processes must see the
    same folder.
    """

    def __init__(self, root: Path, name: str, processes: Processes) -> None:
        self.folder, self.name, self.processes = root / FOLDER, name, processes
        self.file: str | None = None

    def put(self, state: Any) -> None:
        """Raises UserError where the disk refuses."""
        self.file = self.processes.on_main(lambda: self._write(state))

    def get(self) -> Any:
        """Tensors are read from the disk as they are used. Raises UserError where the file is damaged."""
        path = self.folder / str(self.file)
        try:
            if _sum(path) not in path.name:
                raise ValueError("altered")
            return unpack(parsed(read_bytes(path.with_suffix(".json"))), load_file(path))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
            raise UserError(
                f"{path} or the .json beside it, which the run needs, can't be read ({one_line(error)}): restore it "
                "from a backup, or train in a new folder"
            ) from error

    def state_dict(self) -> dict[str, Any]:
        return {} if self.file is None else {FILE: self.file}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if set(state) <= {FILE}:
            self.file = state.get(FILE)
        else:
            self.put(state)

    def _write(self, state: Any) -> str:
        tensors: dict[str, Tensor] = {}
        text = json.dumps(pack(state, tensors))
        unfinished = self.folder / f".unfinished-{self.name}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, unfinished)
            path = self.folder / f"{self.name}-{_sum(unfinished)}.safetensors"
            path.with_suffix(".json").write_text(text)
            for one in (unfinished, path.with_suffix(".json")):
                with open(one, "rb") as file:
                    os.fsync(file.fileno())
            os.replace(unfinished, path)
        except OSError as error:
            raise UserError(
                f"{self.folder} can't be written ({error.strerror or error}): make room, then resume"
            ) from error
        return path.name


def _sum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
