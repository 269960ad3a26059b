"""Results → figures: what to draw, from which runs, under which title."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewarddiff.report import plots, tables
from rewarddiff.report.cells import Results
from rewarddiff.report.plots import Points
from rewarddiff.report.statements import trained_with
from rewarddiff.report.values import (
    DASH,
    count,
    duration,
    entries,
    interval,
    mapping,
    names,
    number,
    numbers,
    percent,
    real,
    word,
)

ACCURACIES = ("rewards/accuracies", "accuracy", "accuracies")

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


@dataclass(frozen=True)
class Drawing:
    title: str
    caption: str
    svg: str  # markup of plots.py, which escapes its texts


def histograms(results: Results) -> tuple[Drawing, ...]:
    """Held-out differences of each scorer where recorded, else the training pairs' behind each
    coefficient."""
    held_out = [
        (name, f"held-out comparisons{more}", mapping(run.get("evaluation")))
        for name, run, more in _first_seeds(results, "scorers", "name")
    ]
    found = [
        _histogram(results, name, caption, mapping(evaluation.get("histogram")), evaluation)
        for name, caption, evaluation in held_out
    ]
    if not any(found):
        seen: dict[str, str] = {}  # policies with the same differences share a figure
        for name, run, more in _first_seeds(results, "coefficients", "policy"):
            scorer, histogram = _scorer_of(results, name), mapping(run.get("histogram"))
            if seen.setdefault(f"{scorer} {histogram}", name) == name:
                title = scorer or f"Differences behind {name}"
                found.append(
                    _histogram(
                        results,
                        title,
                        f"training comparisons{more}",
                        histogram,
                        mapping(run.get("report")),
                    )
                )
    return tuple(drawing for drawing in found if drawing)


def _histogram(
    results: Results, name: str, caption: str, histogram: Results, report: Results
) -> Drawing | None:
    edges, counts = numbers(histogram.get("edges")), numbers(histogram.get("counts"))
    if not _drawable(edges, counts):
        return None
    remark = f"{count(sum(counts))} {caption}; {percent(_negative(histogram, report, sum(counts)))} negative"
    # Differences of no scorer that is named, such as grades, have no colour of their own.
    colour = colours(results).get(name, plots.NEUTRAL)
    return Drawing(
        name,
        remark,
        plots.histogram(edges, counts, colour, f"Histogram of differences, {name}: {remark}"),
    )


def _drawable(edges: Sequence[float], *counts: Sequence[float]) -> bool:
    finite = all(x == x for x in (*edges, *(n for own in counts for n in own)))
    return (
        all(len(edges) == len(own) + 1 > 1 for own in counts)
        and finite
        and list(edges) == sorted(edges)
    )


def reward_histograms(results: Results) -> tuple[Drawing, ...]:
    """Rewards of the chosen and of the rejected responses, of every reward model."""
    found: list[Drawing] = []
    for name, run, more in _first_seeds(results, "scorers", "name"):
        rewards = mapping(mapping(run.get("evaluation")).get("rewards"))
        edges, *counts = (numbers(rewards.get(key)) for key in ("edges", "chosen", "rejected"))
        if _drawable(edges, *counts):
            remark = (
                f"{count(sum(counts[0]))} chosen, {count(sum(counts[1]))} rejected responses{more}"
            )
            svg = plots.two_histograms(
                edges, counts[0], counts[1], f"Rewards under {name}: {remark}"
            )
            found.append(Drawing(f"Rewards by {name}", remark, svg))
    return tuple(found)


def accuracies(results: Results) -> tuple[Drawing, ...]:
    found: list[Drawing] = []
    for name, run, more in _first_seeds(results, "scorers", "name"):
        for key, axis in (("by_bin", "|d|"), ("by_strength", "strength stated in the data")):
            bins = tables.bins(mapping(run.get("evaluation")), key)
            if any(accuracy.known for _, accuracy in bins):
                text = ", ".join(f"{label}: {percent(accuracy.value)}" for label, accuracy in bins)
                colour = colours(results).get(name, plots.NEUTRAL)
                svg = plots.accuracy_bars(bins, colour, f"Accuracy by {axis}, {name}: {text}", axis)
                found.append(Drawing(f"{name}, by {axis}", f"held-out comparisons{more}", svg))
    return tuple(found)


def curves(results: Results) -> tuple[Drawing, ...]:
    found: list[Drawing] = []
    lines = (line for run in entries(results.get("scorers")) for line in entries(run.get("curve")))
    margin = MARGIN if any("batch_margin" in line for line in lines) else ()
    for kind, noun in (("scorers", "scorer"), ("policies", "policy")):
        for name in names(entries(results.get(kind))):
            runs = [
                entries(run.get("curve"))
                for run in entries(results.get(kind))
                if str(run.get("name")) == name
            ]
            accuracy = next(
                (key for key in ACCURACIES if any(key in line for run in runs for line in run)),
                "accuracy",
            )
            panels: list[tuple[str, list[Points], list[Points]]] = []
            shape = margin if kind == "scorers" else ()
            for key, label in (("loss", "loss"), (accuracy, "accuracy"), *shape):
                train, dev = (
                    [_points(run, split, key) for run in runs] for split in ("train", "dev")
                )
                if any(train) or any(dev):
                    panels.append(
                        (label, [line for line in train if line], [line for line in dev if line])
                    )
            if panels:
                colour = colours(results).get(name, plots.NEUTRAL)
                seeds = (
                    f"{len(runs)} seeds" if len(runs) > 1 else f"seed {_seed(results, kind, name)}"
                )
                svg = plots.curves(panels, colour, f"Learning curves of the {noun} {name}")
                found.append(Drawing(name, f"{noun}, {seeds}", svg))
    return tuple(found)


def rewards(results: Results) -> tuple[Drawing, ...]:
    rewards, marked = tables.policy_rewards(results), trained_with(results)
    found = []
    for scorer in dict.fromkeys(scorer for row in rewards.values() for scorer in row):
        rows = []
        for label, row in rewards.items():
            if row.get(scorer, interval(None)).known:
                runs = [
                    number(run.get("mean"))
                    for run in entries(results.get("rewards"))
                    if (str(run.get("policy")), str(run.get("scorer"))) == (label, scorer)
                ]
                seeds = [value for value in runs if value == value]
                hollow = (tables.policy_of(label), scorer) in marked
                rows.append((label, row[scorer], seeds if len(seeds) > 1 else [], hollow))
        if rows:
            text = ", ".join(f"{label} {real(value.value)}" for label, value, _, _ in rows)
            known = colours(results)
            own = {label: known.get(tables.policy_of(label), plots.NEUTRAL) for label, *_ in rows}
            svg = plots.dots(rows, own, f"Mean reward under {scorer}: {text}", "mean reward")
            found.append(Drawing(f"Under {scorer}", "", svg))
    return tuple(found)


def contrasts(results: Results) -> tuple[Drawing, ...]:
    contrasts = entries(results.get("contrasts"))
    found = []
    for scorer in names(contrasts, "scorer"):
        rows = []
        for entry in contrasts:
            shares = tables.win_tie_lose(entry)
            if str(entry.get("scorer")) == scorer and any(share == share for share in shares):
                seed = entry.get("seed")
                which = (
                    ""
                    if seed in (None, "all") or len(_seeds(contrasts)) == 1
                    else f" (seed {seed})"
                )
                rows.append(
                    (f"{word(entry.get('a'))} against {word(entry.get('b'))}{which}", shares)
                )
        if rows:
            text = "; ".join(
                f"{name}: " + "/".join(percent(share) for share in shares) for name, shares in rows
            )
            found.append(
                Drawing(
                    f"Under {scorer}",
                    "",
                    plots.head_to_head(rows, f"Win, tie, lose under {scorer}. {text}"),
                )
            )
    return tuple(found)


def spreads(results: Results) -> tuple[Drawing, ...]:
    runs = _first_seeds(results, "coefficients", "policy")
    found: list[Drawing] = []
    for key, title, axis in (
        ("before", "Differences", "difference d"),
        ("after", "Coefficients", "coefficient"),
    ):
        rows = []
        for name, run, _ in runs:
            described = mapping(mapping(run.get("report")).get(key))
            marks = mapping(described.get("quantiles"))
            quantiles = [
                number(marks.get(mark)) for mark in ("0.05", "0.25", "0.5", "0.75", "0.95")
            ]
            if all(value == value for value in quantiles):
                rows.append((name, quantiles, number(described.get("mean"))))
        if rows:
            text = ", ".join(f"{name} median {real(quantiles[2])}" for name, quantiles, _ in rows)
            caption = "thin 5–95 %, thick 25–75 %, dot median, cross mean"
            found.append(
                Drawing(
                    title, caption, plots.spreads(rows, colours(results), f"{title}: {text}", axis)
                )
            )
    return tuple(found)


def costs(results: Results) -> tuple[Drawing, ...]:
    rows = [
        (word(entry.get("stage")), number(entry.get("seconds")))
        for entry in entries(results.get("costs"))
    ]
    rows = [(stage, seconds) for stage, seconds in rows if seconds == seconds]
    total = sum(seconds for _, seconds in rows)
    if not total > 0:
        return ()
    svg = plots.bars(
        [(stage, seconds, duration(seconds)) for stage, seconds in rows], "Time per stage"
    )
    return (Drawing("Where the time went", f"{duration(total)} in all", svg),)


def colours(results: Results) -> dict[str, str]:
    """Return one colour for every policy, then for every scorer, whatever figure they are in."""
    policies = [tables.policy_of(label) for label in tables.policy_rewards(results)]
    policies += names(entries(results.get("coefficients")), "policy")
    scorers = [*tables.scorer_names(results), *names(entries(results.get("rewards")), "scorer")]
    return plots.palette([*policies, *scorers])


# --- helpers ---------------------------------------------------------------------------------------------------------


def _first_seeds(results: Results, kind: str, key: str) -> list[tuple[str, Mapping[str, Any], str]]:
    """Of every name its first run, and `, seed 0 of 3` where there are several."""
    runs = entries(results.get(kind))
    found = []
    for name in names(runs, key):
        own = [run for run in runs if str(run.get(key)) == name]
        found.append(
            (
                name,
                own[0],
                f", seed {word(own[0].get('seed'))} of {len(own)} seeds" if len(own) > 1 else "",
            )
        )
    return found


def _seed(results: Results, kind: str, name: str) -> str:
    return next(
        (
            word(run.get("seed"))
            for run in entries(results.get(kind))
            if str(run.get("name")) == name
        ),
        DASH,
    )


def _seeds(items: Sequence[Mapping[str, Any]]) -> set[str]:
    return {str(item.get("seed")) for item in items}


def _points(curve: Sequence[Mapping[str, Any]], split: str, key: str) -> list[tuple[float, float]]:
    points = [
        (number(line.get("step")), number(line.get(key)))
        for line in curve
        if line.get("split") == split
    ]
    return [(step, value) for step, value in points if step == step and value == value]


def _negative(histogram: Results, report: Results, total: float) -> float:
    """The share of negative differences: as reported, else from the histogram (a share, or a count
    above one)."""
    reported = number(report.get("share_negative"))
    if reported == reported:
        return reported
    stated = number(histogram.get("negative"))
    return stated / total if stated > 1 else stated


def _scorer_of(results: Results, policy: str) -> str:
    for run in entries(results.get("policies")):
        if str(run.get("name")) == policy:
            config = mapping(run.get("coefficient"))
            return str(config.get("scorer") or config.get("source") or "")
    return ""
