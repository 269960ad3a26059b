"""What a part measures: work done a second, and memory."""

from __future__ import annotations

import gc
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks import machine
from benchmarks.gpu.shapes import Shape
from benchmarks.gpu.work import Load

PEAK = 989e12
"""FLOP/s of an H200's (and H100's) bf16 products without sparsity, as NVIDIA states them."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What training, or reading, measures.

    Attributes:
        groups: prompts in the counted steps.
        tokens: of them, each prompt once.
        seconds: of the counted steps.
        flops: the useful work in them, see `Load.flops`.
        peak_bytes: the most memory, model and optimizer included; 0 where it is not known.
        notes: what was chosen or found on the way.
    """

    groups: int
    tokens: int
    seconds: float
    flops: float
    peak_bytes: int
    notes: dict[str, Any]

    def as_json(self, matmul_rate: float | None) -> dict[str, Any]:
        rate = self.flops / self.seconds
        of_machine = None if matmul_rate is None else rate / matmul_rate
        return {
            **asdict(self),
            "groups_per_second": self.groups / self.seconds,
            "tokens_per_second": self.tokens / self.seconds,
            "mfu": rate / PEAK,
            "of_matmul_rate": of_machine,
        }


def figures(
    shape: Shape, load: Load, *, groups: int, seconds: float, per_weight: int = 6, **notes: Any
) -> Figures:
    return Figures(
        groups=groups,
        tokens=load.tokens,
        seconds=seconds,
        flops=load.flops(shape, per_weight),
        peak_bytes=peak_memory(),
        notes=notes,
    )


def wait() -> None:
    """Wait until the device has done all that it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def clock() -> float:
    """Return seconds, once the device is done."""
    wait()
    return time.perf_counter()


def reset_memory() -> None:
    """Forget what earlier parts held, and the most that they did."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        machine.reset_peak()


def peak_memory() -> int:
    """Return the most bytes held since the last reset: of the GPU, or of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return machine.memory_bytes("VmHWM")


def seconds_of(run: Any, *, repeats: int = 10, warm: int = 3) -> float:
    """Return the mean seconds of a call that is made again and again."""
    for _ in range(warm):
        run()
    start = clock()
    for _ in range(repeats):
        run()
    return (clock() - start) / repeats
