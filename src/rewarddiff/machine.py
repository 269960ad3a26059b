"""What a stage costs on this machine: seconds, tokens, peak memory; and what machine it is."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGES = ("rewarddiff", "torch", "transformers", "accelerate")
"""What results depend on."""


@dataclass
class Meter:
    """Measure a `with` block: add tokens as they are processed; read `cost()` inside or after.

    Work that was interrupted is measured as a whole: what `so_far` gave is handed to `go_on` when
    it goes on.
    """

    tokens: int = 0
    _earlier: Mapping[str, Any] = field(default_factory=dict)
    _start: float = field(default_factory=time.perf_counter)
    _stop: float | None = None

    def __enter__(self) -> Meter:
        release_memory()
        reset_peak_memory()
        self._start = time.perf_counter()
        self._stop = None
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of this block until now or its end, and of the earlier parts of the work."""
        earlier: float = self._earlier.get("seconds", 0.0)
        end = time.perf_counter() if self._stop is None else self._stop
        return earlier + end - self._start

    def so_far(self) -> dict[str, float | int | None]:
        """Return what the work has cost until now, ready for JSON."""
        cuda = _cuda()
        gpu_memory = cuda.max_memory_allocated() if cuda else None
        return {
            "seconds": self.seconds,
            "tokens": self.tokens,
            "peak_memory_bytes": self._peak("peak_memory_bytes", peak_memory()),
            "peak_gpu_memory_bytes": self._peak("peak_gpu_memory_bytes", gpu_memory),
        }

    def go_on(self, earlier: Mapping[str, Any]) -> None:
        """Count from what the interrupted part of the work had cost, as its `so_far` said."""
        self._earlier = dict(earlier)
        self.tokens = int(earlier["tokens"])

    def beside(self) -> dict[str, Any]:
        """Return what a store keeps of it with what the work gives: nothing, see `KeptMeter`."""
        return {}

    def cost(self) -> dict[str, float | int | None]:
        """Return what the work has cost and its speed; None for tokens where none were counted."""
        so_far = self.so_far()
        speed = self.tokens / self.seconds if self.tokens else None
        return {**so_far, "tokens": self.tokens or None, "tokens_per_second": speed}

    def _peak(self, name: str, now: int | None) -> int | None:
        """Return the highest peak of this block and of the earlier parts."""
        peaks = (now, self._earlier.get(name))
        return max((peak for peak in peaks if peak is not None), default=None)


def release_memory() -> None:
    """Give freed memory back to the system, so that one stage's peak is not the next one's."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc only


MALLOPT = {"trim threshold": -1, "mmap threshold": -3, "mmap max": -4}
"""What glibc's malloc.h calls M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_MMAP_MAX."""


@contextmanager
def freed_memory_is_kept() -> Iterator[None]:
    """Let what is freed in a `with` block serve what is asked for next (glibc only; else nothing).

    By itself malloc gives large tensors back to the system at once. The next step's are as large,
    and a page that the kernel hands out anew costs 5 to 20 µs on a virtual machine: with some
    hundred thousand pages a step, a fifth of a small model's time.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        yield  # somebody has said how
        return
    keep = {"mmap max": 0, "trim threshold": -1}
    # What malloc finds out by itself until it is told something is where these three may go to.
    usual = {"mmap max": 65_536, "mmap threshold": 32 * 2**20, "trim threshold": 64 * 2**20}
    _tell_malloc(keep)
    try:
        yield
    finally:
        _tell_malloc(usual)
        release_memory()


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Let Python look for cycles among what is made in a `with` block alone.

    Where many objects live for a while, Python looks through all there are again and again: with
    torch and transformers a million, 0.3 s each time. Where somebody has set objects apart before
    (`gc.freeze`), that is left as it is.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _tell_malloc(settings: Mapping[str, int]) -> None:
    with suppress(OSError, AttributeError):  # another system's library
        tell = ctypes.CDLL(None).mallopt
        for name, value in settings.items():
            tell(MALLOPT[name], value)


def reset_peak_memory() -> None:
    """Start a new peak; where the system allows none, peaks are those of the whole process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    cuda = _cuda()
    if cuda:
        cuda.reset_peak_memory_stats()


def _cuda() -> Any:
    """Return torch.cuda where this process has used a GPU; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def peak_memory() -> int:
    """Return the highest resident memory since the last reset, bytes."""
    peak = kernel_field("self/status", "VmHWM")
    if peak is not None:
        return int(peak.split()[0]) * 1024
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if platform.system() == "Darwin" else usage * 1024


def describe() -> dict[str, Any]:
    """Return processor, cores, GPU and the versions that results depend on."""
    about: dict[str, Any] = {"cpu": processor(), "cores": os.cpu_count()}
    cuda = _cuda()
    if cuda:
        about["gpu"] = cuda.get_device_name(0)
    about["python"] = platform.python_version()
    for package in PACKAGES:
        about[package] = installed_version(package)
    return about


def processor() -> str:
    """Return the processor's name."""
    name = kernel_field("cpuinfo", "model name")
    return name or platform.processor() or platform.machine()


def installed_version(package: str) -> str | None:
    """Return a package's version; None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def kernel_field(file: str, name: str) -> str | None:
    """Return what Linux tells in a line `name: value` of a file in /proc; None elsewhere."""
    try:
        lines = Path("/proc", file).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
