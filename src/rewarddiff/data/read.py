"""Preference data in, as a stream of groups; every row is accounted for in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from rewarddiff.data.clean import clean, without_repeated_prompts
from rewarddiff.data.columns import PEEK, Columns, renamed
from rewarddiff.data.dataset_info import described
from rewarddiff.data.files import Row
from rewarddiff.data.formats import PROMPTS, Format, RowError, Values, detect, misfit, named
from rewarddiff.data.formats.base import FieldError
from rewarddiff.data.formats.cells import subset
from rewarddiff.data.holding import held
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.data.merge import merge
from rewarddiff.data.seen import Seen
from rewarddiff.data.sources import Stream, streams
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Prompt
from rewarddiff.writing import cut, listed

NOT_AS_EXPECTED = (
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)
"""What a converter raises where a row's values are of other kinds than its format has."""


def read(
    source: str | Path,
    *,
    format: str | None = None,
    split: str | None = None,
    columns: Columns | None = None,
    strict: bool = True,
    ledger: Ledger,
) -> Iterator[Group]:
    """Return the groups of a file, a folder, a Hugging Face dataset (folder or hub name) or "demo".

    Files are JSONL, JSON, CSV, TSV or Parquet, each also gzipped, read row by row. The format is
    told from the columns unless it is named. Rows that cannot be used are counted in `ledger` and
    left out; of groups with the same prompt and responses the first stays.

    Args:
        columns: our name of a column → the file's, for files in no known format:
            {"prompt": "question"}. A dotted name reaches into objects and lists.
        strict: refuse a file that has not all of `columns`; otherwise those that it has are read so.

    Raises:
        UserError: no such source, unknown columns, a file of which no row can be read, or one that
            ends in the middle (after what could be read of it, but for prompts that are spread over
            rows).
    """
    form = named(format) if format else None
    described = described_streams(source, split, columns, strict=strict)
    return _checked(_groups(described, form, ledger), ledger)


def described_streams(
    source: str | Path, split: str | None, columns: Columns | None, *, strict: bool = True
) -> list[Stream]:
    """Return a source's streams with the names of their columns as our formats have them.

    Where no columns are named, LLaMA-Factory's dataset_info.json beside a file says them.
    """
    if columns:
        return renamed(streams(source, split), columns, strict=strict)
    return [described(stream) for stream in streams(source, split)]


def _checked(groups: Iterator[tuple[Group, int, Format]], ledger: Ledger) -> Iterator[Group]:
    """Yield the groups that can be used; each comes with the number of its rows and their format."""
    seen = Seen()
    for group, rows, form in groups:
        try:
            group = clean(group, ledger, to_compare=form.to_compare)
            seen.check(group)
        except RowError as error:
            ledger.drop(error.reason, group, error.detail, rows=rows)
            continue
        ledger.keep(rows)
        yield seen.identify(group)


def _groups(
    streams: Iterable[Stream], named_format: Format | None, ledger: Ledger
) -> Iterator[tuple[Group, int, Format]]:
    """Yield groups with the number and format of the rows that each came from.

    Those of several rows come last.
    """
    spread: dict[tuple[Format, Prompt], list[Group]] = {}
    for stream, head, form in with_formats(streams, named_format, ledger):
        groups = _converted(stream, form, _in_parts(form, chain(head, stream.rows)), ledger)
        if form.gather:
            for group in groups:
                spread.setdefault((form, group.prompt), []).append(group)
        else:
            for group in without_repeated_prompts(groups, ledger):
                yield group, 1, form
    for (form, _), groups_of_prompt in spread.items():
        for group, rows in _gathered(form, groups_of_prompt, ledger):
            yield group, rows, form


def with_formats(
    streams: Iterable[Stream], named_format: Format | None, ledger: Ledger
) -> Iterator[tuple[Stream, list[Row], Format]]:
    """Yield every stream that has rows, with the first of them and its format."""
    for stream in streams:
        head = _read_head(stream, ledger)
        if head:
            yield stream, head, named_format or _detect_format(stream, head)


def _read_head(stream: Stream, ledger: Ledger) -> list[Row]:
    """Return the rows by which the format is told, from the first that can be read; empty: none.

    Those before it are counted.

    Raises:
        UserError: there are rows, and none can be read: a file must not be left out whole because
            it is a small share of a folder.
    """
    first_unreadable: Row | None = None
    dropped_before = ledger.dropped
    for row in stream.rows:
        if row.values is not None:
            return held(chain([row], stream.rows), PEEK, lambda row: row.size)
        _drop_unreadable(stream, row, ledger)
        if first_unreadable is None:
            first_unreadable = row
    if first_unreadable is not None:
        raise UserError(
            f"{_place(stream, first_unreadable)}: none of {ledger.dropped - dropped_before} rows can "
            f"be read ({first_unreadable.problem}); mend the file, or take it away"
        )
    return []


def _drop_unreadable(stream: Stream, row: Row, ledger: Ledger) -> None:
    place = f"{stream.name}:{row.number}"
    ledger.drop(Reason.UNREADABLE, place, row.problem, rows=row.stands_for)


def _place(stream: Stream, row: Row) -> str:
    """Return "file:row" with the file's whole path."""
    return f"{stream.path or stream.name}:{row.number}"


def _detect_format(stream: Stream, head: list[Row]) -> Format:
    """Return the format of the first row that fits one; the first row is one that can be read.

    Rows are prompts alone only where all of them are.
    """
    strange: Row | None = None
    for row in head:
        form = None if row.values is None else detect(row.values)
        if form is not None and form is not PROMPTS:
            return form
        if strange is None and form is None and row.values is not None:
            strange = row
    if strange is None or strange.values is None:
        return PROMPTS
    columns = listed(strange.values)
    problem = _rows_inside(strange.values) or f"columns {columns} {misfit(strange.values)}"
    raise UserError(f"{_place(stream, strange)}: {problem}")


def _rows_inside(values: Mapping[str, Any]) -> str:
    """Say what to do with an object that holds all rows in a list; empty: it holds none."""
    for key, value in values.items():
        holds_objects = isinstance(value, list) and value and isinstance(value[0], dict)
        if holds_objects and detect(value[0]) is not None:
            return (
                f"one object that holds {len(value)} rows under {cut(key)}; write that list alone "
                "into a file named .json, or one row a line into one named .jsonl"
            )
    return ""


def _in_parts(form: Format, rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows; where one says several things in this format, a row for each."""
    for row in rows:
        if form.parts is None or row.values is None or form.missing(row.values):
            yield row
            continue
        for place, values in enumerate(form.parts(row.values)):
            yield replace(row, values=values, note="" if place else row.note)


def _converted(
    stream: Stream, form: Format, rows: Iterator[Row], ledger: Ledger
) -> Iterator[Group]:
    """Yield the group of every row that can be used."""
    convert = form.converter(stream.path)
    for row in rows:
        place = f"{stream.name}:{row.number}"
        if row.note:
            ledger.change(Reason.OTHER_FORM, place, row.note)
        if row.values is None:
            _drop_unreadable(stream, row, ledger)
            continue
        try:
            _require_columns(form, row.values)
            group = convert(row.values)
        except RowError as error:
            ledger.drop(error.reason, place, error.detail)
        except NOT_AS_EXPECTED as error:
            ledger.drop(Reason.MISSING_FIELD, place, f"not as {form.name} has it: {error}")
        else:
            remark = form.remark(row.values)
            if remark is not None:
                ledger.change(remark, place)
            yield replace(group, source=place, subset=subset(row.values))


def _require_columns(form: Format, values: Values) -> None:
    missing = form.missing(values)
    if missing:
        raise FieldError(f"no {', '.join(missing)}")


def _gathered(form: Format, groups: list[Group], ledger: Ledger) -> Iterator[tuple[Group, int]]:
    """Yield one prompt's rows as one group, if any can be used; repeats among them are dropped."""
    filled = []
    for group in groups:
        if all(response.strip() for response in group.responses):
            filled.append(group)
        else:
            ledger.drop(Reason.EMPTY_RESPONSE, group)
    if filled:
        dropped_before = ledger.dropped
        pooled = filled if form.pool is None else form.pool(filled)
        merged = merge(pooled, ledger.change, ledger.drop)
        repeats = ledger.dropped - dropped_before
        yield merged, len(filled) - repeats
