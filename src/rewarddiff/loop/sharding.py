"""A module whose weights, gradients and moments are divided over the processes: FSDP2 of torch.

Each layer is whole only while it computes. So every process makes as many passes as the others, one that has
nothing left to read too. A policy is divided before its weights are read (`divide`); what is whole already, as
a model with adapters, is copied and divided (`divided`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers.modeling_layers import GradientCheckpointingLayer

from rewarddiff.forward import within
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.processes import processes

Value = TypeVar("Value")


def is_wanted(config: TrainConfig) -> bool:
    """Tell whether weights are to be divided, and there is more than one process to divide them over."""
    return config.sharding == "fsdp" and processes().num_processes > 1


def divide(module: nn.Module) -> None:
    """Divide a module by the layer, in place; what is outside of layers is one more part.

    Its weights may still be on no device (`meta`), to be filled by each process with its rows. Else they are moved
    to the device, layer by layer.
    """
    state = processes()
    mesh = init_device_mesh(state.device.type, (state.num_processes,))
    for part in list(module.modules()):
        if isinstance(part, GradientCheckpointingLayer):
            fully_shard(part, mesh=mesh)
    fully_shard(module, mesh=mesh)
    # What is outside of layers is whole in a forward pass alone. Here parts of a model are called without it.
    setattr(module, within.METHOD, _do)
    register_fsdp_forward_method(module, within.METHOD)


def _do(work: Callable[..., Value], *args: Any, **options: Any) -> Value:
    return work(*args, **options)


def divided(module: nn.Module) -> nn.Module:
    """Return a copy of a module that is divided; one that is divided already, or a part of it, itself."""
    if is_divided(module):
        return module
    copied = copy.deepcopy(module.to("cpu"))
    divide(copied)
    return copied


def is_divided(module: nn.Module) -> bool:
    """Tell whether a module, or a part of it, is divided over the processes."""
    return bool(_parts(module))


def bring_back(copied: nn.Module, module: nn.Module) -> None:
    """Give a module the weights of its divided copy; all processes do so together, a weight at a time."""
    weights = dict(copied.named_parameters())
    buffers = dict(copied.named_buffers())
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(whole(weights[name]))
        for name, buffer in module.named_buffers():
            buffer.copy_(whole(buffers[name]))
    module.to(processes().device)


@contextmanager
def read_only(module: nn.Module) -> Iterator[None]:
    """Divide a module again behind passes without a backward pass, which leave a part of it whole."""
    try:
        yield
    finally:
        for part in _parts(module):
            part.reshard()


def _parts(module: nn.Module) -> list[FSDPModule]:
    """Return what is divided by itself; of an undivided module nothing."""
    return [part for part in module.modules() if isinstance(part, FSDPModule)]


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor that may be divided; then all processes have to call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def has_parts(tensor: Tensor) -> bool:
    """Tell whether a tensor's rows are divided over the processes."""
    return isinstance(tensor, DTensor)


def own_rows(tensor: Tensor) -> tuple[Tensor, int]:
    """Return the rows that this process holds of a tensor, and the place of the first of them among all."""
    if not isinstance(tensor, DTensor):
        return tensor, 0
    _, offsets = compute_local_shape_and_global_offset(
        tensor.shape, tensor.device_mesh, tensor.placements
    )
    return tensor.to_local(), offsets[0]
