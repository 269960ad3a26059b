"""Numbers on their way from the host to a device, and how fast it multiplies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device; a GPU copies it behind its other work.

    A copy from ordinary memory would wait until the GPU has done all it was asked for before.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def on_device(values: Sequence[Any], *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers of the host as a tensor on a device; see `to_device`."""
    return to_device(torch.tensor(values, dtype=dtype), device)


def precision_of_products(tensor: Tensor) -> torch.dtype:
    """Return the dtype in which torch multiplies such a tensor here: autocast's, or its own."""
    device = tensor.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return tensor.dtype


def matmul_rate(
    dtype: torch.dtype, device: str, *, size: int = 1024, seconds: float = 0.5
) -> float:
    """Return the FLOP/s of a square matrix product: 2·size³ over the shortest time in so many seconds."""
    a = torch.randn(size, size).to(device, dtype)
    b = torch.randn(size, size).to(device, dtype)
    shortest = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        shortest = min(shortest, time.perf_counter() - start)
    return 2 * size**3 / shortest
