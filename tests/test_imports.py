"""Who imports whom: the direction of the imports, read from the source of every module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "seqgan_kit"

# A room is a module or a folder; it imports from itself and from rooms earlier in this list. So a room can be read,
# tested and reused without the later ones: the mathematics without networks, networks without the engine, the engine
# without any use. A new room goes after everything that it imports, as early as that lets it; CONTRIBUTING.md says the
# same list.
ROOMS = (
    # the mathematics, on tensors alone
    *("errors", "samples", "objectives", "f_gan", "credit", "estimators", "trust_region", "distances"),
    *("networks", "sampling", "decoding", "rewards"),
    *(
        "checkpoints",
        "provenance",
        "learning",
        "metrics_log",
        "engine",
        "stream",
        "replay",
        "players",
        "token_credit",
        "token_discriminator",
        "token_policy",
        "soft_text",
        "trainer",
    ),  # the engine, and the game on it
    *("worlds", "report"),
    *("text", "dialogue", "imitation", "images"),  # the uses, which know nothing of each other, except for ACROSS
    *("options", "cli"),
)
USES = {"text", "dialogue", "imitation", "images"}
ACROSS = {("dialogue", "text"), ("images", "text")}
TYPES_ONLY = {("provenance", "engine")}  # under TYPE_CHECKING: provenance records the engine's RunConfig

MATHEMATICS = ROOMS[: ROOMS.index("networks")]
NOT_IN_MATHEMATICS = {"accelerate", "transformers"}
LIGHT = {"errors", "report", "options", "cli"}  # import seqgan_kit.report, or seqgan-kit --help, takes no second
HEAVY = {"accelerate", "matplotlib", "tensorboard", "tokenizers", "torch", "transformers"}


class Import(NamedTuple):
    """name: the dotted module. when: "import", "call" (in a function) or "typing" (under TYPE_CHECKING)."""

    name: str
    line: int
    when: str

    @property
    def top(self) -> str:
        return self.name.split(".")[0]

    @property
    def room(self) -> str | None:
        """The room of a module of the package; None for other packages and for what seqgan_kit itself defines."""
        inner = self.name.split(".")[1:2]
        return inner[0] if self.top == PACKAGE and inner and not inner[0].startswith("__") else None


def imports(path: str, source: str) -> list[Import]:
    """All imports of the module at this path within the package."""
    folder = [PACKAGE, *Path(path).parent.parts]

    def found(node: ast.AST, when: str) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, when) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) + 1 - node.level] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # What is imported from the package itself is a room.
            names = [f"{name}.{alias.name}" for alias in node.names] if name == PACKAGE else [name]
            yield from (Import(each, node.lineno, when) for each in names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for statement in node.body:
                yield from found(statement, "typing")
            for statement in node.orelse:
                yield from found(statement, when)
        else:
            inner = "call" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and when == "import" else when
            for child in ast.iter_child_nodes(node):
                yield from found(child, inner)

    return list(found(ast.parse(source), "import"))


def allowed(room: str, other: str, when: str) -> bool:
    if room == other or (room, other) in ACROSS or (when == "typing" and (room, other) in TYPES_ONLY):
        return True
    return ROOMS.index(other) < ROOMS.index(room) and not {room, other} <= USES


def violations(path: str, source: str) -> list[str]:
    """What is wrong with the imports of the module at this path within the package."""
    room = Path(path).with_suffix("").parts[0]
    found = imports(path, source)
    if room == "__init__":  # runs before every other module
        return [f"{path}:{one.line} imports {one.name}, and so would every import of a module" for one in found]
    if room not in ROOMS:
        return [f"{path} has no room: add {room!r} to ROOMS in tests/test_imports.py, after all that it imports"]
    wrong = []
    for one in found:
        if one.room and one.room not in ROOMS:
            wrong.append(f"imports {one.name}, which has no room")
        elif one.room and not allowed(room, one.room, one.when):
            wrong.append(f"imports {one.name}, but {room!r} may not import {one.room!r}")
        elif room in MATHEMATICS and one.top in NOT_IN_MATHEMATICS:
            wrong.append(f"imports {one.top}, but {room!r} is mathematics")
        elif one.top == "matplotlib" and one.when == "import":
            wrong.append("imports matplotlib outside a function")
        elif room in LIGHT and one.when == "import" and (one.top in HEAVY or (one.room and one.room not in LIGHT)):
            wrong.append(f"imports {one.name} outside a function, but {room!r} is light")
        else:
            continue
        wrong[-1] = f"{path}:{one.line} {wrong[-1]}"
    return wrong


def modules() -> list[str]:
    return sorted(path.relative_to(ROOT / PACKAGE).as_posix() for path in (ROOT / PACKAGE).rglob("*.py"))


def test_modules_import_only_from_the_rooms_before_their_own() -> None:
    """Every module has a room in ROOMS and imports only from rooms before it, light modules nothing heavy."""
    sources = {path: (ROOT / PACKAGE / path).read_text(encoding="utf-8") for path in modules()}
    assert {"engine.py", "text/train.py"} <= set(sources)
    assert not [line for path, source in sources.items() for line in violations(path, source)]


VIOLATIONS = {
    ("credit.py", "from seqgan_kit import estimators"): "may not import 'estimators'",
    ("credit.py", "from seqgan_kit import errors, engine"): "may not import 'engine'",
    ("credit.py", "import seqgan_kit.networks.lstm as lstm"): "may not import 'networks'",
    ("estimators.py", "from .networks import lstm"): "may not import 'networks'",
    ("objectives.py", "def f():\n    from accelerate.utils import reduce"): "is mathematics",
    ("estimators.py", "import torch, transformers"): "is mathematics",
    ("networks/lstm.py", "from ..engine import Engine"): "may not import 'engine'",
    ("engine.py", "def f():\n    from seqgan_kit.text.train import train"): "may not import 'text'",
    ("engine.py", "class A:\n    try:\n        import seqgan_kit.cli\n    except ImportError:\n        pass"): "'cli'",
    ("provenance.py", "from seqgan_kit.engine import RunConfig"): "may not import 'engine'",
    ("checkpoints.py", "if TYPE_CHECKING:\n    from seqgan_kit.engine import Engine"): "may not import 'engine'",
    ("provenance.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import seqgan_kit.engine"): "may not import 'engine'",
    ("text/train.py", "from seqgan_kit.dialogue.data import read"): "may not import 'dialogue'",
    ("imitation/train.py", "from seqgan_kit.text import data"): "may not import 'text'",
    ("images/train.py", "from seqgan_kit.dialogue import data"): "may not import 'dialogue'",
    ("text/evaluation.py", "import matplotlib.pyplot as plt"): "matplotlib outside a function",
    ("report/page.py", "import torch"): "'report' is light",
    ("options.py", "from seqgan_kit.text.train import TextConfig"): "'options' is light",
    ("cli.py", "from seqgan_kit.engine import Engine"): "'cli' is light",
    ("__init__.py", "from seqgan_kit.engine import Engine"): "so would every import",
    ("players.py", "from seqgan_kit import playrs"): "seqgan_kit.playrs, which has no room",
    ("relgan.py", "import math"): "add 'relgan' to ROOMS in tests/test_imports.py",
    ("relgan/train.py", ""): "add 'relgan' to ROOMS in tests/test_imports.py",
}


@pytest.mark.parametrize(("path", "source"), VIOLATIONS, ids=lambda text: text.replace("\n", " "))
def test_a_planted_violation_is_found(path: str, source: str) -> None:
    """A module with one wrong import, however it is written, gives one message, which says what is wrong."""
    (message,) = violations(path, source)
    assert message.startswith(path)
    assert VIOLATIONS[path, source] in message


ALLOWED = [
    ("credit.py", "import torch\nfrom seqgan_kit import objectives, samples"),
    ("provenance.py", "import typing\nif typing.TYPE_CHECKING:\n    from seqgan_kit.engine import RunConfig"),
    ("engine.py", "import accelerate\nfrom seqgan_kit import __version__"),
    ("text/train.py", "from . import data\nfrom .. import trainer\nfrom seqgan_kit.worlds import oracle"),
    ("images/train.py", "from seqgan_kit.text.data import read"),
    ("dialogue/train.py", "from seqgan_kit.text import data"),
    ("report/curves.py", "def plot():\n    from matplotlib.figure import Figure"),
    ("cli.py", "from seqgan_kit.errors import UserError\ndef main():\n    import torch, seqgan_kit.engine"),
]


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_what_is_allowed_is_not_reported(path: str, source: str) -> None:
    """Imports from earlier rooms, of types, across uses, and of heavy packages in functions are right."""
    assert violations(path, source) == []


def test_the_contributors_guide_says_the_same_order() -> None:
    """CONTRIBUTING.md lists the rooms in the order of ROOMS."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Who imports whom")[1].split("\n## ")[0]
    listed = next(paragraph for paragraph in section.split("\n\n") if paragraph.startswith("`errors`"))
    assert tuple(re.findall(r"`(\w+)/?`", listed)) == ROOMS
