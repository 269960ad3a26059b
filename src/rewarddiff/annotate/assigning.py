"""Who is asked about what, in which order, and which response stands first: one seeded draw."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Assignment:
    """An item in one annotator's order; `first` is the response on the left, 0 (a) or 1 (b)."""

    annotator: str
    item: str
    place: int
    first: int


def assign(
    items: Sequence[str],
    annotators: Sequence[str],
    assigned: Mapping[str, Sequence[str]],
    *,
    per_item: int,
    seed: int,
    shuffle: bool = True,
) -> list[Assignment]:
    """Return what is to be added so that `per_item` annotators are asked about every item.

    Those with the fewest items are asked first. Each annotator gets the new items in an order of
    their own, and of every annotator's new items half have response a on the left.

    Args:
        assigned: the items that each annotator has already.
    """
    draw = random.Random(f"{seed} {sum(map(len, assigned.values()))}")
    new = _chosen(items, annotators, assigned, per_item, draw)
    assignments = []
    for annotator in annotators:
        order = new[annotator]
        if shuffle:
            draw.shuffle(order)
        sides = _sides(len(order), draw)
        start = len(assigned.get(annotator, ()))
        for place, (item, first) in enumerate(zip(order, sides, strict=True), start):
            assignments.append(Assignment(annotator, item, place, first))
    return assignments


def _chosen(
    items: Sequence[str],
    annotators: Sequence[str],
    assigned: Mapping[str, Sequence[str]],
    per_item: int,
    draw: random.Random,
) -> dict[str, list[str]]:
    """Return the new items of each annotator, in the order of the data."""
    has = {annotator: set(assigned.get(annotator, ())) for annotator in annotators}
    new: dict[str, list[str]] = {annotator: [] for annotator in annotators}
    for item in items:
        free = [annotator for annotator in annotators if item not in has[annotator]]
        lacking = per_item - (len(annotators) - len(free))
        draw.shuffle(free)
        free.sort(key=lambda annotator: len(has[annotator]))
        for annotator in free[: max(0, lacking)]:
            has[annotator].add(item)
            new[annotator].append(item)
    return new


def _sides(count: int, draw: random.Random) -> list[int]:
    """Return as many 0 as 1 in random order; of an odd number one more of either."""
    start = draw.randrange(2)
    sides = [(start + k) % 2 for k in range(count)]
    draw.shuffle(sides)
    return sides
