"""Runs side by side → figures: a row a scorer or policy and run, on one axis."""

from __future__ import annotations

from collections.abc import Sequence

from rewarddiff.report import charts, plots
from rewarddiff.report.compare_tables import judge_names
from rewarddiff.report.evidence import trained_with
from rewarddiff.report.figures import Drawing
from rewarddiff.report.side_by_side import Judged, NamedRun, judged_alike, measured_alike
from rewarddiff.report.svg import palette
from rewarddiff.report.values import percent, real


def accuracy_figures(runs: Sequence[NamedRun]) -> tuple[Drawing, ...]:
    """Draw a figure for each set of held-out comparisons, with all scorers that are measured on it."""
    drawings = []
    for group in measured_alike(runs):
        rows: list[plots.Dot] = []
        colours = {}
        for line in sorted(group, key=lambda line: line.summary.name):
            if line.summary.accuracy.known:
                name = _row(line.summary.name, line.run)
                rows.append((name, line.summary.accuracy, [], False))
                colours[name] = _colours(runs)[line.run.label]
        if rows:
            text = ", ".join(f"{name} {percent(accuracy.value)}" for name, accuracy, *_ in rows)
            number = group[0].first.evaluation.n
            chart = charts.Dots(rows, colours, "accuracy")
            caption = f"{number} held-out comparisons"
            drawings.append(Drawing("Accuracy", caption, chart, f"Accuracy: {text}"))
    return tuple(drawings)


def reward_figures(runs: Sequence[NamedRun]) -> tuple[Drawing, ...]:
    """Draw a figure for each scorer that judges policies of several runs."""
    drawings = []
    for group in judged_alike(runs):
        for place, judge in enumerate(judge_names(group)):
            rows, colours = _rewards(group, place, runs)
            text = ", ".join(f"{name} {real(mean.value)}" for name, mean, *_ in rows)
            chart = charts.Dots(rows, colours, "mean reward")
            label = f"Mean reward under {judge}: {text}"
            drawings.append(Drawing(f"Under {judge}", "", chart, label))
    return tuple(drawings)


def _rewards(
    group: Judged, place: int, runs: Sequence[NamedRun]
) -> tuple[list[plots.Dot], dict[str, str]]:
    """Return the policies under one scorer, hollow where it had a part in training them."""
    names = list(group.scorers.values())[place]
    rows: list[plots.Dot] = []
    colours = {}
    for run in group.runs:
        if run.label not in names:
            continue
        used = trained_with(run.results)
        for policy in run.results.summary.policies:
            name = _row(policy.name, run)
            scorer = names[run.label]
            rows.append((name, policy.rewards[scorer], [], (policy.name, scorer) in used))
            colours[name] = _colours(runs)[run.label]
    rows.sort(key=lambda row: row[0])
    return rows, colours


def _row(name: str, run: NamedRun) -> str:
    return f"{name} · {run.label}"


def _colours(runs: Sequence[NamedRun]) -> dict[str, str]:
    """Return one colour for every run."""
    return palette(run.label for run in runs)
