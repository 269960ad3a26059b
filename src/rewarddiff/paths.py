"""Paths that the user names."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

LONGEST_NAME = 100
"""Characters; file systems take 255 bytes, and what the name is a part of needs some."""


def user_path(text: str | Path) -> Path:
    """Return the path that a user means: a leading `~` or `~name` is a home folder, as in a shell.

    A shell expands it only where a word begins with it: the value of `--data=~/x`, or of a recipe's
    key, is not.
    """
    return Path(os.path.expanduser(text))


def run_folder(name: str, output: str | None = None) -> Path:
    """Return where a run is written: to its recipe's `output`, or else to a folder of its name in runs/."""
    return user_path(output) if output else Path("runs") / name


def sweep_folder(run: Path) -> Path:
    """Return where a sweep is written whose recipe would be written to `run`."""
    return run.with_name(f"{run.name}-sweep")


def as_name(text: str) -> str:
    """Return a text as part of the name of a file or folder; nothing may be left of it.

    >>> as_name("hh/helpful base")
    'hh_helpful_base'

    Of a long one a hash stands for its end.
    """
    name = re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip("_")
    if len(name) <= LONGEST_NAME:
        return name
    return _with_hash(name, text)


def as_names(texts: Sequence[str]) -> list[str]:
    """Return texts as parts of names that differ, on a disk that does not tell A from a too.

    Of those that `as_name` would make the same each ends in a hash.
    """
    names = [as_name(text) for text in texts]
    times = Counter(name.casefold() for name in names)
    return [
        name if times[name.casefold()] == 1 else _with_hash(name, text)
        for name, text in zip(names, texts, strict=True)
    ]


def _with_hash(name: str, text: str) -> str:
    ending = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9]}-{ending}"
