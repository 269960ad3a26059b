"""Rows in passing: each as it stands in its file, with the group that it reads as.

Nothing is held, merged or left out as a repeat, and the order is that of the files: what is written
beside the user's own rows has a line for each of them. `read` is for training, where repeats count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from rewarddiff.data import files
from rewarddiff.data.clean import (
    repeat_prompts,
    without_repeated_prompt,
    without_unknown_scores,
)
from rewarddiff.data.columns import Columns
from rewarddiff.data.files import Row
from rewarddiff.data.formats import Format, RowError, Values, named
from rewarddiff.data.formats.base import FieldError
from rewarddiff.data.formats.cells import require_few, subset
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.data.read import NOT_AS_EXPECTED, described_streams, with_formats
from rewarddiff.data.sources import Stream, paths, streams
from rewarddiff.records import Group, prompt_text


@dataclass(frozen=True, slots=True)
class PassingRow:
    """One row of a file.

    Attributes:
        place: "file:row", for messages.
        values: the user's row, untouched; None where it cannot even be read.
        groups: what it reads as, one group but in formats where a row says several things: all of
            its responses, in the row's order; empty ones are among them, and equal ones twice. ():
            it cannot be used.
        ledger: what became of this row.
    """

    place: str
    values: dict[str, Any] | None
    groups: tuple[Group, ...]
    ledger: Ledger

    def refuse(self, reason: Reason, detail: str) -> None:
        """Count the row, which seemed to be of use, as one that is not."""
        self.ledger.kept -= 1
        self.ledger.drop(reason, self.place, detail)


class StreamReader:
    """Reads the rows of one file or dataset, each by itself.

    Args:
        head: its first rows, by which it is told whether responses repeat their prompts.
    """

    def __init__(self, stream: Stream, head: Sequence[Row], form: Format) -> None:
        self._name = stream.name
        self._form = form
        self._convert = form.converter(stream.path)
        self._cuts_prompts = False
        if not form.gather:
            groups: list[Group] = []
            for row in head:
                groups += self.read(row).groups
            self._cuts_prompts = repeat_prompts(groups)

    def read(self, row: Row) -> PassingRow:
        """Return the row with its groups; whatever keeps it from being used is counted with it."""
        ledger = Ledger()
        place = f"{self._name}:{row.number}"
        if row.note:
            ledger.change(Reason.OTHER_FORM, place, row.note)
        if row.values is None:
            ledger.drop(Reason.UNREADABLE, place, row.problem, rows=row.stands_for)
            return PassingRow(place, None, (), ledger)
        try:
            groups = tuple(self._groups(row.values, place, ledger))
        except RowError as error:
            ledger.drop(error.reason, place, error.detail)
        except NOT_AS_EXPECTED as error:
            detail = f"not as {self._form.name} has it: {error}"
            ledger.drop(Reason.MISSING_FIELD, place, detail)
        else:
            ledger.keep()
            return PassingRow(place, row.as_written, groups, ledger)
        return PassingRow(place, row.as_written, (), ledger)

    def _groups(self, values: Values, place: str, ledger: Ledger) -> Iterator[Group]:
        missing = self._form.missing(values)
        if missing:
            raise FieldError(f"no {', '.join(missing)}")
        parts = [values] if self._form.parts is None else self._form.parts(values)
        for part in parts:
            yield self._group(part, place, ledger)

    def _group(self, values: Values, place: str, ledger: Ledger) -> Group:
        group = replace(self._convert(values), source=place, subset=subset(values))
        remark = self._form.remark(values)
        if remark is not None:
            ledger.change(remark, place)
        if not self._form.gather:
            group = without_repeated_prompt(group, ledger, to_cut=self._cuts_prompts)
        return _usable(group, ledger)


def _usable(group: Group, ledger: Ledger) -> Group:
    """Return the group if there is a prompt and a response; scores of a part are comparisons."""
    if not prompt_text(group.prompt).strip():
        raise FieldError("the prompt is empty")
    if not group.responses:
        raise FieldError("no response")
    require_few(len(group.responses))
    empty = len(group.responses) - len(filled(group))
    if empty == len(group.responses):
        raise RowError(Reason.EMPTY_RESPONSE, f"{empty} empty")
    if empty:
        ledger.change(Reason.EMPTY_RESPONSE, group, f"{empty} of {len(group.responses)}")
    return without_unknown_scores(group, False, ledger)


def filled(group: Group) -> list[int]:
    """Return the places of the responses that hold a text."""
    return [place for place, response in enumerate(group.responses) if response.strip()]


@dataclass(frozen=True, slots=True)
class UnreadRow:
    """A row that has not been looked into yet: whoever goes on from a later one skips it cheaply."""

    row: Row
    reader: StreamReader

    def read(self) -> PassingRow:
        return self.reader.read(self.row)


def passing(
    sources: Iterable[str | Path],
    *,
    format: str | None = None,
    split: str | None = None,
    columns: Columns | None = None,
) -> Iterator[UnreadRow]:
    """Yield every row of the sources, one after the other.

    Args:
        format, split, columns: see `data.read`.

    Raises:
        UserError: see `data.read`.
    """
    form = named(format) if format else None
    for source in sources:
        for stream in described_streams(source, split, columns):
            yield from _rows(stream, form)


def _rows(stream: Stream, named_format: Format | None) -> Iterator[UnreadRow]:
    unreadable: list[Row] = []
    watched = replace(stream, rows=_watched(stream.rows, unreadable))
    # With one stream there is one head, or none where it has no rows.
    for _, head, form in with_formats([watched], named_format, Ledger()):
        reader = StreamReader(stream, head, form)
        # The head begins with the first row that can be read; those before it are in the file, too.
        before = [row for row in unreadable if row.number < head[0].number]
        for row in chain(before, head, stream.rows):
            yield UnreadRow(row, reader)


def _watched(rows: Iterator[Row], unreadable: list[Row]) -> Iterator[Row]:
    """Yield rows, and remember those that cannot be read."""
    for row in rows:
        if row.values is None:
            unreadable.append(row)
        yield row


def count_rows(sources: Iterable[str | Path], split: str | None = None) -> int | None:
    """Return how many rows the sources hold, or about so many; None where that is not known.

    It is for the time left: blank lines count as well, and no row is looked into.
    """
    total = 0
    for source in sources:
        count = _count(source, split)
        if count is None:
            return None
        total += count
    return total


def _count(source: str | Path, split: str | None) -> int | None:
    if not paths(source, split):
        return None  # a dataset's name: its rows come one by one
    total = 0
    for stream in streams(source, split):
        if stream.path is None:
            total += sum(1 for _ in stream.rows)
        else:
            total += _rows_in(stream.path)
    return total


def _rows_in(path: Path) -> int:
    is_packed = path.name.lower().endswith(".gz")
    match files.kind(path):
        case ".parquet" if not is_packed:
            return _rows_declared(path)
        case ".jsonl" | ".ndjson":
            return files.count_lines(path)
    return sum(row.stands_for for row in files.read_rows(path))


def _rows_declared(path: Path) -> int:
    """Return how many rows a Parquet file says it has; 0 where it says nothing: reading it tells why."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.ParquetFile(path).metadata.num_rows)
    except (pa.ArrowException, OSError):
        return 0
