"""A disk that runs full at any point of a command: one line, nothing broken, and it goes on once there is room.

    python tests/faults/disk.py 33         # so many sizes of a small disk, for a whole run
    python tests/faults/disk.py ops 120    # so many single operations on files that find no room
    python tests/faults/disk.py 8 score,weigh    # of these commands alone, so many sizes each

The small disks are real ones (tmpfs), which takes the rights of root. Each size lets a command fail where its
disk is full; then the disk is made larger, and the same command has to end with the results of one that had
room from the beginning. The line has to name the path and the bytes; every stage, checkpoint and model that was
complete has to be there as it was written. Where no small disk can be mounted nothing is tried, and the status
is 77.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import compare
import operations
import tiny
from commands import Command, commands
from operations import Operation
from safetensors import SafetensorError
from tally import Tally

from rewarddiff import files, sums
from rewarddiff.errors import UserError
from rewarddiff.loop.checkpoint import CHECKPOINT
from rewarddiff.pipeline.stage import Stage

LARGE = 64 << 20
"""Bytes of a disk that has room for all."""

SKIPPED = 77
"""The status that says that nothing could be tried."""

LINE = re.compile(
    r"^(?P<path>\S+): cannot be written \(No space left on device: "
    r"((?P<size>[\d,]+) bytes to write, [\d,]+ free|[\d,]+ bytes free)\); "
    r"free some space, or choose another output$"
)

GOOD = ("one line, then equal", "it had room", "it did without, and is equal")


# --- small disks ----------------------------------------------------------------------------------------------------


def obstacle() -> str:
    """Return why no small disk can be made here; "" where one can."""
    if not hasattr(os, "geteuid") or os.geteuid() or not shutil.which("mount"):
        return "small disks are mounted, which takes the rights of root on Linux"
    with tempfile.TemporaryDirectory() as place:
        try:
            with small_disk(Path(place), 1 << 20):
                return ""
        except subprocess.CalledProcessError as error:
            return f"no small disk can be mounted here ({error})"


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """Let a folder be a disk of so many bytes."""
    place.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    subprocess.run(["mount", *options], check=True, capture_output=True)
    try:
        yield
    finally:
        # Lazily: files of it may still be mapped.
        subprocess.run(["umount", "-l", str(place)], check=True)


def grow(place: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,size={LARGE}", str(place)], check=True)


def used(place: Path) -> int:
    return shutil.disk_usage(place).used


# --- commands -------------------------------------------------------------------------------------------------------

TRIED = ("run", "sweep", "score", "score to Parquet", "weigh", "augment", "baseline", "eval")


def tried_on(models: tiny.Models, place: Path) -> dict[str, Command]:
    """Return the commands that are tried, with one scorer and one policy."""
    scorers = tiny.scorers(models, kinds=["reward"])
    policies = {"dpo": tiny.policy(source="reward")}
    recipe = tiny.recipe(models, place / "o", scorers=scorers, policies=policies)
    every = commands(models, place, recipe, pairs=120, few=6)
    return {name: every[name] for name in TRIED}


def failure(command: Command, place: Path) -> Exception | None:
    """Run a command; return what it fails with."""
    try:
        with redirect_stdout(io.StringIO()):
            command.carry_out(place)
    except Exception as error:
        return error
    return None


# --- what came of it --------------------------------------------------------------------------------------------------


def on_a_disk_of(size: int, command: Command, whole: Any, place: Path) -> tuple[str, str]:
    """Run a command on a small disk, and again on the same when it has grown.

    Returns:
        One of `GOOD`, or what is wrong; and the line.
    """
    with small_disk(place, size):
        with completed() as held:
            error = failure(command, place)
        if error is None:
            return compare.fault(whole, command.made(place)) or "it had room", ""
        fault = wrong_line(error, place) or lost(held) or damaged(place)
        if fault:
            return fault, f"{type(error).__name__}: {error}"
        grow(place)
        return after(command, whole, place), str(error)


def after(command: Command, whole: Any, place: Path) -> str:
    """Run a command again, and compare what it makes with what one made that had room."""
    error = failure(command, place)
    if error is not None:
        return f"it does not go on: {type(error).__name__}: {error}"
    return compare.fault(whole, command.made(place)) or "one line, then equal"


def wrong_line(error: Exception, place: Path) -> str:
    """Return what is wrong with what a command says of a full disk; "" where it is a good line."""
    line = LINE.match(str(error)) if isinstance(error, UserError) else None
    if line is None:
        return "another error"
    if not Path(line["path"]).is_relative_to(place):
        return "another path"
    return ""


Held = dict[Path, dict[str, str]]
"""Of folders, the hash of each file by its name there."""


@contextmanager
def completed() -> Iterator[Held]:
    """Give the folders that become complete meanwhile, with what they held when they last did."""
    replace, finished = files.replace, Stage._finished
    held: Held = {}

    def replacing(fresh: Path, folder: Path, **options: Any) -> None:
        replace(fresh, folder, **options)
        held[folder] = compare.sums(folder)

    def finishing(stage: Stage, outputs: Any) -> dict[str, Any]:
        manifest = finished(stage, outputs)
        held[stage.folder] = compare.sums(stage.folder)
        return manifest

    files.replace, Stage._finished = replacing, finishing  # type: ignore[method-assign]
    try:
        yield held
    finally:
        files.replace, Stage._finished = replace, finished  # type: ignore[method-assign]


def lost(held: Held) -> str:
    """Return which of the folders that were complete is gone, or holds something else; "" where none is.

    A checkpoint may be gone once the model that came of it is complete. A folder whose successor was about to
    take its place may have the name that `files.recover` knows, or be that successor, by its own sums.
    """
    for folder, before in held.items():
        _, *places = files.names(folder)
        is_there = any(before.items() <= compare.sums(place).items() for place in places)
        is_discarded = folder.name == CHECKPOINT and folder.with_name("model") in held
        if not is_there and not is_discarded and sums.fault_of_sealed(folder):
            return f"{folder} was complete, and is gone or holds something else"
    return ""


def damaged(place: Path) -> str:
    """Return which of the stages and checkpoints that are complete does not hold what was written."""
    for manifest in place.rglob("manifest.json"):
        content = sums.read_sealed(manifest)
        if content is None:
            return f"{manifest} is broken"
        fault = sums.fault(manifest.parent, content.get("files", {}))
        if fault:
            return f"{manifest.parent}: {fault}"
    for sealed in place.rglob(".rewarddiff-sums.json"):
        folder = sealed.parent
        if not folder.name.startswith(".rewarddiff"):
            fault = sums.fault_of_sealed(folder)
            if fault:
                return f"{folder}: {fault}"
    return ""


# --- single operations ------------------------------------------------------------------------------------------------


TAKE_ROOM = ("open", "append", "rename", "mkdir", "link", "fsync", "safetensors", "begin")
"""Operations that may find no room."""


class NoRoom:
    """Counts the operations that take room, and lets one of them find none; 0: none of them."""

    def __init__(self, place: Path, fails: int = 0) -> None:
        self.place, self.fails = place, fails
        self.count = 0
        self.what = ""

    def __call__(self, operation: Operation) -> None:
        if operation.kind not in TAKE_ROOM:
            return
        self.count += 1
        if self.count == self.fails:
            self.what = " ".join(operation)
            raise self.error(operation)

    def error(self, operation: Operation) -> Exception:
        """Return what an operation fails with where there is no room, as its library says it."""
        if operation.kind == "safetensors":
            text = "Error while serializing: I/O error: No space left on device (os error 28)"
            return SafetensorError(text)
        if operation.kind == "begin":
            return sqlite3.OperationalError("database or disk is full")
        path = str(self.place / operation.path)
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def tell_of_syncs() -> None:
    """Let it be seen when this process brings a file to the disk."""
    sync = os.fsync

    def telling(descriptor: int) -> None:
        operations.tell("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    os.fsync = telling


def at_operation(number: int, command: Command, whole: Any, place: Path) -> tuple[str, str]:
    """Let one operation of a command find no room, and run it again."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    no_room = NoRoom(place, number)
    operations.watch(place, no_room)
    with completed() as held:
        error = failure(command, place)
    operations.ignore()
    if error is None:
        fault = compare.fault(whole, command.made(place))
        return fault or "it did without, and is equal", no_room.what
    fault = wrong_line(error, place) or lost(held) or damaged(place)
    if fault:
        return fault, f"{type(error).__name__}: {error}"
    return after(command, whole, place), str(error)


# --- all of it --------------------------------------------------------------------------------------------------------


def sizes_of(most: int, count: int) -> list[int]:
    """Return sizes of disks up to what a command takes, in pages, evenly spread."""
    page = 4096
    return [max(page, int(most * k / count) // page * page) for k in range(1, count + 1)]


def main() -> None:
    arguments = sys.argv[1:]
    is_of_operations = arguments[:1] == ["ops"]
    count, *named = arguments[is_of_operations:] or ["33"]
    logging.disable(logging.CRITICAL)
    why_not = obstacle()
    if why_not and not is_of_operations:
        print(f"skipped, nothing was tried: {why_not}")
        sys.exit(SKIPPED)
    tally = Tally(GOOD)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        models = tiny.models(place)
        with redirect_stdout(io.StringIO()):
            tried = tried_on(models, place / "read")
        if named:
            tried = {name: tried[name] for name in named[0].split(",")}
        if is_of_operations:
            _operations(int(count), tried, place, tally)
        else:
            _sizes(int(count), tried, place, tally, alike=bool(named))
    tally.end()


def _sizes(
    count: int, tried: dict[str, Command], place: Path, tally: Tally, *, alike: bool
) -> None:
    disk = place / "disk"
    for name, command in tried.items():
        with small_disk(disk, LARGE):
            peak = _peak_of(command, disk)
            whole = command.made(disk)
        for size in sizes_of(peak, count if alike or name == "run" else max(3, count // 8)):
            tally.add(f"{name} on {size:,} bytes", *on_a_disk_of(size, command, whole, disk))


def _peak_of(command: Command, disk: Path) -> int:
    """Run a command on a large disk; return the most that it took there."""
    import threading

    most = [0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            with suppress(OSError):
                most[0] = max(most[0], used(disk))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    error = failure(command, disk)
    done.set()
    looking.join()
    if error is not None:
        raise error
    return max(most[0], used(disk))


def _operations(count: int, tried: dict[str, Command], place: Path, tally: Tally) -> None:
    tell_of_syncs()
    rng = random.Random(0)
    output = place / "out"
    for name, command in tried.items():
        output.mkdir(exist_ok=True)
        no_room = NoRoom(output)
        operations.watch(output, no_room)
        error = failure(command, output)
        if error is not None:
            raise error
        total = no_room.count
        operations.ignore()
        whole = command.made(output)
        chosen = sorted(rng.sample(range(1, total + 1), min(total, count // len(tried))))
        for number in chosen:
            came_of_it = at_operation(number, command, whole, output)
            tally.add(f"{name}, operation {number} of {total}", *came_of_it)
        shutil.rmtree(output, ignore_errors=True)


if __name__ == "__main__":
    main()
