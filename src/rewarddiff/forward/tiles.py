"""Which tiles of attention are read: of every 128 queries and 128 keys some products, all or none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rewarddiff.trees import NodeTable

TILE = 128
"""Queries and keys of one tile: FlexAttention's own choice. Rows are filled up to a multiple."""

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def tiles(table: NodeTable, window: int | None = None) -> tuple[Flags, Flags]:
    """Return of every tile whether some of its products are read but not all, and whether all are.

    Nodes are cut at the borders of tiles. A piece of a node is read by itself and by every piece
    that stands below it; each such pair lies in one tile, and how many of its products are read has
    a closed form.

    Returns:
        bool (tiles of queries, tiles of keys), twice.
    """
    start, stop, position, stop_below = _pieces(table)
    lengths = stop - start
    key, query = _pairs(start, stop_below)
    distance = position[query] - position[key]  # of the first query from the first key
    shape = (lengths[query], lengths[key])
    read = _at_least_apart(*shape, -distance)
    if window is not None:
        read = read - _at_least_apart(*shape, window - distance)
    count = int(stop[-1]) // TILE
    tile = start[query] // TILE * count + start[key] // TILE
    # Weights are added as float64, which is exact for counts.
    products = np.bincount(tile, weights=read, minlength=count**2).reshape(count, count)
    every = products == TILE**2
    return (products > 0) & ~every, every


def _pieces(table: NodeTable) -> tuple[Integers, Integers, Integers, Integers]:
    """Return start, stop, first position and end of all below, of nodes cut at borders of tiles."""
    borders = np.arange(0, table.stop[-1], TILE)
    start = np.union1d(table.start, borders)
    stop = np.append(start[1:], table.stop[-1])
    node = np.searchsorted(table.start, start, side="right") - 1
    position = table.position[node] + start - table.start[node]
    return start, stop, position, table.stop_below[node]


def _pairs(start: Integers, stop_below: Integers) -> tuple[Integers, Integers]:
    """Return keys and queries, as places among the pieces: each with itself and all below it."""
    pieces = np.arange(len(start))
    count = np.searchsorted(start, stop_below) - pieces
    key = np.repeat(pieces, count)
    first = np.cumsum(count) - count
    query = key + np.arange(len(key)) - np.repeat(first, count)
    return key, query


def _at_least_apart(queries: Integers, keys: Integers, apart: Integers) -> Integers:
    """Count the places (i, j) of queries and keys with i − j ≥ apart.

    Of query i these are min(max(i − apart + 1, 0), keys). With T(n) = 1 + 2 + … + n, 0 below 1, the
    sum of max(i − apart + 1, 0) over all i is T(queries − apart) − T(−apart), and what goes beyond
    the keys is the same with apart + keys.

    Example: 2 queries, 3 keys, i ≥ j: (0, 0), (1, 0) and (1, 1).
        >>> _at_least_apart(np.array([2]), np.array([3]), np.array([0]))
        array([3])
    """
    within = _triangle(queries - apart) - _triangle(-apart)
    beyond = _triangle(queries - apart - keys) - _triangle(-apart - keys)
    return within - beyond


def _triangle(n: Integers) -> Integers:
    n = np.maximum(n, 0)
    return n * (n + 1) // 2


def listed(flags: Flags) -> tuple[Integers, Integers]:
    """Return how many are set in every row, and their places, followed by those of the others."""
    return flags.sum(1), np.argsort(~flags, axis=1, kind="stable")
