"""Which split a file of a folder is of, by its name and its folders' names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

from rewarddiff.data import files
from rewarddiff.errors import UserError

SYNONYMS = (
    ("train", "training"),
    ("validation", "valid", "val", "dev"),
    ("test", "testing", "eval", "evaluation"),
)
"""Words that name splits, as `datasets` knows them: those in a row mean the same."""

SPLIT_WORDS = frozenset(chain.from_iterable(SYNONYMS))

SHARD = re.compile(r"-\d+-of-\d+.*$")
"""The end of train-00000-of-00002, and of what the Hub makes of it with a hash."""

NUMBER = re.compile(r"(?<=.)[-_. ]*(part|shard|chunk)?[-_. ]*\d+$", re.IGNORECASE)
"""The end of train-1, train_part2, validation1."""


def of_split(folder: Path, names: list[str], split: str | None) -> list[str]:
    """Return a folder's files of this split; all of them where none is named, and there is one.

    Raises:
        UserError: no such split, or several and none named.
    """
    splits = {name: split_of_file(name) for name in names}
    choices = sorted(set(splits.values()) - {""})
    if split is None:
        if len(set(splits.values())) > 1:
            raise UserError(
                f"{folder}: several splits; {name_one(folder, choices)}{_alone(splits)}"
            )
        return names
    chosen = [name for name in names if split in _names_of_split(name, splits[name])]
    if not chosen:
        synonyms = _synonyms(split)
        chosen = [name for name in names if splits[name].lower() in synonyms]
    if not chosen:
        mend = "no file is named as a split is; leave the split out"
        if choices:
            mend = f"name one of {', '.join(choices)}"
        raise UserError(f"{folder}: no split {split!r}; {mend}")
    return chosen


def name_one(source: str | Path, splits: Sequence[str]) -> str:
    """Say how to name one of a source's splits, wherever data is named."""
    return f"name one of {', '.join(splits)}, as in {source}#{splits[0]}"


def _alone(splits: Mapping[str, str]) -> str:
    """Say that a file of no split can be given by itself, where there is one."""
    for name, split in splits.items():
        if not split:
            return f", or give a file of no split by itself, as {name}"
    return ""


def split_of_file(name: str) -> str:
    """Return the split of a file by its path in the folder: its name or a folder's; empty: none.

    As in `datasets`: a word for a split (`SYNONYMS`) is one wherever it stands between other signs,
    and of files in numbered parts (train_prefs-00000-of-00002) all before the number is the split.
    But names are not cut at a word: test_sft.jsonl is of split test_sft, and not of test.

    >>> split_of_file("data/train_prefs-00000-of-00001.parquet")
    'train_prefs'
    >>> split_of_file("dev/a.csv")
    'dev'
    >>> split_of_file("helpful.jsonl")
    ''
    """
    stem = files.stem(Path(name))
    without_shard = SHARD.sub("", stem)
    folders = PurePosixPath(name).parts[:-1]
    candidates = [NUMBER.sub("", without_shard), *reversed(folders)]
    for candidate in candidates:
        if candidate.lower() in SPLIT_WORDS:
            return candidate
    if without_shard != stem:
        return without_shard
    for candidate in candidates:
        words = re.split(r"[-._ ]|\d+", candidate.lower())
        if not SPLIT_WORDS.isdisjoint(words):
            return candidate
    return ""


def _names_of_split(name: str, split: str) -> set[str]:
    """Return by what a file can be asked for.

    That is its split, or where it is of none its name, that without a number, and its folders'.
    """
    if split:
        return {split}
    stem = files.stem(Path(name))
    return {stem, NUMBER.sub("", stem), *PurePosixPath(name).parts[:-1]}


def _synonyms(split: str) -> tuple[str, ...]:
    for words in SYNONYMS:
        if split in words:
            return words
    return ()
