"""Which items meet in a batch, and how large the step is: pure functions of (seed, epoch, step)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rewarddiff.loop.objective import TrainConfig


def total_steps(items: int, config: TrainConfig) -> int:
    """Optimizer steps of the whole training; a fraction of an epoch is rounded up to a step."""
    steps = math.ceil(math.ceil(items / config.batch_size) * config.epochs)
    return steps if config.max_steps is None else min(steps, config.max_steps)


def steps_within(sizes: Sequence[int], config: TrainConfig, seed: int) -> int:
    """Optimizer steps before `max_tokens` would be exceeded, at least one; without it
    `total_steps`.

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
    """Item indices of optimizer step `step` (from 0), the same for any number of processes.

    Every epoch is one shuffle of all items, cut into batches; the last batch of an epoch may be
    smaller.
    """
    epoch, position = divmod(step, math.ceil(items / config.batch_size))
    order = _shuffled(items, epoch, seed)
    batch: list[int] = order[
        position * config.batch_size : (position + 1) * config.batch_size
    ].tolist()
    return batch


@lru_cache(maxsize=1)  # steps come in order, and a shuffle of many items takes longer than a step
def _shuffled(items: int, epoch: int, seed: int) -> NDArray[np.int64]:
    """All item indices in the order of an epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(items)
    order.flags.writeable = False  # every caller is given this one array
    return order


def share(batch: Sequence[int], sizes: Sequence[int], processes: int) -> list[list[int]]:
    """Split a batch among processes: longest first, each to the process with the fewest tokens so
    far."""
    shares: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for index, size in sorted(zip(batch, sizes, strict=True), key=lambda pair: -pair[1]):
        lightest = loads.index(min(loads))
        shares[lightest].append(index)
        loads[lightest] += size
    return shares


def rate(step: int, steps: int, config: TrainConfig) -> float:
    """Factor on the learning rate at optimizer step `step` (from 0): linear warm-up, then the
    schedule."""
    warm = math.ceil(config.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    if config.schedule == "constant":
        return 1.0
    progress = (step - warm) / max(1, steps - warm)
    return 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
