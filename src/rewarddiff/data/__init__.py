"""Preference data: reading it in, accounting for every row, splitting it by prompt.

>>> from rewarddiff.data import load_groups, split
>>> parts = split(load_groups("demo"), {"train": 0.8, "test": 0.2})
>>> len(parts["train"]) + len(parts["test"])
128
"""

from rewarddiff.data.groups import Groups
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.data.load import load_groups
from rewarddiff.data.read import read
from rewarddiff.data.split import prompt_hashes, split, split_key, split_of

__all__ = [
    "Groups",
    "Ledger",
    "Reason",
    "load_groups",
    "prompt_hashes",
    "read",
    "split",
    "split_key",
    "split_of",
]
