"""Results → tables of policies: rewards, contrasts, and what their pairs were weighed by."""

from rewarddiff.report.cells import Cell, Table, filled, real_cell, texts, without
from rewarddiff.report.evidence import trained_with
from rewarddiff.report.scorer_tables import higher
from rewarddiff.report.training_statements import training_remark
from rewarddiff.report.values import count, mean, one_digit, percent, real, setting
from rewarddiff.results import UNKNOWN, Distribution, Interval, Results

TRAINED_WITH = "†"
TRAINED_WITH_NOTE = (
    f"{TRAINED_WITH} the scorer this policy was trained with, or one of the same start: "
    "no independent evidence."
)
TRAINED_EITHER_NOTE = (
    f"{TRAINED_WITH} this scorer, or one of the same start, trained one of the two: no "
    "independent evidence."
)
UNEQUAL = "‡"
"""Marks two policies that differ in more than coefficient, strength and order."""


def policy_names(results: Results) -> list[str]:
    """Return the base model and all policies where they were judged, else those trained."""
    judged = [line.name for line in results.summary.policies]
    return list(dict.fromkeys(judged + [policy.name for policy in results.policies]))


def policies_table(results: Results) -> Table:
    rewards = {line.name: line.rewards for line in results.summary.policies}
    trained = {line.name: line.trained for line in results.summary.policies}
    scorers = list(dict.fromkeys(line.scorer for line in results.rewards))
    used = trained_with(results)
    rows = []
    for name in policy_names(results):
        where = "trained elsewhere" if trained.get(name) else ""
        row = [Cell(name, where), Cell(str(_seeds(results, name)))]
        for scorer in scorers:
            mark = TRAINED_WITH if (name, scorer) in used else ""
            row.append(real_cell(rewards.get(name, {}).get(scorer, UNKNOWN), mark))
        rows.append((*row, *_lengths(results, name)))
    under = [f"under {scorer}" for scorer in scorers]
    columns, shown = filled(("policy", "seeds", *under, "unfinished", "words"), rows)
    notes = []
    if scorers and any(row[1].text != "1" for row in rows):
        notes.append(
            "Intervals over several seeds: the wider of Student's t over their means and a "
            "bootstrap of seeds and prompts."
        )
    if "unfinished" in columns:
        notes.append(
            "Unfinished: share of samples cut at the limit of new tokens. Words: mean of a sample."
        )
    for name, folder in trained.items():
        if folder:
            notes.append(f"{name}: trained elsewhere, {folder}; one model for all seeds.")
    title = "Policies"
    if scorers:
        title = "Policies: mean reward of held-out samples"
    marks = [TRAINED_WITH_NOTE] if any(cell.mark for row in rows for cell in row) else []
    return Table(
        title,
        columns,
        shown,
        marks=tuple(marks),
        notes=tuple(notes),
        lesser=("unfinished", "words", "seeds"),
    )


def _seeds(results: Results, policy: str) -> int:
    for line in results.summary.policies:
        if line.name == policy:
            return line.seeds
    return sum(run.name == policy for run in results.policies)


def _lengths(results: Results, policy: str) -> tuple[Cell, ...]:
    """Return the share of unfinished samples and the mean words, over the seeds."""
    lines = [line for line in results.lengths if line.policy == policy and line.n]
    unfinished = mean(line.unfinished / line.n for line in lines)
    return texts(percent(unfinished), one_digit(mean(line.mean_words for line in lines)))


def contrasts_table(results: Results) -> Table:
    rows = []
    differing = {}
    for line in results.contrasts:
        pair = f"{line.a} − {line.b}"
        if line.unequal:
            remark = training_remark(line.a, line.b, line.unequal)
            differing[pair] = f"{UNEQUAL} {pair}: {remark}."
        rows.append(
            (
                Cell(pair, mark=UNEQUAL if line.unequal else ""),
                Cell(line.scorer, mark=TRAINED_WITH if line.used_in_training else ""),
                Cell(setting(line.seed)),
                real_cell(line.mean_gap),
                *texts(percent(line.win), percent(line.tie), percent(line.lose)),
                Cell(higher(line.mean_gap, line.a, line.b)),
            )
        )
    heads = ("pair", "scorer", "seed", "gap in mean reward", "win", "tie", "lose", "shown")
    # One seed, or means over seeds only: then the column says nothing.
    seeds = {line.seed for line in results.contrasts}
    columns, shown = without(heads, rows, [2] if seeds == {"all"} else [])
    marks = [TRAINED_EITHER_NOTE] if any(row[1].mark for row in rows) else []
    return Table(
        "Policies head to head",
        columns,
        shown,
        marks=(*marks, *differing.values()),
        words=frozenset({0, 1, len(columns) - 1}),
        lesser=("tie", "lose", "win"),
    )


TAILS = ("0", "0.01", "0.05", "0.5", "0.95", "0.99", "1")
"""Quantiles of rewards that a table shows: what lies in the tails is said, not cut off."""


def distributions_table(results: Results) -> Table:
    """Return mean, spread and tails of rewards: a row a scorer, policy and seed."""
    rows = []
    for line in results.reward_distributions:
        who = texts(line.policy, line.scorer, setting(line.seed))
        spread = Cell(real(line.spread.mean), f"± {real(line.spread.std)}")
        tails = [Cell(real(line.spread.quantiles[share])) for share in TAILS]
        rows.append((*who, spread, *tails))
    heads = ("least", "1 %", "5 %", "median", "95 %", "99 %", "most")
    seeds = {line.seed for line in results.reward_distributions}
    columns, shown = without(
        ("policy", "scorer", "seed", "mean ± std", *heads), rows, [2] if len(seeds) < 2 else []
    )
    return Table("Rewards and their tails", columns, shown, words=frozenset({0, 1}), stacked=True)


def orders_table(results: Results) -> Table:
    """Return the lists that a scorer put in order: a row a policy and seed."""
    rows = []
    for line in results.orders:
        who = (line.policy, setting(line.seed), line.scorer, line.method)
        counts = (count(line.groups), count(line.readings))
        shares = (percent(line.agreement), percent(line.inconsistency), percent(line.cyclic))
        rows.append(texts(*who, *counts, *shares))
    heads = ("lists", "readings", "as the data", "inconsistency", "cyclic triples")
    return Table(
        "Lists put in order by a scorer",
        ("policy", "seed", "scorer", "method", *heads),
        tuple(rows),
        notes=(
            "Readings: texts read by the scorer. As the data: share of the data's comparisons "
            "whose order the scorer keeps. Inconsistency: share of the squared differences that no "
            "scores explain. Cyclic triples: share of those compared that go round.",
        ),
        words=frozenset({0, 2, 3}),
        stacked=True,
    )


def coefficients_table(results: Results) -> Table:
    """Return what became of the pairs and how their weights are spread: a row a policy and seed."""
    rows = []
    notes = []
    for line in results.coefficients:
        report = line.report
        marks = report.after.quantiles
        median = Interval(marks["0.5"], marks["0.05"], marks["0.95"], report.n)
        rows.append(
            (
                *texts(line.policy, setting(line.seed), count(report.n)),
                Cell(percent(report.share_negative)),
                Cell(percent(report.share_dropped)),
                Cell(percent(report.share_flipped)),
                Cell(percent(report.share_zero)),
                Cell(percent(report.effective_share)),
                _spread(report.before),
                _spread(report.after),
                real_cell(median),
            )
        )
        who = f"{line.policy}, seed {setting(line.seed)}"
        notes += [f"{who}: {warning}" for warning in report.warnings]
    shares = ("negative", "dropped", "flipped", "zero", "effective")
    return Table(
        "Coefficients",
        ("policy", "seed", "pairs", *shares, "difference", "coefficient", "median"),
        tuple(rows),
        notes=(
            *notes,
            "Negative: pairs whose difference contradicts the label. Zero: kept pairs of weight 0. "
            "Effective: the share of pairs that would tell as much at equal weights, "
            "(Σ|w|)²/(n·Σw²). Difference and coefficient: mean ± standard deviation. Median: of "
            "the coefficient, [5 %, 95 %].",
        ),
        stacked=True,
    )


def _spread(values: Distribution) -> Cell:
    return Cell(real(values.mean), f"± {real(values.std)}")
