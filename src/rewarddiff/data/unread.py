"""Which columns of a source nothing is read from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from rewarddiff.data.columns import Columns
from rewarddiff.data.files import Row
from rewarddiff.data.formats import Format, RowError, Values, named
from rewarddiff.data.formats.cells import SHAREGPT_KEYS, is_turn, subset, turns
from rewarddiff.data.formats.conversations import EXTRAS
from rewarddiff.data.ledger import Ledger
from rewarddiff.data.read import NOT_AS_EXPECTED, described_streams, with_formats
from rewarddiff.data.sources import Stream


def unread_columns(
    source: str | Path,
    *,
    format: str | None = None,
    split: str | None = None,
    columns: Columns | None = None,
) -> list[str]:
    """Return the columns, and keys of turns, that nothing is read from.

    It is told by the first rows of every file that can be used.
    """
    named_format = named(format) if format else None
    unread: set[str] = set()
    described = described_streams(source, split, columns)
    for stream, head, form in with_formats(described, named_format, Ledger()):
        names: set[str] = set()
        names_read: set[str] = set()
        for values in _usable(form, stream, head):
            names |= values.keys()
            names_read |= values.columns_read
            unread |= _unread_keys(values)
        unread |= names - names_read
    return sorted(unread)


class _WatchedRow(dict[str, Any]):
    """A row that remembers which of its columns were read."""

    def __init__(self, values: Values) -> None:
        super().__init__(values)
        self.columns_read: set[str] = set()

    def __getitem__(self, column: str) -> Any:
        self.columns_read.add(column)
        return super().__getitem__(column)

    def get(self, column: str, default: Any = None) -> Any:
        self.columns_read.add(column)
        return super().get(column, default)


def _usable(form: Format, stream: Stream, head: Iterable[Row]) -> Iterator[_WatchedRow]:
    """Yield the rows that can be used, each read once."""
    convert = form.converter(stream.path)
    for row in head:
        if row.values is None:
            continue
        values = _WatchedRow(row.values)
        subset(values)
        with suppress(RowError, *NOT_AS_EXPECTED):
            convert(values)
            form.remark(values)
            if form.parts is not None:
                list(form.parts(values))
            yield values


def _unread_keys(values: Values) -> set[str]:
    """Return the keys of a row's turns that nothing is read from, each with its column."""
    unread = set()
    for column, value in values.items():
        for turn in turns(value) or []:
            if not is_turn(turn):
                continue
            for key in turn.keys() - {"role", "content", *SHAREGPT_KEYS, *EXTRAS}:
                if turn[key]:
                    unread.add(f"{key} of the turns in {column}")
    return unread
