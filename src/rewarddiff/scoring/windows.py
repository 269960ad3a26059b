"""The rows of the data in windows: what is scored, written and gone on with as one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from rewarddiff.data import sources as data_sources
from rewarddiff.data.columns import Columns
from rewarddiff.data.passing import UnreadRow, count_rows, passing
from rewarddiff.hashing import digest

WINDOW = 256
"""Rows of a window. Larger ones are read a little faster, and a kill loses more of them."""

BLOCK = 1 << 20
"""Bytes of a file that are held at a time."""


@dataclass(frozen=True)
class Data:
    """Rows of files, folders or datasets, one source after the other.

    Attributes:
        format, split, columns: see `data.read`.
    """

    sources: tuple[str, ...]
    format: str | None = None
    split: str | None = None
    columns: Columns | None = None

    def rows(self) -> Iterator[UnreadRow]:
        return passing(self.sources, format=self.format, split=self.split, columns=self.columns)

    def windows(self) -> Iterator[tuple[int, list[UnreadRow]]]:
        """Yield the windows with their numbers."""
        rows = self.rows()
        number = 0
        while window := list(islice(rows, WINDOW)):
            yield number, window
            number += 1

    def count(self) -> int | None:
        """Return about how many rows there are; None where that is not known."""
        return count_rows(self.sources, self.split)

    def files(self) -> list[Path]:
        """Return the files that are read; none of a dataset's name."""
        files: list[Path] = []
        for source in self.sources:
            files += data_sources.paths(source, self.split)
        return files

    def identity(self) -> str:
        """Return a hash of the content of all files, and of how they are read."""
        settings = "\0".join([*self.sources, f"{self.format}", f"{self.split}"])
        if self.columns:
            settings += "\0" + json.dumps(dict(self.columns), sort_keys=True)
        head = settings.encode("utf-8", "surrogateescape")
        return digest(chain([head], _blocks(self.files())))


def _blocks(files: Iterable[Path]) -> Iterator[bytes]:
    for file in files:
        yield f"{file.name}\0{file.stat().st_size}\0".encode("utf-8", "surrogateescape")
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                yield block
