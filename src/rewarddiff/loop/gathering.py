"""A divided language model, written as transformers writes a whole one.

All processes give what they hold of one weight after another. The main one puts them into files of a
few gigabytes, so that no process ever holds more than one of these beside its own rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from rewarddiff import launch
from rewarddiff.loop.sharding import whole
from rewarddiff.processes import once
from rewarddiff.room import room_for

FILE_BYTES = 5 * 10**9
"""Bytes of weights in one file, unless one layer has more."""

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"


def write(model: PreTrainedModel, folder: Path, *, file_bytes: int | None = None) -> None:
    """Write weights and configuration into a folder that is there; all processes together.

    Raises:
        FailedElsewhere: the main process could not write; there, its own error.
    """
    weights = _weights(model)
    files = list(_files(weights, file_bytes or FILE_BYTES))
    once(lambda: _write_configuration(model, folder))
    place_of: dict[str, str] = {}
    for number, names in enumerate(files, 1):
        file = WEIGHTS
        if len(files) > 1:
            file = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        tensors = _gathered(weights, names)
        place_of |= once(partial(_write_file, model, folder / file, tensors))
    if len(files) > 1:
        total = sum(tensor.nbytes for tensor in weights.values())
        index = {"metadata": {"total_size": total}, "weight_map": place_of}
        once(lambda: (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True)))


def _weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return what is saved of a model, divided as it is; of tied weights the first."""
    left_out = set(model._keys_to_ignore_on_save or ())
    weights: dict[str, Tensor] = {}
    taken = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if name not in left_out and id(tensor) not in taken:
            weights[name] = tensor.detach()
            taken.add(id(tensor))
    return weights


def _files(weights: Mapping[str, Tensor], limit: int) -> Iterator[list[str]]:
    """Yield the names of the weights in each file; those of one layer stay together.

    Some models have weights in their files that are parts of one here, or the other way round.
    """
    layers: dict[str, list[str]] = {}
    for name in weights:
        layers.setdefault(_layer(name), []).append(name)
    file: list[str] = []
    size = 0
    for names in layers.values():
        own = sum(weights[name].nbytes for name in names)
        if file and size + own > limit:
            yield file
            file, size = [], 0
        file += names
        size += own
    yield file


def _layer(name: str) -> str:
    """Return the layer of a weight: its name up to the first number; what is in none stands alone."""
    numbered = re.match(r".*?\.\d+\.", name)
    return numbered[0] if numbered else name


def _gathered(weights: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Return weights whole in the main process, and nothing in the others, which take part."""
    tensors = {}
    for name in names:
        tensor = whole(weights[name])
        if launch.is_main():
            tensors[name] = tensor.cpu().contiguous()
    return tensors


def _write_file(model: PreTrainedModel, path: Path, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Write weights under the names they have in files, and return where each of these is."""
    named: dict[str, Tensor] = revert_weight_conversion(model, tensors)
    contiguous = {name: tensor.contiguous() for name, tensor in named.items()}
    with room_for(path, sum(tensor.nbytes for tensor in contiguous.values())):
        save_file(contiguous, path, metadata={"format": "pt"})
    return dict.fromkeys(contiguous, path.name)


def _write_configuration(model: Any, folder: Path) -> None:
    config = model.config
    config.dtype = str(model.dtype).removeprefix("torch.")
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)
