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
    *("errors", "bounds", "progress", "files", "trust", "archives", "separators", "tables"),
    *("old_names", "commands", "samples"),
    "algorithms",  # pure functions of tensors
    "networks",  # models only
    "report",  # curves, grids, tables, the page of a run; knows nothing of training
    "engine",  # everything that is not the algorithm
    "game",  # players and their loops
    "tokens",  # what plays with tokens
    "language",  # what text and dialogue share
    "worlds",  # data that the kit generates itself
    *("text", "dialogue", "imitation", "images"),  # the uses, which know nothing of each other
    *("options", "cli"),
)
USES = {"text", "dialogue", "imitation", "images"}

MATHEMATICS = {"errors", "samples", "algorithms"}
NOT_IN_MATHEMATICS = {"accelerate", "transformers"}
LIGHT = {
    "errors",
    "bounds",
    "progress",
    "files",
    "trust",
    "archives",
    "separators",
    "tables",
    "old_names",
    "commands",
    "report",
    "options",
    "cli",
}  # import seqgan_kit.report, or seqgan-kit --help, takes no second
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


def allowed(room: str, other: str) -> bool:
    if room == other:
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
        elif one.room and not allowed(room, one.room):
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


def circles(sources: dict[str, str]) -> list[set[str]]:
    """The sets of modules of which each leads back to itself over imports, those for types and in functions too.

    sources: the path of each module within the package, and its source.
    """
    names = {f"{PACKAGE}.{path.removesuffix('.py').replace('/', '.')}": path for path in sources}
    ahead: dict[str, set[str]] = {}
    for path, source in sources.items():
        found = imports(path, source) + imported_modules(path, source)
        ahead[path] = {names[one.name] for one in found if names.get(one.name, path) != path}
    reached = {path: set(others) for path, others in ahead.items()}
    for _ in sources:
        for path in sources:
            reached[path] |= {far for other in reached[path] for far in ahead[other]}
    groups = {frozenset({other for other in reached[path] if path in reached[other]}) for path in sources}
    return [set(group) for group in groups if group]


def imported_modules(path: str, source: str) -> list[Import]:
    """What `from PACKAGE.FOLDER import NAME` names, in case that NAME is a module."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and not node.level]
    return [Import(f"{node.module}.{alias.name}", node.lineno, "") for node in found for alias in node.names]


def modules() -> list[str]:
    return sorted(path.relative_to(ROOT / PACKAGE).as_posix() for path in (ROOT / PACKAGE).rglob("*.py"))


def test_modules_import_only_from_the_rooms_before_their_own() -> None:
    """Every module has a room in ROOMS and imports only from rooms before it, light modules nothing heavy."""
    sources = {path: (ROOT / PACKAGE / path).read_text(encoding="utf-8") for path in modules()}
    assert {"engine/engine.py", "text/train.py"} <= set(sources)
    assert not [line for path, source in sources.items() for line in violations(path, source)]


def test_no_modules_import_each_other() -> None:
    """No circle within a room either, not even of types; a planted one is found."""
    sources = {path: (ROOT / PACKAGE / path).read_text(encoding="utf-8") for path in modules()}
    assert circles(sources) == []
    planted = {"game/a.py": "def f():\n    from seqgan_kit.game import b", "game/c.py": "import seqgan_kit.game.a"}
    planted["game/b.py"] = "if TYPE_CHECKING:\n    from seqgan_kit.game.c import C"
    assert circles(planted) == [{"game/a.py", "game/b.py", "game/c.py"}]


VIOLATIONS = {
    ("algorithms/credit.py", "from seqgan_kit import networks"): "may not import 'networks'",
    ("algorithms/credit.py", "from seqgan_kit import errors, engine"): "may not import 'engine'",
    ("algorithms/credit.py", "import seqgan_kit.networks.text.lstm as lstm"): "may not import 'networks'",
    ("algorithms/estimators.py", "from ..networks import text"): "may not import 'networks'",
    ("algorithms/objectives.py", "def f():\n    from accelerate.utils import reduce"): "is mathematics",
    ("algorithms/estimators.py", "import torch, transformers"): "is mathematics",
    ("networks/text/lstm.py", "from ...engine.engine import Engine"): "may not import 'engine'",
    ("engine/engine.py", "def f():\n    from seqgan_kit.text.train import train"): "may not import 'text'",
    (
        "engine/a.py",
        "class A:\n    try:\n        import seqgan_kit.cli\n    except ImportError:\n        pass",
    ): "'cli'",
    ("algorithms/f_gan.py", "if TYPE_CHECKING:\n    from seqgan_kit.game.players import S"): "may not import 'game'",
    ("engine/provenance.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import seqgan_kit.game"): "may not import 'game'",
    ("text/train.py", "from seqgan_kit.dialogue.data import read"): "may not import 'dialogue'",
    ("dialogue/train.py", "from seqgan_kit.text import config"): "may not import 'text'",
    ("imitation/train.py", "from seqgan_kit.text import data"): "may not import 'text'",
    ("images/train.py", "from seqgan_kit.dialogue import data"): "may not import 'dialogue'",
    ("text/evaluation.py", "import matplotlib.pyplot as plt"): "matplotlib outside a function",
    ("report/page.py", "import torch"): "'report' is light",
    ("options.py", "from seqgan_kit.text.train import TextConfig"): "'options' is light",
    ("cli.py", "from seqgan_kit.engine.engine import Engine"): "'cli' is light",
    ("__init__.py", "from seqgan_kit.engine.engine import Engine"): "so would every import",
    ("game/players.py", "from seqgan_kit import playrs"): "seqgan_kit.playrs, which has no room",
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
    ("algorithms/credit.py", "import torch\nfrom seqgan_kit import samples\nfrom . import objectives"),
    ("engine/engine.py", "import accelerate\nfrom seqgan_kit import __version__"),
    ("text/train.py", "from . import data\nfrom ..game import trainer\nfrom seqgan_kit.worlds import oracle"),
    ("images/train.py", "from seqgan_kit.language.data import read"),
    ("dialogue/train.py", "from seqgan_kit.language import data"),
    ("report/curves.py", "def plot():\n    from matplotlib.figure import Figure"),
    ("cli.py", "from seqgan_kit.errors import UserError\ndef main():\n    import torch, seqgan_kit.engine"),
]


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_what_is_allowed_is_not_reported(path: str, source: str) -> None:
    """Imports from earlier rooms, and of heavy packages in functions, are right."""
    assert violations(path, source) == []


def test_the_contributors_guide_says_the_same_order() -> None:
    """CONTRIBUTING.md lists the rooms in the order of ROOMS."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Who imports whom")[1].split("\n## ")[0]
    listed = next(paragraph for paragraph in section.split("\n\n") if paragraph.startswith("`errors`"))
    assert tuple(re.findall(r"`(\w+)/?`", listed)) == ROOMS
