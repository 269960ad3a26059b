"""How many tokens a forward pass reads: as configured, or on a GPU as many as its memory allows."""

from __future__ import annotations

import logging
from typing import Protocol

import torch

from rewarddiff.loop.objective import TrainConfig
from rewarddiff.processes import from_every_process

logger = logging.getLogger(__name__)

SHARE = 0.8
"""So much of the memory that is left a pass may be expected to take; the allocator loses some between blocks."""


class Memory(Protocol):
    """What is asked of a device's memory; all in bytes."""

    def held(self) -> int:
        """Return what tensors take now; the peak begins anew."""
        ...

    def peak(self) -> int:
        """Return the most that tensors took since `held`."""
        ...

    def left(self) -> int:
        """Return what further tensors could take."""
        ...


class GpuMemory:
    """The memory of this process's GPU, by torch's allocator."""

    def held(self) -> int:
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated()

    def left(self) -> int:
        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


class Budget:
    """The tokens of a forward pass in one training.

    With `auto` on a GPU they are doubled after a step for as long as the next pass fits (`has_room`), until a
    step is read in one pass. All processes double together.

    Args:
        memory: None: it is not looked at, and the tokens stay as they are.

    Attributes:
        tokens: of a forward pass now.
    """

    def __init__(self, config: TrainConfig, memory: Memory | None, name: str) -> None:
        self.tokens = config.pass_tokens
        self._memory = memory if config.microbatch_tokens == "auto" else None
        self._name = name
        self._held = 0
        self._used = 0

    def begin(self) -> None:
        """Take notice that the passes of a step begin."""
        if self._memory is not None:
            self._held = self._memory.held()

    def end(self) -> None:
        """Take notice that the passes of a step are done; its update comes."""
        if self._memory is not None:
            self._used = self._memory.peak() - self._held

    def adapt(self, passes: list[int]) -> None:
        """Double the tokens behind an update where that fits; else leave them as they are for good.

        Args:
            passes: the tokens of each pass of this process in the step; none where all was others' share.
        """
        if self._memory is None:
            return
        fits = not passes or has_room(self._used, max(passes), 2 * self.tokens, self._memory.left())
        outcomes = from_every_process((fits, len(passes) > 1))
        all_fit = all(fits for fits, _ in outcomes)
        more_would_help = any(several for _, several in outcomes)
        if all_fit and more_would_help:
            self.tokens *= 2
            return
        self._memory = None
        logger.info("%s: microbatch_tokens: auto is %d here", self._name, self.tokens)


def has_room(used: int, tokens: int, planned: int, left: int) -> bool:
    """Tell whether a pass has room, from what one of other size took.

    Memory is taken to grow in proportion to tokens. What does not grow with them (gradients, a chunk of logits) is
    counted as if it did, so that the answer is cautious.

    Args:
        used: bytes that passes of a step took. tokens: of the largest of them.
        planned: tokens of the next pass. left: bytes.

    >>> has_room(used=100, tokens=1000, planned=2000, left=250)
    True
    >>> has_room(used=100, tokens=500, planned=2000, left=250)  # the measured pass was not full
    False
    """
    return used * planned / tokens <= SHARE * left
