"""Checkpoints: safetensors and JSON, written beside the old one and swapped in by one rename.

Where weights are divided over processes each writes its rows. Any number of processes reads them again.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from rewarddiff import files, sums
from rewarddiff.differing import differing
from rewarddiff.errors import UserError
from rewarddiff.loop import parts
from rewarddiff.loop.contents import untold
from rewarddiff.loop.parts import Parts
from rewarddiff.processes import done_by_every_process, once, rank

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"
"""The folder of the checkpoint in a training's output."""

MODEL = "model"
OPTIMIZER = "optimizer"
STATE = "state.json"

NAMED = {
    "data": "other rows",
    "dev": "other rows of the dev set",
    "start": "other weights or another model to start from",
    "code": "other code",
    "rewards": "other rewards",
    "reading": "another tokenizer, chat template or limit of lengths",
}
"""What is said of an identity where only hashes can be compared."""


def save(folder: Path, module: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Write what training changes, the optimizer and `state`.

    What is in `folder` is replaced once all is on disk.
    """
    fresh = files.begin(folder)
    with _removed_on_failure(fresh):
        scalars = _write(fresh, module, optimizer)
        (fresh / STATE).write_text(json.dumps({**state, "optimizer": scalars}))
    files.replace(fresh, folder, sealed=True)


def save_divided(
    folder: Path, module: nn.Module, optimizer: Optimizer, state: dict[str, Any]
) -> None:
    """Write what `save` does of a divided module; all processes do so together."""
    fresh = once(lambda: files.begin(folder))
    number = rank()
    try:
        scalars, *_ = done_by_every_process(lambda: _write(fresh, module, optimizer, number))
    except Exception:
        once(lambda: shutil.rmtree(fresh, ignore_errors=True))
        raise

    def completed() -> None:
        with _removed_on_failure(fresh):
            (fresh / STATE).write_text(json.dumps({**state, "optimizer": scalars}))
        files.replace(fresh, folder, sealed=True)

    once(completed)


def _write(
    folder: Path, module: nn.Module, optimizer: Optimizer, own: int | None = None
) -> dict[str, Any]:
    """Write weights and moments, of a divided module those of process `own`; return what is no tensor."""
    parts.write(folder, MODEL, _changing(module), own)
    moments, scalars = _flatten(optimizer.state_dict()["state"])
    parts.write(folder, OPTIMIZER, moments, own)
    return scalars


@contextmanager
def _removed_on_failure(fresh: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # where the disk is full its room is needed
        raise


def load(
    folder: Path, module: nn.Module, optimizer: Optimizer, identity: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Load what `save` wrote and return its state; None where there is nothing.

    Raises:
        UserError: the checkpoint is of another training, or cannot be read.
    """
    files.recover(folder)
    if not (folder / STATE).exists():
        return None
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text())
        cannot_tell = untold([state["identity"], identity])
        if cannot_tell:
            raise UserError(
                f"{folder}: cannot tell whether {cannot_tell} holds what it held when the checkpoint was "
                "written; remove the checkpoint, or choose another output. For another time: a "
                "`__getstate__` of the object that holds it may give what decides results instead"
            )
        others = differing(state["identity"], identity, NAMED)
        if others:
            raise UserError(
                f"{folder}: the checkpoint is of another training ({others}); "
                "remove it, or choose another output"
            )
        with torch.no_grad(), Parts(folder, MODEL) as weights:
            for name, tensor in _changing(module).items():
                weights.fill(name, tensor)
        with torch.no_grad(), Parts(folder, OPTIMIZER) as moments:
            tensors = _moments(moments, optimizer)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(
            f"{folder}: the checkpoint cannot be read ({error}); remove it to start anew"
        ) from error
    current = optimizer.state_dict()
    current["state"] = _unflatten(tensors, state.pop("optimizer"))
    optimizer.load_state_dict(current)
    return state


def is_damaged(folder: Path) -> bool:
    """Tell whether a checkpoint is not as `save` wrote it; a warning names the file.

    Where a kill has left the one before beside it, and that is whole, it takes the place of a damaged one.
    """
    files.recover(folder)
    fault = sums.fault_of_sealed(folder) if folder.exists() else ""
    if not fault:
        return False
    _, earlier, _ = files.names(folder)
    if earlier.exists() and not sums.fault_of_sealed(earlier):
        logger.warning("%s: %s: going on from the checkpoint before it", folder, fault)
        shutil.rmtree(folder)
        files.recover(folder)
        return False
    logger.warning("%s: %s: starting anew, without this checkpoint", folder, fault)
    return True


def holds_checkpoint(output: Path) -> bool:
    """Tell whether a training was begun in a folder, whatever else is lost: nobody else writes such a folder."""
    return (output / CHECKPOINT / sums.SUMS).exists()


def discard_checkpoint(output: Path) -> None:
    """Remove what an interrupted training would go on from, or what a kill has left of it: what it trained is saved.

    A folder of this name without sums is somebody else's, and stays.
    """
    place = output / CHECKPOINT
    if holds_checkpoint(output) or not place.exists():
        files.remove(place)


def _moments(kept: Parts, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's tensors: those with a row for each of their weight's divided as it is."""
    trained = list(chain.from_iterable(group["params"] for group in optimizer.param_groups))
    tensors = {}
    for key in sorted(kept.keys()):
        weight = trained[int(key.partition(".")[0])]
        # What has another shape belongs to the whole weight: a count of steps, a scale of numbers.
        if weight.dim() and kept.shape(key) == weight.shape:
            tensors[key] = torch.zeros_like(weight, dtype=kept.dtype(key))
            kept.fill(key, tensors[key])
        else:
            tensors[key] = kept.tensor(key)
    return tensors


def size(module: nn.Module, a_weight: float) -> float:
    """Return the bytes of a checkpoint: what training changes, and what the optimizer keeps of it.

    Args:
        a_weight: bytes that the optimizer keeps of each weight.
    """
    weights = sum(tensor.nbytes for tensor in _changing(module).values())
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return weights + a_weight * trained


def _changing(module: nn.Module) -> dict[str, Tensor]:
    """Return what training changes: trained weights, shared ones once, and the model's buffers."""
    changing = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    persistent = module.state_dict(keep_vars=True).keys()
    for name, buffer in module.named_buffers():
        if name in persistent:
            changing[name] = buffer
    return changing


def _flatten(state: dict[int, dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the other values of an optimizer's state, under `WEIGHT.NAME`.

    bitsandbytes puts its own into a dictionary more: `WEIGHT.DICTIONARY.NAME`.
    """
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, values in state.items():
        for name, value in _leaves(values):
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    return tensors, scalars


def _leaves(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            for inner, leaf in _leaves(value):
                yield f"{name}.{inner}", leaf
        else:
            yield name, value


def _unflatten(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **scalars}.items():
        index, *outer, name = key.split(".")
        values = state.setdefault(int(index), {})
        for part in outer:
            values = values.setdefault(part, {})
        values[name] = value
    return state
