"""What a tree is: runs of tokens, each behind its parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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


def is_depth_first(tree: Tree) -> bool:
    """Tell whether every node is followed by all that is below it."""
    for i, node in enumerate(tree.nodes[1:], 1):
        if node.parent != 0 and node.parent not in tree.path(i - 1):
            return False
    return True


def depth_first(tree: Tree) -> tuple[Tree, list[int]]:
    """Return the tree with every node followed by all that is below it, and each node's new index.

    Branches keep their order, so a tree that stands so already stays as it is.
    """
    children: list[list[int]] = [[] for _ in tree.nodes]
    for i, node in enumerate(tree.nodes[1:], 1):
        children[node.parent].append(i)
    places = [0] * len(tree.nodes)
    nodes: list[Node] = []
    waiting = [0]
    while waiting:
        i = waiting.pop()
        node = tree.nodes[i]
        places[i] = len(nodes)
        parent = -1
        if nodes:
            parent = places[node.parent]
        nodes.append(Node(node.tokens, parent))
        waiting += reversed(children[i])
    return Tree(tuple(nodes)), places
