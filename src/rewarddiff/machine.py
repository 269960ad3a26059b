"""What a stage costs on this machine: seconds, tokens, peak memory of the process and of its GPU."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Meter:
    """Measures a `with` block. Add tokens as they are processed; read `cost()` inside or after."""

    tokens: int = 0
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
        return (self._stop or time.perf_counter()) - self._start

    def cost(self) -> dict[str, float | int | None]:
        return {
            "seconds": self.seconds,
            "tokens": self.tokens or None,
            "tokens_per_second": self.tokens / self.seconds if self.tokens else None,
            "peak_memory_bytes": peak_memory(),
            "peak_gpu_memory_bytes": cuda.max_memory_allocated() if (cuda := _cuda()) else None,
        }


def release_memory() -> None:
    """Collect garbage and give freed memory back to the system, so that one stage's peak is not the next one's."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc only


def reset_peak_memory() -> None:
    """Start a new peak; where the system does not allow it, peaks are those of the whole process."""
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
    packages = {name: installed(name) for name in ("rewarddiff", "torch", "transformers", "accelerate")}
    gpu = {"gpu": cuda.get_device_name(0)} if (cuda := _cuda()) else {}
    return {"cpu": cpu, "cores": os.cpu_count(), **gpu, "python": platform.python_version(), **packages}
