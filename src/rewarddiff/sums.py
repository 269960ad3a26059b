"""What files held when they were written: their bytes and SHA-256, and what differs from it now.

A folder that is written as a whole carries the sums of its files in a file of its own; a JSON object
carries its own sum. Neither is a secret: they find what a disk, a copy or a hand has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

SUMS = ".rewarddiff-sums.json"
"""Written last into a folder: the sums of all its other files."""

OWN = "sha256"
"""The key under which an object holds the sum of all else in it."""

Pairs = Callable[[list[tuple[str, Any]]], dict[str, Any]]
"""Makes an object of JSON of its keys and values."""

THREADS = 4


class Sum(NamedTuple):
    """What a file holds."""

    bytes: int
    sha256: str


def of_file(path: Path) -> Sum:
    """Return the sum of a file; in one process a file that nobody wrote to is read once."""
    status = path.stat()
    version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _sum_of_version(path.resolve(), version)


@lru_cache(maxsize=4096)
def _sum_of_version(path: Path, version: tuple[int, ...]) -> Sum:
    with path.open("rb") as file:
        hashed = hashlib.file_digest(file, "sha256")
        return Sum(file.tell(), hashed.hexdigest())


def of_files(folder: Path, names: Iterable[str]) -> dict[str, Sum]:
    """Return the sum of each of a folder's files that is there, by its path there.

    What is no file, as a device, and what lies outside are not read: names may come from elsewhere.
    """

    def of_one(name: str) -> Sum | None:
        place = folder / name
        is_inside = place.is_relative_to(folder) and ".." not in place.relative_to(folder).parts
        try:
            return of_file(place) if is_inside and place.is_file() else None
        except FileNotFoundError:
            return None

    ordered = sorted(names)
    with ThreadPoolExecutor(THREADS) as threads:  # hashing lets other threads go on
        sums = threads.map(of_one, ordered)
        return {name: found for name, found in zip(ordered, sums, strict=True) if found}


def of_folder(folder: Path) -> dict[str, Sum]:
    """Return the sum of every file of a folder, by its path there."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return of_files(folder, names)


def fault(folder: Path, written: Mapping[str, Iterable[Any]]) -> str:
    """Return the first of a folder's files that is not as it was written, and how; "" where all are.

    Args:
        written: their sums by name, as JSON holds them.
    """
    found = of_files(folder, written)
    for name, as_written in written.items():
        if name not in found:
            return f"{name} is lost"
        before, now = Sum(*as_written), found[name]
        if now.bytes != before.bytes:
            return f"{name} has {now.bytes:,} bytes, and was written with {before.bytes:,}"
        if now != before:
            return f"{name} does not hold what was written to it (its SHA-256 differs)"
    return ""


def seal(folder: Path) -> None:
    """Write the sums of all files of a folder into it."""
    sealed = sealed_json(SUMS, {"files": of_folder(folder)})
    (folder / SUMS).write_text(sealed, encoding="utf-8")


def fault_of_sealed(folder: Path, name: str = SUMS) -> str:
    """Return what `fault` does, by the sums that a folder carries in a file of this name, under `files`."""
    content = read_sealed(folder / name)
    if content is None:
        return f"{name} is lost, or does not hold what was written to it"
    return fault(folder, content["files"])


def sealed_json(name: str, content: Mapping[str, Any], indent: int | None = None) -> str:
    """Return a JSON object with its own sum in it, as a file of this name holds it."""
    plain = json.loads(json.dumps(content, allow_nan=False, default=str))
    plain.pop(OWN, None)  # of what was read from such a file
    sealed = plain | {OWN: _sum_of(name, plain)}
    return json.dumps(sealed, indent=indent) + "\n"


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return the object that a file holds; None where it is lost or not as `sealed_json` gave it."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.pop(OWN, None) != _sum_of(path.name, content):
        return None
    return content


def read_json(path: Path, pairs: Pairs | None = None) -> Any:
    """Return what a file holds as JSON.

    Args:
        pairs: makes an object of its keys and values.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no JSON, or such as is nested too deeply for Python.
    """
    try:
        return json.loads(path.read_text("utf-8"), object_pairs_hook=pairs)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _sum_of(name: str, content: Mapping[str, Any]) -> str:
    text = json.dumps([name, content], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
