"""The checkpoints of one training: written as it goes, and what it goes on from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from safetensors import SafetensorError

from rewarddiff.errors import FailedElsewhere
from rewarddiff.loop import checkpoint
from rewarddiff.loop.batches import Batches
from rewarddiff.loop.checkpoint import CHECKPOINT
from rewarddiff.loop.faults import Faults
from rewarddiff.loop.job import Job
from rewarddiff.loop.optimizers import state_bytes
from rewarddiff.loop.pace import Pace
from rewarddiff.loop.prepared import Prepared
from rewarddiff.loop.recording import Recorder
from rewarddiff.processes import main_first, once
from rewarddiff.store import finite

logger = logging.getLogger(__name__)


class Keeper:
    """Writes what a training is at a step, and gives back what it was.

    Args:
        identity: says what the training is, see `identity_of`; asked when it is needed.
    """

    def __init__(
        self,
        job: Job,
        prepared: Prepared,
        batches: Batches,
        recorder: Recorder,
        faults: Faults,
        identity: Callable[[], dict[str, Any]],
    ) -> None:
        self._folder, self._name = job.output / CHECKPOINT, job.name
        self._prepared, self._batches = prepared, batches
        self._recorder, self._faults = recorder, faults
        self._identity = identity
        config = job.config
        self._must_succeed = config.save_every is not None
        size = checkpoint.size(
            prepared.objective.module, state_bytes(config.optimizer, config.weights)
        )
        self._pace = Pace(config.save_every, size)

    def is_due(self, step: int) -> bool:
        """Whether this process is to write a checkpoint, or its part of one, now."""
        if self._prepared.divided:
            return once(lambda: self._pace.due(step))
        return self._prepared.accelerator.is_main_process and self._pace.due(step)

    def keep(self, step: int) -> None:
        """Write a checkpoint; the main process does so alone, where weights are not divided."""
        self._faults.look_at_weights(step)
        prepared = self._prepared
        if not (prepared.divided or prepared.accelerator.is_main_process):
            return
        state = {
            "step": step,
            "identity": self._identity(),
            "meter": self._recorder.meter.so_far(),
            "metrics": finite(self._recorder.metrics.lines),
            "objective": self._batches.kept(),
        }
        begun = time.monotonic()
        save = checkpoint.save_divided if prepared.divided else checkpoint.save
        save(self._folder, prepared.unwrapped, prepared.optimizer, state)
        self._pace.written(time.monotonic() - begun)

    def keep_if_possible(self, step: int) -> None:
        """Write a checkpoint; one that nobody asked for and finds no room does not end training."""
        try:
            self.keep(step)
        except (OSError, SafetensorError, FailedElsewhere) as error:
            if self._must_succeed:
                raise
            logger.warning(
                "%s: no checkpoint can be written (%s): going on without, and trying again in %.0f s",
                self._name,
                error,
                self._pace.failed(),
            )

    def resume(self) -> int:
        """Return the step to go on from, with metrics written after it taken back."""
        prepared, identity = self._prepared, self._identity()
        state = None
        if not once(lambda: checkpoint.is_damaged(self._folder)):
            state = main_first(
                lambda: checkpoint.load(
                    self._folder, prepared.unwrapped, prepared.optimizer, identity
                )
            )
        self._recorder.take_back(state["metrics"] if state else [])
        if state is None:
            return 0
        step = int(state["step"])
        self._recorder.meter.go_on(state["meter"])
        self._batches.go_on(state["objective"], step)
        if prepared.accelerator.is_main_process:
            logger.info("%s: going on from step %d of %d", self._name, step, self._batches.steps)
        return step
