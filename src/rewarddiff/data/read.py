"""Preference data in, as a stream of groups; every row is accounted for in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rewarddiff.data.clean import Seen, clean, merge, without_repeated_prompts
from rewarddiff.data.files import Row
from rewarddiff.data.formats import Format, RowError, detect, misfit, named
from rewarddiff.data.formats.base import WatchedRow, subset, unread_keys
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.data.sources import Stream, streams
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Prompt

PEEK = 100
"""Rows looked at to tell the format."""


def read(
    source: str | Path, *, format: str | None = None, split: str | None = None, ledger: Ledger
) -> Iterator[Group]:
    """The groups of a file, a folder, a Hugging Face dataset (folder or hub name) or "demo".

    Files are JSONL, JSON, CSV, TSV or Parquet, each also gzipped, read row by row. The format is
    told from the columns unless it is named. Rows that cannot be used are counted in `ledger` and
    left out; of groups with the same prompt and responses the first stays.

    Raises:
        UserError: no such source, unknown columns, a file of which no row can be read, or one that
            ends in the middle (after what could be read of it, but for prompts that are spread over
            rows).
    """
    chosen = named(format) if format else None
    found = streams(source, split)
    return _checked(_of_all(found, chosen, ledger), ledger)


def unread_columns(
    source: str | Path, *, format: str | None = None, split: str | None = None
) -> list[str]:
    """The columns, and keys of turns, that nothing is read from, by the first rows of every file
    that can be used."""
    chosen = named(format) if format else None
    unread: set[str] = set()
    for stream in streams(source, split):
        head = _head(stream, Ledger())
        if not head:
            continue
        form = chosen or _detect(stream, head)
        columns: set[str] = set()
        columns_read: set[str] = set()
        for values in _usable(form, stream, head):
            columns |= values.keys()
            columns_read |= values.columns_read
            unread |= unread_keys(values)
        unread |= columns - columns_read
    return sorted(unread)


def _usable(form: Format, stream: Stream, head: Iterable[Row]) -> Iterator[WatchedRow]:
    """The rows that can be used, each read once."""
    convert = form.prepare(stream.path)
    for row in head:
        if row.values is None:
            continue
        values = WatchedRow(row.values)
        subset(values)
        with suppress(RowError, *NOT_AS_EXPECTED):
            convert(values)
            yield values


NOT_AS_EXPECTED = (TypeError, ValueError, AttributeError, KeyError, ArithmeticError)
"""What a converter raises where a row's values are of other kinds than its format has."""


def _checked(groups: Iterator[tuple[Group, int]], ledger: Ledger) -> Iterator[Group]:
    seen = Seen()
    for group, rows in groups:
        try:
            group = clean(group, ledger)
            seen.check(group)
        except RowError as error:
            ledger.drop(error.reason, group.source, group.id, error.detail, rows)
            continue
        ledger.keep(rows)
        yield seen.identify(group)


def _of_all(
    found: Iterable[Stream], chosen: Format | None, ledger: Ledger
) -> Iterator[tuple[Group, int]]:
    """Groups with the number of rows that each came from; those gathered from several rows come
    last."""
    spread: dict[Prompt, list[Group]] = {}
    for stream in found:
        yield from ((group, 1) for group in _groups(stream, chosen, ledger, spread))
    for groups in spread.values():
        yield from _gathered(groups, ledger)


def _groups(
    stream: Stream, chosen: Format | None, ledger: Ledger, spread: dict[Prompt, list[Group]]
) -> Iterator[Group]:
    """Groups that are one row each; where a prompt is spread over rows, these are added to `spread`
    instead."""
    head = _head(stream, ledger)
    if not head:
        return
    form = chosen or _detect(stream, head)
    converted = _converted(stream, form, chain(head, stream.rows), ledger)
    if not form.gather:
        yield from without_repeated_prompts(converted, ledger)
        return
    for group in converted:
        spread.setdefault(group.prompt, []).append(group)


def _head(stream: Stream, ledger: Ledger) -> list[Row]:
    """The rows by which the format is told: from the first that can be read, those before it
    counted; empty: no rows.

    Raises:
        UserError: there are rows, and none can be read: a file must not be left out whole because
            it is a small share of a folder.
    """
    first_unreadable: Row | None = None
    dropped_before = ledger.dropped
    for row in stream.rows:
        if row.values is not None:
            return [row, *islice(stream.rows, PEEK - 1)]
        _drop_unreadable(row, ledger)
        first_unreadable = first_unreadable or row
    if first_unreadable is not None:
        raise UserError(
            f"{_place(stream, first_unreadable)}: none of {ledger.dropped - dropped_before} rows can be read "
            f"({first_unreadable.problem}); mend the file, or take it away"
        )
    return []


def _drop_unreadable(row: Row, ledger: Ledger) -> None:
    ledger.drop(Reason.UNREADABLE, row.source, detail=row.problem, rows=row.stands_for)


def _place(stream: Stream, row: Row) -> str:
    """`file:row` with the file's whole path."""
    return f"{stream.path or stream.name}:{row.source.rpartition(':')[2]}"


def _detect(stream: Stream, head: list[Row]) -> Format:
    """The format of the first row that fits one; the first row is one that can be read."""
    readable = [row.values for row in head if row.values is not None]
    for values in readable:
        if (fitting := detect(values)) is not None:
            return fitting
    columns = ", ".join(readable[0])
    what = _rows_inside(readable[0]) or f"columns {columns} {misfit(readable[0])}"
    raise UserError(f"{_place(stream, head[0])}: {what}")


def _rows_inside(values: Mapping[str, Any]) -> str:
    """What to do with an object that holds all rows in a list under one of its keys; empty: it
    holds none."""
    for key, value in values.items():
        if (
            isinstance(value, list)
            and value
            and isinstance(value[0], dict)
            and detect(value[0]) is not None
        ):
            return (
                f"one object that holds {len(value)} rows under {key}; write that list alone into a file named .json, "
                "or one row a line into one named .jsonl"
            )
    return ""


def _converted(
    stream: Stream, form: Format, rows: Iterator[Row], ledger: Ledger
) -> Iterator[Group]:
    convert = form.prepare(stream.path)
    for row in rows:
        if row.note:
            ledger.change(Reason.OTHER_FORM, row.source, detail=row.note)
        if row.values is None:
            _drop_unreadable(row, ledger)
            continue
        try:
            missing = [column for column in form.columns if column not in row.values]
            if missing:
                raise RowError(Reason.MISSING_FIELD, f"no {', '.join(missing)}")
            group = convert(row.values)
        except RowError as error:
            ledger.drop(error.reason, row.source, detail=error.detail)
        except NOT_AS_EXPECTED as error:
            ledger.drop(
                Reason.MISSING_FIELD, row.source, detail=f"not as {form.name} has it: {error}"
            )
        else:
            yield replace(group, source=row.source, subset=subset(row.values))


def _gathered(groups: list[Group], ledger: Ledger) -> Iterator[tuple[Group, int]]:
    """One prompt's rows as one group, if any can be used; rows that say nothing new are dropped."""
    filled = []
    for group in groups:
        if all(response.strip() for response in group.responses):
            filled.append(group)
        else:
            ledger.drop(Reason.EMPTY_RESPONSE, group.source, group.id)
    dropped = 0

    def change(reason: Reason, group: Group, detail: str) -> None:
        ledger.change(reason, group.source, group.id, detail)

    def drop(reason: Reason, group: Group, detail: str) -> None:
        nonlocal dropped
        dropped += 1
        ledger.drop(reason, group.source, group.id, detail)

    if filled:
        merged = merge(filled, change, drop)
        yield merged, len(filled) - dropped
