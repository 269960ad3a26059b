"""What tables are made of, on the page, the terminal and in Markdown alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewarddiff.report.values import (
    DASH,
    Interval,
    count,
    percent,
    real,
)

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One entry of a table: the figure, its interval or another lesser remark, and a mark such as †."""

    text: str
    minor: str = ""
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.text}{self.mark}" + (f" {self.minor}" if self.minor else "")


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; `words` are the indices of columns of text (the others hold figures).

    `stacked`: on the page, intervals go below the figures they belong to. `lesser`: columns that a narrow terminal
    leaves out, in this order.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str = "No data."
    notes: tuple[str, ...] = ()
    words: frozenset[int] = frozenset({0})
    stacked: bool = False
    lesser: tuple[int, ...] = ()


def real_cell(found: Interval, mark: str = "") -> Cell:
    bounds = f"[{real(found.low)}, {real(found.high)}]" if found.bounded else ""
    return Cell(real(found.value), bounds, mark)


def share_cell(found: Interval, with_n: bool = False) -> Cell:
    bounds = f"[{100 * found.low:.1f}, {100 * found.high:.1f}]" if found.bounded else ""
    return Cell(percent(found.value), f"{bounds} n = {count(found.n)}".strip() if with_n else bounds)


def correlation_cell(found: Interval) -> Cell:
    bounds = f"[{found.low:.2f}, {found.high:.2f}]".replace("-", "−") if found.bounded else ""
    return Cell(f"{found.value:.2f}".replace("-", "−") if found.known else DASH, bounds)
