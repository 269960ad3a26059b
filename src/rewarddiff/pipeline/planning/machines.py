"""Where a recipe is to run: this machine, measured, or GPUs as their makers describe them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rewarddiff import machine
from rewarddiff.devices import matmul_rate
from rewarddiff.errors import UserError, suggest
from rewarddiff.footprint.free import free_memory

GPU_EFFICIENCY = 0.4
"""What training is taken to reach of a GPU's published rate. It is projected: no run of this package was
measured for it. The share is that of well-tuned training of language models (Chowdhery et al. 2022, arXiv
2204.02311, table 3: 21 to 46 %)."""


class Gpu(NamedTuple):
    """What a GPU's maker says of it.

    Attributes:
        memory: bytes.
        bf16: FLOP/s of dense products in bfloat16, summed in float32.
        fp32: FLOP/s in float32, without TF32.
    """

    memory: float
    bf16: float
    fp32: float


GPUS: Mapping[str, Gpu] = {
    "h100": Gpu(80e9, 989e12, 67e12),
    "h200": Gpu(141e9, 989e12, 67e12),
    "a100": Gpu(80e9, 312e12, 19.5e12),
    "l40s": Gpu(48e9, 362e12, 91.6e12),
    "rtx4090": Gpu(24e9, 165e12, 82.6e12),
}
"""By short name. Source: NVIDIA's data sheets (H100 SXM, H200 SXM, A100 80GB SXM, L40S) and its Ada
whitepaper (RTX 4090); rates with sparsity, which are twice these, are of no use here."""


@dataclass(frozen=True)
class Device:
    """What a recipe runs on.

    Attributes:
        name: for people.
        memory: bytes that are free on each device; None: not known.
        rates: FLOP/s of matrix products, by precision (bf16, fp32); none where time is not asked for.
        is_gpu: whether it is a GPU.
        count: how many there are.
        is_measured: whether the rates were measured here.
    """

    name: str
    memory: float | None
    rates: Mapping[str, float] = field(default_factory=dict)
    is_gpu: bool = False
    count: int = 1
    is_measured: bool = False


def gpus(name: str, count: int) -> Device:
    """Return GPUs of the table.

    Raises:
        UserError: there is none of this name.
    """
    if name not in GPUS:
        raise UserError(
            f"--gpu: there is no '{name}'{suggest(name, GPUS)}; there are: {', '.join(GPUS)}"
        )
    gpu = GPUS[name]
    rates = {"bf16": gpu.bf16, "fp32": gpu.fp32}
    label = name if count == 1 else f"{count} × {name}"
    return Device(label, gpu.memory, rates, is_gpu=True, count=count)


def this_machine(*, processes: int = 1, measured: bool = True) -> Device:
    """Return what recipes run on here: the GPU, where torch can use one, or the processor.

    Args:
        processes: of the launcher.
        measured: measure how fast products are, which takes a second.
    """
    import torch

    is_gpu = torch.cuda.is_available()
    device = "cuda" if is_gpu else "cpu"
    rates: dict[str, float] = {}
    if measured:
        rates = {
            "fp32": matmul_rate(torch.float32, device),
            "bf16": matmul_rate(torch.bfloat16, device),
        }
    if not is_gpu:
        free = free_memory()
        here = int(
            os.environ.get("LOCAL_WORLD_SIZE", processes)
        )  # which share this machine's memory
        room = None if free is None else free / here
        name = machine.processor()
        return Device(name, room, rates, count=processes, is_measured=measured)
    on_gpu, _ = torch.cuda.mem_get_info()
    name = torch.cuda.get_device_name(0)
    return Device(name, on_gpu, rates, is_gpu=True, count=processes, is_measured=measured)
