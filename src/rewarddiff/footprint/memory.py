"""The peak memory of one process while it trains or reads: pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rewarddiff.footprint import fitted
from rewarddiff.footprint.fitted import DECODER, ENCODER, HELD_IN_BF16, Kept
from rewarddiff.footprint.shapes import Shape
from rewarddiff.forward.logprobs import are_kept, chunk_size
from rewarddiff.loop.optimizers import state_bytes

HELD = {"fp32": 4.0, "bf16": 2.0, "bf16-master": 2.0}
"""Bytes of a trained weight, and of its gradient, by `train.weights`."""


@dataclass(frozen=True)
class Pass:
    """One forward pass.

    Attributes:
        tokens: that it reads. predicted: those whose logits are computed.
        attended: pairs attended to.
    """

    tokens: float
    predicted: float = 0.0
    attended: float = 0.0


@dataclass(frozen=True)
class Way:
    """How a model is trained.

    Attributes:
        precision: bf16 or fp32.
        weights, optimizer: as in the configuration of training.
        adapters: weights of low-rank adapters, and rank: theirs; None: all weights are trained.
        bits: that a base under adapters is held in; None: those of the precision.
        checkpointing: layers are computed again in the backward pass.
        device: cpu or cuda.
        divided: over how many processes weights, gradients and moments are divided.
    """

    precision: str = "bf16"
    weights: str = "fp32"
    optimizer: str = "adamw"
    adapters: int | None = None
    rank: int = 0
    bits: int | None = None
    checkpointing: bool = False
    device: str = "cpu"
    divided: int = 1


@dataclass(frozen=True)
class Memory:
    """What the peak is made of, bytes.

    Attributes:
        weights: with their copies in bf16 while they are computed with.
        gradients, moments: of what is trained; AdamW has two moments in float32, and beside them a
            copy of the weights where they are held in bf16-master.
        activations: kept for the backward pass.
        logits: of one chunk of response tokens, with its gradients, and those that are kept.
        beside: what the allocator holds, and kernels work in.
    """

    weights: float
    gradients: float = 0.0
    moments: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    beside: float = 0.0

    @property
    def parts(self) -> dict[str, float]:
        """What it is made of, by name."""
        return {
            "weights": self.weights,
            "gradients": self.gradients,
            "moments": self.moments,
            "activations": self.activations,
            "logits": self.logits,
            "beside": self.beside,
        }

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.parts.values())


def training(shape: Shape, one: Pass, way: Way, *, passes: float = 2.0) -> Memory:
    """Return the peak of training: at the end of a forward pass, with the gradients of earlier ones.

    Where a step is one pass, gradients come as activations go, and only what is more of them counts.

    With all weights: 4 bytes a weight, 4 its gradient, 8 its moments, and in bf16 2 for the copy that is
    multiplied with. Weights held in bf16 take 2, their gradients 2, and there is no copy. Under adapters
    only these have gradients and moments, and the base is held in the precision of training.

    Args:
        passes: forward passes in a step.

    Source: Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1 (there weights and gradients are in 16
    bits); activations after Korthikanti et al. 2022, arXiv 2205.05198, section 4.1, with bytes counted in
    today's code; divided as FSDP does (Zhao et al. 2023, arXiv 2304.11277).
    """
    in_bf16 = way.precision == "bf16"
    held = HELD[way.weights]
    if way.adapters is None:
        trained = float(shape.weights)
        weights = held * shape.weights / way.divided
        is_copied = in_bf16 and way.weights == "fp32"
        copies = 2.0 * (shape.products + _head_of(shape, one)) if is_copied else 0.0
        if way.divided > 1:
            copies = 6.0 * _layer(shape)  # one layer is whole at a time
        weights += copies
    else:
        trained = float(way.adapters)
        a_weight = (way.bits or (16 if in_bf16 else 32)) / 8
        weights = (a_weight * shape.weights + 6.0 * way.adapters) / way.divided
    kept = activations(shape, one, way)
    logits = of_logits(shape, one, way) + logits_kept(shape, one, way)
    gradients = held * trained / way.divided
    if passes < 1.5:
        gradients = max(0.0, gradients - kept)
    return Memory(
        weights=weights,
        gradients=gradients,
        moments=moments(shape, trained, way),
        activations=kept,
        logits=logits,
        beside=_beside(shape, kept, way),
    )


def evaluating(shape: Shape, one: Pass, way: Way) -> Memory:
    """Return the peak of reading in the midst of a training: weights and moments stay, one layer is kept."""
    state = training(shape, one, way)
    layer = activations(shape, one, replace(way, checkpointing=False)) / shape.layers
    return replace(
        state,
        gradients=0.0,
        activations=layer,
        logits=of_logits(shape, one, way) / 2,  # without gradients
        beside=_beside(shape, layer, way),
    )


def moments(shape: Shape, trained: float, way: Way) -> float:
    """Return the bytes that the optimizer keeps; paged ones leave a GPU when it is short of memory."""
    if way.optimizer.startswith("paged"):
        return 0.0
    whole = 0.0  # weights whose moments are not quantised
    if way.optimizer.endswith("8bit") and way.adapters is None:
        whole = float(shape.vocabulary * shape.hidden)
    quantised = state_bytes(way.optimizer, way.weights) * (trained - whole)
    return (quantised + 8.0 * whole) / way.divided


def reading(shape: Shape, one: Pass, *, device: str) -> Memory:
    """Return the peak of reading in float32: the weights, and what one layer and one chunk of logits take."""
    way = Way("fp32", device=device)
    logits = of_logits(shape, one, way) / 2  # without gradients
    beside = fitted.CPU_BESIDE if device == "cpu" else fitted.GPU_BESIDE
    return Memory(
        weights=4.0 * shape.weights,
        activations=held_in_reading(shape, one.tokens),
        logits=logits,
        beside=beside,
    )


def held_in_reading(shape: Shape, tokens: float) -> float:
    """Return the bytes that one layer takes while so many tokens are read at once, and nothing is learned."""
    around_attention = fitted.READ_OUTSIDE * shape.hidden
    around_wide_layer = 2.0 * shape.hidden + fitted.READ_INSIDE * shape.intermediate
    return 4.0 * max(around_attention, around_wide_layer) * tokens


def activations(shape: Shape, one: Pass, way: Way) -> float:
    """Return the bytes that a forward pass keeps; of checkpointed layers the input, and one layer whole."""
    kept = _kept(shape, way)
    a_token = (
        kept.hidden * shape.hidden
        + kept.intermediate * shape.intermediate
        + kept.keys * shape.keys
        + kept.rank * way.rank
    )
    layer = a_token * one.tokens + kept.scores * shape.heads * one.attended
    outside = kept.outside * shape.hidden * one.tokens
    if not way.checkpointing:
        return layer * shape.layers + outside
    in_bf16 = way.weights != "fp32" or (way.adapters is not None and way.precision == "bf16")
    a_state = 2.0 if in_bf16 else 4.0
    return layer + a_state * shape.hidden * one.tokens * shape.layers + outside


def of_logits(shape: Shape, one: Pass, way: Way) -> float:
    """Return the bytes of a chunk's logits, their softmax and their gradients, and of the head's gradient."""
    if not one.predicted:
        return 0.0
    tokens = min(one.predicted, chunk_size(way.device, shape.vocabulary))
    a_logit = fitted.LOGITS[way.precision] if way.device == "cpu" else fitted.GPU_LOGITS
    logits = a_logit * tokens * shape.vocabulary
    if way.adapters is None:
        logits += fitted.HEAD * shape.head / way.divided
    return logits


def logits_kept(shape: Shape, one: Pass, way: Way) -> float:
    """Return the bytes of logits that a forward pass keeps; 0 where they are computed again."""
    bytes_of_each = 2 if way.precision == "bf16" else 4
    logits = one.predicted * shape.vocabulary
    return bytes_of_each * logits if are_kept(way.device, logits, bytes_of_each) else 0.0


def _kept(shape: Shape, way: Way) -> Kept:
    if not shape.encoder and way.weights != "fp32":
        return HELD_IN_BF16
    if not shape.encoder:
        return DECODER[way.precision, way.adapters is not None]
    if way.device == "cpu":
        return ENCODER[way.precision]
    return ENCODER[way.precision]._replace(scores=0)  # one kernel, which keeps no scores


def _head_of(shape: Shape, one: Pass) -> int:
    return shape.head if one.predicted else 0


def _layer(shape: Shape) -> float:
    return shape.products / shape.layers


def _beside(shape: Shape, kept: float, way: Way) -> float:
    """Return what is held beside tensors: on a CPU freed blocks between others, on a GPU its context."""
    if way.device == "cpu":
        scattered = fitted.ENCODER_SCATTERED
        if not shape.encoder:
            scattered = fitted.CPU_SCATTERED[way.precision, way.adapters is not None]
        return fitted.CPU_BESIDE + scattered * kept
    return fitted.GPU_BESIDE + fitted.GPU_SCATTERED * kept
