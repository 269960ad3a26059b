"""What noise leaves of a contrastive reward: simulated, and of the policies that learned from it."""

from __future__ import annotations

from functools import cache

from rewarddiff.lab.identities import Identity, contrast, identities
from rewarddiff.lab.online.misread import is_learned, misreadings
from rewarddiff.lab.online.paired import short
from rewarddiff.lab.online.parts import Part
from rewarddiff.lab.online.results import OnlineLab
from rewarddiff.lab.online.summary import over_seeds
from rewarddiff.lab.page import gap_cell, identity_table
from rewarddiff.lab.words import with_interval
from rewarddiff.report.cells import Cell, Table
from rewarddiff.report.charts import Lines
from rewarddiff.report.figures import Drawing
from rewarddiff.report.svg import palette
from rewarddiff.report.values import real
from rewarddiff.results import Interval


def noise_part(results: OnlineLab) -> Part:
    """Return what noise leaves of the gap to a baseline: (1 − c₀ − c₁)(p − q)."""
    c0, c1 = misreadings(results)
    statements = [
        f"A failure is read as a success with c₀ = {c0:g}, a success as a failure with c₁ = {c1:g}. "
        f"So of a gap p − q between a policy and its baseline 1 − c₀ − c₁ = {real(1 - c0 - c1)} is "
        "left on average, whatever p and q are and however they go together."
    ]
    tables = [identity_table(identity) for identity in _simulated()]
    if is_learned(results):
        statements.append(
            "That is of what the reward model learned from. Its own rewards are misread at no fixed "
            "rates: the formula says nothing of them."
        )
    else:
        words, table = _of_ways(results, 1 - c0 - c1)
        statements += words
        tables.insert(0, table)
    title = "What does noise leave of a contrastive reward?"
    return Part("noise", title, tuple(statements), (_shrinking(),), tuple(tables))


def _of_ways(results: OnlineLab, shrunk: float) -> tuple[list[str], Table]:
    """Say whether policies earn what the formula has, with the figures."""
    names = short(results)
    rows, inside, outside = [], 0, []
    for ended in results.ways:
        read, formula, rest = paired_to_start(results, ended.way, shrunk)
        rows.append((Cell(ended.title), gap_cell(formula), gap_cell(read), gap_cell(rest)))
        if rest.excludes_zero:
            outside.append(f"{names[ended.way]} ({with_interval(rest)})")
        elif rest.bounded:
            inside += 1
    statements = []
    if inside or outside:
        statements.append(
            "What policies earn on held-out prompts agrees with that for "
            f"{inside} of {inside + len(outside)} ways."
        )
    if outside:
        statements.append(f"It does not for {', '.join(outside)}.")
    columns = ("way", "formula", "read", "difference")
    title = "Reward of the policy less that of the start"
    return statements, Table(title, columns, tuple(rows), stacked=True)


def paired_to_start(
    results: OnlineLab, way: str, shrunk: float
) -> tuple[Interval, Interval, Interval]:
    """Return the gap as it is read, as the formula has it from the true one, and their difference."""
    read, formula = [], []
    for training in results.trained:
        if training.way == way:
            start, end = training.curve[0], training.end
            read.append(end.reward - start.reward)
            formula.append(shrunk * (end.gold - start.gold))
    rest = [one - other for one, other in zip(read, formula, strict=True)]
    return over_seeds(read), over_seeds(formula), over_seeds(rest)


SUCCESSES = ((0.9, 0.3), (0.7, 0.5), (0.2, 0.6))
NOISES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
DRAWS = 100_000


@cache
def _simulated() -> list[Identity]:
    """Return what can be derived of noise beside what came out."""
    return [identity for identity in identities() if identity.key != "optimum"]


@cache
def _shrinking() -> Drawing:
    """Draw simulated gaps over the derived ones, by how often rewards are misread."""
    rows = []
    ticks = [(float(place), f"{noise:g}") for place, noise in enumerate(NOISES)]
    for p, q in SUCCESSES:
        simulated, formula = [], []
        for place, noise in enumerate(NOISES):
            gap = contrast(p, q, noise, noise, DRAWS)
            simulated.append((float(place), Interval.unbounded(gap, DRAWS)))
            line = (1 - 2 * noise) * (p - q)
            formula.append((float(place), Interval.unbounded(line)))
        rows.append((f"p = {p:g}, q = {q:g}", simulated, False))
        rows.append((f"p = {p:g}, q = {q:g}, derived", formula, True))
    colours = palette(name for name, *_ in rows)
    axes = ("c₀ = c₁, how often rewards are misread", "E[r_y − r_b]")
    chart = Lines(rows, ticks, [("", 0.0)], colours, axes)
    caption = (
        f"{DRAWS:,} draws each; dashed: (1 − c₀ − c₁)(p − q). Points of one place stand side by side, "
        "so that none hides another"
    )
    return Drawing("Noise shrinks the gap", caption, chart, "Simulated and derived gaps by noise")
