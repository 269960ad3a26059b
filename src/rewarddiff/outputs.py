"""The place a command writes to: tried before the work, held by one process, named in failures."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from rewarddiff import files, launch
from rewarddiff.errors import UserError
from rewarddiff.writing import say

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nobody is kept out
    fcntl = None  # type: ignore[assignment]

LOCK = ".rewarddiff-lock"
"""The file in a run's folder that the run holds while it writes there. For a file that is written there is
one beside it, `.rewarddiff-lock-NAME`, which goes when it is complete."""

FULL = (errno.ENOSPC, errno.EDQUOT)
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

    What it keeps beside the file meanwhile, to go on from, is then its own as well.

    Raises:
        UserError: also where another process makes it.
    """
    with file_for(path, sources), _lock_beside(path):
        yield


@contextmanager
def run_folder_for(folder: Path) -> Iterator[None]:
    """Do the same for a folder that only one command may write to at a time.

    The lock is the kernel's, and ends with the process, however it ends. Of processes that a launcher
    has started the main one holds it, as it writes there.

    Raises:
        UserError: another process writes there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a+")
    except OSError as error:
        raise _refusal(folder, error) from error
    with _explained(folder), lock:
        if launch.is_main():
            _hold(lock, folder)
        yield


@contextmanager
def _lock_beside(path: Path) -> Iterator[None]:
    """Hold a file beside another one, which is removed in the end; of several processes the main one does."""
    if not launch.is_main():
        yield
        return
    place = path.with_name(f"{LOCK}-{path.name}")
    place.parent.mkdir(parents=True, exist_ok=True)
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
        with place.open("a+") as lock:
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
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "a process that has just begun"
        where = "in" if output.is_dir() else "to"
        raise UserError(
            f"another run is writing {where} {output} ({holder}); "
            "wait until it ends, or choose another output"
        ) from None
    except OSError:
        return  # a file system without locks: nobody is kept out
    lock.truncate(0)
    lock.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
    lock.flush()


def _try(folder: Path) -> None:
    """Write a little into a folder, and leave no trace of it; of several processes the main one does."""
    if not launch.is_main():
        return
    missing: list[Path] = []
    try:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(4096))
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
    unwritable = _number(error) in UNWRITABLE
    if not isinstance(error, OSError):
        return unwritable
    if error.filename is None:
        numpy_on_a_full_disk = error.errno is None and "written" in str(error)
        return numpy_on_a_full_disk or unwritable
    # A file that is read may fail with EIO as well.
    if unwritable and error.errno != errno.EIO:
        return True
    return _lies_in(error.filename, output) and not isinstance(error, FileNotFoundError)


def _lies_in(name: str | bytes, output: Path) -> bool:
    """Return whether a file is the output, lies in it, or is written beside it in its place."""
    file = Path(os.path.abspath(os.fsdecode(name)))
    return any(file.is_relative_to(os.path.abspath(place)) for place in files.names(output))


def _number(error: Exception) -> int | None:
    """Return the system's number of an error, where it has one.

    Libraries written in Rust (safetensors, tokenizers) have it in their text alone.
    """
    if isinstance(error, OSError):
        return error.errno
    number = re.search(r"\(os error (\d+)\)", str(error))
    return int(number[1]) if number else None


def _refusal(output: Path, error: Exception) -> UserError:
    number = _number(error)
    if number in (errno.EEXIST, errno.ENOTDIR):
        reason = "a file is in the way"
    elif number is not None:
        reason = os.strerror(number)
    else:
        reason = str(error)
    place = getattr(error, "filename", None) or output
    mend = "choose another output"
    if number in FULL:
        mend = f"free some space, or {mend}"
    return UserError(f"{os.fsdecode(place)}: cannot be written ({reason}); {mend}")
