"""Hashes of many things in temporary files that are mapped: the system may drop them from memory."""

from __future__ import annotations

import mmap
import tempfile

SMALLEST = 1 << 12
"""Places of the first table; each further one has twice as many as the one before."""

FULL = 0.6
"""The share of a table's places that are taken before the next is begun."""


class Hashes:
    """Entries of 64-bit numbers, the first of which are their key.

    Hashes of things make good keys: their last bits say where an entry lies.

    Args:
        key: how many numbers of an entry are its key. width: how many an entry has.
    """

    def __init__(self, key: int = 1, width: int = 1) -> None:
        self._key = key
        self._width = width
        self._tables: list[_Table] = []

    def put(self, *entry: int) -> tuple[int, ...] | None:
        """Put in an entry, unless there is one of its key: return that one."""
        entry = (entry[0] or 1, *entry[1:])  # 0 stands where there is none
        key = entry[: self._key]
        for table in self._tables:
            found = table.find(key)
            if found is not None:
                return found
        if not self._tables or self._tables[-1].is_full:
            places = SMALLEST << len(self._tables)
            self._tables.append(_Table(places, self._width))
        self._tables[-1].put(entry)
        return None


class _Table:
    """Places for entries in one file: an entry lies where its first number says, or behind."""

    def __init__(self, places: int, width: int) -> None:
        self._width = width
        self._last = places - 1  # their number is a power of two
        self._limit = int(FULL * places)
        self._count = 0
        with tempfile.TemporaryFile(prefix="rewarddiff-") as file:
            file.truncate(8 * places * width)
            content = mmap.mmap(file.fileno(), 0)
        self._numbers = memoryview(content).cast("Q")

    @property
    def is_full(self) -> bool:
        return self._count >= self._limit

    def find(self, key: tuple[int, ...]) -> tuple[int, ...] | None:
        numbers, width = self._numbers, self._width
        place = (key[0] & self._last) * width
        while numbers[place]:
            if numbers[place] == key[0]:
                entry = tuple(numbers[place : place + width])
                if entry[: len(key)] == key:
                    return entry
            place = self._next(place)
        return None

    def put(self, entry: tuple[int, ...]) -> None:
        place = (entry[0] & self._last) * self._width
        while self._numbers[place]:
            place = self._next(place)
        for number, value in enumerate(entry):
            self._numbers[place + number] = value
        self._count += 1

    def _next(self, place: int) -> int:
        return (place // self._width + 1 & self._last) * self._width
