"""What is the user's own, and may be imported: of a file that came along, nothing is but what the user says.

A configuration that was written on this machine has been accepted there, so what it names is imported again without a
word. That is kept outside of the run folder, by the hash of the configuration: nothing in a folder can vouch for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import re
import sys
from pathlib import Path

from seqgan_kit.files import write_json

_NAME = re.compile(r"\b([A-Za-z_]\w*)(?=[.:]\w)")


def remember(config_text: str) -> None:
    """That this configuration was written here, and from which folders the modules of the user's that it names came."""
    folders = {name: folder for name in sorted(set(_NAME.findall(config_text))) if (folder := _folder_of(name))}
    if folders:
        with contextlib.suppress(OSError):  # without a home to write to, the user says it again
            write_json(_place(config_text), folders)


def remembered(config_text: str) -> dict[str, str]:
    """The modules of the user's that a configuration which was written here may name, and where each is."""
    try:
        found = json.loads(_place(config_text).read_bytes())
        return {str(name): str(folder) for name, folder in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def import_own(module: str, folder: str) -> None:
    """Imports a module of the user's from that folder, if it is there. What is imported later, and is installed
    nowhere, is looked for in the folder, too. Whatever the module raises is raised again by who needs it."""
    sys.path.insert(0, folder)
    try:
        importlib.import_module(module)
    except Exception:  # whatever a user's module raises
        pass
    finally:
        sys.path.remove(folder)
    if folder not in sys.path:
        sys.path.append(folder)


def _place(config_text: str) -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "seqgan_kit" / "trusted" / f"{hashlib.sha256(config_text.encode()).hexdigest()}.json"


def _folder_of(name: str) -> str | None:
    """Where a module was found that is neither ours nor Python's; None where it is no such module."""
    if name in sys.stdlib_module_names or name in ("seqgan_kit", "__main__"):
        return None
    found = getattr(sys.modules.get(name), "__spec__", None)
    if found is None:
        return None
    inside = list(found.submodule_search_locations or [])
    place = inside[0] if inside else found.origin
    return str(Path(place).absolute().parent) if place else None
