"""Results → tables of where a scorer is right: by length, in parts of a collection, by style."""

from __future__ import annotations

from rewarddiff.report.cells import Cell, Table, counted_share_cell, share_cell, texts, without
from rewarddiff.report.values import DASH, percent, real, setting
from rewarddiff.results import UNKNOWN, Agreement, ByDifficulty, Evaluation, Results, ScorerResult

LENGTH = "longer wins"
"""The scorer that knows nothing but length."""


def slices_tables(results: Results) -> list[Table]:
    """Return the tables that have rows, that by length always."""
    further = (
        calibration_table(results),
        subsets_table(results),
        aspects_table(results),
        rm_bench_table(results),
        spreads_table(results),
    )
    return [slices_table(results), *(table for table in further if table.rows)]


def slices_table(results: Results) -> Table:
    """Return a row a scorer and seed, and one for a scorer that knows nothing but length."""
    rows = [(*_who(run), *_slices(run.evaluation)) for run in results.scorers]
    known = [run for run in results.scorers if run.evaluation.baselines.longer_wins.known]
    if known:
        baselines = known[0].evaluation.baselines
        rows.append(
            (
                *texts(LENGTH, DASH),
                share_cell(baselines.longer_wins),
                *texts(percent(0.0), percent(1.0)),
                Cell(percent(baselines.length.best_of_n.first.value)),
                *texts(DASH, DASH),
            )
        )
    heads = ("scorer", "seed", "accuracy", "better is shorter", "better is longer")
    notes = [
        "A scorer that goes by length is right where the better response is the longer one, and "
        "wrong elsewhere."
    ]
    has_lists = any(row[5].text != DASH for row in rows)
    left_out = []
    if has_lists:
        notes.append(
            "Best of list first: lists of three and more; chance is what a blind draw would reach."
        )
    else:
        left_out.append(5)
    columns, shown = without((*heads, "best of list first", "mean reward", "std"), rows, left_out)
    return Table(
        "Accuracy by length",
        columns,
        shown,
        notes=tuple(notes),
        words=frozenset({0, 1}),
        stacked=True,
    )


def _slices(evaluation: Evaluation) -> tuple[Cell, ...]:
    lists = evaluation.best_of_n
    chance = f"chance {percent(lists.chance)}" if lists.first.known else ""
    return (
        share_cell(evaluation.accuracy),
        share_cell(evaluation.by_length.shorter),
        share_cell(evaluation.by_length.longer),
        Cell(percent(lists.first.value), chance),
        Cell(real(evaluation.rewards.mean)),
        Cell(real(evaluation.rewards.std)),
    )


def subsets_table(results: Results) -> Table:
    """Return a row a part of the collection, a column a scorer and seed, and one for length."""
    scorers = [scorer for scorer in _with_length(results) if scorer[1].by_subset]
    accuracies = []
    for _, agreement in scorers:
        accuracies.append({part.subset: part.accuracy for part in agreement.by_subset})
    rows = []
    for subset in dict.fromkeys(subset for by_subset in accuracies for subset in by_subset):
        shares = [by_subset.get(subset, UNKNOWN) for by_subset in accuracies]
        rows.append((Cell(subset), *map(counted_share_cell, shares)))
    if rows:
        means = [percent(agreement.macro_accuracy) for _, agreement in scorers]
        rows.append(texts("mean of the parts", *means))
    columns = ("part", *(name for name, _ in scorers))
    return Table("Accuracy by part of the collection", columns, tuple(rows), stacked=True)


def calibration_table(results: Results) -> Table:
    """Return a row a scorer and seed whose own temperature is known."""
    rows = []
    for run in results.scorers:
        at = run.evaluation.calibrated
        ece = percent(at.ece)
        if ece != DASH:
            rows.append((*_who(run), *texts(real(at.temperature), real(at.nll), ece)))
    return Table(
        "Probabilities at the temperature each scorer keeps",
        ("scorer", "seed", "T", "NLL", "ECE"),
        tuple(rows),
        notes=(
            "σ(d / T) is what the scorer says to be the probability; T was fitted on comparisons "
            "held out from these.",
        ),
        words=frozenset({0, 1}),
    )


def aspects_table(results: Results) -> Table:
    """Return a row an aspect of a scorer and seed: its own head beside all heads together."""
    rows = []
    for run in results.scorers:
        for part in run.evaluation.by_aspect:
            shares = (counted_share_cell(part.own), counted_share_cell(part.weighted))
            rows.append((*_who(run), Cell(part.aspect), *shares))
    return Table(
        "Accuracy of aspects, each on its own part",
        ("scorer", "seed", "aspect", "its own head", "all heads, as weighted"),
        tuple(rows),
        words=frozenset({0, 1, 2}),
    )


def rm_bench_table(results: Results) -> Table:
    """Return a row a scorer, or length, and a domain of RM-Bench."""
    rows = []
    for name, agreement in _with_length(results):
        bench = agreement.rm_bench
        if bench is not None:
            rows.append((*texts(name, "all"), *_by_difficulty(bench)))
            for part in bench.by_domain:
                rows.append((*texts(name, part.domain), *_by_difficulty(part)))
    return Table(
        "RM-Bench: accuracy by style",
        ("scorer", "domain", "easy", "normal", "hard", "average"),
        tuple(rows),
        notes=(
            "Hard: the wrong answer is the showier one (longer, or formatted); easy: the right one "
            "is. A draw is lost.",
        ),
        words=frozenset({0, 1}),
        stacked=True,
    )


def _by_difficulty(part: ByDifficulty) -> tuple[Cell, ...]:
    shares = (share_cell(part.easy), share_cell(part.normal), share_cell(part.hard))
    return (*shares, Cell(percent(part.average)))


def spreads_table(results: Results) -> Table:
    """Return a row a scorer of several heads and seed: whether their spread tells errors."""
    rows = []
    for run in results.scorers:
        spread = run.evaluation.spread
        mean = real(spread.mean)
        if mean != DASH:
            rows.append((*_who(run), *texts(mean, real(spread.auroc), real(spread.auroc_alone))))
    return Table(
        "Doubt of scorers with several heads",
        ("scorer", "seed", "mean spread", "right by |d| over spread", "right by |d| alone"),
        tuple(rows),
        notes=(
            "Spread: the standard deviation of d over the heads. Right by: how often a comparison "
            "that the scorer gets right has the larger value than one that it gets wrong; 0.5 "
            "tells nothing.",
        ),
        words=frozenset({0, 1}),
    )


def _who(run: ScorerResult) -> tuple[Cell, ...]:
    return texts(run.name, setting(run.seed))


def _with_length(results: Results) -> list[tuple[str, Agreement]]:
    """Return every scorer's figures by its name, and at last those of length.

    With its seed, where there are several.
    """
    named: list[tuple[str, Agreement]] = []
    several_seeds = len({run.seed for run in results.scorers}) > 1
    for run in results.scorers:
        name = run.name
        if several_seeds:
            name += f" (seed {setting(run.seed)})"
        named.append((name, run.evaluation))
    if results.scorers:
        named.append((LENGTH, results.scorers[0].evaluation.baselines.length))
    return named
