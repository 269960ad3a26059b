"""Rows out of CSV and TSV, where a stray quotation mark may hide many of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BufferedReader

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
    is_encodable,
    limited_lines,
)

ROWS_IN_A_CELL: Mapping[str, int] = {",": 10, ";": 10, "|": 2, "\t": 2}
"""From so many lines on, one record whose every line has the delimiters of a whole row is taken for
several rows that a stray quotation mark holds together. Lines of a text often have a comma, hardly
ever a tab."""


class _Record:
    """The lines of a text, one after the other; those of the present record are remembered."""

    def __init__(self, stream: BufferedReader, encoding: str, skipped: int) -> None:
        text = io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="")
        self._rest = limited_lines(text.readline)
        self.lines: list[str] = []
        for _ in range(skipped):
            next(self._rest)
        self.first = 1 + skipped
        self.too_long = False

    def begin(self) -> None:
        """Forget the record's lines: the next one begins another."""
        self.first += len(self.lines)
        self.lines = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, self.too_long = next(self._rest)
        self.lines.append(line)
        return line

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1

    def hides_rows(self, cells: int, columns: int, delimiter: str) -> bool:
        """Tell whether every line could be a row, as where a stray quotation mark joins them."""
        count = len(self.lines)
        if count == 1 or (cells == columns and count < ROWS_IN_A_CELL[delimiter]):
            return False
        return all(line.count(delimiter) == columns - 1 for line in self.lines)


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
    record = _Record(stream, dialect.encoding, dialect.skipped)
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
            yield _row(cells, header, record, dialect.delimiter)
        else:
            _check_header(cells, record.first)
            header = cells


def _check_header(cells: list[str], line: int) -> None:
    if not is_encodable("".join(cells)):
        raise RefusedError(
            "the names of the columns are not valid UTF-8", "save the file as UTF-8", line
        )
    check_columns(cells, line)


def _broken_row(record: _Record, error: csv.Error) -> Row:
    """Return the row for a record that is no CSV; it stands for every line it took in."""
    if record.too_long:
        problem = TOO_LONG
    elif len(record.lines) == 1:
        problem = f"not valid CSV: {error}"
    else:
        problem = (
            "not valid CSV: a quotation mark that opens here is not closed "
            f"by line {record.last} ({error})"
        )
    return Row(record.first, None, problem, len(record.lines))


def _row(cells: list[str], header: list[str], record: _Record, delimiter: str) -> Row:
    stands_for = 1
    if record.too_long:
        problem = TOO_LONG
    elif record.hides_rows(len(cells), len(header), delimiter):
        stands_for = len(record.lines)
        problem = (
            f"a quotation mark that opens here holds the rows to line {record.last} in one cell"
        )
    elif len(cells) != len(header):
        problem = f"{len(cells)} cells under {len(header)} columns"
    elif not is_encodable("".join(cells)):
        problem = NOT_UTF8
    else:
        return Row(record.first, dict(zip(header, map(Cell, cells), strict=True)))
    return Row(record.first, None, problem, stands_for)
