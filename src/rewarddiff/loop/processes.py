"""The processes that train together: Accelerate, trackers, and what one tells the others."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import LoggerType

from rewarddiff import models
from rewarddiff.errors import UserError, suggest
from rewarddiff.loop.objective import TrainConfig

Value = TypeVar("Value")


def processes() -> PartialState:
    """Return what Accelerate knows of the processes that train together."""
    return PartialState(cpu=_on_cpu())


def accelerator_for(config: TrainConfig, output: Path | None = None) -> Accelerator:
    """Return a fresh Accelerator: trainings of different precision may follow each other.

    Tracking needs an `output`: trackers that write files (tensorboard) write them to `output/logs`.
    """
    check_tracker(config.track)
    AcceleratorState._reset_state(reset_partial_state=False)
    precision = "bf16" if config.precision == "bf16" else "no"
    if config.track is None or output is None:
        return Accelerator(mixed_precision=precision, cpu=_on_cpu())
    return Accelerator(
        mixed_precision=precision,
        cpu=_on_cpu(),
        log_with=config.track,
        project_dir=str(output / "logs"),
    )


def check_tracker(name: str | None) -> None:
    """Raise a UserError unless Accelerate knows this tracker and its package is installed."""
    if name is None:
        return
    if name not in LOGGER_TYPE_TO_CLASS:
        raise UserError(f"track: there is no tracker '{name}'{suggest(name, LOGGER_TYPE_TO_CLASS)}")
    if name in LoggerType.list() and name not in map(str, get_available_trackers()):
        raise UserError(f"track: {name} is not installed; install it, or leave track out")


def own_share(count: int) -> range:
    """Return which of `count` things are this process's: all have as many, but for one."""
    state = PartialState()
    return range(state.process_index, count, state.num_processes)


def from_every_process(value: Value) -> list[Value]:
    """Return the value that every process has, in order; all have to call this together."""
    state = PartialState()
    if state.num_processes == 1:
        return [value]
    values: list[Value] = [value] * state.num_processes
    torch.distributed.all_gather_object(values, value)
    return values


def done_by_every_process(work: Callable[[], Value]) -> list[Value]:
    """Return what `work` gives in every process, in order; where it fails in one, it fails in all.

    None waits for one that has failed, and the one that writes checkpoints can do so.

    Raises:
        UserError: `work` has failed in another process; in the one where it has, its own error.
    """
    if PartialState().num_processes == 1:
        return [work()]
    failure: Exception | None = None
    done: list[Value] = []
    try:
        done.append(work())
    except Exception as error:
        failure = error
    failures = from_every_process("" if failure is None else str(failure) or repr(failure))
    if failure is not None:
        raise failure
    for process, message in enumerate(failures):
        if message:
            raise UserError(f"{message} (in process {process})")
    return from_every_process(done[0])


def _close_group() -> None:
    """Close the group of processes before the interpreter ends.

    Gloo's threads outlive an open group and may abort a process that has done all its work
    (status -6, "terminate called without an active exception"; pytorch/pytorch#179291). Groups of
    other backends stay open: closing NCCL's waits for the others, who may have failed.
    """
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return
    if distributed.get_backend() == "gloo":
        distributed.destroy_process_group()


atexit.register(_close_group)


def _on_cpu() -> bool:
    # Accelerate has to be told: processes without a GPU would not find each other.
    return models.device().type == "cpu"
