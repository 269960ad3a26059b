"""Blocks of attention read what a forward pass over every path reads, and waste little."""

import random

import pytest
import torch

from rewarddiff.trees import (
    CALL,
    Node,
    Tree,
    blocks,
    depth_first,
    group_tree,
    is_depth_first,
    pack,
)


def grown(seed: int) -> Tree:
    """A tree of up to twelve nodes, depth first."""
    rng = random.Random(seed)
    nodes = [Node((0,) * rng.randint(1, 9))]
    path = [0]
    for _ in range(rng.randrange(12)):
        del path[rng.randint(1, len(path)) :]
        nodes.append(Node((0,) * rng.randint(1, 9), path[-1]))
        path.append(len(nodes) - 1)
    return Tree(tuple(nodes))


def read_by_paths(tree: Tree, window: int | None) -> torch.Tensor:
    """Token by token: a token reads itself and what stands before it on its path."""
    owner = [i for i, node in enumerate(tree.nodes) for _ in node.tokens]
    first = [owner.index(i) for i in range(len(tree.nodes))]
    position = []
    for i, node in enumerate(owner):
        above = sum(len(tree.nodes[a].tokens) for a in tree.path(node)[:-1])
        position.append(above + i - first[node])
    n = len(owner)
    seen = torch.zeros(n, n, dtype=torch.bool)
    for q in range(n):
        for k in range(n):
            along = owner[k] in tree.path(owner[q]) and position[k] <= position[q]
            seen[q, k] = along and (window is None or position[q] - position[k] < window)
    return seen


def read_by_blocks(trees: list[Tree], call: int, window: int | None) -> torch.Tensor:
    packed = pack(trees, call=call)
    n = packed.size
    seen = torch.zeros(n, n, dtype=torch.bool)
    done = 0
    for block in packed.blocks:
        assert block.start == done  # every query once, in order
        done = block.stop
        columns = torch.cat([torch.arange(a, b) for a, b in block.keys])
        visible = block.visible(packed.position_ids[0], window)
        seen[block.start : block.stop, columns] = visible
        if block.causal and window is None:
            size = block.stop - block.start
            assert torch.equal(visible, torch.ones(size, size, dtype=torch.bool).tril())
    assert done == n
    return seen


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("call", [0, 20, 10**9])
def test_blocks_read_what_paths_read(call: int, window: int | None) -> None:
    counts = set()
    for seed in range(60):
        trees = [grown(seed), grown(seed + 1000)]
        expected = torch.block_diag(*(read_by_paths(tree, window) for tree in trees)).bool()
        assert torch.equal(read_by_blocks(trees, call, window), expected), seed
        counts.add(len(pack(trees, call=call).blocks))
    assert (counts == {2}) == (call == 10**9)


SMALL = group_tree([0] * 100, [[0] * 10, [0] * 10])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        # Products of queries and keys, and `call` for each block: whole 120² = 14,400; root apart
        # 100² + 20·120 = 12,400 in two; all apart 100² + 2·10·110 = 12,200 in three.
        (0, [(0, 100), (100, 110), (110, 120)]),  # 12,200 is least
        (150, [(0, 100), (100, 110), (110, 120)]),  # 12,650; 12,700; 14,550
        (1_000, [(0, 100), (100, 120)]),  # 15,200; 14,400; 15,400
        (2_500, [(0, 120)]),  # 19,700; 17,400; 16,900
    ],
)
def test_the_cheapest_way_to_cut_a_tree(call: int, expected: list[tuple[int, int]]) -> None:
    found = blocks(SMALL, [(0, 100), (100, 110), (110, 120)], call)
    assert [(block.start, block.stop) for block in found] == expected


def test_keys_are_the_ancestors_and_the_queries_themselves() -> None:
    tree = Tree((Node((0,) * 5), Node((0,) * 4, 0), Node((0,) * 3, 1), Node((0,) * 2, 0)))
    found = blocks(tree, [(0, 5), (5, 9), (9, 12), (12, 14)], call=0)
    assert [block.keys for block in found] == [((0, 5),), ((0, 9),), ((0, 12),), ((0, 5), (12, 14))]


def test_a_tree_that_is_not_depth_first_stays_whole() -> None:
    tree = Tree((Node((0,) * 50), Node((0,) * 50, 0), Node((0,) * 50, 0), Node((0,) * 50, 1)))
    (only,) = blocks(tree, [(0, 50), (50, 100), (100, 150), (150, 200)], call=0)
    assert (only.start, only.stop, only.keys) == (0, 200, ((0, 200),))
    assert torch.equal(read_by_blocks([tree], 0, None), read_by_paths(tree, None))


def test_six_compared_responses_cost_a_ninth_of_one_dense_mask() -> None:
    """Prompt 164, responses of 145, all 30 comparisons: 164² + 6·145·309 + 30·145·454 = 2.27 of
    5,384² = 29 million."""
    nodes = [Node((0,) * 164)]
    for _ in range(6):
        nodes.append(Node((0,) * 145, 0))
        first = len(nodes) - 1
        nodes += [Node((0,) * 145, first) for _ in range(5)]
    packed = pack([Tree(tuple(nodes))], call=CALL)
    read = sum(
        (b.stop - b.start) * sum(stop - start for start, stop in b.keys) for b in packed.blocks
    )
    assert read == 164**2 + 6 * 145 * 309 + 30 * 145 * 454
    assert read < packed.size**2 / 9


def any_order(seed: int) -> Tree:
    """A tree of up to twelve nodes, each below any earlier one, all of different tokens."""
    rng = random.Random(seed)
    parents = [-1, *(rng.randrange(i) for i in range(1, rng.randint(2, 12)))]
    return Tree(tuple(Node((i,) * rng.randint(1, 3), parent) for i, parent in enumerate(parents)))


def test_trees_are_put_in_order_with_the_same_paths() -> None:
    moved = 0
    for seed in range(200):
        tree = any_order(seed)
        ordered, places = depth_first(tree)
        assert is_depth_first(ordered)
        assert sorted(places) == list(range(len(tree.nodes)))
        for i, place in enumerate(places):
            before = [tree.nodes[n].tokens for n in tree.path(i)]
            assert [ordered.nodes[n].tokens for n in ordered.path(place)] == before
        if is_depth_first(tree):
            assert ordered == tree
        moved += not is_depth_first(tree)
    assert 50 < moved < 190


def test_comparisons_in_any_order_cost_no_more_than_in_the_best() -> None:
    """A prompt of 4 tokens, responses of 2: (a, b), (b, a), (a, c), (c, a).

    As read, one block of the whole tree: 4 + 3·2 + 4·2 = 18 tokens, 18² = 324 products. In order, node by
    node: 4² for the prompt, 2·6 for each first response and 2·8 for each second one, 116.
    """
    nodes = [Node((0,) * 4)]
    for parent in (0, 1, 0, 3, 1, 0, 6):  # a, a→b, b, b→a, a→c, c, c→a
        nodes.append(Node((0,) * 2, parent))
    tree = Tree(tuple(nodes))
    ordered, _ = depth_first(tree)

    def products(tree: Tree) -> int:
        blocks_of_row = pack([tree], call=0).blocks
        widths = [sum(stop - start for start, stop in block.keys) for block in blocks_of_row]
        return sum((b.stop - b.start) * w for b, w in zip(blocks_of_row, widths, strict=True))

    assert products(tree) == 18**2
    assert products(ordered) == 4**2 + 3 * 2 * 6 + 4 * 2 * 8
