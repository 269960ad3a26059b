"""Designs of comparisons side by side: one table."""

from __future__ import annotations

from rewarddiff.report.cells import Table, share_cell, texts
from rewarddiff.report.scorer_statements import trained_on_remarks
from rewarddiff.report.values import count, percent, real
from rewarddiff.results import DesignResults, DesignRow


def designs_table(results: DesignResults) -> Table:
    """Return a design by a method a row, from `pipeline.designs.designs_stage`."""
    rows = []
    for row in results.rows:
        costs = (count(row.readings), count(row.tokens))
        rows.append(
            (
                *texts(row.scorer, _name(row), row.method, *costs),
                share_cell(row.accuracy),
                *texts(real(row.spearman), percent(row.inconsistency), percent(row.cyclic)),
            )
        )
    sizes = results.responses
    size = count(sizes.least)
    if sizes.least != sizes.most:
        size += f" to {count(sizes.most)}"
    over = "lists"
    if results.seeds > 1:
        over = f"{results.seeds} seeds and lists"
    heads = ("scorer", "design", "method", "readings", "tokens", "accuracy", "ρ with all")
    return Table(
        f"Designs on {count(results.groups)} lists of {size} responses",
        (*heads, "inconsistency", "cyclic"),
        tuple(rows),
        notes=(
            "Readings and tokens: of a list, mean. Accuracy: share of the data's comparisons whose "
            f"better response scores higher, with its 95 % interval over {over}. ρ: rank "
            "correlation with the scores of `all` by the same method, mean over lists. "
            "Inconsistency: share of the squared differences that no scores explain. Cyclic: share "
            "of the triples compared that go round.",
            *trained_on_remarks(results.trained_on, "lists"),
        ),
        words=frozenset({0, 1, 2}),
    )


def _name(row: DesignRow) -> str:
    mode: str = row.design["mode"]
    if row.design["budget"] is None:
        return mode
    return f"budget {row.design['budget']}"
