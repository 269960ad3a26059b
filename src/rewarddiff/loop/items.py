"""What is trained on, as a sequence: in memory, or in files from which an item is made when due."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, overload, runtime_checkable

from rewarddiff import hashing

Item = TypeVar("Item")


@runtime_checkable
class Filed(Protocol):
    """Items in files: of all of them together is known what the loop asks, and none is made for it."""

    @property
    def sizes(self) -> Sequence[int]:
        """Tokens of every item."""
        ...

    def digest(self) -> str:
        """Return a hash of all that the items hold."""
        ...


def digest(items: Sequence[Any]) -> str:
    """Return a hash of items: of files, or of all that their text form shows."""
    if isinstance(items, Filed):
        return items.digest()
    return hashing.digest(repr(item).encode() for item in items)


class Picked(Sequence[Item]):
    """The items at some places of a sequence or mapping, each taken from it when asked for."""

    def __init__(self, items: Sequence[Item] | Mapping[int, Item], places: Sequence[int]) -> None:
        self._items = items
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Picked[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | Picked[Item]:
        if isinstance(index, slice):
            return Picked(self._items, self._places[index])
        return self._items[self._places[index]]

    def __iter__(self) -> Iterator[Item]:
        return (self._items[place] for place in self._places)
