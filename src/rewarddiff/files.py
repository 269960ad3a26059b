"""Files and folders that a kill, or a loss of power, leaves whole: what was there before, or after.

What is written is on the disk before it gets its name; a folder may carry the sums of its files
(`sums`). A folder loses its name before it is deleted, so nothing half-deleted is ever found under
it. What a kill leaves lies beside the folder under names of this module's own, and the next `remove`,
`replace` or `sweep_up` takes it away.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

from rewarddiff.room import room_for
from rewarddiff.sums import seal

FRESH = ".rewarddiff-new-"
"""What the name of a file or folder begins with while it is written."""
EARLIER = ".rewarddiff-old-"
"""What the name of a folder begins with while it is replaced."""
REMOVED = ".rewarddiff-removed-"
"""What the name of a folder begins with while it is deleted."""


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file beside its place, and rename it into place when it is complete."""
    with written(path, len(content)) as fresh:
        fresh.write_bytes(content)


@contextmanager
def written(path: Path, size: int | None = None) -> Iterator[Path]:
    """Hand out a place beside a file, and rename what is written there into its place once all is.

    The name ends as the file's, for libraries that go by it.

    Args:
        size: bytes that are to be written, where that is known: what is told of a full disk.
    """
    make_folder(path.parent)
    fresh = fresh_file(path)
    try:
        with room_for(path, size):
            yield fresh
            put(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def fresh_file(path: Path) -> Path:
    """Return where a file is written before `put`; what lies there is removed, a link too."""
    fresh = _fresh(path)
    fresh.unlink(missing_ok=True)
    return fresh


def put(fresh: Path, path: Path) -> None:
    """Give a complete file its name, in place of what had it, once it is on the disk."""
    sync(fresh)
    os.replace(fresh, path)
    sync(path.parent)


def link(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, one that must be free; where that cannot be, copy it."""
    try:
        os.link(source, target)
    except OSError:
        with written(Path(target)) as fresh:
            shutil.copy2(source, fresh)
    else:
        sync(Path(target).parent)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing; their names are on the disk before this returns."""
    missing = list(takewhile(lambda place: not place.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync(made.parent)


def begin(folder: Path) -> Path:
    """Return an empty folder beside `folder`, to be filled and then given to `replace`."""
    recover(folder)
    fresh = _fresh(folder)
    _discard(fresh)
    make_folder(folder.parent)
    fresh.mkdir()
    return fresh


def replace(fresh: Path, folder: Path, *, sealed: bool = False) -> None:
    """Rename the complete folder `fresh` to `folder`, in place of what is there.

    All of it is on the disk by then. A kill between the two renames leaves what was there under
    another name; `recover` brings it back.

    Args:
        sealed: let it carry the sums of its files, see `sums.fault_of_sealed`.
    """
    try:
        if sealed:
            seal(fresh)
        sync_all(fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # where the disk is full its room is needed
        raise
    recover(folder)
    earlier = _earlier(folder)
    _discard(earlier)
    if folder.exists():
        folder.rename(earlier)
    fresh.rename(folder)
    sync(folder.parent)
    _discard(earlier)


def sync_all(folder: Path) -> None:
    """Let all files and folders below a folder, and itself, be on the disk."""
    for place in folder.rglob("*"):
        if not place.is_symlink():
            with suppress(FileNotFoundError):  # a tracker may take away a file of its own
                sync(place)
    sync(folder)


def sync(place: Path) -> None:
    """Let what a file holds, or the names in a folder, be on the disk before this returns."""
    is_folder = place.is_dir()
    if is_folder and os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(place, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems of networks know no such call for folders.
        if not (is_folder and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def recover(folder: Path) -> None:
    """Bring back the folder that a killed `replace` had already moved out of the way."""
    earlier = _earlier(folder)
    if earlier.exists() and not folder.exists():
        earlier.rename(folder)


def remove(folder: Path) -> None:
    """Remove a folder, and what a killed `begin` or `replace` left beside it."""
    for place in names(folder):
        _discard(place)


def names(place: Path) -> list[Path]:
    """Return the places that change when one is written, replaced or removed; it is the last."""
    return [_fresh(place), _earlier(place), place]


def is_passing(name: str) -> bool:
    """Whether a file or folder of this name is one that is being written, replaced or deleted."""
    return name.startswith((FRESH, EARLIER, REMOVED))


def sweep_up(parent: Path) -> None:
    """Delete what killed removals of folders in `parent` left."""
    for leftover in parent.glob(f"{REMOVED}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _fresh(place: Path) -> Path:
    return place.with_name(f"{FRESH}{place.name}")


def _earlier(folder: Path) -> Path:
    return folder.with_name(f"{EARLIER}{folder.name}")


def _discard(place: Path) -> None:
    """Remove a folder by renaming it away first; of a link, the link alone."""
    removed = place.with_name(f"{REMOVED}{place.name}")
    shutil.rmtree(removed, ignore_errors=True)
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.exists():
        place.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)
