"""The coefficients of plans that were fitted on measured runs, in one place; docs/planning.md has the runs.

Memory was measured on 30 November 2026 on an Intel Xeon with AMX, time on the same day on an AMD EPYC without,
after page faults had been taken out of training (2 cores shared with other work, one thread), torch 2.13,
transformers 5, by CPU seconds beside the rates of products measured in the same process. Models were random
Llamas of 5, 26 and 135 million weights and random BERTs of 5, 33 and 109 million.
"""

from __future__ import annotations

from typing import NamedTuple


class Kept(NamedTuple):
    """Bytes that a forward pass keeps of a token for its backward pass.

    Attributes:
        hidden, intermediate, keys: for each unit of these widths, in each layer.
        scores: for each score of attention, in each layer.
        rank: for each unit of an adapter's rank, in each layer.
        outside: for each unit of the hidden width, once.
    """

    hidden: float
    intermediate: float
    keys: float
    scores: float
    rank: float
    outside: float


DECODER = {
    ("bf16", False): Kept(33, 8, 4, 0, 0, 10),
    ("fp32", False): Kept(36, 16, 8, 0, 0, 12),
    ("bf16", True): Kept(24, 8, 4, 0, 21, 2),
    ("fp32", True): Kept(27, 16, 8, 0, 39, 4),
}
"""By precision, and whether adapters are trained. From the tensors that autograd saves (torch's
saved_tensors_hooks) in Llamas of six widths, two depths; 1.5 % of them is not explained."""

HELD_IN_BF16 = Kept(22, 8, 6, 0, 0, 13)
"""The same of decoders whose weights are held in bf16, in Llamas of six widths; 0.5 % is not explained."""

ENCODER = {
    "bf16": Kept(24, 4, 0, 6, 0, 4),
    "fp32": Kept(34, 7.5, 0, 0, 0, 8),
}
"""The same of BERTs: on a CPU, attention in bf16 keeps its scores. 2 % is not explained."""

READ_OUTSIDE = 16.0
"""Float32 numbers that reading without training holds of a token around attention, for each unit of the hidden
width."""

READ_INSIDE = 4.0
"""The same around the wide layer, for each unit of it, beside two states. The larger of the two was 42 % below
(the smallest model) to 7 % above what resident memory grew by in seven random Llamas and BERTs, 256 to 1,024
wide, that read 6,000 to 16,000 tokens at once in float32; of three in bf16 23 to 48 % below (AMD EPYC, 1 December
2026)."""

LOGITS = {"bf16": 36.0, "fp32": 20.0}
"""Bytes for each logit of a chunk on a CPU, by precision: several copies in float32, their gradients, and what
is freed between them."""

GPU_LOGITS = 20.0
"""The same on a GPU: twice in bf16, four times in float32. Projected, not measured."""

HEAD = 8.0
"""Bytes for each weight of the head while its gradient is added up."""

CPU_BESIDE = 60e6
"""Bytes of kernels and libraries that are loaded when training begins."""

CPU_SCATTERED = {
    ("bf16", False): 0.4,
    ("fp32", False): 0.2,
    ("bf16", True): 0.9,
    ("fp32", True): 0.2,
}
"""What glibc's allocator holds in blocks that were freed between others, as a share of activations of
decoders; by precision, and whether adapters are trained."""

ENCODER_SCATTERED = 0.85
"""The same of encoders."""

GPU_BESIDE = 1.0e9
"""Bytes of a CUDA context and its libraries' work spaces. Projected, not measured."""

GPU_SCATTERED = 0.1
"""What torch's allocator holds in freed blocks, as a share of activations. Projected, not measured."""

CPU_EFFICIENCY = {"bf16": 0.87, "fp32": 0.91}
"""What products inside a model reach of the rate of a square one of 1024. Taken as this, not fitted."""

PER_BYTE_KEPT = {
    ("bf16", False): 32.0,
    ("fp32", False): 12.0,
    ("bf16", True): 104.0,
    ("fp32", True): 12.0,
}
"""Operations of float32 products in the time that a byte of activations takes, forward and backward, in
decoders; by precision, and whether adapters are trained."""

ENCODER_PER_BYTE_KEPT = 170.0
"""The same in encoders."""

PER_LOGIT = {"bf16": 460.0, "fp32": 150.0}
"""The same of a logit: normalised, and its gradient."""

PER_WEIGHT_UPDATED = 525.0
"""The same of a weight in a step: its copy, its gradient, and AdamW."""

PER_CALL = 1.0e9
"""The same of a layer in a forward and a backward pass, whatever it reads: its many small operations."""

READING = 0.25
"""What reading a token without training moves through memory, of what training on it does."""

READING_LOGITS = 0.3
"""The same of a logit."""
