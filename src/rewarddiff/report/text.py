"""The summary in plain text: for the terminal (rich) and as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rewarddiff.report.cells import Cell, Table, without
from rewarddiff.report.designs import designs_table
from rewarddiff.report.scorer_statements import overlap_remark
from rewarddiff.report.slices import slices_tables
from rewarddiff.report.statements import head
from rewarddiff.report.summary import summary_tables
from rewarddiff.results import DesignResults, Results
from rewarddiff.writing import as_markdown, printable

if TYPE_CHECKING:
    from rich.console import (
        Console,  # noqa: TID251
        ConsoleOptions,
        Group,
        JustifyMethod,
        RenderableType,
    )
    from rich.table import Table as RichTable
    from rich.text import Text

BETWEEN = 2
"""Spaces between columns."""

BRACKETS = "In brackets: 95 % intervals. The page says what each figure is."
"""Stands below tables of a terminal, which have no room for more."""


def terminal_table(results: Results) -> "Group":
    """Return the head of the results and the summary tables, fitting themselves to the terminal."""
    first = head(results)
    return terminal_page(first.result, first.limits, summary_tables(results))


def terminal_evaluation(results: Results) -> "Group":
    """Return the same of an evaluation, what was left out first, and where scorers are right."""
    first = head(results)
    sentences = [first.result, *first.limits]
    left_out = []
    for scorer in results.scorers:
        remark = overlap_remark(scorer.evaluation.trained_on)
        if remark:
            left_out.append(f"{scorer.name}: {remark}")
            sentences = [sentence.removesuffix(f" {remark}") for sentence in sentences]
    tables = [*summary_tables(results), *slices_tables(results)]
    result, *remarks = [*left_out, *sentences]
    return terminal_page(result, remarks, tables)


def terminal_page(result: str, remarks: Iterable[str], tables: Iterable[Table]) -> "Group":
    """Return a bold first sentence, remarks, and the tables that have rows, with their marks."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(printable(result), style="bold")]
    parts += [Text(printable(remark)) for remark in remarks]
    shown = [table for table in tables if table.rows]
    for table in shown:
        parts += [Text(), Fitted(table), *_dim(table.marks)]
    if any(map(_has_intervals, shown)):
        parts += [Text(), *_dim([BRACKETS])]
    return Group(*parts)


def _has_intervals(table: Table) -> bool:
    return any(cell.minor.startswith("[") for row in table.rows for cell in row)


def terminal_designs(results: DesignResults) -> "Group":
    """Return the table of designs as one rich renderable."""
    from rich.console import Group

    table = designs_table(results)
    return Group(Fitted(table), *_dim(table.notes))


def _dim(texts: Iterable[str]) -> "list[Text]":
    from rich.text import Text

    return [Text(printable(text), style="dim") for text in texts]


@dataclass(frozen=True)
class Fitted:
    """A table on any width.

    Where it is too wide, cells are stacked. Then lesser columns are left out, as many as makes the
    rest fit, and that is said. Where nothing makes it fit, all columns go below one another.
    """

    table: Table

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> "Iterator[RenderableType]":
        from rich.text import Text

        yield Text(printable(self.table.title), style="italic")
        table, left_out = _narrowed(self.table, options.max_width)
        for number, (columns, stacked) in enumerate(_panels(table, options.max_width)):
            if number:
                yield Text()
            yield _drawn(table, columns, stacked)
        if left_out:
            text = f"Left out for want of room: {', '.join(left_out)}. A wider terminal shows them."
            yield Text(printable(text), style="dim")


def _narrowed(table: Table, width: int) -> tuple[Table, list[str]]:
    """Return the table without the lesser columns that have no room, and their names.

    Where it fits as it is, or does not fit without them, nothing is left out.
    """
    narrowed = table
    left_out: list[str] = []
    lesser = [column for column in table.lesser if column in table.columns]
    while _total(_least(narrowed, i) for i in range(len(narrowed.columns))) > width:
        if not lesser:
            return table, []
        left_out.append(lesser.pop(0))
        narrowed = _without_column(narrowed, left_out[-1])
    return narrowed, left_out


def _without_column(table: Table, name: str) -> Table:
    place = table.columns.index(name)
    columns, rows = without(table.columns, table.rows, [place])
    words = {word - (word > place) for word in table.words if word != place}
    return replace(table, columns=columns, rows=rows, words=frozenset(words))


def _panels(table: Table, width: int) -> Iterator[tuple[dict[int, int], bool]]:
    """Yield columns to be drawn side by side with their widths, and whether cells are stacked.

    In a stacked cell the minor remark goes below its figure. Every panel begins with the first
    column, and the other words at the left that tell rows apart, as far as they take no more than
    half of the width; each other column is in one of the panels.
    """
    columns = range(len(table.columns))
    natural = [_natural(table, column, stacked=False) for column in columns]
    if _total(natural) <= width:
        yield dict(zip(columns, natural, strict=True)), False
        return
    least = [_least(table, column) for column in columns]
    first = {0: min(least[0], width // 2)}
    for column in columns[1:]:
        if column not in table.words or _total([*first.values(), least[column]]) > width // 2:
            break
        first[column] = least[column]
    room = width - _total(first.values()) - BETWEEN
    panel = dict(first)
    for column in columns[len(first) :]:
        needed = min(least[column], room)
        if len(panel) > len(first) and _total([*panel.values(), needed]) > width:
            yield _widened(table, panel, width), True
            panel = dict(first)
        panel[column] = needed
    yield _widened(table, panel, width), True


def _widened(table: Table, panel: dict[int, int], width: int) -> dict[int, int]:
    """Return the widths, with what is left over given to the columns that then need one line.

    The first ones come first.
    """
    left = width - _total(panel.values())
    widened = {}
    for column, least in panel.items():
        more = min(max(_natural(table, column, stacked=True) - least, 0), left)
        widened[column] = least + more
        left -= more
    return widened


def _total(widths: Iterable[int]) -> int:
    widths = list(widths)
    return sum(widths) + BETWEEN * (len(widths) - 1)


def _natural(table: Table, column: int, *, stacked: bool) -> int:
    """Return the width at which nothing of a column is broken."""
    texts = [table.columns[column]]
    for row in table.rows:
        figure, minor = _texts(row[column])
        if stacked:
            texts += [figure, minor]
        else:
            texts.append(f"{figure} {minor}".strip())
    return _widest(texts)


def _least(table: Table, column: int) -> int:
    """Return the width at which no figure, no interval and no word of a column is broken."""
    pieces = table.columns[column].split(" ")
    for row in table.rows:
        for text in _texts(row[column]):
            if column in table.words:
                pieces += text.split(" ")
            else:
                pieces.append(text)
    return _widest(pieces)


def _texts(cell: Cell) -> tuple[str, str]:
    return printable(f"{cell.text}{cell.mark}"), printable(cell.minor)


def _widest(texts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(1, *map(cell_len, texts))


def _drawn(table: Table, columns: dict[int, int], stacked: bool) -> "RichTable":
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, pad_edge=False, padding=(0, BETWEEN, 0, 0))
    for column, width in columns.items():
        title = Text(printable(table.columns[column]))
        side: JustifyMethod = "left" if column in table.words else "right"
        drawn.add_column(title, justify=side, overflow="fold", width=width)
    between = "\n" if stacked else " "
    for row in table.rows:
        cells = []
        for column in columns:
            figure, minor = _texts(row[column])
            cell = Text(figure)
            if minor:
                cell.append(between + minor, "dim")
            cells.append(cell)
        drawn.add_row(*cells)
    return drawn


# --- Markdown -------------------------------------------------------------------------------------


def markdown_page(
    result: str, remarks: Iterable[str], tables: Iterable[Table], *, notes: bool = False
) -> str:
    """Return a first sentence, remarks, and the tables that have rows; `notes`: with theirs."""
    parts = [as_markdown(result), *map(as_markdown, remarks)]
    for table in tables:
        if table.rows:
            parts += [f"### {as_markdown(table.title)}", markdown_table(table)]
            parts += map(as_markdown, table.marks)
            if notes:
                parts += map(as_markdown, table.notes)
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """Return its head and rows, without title and notes."""
    rules = ["---" if i in table.words else "---:" for i in range(len(table.columns))]
    rows = [[str(cell) for cell in row] for row in table.rows]
    return "\n".join(map(_markdown_row, [table.columns, rules, *rows]))


def _markdown_row(items: Iterable[str]) -> str:
    return f"| {' | '.join(map(as_markdown, items))} |"
