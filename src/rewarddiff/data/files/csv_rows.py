"""Rows out of CSV and TSV, where a stray quotation mark may hide many of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BufferedReader
from itertools import islice

from rewarddiff.data.files import rows
from rewarddiff.data.files.csv_dialect import Dialect, dialect_of, sample
from rewarddiff.data.files.rows import (
    NOT_UTF8,
    TOO_LONG,
    Cell,
    DamagedError,
    RefusedError,
    Row,
    check_columns,
    limited_lines,
)
from rewarddiff.writing import is_encodable

ROWS_IN_A_CELL: Mapping[str, int] = {",": 10, ";": 10, "|": 2, "\t": 2}
"""From so many lines on, one record whose every line has the delimiters of a whole row is taken for
several rows that a stray quotation mark holds together. Lines of a text often have a comma, hardly
ever a tab."""


class _Record:
    """The lines of a text, one after the other; what those of the present record are is counted.

    Attributes:
        first: the record's first line, from 1. count: its lines. length: its characters.
        delimiters: how many delimiters its lines have.
        too_long: its last line is longer than any row.
    """

    def __init__(self, stream: BufferedReader, dialect: Dialect) -> None:
        text = io.TextIOWrapper(stream, dialect.encoding, errors="surrogateescape", newline="")
        self._rest = islice(limited_lines(text.readline), dialect.skipped, None)
        self._delimiter = dialect.delimiter
        self.first = 1 + dialect.skipped
        self.count = 0
        self.length = 0
        self.delimiters: set[int] = set()
        self.too_long = False

    def begin(self) -> None:
        """Forget the record: the next line begins another."""
        self.first += self.count
        self.count = self.length = 0
        self.delimiters = set()
        self.too_long = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, self.too_long = next(self._rest)
        self.count += 1
        self.length += len(line)
        self.delimiters.add(line.count(self._delimiter))
        if self.length > rows.MAX_LINE:
            raise csv.Error(f"more than {rows.MAX_LINE >> 20} MiB")
        return line

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def hides_rows(self, cells: int, columns: int) -> bool:
        """Tell whether every line could be a row, as where a stray quotation mark joins them."""
        is_short = cells == columns and self.count < ROWS_IN_A_CELL[self._delimiter]
        if self.count == 1 or is_short:
            return False
        return self.delimiters == {columns - 1}


def read_tsv(stream: BufferedReader) -> Iterator[Row]:
    """Read cells that are separated by tabs."""
    return read_csv(stream, delimiter="\t")


def read_csv(stream: BufferedReader, delimiter: str = ",") -> Iterator[Row]:
    """Read rows, numbered by the line they begin on, the header being line 1.

    Every value is a `Cell`. A quotation mark that is not closed takes the lines after it into its
    cell. These are counted one by one, since nobody can tell whether they are rows. Another
    delimiter than that of the file's name, and another encoding than UTF-8, are found out and
    noted.
    """
    csv.field_size_limit(rows.MAX_LINE)
    dialect = dialect_of(sample(stream), delimiter)
    note = dialect.note
    for row in _rows(stream, dialect):
        if note and row.values is not None:
            row = replace(row, note=note)
            note = ""
        yield row


def _rows(stream: BufferedReader, dialect: Dialect) -> Iterator[Row]:
    record = _Record(stream, dialect)
    reader = csv.reader(record, delimiter=dialect.delimiter, strict=True)
    header: list[str] = []
    while True:
        record.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if not header:
                raise RefusedError(
                    f"the header is not valid CSV ({error})", "mend the line", record.first
                ) from None
            yield _broken_row(record, error)
            continue
        except UnicodeError as error:
            raise DamagedError(str(error)) from None
        if not cells:
            continue
        if header:
            yield _row(cells, header, record)
        else:
            _check_header(cells, record)
            header = cells


def _check_header(cells: list[str], record: _Record) -> None:
    line = record.first
    if record.too_long:
        raise RefusedError(f"the header is {TOO_LONG}", "mend the line", line)
    if not is_encodable("".join(cells)):
        raise RefusedError(
            "the names of the columns are not valid UTF-8", "save the file as UTF-8", line
        )
    check_columns(cells, line)


def _broken_row(record: _Record, error: csv.Error) -> Row:
    """Return the row for a record that is no CSV; it stands for every line it took in."""
    if record.too_long:
        problem = TOO_LONG
    elif record.count == 1:
        problem = f"not valid CSV: {error}"
    else:
        problem = (
            "not valid CSV: a quotation mark that opens here is not closed "
            f"by line {record.last} ({error})"
        )
    return Row(record.first, None, problem, record.count)


def _row(cells: list[str], header: list[str], record: _Record) -> Row:
    stands_for = 1
    if record.too_long:
        problem = TOO_LONG
    elif record.hides_rows(len(cells), len(header)):
        stands_for = record.count
        problem = (
            f"a quotation mark that opens here holds the rows to line {record.last} in one cell"
        )
    elif len(cells) != len(header):
        problem = f"{len(cells)} cells under {len(header)} columns"
    elif not is_encodable("".join(cells)):
        problem = NOT_UTF8
    else:
        values = dict(zip(header, map(Cell, cells), strict=True))
        return Row(record.first, values, size=record.length)
    return Row(record.first, None, problem, stands_for)
