"""Micro-batches: which of its items each process reads at once, within the budget of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewarddiff.loop.budget import Budget
from rewarddiff.loop.items import Filed
from rewarddiff.loop.prepared import Prepared
from rewarddiff.loop.schedule import share
from rewarddiff.trees import microbatches

Items = Sequence[Any] | Mapping[int, Any]
"""Items by their places."""


class Passes:
    """Cuts what the processes read into passes."""

    def __init__(self, prepared: Prepared, budget: Budget) -> None:
        self._prepared, self._budget = prepared, budget

    def shares_of(self, batch: Sequence[int], items: Items) -> list[list[int]]:
        """Return which items of a global batch are whose, by process."""
        sizes = [self._size(items, i) for i in batch]
        return share(batch, sizes, self._prepared.accelerator.num_processes)

    def of(self, shares: Sequence[Sequence[int]], items: Items) -> tuple[list[list[int]], int]:
        """Return this process's micro-batches, and how many passes it makes beside them.

        Where weights are divided every process makes as many as the others.
        """
        cuts = self._cut(shares[self._prepared.accelerator.process_index], items)
        if not self._prepared.divided:
            return cuts, 0
        most = max(len(self._cut(share, items)) for share in shares)
        return cuts, most - len(cuts)

    def _cut(self, places: Sequence[int], items: Items) -> list[list[int]]:
        """Return micro-batches of similar lengths within the token budget."""
        sizes = {i: self._size(items, i) for i in places}
        ordered = sorted(places, key=lambda i: (sizes[i], i))
        cuts = microbatches([sizes[i] for i in ordered], self._budget.tokens)
        return [[ordered[k] for k in cut] for cut in cuts]

    def _size(self, items: Items, place: int) -> int:
        """Return the tokens of one item."""
        if isinstance(items, Filed):
            return items.sizes[place]
        return self._prepared.objective.size(items[place])
