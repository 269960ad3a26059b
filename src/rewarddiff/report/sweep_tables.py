"""sweep.json → its tables."""

from collections.abc import Mapping, Sequence

from rewarddiff.report.cells import Cell, Table, correlation_cell, real_cell, share_cell
from rewarddiff.report.policy_tables import TRAINED_WITH, UNEQUAL
from rewarddiff.report.training_statements import training_remark
from rewarddiff.report.values import DASH, percent, setting
from rewarddiff.results import HeldAgainst, SweepPoint, SweepResults, Value

MARKED = (
    f"{TRAINED_WITH} a scorer that had a part in training one of the two: no independent evidence."
)


def points_table(sweep: SweepResults) -> Table:
    """One row a point: its settings, dev loss, and gaps to its baseline."""
    scorers = judges(sweep)
    labels = [axis.label for axis in sweep.axes]
    rows = []
    for point in sweep.points:
        dev_loss = Cell(DASH) if point.dev_loss is None else real_cell(point.dev_loss)
        gaps = [_gap_cell(point.baseline, scorer) for scorer in scorers]
        settings = _setting_cells(sweep, point.settings)
        where = "trained elsewhere" if point.objective is None else ""
        row = (Cell(point.policy, where), *settings, _baseline_cell(point), dev_loss, *gaps)
        rows.append(row)
    return Table(
        "Points of the sweep",
        ("policy", *labels, "against", "dev loss", *_gap_heads(scorers)),
        tuple(rows),
        marks=_marks([(p.policy, p.baseline) for p in sweep.points if p.baseline is not None]),
        notes=(
            "Gap: mean reward of held-out samples, less that of the policy it is held against "
            f"({DASH} where it is that policy itself); {seeds(sweep)}, 95 % intervals over seeds "
            "and prompts.",
            "Dev loss: unweighted, mean over seeds; comparable where the objective and its options "
            "are the same.",
        ),
        words=frozenset({0, len(labels) + 1}),
        stacked=True,
    )


def controls_table(sweep: SweepResults) -> Table:
    """One row a weighted policy and a control of it, at the same settings."""
    scorers = judges(sweep)
    labels = [axis.label for axis in sweep.axes]
    rows = []
    pairs = []
    for point in sweep.points:
        for control in point.controls:
            pairs.append((point.policy, control))
            pair = f"{point.policy} − {control.policy}"
            gaps = [_gap_cell(control, scorer) for scorer in scorers]
            mark = UNEQUAL if control.unequal else ""
            rows.append((Cell(pair, mark=mark), *_setting_cells(sweep, point.settings), *gaps))
    return Table(
        "Weighted policies less their controls",
        ("pair", *labels, *_gap_heads(scorers)),
        tuple(rows) if scorers else (),
        marks=_marks(pairs),
        stacked=True,
    )


def scorers_table(sweep: SweepResults) -> Table:
    """One row a scorer at each of its settings, where it has several."""
    axes = [axis for axis in sweep.axes if any(axis.key in s.settings for s in sweep.scorers)]
    rows = []
    for scorer in sorted(sweep.scorers, key=lambda scorer: scorer.summary.name):
        figures = scorer.summary
        settings = [Cell(setting(scorer.settings[axis.key])) for axis in axes]
        rows.append(
            (
                Cell(figures.name),
                *settings,
                Cell(DASH) if scorer.dev_loss is None else real_cell(scorer.dev_loss),
                share_cell(figures.accuracy),
                correlation_cell(figures.spearman_strength),
                Cell(percent(figures.ece)),
            )
        )
    labels = [axis.label for axis in axes]
    return Table(
        "Scorers on held-out comparisons",
        ("scorer", *labels, "dev loss", "accuracy", "ρ with strength", "ECE"),
        tuple(rows),
    )


def axes_table(sweep: SweepResults) -> Table:
    """One row a key with its values."""
    rows = [(axis.key, axis.values) for axis in sweep.axes]
    rows.append(("seed", sweep.seeds))
    return Table(
        "Keys and values",
        ("key", "values"),
        tuple((Cell(key), Cell(", ".join(map(setting, values)))) for key, values in rows),
        words=frozenset({0, 1}),
    )


def combinations_table(sweep: SweepResults) -> Table:
    """One row a combination of values: where its results are."""
    rows = []
    for combination in sweep.combinations:
        settings = [f"{key} = {setting(value)}" for key, value in combination.settings.items()]
        rows.append((Cell(combination.folder), Cell(", ".join(settings) or DASH)))
    return Table(
        "Combinations",
        ("folder", "settings"),
        tuple(rows),
        notes=("Each holds results.json; `rewarddiff report FOLDER` makes its page.",),
        words=frozenset({0, 1}),
    )


def judges(sweep: SweepResults) -> list[str]:
    """Return the scorers under which points were held against others."""
    names: dict[str, None] = {}
    for point in sweep.points:
        if point.baseline is not None:
            names |= dict.fromkeys(point.baseline.gaps)
    return list(names)


def seeds(sweep: SweepResults) -> str:
    """Return how many seeds there are, in words."""
    return f"{len(sweep.seeds)} seeds" if len(sweep.seeds) > 1 else "one seed"


def _gap_heads(scorers: Sequence[str]) -> list[str]:
    return [f"gap under {scorer}" for scorer in scorers]


def _setting_cells(sweep: SweepResults, settings: Mapping[str, Value]) -> list[Cell]:
    """Return a cell for each axis; a dash where it does not concern the point."""
    cells = []
    for axis in sweep.axes:
        concerned = axis.key in settings
        cells.append(Cell(setting(settings[axis.key]) if concerned else DASH))
    return cells


def _gap_cell(against: HeldAgainst | None, scorer: str) -> Cell:
    if against is None or scorer not in against.gaps:
        return Cell(DASH)
    under = against.gaps[scorer]
    return real_cell(under.gap, TRAINED_WITH if under.used_in_training else "")


def _baseline_cell(point: SweepPoint) -> Cell:
    if point.baseline is None:
        return Cell("the baseline itself")
    return Cell(point.baseline.policy, mark=UNEQUAL if point.baseline.unequal else "")


def _marks(pairs: Sequence[tuple[str, HeldAgainst]]) -> tuple[str, ...]:
    """Return what the marks in a table mean, as far as there are any."""
    marks: dict[str, None] = {}
    for _, other in pairs:
        if any(gap.used_in_training for gap in other.gaps.values()):
            marks[MARKED] = None
    for policy, other in pairs:
        if other.unequal:
            remark = training_remark(policy, other.policy, other.unequal)
            marks[f"{UNEQUAL} {remark}."] = None
    return tuple(marks)
