"""Token trees: a prompt and its responses packed so that every shared token is computed once.

A tree's root is the prompt; each branch attends to its ancestors and to itself, and its positions
continue from its parent's end, so every root-to-leaf path is exactly the sequence a plain forward
pass would see. A preference pair is a root with two branches, a list of k responses a root with k,
and a difference model's reading a tree of depth two (prompt → first response → second response).

`pack` lays trees end to end in one row. `pack(..., plain=True)` lays out the same paths as ordinary
right-padded rows instead, one per leaf, for models that cannot read trees; what is read, and where
it is written, is the same.
"""

from rewarddiff.trees.cutting import CALL, Block, blocks
from rewarddiff.trees.packing import NodeTable, Packed, microbatches, pack
from rewarddiff.trees.tree import Node, Tree, depth_first, group_tree, is_depth_first

__all__ = [
    "CALL",
    "Block",
    "Node",
    "NodeTable",
    "Packed",
    "Tree",
    "blocks",
    "depth_first",
    "group_tree",
    "is_depth_first",
    "microbatches",
    "pack",
]
