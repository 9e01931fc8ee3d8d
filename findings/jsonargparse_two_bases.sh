#!/usr/bin/env bash
# A dataclass with two bases can lose all validation in jsonargparse, by the order of the bases alone.
#
# Guess: options of a dataclass are checked by its annotations, wherever these are inherited from: `--count many` for an
# int is refused, or, if an annotation can't be resolved, an error says so.
# Seen (jsonargparse 4.53.0, Python 3.11): two modules with `from __future__ import annotations`; the second base
# annotates a field by a type alias that only its own module knows. For `class Options(First, Second)` the annotations
# are looked up in the wrong module, all types of the class are dropped without a word, and `--count many` is taken for
# the int. With `class Options(Second, First)` the same words are refused.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q 'jsonargparse[signatures]==4.53.0' 2>"$folder/log" || { cat "$folder/log"; exit 1; }
cat >"$folder/first.py" <<'PYTHON'
from __future__ import annotations

from dataclasses import dataclass


@dataclass
class First:
    count: int = 3
PYTHON
cat >"$folder/second.py" <<'PYTHON'
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["a", "b"]


@dataclass
class Second:
    kind: Kind = "a"
PYTHON
cat >"$folder/both.py" <<'PYTHON'
from __future__ import annotations

from dataclasses import dataclass

from first import First
from jsonargparse import ArgumentParser
from second import Second


@dataclass
class FirstSecond(First, Second):
    pass


@dataclass
class SecondFirst(Second, First):
    pass


def taken(kind: type, *words: str) -> object:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=kind)
    try:
        return parser.parse_args(list(words)).data
    except Exception as error:
        return type(error).__name__


lost, kept = (taken(kind, "--data.count", "many") for kind in (FirstSecond, SecondFirst))
print("class Options(First, Second): --data.count many ->", lost)
print("class Options(Second, First): --data.count many ->", kept)
assert getattr(lost, "count", None) == "many", lost
assert isinstance(kept, str), kept
PYTHON
cd "$folder" && "$folder/env/bin/python" both.py
