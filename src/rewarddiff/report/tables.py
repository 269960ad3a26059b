"""Results → tables of what was learned: scorers, policies, coefficients."""

from collections.abc import Mapping, Sequence
from typing import Any

from rewarddiff.report.cells import (
    Cell,
    Results,
    Table,
    correlation_cell,
    filled,
    real_cell,
    share_cell,
)
from rewarddiff.report.statements import (
    had_a_part,
    over_seeds,
    trained_unequally,
    trained_with,
    unequal,
)
from rewarddiff.report.values import (
    DASH,
    NAN,
    Interval,
    count,
    entries,
    interval,
    mapping,
    mean,
    names,
    number,
    percent,
    real,
    word,
)
from rewarddiff.writing import figure

TRAINED_WITH = "†"
TRAINED_WITH_NOTE = (
    f"{TRAINED_WITH} the scorer this policy was trained with, or one of the same start: "
    "no independent evidence."
)
UNEQUAL = "‡"
"""Marks two policies that differ in more than coefficient, strength and order."""


SCORER_NOTES = {
    "accuracy": "Accuracy: share of comparisons where the scorer agrees with the label; d = 0 counts half.",
    "ρ with strength": "ρ: Spearman correlation of |d| with the strength stated in the data itself.",
    "ECE": "ECE: expected calibration error of σ(d). T: the temperature that calibrates σ(d/T); above 1 the scorer is "
    "overconfident. ECE at T: what is left of the error then.",
    "asymmetry": f"Asymmetry: mean |d(a,b) + d(b,a)| relative to mean |d|; 0 % is exactly antisymmetric, {DASH} where "
    "the scorer is so by construction.",
}
"""What the columns of the table of scorers are."""


def scorer_names(results: Results) -> list[str]:
    """Scorers of the summary, then those that appear only among the trained ones."""
    return names(
        [*entries(mapping(results.get("summary")).get("scorers")), *entries(results.get("scorers"))]
    )


def policy_rewards(results: Results) -> dict[str, dict[str, Interval]]:
    """policy → scorer → mean reward. From the summary; what it lacks comes from single runs.

    A policy that only has runs of its own (no summary) is listed once a run, as `name (seed 1)`.
    """
    table: dict[str, dict[str, Interval]] = {}
    for entry in entries(mapping(results.get("summary")).get("policies")):
        rewards = mapping(entry.get("rewards"))
        table[word(entry.get("name"))] = {
            str(scorer): interval(value) for scorer, value in rewards.items()
        }
    runs = [run for run in entries(results.get("rewards")) if str(run.get("policy")) not in table]
    for run in runs:
        policy, seed = word(run.get("policy")), run.get("seed")
        several = (
            len({str(other.get("seed")) for other in runs if str(other.get("policy")) == policy})
            > 1
        )
        label = f"{policy} (seed {seed})" if several else policy
        table.setdefault(label, {})[word(run.get("scorer"))] = interval(run.get("mean"))
    for policy in names(entries(results.get("policies"))):
        if not any(label == policy or label.startswith(f"{policy} (seed ") for label in table):
            table[policy] = {}
    return table


def policy_of(label: str) -> str:
    """The policy's name without the `(seed 1)` that `policy_rewards` may add."""
    return label.rsplit(" (seed ", 1)[0]


def scorers_table(results: Results) -> Table:
    summary = {
        str(entry.get("name")): entry
        for entry in entries(mapping(results.get("summary")).get("scorers"))
    }
    rows: list[tuple[Cell, ...]] = []
    for name in scorer_names(results):
        runs = [run for run in entries(results.get("scorers")) if str(run.get("name")) == name]
        evaluations = [mapping(run.get("evaluation")) for run in runs]
        entry = summary.get(name, {})
        rows.append(
            (
                Cell(name),
                Cell(
                    str(
                        entry.get("kind")
                        or next((run["kind"] for run in runs if run.get("kind")), DASH)
                    )
                ),
                Cell(_seeds(entry.get("seeds"), runs)),
                share_cell(_summarised(entry, evaluations, "accuracy")),
                correlation_cell(_summarised(entry, evaluations, "spearman_strength", "spearman")),
                Cell(percent(_figure(entry, evaluations, "ece"))),
                Cell(real(_figure(entry, evaluations, "temperature"))),
                Cell(percent(_figure(entry, evaluations, "ece_tempered"))),
                Cell(percent(_figure(entry, evaluations, "antisymmetry"))),
            )
        )
    longer = [
        _longer_wins(mapping(run.get("evaluation"))) for run in entries(results.get("scorers"))
    ]
    if known := [found for found in longer if found.known]:
        rows.append(
            (
                Cell("longer wins"),
                Cell("baseline"),
                Cell(DASH),
                share_cell(known[0]),
                *[Cell(DASH)] * 5,
            )
        )
    heads = (
        "scorer",
        "kind",
        "seeds",
        "accuracy",
        "ρ with strength",
        "ECE",
        "T",
        "ECE at T",
        "asymmetry",
    )
    columns, shown = filled(heads, rows)
    bounded = any(row[3].minor for row in rows)
    return Table(
        "Scorers on held-out comparisons",
        columns,
        shown,
        notes=tuple(note for column, note in SCORER_NOTES.items() if column in columns)
        + (
            "Intervals resample prompts, and over several seeds both; those are at least Student's t over the seeds.",
        )
        * bounded,
        words=frozenset({0, 1}),
    )


def scorer_contrasts_table(results: Results) -> Table:
    rows = []
    for entry in entries(results.get("scorer_contrasts")):
        a, b, test = (word(entry.get(key)) for key in ("a", "b", "test"))
        gap = interval(entry.get("gap"))
        points = Interval(*(100 * bound for bound in (gap.value, gap.low, gap.high)))
        p = number(entry.get("p"))
        shown = (
            Cell(_reading(gap, a, b)),
            Cell(real(p)),
            correlation_cell(interval(entry.get("spearman_gap"))),
        )
        rows.append((Cell(f"{a} − {b}"), Cell(test), real_cell(points), *shown))
    keep = [i for i in range(6) if i < 4 or any(row[i].text != DASH for row in rows)]
    note = " p: of a test that flips the signs of prompts' gaps." if 4 in keep else ""
    columns = ("pair", "on", "gap in accuracy, points", "shown", "p", "gap in ρ with strength")
    return Table(
        "Scorers head to head",
        tuple(columns[i] for i in keep),
        tuple(tuple(row[i] for i in keep) for row in rows),
        notes=(f"The same comparisons, paired; intervals as above.{note}",),
        words=frozenset({0, 1, 3}),
    )


def policies_table(results: Results) -> Table:
    rewards = policy_rewards(results)
    scorers = list(dict.fromkeys(scorer for row in rewards.values() for scorer in row))
    marked = trained_with(results)
    seeds = {
        str(item.get("name")): item.get("seeds")
        for item in entries(mapping(results.get("summary")).get("policies"))
    }
    runs = entries(results.get("policies"))
    rows = tuple(
        (
            Cell(label),
            Cell(_seeds(seeds.get(label), [run for run in runs if str(run.get("name")) == label])),
            *(
                real_cell(
                    row.get(scorer, Interval()),
                    mark=TRAINED_WITH * ((policy_of(label), scorer) in marked),
                )
                for scorer in scorers
            ),
            *_lengths(results, label),
        )
        for label, row in rewards.items()
    )
    heads = ("policy", "seeds", *(f"under {scorer}" for scorer in scorers), "unfinished", "words")
    columns, shown = filled(heads, rows)
    notes = []
    if any(row[1].text not in (DASH, "1") for row in rows) and scorers:
        notes.append(
            "Intervals over several seeds: the wider of Student's t over their means and a bootstrap of seeds and "
            "prompts."
        )
    if "unfinished" in columns:
        notes.append(
            "Unfinished: share of samples cut at the limit of new tokens. Words: mean of a sample."
        )
    return Table(
        "Policies: mean reward of held-out samples" if scorers else "Policies",
        columns,
        shown,
        marks=(TRAINED_WITH_NOTE,) if any(cell.mark for row in rows for cell in row) else (),
        notes=tuple(notes),
    )


def contrasts_table(results: Results) -> Table:
    marked = trained_with(results)
    rows, differing = [], {}
    for entry in entries(results.get("contrasts")):
        a, b, scorer = (word(entry.get(key)) for key in ("a", "b", "scorer"))
        gap, differences = interval(entry.get("mean_gap")), unequal(entry)
        if differences:
            differing[f"{a} − {b}"] = f"{UNEQUAL} {a} − {b}: {trained_unequally(differences)}."
        rows.append(
            (
                Cell(f"{a} − {b}", mark=UNEQUAL * bool(differences)),
                Cell(scorer, mark=TRAINED_WITH * had_a_part(entry, marked)),
                Cell(word(entry.get("seed"))),
                real_cell(gap),
                *(Cell(percent(share)) for share in win_tie_lose(entry)),
                Cell(_reading(gap, a, b)),
            )
        )
    note = f"{TRAINED_WITH} this scorer, or one of the same start, trained one of the two: no independent evidence."
    return Table(
        "Policies head to head",
        ("pair", "scorer", "seed", "gap in mean reward", "win", "tie", "lose", "shown"),
        tuple(rows),
        marks=((note,) if any(row[1].mark for row in rows) else ()) + tuple(differing.values()),
        words=frozenset({0, 1, 7}),
    )


def win_tie_lose(contrast: Results) -> tuple[float, float, float]:
    """Shares that sum to one, from shares or counts; NaN where all three are absent or zero."""
    raw = [number(contrast.get(key)) for key in ("win", "tie", "lose")]
    total = sum(value for value in raw if value > 0)
    win, tie, lose = (max(value, 0.0) / total if total and value == value else NAN for value in raw)
    return win, tie, lose


def strength_table(results: Results) -> Table:
    """Accuracy by |d|: one row a scorer and seed, one column a range; where ranges differ, one row
    a range."""
    runs = [
        (run, dict(bins(mapping(run.get("evaluation"))))) for run in entries(results.get("scorers"))
    ]
    runs = [(run, found) for run, found in runs if found]
    labels = list(dict.fromkeys(label for _, found in runs for label in found))
    title = "Accuracy by |d|"
    if any(list(found) != labels for _, found in runs):
        ranges = tuple(
            (
                Cell(word(run.get("name"))),
                Cell(word(run.get("seed"))),
                Cell(label),
                share_cell(share, with_n=True),
            )
            for run, found in runs
            for label, share in found.items()
        )
        return Table(
            title, ("scorer", "seed", "|d|", "accuracy"), ranges, words=frozenset({0, 1, 2})
        )
    rows = tuple(
        (
            Cell(word(run.get("name"))),
            Cell(word(run.get("seed"))),
            *(share_cell(found.get(label, Interval()), with_n=True) for label in labels),
        )
        for run, found in runs
    )
    return Table(title, ("scorer", "seed", *labels), rows, stacked=True)


def bins(evaluation: Results, key: str = "by_bin") -> list[tuple[str, Interval]]:
    """`[{low, high, accuracy}]` as (label of the range, accuracy with interval and n); no `high`:
    open above."""
    found = []
    for entry in entries(evaluation.get(key)):
        low, high = number(entry.get("low")), number(entry.get("high"))
        if low == low:
            label = f"{figure(low, 'g')}–{figure(high, 'g')}"
            if low == high:
                label = figure(low, "g")
            elif high != high:
                label = f"≥ {figure(low, 'g')}"
            found.append((label, interval(entry.get("accuracy"))))
    return found


def orders_table(results: Results) -> Table:
    """Lists that a scorer put in order: one row a policy and seed."""
    rows = tuple(
        (
            Cell(word(entry.get("policy"))),
            Cell(word(entry.get("seed"))),
            Cell(word(entry.get("scorer"))),
            Cell(word(entry.get("method"))),
            *(Cell(count(number(entry.get(key)))) for key in ("groups", "readings")),
            *(
                Cell(percent(number(entry.get(key))))
                for key in ("agreement", "inconsistency", "cyclic")
            ),
        )
        for entry in entries(results.get("orders"))
    )
    heads = ("lists", "readings", "as the data", "inconsistency", "cyclic triples")
    return Table(
        "Lists put in order by a scorer",
        ("policy", "seed", "scorer", "method", *heads),
        rows,
        notes=(
            "Readings: texts read by the scorer. As the data: share of the data's comparisons whose order the scorer "
            "keeps. Inconsistency: share of the squared differences that no scores explain. Cyclic triples: share of "
            "those compared that go round.",
        ),
        words=frozenset({0, 2, 3}),
        stacked=True,
    )


def coefficients_table(results: Results) -> Table:
    """What became of the pairs and how their weights are spread: one row a policy and seed."""
    rows, notes = [], []
    for entry in entries(results.get("coefficients")):
        policy, seed, report = (
            word(entry.get("policy")),
            word(entry.get("seed")),
            mapping(entry.get("report")),
        )
        before, after = mapping(report.get("before")), mapping(report.get("after"))
        marks = mapping(after.get("quantiles"))
        shares = (
            "share_negative",
            "share_dropped",
            "share_flipped",
            "share_zero",
            "effective_share",
        )
        rows.append(
            (
                Cell(policy),
                Cell(seed),
                Cell(count(number(report.get("n")))),
                *(Cell(percent(number(report.get(share)))) for share in shares),
                _spread(before),
                _spread(after),
                real_cell(Interval(*(number(marks.get(mark)) for mark in ("0.5", "0.05", "0.95")))),
            )
        )
        warnings = report.get("warnings")
        if isinstance(warnings, (list, tuple)):
            notes += [f"{policy}, seed {seed}: {warning}" for warning in warnings]
    heads = (
        "negative",
        "dropped",
        "flipped",
        "zero",
        "effective",
        "difference",
        "coefficient",
        "median",
    )
    return Table(
        "Coefficients",
        ("policy", "seed", "pairs", *heads),
        tuple(rows),
        notes=(
            *notes,
            "Negative: pairs whose difference contradicts the label. Zero: kept pairs of weight 0. "
            "Effective: the share of pairs that would tell as much at equal weights, (Σ|w|)²/(n·Σw²). "
            "Difference and coefficient: mean ± standard deviation. Median: of the coefficient, [5 %, 95 %].",
        ),
        stacked=True,
    )


def overview(results: Results) -> tuple[Table, ...]:
    """What stands at the head of the page: scorers, and policies."""
    tables = scorers_table(results), scorer_contrasts_table(results), policies_table(results)
    return tuple(table for table in tables if table.rows)


def summary_tables(results: Results) -> tuple[Table, ...]:
    """What the end of a run shows: of several seeds, their means."""
    together = contrasts_table({**results, "contrasts": over_seeds(results)})
    return *overview(results), *([together] if together.rows else [])


def _summarised(summary: Results, evaluations: Sequence[Results], *keys: str) -> Interval:
    """The summary's figure under the first key it has; else the only run's; else the mean over
    runs, no interval."""
    for key in keys:
        if interval(summary.get(key)).known:
            return interval(summary[key])
    if len(evaluations) == 1:
        return interval(evaluations[0].get(keys[0]))
    return Interval(mean(number(evaluation.get(keys[0])) for evaluation in evaluations))


def _figure(summary: Results, evaluations: Sequence[Results], key: str) -> float:
    def read(source: Results) -> float:
        found = source.get(key)
        return (
            number(found.get("relative", found.get("value")))
            if isinstance(found, Mapping)
            else number(found)
        )

    own = read(summary)
    return own if own == own else mean(read(evaluation) for evaluation in evaluations)


def _lengths(results: Results, label: str) -> tuple[Cell, Cell]:
    """Share of unfinished samples and mean words, over the seeds that a row of the policies stands
    for."""
    runs = [
        run
        for run in entries(results.get("lengths"))
        if label in (str(run.get("policy")), f"{run.get('policy')} (seed {run.get('seed')})")
    ]
    shares = [number(run.get("unfinished")) / (number(run.get("n")) or NAN) for run in runs]
    words = mean(number(run.get("mean_words")) for run in runs)
    return Cell(percent(mean(shares))), Cell(figure(words, ".1f") if words == words else DASH)


def _longer_wins(evaluation: Results) -> Interval:
    return interval(mapping(evaluation.get("baselines")).get("longer_wins"))


def _seeds(summary: Any, runs: Sequence[Results]) -> str:
    if isinstance(summary, (list, tuple)):
        return count(len(summary))
    stated = number(summary)
    return (
        count(stated)
        if stated == stated
        else count(len({str(run.get("seed")) for run in runs}) or NAN)
    )


def _reading(gap: Interval, a: str, b: str) -> str:
    if not gap.bounded:
        return DASH
    return (
        (f"{a} higher" if gap.low > 0 else f"{b} higher") if gap.excludes_zero else "no difference"
    )


def _spread(described: Results) -> Cell:
    centre, spread = number(described.get("mean")), number(described.get("std"))
    return Cell(real(centre), f"± {real(spread)}" if spread == spread else "")
