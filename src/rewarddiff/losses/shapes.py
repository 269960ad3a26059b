"""One guard shared by the losses: a (b,) against a (b, 1) must fail, not broadcast to (b, b)."""

import torch
from torch import Tensor


def require_same_shape(**tensors: Tensor | None) -> None:
    """Raise a ValueError that names every argument and its shape unless all shapes are equal."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if tensor is not None}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes differ: {listed}")


def require(holds: bool, message: str) -> None:
    """Raise a ValueError with this message unless a condition holds."""
    if not holds:
        raise ValueError(message)


def require_mask(mask: Tensor) -> None:
    """Raise a ValueError unless a mask is boolean: numbers in its place would weigh."""
    require(mask.dtype == torch.bool, f"mask must be boolean, got {mask.dtype}")
