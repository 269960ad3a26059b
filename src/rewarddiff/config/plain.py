"""A recipe's content as plain data of its own: no part is shared, and none is endless."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rewarddiff.config.problems import dotted
from rewarddiff.config.schema import Place
from rewarddiff.errors import UserError
from rewarddiff.writing import cut, is_encodable

DEEPEST = 50
"""Mappings and lists within each other in the deepest recipe that is read."""

TOO_DEEP = f"more than {DEEPEST} mappings and lists within each other"

MOST_VALUES = 20_000
"""Values of the largest recipe; one that aliases repeat counts as often."""


def plain(content: Any, source: str) -> Any:
    """Return a copy of content as JSON has it: parts that aliases share are no longer shared.

    Raises:
        UserError: it contains itself, is too deep or too large, or holds what is no text.
    """
    require_small(content, source)
    try:
        return json.loads(json.dumps(content, default=str))
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: holds what no recipe does ({cut(str(error))})") from error


def require_small(content: Any, source: str) -> None:
    """Raise a UserError where a recipe is endless, deeper or larger than any, or holds no text."""
    # What is looked at next, where it stands, and what is around it.
    waiting: list[tuple[Any, Place, tuple[int, ...]]] = [(content, (), ())]
    count = 0
    while waiting:
        value, place, around = waiting.pop()
        parts = list(_parts(value))
        count += len(parts)
        problem = ""
        if id(value) in around:
            problem = "contains itself, an alias points to a mapping around it"
        elif len(place) > DEEPEST:
            problem = TOO_DEEP
        elif count > MOST_VALUES:
            problem = f"more than {MOST_VALUES:,} values, those that aliases repeat among them"
        elif not all(map(_is_readable, (value, *place[-1:]))):
            problem = f"'{dotted(place)}' holds text that is not UTF-8"
        if problem:
            raise UserError(f"{source}: {problem}")
        for part, inner in parts:
            waiting.append((inner, (*place, part), (*around, id(value))))


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)


def _is_readable(value: Any) -> bool:
    return not isinstance(value, str) or is_encodable(value)
