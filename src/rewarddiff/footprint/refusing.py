"""Refusing a text that there is no memory to read, where the kernel would end the process instead."""

from __future__ import annotations

import os

from rewarddiff import machine
from rewarddiff.errors import UserError
from rewarddiff.footprint.free import free_memory
from rewarddiff.footprint.memory import held_in_reading
from rewarddiff.footprint.shapes import Shape

CLEARLY = 1.25
"""How many times the free memory a peak is planned at where it is refused: plans are 20 % off at most, as
far as they were measured."""

SWITCH = "REWARDDIFF_MEMORY"
"""The environment variable that, set to `ignore`, lets work start whatever is planned."""

LOOKED_AT = 2**28
"""Bytes below which a text is read without a look at what is free, which takes a millisecond or two."""


def require_room(shape: Shape, tokens: int, row: str, reader: str) -> None:
    """Do what `refusal` does before a text is read, with the weights in memory. Raises UserError."""
    told = refusal(shape, tokens, row, reader)
    if told:
        raise UserError(told)


def refusal(shape: Shape, tokens: int, row: str, reader: str) -> str:
    """Return why a text has no room whose reading on a CPU is planned to take clearly more than what is free.

    Empty where it has. What this process has freed is given back before it is refused. The line names the
    row, its tokens, what they take, what there is, and what would need less.

    Args:
        tokens: that are read at once.
        row: where it stands. reader: who reads it; both for people.
    """
    needed = held_in_reading(shape, tokens)
    if needed < LOOKED_AT or os.environ.get(SWITCH) == "ignore" or _has_room(needed):
        return ""
    machine.release_memory()
    if _has_room(needed):
        return ""
    free = free_memory() or 0.0
    fitting = tokens * free / needed
    return (
        f"{row}: {reader} reads {tokens:,} tokens of it at once, which is planned to take {gib(needed)} GiB, "
        f"and {gib(free)} GiB are free on {machine.processor()}; cut it to about {fitting:,.0f} tokens, leave "
        f"the row out, or set {SWITCH}=ignore to try anyway"
    )


def _has_room(needed: float) -> bool:
    free = free_memory()
    return free is None or needed <= CLEARLY * free


def gib(size: float) -> str:
    """Return bytes as GiB.

    >>> gib(2**30)
    '1.0'
    """
    return f"{size / 2**30:,.1f}"
