"""The place a command writes to: tried before the work, held by one process, named in failures."""

from __future__ import annotations

import errno
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TextIO

from rewarddiff import files, launch
from rewarddiff.errors import UserError
from rewarddiff.room import FULL, NoRoom, is_of_numpy, number_of, room_for
from rewarddiff.writing import say

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nobody is kept out
    fcntl = None  # type: ignore[assignment]

LOCK = ".rewarddiff-lock"
"""The file in a run's folder that the run holds while it writes there. For a file that is written there is
one beside it, `.rewarddiff-lock-NAME`, which goes when it is complete."""

TRIED = 4096
"""Bytes that are written to see whether a place can be written to."""

PATIENCE = 0.2
"""Seconds in which a lock that is held is tried again: whoever only looks holds it for a moment."""

WRITTEN_THROUGH = (
    LOCK, "additional_chat_templates", "annotations.sqlite", "answers.sqlite", "baselines", "cache", "checkpoint",
    "combinations", "data", "differences", "evaluations", "figures", "images", "metrics.jsonl", "model", "orders",
    "outputs", "parts-", "policies", "rewards", "run", "samples", "scorer", "start-", "store.sqlite", "verdicts",
    "window-", "worlds-",
)  # fmt: skip
"""How the names begin, in a folder that a command writes to, of folders, and of files that are not replaced
as a whole."""

UNWRITABLE = (*FULL, errno.EROFS, errno.EIO, errno.EFBIG)
"""What keeps a file from being written, whichever it is."""


@contextmanager
def folder_for(folder: Path) -> Iterator[None]:
    """Refuse a folder that cannot be written to, and explain in one line what fails there later."""
    _try(folder)
    with _explained(folder):
        yield


@contextmanager
def file_for(path: Path, sources: Iterable[str | Path] = ()) -> Iterator[None]:
    """Do the same for one file, which must be none that the work reads, no folder and no device.

    A file that is there already is replaced, and that is said beforehand.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder; give the name of a file")
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: no ordinary file; give the name of a file")
    for source in map(Path, sources):
        if path.exists() and source.exists() and path.samefile(source):
            raise UserError(f"{path}: the output would replace what is read; choose another output")
    _try(path.parent)
    if path.exists():
        say(f"{path}: is there already, and will be replaced")
    with _explained(path):
        yield


@contextmanager
def held_file_for(path: Path, sources: Iterable[str | Path] = ()) -> Iterator[None]:
    """Do what `file_for` does for a file that only one command may make at a time.

    What it keeps beside the file meanwhile, to go on from (`store_beside`), is then its own as well.

    Raises:
        UserError: also where another process makes it, or what is kept beside it is a link.
    """
    with file_for(path, sources):
        _refuse_linked_store(path)
        with _lock_beside(path):
            yield


@contextmanager
def run_folder_for(folder: Path) -> Iterator[None]:
    """Do the same for a folder that only one command may write to at a time.

    The lock is the kernel's, and ends with the process, however it ends. Of processes that a launcher
    has started the main one holds it, as it writes there.

    Raises:
        UserError: another process writes there, or a link in it leads out of it.
    """
    with _explained(folder):
        if folder.is_dir():
            refuse_links(folder)
        if not launch.is_main():
            files.make_folder(folder)
            yield
            return
        with _held(folder / LOCK, folder):
            yield


@contextmanager
def windows_for(output: Path) -> Iterator[Path]:
    """Hold the folder of an output's windows as `run_folder_for` does, and return it.

    Raises:
        UserError: also where the folder is a link: nobody has named it.
    """
    folder = windows_of(output)
    _refuse_link(folder)
    with run_folder_for(folder):
        yield folder


def refuse_links(folder: Path) -> None:
    """Refuse a folder in which a link leads out of it: what is written through it would lie there.

    The folder itself may be a link, of its owner's, and so may what no command writes; but a run's
    folder may have come from somebody else.

    Raises:
        UserError: names the link.
    """
    root = os.path.realpath(folder)
    for place in sorted(folder.iterdir()):
        if not place.name.startswith(WRITTEN_THROUGH):
            continue
        inside = place.rglob("*") if place.is_dir() and not place.is_symlink() else ()
        for link in filter(Path.is_symlink, (place, *inside)):
            if not Path(os.path.realpath(link)).is_relative_to(root):
                raise UserError(
                    f"{link}: a link that leads out of {folder}, and would be written through; "
                    "put what it stands for in its place, or choose another output"
                )


def foreign(folder: Path, name: str = "") -> UserError:
    """Return the error that refuses a folder which was to be removed, and holds what somebody else wrote.

    Args:
        name: of such a file; "" where all of them are.
    """
    which = f" ({name})" if name else ""
    return UserError(
        f"{folder}: holds files that no run wrote{which}; choose another output, or move them away"
    )


def _refuse_linked_store(path: Path) -> None:
    """Refuse links among the files of the store beside a file: SQLite's own, and those of further processes."""
    store = store_beside(path).name
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    for place in beside:
        if place.name.startswith(store):
            _refuse_link(place)


def _refuse_link(place: Path) -> None:
    """Refuse a place that a command writes to beside an output, where a link stands there."""
    if place.is_symlink():
        raise UserError(f"{place}: a link, and would be written through; remove it")


@contextmanager
def _lock_beside(path: Path) -> Iterator[None]:
    """Hold a file beside another one, which is removed in the end; of several processes the main one does."""
    if not launch.is_main():
        yield
        return
    place = _lock_of(path)
    _refuse_link(place)
    with _held(place, path) as lock:
        try:
            yield
        finally:
            # While it is held: another command that waits for nobody would lose its own.
            if _is_at(lock, place):
                place.unlink(missing_ok=True)


@contextmanager
def _held(place: Path, output: Path) -> Iterator[TextIO]:
    """Open and hold the file at `place`, also where its holder has just removed it."""
    while True:
        try:
            files.make_folder(place.parent)
            opened = place.open("a+")
        except OSError as error:
            raise _refusal(output, error) from error
        with opened as lock:
            _hold(lock, output)
            if _is_at(lock, place):
                yield lock
                return


def _is_at(file: TextIO, place: Path) -> bool:
    """Tell whether an open file is the one that now lies at a place."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), place.stat())
    except FileNotFoundError:
        return False


def _hold(lock: TextIO, output: Path) -> None:
    """Hold an open file until it is closed, and write into it who does.

    Raises:
        UserError: another process holds it, and so makes `output`.
    """
    if fcntl is None:
        return
    tried_until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > tried_until:
                raise _held_by_another(lock, output) from None
            time.sleep(PATIENCE / 10)
        except OSError as error:
            _say_without_locks(str(error.strerror))
            return
    lock.truncate(0)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    lock.write(f"process {os.getpid()} on {platform.node()} since {since}\n")
    lock.flush()


@cache
def _say_without_locks(reason: str) -> None:
    """Say, once in a process, that nobody is kept out."""
    say(
        f"the output's file system has no locks ({reason}): "
        "a second command with the same output would not be refused, so start none meanwhile",
        error=True,
    )


def require_unheld(output: Path) -> None:
    """Raise a UserError where another process writes to an output: before what takes seconds to import.

    This only looks. Whoever writes holds the lock itself.
    """
    if fcntl is None or not launch.is_main():
        return
    for place in _locks_of(output):
        with suppress(OSError), place.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _held_by_another(lock, output) from None


def _locks_of(output: Path) -> list[Path]:
    """Return where the lock of an output lies: in it, in the run or the windows it is made of, or beside it."""
    if not output.name:  # "." and "/"
        return [output / LOCK]
    folders = [output, output / "run", windows_of(output), windows_of(output.with_suffix(""))]
    return [*(folder / LOCK for folder in folders), _lock_of(output)]


# What is written beside an output: nobody has named these places, so none of them may be a link.


def windows_of(output: Path) -> Path:
    """Return the folder beside an output that holds it in windows until it is complete, see `windows_for`."""
    return output.with_name(f"{output.name}.parts")


def store_beside(output: Path) -> Path:
    """Return the file beside an output that keeps what was drawn and scored for it, see `held_file_for`."""
    return output.with_name(f"{output.name}.store.sqlite")


def _lock_of(output: Path) -> Path:
    return output.with_name(f"{LOCK}-{output.name}")


def _held_by_another(lock: TextIO, output: Path) -> UserError:
    """Return the error that says who holds a lock."""
    lock.seek(0)
    holder = lock.read().strip() or "a process that has just begun"
    where = "in" if output.is_dir() else "to"
    return UserError(
        f"another run is writing {where} {output} ({holder}); "
        "wait until it ends, or choose another output"
    )


def _try(folder: Path) -> None:
    """Write a little into a folder, and leave no trace of it; of several processes the main one does."""
    if not launch.is_main():
        return
    missing: list[Path] = []
    try:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with room_for(folder, TRIED), tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(TRIED))
    except OSError as error:
        raise _refusal(folder, error) from error
    finally:
        for place in missing:
            with suppress(OSError):
                place.rmdir()


@contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Turn a failure to write the output into one line; every other error passes."""
    try:
        yield
    except Exception as error:
        if _is_of(output, error):
            raise _refusal(output, error) from error
        raise


def _is_of(output: Path, error: Exception) -> bool:
    """Return whether an error says that the output could not be written."""
    unwritable = number_of(error, output) in UNWRITABLE
    if not isinstance(error, OSError):
        return unwritable
    if error.filename is None:
        return is_of_numpy(error) or unwritable
    # A file that is read may fail with EIO as well.
    if unwritable and error.errno != errno.EIO:
        return True
    return _lies_in(error.filename, output) and not isinstance(error, FileNotFoundError)


def _lies_in(name: str | bytes, output: Path) -> bool:
    """Return whether a file is the output, lies in it, or is written beside it in its place."""
    file = Path(os.path.abspath(os.fsdecode(name)))
    return any(file.is_relative_to(os.path.abspath(place)) for place in files.names(output))


def _refusal(output: Path, error: Exception) -> UserError:
    number = number_of(error, output)
    place = os.fsdecode(getattr(error, "filename", None) or output)
    if number in FULL:
        full = error if isinstance(error, NoRoom) else NoRoom(place)
        return UserError(full.line)
    if number in (errno.EEXIST, errno.ENOTDIR):
        reason = "a file is in the way"
    elif number is not None:
        reason = os.strerror(number)
    else:
        reason = str(error)
    return UserError(f"{place}: cannot be written ({reason}); choose another output")
