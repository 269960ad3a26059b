"""Where a recipe is to run: this machine, measured, or GPUs as their makers describe them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rewarddiff import machine
from rewarddiff.devices import matmul_rate
from rewarddiff.doctor import memory_bytes
from rewarddiff.errors import UserError, suggest

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


def free_memory() -> float | None:
    """Return the bytes of memory that can be had: what is free, or less where a limit leaves less."""
    available = machine.kernel_field("meminfo", "MemAvailable")
    if available is None:
        return memory_bytes()
    free = 1024.0 * int(available.split()[0])
    return min(free, *_left_by_groups(), *_left_by_limit())


class GroupFiles(NamedTuple):
    """Where Linux tells what a control group may take: the first version, or the second.

    Attributes:
        root: the folder that the groups lie in. limit, used: files, in bytes.
        kept: the name in `memory.stat` of what holds files' contents, which is given up where memory is short.
    """

    root: Path
    limit: str
    used: str
    kept: str


FIRST = GroupFiles(
    Path("/sys/fs/cgroup/memory"),
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
)
SECOND = GroupFiles(Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file")


def _left_by_groups() -> Iterator[float]:
    """Yield what each control group leaves that this process is in, as containers and services have them."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        files = FIRST if controllers else SECOND
        group = files.root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(files.root):
                yield from _left_by_group(folder, files)


def _left_by_group(folder: Path, files: GroupFiles) -> Iterator[float]:
    """Yield what a group leaves of its limit; nothing where it has none, or is not to be seen from here."""
    try:
        limit = int((folder / files.limit).read_text())
        used = int((folder / files.used).read_text())
        stat = (folder / "memory.stat").read_text()
    except (OSError, ValueError):
        return
    kept = dict(line.split() for line in stat.splitlines()).get(files.kept, 0)
    yield float(limit - used + int(kept))


def _left_by_limit() -> Iterator[float]:
    """Yield what the process's own limit leaves, `ulimit -v`; nothing where it has none."""
    used = machine.kernel_field("self/status", "VmSize")
    if used is None:
        return
    import resource  # which Windows has not

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield limit - 1024.0 * int(used.split()[0])
