"""Paths that the user names."""

from __future__ import annotations

import os
import re
from pathlib import Path


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
    """
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip("_")
