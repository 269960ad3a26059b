"""Preference data in, as a stream of groups; every row is accounted for in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

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


def read(source: str | Path, *, format: str | None = None, split: str | None = None, ledger: Ledger) -> Iterator[Group]:
    """The groups of a file, a folder, a Hugging Face dataset (folder or hub name) or "demo".

    Files are JSONL, JSON, CSV, TSV or Parquet, each also gzipped, read row by row. The format is told from
    the columns unless it is named. Rows that cannot be used are counted in `ledger` and left out; of groups
    with the same prompt and responses the first stays.

    Raises:
        UserError: no such source, unknown columns, or a file that ends in the middle (after what could be
            read of it, but for prompts that are spread over rows).
    """
    chosen = named(format) if format else None
    found = streams(source, split)
    return _checked(_of_all(found, chosen, ledger), ledger)


def unread_columns(source: str | Path, *, format: str | None = None, split: str | None = None) -> list[str]:
    """The columns, and keys of turns, that nothing is read from, by the first rows of every file that can be used."""
    chosen = named(format) if format else None
    unread: set[str] = set()
    for stream in streams(source, split):
        head, _ = _peek(stream.rows)
        form = chosen or _detect(stream, head)
        if form is None:
            continue
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


def _of_all(found: Iterable[Stream], chosen: Format | None, ledger: Ledger) -> Iterator[tuple[Group, int]]:
    """Groups with the number of rows that each came from; those gathered from several rows come last."""
    spread: dict[Prompt, list[Group]] = {}
    for stream in found:
        yield from ((group, 1) for group in _groups(stream, chosen, ledger, spread))
    for groups in spread.values():
        yield from _gathered(groups, ledger)


def _groups(
    stream: Stream, chosen: Format | None, ledger: Ledger, spread: dict[Prompt, list[Group]]
) -> Iterator[Group]:
    """Groups that are one row each; where a prompt is spread over rows, these are added to `spread` instead."""
    head, rows = _peek(stream.rows)
    form = chosen or _detect(stream, head)
    if form is None:
        for row in head:
            ledger.drop(Reason.UNREADABLE, row.source, detail=row.problem)
        return
    converted = _converted(stream, form, chain(head, rows), ledger)
    if not form.gather:
        yield from without_repeated_prompts(converted, ledger)
        return
    for group in converted:
        spread.setdefault(group.prompt, []).append(group)


def _peek(rows: Iterator[Row]) -> tuple[list[Row], Iterator[Row]]:
    head: list[Row] = []
    for row in rows:
        head.append(row)
        if len(head) == PEEK:
            break
    return head, rows


def _detect(stream: Stream, head: list[Row]) -> Format | None:
    """The format of the first row that fits one; None if there is no readable row at all."""
    readable = [row for row in head if row.values is not None]
    for row in readable:
        if row.values is not None and (found := detect(row.values)):
            return found
    if not readable or readable[0].values is None:
        return None
    place = f"{stream.path or stream.name}:{readable[0].source.rpartition(':')[2]}"
    raise UserError(f"{place}: columns {', '.join(readable[0].values)} {misfit(readable[0].values)}")


def _converted(stream: Stream, form: Format, rows: Iterator[Row], ledger: Ledger) -> Iterator[Group]:
    convert = form.prepare(stream.path)
    for row in rows:
        if row.values is None:
            ledger.drop(Reason.UNREADABLE, row.source, detail=row.problem)
            continue
        try:
            missing = [column for column in form.columns if column not in row.values]
            if missing:
                raise RowError(Reason.MISSING_FIELD, f"no {', '.join(missing)}")
            group = convert(row.values)
        except RowError as error:
            ledger.drop(error.reason, row.source, detail=error.detail)
        except NOT_AS_EXPECTED as error:
            ledger.drop(Reason.MISSING_FIELD, row.source, detail=f"not as {form.name} has it: {error}")
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
