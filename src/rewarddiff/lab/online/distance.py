"""Curves of true reward held against each other: at their ends, and at one distance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from rewarddiff.lab.online.results import Point

Curve = Sequence[Point]
"""From the start, where KL is 0, to the end of training."""


def gap(curve: Curve, other: Curve) -> float:
    """Return by how much more true reward the first earns at the end."""
    return curve[-1].gold - other[-1].gold


def gap_at_one_distance(curve: Curve, other: Curve) -> float:
    """Return by how much more true reward the first earns where both are as far from the start.

    That is the end of the one that has come less far, and the other where it first was there.
    """
    kl = min(curve[-1].kl, other[-1].kl)
    return gold_at(curve, kl) - gold_at(other, kl)


def gold_at(curve: Curve, kl: float) -> float:
    """Return the true reward where a curve is first so far from the start, on straight lines.

    NaN where it never is.
    """
    if curve[0].kl >= kl:
        return curve[0].gold
    for one, other in pairwise(curve):
        if one.kl < kl <= other.kl:
            share = (kl - one.kl) / (other.kl - one.kl)
            return one.gold + share * (other.gold - one.gold)
    return math.nan
