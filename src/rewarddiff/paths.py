"""Paths that the user names."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

LONGEST_NAME = 100
"""Characters; file systems take 255 bytes, and what the name is a part of needs some."""


def user_path(text: str | Path) -> Path:
    """Return the path that a user means: a leading `~` or `~name` is a home folder, as in a shell.

    A shell expands it only where a word begins with it: the value of `--data=~/x`, or of a recipe's
    key, is not.
    """
    return Path(os.path.expanduser(text))


def as_name(text: str) -> str:
    """Return a text as part of the name of a file or folder; nothing may be left of it.

    >>> as_name("hh/helpful base")
    'hh_helpful_base'

    Of a long one a hash stands for its end.
    """
    name = re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip("_")
    if len(name) <= LONGEST_NAME:
        return name
    ending = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9]}-{ending}"
