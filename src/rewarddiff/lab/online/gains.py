"""Which way earns most true reward, how far it went for it, and on which prompts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, zip_longest

from rewarddiff.evaluation.intervals import SHARE
from rewarddiff.lab.online.against import Against, Path
from rewarddiff.lab.online.paired import (
    PPO,
    at_one_distance,
    by_seed,
    named,
    others,
    short,
    told,
)
from rewarddiff.lab.online.parts import Part
from rewarddiff.lab.online.results import OnlineLab, Point
from rewarddiff.lab.online.summary import over_seeds
from rewarddiff.lab.page import gap_cell
from rewarddiff.report.cells import Cell, Table, real_cell
from rewarddiff.report.charts import Dots, Forest
from rewarddiff.report.figures import Drawing
from rewarddiff.report.gap_plots import ForestPanel, ForestRow
from rewarddiff.report.plots import Dot
from rewarddiff.report.svg import palette
from rewarddiff.report.values import DASH, real, two_digits
from rewarddiff.results import Interval

FAMILIES = {
    "Rewards as they are, and relative ones": (
        "ppo",
        "ppo_unit_std",
        "contrastive_1",
        "contrastive_3",
        "contrastive_5",
        "contrastive_10",
    ),
    "Differences, and other estimators": (
        "ppo",
        "contrastive_difference",
        "group_difference",
        "reinforce",
        "reinforce_contrastive_3",
        "rloo",
        "grpo",
    ),
    "From pairs": ("ppo", "dpo", "weighted_dpo", "semi_online_dpo"),
}
"""Ways that are drawn together, by the title of their figure; λ has a part of its own."""


# --- at the end -----------------------------------------------------------------------------------


def ways_part(results: OnlineLab) -> Part:
    """Return what every way earns at the end of its samples."""
    title = "Which way earns most?"
    drawings = [_gold(results)]
    if others(results):
        drawings.append(_gaps(results))
    statements = told(_gaps_by_title(results), "PPO")
    intro = "True reward at the end of equal samples."
    if others(results):
        intro = "Gaps in true reward to PPO in the same world, at the end of equal samples."
    return Part(
        "ways",
        title,
        (*statements, *_reached(results)),
        tuple(drawings),
        (_table(results),),
        intro=intro,
    )


def _gaps_by_title(results: OnlineLab) -> dict[str, Interval]:
    names = short(results)
    return {names[ended.way]: ended.gap for ended in others(results)}


def _reached(results: OnlineLab) -> list[str]:
    """Say which ways come near the best attainable reward in every world, and which in some."""
    names = short(results)
    everywhere = [names[ended.way] for ended in results.ways if ended.reached == ended.seeds]
    some = []
    for ended in results.ways:
        if 0 < ended.reached < ended.seeds:
            some.append(f"{names[ended.way]} ({ended.reached} of {ended.seeds})")
    statements = []
    if everywhere:
        named_ways = ", ".join(everywhere)
        statements.append(f"90 % of the best attainable is reached in every world by {named_ways}.")
    if some:
        statements.append(f"90 % of it is reached in some worlds by {', '.join(some)}.")
    if not everywhere and not some:
        statements.append("No way reaches 90 % of the best attainable in any world.")
    return statements


def _gold(results: OnlineLab) -> Drawing:
    names = short(results)
    rows: list[Dot] = [("before training", results.start, [], False)]
    for ended in results.ways:
        seeds = [training.end.gold for training in by_seed(results, ended.way).values()]
        rows.append((names[ended.way], ended.gold, seeds if len(seeds) > 1 else [], False))
    for pick in results.best_of[-1:]:
        rows.append((f"best of {pick.n}", pick.gold, [], False))
    chart = Dots(rows, {}, f"true reward; at best {results.best:.2f}")
    caption = "held-out prompts, at the end of training"
    if len(results.starts) > 1:
        caption += "; strokes: single worlds"
    return Drawing("True reward", caption, chart, "True reward of every way, with intervals")


BEST_OF = "best of n"
"""A line of no training, in grey."""


def _gaps(results: OnlineLab) -> Drawing:
    names = short(results)
    rows = [ForestRow("", names[ended.way], ended.gap, False) for ended in others(results)]
    chart = Forest([ForestPanel("gap in true reward to PPO", rows)])
    caption = "in the same world; blue above, red below, grey: not told apart"
    return Drawing("Gap to PPO", caption, chart, "Gap in true reward of every way to PPO")


def _table(results: OnlineLab) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for ended in results.ways:
        gap, near = Cell(DASH), Cell(DASH)
        if ended in others(results):
            gap, near = gap_cell(ended.gap), gap_cell(at_one_distance(results, ended.way))
        reached = Cell(f"{ended.reached} of {ended.seeds}")
        seconds = Cell(real(ended.seconds.value))
        cells = (real_cell(ended.gold), gap, real_cell(ended.kl), near, reached, seconds)
        rows.append((Cell(ended.title), *cells))
    for pick in results.best_of:
        blank = Cell(DASH)
        kl = Cell(f"≤ {two_digits(pick.kl)}")
        rows.append((Cell(f"best of {pick.n}"), real_cell(pick.gold), blank, kl, *[blank] * 3))
    columns = (
        "way",
        "true reward",
        "gap to PPO",
        "KL, nats",
        "gap at one distance",
        "90 % of the best",
        "seconds",
    )
    # Without another way than PPO, or without PPO, there is no gap.
    kept = [not column.startswith("gap") or bool(others(results)) for column in columns]
    rows = [tuple(compress(row, kept)) for row in rows]
    notes = _notes(results)
    heading = tuple(compress(columns, kept))
    return Table("At the end of training", heading, tuple(rows), notes=notes, stacked=True)


def _notes(results: OnlineLab) -> tuple[str, ...]:
    """Say what the columns are."""
    sentences = []
    if others(results):
        sentences.append(
            "Gap at one distance: where the way and PPO are as far from the start, that is at the end "
            "of the one that has come less far, in the same world."
        )
    sentences.append("Seconds are of a processor, with all that is measured.")
    if any(pick.n == 1 for pick in results.best_of):
        sentences.append(
            "Best of 1 is the policy before training, measured on other draws: the two differ by the "
            "luck of the draw."
        )
    if len(results.starts) > 1:
        sentences.append("Of twenty intervals of 95 % about one misses by luck.")
    return (" ".join(sentences),)


# --- on the way -----------------------------------------------------------------------------------


def distance_part(results: OnlineLab) -> Part:
    """Return true reward against KL."""
    drawings: list[Drawing] = []
    for family, ways in FAMILIES.items():
        present = named(results, ways)
        if present and (present != [PPO] or not drawings):
            drawings.append(_paths(results, family, present))
    statements = []
    beside = others(results)
    if beside:
        names = short(results)
        near = {names[ended.way]: at_one_distance(results, ended.way) for ended in beside}
        statements = told(near, "PPO")
    statements += _against_best_of(results)
    intro = "A way that goes farther may earn more by that alone."
    if beside:
        intro += (
            " Here each is held against PPO where both are as far from the start: at the end of the "
            "one that has come less far."
        )
    return Part(
        "kl",
        "And at the same distance from the start?",
        tuple(statements),
        tuple(drawings),
        intro=intro,
    )


def _paths(results: OnlineLab, family: str, ways: Sequence[str]) -> Drawing:
    names = short(results)
    paths: list[Path] = [(names[way], path(results, way)) for way in ways]
    colours = palette(name for name, _ in paths)
    picks = [(pick.kl, pick.gold) for pick in results.best_of]
    if picks:
        paths.append((BEST_OF, picks))
    axes = ("KL to the start, nats per response", "true reward")
    chart = Against(paths, [], colours, axes)
    caption = "through training; of best of n the KL is an upper bound"
    if len(results.starts) > 1:
        caption = f"means over worlds, {caption}"
    return Drawing(family, caption, chart, f"True reward against KL: {family}")


def path(results: OnlineLab, way: str) -> list[tuple[float, Interval]]:
    """Return KL and true reward of a way at every place of its training, over worlds."""
    curves = [training.curve for training in by_seed(results, way).values()]
    points = []
    for at_place in zip_longest(*curves):
        present: list[Point] = [point for point in at_place if point is not None]
        kl = over_seeds([point.kl for point in present]).value
        points.append((kl, over_seeds([point.gold for point in present], SHARE)))
    return points


def _against_best_of(results: OnlineLab) -> list[str]:
    """Say what best of the most draws earns beside PPO at its end."""
    if not results.best_of:
        return []
    pick = results.best_of[-1]
    text = f"Best of {pick.n} earns {real(pick.gold.value)} at no more than {pick.kl:.2f} nats"
    for ended in results.ways:
        if ended.way == PPO:
            text += f", PPO {real(ended.gold.value)} at {ended.kl.value:.2f}"
    return [f"{text}."]
