"""Token trees: a prompt and its responses packed so that every shared token is computed once.

A tree's root is the prompt; each branch attends to its ancestors and to itself, and its positions
continue from its parent's end, so every root-to-leaf path is exactly the sequence a plain forward
pass would see. A preference pair is a root with two branches, a list of k responses a root with k,
and a difference model's reading a tree of depth two (prompt → first response → second response).

`pack` lays trees end to end in one row. `pack(..., plain=True)` lays out the same paths as ordinary
right-padded rows instead, one per leaf, for models that cannot read trees; what is read, and where
it is written, is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Node:
    """A run of tokens; `parent` is the index of an earlier node of its tree, −1 for the root."""

    tokens: tuple[int, ...]
    parent: int = -1


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes, parents first. Every node has at least one token; node 0 is the only root."""

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        for i, node in enumerate(self.nodes):
            if not node.tokens:
                raise ValueError(f"node {i} of the tree has no tokens")
            if (node.parent < 0) != (i == 0) or node.parent >= i:
                raise ValueError(
                    f"node {i} has parent {node.parent}: "
                    "one root, first, and parents before children"
                )

    def __len__(self) -> int:
        """Tokens in the tree, each counted once."""
        return sum(len(node.tokens) for node in self.nodes)

    def path(self, index: int) -> list[int]:
        """Node indices from the root down to `index`, inclusive."""
        path = []
        while index >= 0:
            path.append(index)
            index = self.nodes[index].parent
        return path[::-1]

    def leaves(self) -> list[int]:
        """Indices of the nodes that nothing hangs on."""
        parents = {node.parent for node in self.nodes}
        return [i for i in range(len(self.nodes)) if i not in parents]


def group_tree(prompt: Sequence[int], responses: Sequence[Sequence[int]]) -> Tree:
    """Return the prompt as root with one branch per response; node 1 + i is response i."""
    branches = [Node(tuple(response), 0) for response in responses]
    return Tree((Node(tuple(prompt)), *branches))


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
            positions: of every token of the row.
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
            of_row = positions.to("cpu")
            of_keys = torch.cat([of_row[start:stop] for start, stop in self.keys])
            of_queries = of_row[self.start : self.stop]
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
    for i in range(1, len(spans)):
        parent = tree.nodes[i].parent
        if parent != 0 and parent not in tree.path(i - 1):
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


@dataclass(frozen=True)
class Packed:
    """Trees as one model input. "Flat" indices point into the (rows · columns) states.

    Attributes:
        input_ids: int64 (rows, columns).
        position_ids: int64 (rows, columns).
        blocks: of the single packed row, its queries in order; empty for plain rows.
        ends: flat index of the last token of every node, trees and nodes in order, (nodes,).
        tokens: flat index of every non-root token, (tokens,), nodes in order.
        read: flat index of the state that predicts each non-root token, (tokens,).
        targets: the token predicted, (tokens,).
        owner: running index of the node each non-root token belongs to, (tokens,).
        first: running index of each tree's root among all nodes, (trees,).
        size: real tokens laid out (padding not counted).
    """

    input_ids: Tensor
    position_ids: Tensor
    blocks: tuple[Block, ...]
    ends: Tensor
    tokens: Tensor
    read: Tensor
    targets: Tensor
    owner: Tensor
    first: Tensor
    size: int

    @property
    def nodes(self) -> int:
        return len(self.ends)

    def to(self, device: torch.device) -> Packed:
        moved: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device)
        return replace(self, **moved)


def pack(trees: Sequence[Tree], *, plain: bool = False, call: int = CALL) -> Packed:
    """Lay `trees` out as one packed row, or (`plain`) one right-padded row per leaf.

    Plain rows need no attention mask: padding stands on the right, where no real token of a causal
    model looks. A node shared by several leaves is written once a row and read at its first place.
    `call`: see `blocks`.
    """
    return _pack_rows(trees) if plain else _pack_trees(trees, call)


def _pack_trees(trees: Sequence[Tree], call: int) -> Packed:
    ids: list[int] = []
    positions: list[int] = []
    blocks_of_row: list[Block] = []
    spans_of_trees: list[list[Span]] = []
    for tree in trees:
        spans: list[Span] = []
        ends: list[int] = []  # the position behind every node
        for node in tree.nodes:
            spans.append((len(ids), len(ids) + len(node.tokens)))
            begin = ends[node.parent] if node.parent >= 0 else 0
            ends.append(begin + len(node.tokens))
            positions += range(begin, ends[-1])
            ids += node.tokens
        blocks_of_row += blocks(tree, spans, call)
        spans_of_trees.append(spans)
    return Packed(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        blocks=tuple(blocks_of_row),
        size=len(ids),
        **_readings(trees, spans_of_trees),
    )


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
    for tree, spans in zip(trees, spans_of_trees, strict=True):
        first.append(len(ends))
        for node, (start, stop) in zip(tree.nodes, spans, strict=True):
            if node.parent >= 0:
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
    }
    return {name: torch.tensor(values, dtype=torch.long) for name, values in lists.items()}


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
