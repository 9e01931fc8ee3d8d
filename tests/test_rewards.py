"""Rewards written by users, and what they are told when one is wrong."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from seqgan_kit.errors import UserError
from seqgan_kit.game.rewards import Reward, evaluate

TEXTS, IDS = ["a", "b c", "d e f"], [[4], [5, 6], [7, 8, 9]]


def returns(values: Any) -> Reward:
    """A reward function, named `given`, that returns these values."""

    def given(completions: list[str]) -> Any:
        return values

    return Reward(given)


@pytest.mark.parametrize("weight", [1.0, -0.5, 0.0])
def test_numbers_are_weighted(weight: float) -> None:
    """One number a completion, times the weight; integers, booleans and tensors are numbers."""
    for values in ([1.5, -2.0, 4.0], (1, True, 3), torch.tensor([1.0, 2.0, 3.0])):
        found, steps = evaluate(Reward(returns(values).function, weight), TEXTS, IDS)
        assert found.tolist() == [weight * float(value) for value in values]
        assert steps is None


def test_none_counts_as_zero() -> None:
    """A completion that a reward has no opinion of earns nothing from it."""
    assert evaluate(returns([None, 2.0, None]), TEXTS, IDS)[0].tolist() == [0.0, 2.0, 0.0]
    assert evaluate(returns([None, None, None]), TEXTS, IDS)[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("weight", [1.0, -0.5])
def test_lists_are_rewards_of_tokens(weight: float) -> None:
    """A number for each token, padded with 0 to the longest; the completions themselves then earn 0."""
    values = [[1.0], [2, None], (3.0, 4.0, 5.0)]
    whole, steps = evaluate(Reward(returns(values).function, weight), TEXTS, IDS)
    assert whole.tolist() == [0.0] * 3
    padded = [[value or 0.0 for value in row] + [0.0] * (3 - len(row)) for row in values]
    assert steps is not None
    assert steps.tolist() == [[weight * value for value in row] for row in padded]


def test_completions_are_plain_lists_of_strings() -> None:
    """A function may change what it is given without harm."""

    def greedy(completions: list[str], completion_ids: list[list[int]]) -> list[float]:
        assert completions == TEXTS
        assert completion_ids == IDS
        completions.clear()
        completion_ids[0].clear()
        return [1.0, 2.0, 3.0]

    evaluate(Reward(greedy), TEXTS, IDS)
    evaluate(Reward(greedy), TEXTS, IDS)


def test_ids_are_passed_only_where_accepted() -> None:
    """By name or by **columns; a function of the completions alone is called with them alone."""

    def counts(completions: list[str], completion_ids: list[list[int]]) -> list[int]:
        return [len(row) for row in completion_ids]

    def everything(completions: list[str], **columns: Any) -> list[int]:
        return [len(row) for row in columns["completion_ids"]]

    def alone(*completions: list[str]) -> list[int]:
        return [len(text.split()) for text in completions[0]]

    for function in (counts, everything, alone):
        assert evaluate(Reward(function), TEXTS, IDS)[0].tolist() == [len(row) for row in IDS]


class Length:
    """A reward may be any callable."""

    def __call__(self, completions: list[str]) -> list[int]:
        return [len(text) for text in completions]


def test_objects_may_be_rewards() -> None:
    """Anything that can be called is called."""
    assert evaluate(Reward(Length()), TEXTS, IDS)[0].tolist() == [len(text) for text in TEXTS]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (None, "returned a NoneType"),
        (3.0, "returned a float"),
        ({"a": 1.0}, "returned a dict"),
        pytest.param(iter([1.0, 2.0, 3.0]), "returned a list_iterator", id="an iterator"),
        ([1.0, 2.0], "returned 2 values for 3 completions"),
        ([], "returned 0 values for 3 completions"),
        ([1.0] * 4, "returned 4 values for 3 completions"),
        ([1.0, "two", 3.0], "returned 'two' for completion 1"),
        ("abc", "returned 'a' for completion 0"),
        ([1.0, 2.0, float("nan")], "returned nan for completion 2"),
        ([float("inf"), 2.0, 3.0], "returned inf for completion 0"),
        ([1.0, -float("inf"), 3.0], "returned -inf for completion 1"),
        (torch.tensor([1.0, torch.nan, 3.0]), "returned nan for completion 1"),
        ([1.0, object, 3.0], "for completion 1: return a number"),
        ([1.0, {}, 3.0], "for completion 1: return a number"),
        (torch.ones(3, 2), "returned 2 for completion 0, which has 1 tokens"),
        (torch.tensor(1.0), "returned a float"),
        ([[1.0], [1.0], [1.0, 2.0, 3.0]], "returned 1 for completion 1, which has 2 tokens"),
        ([[1.0], [], [1.0, 2.0, 3.0]], "returned 0 for completion 1, which has 2 tokens"),
        ([[1.0], [1.0, 2.0], 3.0], "returned one number for completion 2, which has 3 tokens"),
        ([[1.0], [1.0, "x"], [1.0, 2.0, 3.0]], "returned 'x' for completion 1"),
        ([[1.0], [1.0, float("nan")], [1.0, 2.0, 3.0]], "returned nan for completion 1"),
        ([["1"], "ab", [1.0, 2.0, 3.0]], "returned 'a' for completion 1"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(values: Any, says: str) -> None:
    """Each mistake is a UserError that names the function, the completion and what came back."""
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        evaluate(returns(values), TEXTS, IDS)
    assert "test_rewards.returns.<locals>.given" in str(caught.value)


def test_errors_inside_a_reward_are_the_users_own() -> None:
    """What the function itself raises is told with its place, and nothing of ours."""

    def broken(completions: list[str]) -> list[float]:
        raise ZeroDivisionError("by nought")

    with pytest.raises(UserError, match=r"broken raised ZeroDivisionError: by nought \(.*test_rewards.py, line \d+\)"):
        evaluate(Reward(broken), TEXTS, IDS)
