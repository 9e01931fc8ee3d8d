"""The recipes and the numbers that are claimed for them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqgan_kit.cli import parse

RECIPES = Path(__file__).parents[1] / "recipes"
STEPS: dict[str, Callable[[Any], int]] = {
    "text": lambda config: config.likelihood.steps or config.adversarial.rounds,  # some have no likelihood
    "dialogue": lambda config: config.adversarial.rounds,
    "imitation": lambda config: config.adversarial.environment_steps,
    "images": lambda config: config.adversarial.rounds,
    "encoder": lambda config: config.joint.steps,
}


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: str(path.relative_to(RECIPES)))
def test_recipe_is_a_complete_configuration(path: Path) -> None:
    """Every recipe is read without an unknown key, and its head names source, expected, measured and command."""
    task = path.parent.name if path.parent != RECIPES else "text"
    task = "encoder" if path.stem.endswith("_encoder") else task
    config, _ = parse(["--config", str(path)], task)
    assert STEPS[task](config) > 0
    head = path.read_text().split("\n\n")[0].lower()
    command = f"seqgan-kit train {task} --config {path.relative_to(RECIPES.parent)}"
    assert all(word in head for word in ("source", "expected", "measured", command))


def test_tables_of_the_readme_come_from_the_records() -> None:
    """No table of recipes/README.md differs from what its JSON record says."""
    spec = importlib.util.spec_from_file_location("record", RECIPES / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (RECIPES / "README.md").read_text()
    assert text.count("<!-- table ") >= 3
    assert module.renew(text) == text
