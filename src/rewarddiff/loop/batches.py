"""Which items meet in a step: of those that are there, or of those that an objective makes in turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rewarddiff.loop.items import Filed
from rewarddiff.loop.job import Job
from rewarddiff.loop.objective import Probing, Renewing
from rewarddiff.loop.schedule import (
    batch_at,
    minibatch_at,
    steps_within,
    turn_at,
    turns_of_an_epoch,
    turns_within,
)

Renew = Callable[[Sequence[Any], int, int], Sequence[Any]]
"""Makes of a turn's items what is trained on; it is told the step and the turn."""


class Fixed:
    """Global batches of items that are there from the beginning.

    Attributes:
        pool: what is trained on now.
        steps: how many optimizer steps the training has.
        steps_of_an_epoch: how many of them see every item once.
        may_be_empty: whether a step may have nothing to train on, and is then skipped.
    """

    may_be_empty = False

    def __init__(self, job: Job) -> None:
        self._objective, self._config, self._seed = job.objective, job.config, job.seed
        self.pool = items = job.items
        sizes = items.sizes if isinstance(items, Filed) else list(map(job.objective.size, items))
        self.steps = steps_within(sizes, job.config, job.seed)
        self.steps_of_an_epoch = math.ceil(len(items) / job.config.batch_size)

    def at(self, step: int, renew: Renew) -> list[int]:
        """Return the places in the pool of a step's global batch."""
        return batch_at(len(self.pool), step, self._config, self._seed)

    def kept(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold of the objective."""
        state: dict[str, Any] = getattr(self._objective, "state", {})
        return state

    def go_on(self, state: Any, step: int) -> None:
        """Go on from `step` with what a checkpoint of it has kept."""
        if isinstance(self._objective, Probing):
            self._objective.state.update(state)


class Renewed:
    """Global batches of what an objective makes of the items of a turn; attributes as of `Fixed`."""

    may_be_empty = True

    def __init__(self, job: Job, objective: Renewing) -> None:
        self._objective = objective
        self._items, self._config, self._seed = job.items, job.config, job.seed
        self._turn = -1  # in which the pool was made; none yet
        self.pool = job.items
        self.steps = turns_within(len(job.items), job.config, objective.turns)
        turns = turns_of_an_epoch(len(job.items), job.config, objective.turns)
        self.steps_of_an_epoch = turns * objective.turns.updates

    def at(self, step: int, renew: Renew) -> list[int]:
        """Return the places in the pool of a step's global batch; where due, make the pool anew."""
        turns = self._objective.turns
        turn = step // turns.updates
        if turn != self._turn:
            places = turn_at(len(self._items), turn, self._config, turns, self._seed)
            self.pool = renew([self._items[i] for i in places], step, turn)
            self._turn = turn
        return minibatch_at(len(self.pool), step, turns, self._seed)

    def kept(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold of the objective."""
        return self._objective.kept()

    def go_on(self, state: Any, step: int) -> None:
        """Go on from `step` with what a checkpoint of it has kept."""
        self.pool = self._objective.go_on(state)
        self._turn = (step - 1) // self._objective.turns.updates


Batches = Fixed | Renewed


def batches_of(job: Job) -> Batches:
    """Return the global batches of a training.

    Args:
        renew: makes what is trained on, where the objective does so in turns.
    """
    if isinstance(job.objective, Renewing):
        return Renewed(job, job.objective)
    return Fixed(job)
