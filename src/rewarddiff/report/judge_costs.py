"""Results → what judging took, by judge."""

from __future__ import annotations

from collections.abc import Mapping

from rewarddiff.report.cells import Cell, Table, filled, texts
from rewarddiff.report.judge_statements import judge_name, unscored_causes
from rewarddiff.report.values import DASH, count, duration, price
from rewarddiff.results import JudgeUse, Results


def uses_table(results: Results) -> Table:
    """Return what judging took, by judge."""
    rows = []
    for line in results.judges.uses:
        rows.append(
            (
                Cell(judge_name(line.judge), line.kind),
                *texts(line.model, count(line.calls), count(line.kept)),
                *texts(count(line.prompt_tokens), count(line.completion_tokens)),
                _price(line),
                Cell(_counted(line.failures)),
                Cell(duration(line.seconds)),
            )
        )
    heads = ("calls", "from the store", "tokens read", "tokens written", "price", "failures")
    columns, shown = filled(("judge", "model", *heads, "time"), rows)
    words = {0, 1} | {place for place, column in enumerate(columns) if column == "failures"}
    return Table(
        "Cost of judging",
        columns,
        shown,
        notes=(
            "Calls: requests that were answered, repeats among them. Failures: answers that were no "
            "verdict and requests that failed; of those, some succeeded when repeated.",
            *(
                f"{judge_name(line.judge)} {note}."
                for line in results.judges.uses
                for note in line.notes
            ),
        ),
        words=frozenset(words),
        stacked=True,
    )


def _price(line: JudgeUse) -> Cell:
    if line.price is None:
        return Cell(DASH)
    estimated = "" if line.estimated_price is None else f"estimated {price(line.estimated_price)}"
    return Cell(price(line.price), estimated)


def _counted(causes: Mapping[str, int]) -> str:
    return unscored_causes(causes) or "none"
