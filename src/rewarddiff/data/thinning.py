"""Long lists cut down: so many comparisons of a prompt, and no more."""

from __future__ import annotations

import random
from dataclasses import replace

from rewarddiff.records import Group


def thin(group: Group, most: int, seed: int = 0) -> Group:
    """Return the group with at most `most` of its known comparisons, drawn by (seed, id).

    Responses that these do not read are left out, but those labelled by themselves all stay. Ties
    are drawn like the others.
    """
    known = list(group.known_comparisons())
    if len(known) <= most:
        return group
    drawn = random.Random(f"{seed}\0{group.id}").sample(known, most)
    read = {i for i, _ in group.known_labels()}
    for c in drawn:
        read |= {c.chosen, c.rejected}
    return replace(group, comparisons=tuple(drawn)).take(sorted(read))
