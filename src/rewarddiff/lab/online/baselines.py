"""What a baseline does: how many responses it needs, its scale, and what noise leaves of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from rewarddiff.lab.online.paired import PPO, named, paired, told
from rewarddiff.lab.online.parts import Part
from rewarddiff.lab.online.results import OnlineLab, Point
from rewarddiff.lab.page import gap_cell
from rewarddiff.lab.words import with_interval
from rewarddiff.report.cells import Cell, Table, real_cell
from rewarddiff.report.charts import Forest, Lines
from rewarddiff.report.figures import Drawing
from rewarddiff.report.gap_plots import ForestPanel, ForestRow
from rewarddiff.report.svg import palette
from rewarddiff.report.values import two_digits
from rewarddiff.results import Interval

BY_K = {1: "contrastive_1", 3: "contrastive_3", 5: "contrastive_5", 10: "contrastive_10"}
PAPER_K = "contrastive_3"


def _gold(point: Point) -> float:
    return point.gold


def claim(results: OnlineLab) -> str:
    """Say whether the paper's contrastive reward beats PPO here, with PPO's reward scaling or not."""
    bases = {PPO: "PPO", "ppo_unit_std": "PPO with rewards over their standard deviation"}
    parts = []
    for base in named(results, bases):
        if named(results, [PAPER_K]):
            gap = paired(results, PAPER_K, base, _gold)
            parts.append(f"{_reading(gap)} {bases[base]} ({with_interval(gap)})")
    if not parts:
        return ""
    return f"The paper's contrastive reward, k = 3, {' and '.join(parts)}."


def _reading(gap: Interval) -> str:
    if gap.low > 0:
        return "earns more than"
    if gap.high < 0:
        return "earns less than"
    return "is not told apart from"


# --- k --------------------------------------------------------------------------------------------


def k_part(results: OnlineLab) -> Part:
    """Return what contrastive rewards earn by the responses of their baseline (C-4)."""
    present = {k: way for k, way in BY_K.items() if named(results, [way])}
    title = "How many responses does a baseline need?"
    if not present:
        return Part("k", title)
    golds = {k: _ended_gold(results, way) for k, way in present.items()}
    gaps = {k: paired(results, way, PPO, _gold) for k, way in present.items()}
    statements = _by_k(gaps, results) if named(results, [PPO]) else []
    statements += _between(results, present)
    rows = [(Cell(str(k)), real_cell(golds[k]), gap_cell(gaps[k])) for k in present]
    table = Table(title, ("k", "true reward", "gap to PPO"), tuple(rows))
    return Part("k", title, tuple(statements), (_along_k(gaps),), (table,))


def _ended_gold(results: OnlineLab, way: str) -> Interval:
    return next(ended.gold for ended in results.ways if ended.way == way)


def _by_k(gaps: Mapping[int, Interval], results: OnlineLab) -> list[str]:
    return told({f"k = {k}": gap for k, gap in gaps.items()}, "PPO")


def _between(results: OnlineLab, present: Mapping[int, str]) -> list[str]:
    """Say which k earn more than which, in the same worlds."""
    shown = []
    for (small, one), (large, other) in combinations(present.items(), 2):
        gap = paired(results, other, one, _gold)
        if gap.excludes_zero:
            word = "more" if gap.value > 0 else "less"
            shown.append(f"k = {large} earns {word} than k = {small} ({with_interval(gap)})")
    if shown:
        return [f"{'; '.join(shown)}."]
    if len(present) > 1:
        return ["No k is told apart from another."]
    return []


def _along_k(gaps: Mapping[int, Interval]) -> Drawing:
    points = [(float(place), gap) for place, gap in enumerate(gaps.values())]
    ticks = [(float(place), str(k)) for place, k in enumerate(gaps)]
    line = "contrastive"
    axes = ("k, responses of the baseline", "gap to PPO")
    chart = Lines([(line, points, False)], ticks, [("", 0.0)], palette([line]), axes)
    return Drawing("Gap to PPO by k", "in the same world", chart, "Gap to PPO by k")


# --- scale ----------------------------------------------------------------------------------------

SCALES = {
    "contrastive_3": "λ by absolute means (the paper's)",
    "contrastive_3_std": "λ by standard deviations",
    "contrastive_3_constant": "λ = 1",
}


def scale_part(results: OnlineLab) -> Part:
    """Return what the scale of a reward changes (C-8)."""
    title = "What does the scale do?"
    rows: list[ForestRow] = []
    statements = []
    if named(results, [PAPER_K]):
        for way in named(results, SCALES):
            if way != PAPER_K:
                gap = paired(results, way, PAPER_K, _gold)
                rows.append(
                    ForestRow("contrastive, k = 3, to the paper's λ", SCALES[way], gap, False)
                )
                statements.append(
                    f"A contrastive reward with {SCALES[way]} {_reading(gap)} one with the paper's λ "
                    f"({with_interval(gap)})."
                )
    if named(results, [PPO, "ppo_unit_std"]) == [PPO, "ppo_unit_std"]:
        gap = paired(results, "ppo_unit_std", PPO, _gold)
        rows.append(ForestRow("PPO, to rewards as they are", "over their std", gap, False))
        statements.append(
            f"PPO on rewards over their standard deviation {_reading(gap)} PPO on rewards as they "
            f"are ({with_interval(gap)})."
        )
    if not rows:
        return Part("scale", title)
    chart = Forest([ForestPanel("gap in true reward", rows)])
    drawn = Drawing("Scales", "in the same world", chart, "Gaps between scales of the reward")
    cells = [(Cell(row.group), Cell(row.name), gap_cell(row.interval)) for row in rows]
    table = Table(title, ("of what", "scale", "gap"), tuple(cells), words=frozenset({0, 1}))
    return Part("scale", title, tuple(statements), (drawn,), (table,))


# --- correlation ----------------------------------------------------------------------------------


def spread_left(correlation: float, k: int) -> float:
    """Return Var(r − mean of k baselines) over Var(r): (1 − ρ)(1 + 1/k).

    It is of rewards of one variance, any two of a prompt correlated by ρ. Subtracting makes the
    reward steadier where ρ > 1/(k + 1), and adds noise where ρ is less. Source: derived; Var(r) is
    1, Var(mean) is (1 + (k − 1)ρ)/k, and their covariance ρ.

    >>> spread_left(0.0, 1), round(spread_left(0.25, 3), 12)
    (2.0, 1.0)
    """
    return (1 - correlation) * (1 + 1 / k)


def correlation_part(results: OnlineLab) -> Part:
    """Return how far rewards of one prompt go together, and what a baseline takes off (C-8)."""
    title = "Is a response's reward independent of its baseline's?"
    read, true = results.correlation, results.correlation_gold
    statements = []
    if read.low > 0:
        statements.append(
            f"No: rewards of two draws to one prompt correlate by {_correlation(read)}, where the "
            f"paper's theorem takes them for independent; the true ones by {_correlation(true)}. "
            "Prompts differ in difficulty, and that is what a baseline takes off: of independent "
            "rewards it takes off noise alone."
        )
        statements.append(_steadier(read.value))
    elif read.known:
        statements.append(
            f"No correlation shows of the rewards of two draws to one prompt: {_correlation(read)}. "
            "Nothing tells whether a baseline takes anything off but noise."
        )
    rows = []
    for k in BY_K:
        rows.append(
            (Cell(str(k)), *[Cell(two_digits(spread_left(c.value, k))) for c in (read, true)])
        )
    statements.append(
        "The mean of a contrastive reward needs no independence, as the next part shows; its spread "
        "does depend on it."
    )
    columns = ("k", "rewards as they are read", "true rewards")
    name = "Variance of r less its baseline, over that of r: (1 − ρ)(1 + 1/k)"
    return Part("correlation", title, tuple(statements), (), (Table(name, columns, tuple(rows)),))


def _correlation(interval: Interval) -> str:
    text = two_digits(interval.value)
    if interval.bounded:
        text += f" [{two_digits(interval.low)}, {two_digits(interval.high)}]"
    return text


def _steadier(correlation: float) -> str:
    """Say from which k a baseline makes rewards steadier."""
    steadier = [k for k in BY_K if spread_left(correlation, k) < 1]
    if not steadier:
        return (
            "A baseline of any of these k makes rewards spread more: it would take ρ > 1/(k + 1)."
        )
    noisier = [str(k) for k in BY_K if k not in steadier]
    text = f"A baseline makes rewards spread less from k = {steadier[0]} on"
    if noisier:
        text += f", and more at k = {', '.join(noisier)}"
    return f"{text}: it takes ρ > 1/(k + 1)."
