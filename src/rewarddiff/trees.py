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
    """A run of tokens; `parent` is the index of an earlier node of the same tree, −1 for the
    root."""

    tokens: tuple[int, ...]
    parent: int = -1


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes in an order where parents come first. Every node has at least one token; node 0 is the
    only root."""

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        for i, node in enumerate(self.nodes):
            if not node.tokens:
                raise ValueError(f"node {i} of the tree has no tokens")
            if (node.parent < 0) != (i == 0) or node.parent >= i:
                raise ValueError(
                    f"node {i} has parent {node.parent}: one root, first, and parents before children"
                )

    def __len__(self) -> int:
        """Tokens in the tree, each counted once."""
        return sum(len(node.tokens) for node in self.nodes)

    def path(self, index: int) -> list[int]:
        """Node indices from the root down to `index`, inclusive."""
        path = [index]
        while (parent := self.nodes[path[-1]].parent) >= 0:
            path.append(parent)
        return path[::-1]

    def leaves(self) -> list[int]:
        parents = {node.parent for node in self.nodes}
        return [i for i in range(len(self.nodes)) if i not in parents]


def group_tree(prompt: Sequence[int], responses: Sequence[Sequence[int]]) -> Tree:
    """The prompt as root with one branch per response; node 1 + i is response i."""
    return Tree((Node(tuple(prompt)), *(Node(tuple(r), 0) for r in responses)))


Span = tuple[int, int]
"""Where tokens stand in a packed row: start and stop."""


@dataclass(frozen=True)
class Block:
    """Queries that stand together in a packed row and the keys that they read: a tree, or a part of
    one.

    Attributes:
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
        """Which key each query may read, bool (queries, keys); `window` limits the distance in
        positions."""
        width = sum(b - a for a, b in self.keys)
        own = (
            width - (self.stop - self.start) - self.start
        )  # added to a place in the row: the column of that key
        mask = torch.ones(self.stop - self.start, width, dtype=torch.bool)
        mask[:, self.start + own :] = False
        for (start, stop), ancestors in self.nodes:
            rows = slice(start - self.start, stop - self.start)
            for a, b in (self.nodes[ancestor][0] for ancestor in ancestors):
                mask[rows, a + own : b + own] = True
            mask[rows, start + own : stop + own] = torch.ones(
                stop - start, stop - start, dtype=torch.bool
            ).tril()
        if window is not None:
            here = positions.to("cpu")
            read = torch.cat([here[a:b] for a, b in self.keys])
            mask &= (here[self.start : self.stop, None] - read[None, :]) < window
        return mask


CALL = 4_000
"""What one more block costs, in products of a query and a key: 0.08 ms a layer of a small model on
a CPU."""


def blocks(tree: Tree, spans: Sequence[Span], call: int = CALL) -> list[Block]:
    """The blocks in which a tree is attended to: in one, most of what is computed may be hidden by
    the mask.

    Of all ways to cut the tree into single nodes and runs of neighbouring branches, the one of the
    fewest products of a query and a key, at `call` for each block. Nodes must stand depth first to
    be cut apart; others are left together.

    Args:
        spans: of every node.
    """
    own = [stop - start for start, stop in spans]
    size, count = list(own), [1] * len(own)  # tokens and nodes of a node with all below it
    children: list[list[int]] = [[] for _ in own]
    for i in range(len(own) - 1, 0, -1):
        above = tree.nodes[i].parent
        children[above].insert(0, i)
        size[above] += size[i]
        count[above] += count[i]

    def run(first: int, end: int, before: tuple[Span, ...]) -> Block:
        places = range(first, end)
        nodes = tuple(
            (spans[i], tuple(a - first for a in tree.path(i)[:-1] if a >= first)) for i in places
        )
        start, stop = spans[first][0], spans[end - 1][1]
        return Block(start, stop, _joined([*before, (start, stop)]), nodes)

    def branch(i: int, before: tuple[Span, ...], read: int) -> tuple[float, list[Block]]:
        """The cheapest blocks of node i and all below it, where `read` tokens stand before it."""
        whole = call + size[i] * (read + size[i])
        if children[i]:
            cost, apart = below(i, (*before, spans[i]), read + own[i])
            cost += call + own[i] * (read + own[i])
            if cost < whole:
                return cost, [run(i, i + 1, before), *apart]
        return whole, [run(i, i + count[i], before)]

    def below(i: int, before: tuple[Span, ...], read: int) -> tuple[float, list[Block]]:
        """The cheapest blocks of a node's branches: best[j] are those of the first j."""
        best: list[tuple[float, list[Block]]] = [(0.0, [])]
        for j, child in enumerate(children[i], 1):
            cost, found = branch(child, before, read)
            cheapest = best[-1][0] + cost, best[-1][1] + found
            queries = size[child]
            for k in range(j - 2, -1, -1):  # one block for branches k … j − 1
                queries += size[children[i][k]]
                cost = best[k][0] + call + queries * (read + queries)
                if cost < cheapest[0]:
                    cheapest = (
                        cost,
                        [*best[k][1], run(children[i][k], child + count[child], before)],
                    )
            best.append(cheapest)
        return best[-1]

    depth_first = all(tree.nodes[i].parent in tree.path(i - 1) for i in range(1, len(own)))
    return branch(0, (), 0)[1] if depth_first else [run(0, len(own), ())]


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Neighbours made one."""
    found = [spans[0]]
    for start, stop in spans[1:]:
        if found[-1][1] == start:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return tuple(found)


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
        moved: dict[str, Any] = {
            k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)


def pack(trees: Sequence[Tree], *, plain: bool = False, pad: int = 0, call: int = CALL) -> Packed:
    """Lay `trees` out as one packed row, or (`plain`) one right-padded row per leaf.

    Plain rows need no attention mask: padding stands on the right, where no real token of a causal
    model looks. A node shared by several leaves is written once a row and read at its first place.
    `call`: see `blocks`.
    """
    return _pack_rows(trees, pad) if plain else _pack_trees(trees, call)


def _pack_trees(trees: Sequence[Tree], call: int) -> Packed:
    ids: list[int] = []
    positions: list[int] = []
    cut: list[Block] = []
    places: list[list[Span]] = []
    for tree in trees:
        spans: list[Span] = []
        depth: list[int] = []
        for node in tree.nodes:
            spans.append((len(ids), len(ids) + len(node.tokens)))
            begin = depth[node.parent] if node.parent >= 0 else 0
            depth.append(begin + len(node.tokens))
            positions += range(begin, depth[-1])
            ids += node.tokens
        cut += blocks(tree, spans, call)
        places.append(spans)
    return Packed(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        blocks=tuple(cut),
        size=len(ids),
        **_readings(trees, places),
    )


def _pack_rows(trees: Sequence[Tree], pad: int) -> Packed:
    rows = [(t, leaf) for t, tree in enumerate(trees) for leaf in tree.leaves()]
    texts = [
        [tok for n in trees[t].path(leaf) for tok in trees[t].nodes[n].tokens] for t, leaf in rows
    ]
    width = max(map(len, texts))
    places: list[list[Span]] = [[(-1, -1)] * len(tree.nodes) for tree in trees]
    for row, (t, leaf) in enumerate(rows):
        at = row * width
        for n in trees[t].path(leaf):
            span = (at, at + len(trees[t].nodes[n].tokens))
            if places[t][n] == (-1, -1):
                places[t][n] = span
            at = span[1]
    return Packed(
        input_ids=torch.tensor([text + [pad] * (width - len(text)) for text in texts]),
        position_ids=torch.arange(width).expand(len(texts), width),
        blocks=(),
        size=sum(map(len, texts)),
        **_readings(trees, places),
    )


def _readings(trees: Sequence[Tree], places: Sequence[Sequence[Span]]) -> dict[str, Tensor]:
    """Where to read, given the flat span of every node."""
    ends: list[int] = []
    tokens: list[int] = []
    read: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    first: list[int] = []
    for tree, spans in zip(trees, places, strict=True):
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
    """Cut items into lists of at most `budget` tokens (an item beyond the budget goes alone), in
    order."""
    batch: list[int] = []
    used = 0
    for i, size in enumerate(sizes):
        if batch and used + size > budget:
            yield batch
            batch, used = [], 0
        batch.append(i)
        used += size
    if batch:
        yield batch
