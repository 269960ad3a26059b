"""sweep.json → its tables."""

from collections.abc import Iterable, Mapping
from typing import Any

from rewarddiff.report.cells import (
    Cell,
    Table,
    correlation_cell,
    real_cell,
    share_cell,
    texts,
)
from rewarddiff.report.policy_tables import TRAINED_WITH, UNEQUAL
from rewarddiff.report.statements import trained_unequally
from rewarddiff.report.sweep_values import (
    Point,
    Sweep,
    controls,
    interval,
    judges,
    number,
    seeds_text,
    setting_text,
    unequal,
    value_text,
)
from rewarddiff.report.values import DASH, count, percent

TRAINED_EITHER = (
    f"{TRAINED_WITH} a scorer that had a part in training one of the two: no independent evidence."
)


def points_table(sweep: Sweep) -> Table:
    rows = []
    for point in sweep["points"]:
        dev_loss = real_cell(interval(point["dev_loss"]))
        settings = _settings(sweep, point)
        rows.append(
            (Cell(point["policy"]), *settings, _against(point), dev_loss, *_gaps(sweep, point))
        )
    labels = [axis["label"] for axis in sweep["axes"]]
    return Table(
        "Points of the sweep",
        ("policy", *labels, "against", "dev loss", *_under(sweep)),
        tuple(rows),
        marks=_marks(rows, sweep["points"]),
        notes=(
            "Gap: mean reward of held-out samples, less that of the policy it is held against "
            f"({DASH} where it is that policy itself); {seeds_text(sweep)}, 95 % intervals over "
            "seeds and prompts.",
            "Dev loss: unweighted, mean over seeds; comparable where the objective and its options "
            "are the same.",
        ),
        words=frozenset({0, len(labels) + 1}),
        stacked=True,
    )


def controls_table(sweep: Sweep) -> Table:
    """Return weighted policies against their controls at the same settings."""
    rows = []
    for point, control in controls(sweep):
        pair = Cell(f"{point['policy']} − {control['policy']}", mark=_unequal_mark(control))
        rows.append((pair, *_settings(sweep, point), *_gaps(sweep, control)))
    labels = [axis["label"] for axis in sweep["axes"]]
    return Table(
        "Weighted policies less their controls",
        ("pair", *labels, *_under(sweep)),
        tuple(rows) if judges(sweep) else (),
        marks=_marks(rows, [control for _, control in controls(sweep)]),
        stacked=True,
    )


def scorers_table(sweep: Sweep) -> Table:
    """Return accuracy in every run, where there are several."""
    runs = sweep["runs"]
    swept = {key for run in runs for key in run["settings"]}
    axes = [axis for axis in sweep["axes"] if axis["key"] in swept]
    rows = []
    for line in sorted(sweep["scorers"], key=lambda line: line["name"]):
        rows.append(
            (
                *texts(line["name"], *(setting_text(line, axis["key"]) for axis in axes)),
                real_cell(interval(line["dev_loss"])),
                share_cell(interval(line["accuracy"])),
                correlation_cell(interval(line["spearman_strength"])),
                Cell(percent(number(line["ece"]))),
            )
        )
    labels = [axis["label"] for axis in axes]
    return Table(
        "Scorers on held-out comparisons",
        ("scorer", *labels, "dev loss", "accuracy", "ρ with strength", "ECE"),
        tuple(rows) if len(runs) > 1 else (),
        empty="One run, so the same scorers at every point: report.html says how good they are.",
    )


def axes_table(sweep: Sweep) -> Table:
    rows = [texts(axis["key"], _listed(axis["values"])) for axis in sweep["axes"]]
    rows.append(texts("seed", _listed(sweep["seeds"])))
    return Table("Keys and values", ("key", "values"), tuple(rows), words=frozenset({0, 1}))


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(value_text, values))


def runs_table(sweep: Sweep) -> Table:
    rows = []
    for run in sweep["runs"]:
        page = f"{run['folder']}/report.html".removeprefix("./")
        settings = [f"{key} = {value_text(value)}" for key, value in run["settings"].items()]
        policies = {point["name"] for point in sweep["points"] if point["run"] == run["folder"]}
        rows.append(texts(page, ", ".join(settings) or DASH, count(len(policies))))
    columns = ("page", "settings", "policies")
    return Table("Runs", columns, tuple(rows), words=frozenset({0, 1}))


# --- cells ----------------------------------------------------------------------------------------


def _settings(sweep: Sweep, point: Point) -> tuple[Cell, ...]:
    return texts(*(setting_text(point, axis["key"]) for axis in sweep["axes"]))


def _under(sweep: Sweep) -> list[str]:
    return [f"gap under {scorer}" for scorer in judges(sweep)]


def _gaps(sweep: Sweep, point: Point) -> list[Cell]:
    return [_gap(point["gaps"], scorer) for scorer in judges(sweep)]


def _gap(gaps: Mapping[str, Any], scorer: str) -> Cell:
    if scorer not in gaps:
        return Cell(DASH)
    mark = TRAINED_WITH if gaps[scorer]["used_in_training"] else ""
    return real_cell(interval(gaps[scorer]), mark)


def _against(point: Point) -> Cell:
    if point["name"] == point["against"]:
        return Cell("the baseline itself")
    return Cell(point["against"], mark=_unequal_mark(point))


def _unequal_mark(point: Point) -> str:
    return UNEQUAL if point["unequal"] else ""


def _marks(rows: Iterable[Iterable[Cell]], points: Iterable[Point]) -> tuple[str, ...]:
    """Say what the marks in rows mean.

    Args:
        points: those, or their controls, that may be trained unequally.
    """
    marks = []
    if any(cell.mark == TRAINED_WITH for row in rows for cell in row):
        marks.append(TRAINED_EITHER)
    differences = [trained_unequally(unequal(point)) for point in points if point["unequal"]]
    marks += [f"{UNEQUAL} {text}." for text in dict.fromkeys(differences)]
    return tuple(marks)
