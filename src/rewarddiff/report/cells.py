"""What tables are made of, on the page, the terminal and in Markdown alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rewarddiff.report.values import DASH, bounds, count, percent, points, real, two_digits
from rewarddiff.results import Interval


@dataclass(frozen=True)
class Cell:
    """One entry of a table: the figure, its interval or another lesser remark, and a mark: †."""

    text: str
    minor: str = ""
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.text}{self.mark} {self.minor}".rstrip()


Rows = tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head.

    Attributes:
        empty: what its having no rows says; where that is nothing, the table is left out.
        marks: what marks in its cells mean, shown wherever the table is.
        notes: stand below it on the page alone.
        words: indices of columns of text; the others hold figures.
        stacked: on the page, intervals go below the figures they belong to.
        lesser: columns that a terminal leaves out where all have no room side by side, the first
            one first.
    """

    title: str
    columns: tuple[str, ...]
    rows: Rows
    empty: str = field(default="", kw_only=True)
    marks: tuple[str, ...] = field(default=(), kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    words: frozenset[int] = field(default=frozenset({0}), kw_only=True)
    stacked: bool = field(default=False, kw_only=True)
    lesser: tuple[str, ...] = field(default=(), kw_only=True)


def filled(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> tuple[tuple[str, ...], Rows]:
    """Return columns and rows without the columns of which nothing is known.

    The first column stays.
    """
    empty = [i for i in range(1, len(columns)) if all(row[i].text == DASH for row in rows)]
    return without(columns, rows, empty)


def without(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], left_out: Sequence[int]
) -> tuple[tuple[str, ...], Rows]:
    """Return columns and rows without some columns."""
    kept = [i for i in range(len(columns)) if i not in left_out]
    kept_rows = [tuple(row[i] for i in kept) for row in rows]
    return tuple(columns[i] for i in kept), tuple(kept_rows)


def texts(*items: str) -> tuple[Cell, ...]:
    """Return a cell for each text."""
    return tuple(Cell(text) for text in items)


def real_cell(interval: Interval, mark: str = "") -> Cell:
    return Cell(real(interval.value), bounds(interval, real), mark)


def share_cell(interval: Interval) -> Cell:
    return Cell(percent(interval.value), bounds(interval, points))


def counted_share_cell(interval: Interval) -> Cell:
    """Return a share with its interval and what it is a share of."""
    of = f"n = {count(interval.n)}"
    return Cell(percent(interval.value), f"{bounds(interval, points)} {of}".strip())


def correlation_cell(interval: Interval) -> Cell:
    return Cell(two_digits(interval.value), bounds(interval, two_digits))
