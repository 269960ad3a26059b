"""What the offline questions come to: gaps to plain DPO over worlds, and how the linear lab answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rewarddiff.lab.asking import Finding, Rows
from rewarddiff.lab.online.distance import Curve, gap, gap_at_one_distance
from rewarddiff.lab.online.offline_results import OfflineLab
from rewarddiff.lab.online.summary import over_seeds
from rewarddiff.lab.words import best_at, hurts_at, threshold, with_interval
from rewarddiff.results import Interval

AXIS = "correlation of the scorer with the true difference"
CLIP, ABS, FLIP, OFFSET = "weight (clip)", "weight (abs)", "weight (flip)", "offset (rdpo)"
SHUFFLED, CONSTANT = "shuffled", "constant"

Verdict = Literal["helps", "hurts", "nothing shows"]


def gaps(results: OfflineLab, of: Callable[[Curve, Curve], float]) -> Rows:
    """Return what lines gain over plain DPO in the same world, by line and quality.

    Args:
        of: the gap between two curves.
    """
    by_cell: dict[tuple[str, str], list[float]] = {}
    for world in results.worlds:
        for way in world.ways:
            cell = way.line, f"{way.quality:g}"
            by_cell.setdefault(cell, []).append(of(way.curve, world.plain.curve))
    rows: Rows = {}
    for (line, place), of_worlds in by_cell.items():
        rows.setdefault(line, {})[place] = over_seeds(of_worlds)
    return rows


def findings(results: OfflineLab) -> list[Finding]:
    """Return the answers, at equal steps and at one distance."""
    at_end = gaps(results, gap)
    near = gaps(results, gap_at_one_distance)
    return [
        _quality(at_end),
        _negatives(at_end),
        _form(at_end),
        _finding(
            "distance",
            "And where a way and plain DPO are as far from the start?",
            near,
            [threshold(line, near[line]) for line in (CLIP, ABS, FLIP, OFFSET)],
        ),
    ]


def _quality(rows: Rows) -> Finding:
    lines = (CLIP, ABS, SHUFFLED, CONSTANT)
    statements = [threshold(line, rows[line]) for line in (CLIP, ABS)]
    worse = hurts_at(rows[SHUFFLED])
    if worse:
        cost = with_interval(rows[SHUFFLED][worse[0]])
        statements.append(
            f"The weights of a scorer of {worse[0]}, dealt out at random, cost {cost}."
        )
    else:
        statements.append("Weights dealt out at random cost nothing that shows.")
    return _finding("quality", "How good must the scorer be?", _only(rows, lines), statements)


def _negatives(rows: Rows) -> Finding:
    lines = (CLIP, ABS, FLIP)
    question = "What to do where the scorer contradicts the label?"
    return _finding("negatives", question, _only(rows, lines), _bests(rows, lines))


def _form(rows: Rows) -> Finding:
    lines = (CLIP, OFFSET)
    statements = [threshold(OFFSET, rows[OFFSET]), *_bests(rows, lines)]
    return _finding("form", "As a weight or as an offset?", _only(rows, lines), statements)


def _bests(rows: Rows, lines: Sequence[str]) -> list[str]:
    """Say which line earns most at each quality."""
    return [best_at(place, _only(rows, lines)) for place in rows[lines[0]]]


def _only(rows: Rows, lines: Sequence[str]) -> Rows:
    return {line: rows[line] for line in lines}


def _finding(key: str, question: str, rows: Rows, statements: Sequence[str]) -> Finding:
    places = tuple(next(iter(rows.values())))
    return Finding(key, question, AXIS, places, rows, tuple(statements))


# --- the linear laboratory beside it --------------------------------------------------------------


@dataclass(frozen=True)
class Both:
    """One answer of each laboratory to the same question."""

    line: str
    place: str
    linear: Interval
    transformer: Interval

    @property
    def is_opposite(self) -> bool:
        return {verdict(self.linear), verdict(self.transformer)} == {"helps", "hurts"}

    @property
    def agrees(self) -> bool:
        return verdict(self.linear) == verdict(self.transformer)


def verdict(interval: Interval) -> Verdict:
    """Say what a gap to plain DPO shows."""
    if interval.low > 0:
        return "helps"
    if interval.high < 0:
        return "hurts"
    return "nothing shows"


def beside(
    linear: Mapping[str, Mapping[str, Interval]], transformer: Mapping[str, Mapping[str, Interval]]
) -> list[Both]:
    """Return the answers that both laboratories give."""
    both = []
    for line, row in transformer.items():
        for place, found in row.items():
            if place in linear.get(line, {}):
                both.append(Both(line, place, linear[line][place], found))
    return both


def agreement(both: Sequence[Both]) -> list[str]:
    """Say where the two laboratories agree, contradict each other, or only one shows something."""
    agreeing = [one for one in both if one.agrees]
    opposite = [one for one in both if one.is_opposite]
    others = [one for one in both if not one.agrees and not one.is_opposite]
    statements = [f"Of {len(both)} answers {len(agreeing)} are alike in both laboratories."]
    if opposite:
        named = "; ".join(
            f"{one.line} at {one.place} {verdict(one.linear)} there and {verdict(one.transformer)} here"
            for one in opposite
        )
        statements.append(f"They contradict each other in {len(opposite)}: {named}.")
    else:
        statements.append("They contradict each other in none.")
    for name, told in (("the linear policy", "linear"), ("the transformer", "transformer")):
        alone = [one for one in others if verdict(getattr(one, told)) != "nothing shows"]
        if alone:
            named = "; ".join(
                f"{one.line} at {one.place} {verdict(getattr(one, told))}" for one in alone
            )
            statements.append(f"Shown by {name} alone: {named}.")
    return statements
