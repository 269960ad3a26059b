"""A module whose weights, gradients and moments are divided over the processes: FSDP2 of torch.

Each layer is whole only while it computes. So every process makes as many passes as the others, one that has
nothing left to read too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers.modeling_layers import GradientCheckpointingLayer

from rewarddiff.processes import processes


def divided(module: nn.Module) -> nn.Module:
    """Return a copy of a module, divided by the layer; what is outside of layers is one more part."""
    state = processes()
    mesh = init_device_mesh(state.device.type, (state.num_processes,))
    copied = copy.deepcopy(module.to("cpu"))
    for part in list(copied.modules()):
        if isinstance(part, GradientCheckpointingLayer):
            fully_shard(part, mesh=mesh)  # which moves it to the device
    fully_shard(copied, mesh=mesh)
    return copied


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
    yield
    for part in _parts(module):
        part.reshard()


def _parts(module: nn.Module) -> list[FSDPModule]:
    """Return what is divided by itself; of an undivided module nothing."""
    return [part for part in module.modules() if isinstance(part, FSDPModule)]


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor that may be divided; then all processes have to call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def is_divided(tensor: Tensor) -> bool:
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
