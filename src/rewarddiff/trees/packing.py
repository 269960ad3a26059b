"""Trees as one model input: where every token stands, and where what predicts it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rewarddiff.devices import to_device
from rewarddiff.trees.cutting import CALL, Block, Span, blocks
from rewarddiff.trees.tree import Tree, is_depth_first

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NodeTable:
    """Where the nodes of a packed row stand, on the host: (nodes,) each, in the order of the row.

    Attributes:
        start, stop: the span of the node's tokens.
        position: of its first token.
        stop_below: where the last token below the node ends, or its own does.
        depth_first: whether all that is below a node follows it. A query then reads a key k exactly
            where k ≤ q < the `stop_below` of k's node.
    """

    start: Integers
    stop: Integers
    position: Integers
    stop_below: Integers
    depth_first: bool

    @property
    def lengths(self) -> Integers:
        return self.stop - self.start

    @property
    def longest(self) -> int:
        """Tokens on the longest path."""
        return int((self.position + self.lengths).max())

    @property
    def positions(self) -> Integers:
        """The position of every token, (tokens,)."""
        first = np.repeat(self.position - self.start, self.lengths)
        return first + np.arange(len(first))


@dataclass(frozen=True)
class Packed:
    """Trees as one model input. "Flat" indices point into the (rows · columns) states.

    Attributes:
        input_ids: int64 (rows, columns).
        position_ids: int64 (rows, columns).
        blocks: of the single packed row, its queries in order; empty for plain rows.
        table: the nodes of the single packed row, those of padding too; None for plain rows.
        ends: flat index of the last token of every node, trees and nodes in order, (nodes,).
        tokens: flat index of every non-root token, (tokens,), nodes in order.
        read: flat index of the state that predicts each non-root token, (tokens,).
        targets: the token predicted, (tokens,).
        owner: running index of the node each non-root token belongs to, (tokens,).
        first: running index of each tree's root among all nodes, (trees,).
        branches: running index of every other node, (nodes − trees,).
        size: real tokens laid out (padding not counted).
    """

    input_ids: Tensor
    position_ids: Tensor
    blocks: tuple[Block, ...]
    table: NodeTable | None
    ends: Tensor
    tokens: Tensor
    read: Tensor
    targets: Tensor
    owner: Tensor
    first: Tensor
    branches: Tensor
    size: int

    @property
    def nodes(self) -> int:
        return len(self.ends)

    def to(self, device: torch.device) -> Packed:
        moved: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                moved[name] = to_device(value, device)
        return replace(self, **moved)


def pack(
    trees: Sequence[Tree], *, plain: bool = False, call: int = CALL, multiple: int = 1
) -> Packed:
    """Lay `trees` out as one packed row, or (`plain`) one right-padded row per leaf.

    Plain rows need no attention mask: padding stands on the right, where no real token of a causal
    model looks. A node shared by several leaves is written once a row and read at its first place.

    Args:
        call: see `blocks`.
        multiple: the packed row's columns are filled up to a multiple of this, by a node that no
            other reads.
    """
    return _pack_rows(trees) if plain else _pack_trees(trees, call, multiple)


def _pack_trees(trees: Sequence[Tree], call: int, multiple: int) -> Packed:
    ids: list[int] = []
    nodes: list[tuple[int, int, int, int]] = []  # the columns of the table
    blocks_of_row: list[Block] = []
    spans_of_trees: list[list[Span]] = []
    for tree in trees:
        of_tree = _nodes(tree, len(ids))
        for node in tree.nodes:
            ids += node.tokens
        spans = [(start, stop) for start, stop, _, _ in of_tree]
        blocks_of_row += blocks(tree, spans, call)
        spans_of_trees.append(spans)
        nodes += of_tree
    size = len(ids)
    padding = -size % multiple
    if padding:
        ids += [0] * padding
        span = (size, len(ids))
        nodes.append((*span, 0, len(ids)))
        blocks_of_row.append(Block(*span, (span,), ((span, ()),)))
    start, stop, position, stop_below = np.array(nodes, dtype=np.int64).T
    depth_first = all(map(is_depth_first, trees))
    table = NodeTable(start, stop, position, stop_below, depth_first)
    return Packed(
        input_ids=_integers(ids)[None],
        position_ids=torch.from_numpy(table.positions)[None],
        blocks=tuple(blocks_of_row),
        table=table,
        size=size,
        **_readings(trees, spans_of_trees),
    )


def _nodes(tree: Tree, begin: int) -> list[tuple[int, int, int, int]]:
    """Return start, stop, first position and end of all below, of every node of a tree.

    Args:
        begin: where the tree stands in the row.
    """
    starts: list[int] = []
    stops: list[int] = []
    positions: list[int] = []
    for node in tree.nodes:
        starts.append(stops[-1] if stops else begin)
        stops.append(starts[-1] + len(node.tokens))
        position = 0
        if node.parent >= 0:
            position = positions[node.parent] + len(tree.nodes[node.parent].tokens)
        positions.append(position)
    stops_below = list(stops)
    for i in range(len(stops) - 1, 0, -1):
        parent = tree.nodes[i].parent
        stops_below[parent] = max(stops_below[parent], stops_below[i])
    return list(zip(starts, stops, positions, stops_below, strict=True))


def _pack_rows(trees: Sequence[Tree]) -> Packed:
    paths: list[tuple[int, list[int]]] = []
    texts: list[list[int]] = []
    for t, tree in enumerate(trees):
        for leaf in tree.leaves():
            path = tree.path(leaf)
            paths.append((t, path))
            texts.append([token for n in path for token in tree.nodes[n].tokens])
    width = max(map(len, texts))
    spans_of_trees: list[list[Span]] = [[(-1, -1)] * len(tree.nodes) for tree in trees]
    for row, (t, path) in enumerate(paths):
        start = row * width
        for n in path:
            stop = start + len(trees[t].nodes[n].tokens)
            if spans_of_trees[t][n] == (-1, -1):  # a shared node is read at its first place
                spans_of_trees[t][n] = (start, stop)
            start = stop
    return Packed(
        input_ids=torch.tensor([text + [0] * (width - len(text)) for text in texts]),
        position_ids=torch.arange(width).expand(len(texts), width),
        blocks=(),
        table=None,
        size=sum(map(len, texts)),
        **_readings(trees, spans_of_trees),
    )


def _readings(trees: Sequence[Tree], spans_of_trees: Sequence[Sequence[Span]]) -> dict[str, Tensor]:
    """Return where to read, given the flat span of every node."""
    ends: list[int] = []
    tokens: list[int] = []
    read: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    first: list[int] = []
    branches: list[int] = []
    for tree, spans in zip(trees, spans_of_trees, strict=True):
        first.append(len(ends))
        for node, (start, stop) in zip(tree.nodes, spans, strict=True):
            if node.parent >= 0:
                branches.append(len(ends))
                tokens += range(start, stop)
                read += [spans[node.parent][1] - 1, *range(start, stop - 1)]
                targets += node.tokens
                owner += [len(ends)] * len(node.tokens)
            ends.append(stop - 1)
    lists = {
        "ends": ends,
        "tokens": tokens,
        "read": read,
        "targets": targets,
        "owner": owner,
        "first": first,
        "branches": branches,
    }
    return {name: _integers(values) for name, values in lists.items()}


def _integers(values: Sequence[int]) -> Tensor:
    """Return an int64 tensor; numpy reads a list in half the time."""
    return torch.from_numpy(np.array(values, dtype=np.int64))


def microbatches(sizes: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Cut items, in order, into lists of at most `budget` tokens; a larger item goes alone."""
    batch: list[int] = []
    used = 0
    for i, size in enumerate(sizes):
        if batch and used + size > budget:
            yield batch
            batch = []
            used = 0
        batch.append(i)
        used += size
    if batch:
        yield batch
