"""The parts of the benchmark, in the order in which they run: what matters most comes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

POLICIES = ("dpo", "rrhf")
WAYS = ("dpo-packed", "dpo-blocks", "dpo-compiled")
"""Other ways of DPO, of the largest model alone."""
SCORERS = ("reward", "difference-last", "difference-segments")
KERNELS = ("matmul", "attention", "logits")
TRL = ("trl-dpo", "trl-reward")
FLASH_PREF = ("flash-pref-dpo",)

SIDES = {
    **dict.fromkeys((*KERNELS, *POLICIES, *WAYS, *SCORERS), "ours"),
    **dict.fromkeys(TRL, "trl"),
    **dict.fromkeys(FLASH_PREF, "flash-pref"),
}
"""Whose part it is. Neighbouring parts of one side share a process."""

PACKAGES = {"trl": "trl", "flash-pref": "flash_pref"}
"""What has to be installed for a peer's parts."""

LIMITS = {"8b": 100.0, "1b": 45.0, "135m": 40.0, "tiny": 120.0}
"""Seconds that a part may take, loading and compiling included. A CPU may be busy with other things."""


@dataclass(frozen=True)
class Part:
    size: str
    task: str

    @property
    def name(self) -> str:
        return f"{self.size}/{self.task}"

    @property
    def side(self) -> str:
        return SIDES[self.task]

    @property
    def limit(self) -> float:
        return LIMITS[self.size]


def all_parts(sizes: Sequence[str]) -> list[Part]:
    """Return every part of these sizes, the first of which is the largest model.

    The rate of matrix products comes first, since all others are held against it.
    """
    largest, *smaller = sizes
    parts = [Part(largest, "matmul")]
    parts += [Part(largest, task) for task in (*POLICIES, *SCORERS, *WAYS)]
    if smaller:
        parts += [Part(largest, task) for task in TRL]
    for size in smaller:
        parts += [Part(size, task) for task in (*POLICIES, *SCORERS)]
    parts += [Part(largest, task) for task in ("attention", "logits")]
    for size in smaller or sizes:
        parts += [Part(size, task) for task in TRL]
    parts += [Part(size, task) for size in sizes for task in FLASH_PREF]
    return parts
