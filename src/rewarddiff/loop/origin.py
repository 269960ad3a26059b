"""A hash of what a training starts from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rewarddiff.hashing import digest
from rewarddiff.loop.sharding import whole
from rewarddiff.store import fingerprint

BLOCK = 2**24
"""Bytes of a weight that are hashed at once: several threads hash a large one."""
THREADS = 4
WHERE_NOT_HOW = ("base_model_name_or_path", "revision", "_name_or_path", "transformers_version")
"""Settings of a model or an adapter that say where it, or its base, lies; what these hold is hashed itself."""


def origin(module: nn.Module) -> str:
    """Return a hash of what training starts from: every weight, the layers, and what is set of them.

    All processes that a module is divided over call this together: it is that of the whole.
    """
    layers = repr(module).replace("FSDP", "")  # how classes of divided layers are called
    return fingerprint(digest(_weights(module)), layers, _models(module), _adapters(module))


def _weights(module: nn.Module) -> Iterator[bytes]:
    """Yield what every weight is called, and hashes of its blocks."""
    with ThreadPoolExecutor(THREADS) as threads:  # hashing lets other threads go on
        for name, parameter in module.named_parameters():
            shape = tuple(parameter.shape)
            yield f"{name} {parameter.dtype} {shape} {parameter.requires_grad}".encode()
            yield from threads.map(_hash, _blocks(whole(parameter)))


def _blocks(tensor: Tensor) -> Sequence[Tensor]:
    """Return the bytes of a tensor, block by block."""
    raw: Any = tensor.detach().flatten().view(torch.uint8)
    blocks: Sequence[Tensor] = raw.split(BLOCK)
    return blocks


def _hash(block: Tensor) -> bytes:
    return digest([block.cpu().numpy().tobytes()]).encode()


def _models(module: nn.Module) -> list[dict[str, Any]]:
    """Return the configuration of every model: some of what it says no weight and no layer shows."""
    configs: list[dict[str, Any]] = []
    for part in module.modules():
        if isinstance(part, PreTrainedModel):
            config = part.config.to_dict()
            configs.append({name: config[name] for name in config if name not in WHERE_NOT_HOW})
    return configs


def _adapters(module: nn.Module) -> dict[str, Any]:
    """Return the settings of every peft adapter by its name: no weight shows them."""
    for part in module.modules():
        configs: Any = getattr(part, "peft_config", None)
        if configs:
            return {name: _settings(config.to_dict()) for name, config in configs.items()}
    return {}


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return an adapter's settings in an order that does not change."""
    settings = {}
    for name, value in config.items():
        if name not in WHERE_NOT_HOW:
            settings[name] = sorted(value) if isinstance(value, set) else value
    return settings
