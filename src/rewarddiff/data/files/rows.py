"""What the readers of JSON, CSV and Parquet share: a row, errors, and what is no row by its size."""

from __future__ import annotations

import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, AnyStr

from rewarddiff.writing import cut

HEAD = 1 << 16
"""Bytes at the beginning of a file from which its form is told."""

MAX_LINE = 1 << 23
"""Length of the longest row that is read, in bytes or characters: no row is that long. What JSON says
in so many bytes takes up to thirty times as much memory."""

ENDLESS = 16
"""A line that goes on for so many of the longest rows is none, and what it is in no file of rows."""

DEEPEST = 100
"""Lists and objects within each other in the deepest row that is read."""

TOO_LONG = f"a line of more than {MAX_LINE >> 20} MiB, longer than any row; write one row a line"

MOST_PARTS = 250_000
"""Lists and objects of the largest row: they take more memory than the text that says them."""

CROWDED = f"more than {MOST_PARTS:,} lists and objects"

TOO_DEEP = f"more than {DEEPEST} lists and objects within each other"

NOT_UTF8 = "not valid UTF-8"

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its number from 1, and its values, or None and the `problem`.

    The number is that of the line a row begins on; in a JSON array and in Parquet it is the
    row's own. It stands for several rows where a file is broken so that they cannot be told apart.
    `note` says how the file was read where that is not as its name says. `original` is the row as it
    stands in the file where its columns were given other names; None: they were not. `size` is about
    its length in the file, 0 where nobody knows.
    """

    number: int
    values: dict[str, Any] | None
    problem: str = ""
    stands_for: int = 1
    note: str = ""
    original: dict[str, Any] | None = None
    size: int = 0

    @property
    def as_written(self) -> dict[str, Any] | None:
        """The row with the names that its columns have in the file."""
        return self.values if self.original is None else self.original


class Cell(str):
    """A text from a cell that can hold nothing else: a list or conversation in it is JSON."""

    __slots__ = ()


class DamagedError(Exception):
    """The file is not what its suffix says, or no longer."""


class RefusedError(Exception):
    """The file cannot be read as a whole: the cause, the mend, and the line (0: none)."""

    def __init__(self, cause: str, mend: str, line: int = 0) -> None:
        super().__init__(f"{cause}; {mend}")
        self.line = line


def beginning(stream: io.BufferedReader) -> bytes:
    """Return some bytes from the first that is no blank, fewer where data is damaged there.

    The stream is rewound.
    """
    head = b""
    # Where data is damaged the reader comes to the same place, and says so.
    with suppress(EOFError, zlib.error):
        block = stream.read1(HEAD).removeprefix(BOM)
        while block and len(head) < HEAD:
            head = (head + block).lstrip()
            block = stream.read1(HEAD)
    stream.seek(0)
    return head


def limited_lines(readline: Callable[[int], AnyStr]) -> Iterator[tuple[AnyStr, bool]]:
    """Yield every line, and whether it is longer than any row: then only its beginning.

    Raises:
        RefusedError: a line does not end.
    """
    number = 0
    while line := readline(MAX_LINE):
        number += 1
        too_long = len(line) == MAX_LINE and not _ends(line)
        yield line, too_long
        # Read on to the end of the line without holding it.
        pieces = 1
        while too_long and line and not _ends(line):
            if pieces == ENDLESS:
                raise RefusedError(
                    f"a line that goes on for more than {ENDLESS * MAX_LINE >> 20} MiB",
                    "give a file with one row a line",
                    number,
                )
            line = readline(MAX_LINE)
            pieces += 1


def _ends(line: str | bytes) -> bool:
    return line[-1:] in ("\n", "\r", b"\n")


def is_too_deep(value: Any) -> bool:
    """Tell whether lists and objects lie deeper within each other than in any row."""
    level = [value]
    for _ in range(DEEPEST):
        parts: list[Any] = []
        for outer in level:
            inner = outer.values() if isinstance(outer, dict) else outer
            parts += [part for part in inner if isinstance(part, dict | list)]
        if not parts:
            return False
        level = parts
    return True


def check_columns(names: Sequence[str], line: int = 0) -> None:
    """Refuse two columns of one name; names that are empty are no names."""
    for name, times in Counter(names).items():
        if name and times > 1:
            raise RefusedError(
                f"column {cut(name)} stands twice", "rename or delete one of the two", line
            )
