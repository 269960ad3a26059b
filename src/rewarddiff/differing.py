"""What two descriptions of the same thing differ in, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HASH = re.compile(r"[0-9a-f]{32,}")
LONG = 60
"""Characters of a value that is not worth showing."""

NOTHING = "nothing"
"""What is said of a key that is not there."""

MANY = 6
"""Differences that are named one by one."""


def differing(
    before: Mapping[str, Any], now: Mapping[str, Any], named: Mapping[str, str] | None = None
) -> str:
    """Return in words what two objects of JSON differ in, "" where they are equal.

    Args:
        named: what to say of a key whose values would tell nobody anything, as hashes.

    >>> differing({"lr": 0.1, "loss": {"beta": 1}}, {"lr": 0.2, "loss": {"beta": 2}})
    'loss.beta 1, now 2, lr 0.1, now 0.2'
    >>> differing({"data": "a" * 32}, {"data": "b" * 32}, {"data": "other rows"})
    'other rows'
    """
    found = _differing(before, now, named or {}, "")
    rest = len(found) - MANY
    if rest > 0:
        found = [*found[:MANY], f"and {rest} more"]
    return ", ".join(found)


def _differing(
    before: Mapping[str, Any], now: Mapping[str, Any], named: Mapping[str, str], place: str
) -> list[str]:
    found: list[str] = []
    for key in sorted(before.keys() | now.keys()):
        one, other = before.get(key, NOTHING), now.get(key, NOTHING)
        if one == other:
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _differing(one, other, named, f"{place}{key}.")
        elif key in named:
            found.append(named[key])
        elif _is_shown(one) and _is_shown(other):
            found.append(f"{place}{key} {_shown(one)}, now {_shown(other)}")
        else:
            found.append(f"another {place}{key}")
    return found


def _is_shown(value: Any) -> bool:
    text = _shown(value)
    return len(text) <= LONG and not HASH.search(text)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
