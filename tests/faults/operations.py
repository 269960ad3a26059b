"""The file operations of a process below one folder, and a SIGKILL, or an error, before any of them.

An operation opens a file for writing or appending, renames, links or removes one, makes or removes a folder,
writes safetensors, begins a transaction of SQLite or is about to commit it. What is half written is met too: the file
that was opened last is cut to half of what was added to it. `fsync` changes nothing that a kill could show.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

WRITES = ("open", "append", "safetensors")
"""Operations after which a file may be half written."""


class Operation(NamedTuple):
    """What is about to be done to which file, by its path below the folder."""

    kind: str
    path: str


class Kill(NamedTuple):
    """Where a process ends: before operation `at`, counted from 0; or halfway through writing what it opens."""

    at: int
    half: bool = False

    def __str__(self) -> str:
        return f"{self.at}{' halfway' if self.half else ''}"


See = Callable[[Operation], None]

_root = ""
_see: See | None = None
_is_hooked = False


def watch(folder: Path, see: See) -> None:
    """Call `see` before every operation of this process below a folder, until `watch` or `ignore` is called again.

    What it raises, the operation fails with.
    """
    global _root, _see, _is_hooked
    _root, _see = os.path.realpath(folder), see
    if not _is_hooked:
        _is_hooked = True
        sys.addaudithook(_hook)
        _tell_of_safetensors()
        _tell_of_transactions()


def ignore() -> None:
    """Watch no longer."""
    global _see
    _see = None


def tell(kind: str, place: str | None) -> None:
    """Let an operation be seen, if it is below the folder that is watched."""
    global _see
    see = _see
    if see is None or place is None or not place.startswith(_root + os.sep):
        return
    _see = None  # what `see` does itself is no operation of the process
    try:
        see(Operation(kind, os.path.relpath(place, _root)))
    finally:
        _see = see


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in AUDITED:
        kind = event.removeprefix("os.")
        if event == "open" and arguments[2] & os.O_APPEND:
            kind = "append"
        tell(kind, AUDITED[event](*arguments))


def killing(folder: Path, kill: Kill) -> None:
    """Let this process be killed at one of its operations below a folder."""
    count = -1
    opened: str | None = None
    size = 0

    def see(operation: Operation) -> None:
        nonlocal count, opened, size
        count += 1
        place = folder / operation.path
        if count == kill.at and kill.half:
            opened = str(place)
            if operation.kind == "append" and place.exists():
                size = place.stat().st_size
        elif count >= kill.at:
            if opened is not None and os.path.isfile(opened):
                os.truncate(opened, size + max(0, os.path.getsize(opened) - size) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    watch(folder, see)


def _opened(path: Any, mode: str | None, flags: int) -> str | None:
    """Return the file that is opened for writing; None for reading, and of a folder."""
    place = _place(path)
    if place is None or not flags & WRITING or os.path.isdir(place):
        return None
    return place


def _removed(path: Any, folder: int = -1) -> str | None:
    """Return what is renamed or removed; None where it is not there, and nothing will change."""
    place = _place(path, folder)
    return place if place is not None and os.path.lexists(place) else None


def _made(path: Any, mode: int, folder: int = -1) -> str | None:
    """Return the folder that is made; None where it is there already."""
    place = _place(path, folder)
    return None if place is None or os.path.lexists(place) else place


def _renamed(source: Any, target: Any, from_folder: int, to_folder: int) -> str | None:
    return _removed(source, from_folder)


def _linked(source: Any, target: Any, from_folder: int, to_folder: int) -> str | None:
    return _place(target, to_folder)


AUDITED: dict[str, Callable[..., str | None]] = {
    "open": _opened,
    "os.rename": _renamed,
    "os.remove": _removed,
    "os.rmdir": _removed,
    "os.mkdir": _made,
    "os.link": _linked,
    "os.truncate": lambda path, length: _place(path),
}
"""Events of `sys.audit` that change files, and which one each changes."""


def _place(path: Any, folder: int = -1) -> str | None:
    """Return the whole path of what a call names, which may be relative to an open folder."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    if not isinstance(path, str | bytes | os.PathLike):
        return None
    text = os.fsdecode(path)
    if folder != -1 and not os.path.isabs(text):
        text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    return (
        os.path.realpath(os.path.dirname(os.path.abspath(text))) + os.sep + os.path.basename(text)
    )


def _tell_of_safetensors() -> None:
    """Tell of files that are written in Rust, of which Python is not told."""
    write = safetensors.torch.serialize_file

    def watched(tensors: Any, filename: Any, *arguments: Any, **options: Any) -> Any:
        tell("safetensors", _place(filename))
        return write(tensors, filename, *arguments, **options)

    safetensors.torch.serialize_file = watched


def _tell_of_transactions() -> None:
    """Tell of every `with` block of a connection to SQLite, when it begins and when it would commit."""
    connect = sqlite3.connect

    class Watched(sqlite3.Connection):
        def __init__(self, database: Any, *arguments: Any, **options: Any) -> None:
            self.place = _place(database)
            super().__init__(database, *arguments, **options)

        def __enter__(self) -> Any:
            tell("begin", self.place)
            return super().__enter__()

        def __exit__(self, *error: Any) -> Any:
            tell("commit", self.place)
            return super().__exit__(*error)

    def watched(database: Any, *arguments: Any, **options: Any) -> Any:
        return connect(database, *arguments, factory=Watched, **options)

    sqlite3.connect = watched  # type: ignore[assignment]
