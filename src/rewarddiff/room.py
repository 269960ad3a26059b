"""Room on the disk: which errors say that there is none, and what is told of them."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The system's numbers of a full disk, and of a user's share that is used up."""

NEARLY_NONE = 1 << 20
"""Bytes that are free where an error without a number is taken for one of a full disk."""


class NoRoom(OSError):
    """The disk is full while a file is written, or a folder of files.

    Attributes:
        filename: which one.
        size: bytes that were to be written; None: not known.
        free: bytes that were free then.
    """

    def __init__(self, path: str | Path, size: int | None = None) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
        self.size = size
        self.free = free(path)

    def __str__(self) -> str:
        return f"{self.filename}: {self.cause}"

    @property
    def cause(self) -> str:
        """That there is no room, and the bytes."""
        amounts = f"{self.free:,} bytes free"
        if self.size is not None:
            amounts = f"{self.size:,} bytes to write, {self.free:,} free"
        return f"{self.strerror}: {amounts}"

    @property
    def line(self) -> str:
        """What a user is told."""
        mend = "free some space, or choose another output"
        return f"{self.filename}: cannot be written ({self.cause}); {mend}"


@contextmanager
def room_for(path: Path, size: int | None = None) -> Iterator[None]:
    """Let a full disk say which file or folder was being written, and how much.

    Libraries have errors of their own for it, most of them without a name.

    Raises:
        NoRoom: the disk is full.
    """
    try:
        yield
    except NoRoom:
        raise
    except Exception as error:
        if number_of(error, path) in FULL:
            raise NoRoom(path, size) from error
        raise


def number_of(error: Exception, place: Path) -> int | None:
    """Return the system's number of an error, where it has one, or where `place` tells.

    Libraries written in Rust (safetensors, tokenizers) have it in their text alone. numpy and SQLite
    say that something was not written, and not why.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    written = re.search(r"\(os error (\d+)\)", str(error))
    if written:
        return int(written[1])
    if is_of_numpy(error) or isinstance(error, sqlite3.OperationalError):
        return errno.ENOSPC if free(place) < NEARLY_NONE else None
    return None


def is_of_numpy(error: Exception) -> bool:
    """Tell numpy's error of an array that was not written whole."""
    return isinstance(error, OSError) and error.errno is None and "written" in str(error)


def free(path: str | Path) -> int:
    """Return the bytes that are free on the disk where a path lies, or is to lie."""
    place = Path(os.path.abspath(path))
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
