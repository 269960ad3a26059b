"""Preference data in, as a stream of groups; every row is accounted for in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path

from rewarddiff.data.clean import Seen, clean, merge
from rewarddiff.data.files import Row
from rewarddiff.data.formats import FORMATS, Format, RowError, detect, named, nearest
from rewarddiff.data.formats.base import subset
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.data.sources import Stream, streams
from rewarddiff.errors import UserError
from rewarddiff.records import Group

PEEK = 100
"""Rows looked at to tell the format."""


def read(source: str | Path, *, format: str | None = None, split: str | None = None, ledger: Ledger) -> Iterator[Group]:
    """The groups of a file, a folder, a Hugging Face dataset (folder or hub name) or "demo".

    Files are JSONL, JSON, CSV, TSV or Parquet, each also gzipped, read row by row. The format is told from
    the columns unless it is named. Rows that cannot be used are counted in `ledger` and left out; of groups
    with the same prompt and responses the first stays.

    Raises:
        UserError: no such source, unknown columns, or a file that ends in the middle (after what could be
            read of it).
    """
    chosen = named(format) if format else None
    found = streams(source, split)
    return _checked(chain.from_iterable(_groups(stream, chosen, ledger) for stream in found), ledger)


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


def _groups(stream: Stream, chosen: Format | None, ledger: Ledger) -> Iterator[tuple[Group, int]]:
    """Groups with the number of rows that each came from."""
    head, rows = _peek(stream.rows)
    form = chosen or _detect(stream, head)
    if form is None:
        for row in head:
            ledger.drop(Reason.UNREADABLE, row.source, detail=row.problem)
        return
    converted = _converted(stream, form, chain(head, rows), ledger)
    if not form.gather:
        yield from ((group, 1) for group in converted)
        return
    for _, run in groupby(converted, key=lambda group: group.prompt):
        yield from _gathered(list(run), ledger)


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
    best, missing = nearest(readable[0].values)
    if len(missing) == len(best.columns):
        known = "; ".join(f"{form.name} ({', '.join(form.columns)})" for form in FORMATS)
        raise UserError(
            f"{stream.path or stream.name}:{readable[0].source.rpartition(':')[2]}: columns "
            f"{', '.join(readable[0].values)} are in no known format; rename them to those of one of: {known}"
        )
    cause = f"missing {', '.join(missing)}" if missing else "its columns are there but do not hold what they should"
    raise UserError(
        f"{stream.path or stream.name}:{readable[0].source.rpartition(':')[2]}: columns "
        f"{', '.join(readable[0].values)} are in no known format, the nearest is {best.name} "
        f"({', '.join(best.columns)}): {cause}; rename the columns, or name the format"
    )


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
        except (TypeError, ValueError, AttributeError, KeyError) as error:
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
