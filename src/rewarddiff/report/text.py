"""The summary in plain text: for the terminal (rich) and as Markdown."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewarddiff.report.bookkeeping import costs_table
from rewarddiff.report.cells import Results, Table
from rewarddiff.report.designs import designs_table
from rewarddiff.report.tables import TRAINED_WITH, caution, strength_table, summary_tables, verdict

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group  # noqa: TID251
    from rich.table import Table as RichTable


def terminal_table(results: Results) -> "Group":
    """The verdict and the summary tables as one rich renderable that fits itself to the terminal."""
    from rich.console import Group, RenderableType
    from rich.text import Text

    parts: list[RenderableType] = [Text(verdict(results), style="bold")]
    if (warning := caution(results)) and warning != verdict(results):
        parts.append(Text(warning))
    for table in summary_tables(results):
        parts += [Text(), Fitted(table) if table.rows else Text(table.empty, style="dim")]
        parts += [Text(note, style="dim") for note in table.notes if note.startswith(TRAINED_WITH)]
    return Group(*parts)


def terminal_designs(found: Results) -> "Group":
    """The table of designs as one rich renderable."""
    from rich.console import Group
    from rich.text import Text

    table = designs_table(found)
    return Group(Fitted(table), *(Text(note, style="dim") for note in table.notes))


ROOM = 0.95
"""Of a terminal's width: rich shares out what is left by its own rules, and cuts cells where that is too little."""


@dataclass(frozen=True)
class Fitted:
    """A table that, where it would not fit, stacks its cells and leaves out as few of its lesser columns as it can."""

    table: Table

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[RichTable]":
        measured = options.update(width=1000)
        drawn = _rich(self.table)
        if console.measure(drawn, options=measured).maximum > options.max_width:
            for left_out in range(len(self.table.lesser) + 1):
                drawn = _rich(self.table, narrow=True, without=self.table.lesser[:left_out])
                if sum((column.min_width or 1) + 2 for column in drawn.columns) <= ROOM * options.max_width:
                    break
        yield drawn


def _rich(table: Table, narrow: bool = False, without: tuple[int, ...] = ()) -> "RichTable":
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=Text(table.title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown = [index for index in range(len(table.columns)) if index not in without]
    for index in shown:
        cells = [row[index] for row in table.rows]
        texts = [f"{cell.text}{cell.mark}" for cell in cells]
        whole = [piece for text in texts for piece in text.split(" ")] if index in table.words else texts
        whole += [*(cell.minor for cell in cells), *table.columns[index].split(" ")]
        drawn.add_column(
            Text(table.columns[index]),
            justify="left" if index in table.words else "right",
            overflow="fold",
            min_width=min(max(map(len, whole), default=1), 24),
        )
    between = "\n" if narrow else " "
    for row in table.rows:
        cells = [row[index] for index in shown]
        figures = [(f"{cell.text}{cell.mark}", between + cell.minor if cell.minor else "") for cell in cells]
        drawn.add_row(*(Text.assemble(figure, (minor, "dim")) for figure, minor in figures))
    return drawn


def markdown_tables(results: Results) -> str:
    """The verdict and the summary tables as GitHub-flavoured Markdown."""
    parts = [verdict(results)]
    if (warning := caution(results)) and warning != verdict(results):
        parts.append(warning)
    for table in (*summary_tables(results), strength_table(results), costs_table(results)):
        parts.append(f"### {table.title}")
        parts.append(markdown_table(table) if table.rows else table.empty)
        parts += [note for note in table.notes if note.startswith(TRAINED_WITH)]
    return "\n\n".join(_one_line(part) if "\n" not in part else part for part in parts) + "\n"


def markdown_table(table: Table) -> str:
    """Its head and rows, without title and notes."""

    def line(items: Iterable[object]) -> str:
        return "| " + " | ".join(_one_line(str(item)).replace("|", "\\|") for item in items) + " |"

    rule = ("---" if index in table.words else "---:" for index in range(len(table.columns)))
    return "\n".join([line(table.columns), line(rule), *(line(row) for row in table.rows)])


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")
