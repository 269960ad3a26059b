"""Designs of comparisons side by side: one table."""

from __future__ import annotations

from rewarddiff.report.cells import Cell, Results, Table, share_cell
from rewarddiff.report.values import (
    count,
    entries,
    interval,
    mapping,
    number,
    percent,
    real,
    trained_on_remarks,
    word,
)


def designs_table(found: Results) -> Table:
    """A design by a method a row, from `pipeline.designs.designs_stage`."""
    rows = tuple(
        (
            Cell(word(row.get("scorer"))),
            Cell(_name(mapping(row.get("design")))),
            Cell(word(row.get("method"))),
            *(Cell(count(round(number(row.get(key))))) for key in ("readings", "tokens")),
            share_cell(interval(row.get("accuracy"))),
            Cell(real(number(row.get("spearman")))),
            *(Cell(percent(number(row.get(key)))) for key in ("inconsistency", "cyclic")),
        )
        for row in entries(found.get("rows"))
    )
    sizes = mapping(found.get("responses"))
    least, most = count(number(sizes.get("least"))), count(number(sizes.get("most")))
    size = least if least == most else f"{least} to {most}"
    seeds = number(found.get("seeds"))
    over = f"{seeds:.0f} seeds and lists" if seeds > 1 else "lists"
    return Table(
        f"Designs on {count(number(found.get('groups')))} lists of {size} responses",
        (
            "scorer",
            "design",
            "method",
            "readings",
            "tokens",
            "accuracy",
            "ρ with all",
            "inconsistency",
            "cyclic",
        ),
        rows,
        notes=(
            "Readings and tokens: of a list, mean. Accuracy: share of the data's comparisons whose better response "
            f"scores higher, with its 95 % interval over {over}. ρ: rank correlation with the scores of `all` by the "
            "same method, mean over lists. Inconsistency: share of the squared differences that no scores explain. "
            "Cyclic: share of the triples compared that go round.",
            *trained_on_remarks(found, "lists"),
        ),
        words=frozenset({0, 1, 2}),
    )


def _name(design: Results) -> str:
    return f"budget {design.get('budget')}" if design.get("budget") else word(design.get("mode"))
