"""From work to seconds: pure functions."""

from __future__ import annotations

from rewarddiff.footprint import fitted
from rewarddiff.footprint.memory import Way
from rewarddiff.footprint.shapes import Shape
from rewarddiff.pipeline.planning.machines import GPU_EFFICIENCY, Device


def seconds(
    device: Device,
    precision: str,
    *,
    products: float,
    kept: float = 0.0,
    a_byte: float = fitted.ENCODER_PER_BYTE_KEPT,
    logits: float = 0.0,
    updated: float = 0.0,
    calls: float = 0.0,
) -> float:
    """Return how long work takes.

    On a GPU, products at a share of their published rate, everything else counted in that share. On a CPU
    products reach most of their measured rate, and the rest goes through memory: what it takes is given in
    operations of float32 products, so that a slower or a busier machine is slower in both.

    Args:
        products: operations of matrix products.
        kept: bytes of activations that are written and read; a_byte: what each takes, see `a_byte_of`.
        logits: how many are computed.
        updated: weights that the optimizer updates, times its steps. calls: layers, times passes.
    """
    if not device.rates:
        return float("nan")
    if device.is_gpu:
        return products / (GPU_EFFICIENCY * device.rates[precision] * device.count)
    rest = (
        a_byte * kept
        + fitted.PER_LOGIT[precision] * logits
        + fitted.PER_WEIGHT_UPDATED * updated
        + fitted.PER_CALL * calls
    )
    efficiency = fitted.CPU_EFFICIENCY[precision]
    return products / (efficiency * device.rates[precision]) + rest / device.rates["fp32"]


def a_byte_of(shape: Shape, way: Way) -> float:
    """Return what a byte of a model's activations takes, in operations of float32 products."""
    if shape.encoder:
        return fitted.ENCODER_PER_BYTE_KEPT
    return fitted.PER_BYTE_KEPT[way.precision, way.adapters is not None]
