"""Which one this process is of those that a launcher (torchrun, accelerate, mpirun) has started."""

from __future__ import annotations

import os
from collections.abc import Sequence

# Those that Accelerate reads: of torchrun, and of three kinds of MPI.
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def size() -> int:
    """Return how many processes the launcher has started; 1 without one."""
    return _first_of(SIZES, 1)


def rank() -> int:
    """Return which of them this one is, from 0."""
    return _first_of(RANKS, 0) if size() > 1 else 0


def is_main() -> bool:
    """Tell whether this process is the one that writes and speaks for all."""
    return rank() == 0


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
