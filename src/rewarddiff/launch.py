"""Which one this process is of those that a launcher (torchrun, accelerate, mpirun) has started."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

logger = logging.getLogger(__name__)

# Those that Accelerate reads: of torchrun, and of three kinds of MPI.
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")

PLUGINS = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")
"""What `accelerate launch` sets where its configuration wants a module divided."""


def size() -> int:
    """Return how many processes the launcher has started; 1 without one."""
    return _first_of(SIZES, 1)


def rank() -> int:
    """Return which of them this one is, from 0."""
    return _first_of(RANKS, 0) if size() > 1 else 0


def is_main() -> bool:
    """Tell whether this process is the one that writes and speaks for all."""
    return rank() == 0


def forget_plugins() -> None:
    """Forget what `accelerate config` says of FSDP, DeepSpeed and Megatron, and say so.

    Accelerate heeds it in places, around modules that are divided here by other means: a norm of gradients
    that nobody has, weights that transformers leaves unread.
    """
    for name in PLUGINS:
        is_set = os.environ.pop(name, "").lower() in ("1", "true", "yes", "on")
        if is_set and is_main():
            logger.warning(
                "%s is set, as by `accelerate config`, and not heeded: train.sharding: fsdp divides "
                "weights, gradients and moments over the processes",
                name,
            )


def stay_alone() -> None:
    """Forget the launcher: this process works by itself from now on."""
    for name in (*RANKS, *SIZES, "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)


def _first_of(names: Sequence[str], otherwise: int) -> int:
    for name in names:
        value = os.environ.get(name, "")
        if value.isdecimal():
            return int(value)
    return otherwise
