"""Answers in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rewarddiff.report.values import DASH, bounds
from rewarddiff.results import Interval
from rewarddiff.writing import figure

Row = Mapping[str, Interval]
"""Place → the gap."""


def signed(value: float) -> str:
    """Return a value with three places; what rounds to 0 has no sign, what is not known a dash."""
    if not math.isfinite(value):
        return DASH
    return figure(round(value, 3) + 0.0, "+.3f").replace("+0.000", "0.000")


def with_interval(gap: Interval) -> str:
    """Return a gap with its interval, where it has one."""
    return f"{signed(gap.value)} {bounds(gap, signed)}".rstrip()


def capital(line: str) -> str:
    """Return a text with a capital at its beginning."""
    return line[0].upper() + line[1:]


def helps_at(row: Row) -> list[str]:
    """Return the places where a line is shown to be above plain DPO."""
    return [place for place, gap in row.items() if gap.low > 0]


def hurts_at(row: Row) -> list[str]:
    """Return the places where a line is shown to be below plain DPO."""
    return [place for place, gap in row.items() if gap.high < 0]


def threshold(line: str, row: Row) -> str:
    """Say from which quality up a line helps, and at which it hurts; the best is the first place."""
    places = list(row)
    better = helps_at(row)
    worse = hurts_at(row)
    helps = "helps at no quality of the scorer"
    if better and better == places[: len(better)]:
        helps = f"helps from a correlation of {better[-1]} up"
    elif better:
        helps = f"helps at a correlation of {', '.join(better)}"
    if not worse:
        hurts = "it hurts nowhere that shows"
    elif len(worse) == len(row):
        hurts = "it hurts at every quality"
    elif len(worse) > 1 and worse == places[-len(worse) :]:
        hurts = f"it hurts at {worse[0]} and below"
    else:
        hurts = f"it hurts at {', '.join(worse)}"
    first = next(iter(row))
    best = "an oracle" if first == "1" else f"a scorer of {first}"
    return f"{capital(line)} {helps} ({best}: {with_interval(row[first])}); {hurts}."


def best_at(place: str, rows: Mapping[str, Row]) -> str:
    """Say which line earns most at a place; one that is not above plain DPO is no gain."""
    best = max(rows, key=lambda line: rows[line][place].value)
    gap = rows[best][place]
    remark = ""
    if not gap.low > 0:
        remark = ", which is no gain over plain DPO that shows"
    return f"With a scorer of {place}, {best} does best, {with_interval(gap)}{remark}."


def shown(rows: Mapping[str, Row], axis: str) -> list[str]:
    """Say of every line where it is shown to be above plain DPO, and where below."""
    statements = []
    for line, row in rows.items():
        parts = []
        for verb, places in (("helps", helps_at(row)), ("hurts", hurts_at(row))):
            if places:
                gaps = [f"{place} ({signed(row[place].value)})" for place in places]
                parts.append(f"{verb} at {', '.join(gaps)}")
        statement = "; ".join(parts) if parts else "nothing shows"
        statements.append(f"{capital(line)}, by {axis}: {statement}.")
    return statements
