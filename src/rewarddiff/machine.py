"""What a stage costs on this machine: seconds, tokens, peak memory of the process and of its
GPU."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Meter:
    """Measures a `with` block. Add tokens as they are processed; read `cost()` inside or after.

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
        self._start, self._stop = time.perf_counter(), None
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of this block until now or its end, and of the earlier parts of the work."""
        earlier: float = self._earlier.get("seconds", 0.0)
        return earlier + (self._stop or time.perf_counter()) - self._start

    def so_far(self) -> dict[str, float | int | None]:
        """What the work has cost until now, ready for JSON."""
        cuda = _cuda()
        return {
            "seconds": self.seconds,
            "tokens": self.tokens,
            "peak_memory_bytes": self._peak("peak_memory_bytes", peak_memory()),
            "peak_gpu_memory_bytes": self._peak(
                "peak_gpu_memory_bytes", cuda.max_memory_allocated() if cuda else None
            ),
        }

    def go_on(self, earlier: Mapping[str, Any]) -> None:
        """Count from what the interrupted part of the work had cost, as its `so_far` said."""
        self._earlier = dict(earlier)
        self.tokens = int(earlier["tokens"])

    def cost(self) -> dict[str, float | int | None]:
        so_far = self.so_far()
        speed = self.tokens / self.seconds if self.tokens else None
        return {**so_far, "tokens": self.tokens or None, "tokens_per_second": speed}

    def _peak(self, name: str, now: int | None) -> int | None:
        """The highest of this block and of the earlier parts."""
        peaks = [peak for peak in (now, self._earlier.get(name)) if peak is not None]
        return max(peaks, default=None)


def release_memory() -> None:
    """Collect garbage and give freed memory back to the system, so that one stage's peak is not the
    next one's."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc only


def reset_peak_memory() -> None:
    """Start a new peak; where the system does not allow it, peaks are those of the whole
    process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if cuda := _cuda():
        cuda.reset_peak_memory_stats()


def _cuda() -> Any:
    """torch.cuda where this process has used a GPU; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def peak_memory() -> int | None:
    """Highest resident memory since the last reset, bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        unit = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def describe() -> dict[str, Any]:
    """Processor, cores, memory and the versions results depend on."""
    from importlib.metadata import PackageNotFoundError, version

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    packages = {
        name: installed(name) for name in ("rewarddiff", "torch", "transformers", "accelerate")
    }
    gpu = {"gpu": cuda.get_device_name(0)} if (cuda := _cuda()) else {}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        **gpu,
        "python": platform.python_version(),
        **packages,
    }
