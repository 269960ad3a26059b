"""Columns under other names: `{prompt: question}` reads the column question as the prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from typing import Any

from rewarddiff.data.files import Row
from rewarddiff.data.formats import FORMATS
from rewarddiff.data.formats.cells import SUBSETS
from rewarddiff.data.formats.nearest import MAIN
from rewarddiff.data.formats.pairs import GRADES
from rewarddiff.data.sources import Stream
from rewarddiff.errors import UserError, suggest

NAMES = 1000
"""Columns of a row that are looked at for one that may be meant."""

PEEK = 100
"""Rows looked at to tell the format, and whether a column is there at all."""

LONG = 10
"""Digits of a place that no list has."""

MISSING = object()
"""What stands where a row has no such column."""

PLAIN = ("id", "system", "tools", "margin", "coefficient", "scores")
"""Columns that the plain formats read where they are there."""

SELDOM = (
    *SUBSETS,
    *(grade.format(side) for side in ("chosen", "rejected") for grade in GRADES),
    *(f"rating_{number}" for number in range(2, 6)),
    *("comparison_id", "extra", "prediction 3", "prediction 4", "processed_generation"),
    *("ranks", "rating", "topic", "turn"),
    *("item", "reason", "seconds", "source_a", "source_b", "steps"),
    *("annotations", "meta"),
)
"""Columns that other formats read where they are there."""

Columns = Mapping[str, str]
"""Our name → the file's; a dotted one reaches into objects and lists: meta.question, answers.0."""


def renamed(streams: list[Stream], columns: Columns | None, *, strict: bool = True) -> list[Stream]:
    """Return the streams with these columns under our names, before any format is told.

    A column that is read from elsewhere does not stand for itself any more, nor does the one it is
    read from.

    Args:
        strict: refuse a file that has not all of these columns; otherwise those that it has are
            renamed.

    Raises:
        UserError: no format reads one of these names; (while the rows are read) no row has such a
            column.
    """
    if not columns:
        return streams
    _require_read(columns)
    return [replace(s, rows=_renamed_rows(s, columns, strict=strict)) for s in streams]


def names_read() -> set[str]:
    """Return the columns that any format reads."""
    names = {*PLAIN, *SELDOM}
    for form in FORMATS:
        names.update(form.columns)
    return names


def _require_read(columns: Columns) -> None:
    """Raise a UserError where one of our names is none: nothing would be read from it."""
    names = names_read()
    for name in columns.keys() - names:
        if not get_close_matches(name, names, n=1):
            # All names would be a hundred.
            names = set(PLAIN)
            for form in FORMATS:
                if form.name in MAIN:
                    names.update(form.columns)
        raise UserError(
            f"columns: {name}={columns[name]}: no format reads a column '{name}'"
            f"{suggest(name, names)}; ours stand first, as in prompt=question"
        )


def _renamed_rows(stream: Stream, columns: Columns, *, strict: bool) -> Iterator[Row]:
    absent = dict(columns)
    names: dict[str, None] = {}
    first: Row | None = None
    readable = 0
    for row in stream.rows:
        if row.values is not None:
            first = first or row
            readable += 1
            names.update(dict.fromkeys(islice(_names(row.values), NAMES)))
            for name, column in columns.items():
                if name in absent and taken(row.values, column) is not MISSING:
                    del absent[name]
            if readable == PEEK and strict:
                _require(stream, first, absent, names)
            row = replace(row, values=_renamed(row.values, columns), original=row.values)
        yield row
    if first is not None and readable < PEEK and strict:
        _require(stream, first, absent, names)


def _names(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the row's columns, and what stands in those that are objects."""
    for name, value in values.items():
        yield name
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in value)


def _require(stream: Stream, first: Row, absent: Columns, names: Mapping[str, None]) -> None:
    for name, column in absent.items():
        place = f"{stream.path or stream.name}:{first.number}"
        raise UserError(
            f"{place}: no column '{column}' to read {name} from{suggest(column, names)}"
        )


def _renamed(values: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Return a row with our names for some of its columns."""
    renamed_values = dict(values)
    cells = {}
    for name, column in columns.items():
        cell = taken(values, column)
        if cell is not MISSING:
            cells[name] = cell
            renamed_values = _without(renamed_values, column)
    return {**renamed_values, **cells}


def taken(values: Any, column: str) -> Any:
    """Return what stands under a column, or under a dotted path into one; MISSING: nothing does."""
    if isinstance(values, Mapping) and column in values:
        return values[column]
    head, dot, rest = column.partition(".")
    inner = MISSING
    if isinstance(values, Mapping):
        inner = values.get(head, MISSING)
    elif isinstance(values, list | tuple) and _is_place(head, len(values)):
        inner = values[int(head)]
    return taken(inner, rest) if dot and inner is not MISSING else inner


def _is_place(text: str, count: int) -> bool:
    """Tell whether a text is the place of something in a list of so many."""
    return text.isdecimal() and len(text) < LONG and int(text) < count


def _without(values: Any, column: str) -> Any:
    """Return the row without what was taken from it; of a list it was taken from nothing is left."""
    if column in values:
        return {name: value for name, value in values.items() if name != column}
    head, _, rest = column.partition(".")
    others = {name: value for name, value in values.items() if name != head}
    inner = values.get(head)
    if not isinstance(inner, Mapping):
        return others
    inner_others = _without(inner, rest)
    return {**others, head: inner_others} if inner_others else others
