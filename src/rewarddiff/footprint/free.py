"""How much memory can be had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rewarddiff import machine


def memory_bytes() -> int | None:
    """Return the memory that may be used: the machine's, or less where a container limits it."""
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return installed
    if not limit.isdigit():  # "max", where there is none
        return installed
    return min(installed, int(limit))


def free_memory() -> float | None:
    """Return the bytes of memory that can be had: what is free, or less where a limit leaves less."""
    available = machine.kernel_field("meminfo", "MemAvailable")
    if available is None:
        return memory_bytes()
    free = 1024.0 * int(available.split()[0])
    return min(free, *_left_by_groups(), *_left_by_limit())


class GroupFiles(NamedTuple):
    """Where Linux tells what a control group may take: the first version, or the second.

    Attributes:
        root: the folder that the groups lie in. limit, used: files, in bytes.
        kept: the names in `memory.stat` of what holds files' contents, which is given up where memory is short.
            What was read twice, as weights that were hashed before they were loaded, counts as active.
    """

    root: Path
    limit: str
    used: str
    kept: tuple[str, ...]


FIRST = GroupFiles(
    Path("/sys/fs/cgroup/memory"),
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)
SECOND = GroupFiles(
    Path("/sys/fs/cgroup"), "memory.max", "memory.current", ("inactive_file", "active_file")
)


def _left_by_groups() -> Iterator[float]:
    """Yield what each control group leaves that this process is in, as containers and services have them."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        files = FIRST if controllers else SECOND
        group = files.root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(files.root):
                yield from _left_by_group(folder, files)


def _left_by_group(folder: Path, files: GroupFiles) -> Iterator[float]:
    """Yield what a group leaves of its limit; nothing where it has none, or is not to be seen from here."""
    try:
        limit = int((folder / files.limit).read_text())
        used = int((folder / files.used).read_text())
        stat = (folder / "memory.stat").read_text()
    except (OSError, ValueError):
        return
    held = dict(line.split() for line in stat.splitlines())
    kept = sum(int(held.get(name, 0)) for name in files.kept)
    yield float(limit - used + kept)


def _left_by_limit() -> Iterator[float]:
    """Yield what the process's own limit leaves, `ulimit -v`; nothing where it has none."""
    used = machine.kernel_field("self/status", "VmSize")
    if used is None:
        return
    import resource  # which Windows has not

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield limit - 1024.0 * int(used.split()[0])
