"""Results → figures: what to draw, from which runs, under which title."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from rewarddiff.report import charts, gap_plots, plots
from rewarddiff.report.evidence import trained_with
from rewarddiff.report.plots import Points
from rewarddiff.report.policy_tables import policy_names
from rewarddiff.report.scorer_tables import labelled
from rewarddiff.report.svg import NEUTRAL, palette
from rewarddiff.report.values import count, duration, percent, real, setting
from rewarddiff.results import (
    CoefficientResult,
    CurveLine,
    Histogram,
    Interval,
    PolicyResult,
    Results,
    ScorerResult,
)

Run = TypeVar("Run", ScorerResult, PolicyResult, CoefficientResult)

MARGIN = (
    ("batch_margin", "μ"),
    ("shifted", "share shifted"),
    ("margin", "mean gap"),
    ("margin_std", "std of gaps"),
    ("margin_skew", "skewness"),
    ("margin_kurtosis", "kurtosis"),
)
"""Of the gaps of scorers, where one of a run has a margin from the batch (arXiv 2404.04932): its,
and the others' to compare with."""

QUANTILES = ("0.05", "0.25", "0.5", "0.75", "0.95")


@dataclass(frozen=True)
class Drawing:
    """A figure under its title; `label` says what is in it to those who do not see it."""

    title: str
    caption: str
    chart: charts.Chart
    label: str

    @cached_property
    def svg(self) -> str:
        """The markup of plots.py, which escapes its texts."""
        return self.chart.svg(self.label)


def histograms(results: Results) -> tuple[Drawing, ...]:
    """Draw the held-out differences of each scorer, else the training pairs' of coefficients."""
    measured = [run for run in results.scorers if run.evaluation.histogram.counts]
    if measured:
        return tuple(_held_out_histograms(results))
    return tuple(_training_histograms(results))


def _held_out_histograms(results: Results) -> Iterator[Drawing]:
    for run, seed in _first_seeds(results.scorers):
        histogram = run.evaluation.histogram
        if histogram.counts:
            caption = f"held-out comparisons{seed}"
            share = histogram.negative / sum(histogram.counts)
            yield _histogram(results, run.name, caption, histogram, share)


def _training_histograms(results: Results) -> Iterator[Drawing]:
    """Draw the differences behind each coefficient; policies with the same share a figure."""
    configs = {policy.name: policy.coefficient for policy in results.policies}
    seen = set()
    for line, seed in _first_seeds(results.coefficients):
        config = configs[line.policy]
        assert config is not None
        source: str = config["source"]
        if (source, line.histogram) not in seen:
            seen.add((source, line.histogram))
            caption = f"training comparisons{seed}"
            share = line.report.share_negative
            yield _histogram(results, source, caption, line.histogram, share)


def _histogram(
    results: Results, name: str, caption: str, histogram: Histogram, negative: float
) -> Drawing:
    remark = f"{count(sum(histogram.counts))} {caption}; {percent(negative)} negative"
    # Differences of no scorer that is named, such as grades, have no colour of their own.
    colour = colours(results).get(name, NEUTRAL)
    label = f"Histogram of differences, {name}: {remark}"
    return Drawing(name, remark, charts.Differences(histogram, colour), label)


def reward_histograms(results: Results) -> tuple[Drawing, ...]:
    """Draw the rewards of the chosen and of the rejected responses, of every reward model."""
    drawings = []
    for run, seed in _first_seeds(results.scorers):
        rewards = run.evaluation.rewards
        if rewards.edges:
            chosen = count(sum(rewards.chosen))
            rejected = count(sum(rewards.rejected))
            remark = f"{chosen} chosen, {rejected} rejected responses{seed}"
            chart = charts.ChosenAndRejected(rewards)
            label = f"Rewards under {run.name}: {remark}"
            drawings.append(Drawing(f"Rewards by {run.name}", remark, chart, label))
    return tuple(drawings)


def accuracies(results: Results) -> tuple[Drawing, ...]:
    drawings = []
    for run, seed in _first_seeds(results.scorers):
        colour = colours(results).get(run.name, NEUTRAL)
        for axis, bins in (
            ("|d|", run.evaluation.by_bin),
            ("strength stated in the data", run.evaluation.by_strength),
        ):
            shares = labelled(bins)
            if any(share.known for _, share in shares):
                text = ", ".join(f"{label}: {percent(share.value)}" for label, share in shares)
                title = f"{run.name}, by {axis}"
                label = f"Accuracy by {axis}, {run.name}: {text}"
                chart = charts.Accuracies(shares, colour, axis)
                drawings.append(Drawing(title, f"held-out comparisons{seed}", chart, label))
    return tuple(drawings)


# --- learning curves ------------------------------------------------------------------------------


def curves(results: Results) -> tuple[Drawing, ...]:
    drawings: list[Drawing] = []
    every_line = [line for run in results.scorers for line in run.curve]
    metrics = [("loss", "loss"), ("accuracy", "accuracy")]
    if any("batch_margin" in line for line in every_line):
        metrics += MARGIN
    for runs in by_name(results.scorers):
        drawings += _curves(results, "scorer", runs, metrics)
    # The loss of a policy that samples itself tells nothing: its samples have curves of their own.
    of_data = [policy for policy in results.policies if not policy.samples_itself]
    for of_policy in by_name(of_data):
        metrics = [("loss", "loss"), ("rewards/accuracies", "accuracy")]
        drawings += _curves(results, "policy", of_policy, metrics)
    return tuple(drawings)


def _curves(
    results: Results,
    noun: str,
    runs: Sequence[ScorerResult] | Sequence[PolicyResult],
    metrics: Iterable[tuple[str, str]],
) -> Iterator[Drawing]:
    """Draw a panel a metric that was measured, a line a seed."""
    measured = panels(runs, metrics)
    if measured:
        name = runs[0].name
        colour = colours(results).get(name, NEUTRAL)
        seeds = f"seed {setting(runs[0].seed)}"
        if len(runs) > 1:
            seeds = f"{len(runs)} seeds"
        label = f"Learning curves of the {noun} {name}"
        yield Drawing(name, f"{noun}, {seeds}", charts.Curves(measured, colour), label)


def panels(
    runs: Sequence[ScorerResult] | Sequence[PolicyResult], metrics: Iterable[tuple[str, str]]
) -> list[plots.Panel]:
    """Return a panel for each metric that was measured, with a line a seed."""
    measured: list[plots.Panel] = []
    for key, label in metrics:
        train = [_points(run.curve, "train", key) for run in runs]
        dev = [_points(run.curve, "dev", key) for run in runs]
        if any(train) or any(dev):
            lines = [points for points in train if points]
            measured.append((label, lines, [points for points in dev if points]))
    return measured


def _points(curve: Sequence[CurveLine], split: str, key: str) -> Points:
    """Return (step, value) where a metric was measured and is known."""
    points = []
    for line in curve:
        if line["split"] == split and key in line:
            value = line[key]
            step = line["step"]
            assert not isinstance(value, str)
            assert not isinstance(step, str)
            if math.isfinite(value):
                points.append((step, value))
    return points


# --- policies -------------------------------------------------------------------------------------


def rewards(results: Results) -> tuple[Drawing, ...]:
    """Draw the mean reward of every policy, a figure a scorer."""
    used = trained_with(results)
    known_colours = colours(results)
    drawings = []
    for scorer in dict.fromkeys(line.scorer for line in results.rewards):
        rows: list[plots.Dot] = []
        for policy in results.summary.policies:
            mean = policy.rewards[scorer]
            if mean.known:
                seeds = [
                    line.mean.value
                    for line in results.rewards
                    if (line.policy, line.scorer) == (policy.name, scorer)
                ]
                if len(seeds) == 1:
                    seeds = []
                rows.append((policy.name, mean, seeds, (policy.name, scorer) in used))
        if rows:
            text = ", ".join(f"{name} {real(mean.value)}" for name, mean, *_ in rows)
            label = f"Mean reward under {scorer}: {text}"
            chart = charts.Dots(rows, known_colours, "mean reward")
            drawings.append(Drawing(f"Under {scorer}", "", chart, label))
    return tuple(drawings)


def reward_distributions(results: Results) -> tuple[Drawing, ...]:
    """Draw how the rewards of every policy's samples are spread, a figure a scorer, first seed."""
    drawings = []
    for scorer in dict.fromkeys(line.scorer for line in results.reward_distributions):
        lines = [line for line in results.reward_distributions if line.scorer == scorer]
        first = [line for line in lines if line.seed == lines[0].seed]
        rows = [(line.policy, line.histogram, line.spread.mean) for line in first]
        samples = count(sum(first[0].histogram.counts))
        caption = f"{samples} samples each, none left out; each to its own height; stroke: mean"
        if len(first) < len(lines):
            caption += f"; seed {setting(first[0].seed)}"
        text = ", ".join(f"{name} mean {real(average)}" for name, _, average in rows)
        chart = charts.Ridges(rows, colours(results), f"reward by {scorer}")
        label = f"Distribution of rewards under {scorer}: {text}"
        drawings.append(Drawing(f"Rewards by {scorer}", caption, chart, label))
    return tuple(drawings)


def contrasts(results: Results) -> tuple[Drawing, ...]:
    """Draw the shares of won, tied and lost prompts, a figure a scorer."""
    drawings = []
    for scorer in dict.fromkeys(line.scorer for line in results.contrasts):
        rows = []
        for line in results.contrasts:
            if line.scorer == scorer and math.isfinite(line.win):
                name = f"{line.a} against {line.b}"
                if line.seed != "all":
                    name += f" (seed {line.seed})"
                win, tie, lose = map(Interval.unbounded, (line.win, line.tie, line.lose))
                rows.append((name, (win, tie, lose)))
        if rows:
            drawings.append(head_to_head(f"Under {scorer}", "", rows))
    return tuple(drawings)


def head_to_head(title: str, caption: str, rows: Sequence[gap_plots.Shares]) -> Drawing:
    """Draw the shares of won, tied and lost prompts."""
    texts = []
    for name, shares in rows:
        texts.append(f"{name}: {'/'.join(percent(share.value) for share in shares)}")
    label = f"Win, tie, lose, {title}. {'; '.join(texts)}"
    return Drawing(title, caption, charts.HeadToHead(rows), label)


def spreads(results: Results) -> tuple[Drawing, ...]:
    """Draw how differences, and the coefficients made of them, are spread."""
    differences: list[plots.Spread] = []
    coefficients: list[plots.Spread] = []
    for line, _ in _first_seeds(results.coefficients):
        for rows, spread in (
            (differences, line.report.before),
            (coefficients, line.report.after),
        ):
            quantiles = [spread.quantiles[share] for share in QUANTILES]
            rows.append((line.policy, quantiles, spread.mean))
    drawings = []
    for title, axis, rows in (
        ("Differences", "difference d", differences),
        ("Coefficients", "coefficient", coefficients),
    ):
        if rows:
            text = ", ".join(f"{name} median {real(marks[2])}" for name, marks, _ in rows)
            caption = "thin 5–95 %, thick 25–75 %, dot median, cross mean"
            chart = charts.Spreads(rows, colours(results), axis)
            drawings.append(Drawing(title, caption, chart, f"{title}: {text}"))
    return tuple(drawings)


def costs(results: Results) -> tuple[Drawing, ...]:
    rows = [(cost.stage, cost.seconds, duration(cost.seconds)) for cost in results.costs]
    if not rows:
        return ()
    total = duration(sum(cost.seconds for cost in results.costs))
    chart = charts.Bars(rows, ("stage", "seconds"))
    return (Drawing("Where the time went", f"{total} in all", chart, "Time per stage"),)


# --- helpers --------------------------------------------------------------------------------------


def colours(results: Results) -> dict[str, str]:
    """Return one colour for every policy, then for every scorer, whatever figure they are in."""
    scorers = [line.name for line in results.summary.scorers]
    judges = [line.scorer for line in results.rewards]
    return palette([*policy_names(results), *scorers, *judges])


def by_name(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs of every name, one a seed."""
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        name = run.policy if isinstance(run, CoefficientResult) else run.name
        by_name.setdefault(name, []).append(run)
    return list(by_name.values())


def _first_seeds(runs: Sequence[Run]) -> Iterator[tuple[Run, str]]:
    """Yield the first run of every name, and `, seed 0 of 3 seeds` where there are several."""
    for of_name in by_name(runs):
        first = of_name[0]
        seeds = ""
        if len(of_name) > 1:
            seeds = f", seed {setting(first.seed)} of {len(of_name)} seeds"
        yield first, seeds
