"""What differs between the options of two runs, or of one run before and after it was resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any


def difference(first: Any, other: Any) -> tuple[str, Any, Any] | None:
    """The first option that is another in two configurations, its name with dots, and both values; or None."""
    flat = [dict(flattened(plan)) for plan in (first, other)]
    names = dict.fromkeys([*flat[0], *flat[1]])
    found = next((name for name in names if flat[0].get(name) != flat[1].get(name)), None)
    return None if found is None else (found, flat[0].get(found), flat[1].get(found))


def unknown(name: str) -> Any:
    """The default of an option, where none is known."""
    raise KeyError(name)


def completed(plans: Sequence[Any], default: Callable[[str], Any]) -> list[dict[str, Any]]:
    """The options of each configuration, by names with dots; one that only others have is its default.

    So a run of an earlier version, which lacked the option, is like today's that leaves it as it is. A path as it was
    typed, which an earlier version kept, stands for the absolute one that ends with it.
    default: raises KeyError where it knows no such option, which is then left out.
    """
    flat = [dict(flattened(plan)) for plan in plans]
    for name in dict.fromkeys(chain(*flat)):
        lacking = [one for one in flat if name not in one]
        try:
            value = default(name) if lacking else None
        except KeyError:
            continue
        for one in lacking:
            one[name] = value
    for name in dict.fromkeys(chain(*flat)):
        typed = [value for one in flat if isinstance(value := one.get(name), str) and not os.path.isabs(value)]
        for one in flat:
            value = one.get(name)
            if isinstance(value, str) and os.path.isabs(value):
                one[name] = next((some for some in typed if value.endswith(f"/{some}")), value)
    return flat


def changed(before: Any, now: Any) -> list[dict[str, Any]]:
    """The options that both configurations have, but not alike: `option`, `from` and `to` of each.

    What only one of them has came with another version, or with another part, which is an option that both have.
    """
    was, is_ = dict(flattened(before)), dict(flattened(now))
    return [
        {"option": name, "from": was[name], "to": is_[name]}
        for name in was
        if name in is_ and was[name] != is_[name] and name != "run.folder"
    ]


def flattened(plan: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Each option, its name with dots, and its value."""
    if not isinstance(plan, dict):
        yield name, plan
        return
    for key, value in plan.items():
        yield from flattened(value, f"{name}.{key}" if name else str(key))
