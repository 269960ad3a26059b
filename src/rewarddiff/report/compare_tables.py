"""Runs side by side → tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rewarddiff.report.cells import (
    Cell,
    Table,
    correlation_cell,
    filled,
    real_cell,
    share_cell,
    texts,
    without,
)
from rewarddiff.report.evidence import over_seeds, trained_with
from rewarddiff.report.judge_statements import judge_name, over_all_seeds, reading
from rewarddiff.report.policy_tables import (
    TRAINED_EITHER_NOTE,
    TRAINED_WITH,
    TRAINED_WITH_NOTE,
)
from rewarddiff.report.scorer_tables import higher
from rewarddiff.report.side_by_side import (
    Judged,
    Measured,
    NamedRun,
    differing_keys,
    judged_alike,
    measured_alike,
)
from rewarddiff.report.values import (
    DASH,
    count,
    duration,
    memory,
    percent,
    setting,
    shortened,
)
from rewarddiff.results import UNKNOWN

LONGEST = 48
"""Characters of a value that are shown."""

ROOMS = ("scorers", "policies", "samples")
"""Rooms of a run's folder whose time is told apart."""


def recipes_table(runs: Sequence[NamedRun]) -> Table:
    """Return the keys in which recipes differ: a row a key, a column a run."""
    with_recipe = [run for run in runs if run.recipe]
    rows = []
    for key, values in differing_keys(with_recipe):
        rows.append((Cell(key), *_values(values)))
    empty = "No key differs." if len(with_recipe) > 1 else ""
    return Table(
        "Keys in which the recipes differ",
        ("key", *(run.label for run in with_recipe)),
        tuple(rows),
        empty=empty,
        words=frozenset(range(len(with_recipe) + 1)),
    )


def _values(values: Sequence[Any]) -> list[Cell]:
    """Return what each run has, cut so that what differs is seen."""
    texts = [DASH if value is None else setting(value) for value in values]
    return [Cell(text) for text in shortened(texts, LONGEST)]


def scorers_tables(runs: Sequence[NamedRun]) -> Iterator[Table]:
    """Yield a table for each set of held-out comparisons."""
    groups = measured_alike(runs)
    for group in groups:
        title = "Scorers on the same held-out comparisons"
        if len({line.run.label for line in group}) == 1 and len(groups) > 1:
            title = f"Scorers on comparisons that {group[0].run.label} alone has"
        yield _scorers_table(title, group)


def _scorers_table(title: str, group: Sequence[Measured]) -> Table:
    rows = []
    for line in sorted(group, key=lambda line: line.summary.name):
        summary = line.summary
        rows.append(
            (
                *texts(summary.name, line.run.label, summary.kind, str(summary.seeds)),
                Cell(count(line.first.evaluation.n)),
                share_cell(summary.accuracy),
                correlation_cell(summary.spearman_strength),
                Cell(percent(summary.ece)),
            )
        )
    columns, shown = filled(
        ("scorer", "run", "kind", "seeds", "n", "accuracy", "ρ with strength", "ECE"), rows
    )
    words = frozenset({0, 1, 2})
    return Table(title, columns, shown, words=words, lesser=("ECE", "seeds", "kind"))


def policies_tables(runs: Sequence[NamedRun]) -> Iterator[Table]:
    """Yield a table for each set of prompts that policies of several runs answered."""
    for group in judged_alike(runs):
        yield _policies_table(group)


def _policies_table(group: Judged) -> Table:
    rows = []
    for run in group.runs:
        used = trained_with(run.results)
        for policy in run.results.summary.policies:
            cells = []
            for names in group.scorers.values():
                name = names.get(run.label, "")
                mark = TRAINED_WITH if (policy.name, name) in used else ""
                cells.append(real_cell(policy.rewards.get(name, UNKNOWN), mark))
            where = "trained elsewhere" if policy.trained else ""
            rows.append((Cell(policy.name, where), Cell(run.label), *cells))
    rows.sort(key=lambda row: row[0].text)
    heads = [f"under {judge}" for judge in judge_names(group)]
    marks = [TRAINED_WITH_NOTE] if any(cell.mark for row in rows for cell in row) else []
    return Table(
        "Policies on the same prompts: mean reward",
        ("policy", "run", *heads),
        tuple(rows),
        marks=tuple(marks),
        words=frozenset({0, 1}),
    )


def judge_names(group: Judged) -> list[str]:
    """Return what to call each scorer: its name in the runs, or its names where they differ."""
    return [" = ".join(dict.fromkeys(names.values())) for names in group.scorers.values()]


def contrasts_table(runs: Sequence[NamedRun]) -> Table:
    """Return the gaps over all seeds within each run: a row a pair, run and scorer."""
    rows = []
    for run in runs:
        for line in over_seeds(run.results):
            mark = TRAINED_WITH if line.used_in_training else ""
            shares = texts(percent(line.win), percent(line.tie), percent(line.lose))
            rows.append(
                (
                    *texts(f"{line.a} − {line.b}", run.label),
                    Cell(line.scorer, mark=mark),
                    real_cell(line.mean_gap),
                    *shares,
                    Cell(higher(line.mean_gap, line.a, line.b)),
                )
            )
    rows.sort(key=lambda row: row[0].text)
    marks = [TRAINED_EITHER_NOTE] if any(cell.mark for row in rows for cell in row) else []
    return Table(
        "Policies head to head, within each run",
        ("pair", "run", "scorer", "gap in mean reward", "win", "tie", "lose", "shown"),
        tuple(rows),
        marks=tuple(marks),
        words=frozenset({0, 1, 2, 7}),
        stacked=True,
    )


def win_rates_table(runs: Sequence[NamedRun]) -> Table:
    """Return what judges say over all seeds within each run: a row a pair, run and judge."""
    rows = []
    for run in runs:
        for line in over_all_seeds(run.results):
            mark = TRAINED_WITH if line.used_in_training else ""
            rows.append(
                (
                    *texts(f"{line.a} against {line.b}", run.label),
                    Cell(judge_name(line.judge), mark=mark),
                    Cell(count(line.scored)),
                    share_cell(line.rate),
                    Cell(reading(line)),
                )
            )
    rows.sort(key=lambda row: row[0].text)
    marks = [TRAINED_EITHER_NOTE] if any(cell.mark for row in rows for cell in row) else []
    return Table(
        "Win rates by judges, within each run",
        ("compared", "run", "judge", "scored", "win rate", "shown"),
        tuple(rows),
        marks=tuple(marks),
        words=frozenset({0, 1, 2, 5}),
        lesser=("scored",),
    )


def costs_table(runs: Sequence[NamedRun]) -> Table:
    """Return what each run cost, in all and by room."""
    rows = []
    for run in runs:
        costs = run.results.costs
        times = [sum(cost.seconds for cost in costs)]
        for room in ROOMS:
            times.append(sum(c.seconds for c in costs if c.stage.startswith(f"{room}/")))
        peak = max((c.peak_memory_bytes for c in costs if c.peak_memory_bytes), default=None)
        amounts = (_or_dash(sum(cost.tokens or 0 for cost in costs)), _tokens_of_judges(run))
        shown_times = [duration(seconds) if seconds else DASH for seconds in times]
        rows.append(texts(run.label, *shown_times, *amounts, memory(peak)))
    heads = ("run", "in all", *ROOMS, "tokens", "tokens of judges", "peak memory")
    unknown = [i for i in (5, 6) if all(row[i].text == DASH for row in rows)]
    columns, shown = without(heads, rows, unknown)
    notes = ["In all: of every stage, also those that an earlier start of the run has made."]
    if "tokens of judges" in columns:
        notes.append("Tokens of judges: read and written, as their servers count them.")
    return Table("Cost", columns, shown, notes=tuple(notes))


def _tokens_of_judges(run: NamedRun) -> str:
    """Return the tokens that judges read and wrote, as far as is known."""
    uses = run.results.judges.uses
    return _or_dash(sum((use.prompt_tokens or 0) + (use.completion_tokens or 0) for use in uses))


def _or_dash(amount: int) -> str:
    return count(amount) if amount else DASH
