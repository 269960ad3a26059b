"""What tables are made of, on the page, the terminal and in Markdown alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewarddiff.report.values import DASH, Interval, count, percent, real
from rewarddiff.writing import figure

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One entry of a table: the figure, its interval or another lesser remark, and a mark such as
    †."""

    text: str
    minor: str = ""
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.text}{self.mark}" + (f" {self.minor}" if self.minor else "")


Rows = tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; `words` are the indices of columns of text (the others hold
    figures).

    `marks`: what marks in its cells mean, shown wherever the table is; `notes` stand below it on
    the page alone. `stacked`: on the page, intervals go below the figures they belong to. `empty`:
    what its having no rows says; where that is nothing, the table is left out.
    """

    title: str
    columns: tuple[str, ...]
    rows: Rows
    empty: str = field(default="", kw_only=True)
    marks: tuple[str, ...] = field(default=(), kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    words: frozenset[int] = field(default=frozenset({0}), kw_only=True)
    stacked: bool = field(default=False, kw_only=True)


def filled(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> tuple[tuple[str, ...], Rows]:
    """Return the columns without those of which nothing is known, and the rows likewise; the first
    column stays."""
    kept = [i for i in range(len(columns)) if i == 0 or any(row[i].text != DASH for row in rows)]
    return tuple(columns[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows)


def real_cell(found: Interval, mark: str = "") -> Cell:
    bounds = f"[{real(found.low)}, {real(found.high)}]" if found.bounded else ""
    return Cell(real(found.value), bounds, mark)


def share_cell(found: Interval, with_n: bool = False) -> Cell:
    bounds = (
        f"[{figure(100 * found.low, '.1f')}, {figure(100 * found.high, '.1f')}]"
        if found.bounded
        else ""
    )
    return Cell(
        percent(found.value), f"{bounds} n = {count(found.n)}".strip() if with_n else bounds
    )


def correlation_cell(found: Interval) -> Cell:
    bounds = f"[{figure(found.low, '.2f')}, {figure(found.high, '.2f')}]" if found.bounded else ""
    return Cell(figure(found.value, ".2f") if found.known else DASH, bounds)
