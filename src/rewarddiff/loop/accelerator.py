"""Accelerate as the loop uses it: precision, and trackers."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import LoggerType

from rewarddiff import launch
from rewarddiff.errors import UserError, suggest
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.optimizers import check_optimizer
from rewarddiff.processes import processes


def accelerator_for(config: TrainConfig, output: Path | None = None) -> Accelerator:
    """Return a fresh Accelerator: trainings of different precision may follow each other.

    Tracking needs an `output`: trackers that write files (tensorboard) write them to `output/logs`.
    """
    check_trainable(config)
    launch.forget_plugins()
    processes()  # which knows how long they wait for each other
    AcceleratorState._reset_state(reset_partial_state=False)
    precision = "bf16" if config.precision == "bf16" else "no"
    on_cpu = not torch.cuda.is_available()
    if config.track is None or output is None:
        return Accelerator(mixed_precision=precision, cpu=on_cpu)
    return Accelerator(
        mixed_precision=precision,
        cpu=on_cpu,
        log_with=config.track,
        project_dir=str(output / "logs"),
    )


def check_trainable(config: TrainConfig) -> None:
    """Raise a UserError where a package that the loop is to use is missing, or does not work here."""
    check_tracker(config.track)
    check_optimizer(config)


def check_tracker(name: str | None) -> None:
    """Raise a UserError unless Accelerate knows this tracker and its package is installed."""
    if name is None:
        return
    if name not in LOGGER_TYPE_TO_CLASS:
        raise UserError(f"track: there is no tracker '{name}'{suggest(name, LOGGER_TYPE_TO_CLASS)}")
    if name in LoggerType.list() and name not in map(str, get_available_trackers()):
        raise UserError(f"track: {name} is not installed; install it, or leave track out")
