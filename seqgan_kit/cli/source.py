"""How help shows an option: what it is and does stands in one place, the docstring of the dataclass that holds it.

It is read from the source here, without importing that, which takes torch, and seconds.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from seqgan_kit.old_names import AS_THEN
from seqgan_kit.options import TASKS

PACKAGE = Path(__file__).parents[1]
WIDEST, INDENT = 110, 6


class Option(NamedTuple):
    """An option as help shows it. kind: what is given for it, as INT or {word,character}. default: as in YAML."""

    name: str
    kind: str
    help: str
    default: str

    def text(self, dashes: str = "--") -> str:
        body = f"{self.help} (default: {self.default})" if self.default else self.help
        return f"  {dashes}{self.name} {self.kind}".rstrip() + f"\n{wrapped(body, INDENT)}"


def wrapped(text: str, indent: int = 0) -> str:
    width = min(WIDEST, shutil.get_terminal_size().columns)
    return textwrap.fill(text, width, initial_indent=" " * indent, subsequent_indent=" " * indent)


def kind(annotation: str) -> str:
    """What is given for an option of that type: of `int | None`, INT."""
    first = re.match(r"(?:(?:Optional|Union|Annotated)\[)?(\w+)", annotation)
    if first and first[1] == "Literal":
        return "{" + ",".join(re.findall(r"['\"]([^'\"]*)['\"]", annotation)) + "}"
    plain = {"bool": "{true,false}", "int": "INT", "float": "NUMBER", "str": "TEXT", "dict": "MAPPING"}
    plain |= dict.fromkeys(("list", "tuple", "Sequence"), "[ITEM,...]")
    return plain.get(first[1] if first else "", "CLASS")


def shown(default: Any) -> str:
    """A default as it stands in YAML; a class by its import path."""
    if isinstance(default, dict) and "class_path" in default:
        return str(default["class_path"])
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    if isinstance(default, list | tuple):
        return f"[{', '.join(map(shown, default))}]"
    if isinstance(default, float) and (not default or 1e-4 <= abs(default) < 1e6):
        return f"{default:g}"
    return str(default)


def documented(docstring: str) -> tuple[str, dict[str, str]]:
    """The summary of a docstring in Google's style, and what it says of each of the `Args`."""
    from docstring_parser import parse

    docstring = inspect.cleandoc(docstring)
    parsed = parse(docstring)
    about: dict[str, str] = {}
    for parameter in parsed.params:
        for name in parameter.arg_name.split(","):
            about[name.strip()] = " ".join((parameter.description or "").split())
    return " ".join(docstring.partition("\n\n")[0].split()), about


def described(task: str, name: str) -> Option:
    """An option, from the source of the dataclasses that hold it. Raises KeyError where there is none."""
    module, node, default = _option(task, name)
    last = name.rpartition(".")[2]
    help = _told(module, node, last)
    module, node, field = _field(module, node, last)
    return Option(name, kind(_annotation(module, field.annotation)), help, shown(default))


def default_of(task: str, name: str) -> Any:
    """What an option is in a run whose config.yaml lacks it. Raises KeyError where there is no such option."""
    return AS_THEN[name] if name in AS_THEN else _option(task, name)[2]


def _option(task: str, name: str) -> tuple[str, ast.ClassDef, Any]:
    """The dataclass that an option is a field of, after its module, and the default."""
    module, node = _find(TASKS[task].module, TASKS[task].configuration)
    given: dict[str, ast.expr] = {}
    *groups, last = name.split(".")
    for group in groups:
        module, node, field = _field(module, node, group)
        given = _overridden(module, field.value)
        module, node = _find(module, ast.unparse(field.annotation))
    of, _, field = _field(module, node, last)
    return module, node, _value(of, given.get(last, field.value))


def purpose(task: str) -> str:
    """What a run of a task is, the summary of its configuration."""
    _, node = _find(TASKS[task].module, TASKS[task].configuration)
    return documented(ast.get_docstring(node) or "")[0]


@functools.cache
def _tree(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8"))


def _definition(module: str, name: str) -> tuple[str, ast.stmt]:
    """The statement that defines a name, and in which module of ours, followed over imports."""
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("seqgan_kit"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    whole = f"{node.module}.{alias.name}"
                    if (path := PACKAGE.joinpath(*whole.split(".")[1:])).is_dir() or path.with_suffix(".py").is_file():
                        return whole, _tree(whole).body[0]  # a module
                    return _definition(node.module, alias.name)
    raise KeyError(f"{module} has no {name}")


def _find(module: str, name: str) -> tuple[str, ast.ClassDef]:
    module, node = _definition(module, name)
    if not isinstance(node, ast.ClassDef):
        raise KeyError(f"{name} is no class")
    return module, node


def _field(module: str, node: ast.ClassDef, name: str) -> tuple[str, ast.ClassDef, ast.AnnAssign]:
    """The statement of a dataclass's field, and the class that has it: this one, or one that it inherits from."""
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == name:
            return module, node, statement
    for base in node.bases:
        try:
            return _field(*_find(module, ast.unparse(base)), name)
        except KeyError:  # not there, or no class of ours
            continue
    raise KeyError(f"{node.name} has no {name}")


def _told(module: str, node: ast.ClassDef, name: str) -> str:
    """What the docstring of a dataclass says of a field, or else that of one that it inherits from."""
    about = documented(ast.get_docstring(node) or "")[1]
    of_bases = (_told(*_find(module, ast.unparse(base)), name) for base in node.bases)
    return about[name] if name in about else next(filter(None, of_bases), "")


def _factory(value: ast.expr | None) -> ast.expr | None:
    """What `field(default_factory=...)` names, or None."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        return next((word.value for word in value.keywords if word.arg == "default_factory"), None)
    return None


def _overridden(module: str, value: ast.expr | None) -> dict[str, ast.expr]:
    """What a group's default says of its fields: lr of `field(default_factory=lambda: OptimizerConfig(lr=None))`."""
    factory = _factory(value)
    if isinstance(factory, ast.Name):
        made = _definition(module, factory.id)[1]
        if isinstance(made, ast.ClassDef):
            return {}
        factory = next(part.value for part in ast.walk(made) if isinstance(part, ast.Return))
    call = factory.body if isinstance(factory, ast.Lambda) else factory
    return {word.arg: word.value for word in call.keywords if word.arg} if isinstance(call, ast.Call) else {}


def _value(module: str, value: ast.expr | None) -> Any:
    """A default: a literal, or the import path of a class or function."""
    if (factory := _factory(value)) is not None:
        value = factory.body if isinstance(factory, ast.Lambda) else factory
        if isinstance(value, ast.Name) and value.id in ("list", "dict"):
            return {"list": [], "dict": {}}[value.id]
    if isinstance(value, ast.Name | ast.Attribute):
        first, *rest = ast.unparse(value).split(".")
        found, node = _definition(module, first)
        names = [node.name] if isinstance(node, ast.ClassDef | ast.FunctionDef) and not rest else rest
        return ".".join([found, *names])
    assert value is not None
    return ast.literal_eval(value)


def _annotation(module: str, annotation: ast.expr) -> str:
    """A field's type; where it is a name for one, as Kind for Literal["word", ...], what it stands for."""
    if isinstance(annotation, ast.BinOp):
        return f"{_annotation(module, annotation.left)} | {_annotation(module, annotation.right)}"
    if isinstance(annotation, ast.Name):
        try:
            node = _definition(module, annotation.id)[1]
        except KeyError:  # a built-in
            return annotation.id
        if isinstance(node, ast.Assign):
            return ast.unparse(node.value)
    return ast.unparse(annotation)
