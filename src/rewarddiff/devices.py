"""Numbers on their way from the host to a device."""

from __future__ import annotations

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
