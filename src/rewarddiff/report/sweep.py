"""sweep.json → its tables, figures and page."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewarddiff.report import plots
from rewarddiff.report.cells import Cell, Table, correlation_cell, real_cell, share_cell
from rewarddiff.report.figures import Drawing
from rewarddiff.report.page import Section, compose, write
from rewarddiff.report.policy_tables import TRAINED_WITH, UNEQUAL
from rewarddiff.report.statements import KEYS_NAMED, SENTENCES, trained_unequally
from rewarddiff.report.text import markdown_page, terminal_page
from rewarddiff.report.values import DASH, count, percent, real, setting
from rewarddiff.results import UNKNOWN, Interval, Unequal

if TYPE_CHECKING:
    from rich.console import Group

Results = Mapping[str, Any]
"""The content of sweep.json, or a part of it."""

Facet = tuple[tuple[str, ...], Any]
"""What the points of one figure have in common: their settings of all axes but the first, and one
thing more."""

BASE = "base"
"""What results call the model before training."""

REGULARISERS = ("duplication", "reverse", "regulariser", "odin", "loss.center", "train.")
"""Keys of a scorer that leave alone what its dev loss is of: they weigh what is not in it, or say
how it is trained."""

MARKED = (
    f"{TRAINED_WITH} a scorer that had a part in training one of the two: no independent evidence."
)


def render_sweep(sweep: Results, folder: Path) -> Path:
    """Write `folder/sweep.html` and `folder/sweep.md`, and return the page's path."""
    path = Path(folder) / "sweep.html"
    write(path, page(sweep))
    write(path.with_suffix(".md"), markdown(sweep))
    return path


def page(sweep: Results) -> str:
    """The page as text."""
    axes = ", ".join(axis["key"] for axis in sweep["axes"]) or "seed"
    made = (f"rewarddiff {sweep['version']}", str(sweep["created"]), _seeds(sweep))
    gaps, losses = gap_figures(sweep), loss_figures(sweep)
    parts = [
        Section("points", "Points of the sweep", tables=(points_table(sweep),)),
        Section(
            "gaps",
            "Gaps in mean reward",
            intro="Gap to the policy each point is held against, with its 95 % interval over seeds and prompts. Dashed "
            "with hollow dots: controls, whose weights are not those of their comparisons.",
            figures=gaps,
        ),
        Section(
            "controls",
            "Weighted policies less their controls",
            intro="Does it matter which comparison has which weight? A control is trained alike, with weights that are "
            "constant, shuffled or inverse.",
            tables=(controls_table(sweep),),
        ),
        Section(
            "losses",
            "Dev loss",
            intro="Unweighted loss on the dev comparisons after training, with its 95 % interval over seeds.",
            figures=losses,
        ),
        Section("scorers", "Scorers on held-out comparisons", tables=(scorers_table(sweep),)),
        Section("runs", "What was run", tables=(axes_table(sweep), runs_table(sweep))),
    ]  # fmt: skip
    said, more = remarks(sweep)[: SENTENCES - 1], remarks(sweep)[SENTENCES - 1 :]
    title = f"{sweep['name']}: sweep of {axes}"
    return compose(title, " · ".join(made), verdict(sweep), parts, remarks=said, further=more)


def terminal_sweep(sweep: Results) -> "Group":
    """The verdict and the tables as one rich renderable."""
    return terminal_page(verdict(sweep), remarks(sweep), _tables(sweep))


def markdown(sweep: Results) -> str:
    """The verdict and the tables as GitHub-flavoured Markdown."""
    return markdown_page(verdict(sweep), remarks(sweep), _tables(sweep), notes=True)


def _tables(sweep: Results) -> tuple[Table, ...]:
    return points_table(sweep), controls_table(sweep), scorers_table(sweep)


# --- what is shown --------------------------------------------------------------------------------------------------


def verdict(sweep: Results) -> str:
    """How many gaps of weighted policies to their baseline are told apart from zero by independent
    scorers."""
    found = [
        gap for p in sweep["points"] if p["control"] == "none" for gap in p["gaps"].values()
    ]  # fmt: skip
    independent = [_interval(gap) for gap in found if not gap["used_in_training"]]
    gaps = independent or [_interval(gap) for gap in found]
    if not sweep["points"]:
        return "No policies were trained: a sweep of scorers alone."
    if not gaps:
        return "No weighted policy was held against its baseline."
    above, below = sum(gap.low > 0 for gap in gaps), sum(gap.high < 0 for gap in gaps)
    told = len(gaps) - above - below
    counted = f"{_are(above)} above zero, {_are(below)} below, and {told or 'none'} not told apart from zero."
    of = f"Of {len(gaps)} gaps between weighted policies and their baseline under"
    if not independent:
        return f"No independent evidence. {of} the scorers they were trained with, {counted}"
    used = [_interval(gap) for gap in found if gap["used_in_training"]]
    above_by_used, below_by_used = (
        sum(gap.low > 0 for gap in used),
        sum(gap.high < 0 for gap in used),
    )
    otherwise = ""
    if used and (above_by_used > 0, below_by_used > 0) != (above > 0, below > 0):
        counts = (
            f"of {len(used)} gaps {_are(above_by_used)} above zero and {_are(below_by_used)} below"
        )
        otherwise = f" The scorers they were trained with say otherwise: {counts}."
    return f"{of} scorers without a part in their training, {counted}{otherwise}"


def remarks(sweep: Results) -> list[str]:
    gaps = [gap for p in sweep["points"] for gap in p["gaps"].values()]
    found = []
    differing = [p for p in sweep["points"] if _unequal(p)]
    if differing:
        first = differing[0]
        text = trained_unequally(_unequal(first), KEYS_NAMED)
        many = f"; {len(differing)} points in all are held against one trained unequally" * (
            len(differing) > 1
        )
        found.append(f"{first['name']} and {first['against']} were {text}{many}.")
    if len(gaps) > 4:
        found.append(
            f"With {len(gaps)} gaps looked at, about {round(len(gaps) / 20) or 1} would leave zero out of its 95 % "
            "interval if nothing had any effect: the best point of a sweep is to be confirmed with other seeds."
        )
    if len(sweep["seeds"]) == 1:
        found.append("One seed: intervals are over prompts alone and say nothing of other seeds.")
    if any(axis["key"].startswith(("scorers.", "data.")) for axis in sweep["axes"]):
        found.append(
            "Runs with other data or scorers are judged by other scorers: compare gaps within a run."
        )
    return found + _least(sweep)


def _least(sweep: Results) -> list[str]:
    """Where each scorer's dev loss is least: what regularisers and settings of training are to be
    chosen by.

    Other keys change what the loss is, and then it tells nothing.
    """
    labels: dict[str, dict[str, str]] = {}
    for axis in sweep["axes"]:
        if axis["key"].startswith("scorers."):
            _, name, setting = axis["key"].split(".", 2)
            if not setting.startswith(REGULARISERS):
                return []
            labels.setdefault(name, {})[axis["key"]] = axis["label"]
    found = []
    for name, own in sorted(labels.items()):
        known = [line for line in sweep["scorers"] if line["name"] == name and line["dev_loss"]]
        if len(known) > 1:
            best = min(known, key=lambda line: _interval(line["dev_loss"]).value)
            at = ", ".join(f"{own[k]} {_value(v)}" for k, v in best["settings"].items() if k in own)
            loss = real(_interval(best["dev_loss"]).value)
            found.append(
                f"The dev loss of {name}, without its regularisers, is least at {at}: {loss}."
            )
    return found


def _are(many: int) -> str:
    return f"{many or 'none'} {'is' if many == 1 else 'are'}"


# --- tables ---------------------------------------------------------------------------------------------------------


def points_table(sweep: Results) -> Table:
    points = sweep["points"]
    scorers = _judges(sweep)
    labels = [axis["label"] for axis in sweep["axes"]]
    rows = tuple(
        (
            Cell(point["policy"]),
            *_settings(sweep, point),
            _against(point),
            real_cell(_interval(point["dev_loss"])),
            *(_gap(point["gaps"], scorer) for scorer in scorers),
        )
        for point in points
    )
    wide = len(labels) + 1
    return Table(
        "Points of the sweep",
        ("policy", *labels, "against", "dev loss", *(f"gap under {scorer}" for scorer in scorers)),
        rows,
        marks=_marks(rows, points),
        notes=(
            f"Gap: mean reward of held-out samples, less that of the policy it is held against ({DASH} where it is "
            f"that policy itself); {_seeds(sweep)}, 95 % intervals over seeds and prompts.",
            "Dev loss: unweighted, mean over seeds; comparable where the objective and its options are the same.",
        ),
        words=frozenset({0, wide}),
        stacked=True,
    )


def controls_table(sweep: Results) -> Table:
    """Weighted policies against their controls at the same settings."""
    scorers = _judges(sweep)
    labels = [axis["label"] for axis in sweep["axes"]]
    rows = tuple(
        (
            Cell(
                f"{point['policy']} − {control['policy']}", mark=UNEQUAL * bool(_unequal(control))
            ),
            *_settings(sweep, point),
            *(_gap(control["gaps"], scorer) for scorer in scorers),
        )
        for point in sweep["points"]
        for control in point["controls"]
    )
    return Table(
        "Weighted policies less their controls",
        ("pair", *labels, *(f"gap under {scorer}" for scorer in scorers)),
        rows if scorers else (),
        marks=_marks(
            rows,
            [control for point in sweep["points"] for control in point["controls"]],
        ),
        stacked=True,
    )


def scorers_table(sweep: Results) -> Table:
    """Accuracy in every run, where there are several."""
    runs = sweep["runs"]
    swept = {key for run in runs for key in run["settings"]}
    axes = [axis for axis in sweep["axes"] if axis["key"] in swept]
    rows = tuple(
        (
            Cell(line["name"]),
            *(Cell(_value(line["settings"].get(axis["key"]))) for axis in axes),
            real_cell(_interval(line["dev_loss"])),
            share_cell(_interval(line["accuracy"])),
            correlation_cell(_interval(line["spearman_strength"])),
            Cell(percent(_number(line["ece"]))),
        )
        for line in sorted(sweep["scorers"], key=lambda line: str(line["name"]))
    )
    return Table(
        "Scorers on held-out comparisons",
        (
            "scorer",
            *(axis["label"] for axis in axes),
            "dev loss",
            "accuracy",
            "ρ with strength",
            "ECE",
        ),
        rows if len(runs) > 1 else (),
        empty="One run, so the same scorers at every point: report.html says how good they are.",
    )


def axes_table(sweep: Results) -> Table:
    rows = [(str(axis["key"]), axis["values"]) for axis in sweep["axes"]]
    rows.append(("seed", sweep["seeds"]))
    return Table(
        "Keys and values",
        ("key", "values"),
        tuple((Cell(key), Cell(", ".join(map(_value, values)))) for key, values in rows),
        words=frozenset({0, 1}),
    )


def runs_table(sweep: Results) -> Table:
    runs = sweep["runs"]
    rows = tuple(
        (
            Cell(f"{'' if run['folder'] == '.' else run['folder'] + '/'}report.html"),
            Cell(
                ", ".join(f"{key} = {_value(value)}" for key, value in run["settings"].items())
                or DASH
            ),
            Cell(count(len({p["name"] for p in sweep["points"] if p["run"] == run["folder"]}))),
        )
        for run in runs
    )
    return Table("Runs", ("page", "settings", "policies"), rows, words=frozenset({0, 1}))


def _settings(sweep: Results, point: Results) -> Iterable[Cell]:
    return (Cell(_value(point["settings"].get(axis["key"]))) for axis in sweep["axes"])


def _gap(gaps: Any, scorer: str) -> Cell:
    if scorer not in gaps:
        return Cell(DASH)
    gap = gaps[scorer]
    mark = TRAINED_WITH if gap["used_in_training"] else ""
    return real_cell(_interval(gap), mark)


def _against(point: Results) -> Cell:
    if point["name"] == point["against"]:
        return Cell("the baseline itself")
    return Cell(point["against"], mark=UNEQUAL * bool(_unequal(point)))


def _marks(rows: Sequence[Sequence[Cell]], points: Sequence[Results]) -> tuple[str, ...]:
    """What the marks in rows mean; `points` are those, or their controls, that may be trained
    unequally."""
    used = any(cell.mark == TRAINED_WITH for row in rows for cell in row)
    texts = [trained_unequally(_unequal(point)) for point in points if _unequal(point)]
    return ((MARKED,) if used else ()) + tuple(
        f"{UNEQUAL} {text}." for text in dict.fromkeys(texts)
    )


def _judges(sweep: Results) -> list[str]:
    return list(dict.fromkeys(scorer for point in sweep["points"] for scorer in point["gaps"]))


def _value(value: Any) -> str:
    return DASH if value is None else setting(value)


def _interval(values: Results | None) -> Interval:
    if values is None:
        return UNKNOWN
    return Interval(
        _number(values["value"]), _number(values["low"]), _number(values["high"]), values["n"]
    )


def _number(value: Any) -> float:
    """Return a number of a file; NaN for null, and for a value of a key that is no number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return math.nan


def _unequal(point: Results) -> tuple[Unequal, ...]:
    return tuple(Unequal(**difference) for difference in point["unequal"])


def _seeds(sweep: Results) -> str:
    many = len(sweep["seeds"])
    return f"{many} seeds" if many > 1 else "one seed"


# --- figures --------------------------------------------------------------------------------------------------------


def gap_figures(sweep: Results) -> tuple[Drawing, ...]:
    """Gaps along the first axis: a figure for each scorer and setting of the other axes, a line for
    each policy."""
    found = []
    for (rest, against), points in _groups(sweep, lambda p: p["against"] == BASE):
        for scorer in _judges(sweep):
            rows, used = [], False
            for policy, own in _by_policy(points):
                along = [(p, _own_gap(p, scorer)) for p in own]
                used |= any(
                    scorer in p["gaps"] and p["gaps"][scorer]["used_in_training"] for p in own
                )
                rows.append((policy, along))
            what = "gap to the base model" if against else "gap to the baseline"
            title = f"Under {scorer}{f' {TRAINED_WITH}' if used else ''}"
            found += _drawn(sweep, title, [what, *rest], rows, [("", 0.0)], what)
    return tuple(found)


def loss_figures(sweep: Results) -> tuple[Drawing, ...]:
    """Dev loss along the first axis, a line for each policy; those without that key at their
    height."""
    found = []
    axes = sweep["axes"]
    for (rest, objective), points in _groups(sweep, lambda p: p["objective"]):
        rows = [
            (policy, [(p, _interval(p["dev_loss"])) for p in own])
            for policy, own in _by_policy(points)
        ]
        levels = [
            (str(p["policy"]), _interval(p["dev_loss"]).value)
            for p in sweep["points"]
            if p["objective"] == objective
            and axes[0]["key"] not in p["settings"]
            and _rest(sweep, p) in (rest, ())
        ]
        levels = [(name, height) for name, height in levels if height == height]
        found += _drawn(sweep, f"Objective {objective}", list(rest), rows, levels, "dev loss")
    return tuple(found)


def _own_gap(point: Results, scorer: str) -> Interval:
    return (
        Interval.unbounded(0.0)
        if point["name"] == point["against"]
        else _interval(point["gaps"].get(scorer))
    )


def _drawn(
    sweep: Results,
    title: str,
    caption: Sequence[str],
    rows: Sequence[tuple[str, Sequence[tuple[Results, Interval]]]],
    levels: Sequence[tuple[str, float]],
    what: str,
) -> list[Drawing]:
    """The figure of `what`, a line for each policy; none where nothing is known."""
    axis = sweep["axes"][0]
    place = _places(axis["values"])
    drawn = []
    for policy, own in rows:
        points = sorted(
            ((place[_value(p["settings"][axis["key"]])], found) for p, found in own),
            key=itemgetter(0),
        )
        drawn.append((policy, points, own[0][0]["control"] not in (None, "none")))
    if not any(found.known for _, own, _ in drawn for _, found in own):
        return []
    ticks = [(x, text) for text, x in place.items()]
    said = "; ".join(
        f"{name} {', '.join(real(found.value) for _, found in points)}" for name, points, _ in drawn
    )
    label = ", ".join([title, *caption, f"along {axis['label']}: {said}"])
    colours = plots.palette(str(point["policy"]) for point in sweep["points"])
    svg = plots.lines(drawn, ticks, levels, colours, label, (str(axis["label"]), what))
    return [Drawing(title, ", ".join(caption), svg)]


def _groups(sweep: Results, key: Callable[[Results], Any]) -> Iterable[tuple[Facet, list[Results]]]:
    """The points along the first axis, by their settings of the other axes and by a key."""
    axes = sweep["axes"]
    along = [p for p in sweep["points"] if axes and axes[0]["key"] in p["settings"]]
    found: dict[Facet, list[Results]] = {}
    for point in along:
        found.setdefault((_rest(sweep, point), key(point)), []).append(point)
    return found.items()


def _rest(sweep: Results, point: Results) -> tuple[str, ...]:
    axes = sweep["axes"][1:]
    return tuple(
        f"{a['label']} {_value(point['settings'][a['key']])}"
        for a in axes
        if a["key"] in point["settings"]
    )


def _by_policy(points: Sequence[Results]) -> list[tuple[str, list[Results]]]:
    found: dict[str, list[Results]] = {}
    for point in points:
        found.setdefault(str(point["policy"]), []).append(point)
    return list(found.items())


def _places(values: Sequence[Any]) -> dict[str, float]:
    """Where values stand on x, by their text: to scale where they are numbers that can then be told
    apart."""
    texts, numbers = [_value(value) for value in values], [_number(value) for value in values]
    known = sorted(x for x in numbers if x == x)
    least = min((b - a for a, b in pairwise(known)), default=0.0)
    if len(known) == len(values) > 1 and least >= (known[-1] - known[0]) / 20:
        return dict(zip(texts, numbers, strict=True))
    return {text: float(place) for place, text in enumerate(texts)}
