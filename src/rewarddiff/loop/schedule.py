"""Which items meet in a batch, and how large the step is: pure functions of (seed, epoch, step)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rewarddiff.errors import UserError
from rewarddiff.loop.objective import TrainConfig, Turns


def total_steps(items: int, config: TrainConfig) -> int:
    """Return the optimizer steps of `epochs` and `max_steps`; a fraction is rounded up to a step."""
    batches_of_an_epoch = math.ceil(items / config.batch_size)
    steps = math.ceil(batches_of_an_epoch * config.epochs)
    return steps if config.max_steps is None else min(steps, config.max_steps)


def steps_within(sizes: Sequence[int], config: TrainConfig, seed: int) -> int:
    """Return the optimizer steps before `max_tokens` would be exceeded, at least one.

    Args:
        sizes: tokens of every item.
    """
    steps = total_steps(len(sizes), config)
    if config.max_tokens is None:
        return steps
    read = 0
    for step in range(steps):
        read += sum(sizes[i] for i in batch_at(len(sizes), step, config, seed))
        if read > config.max_tokens:
            return max(1, step)
    return steps


def batch_at(items: int, step: int, config: TrainConfig, seed: int) -> list[int]:
    """Return the item indices of optimizer step `step` (from 0), for any number of processes.

    Every epoch is one shuffle of all items, cut into batches; the last batch of an epoch may be
    smaller.
    """
    epoch, position = divmod(step, math.ceil(items / config.batch_size))
    start = position * config.batch_size
    batch: list[int] = _shuffled(items, epoch, seed)[start : start + config.batch_size].tolist()
    return batch


def turns_within(items: int, config: TrainConfig, turns: Turns) -> int:
    """Return the optimizer steps where items are made anew in turns, of `epochs` and `max_steps`.

    Raises:
        UserError: there are fewer items than minibatches in a turn.
    """
    if items < turns.minibatches:
        raise UserError(
            f"{items} prompts cannot be cut into {turns.minibatches} minibatches; bring more, or "
            "lower num_mini_batches (of pairs: steps_per_generation)"
        )
    turns_of_all = math.ceil(turns_of_an_epoch(items, config, turns) * config.epochs)
    steps = turns_of_all * turns.updates
    return steps if config.max_steps is None else min(steps, config.max_steps)


def turns_of_an_epoch(items: int, config: TrainConfig, turns: Turns) -> int:
    """Return how many turns of one size all items make; where they are fewer than that, one."""
    return max(1, items // (config.batch_size * turns.minibatches))


def turn_at(items: int, turn: int, config: TrainConfig, turns: Turns, seed: int) -> list[int]:
    """Return the item indices of a turn (from 0).

    Every epoch is one shuffle of all items, cut into turns of one size; what is left over waits for
    another shuffle.
    """
    size = config.batch_size * turns.minibatches
    epoch, position = divmod(turn, turns_of_an_epoch(items, config, turns))
    start = position * size
    taken: list[int] = _shuffled(items, epoch, seed)[start : start + size].tolist()
    return taken


def minibatch_at(items: int, step: int, turns: Turns, seed: int) -> list[int]:
    """Return which of a turn's items are in optimizer step `step` (from 0).

    In every iteration they are shuffled again, and cut into parts that differ by one at most.
    """
    turn, update = divmod(step, turns.updates)
    iteration, part = divmod(update, turns.minibatches)
    order = np.random.default_rng([seed, turn, iteration]).permutation(items)
    minibatch: list[int] = np.array_split(order, turns.minibatches)[part].tolist()
    return minibatch


@lru_cache(maxsize=1)  # steps come in order, and a shuffle of many items takes longer than a step
def _shuffled(items: int, epoch: int, seed: int) -> NDArray[np.uint32]:
    """Return all item indices in the order of an epoch, 4 bytes each."""
    order = np.arange(items, dtype=np.uint32)
    np.random.default_rng([seed, epoch]).shuffle(order)
    order.flags.writeable = False  # every caller is given this one array
    return order


def share(batch: Sequence[int], sizes: Sequence[int], processes: int) -> list[list[int]]:
    """Split a batch among processes: longest first, each to the one with the fewest tokens."""
    shares: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    longest_first = sorted(zip(batch, sizes, strict=True), key=lambda pair: -pair[1])
    for index, size in longest_first:
        lightest = loads.index(min(loads))
        shares[lightest].append(index)
        loads[lightest] += size
    return shares


def rate(step: int, steps: int, config: TrainConfig) -> float:
    """Return the factor on the learning rate at step `step` (from 0): warm-up, then schedule."""
    warm = math.ceil(config.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    if config.schedule == "linear":
        return 1 - progress
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1.0
