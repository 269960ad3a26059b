"""Rows of numbers in a folder: written one after the other, read through memory maps.

A row has a run of numbers in every column: the tokens of its text, their count, its scores. A column
is two files, `NAME.values` with the numbers of all rows and `NAME.ends` with the place behind every
row's last one. Nothing of them is held in memory but what the system keeps of files that were read.
"""

from __future__ import annotations

import json
import mmap
from array import array
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarddiff import files
from rewarddiff.hashing import digest
from rewarddiff.room import room_for

ABOUT = "columns.json"
"""Written last: the types of the columns, the number of rows, and a hash of all they hold."""

ENDS = "q"
"""The type of places, as `array` names types: 64 bits."""

BUFFER = 1 << 14
"""Numbers of a column that are gathered before they are written."""


class Ragged:
    """Rows of numbers that `RaggedWriter` wrote.

    Attributes:
        digest: a hash of all numbers.
        keep: what lives as long as the rows do, as a temporary folder.
    """

    def __init__(self, folder: Path, keep: object = None) -> None:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text())
        self._rows: int = about["rows"]
        self.digest: str = about["digest"]
        self.keep = keep
        self._columns = {}
        for name, type_code in about["columns"].items():
            values = _mapped(folder / f"{name}.values", type_code)
            self._columns[name] = Runs(values, _mapped(folder / f"{name}.ends", ENDS))

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> Runs:
        return self._columns[name]


class Runs(Sequence[NDArray[Any]]):
    """One column: its numbers, and where the run of every row ends."""

    def __init__(self, values: NDArray[Any], ends: NDArray[np.int64]) -> None:
        self.values = values
        self.ends = ends

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: Any) -> Any:
        start = self.ends[row - 1] if row else 0
        return self.values[start : self.ends[row]]


class Lengths(Sequence[int]):
    """How many numbers every row has in a column."""

    def __init__(self, runs: Runs) -> None:
        self._ends = runs.ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: Any) -> Any:
        start = int(self._ends[row - 1]) if row else 0
        return int(self._ends[row]) - start


class Numbers(Sequence[int]):
    """The one number that every row has in a column."""

    def __init__(self, runs: Runs) -> None:
        self._values = runs.values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, row: Any) -> Any:
        return int(self._values[row])


class RaggedWriter:
    """Writes rows into an empty folder; they are there once the `with` block ends without an error.

    Args:
        columns: name → type of its numbers, as `array` names types: H for tokens below 65,536, i, q,
            Q, and d for floats, B for bytes.
    """

    def __init__(self, folder: Path, columns: Mapping[str, str]) -> None:
        self._folder = folder
        self._types = dict(columns)
        self._rows = 0
        self._columns = {name: _Column(folder / name, code) for name, code in columns.items()}

    def __enter__(self) -> RaggedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        hashes = [column.close() for column in self._columns.values()]
        if error is None:
            about = {
                "rows": self._rows,
                "columns": self._types,
                "digest": digest([json.dumps([self._types, hashes]).encode()]),
            }
            files.write_text(self._folder / ABOUT, json.dumps(about))

    def __len__(self) -> int:
        return self._rows

    def add(self, **runs: Iterable[Any]) -> None:
        """Write a row: the run of each column."""
        for name, column in self._columns.items():
            column.add(runs[name])
        self._rows += 1


class _Column:
    """The two files of a column."""

    def __init__(self, path: Path, type_code: str) -> None:
        self._values = _NumberFile(path.with_name(f"{path.name}.values"), type_code)
        self._ends = _NumberFile(path.with_name(f"{path.name}.ends"), ENDS)

    def add(self, run: Iterable[Any]) -> None:
        values, ends = self._values, self._ends
        values.buffer.extend(run)
        ends.buffer.append(values.written + len(values.buffer))
        if len(values.buffer) >= BUFFER:
            values.write()
        if len(ends.buffer) >= BUFFER:
            ends.write()

    def close(self) -> list[str]:
        """Write what is left, and return the hashes of all."""
        return [self._values.close(), self._ends.close()]


class _NumberFile:
    """A file of numbers of one type, and a hash of them.

    Attributes:
        buffer: numbers that are still to be written.
        written: how many are.
    """

    def __init__(self, path: Path, type_code: str) -> None:
        self.buffer = array(type_code)
        self.written = 0
        self._path = path
        self._file = path.open("wb")
        self._hash = blake2b(digest_size=16)

    def write(self) -> None:
        self._hash.update(self.buffer)
        with room_for(self._path, memoryview(self.buffer).nbytes):
            self.buffer.tofile(self._file)
            self._file.flush()
        self.written += len(self.buffer)
        del self.buffer[:]

    def close(self) -> str:
        """Write what is left, and return the hash of all."""
        self.write()
        self._file.close()
        return self._hash.hexdigest()


def _mapped(path: Path, type_code: str) -> NDArray[Any]:
    """Return the numbers of a file as an array that is read when looked into."""
    if not path.stat().st_size:  # nothing cannot be mapped
        return np.zeros(0, type_code)
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(content, type_code)
