"""The reward of recipes/oracle_constant.yaml."""

from __future__ import annotations


def one(completions: list[str]) -> list[float]:
    """1 for each: it says nothing about them."""
    return [1.0] * len(completions)
