"""One guard shared by the losses: a (b,) against a (b, 1) must fail, not broadcast to (b, b)."""

from torch import Tensor


def require_same_shape(**tensors: Tensor | None) -> None:
    """Raise ValueError naming every argument and its shape unless all given tensors have one
    shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if tensor is not None}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            "shapes differ: " + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        )
