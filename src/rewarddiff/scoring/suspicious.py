"""Suspicious labels: the comparisons that a scorer contradicts most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewarddiff.differences import Array
from rewarddiff.scoring.tables import Values

SUSPICIOUS = 200
"""How many are listed where nobody says otherwise."""


@dataclass(frozen=True)
class Suspicious:
    """The comparisons that a scorer contradicts most.

    Attributes:
        rows: as labelled, the most contradicted first.
        contradicted: how many there are in all, and `compared`, of how many.
        by_part: of each part of the data, (contradicted, compared).
    """

    rows: list[Values]
    contradicted: int
    compared: int
    by_part: dict[str, tuple[int, int]]

    def report(self) -> dict[str, Any]:
        """Return the counts, ready for JSON."""
        parts = {}
        for part, (contradicted, compared) in self.by_part.items():
            parts[part] = {"contradicted": contradicted, "compared": compared}
        return {
            "contradicted": self.contradicted,
            "compared": self.compared,
            "listed": len(self.rows),
            "by_part": parts,
        }


def most_contradicted(
    windows: Iterable[Sequence[Values]], differences: Array, most: int
) -> Suspicious:
    """Return the comparisons with the lowest differences, all of them below 0.

    σ(d / T) rises with d, so they are also those with the lowest probabilities.
    """
    order = np.argsort(differences, kind="stable")[:most]
    ranks = {int(place): rank for rank, place in enumerate(order) if differences[place] < 0}
    listed: dict[int, Values] = {}
    by_part: dict[str, tuple[int, int]] = {}
    place = 0
    for rows in windows:
        for row in rows:
            if place in ranks:
                listed[ranks[place]] = row
            part = row.get("subset", "")
            contradicted, compared = by_part.get(part, (0, 0))
            by_part[part] = (contradicted + bool(differences[place] < 0), compared + 1)
            place += 1
    return Suspicious(
        rows=[listed[rank] for rank in sorted(listed)],
        contradicted=int((differences < 0).sum()),
        compared=len(differences),
        by_part=by_part,
    )
