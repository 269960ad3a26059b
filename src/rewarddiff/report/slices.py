"""Results → tables of where a scorer is right: by length, in parts of a collection, by style, at
the top of lists."""

from __future__ import annotations

from rewarddiff.report.cells import Cell, Results, Table, share_cell
from rewarddiff.report.values import (
    DASH,
    Interval,
    entries,
    interval,
    mapping,
    number,
    percent,
    real,
    word,
)

COLUMNS = (
    *("scorer", "seed", "accuracy", "better is shorter", "better is longer", "best of list first"),
    *("mean reward", "std"),
)


def slices_table(results: Results) -> Table:
    """One row a scorer and seed, and one for a scorer that knows nothing but length."""
    runs = entries(results.get("scorers"))
    rows = [
        (Cell(word(run.get("name"))), Cell(word(run.get("seed"))), *_slices(run)) for run in runs
    ]
    baselines = [mapping(mapping(run.get("evaluation")).get("baselines")) for run in runs]
    if known := next((found for found in baselines if mapping(found.get("longer_wins"))), None):
        longer = (
            share_cell(interval(known["longer_wins"])),
            Cell(percent(0.0)),
            Cell(percent(1.0)),
        )
        first = interval(mapping(mapping(known.get("length")).get("best_of_n")).get("first"))
        rows.append(
            (
                Cell("longer wins"),
                Cell(DASH),
                *longer,
                Cell(percent(first.value)),
                *[Cell(DASH)] * 2,
            )
        )
    lists = any(cell.text != DASH for row in rows for cell in row[5:6])
    keep = [i for i in range(len(COLUMNS)) if lists or i != 5]
    return Table(
        "Accuracy by length",
        tuple(COLUMNS[i] for i in keep),
        tuple(tuple(row[i] for i in keep) for row in rows),
        notes=(
            "A scorer that goes by length is right where the better response is the longer one, and wrong elsewhere.",
        )
        + (
            (
                "Best of list first: lists of three and more; what a blind draw would reach in brackets.",
            )
            if lists
            else ()
        ),
        words=frozenset({0, 1}),
        stacked=True,
    )


def _slices(run: Results) -> tuple[Cell, ...]:
    evaluation = mapping(run.get("evaluation"))
    by_length, best, rewards = (
        mapping(evaluation.get(key)) for key in ("by_length", "best_of_n", "rewards")
    )
    first, chance = interval(best.get("first")), number(best.get("chance"))
    return (
        share_cell(interval(evaluation.get("accuracy"))),
        share_cell(interval(by_length.get("shorter"))),
        share_cell(interval(by_length.get("longer"))),
        Cell(percent(first.value), f"[{percent(chance)}]" if first.known else ""),
        Cell(real(number(rewards.get("mean")))),
        Cell(real(number(rewards.get("std")))),
    )


def subsets_table(results: Results) -> Table:
    """One row a part of the collection, one column a scorer and seed, and one for length."""
    found = [(name, own) for name, own in _with_length(results) if own.get("by_subset")]
    parts = list(
        dict.fromkeys(
            str(part.get("subset")) for _, own in found for part in entries(own.get("by_subset"))
        )
    )
    shares = [
        {
            str(part.get("subset")): interval(part.get("accuracy"))
            for part in entries(own["by_subset"])
        }
        for _, own in found
    ]
    rows = [
        (Cell(part), *(share_cell(own.get(part, Interval()), with_n=True) for own in shares))
        for part in parts
    ]
    if rows:
        means = [percent(number(own.get("macro_accuracy"))) for _, own in found]
        rows.append((Cell("mean of the parts"), *map(Cell, means)))
    return Table(
        "Accuracy by part of the collection",
        ("part", *(name for name, _ in found)),
        tuple(rows),
        stacked=True,
    )


def calibration_table(results: Results) -> Table:
    """One row a scorer and seed whose own temperature is known: what its probabilities are worth
    here."""
    rows = []
    for run in entries(results.get("scorers")):
        found = mapping(mapping(run.get("evaluation")).get("calibrated"))
        if found.get("ece") is not None:
            told = (Cell(real(number(found.get(key)))) for key in ("temperature", "nll"))
            ece = Cell(percent(number(found.get("ece"))))
            rows.append((Cell(word(run.get("name"))), Cell(word(run.get("seed"))), *told, ece))
    return Table(
        "Probabilities at the temperature each scorer keeps",
        ("scorer", "seed", "T", "NLL", "ECE"),
        tuple(rows),
        notes=(
            "σ(d / T) is what the scorer says to be the probability; T was fitted on comparisons held out from these.",
        ),
        words=frozenset({0, 1}),
    )


def aspects_table(results: Results) -> Table:
    """One row an aspect of a scorer and seed: its own head beside what all say together."""
    rows = [
        (
            Cell(word(run.get("name"))),
            Cell(word(run.get("seed"))),
            Cell(str(part.get("aspect"))),
            *(share_cell(interval(part.get(key)), with_n=True) for key in ("own", "weighted")),
        )
        for run in entries(results.get("scorers"))
        for part in entries(mapping(run.get("evaluation")).get("by_aspect"))
    ]
    return Table(
        "Accuracy of aspects, each on its own part",
        ("scorer", "seed", "aspect", "its own head", "all heads, as weighted"),
        tuple(rows),
        words=frozenset({0, 1, 2}),
    )


def rm_bench_table(results: Results) -> Table:
    """One row a scorer, or length, and a domain of RM-Bench."""
    rows = []
    for name, own in _with_length(results):
        found = mapping(own.get("rm_bench"))
        for part in (found, *entries(found.get("by_domain"))) if found else ():
            shares = [share_cell(interval(part.get(key))) for key in ("easy", "normal", "hard")]
            rows.append(
                (
                    Cell(name),
                    Cell(str(part.get("domain", "all"))),
                    *shares,
                    Cell(percent(number(part.get("average")))),
                )
            )
    return Table(
        "RM-Bench: accuracy by style",
        ("scorer", "domain", "easy", "normal", "hard", "average"),
        tuple(rows),
        notes=(
            "Hard: the wrong answer is the showier one (longer, or formatted); easy: the right one is. A draw is lost.",
        ),
        words=frozenset({0, 1}),
        stacked=True,
    )


def _with_length(results: Results) -> list[tuple[str, Results]]:
    """Every scorer's evaluation by its name (and seed, where there are several), and at last that
    of length."""
    runs = [run for run in entries(results.get("scorers")) if mapping(run.get("evaluation"))]
    several = len({str(run.get("seed")) for run in runs}) > 1
    found = [
        (
            f"{word(run.get('name'))} (seed {word(run.get('seed'))})"
            if several
            else word(run.get("name")),
            own,
        )
        for run in runs
        for own in [mapping(run["evaluation"])]
    ]
    length = next((mapping(mapping(own.get("baselines")).get("length")) for _, own in found), {})
    return [*found, ("longer wins", length)] if length else found


def spreads_table(results: Results) -> Table:
    """One row a scorer of several heads and seed: whether their spread tells where it is wrong."""
    rows = []
    for run in entries(results.get("scorers")):
        spread = mapping(mapping(run.get("evaluation")).get("spread"))
        if spread.get("mean") is not None:
            told = (Cell(real(number(spread.get(key)))) for key in ("mean", "auroc", "auroc_alone"))
            rows.append((Cell(word(run.get("name"))), Cell(word(run.get("seed"))), *told))
    return Table(
        "Doubt of scorers with several heads",
        ("scorer", "seed", "mean spread", "right by |d| over spread", "right by |d| alone"),
        tuple(rows),
        notes=(
            "Spread: the standard deviation of d over the heads. Right by: how often a comparison that the scorer gets "
            "right has the larger value than one that it gets wrong; 0.5 tells nothing.",
        ),
        words=frozenset({0, 1}),
    )
