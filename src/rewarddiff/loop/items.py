"""What is trained on, as a sequence: in memory, or in files from which an item is made when due."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from rewarddiff import hashing
from rewarddiff.loop.contents import contents

Item = TypeVar("Item")


class Made(Sequence[Item]):
    """Items that are made when asked for. A slice is a list of some."""

    def make(self, place: int) -> Item:
        """Return the item at a place, from 0."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self.make(place) for place in places]
        return self.make(places)

    def __iter__(self) -> Iterator[Item]:
        return map(self.make, range(len(self)))


class Filed(Made[Item]):
    """Items in files: what the loop asks of all of them is known without making any.

    Attributes:
        sizes: tokens of every item.
    """

    sizes: Sequence[int]

    def digest(self) -> str:
        """Return a hash of all that the items hold."""
        raise NotImplementedError


def digest(items: Sequence[Any]) -> str:
    """Return a hash of items: of files, or of all that they hold in memory."""
    if isinstance(items, Filed):
        return items.digest()
    return hashing.digest(contents(item).encode() for item in items)


class Picked(Made[Item]):
    """The items at some places of a sequence or mapping."""

    def __init__(self, items: Sequence[Item] | Mapping[int, Item], places: Sequence[int]) -> None:
        self._items = items
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def make(self, place: int) -> Item:
        return self._items[self._places[place]]


class FiledPart(Filed[Item]):
    """The items at some places of items in files."""

    def __init__(self, items: Filed[Item], places: Sequence[int]) -> None:
        self._items = items
        self._places = places
        self.sizes = Picked(items.sizes, places)

    def __len__(self) -> int:
        return len(self._places)

    def make(self, place: int) -> Item:
        return self._items[self._places[place]]

    def digest(self) -> str:
        return hashing.digest([self._items.digest().encode(), repr(list(self._places)).encode()])


class Joined(Made[Item]):
    """The items of one sequence, and behind them those of another."""

    def __init__(self, first: Sequence[Item], second: Sequence[Item]) -> None:
        self._first = first
        self._second = second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def make(self, place: int) -> Item:
        behind = place - len(self._first)
        return self._first[place] if behind < 0 else self._second[behind]
