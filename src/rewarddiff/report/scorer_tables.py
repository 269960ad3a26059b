"""Results → tables of scorers: how often they are right, and how far they know by how much."""

import math
from collections.abc import Sequence

from rewarddiff.report.cells import (
    Cell,
    Rows,
    Table,
    correlation_cell,
    counted_share_cell,
    filled,
    real_cell,
    share_cell,
    texts,
    without,
)
from rewarddiff.report.scorer_statements import LengthRule, length_rule
from rewarddiff.report.values import DASH, count, percent, real, setting
from rewarddiff.results import Bin, Interval, Results
from rewarddiff.writing import figure

NOTES = {
    "accuracy": "Accuracy: share of comparisons where the scorer agrees with the label; d = 0 "
    "counts half.",
    "ρ with strength": "ρ: Spearman correlation of |d| with the strength stated in the data "
    "itself.",
    "ECE": "ECE: expected calibration error of σ(d). T: the temperature that calibrates σ(d/T) on "
    "these comparisons, not the one that a scorer keeps, which was fitted on others; above 1 the "
    "scorer is overconfident. ECE at T: the error at temperatures fitted on the other half of the "
    "prompts.",
    "asymmetry": "Asymmetry: mean |d(a,b) + d(b,a)| relative to mean |d|; 0 % is exactly "
    f"antisymmetric, {DASH} where the scorer is so by construction.",
}
"""What the columns of the table of scorers are."""

INTERVALS = (
    "Intervals resample prompts, and over several seeds both; those are at least Student's t over "
    "the seeds."
)


def scorers_table(results: Results) -> Table:
    rows = []
    for line in results.summary.scorers:
        rows.append(
            (
                *texts(line.name, line.kind, str(line.seeds)),
                share_cell(line.accuracy),
                correlation_cell(line.spearman_strength),
                Cell(percent(line.ece)),
                Cell(real(line.temperature)),
                Cell(percent(line.ece_tempered)),
                Cell(percent(line.antisymmetry)),
            )
        )
    rows += _rules_by_length(results)
    heads = ("scorer", "kind", "seeds", "accuracy", "ρ with strength")
    columns, shown = filled((*heads, "ECE", "T", "ECE at T", "asymmetry"), rows)
    notes = [note for column, note in NOTES.items() if column in columns]
    if any(row[3].minor for row in rows):
        notes.append(INTERVALS)
    notes += _unscored(results)
    return Table(
        "Scorers on held-out comparisons",
        columns,
        shown,
        notes=tuple(notes),
        words=frozenset({0, 1}),
        lesser=("asymmetry", "T", "ECE at T", "seeds"),
    )


def _rules_by_length(results: Results) -> Rows:
    """Return how often the better rule by length is right, beside the scorers on the same data.

    A row for all of them, or for each where they do not say something of the same comparisons.
    """
    scorers: dict[LengthRule, list[str]] = {}
    for line in results.summary.scorers:
        if line.longer_wins.known:
            scorers.setdefault(length_rule(line.longer_wins), []).append(line.name)
    rows = []
    for rule, names in scorers.items():
        where = f"beside {', '.join(names)}" if len(scorers) > 1 else ""
        name = Cell(f"{rule.chooses} wins", where)
        unknown = texts(*[DASH] * 5)
        rows.append((name, *texts("baseline", DASH), share_cell(rule.accuracy), *unknown))
    return tuple(rows)


def _unscored(results: Results) -> list[str]:
    """Say how many comparisons scorers say nothing of, where there are any."""
    notes = []
    for run in results.scorers:
        figures = run.evaluation
        if figures.unscored:
            asked = figures.n + figures.ties + figures.unscored
            notes.append(
                f"{run.name}, seed {setting(run.seed)}: {count(figures.unscored)} of {count(asked)} "
                "comparisons are unscored, and in no figure."
            )
    return notes


def scorer_contrasts_table(results: Results) -> Table:
    rows = []
    for line in results.scorer_contrasts:
        gap = line.gap
        in_points = Interval(100 * gap.value, 100 * gap.low, 100 * gap.high, gap.n)
        rows.append(
            (
                Cell(f"{line.a} − {line.b}"),
                Cell(line.test),
                real_cell(in_points),
                Cell(higher(gap, line.a, line.b)),
                Cell(real(line.p)),
                correlation_cell(line.spearman_gap),
            )
        )
    heads = ("pair", "on", "gap in accuracy, points", "shown", "p", "gap in ρ with strength")
    empty = [i for i in (4, 5) if all(row[i].text == DASH for row in rows)]
    columns, shown = without(heads, rows, empty)
    note = "The same comparisons, paired; intervals as above."
    if "p" in columns:
        note += " p: of a test that flips the signs of prompts' gaps."
    return Table(
        "Scorers head to head",
        columns,
        shown,
        notes=(note,),
        words=frozenset({0, 1, 3}),
        lesser=("p", "gap in ρ with strength"),
    )


def higher(gap: Interval, a: str, b: str) -> str:
    """Return which of two is shown to be higher by their gap."""
    if not gap.bounded:
        return DASH
    if not gap.excludes_zero:
        return "no difference"
    if gap.low > 0:
        return f"{a} higher"
    return f"{b} higher"


def strength_table(results: Results) -> Table:
    """Return accuracy by |d|: a row a scorer and seed, a column a range.

    Where scorers have other ranges, a row a range.
    """
    title = "Accuracy by |d|"
    runs = []
    for run in results.scorers:
        shares = dict(labelled(run.evaluation.by_bin))
        runs.append((texts(run.name, setting(run.seed)), shares))
    labels = list(dict.fromkeys(label for _, shares in runs for label in shares))
    if any(list(shares) != labels for _, shares in runs):
        ranges = []
        for who, shares in runs:
            ranges += [(*who, Cell(label), counted_share_cell(s)) for label, s in shares.items()]
        columns = ("scorer", "seed", "|d|", "accuracy")
        return Table(title, columns, tuple(ranges), words=frozenset({0, 1, 2}))
    rows = [(*who, *map(counted_share_cell, shares.values())) for who, shares in runs]
    return Table(title, ("scorer", "seed", *labels), tuple(rows), stacked=True)


def labelled(bins: Sequence[Bin]) -> list[tuple[str, Interval]]:
    """Return the accuracy of every bin with the name of its range: 0–1, ≥ 3, 2."""
    shares = []
    for group in bins:
        low = figure(group.low, "g")
        if group.low == group.high:
            label = low
        elif group.high == math.inf:
            label = f"≥ {low}"
        else:
            label = f"{low}–{figure(group.high, 'g')}"
        shares.append((label, group.accuracy))
    return shares
