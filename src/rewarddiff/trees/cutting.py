"""Blocks of attention: which queries of a tree are read together, and which keys they read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewarddiff.trees.tree import Tree, is_depth_first

Span = tuple[int, int]
"""Where tokens stand in a packed row: start and stop."""


@dataclass(frozen=True)
class Block:
    """Queries that stand together in a packed row, and the keys that they read.

    Attributes:
        start, stop: the span of the queries: a tree, or a part of one.
        keys: spans in rising order, the last of which ends where the queries do: before them every
            query reads all.
        nodes: the span of every node among the queries, and the places of its ancestors in `nodes`.
    """

    start: int
    stop: int
    keys: tuple[Span, ...]
    nodes: tuple[tuple[Span, tuple[int, ...]], ...]

    @property
    def causal(self) -> bool:
        """Whether it is one node that reads nothing but itself."""
        return len(self.nodes) == 1 and self.keys == ((self.start, self.stop),)

    def visible(self, positions: Tensor, window: int | None = None) -> Tensor:
        """Return which key each query may read, bool (queries, keys).

        Args:
            positions: of every token of the row, on the host.
            window: positions from a query on, backwards, that it may read; None: all.
        """
        queries = self.stop - self.start
        width = sum(stop - start for start, stop in self.keys)
        mask = torch.ones(queries, width, dtype=torch.bool)
        first = width - queries  # the column of the first query's own key
        mask[:, first:] = False
        shift = first - self.start  # from a place among the queries' tokens to its column
        for (start, stop), ancestors in self.nodes:
            rows = slice(start - self.start, stop - self.start)
            for ancestor in ancestors:
                above_start, above_stop = self.nodes[ancestor][0]
                mask[rows, above_start + shift : above_stop + shift] = True
            square = torch.ones(stop - start, stop - start, dtype=torch.bool)
            mask[rows, start + shift : stop + shift] = square.tril()
        if window is not None:
            of_keys = torch.cat([positions[start:stop] for start, stop in self.keys])
            of_queries = positions[self.start : self.stop]
            mask &= (of_queries[:, None] - of_keys[None, :]) < window
        return mask


CALL = 4_000
"""What one more block costs, in products of a query and a key: 0.08 ms a layer on a CPU."""


def blocks(tree: Tree, spans: Sequence[Span], call: int = CALL) -> list[Block]:
    """Return the blocks in which a tree is attended to.

    In one block, most of what is computed may be hidden by the mask. Of all ways to cut the tree
    into single nodes and runs of neighbouring branches, this is the one of the fewest products of a
    query and a key, at `call` for each block. Nodes must stand depth first to be cut apart; others
    are left together.

    Args:
        spans: of every node.
    """
    cutter = _Cutter(tree, spans, call)
    if not is_depth_first(tree):
        return [cutter.block(0, len(spans), ())]
    _, cuts = cutter.branch(0, (), 0)
    return [cutter.block(*cut) for cut in cuts]


Cut = tuple[int, int, tuple[Span, ...]]
"""What one block is of: nodes from the first to before the second, behind these spans."""


class _Cutter:
    """The search for the cheapest blocks of one tree, by dynamic programming over its branches."""

    def __init__(self, tree: Tree, spans: Sequence[Span], call: int) -> None:
        self.tree = tree
        self.spans = spans
        self.call = call
        self.tokens = [stop - start for start, stop in spans]
        self.tokens_below = list(self.tokens)  # of a node with all below it
        self.nodes_below = [1] * len(spans)
        self.children: list[list[int]] = [[] for _ in spans]
        for i in range(len(spans) - 1, 0, -1):
            parent = tree.nodes[i].parent
            self.children[parent].insert(0, i)
            self.tokens_below[parent] += self.tokens_below[i]
            self.nodes_below[parent] += self.nodes_below[i]

    def block(self, first: int, end: int, before: tuple[Span, ...]) -> Block:
        """Return one block of the nodes from `first` to before `end`, behind the spans `before`."""
        nodes = []
        for i in range(first, end):
            ancestors = [ancestor - first for ancestor in self.tree.path(i)[:-1]]
            nodes.append((self.spans[i], tuple(place for place in ancestors if place >= 0)))
        start = self.spans[first][0]
        stop = self.spans[end - 1][1]
        return Block(start, stop, _joined([*before, (start, stop)]), tuple(nodes))

    def branch(
        self, i: int, before: tuple[Span, ...], tokens_before: int
    ) -> tuple[float, list[Cut]]:
        """Return the least cost of node i with all below it, and where it is cut for that."""
        queries = self.tokens_below[i]
        cost_in_one = self.call + queries * (tokens_before + queries)
        if self.children[i]:
            tokens = self.tokens[i]
            cost, cuts_below = self._below(i, (*before, self.spans[i]), tokens_before + tokens)
            cost += self.call + tokens * (tokens_before + tokens)
            if cost < cost_in_one:
                return cost, [(i, i + 1, before), *cuts_below]
        return cost_in_one, [(i, i + self.nodes_below[i], before)]

    def _below(
        self, i: int, before: tuple[Span, ...], tokens_before: int
    ) -> tuple[float, list[Cut]]:
        """Return the least cost of a node's branches, and where they are cut for that."""
        children = self.children[i]
        cheapest: list[tuple[float, list[Cut]]] = [(0.0, [])]  # of the first branches: 0, 1, …
        for j, child in enumerate(children):
            cost_of_child, cuts_of_child = self.branch(child, before, tokens_before)
            cost = cheapest[j][0] + cost_of_child
            best = cheapest[j][1] + cuts_of_child
            queries = self.tokens_below[child]
            for k in range(j - 1, -1, -1):  # one block for the branches k … j
                queries += self.tokens_below[children[k]]
                cost_in_one = self.call + queries * (tokens_before + queries)
                if cheapest[k][0] + cost_in_one < cost:
                    cost = cheapest[k][0] + cost_in_one
                    end = child + self.nodes_below[child]
                    best = [*cheapest[k][1], (children[k], end, before)]
            cheapest.append((cost, best))
        return cheapest[-1]


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return spans with those that touch made one."""
    joined = [spans[0]]
    for start, stop in spans[1:]:
        last_start, last_stop = joined[-1]
        if last_stop == start:
            joined[-1] = (last_start, stop)
        else:
            joined.append((start, stop))
    return tuple(joined)
