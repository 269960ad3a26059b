"""How many rows or groups are held at a time: fewer where they are long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from rewarddiff.records import Group, prompt_text

Thing = TypeVar("Thing")

LARGEST = 1 << 22
"""Characters of what is held, but for the last thing."""

COMPARISON = 64
"""A comparison takes as much room as so many characters."""


def held(things: Iterator[Thing], count: int, size: Callable[[Thing], int]) -> list[Thing]:
    """Return the next `count` things; fewer at the end, and where they are large together."""
    taken: list[Thing] = []
    total = 0
    for thing in things:
        taken.append(thing)
        total += size(thing)
        if len(taken) == count or total >= LARGEST:
            break
    return taken


def size_of(group: Group) -> int:
    """Return about how many characters a group takes."""
    texts = len(prompt_text(group.prompt)) + sum(map(len, group.responses))
    return texts + COMPARISON * len(group.comparisons)
