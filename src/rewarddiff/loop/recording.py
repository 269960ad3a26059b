"""What a training comes to as it goes: its cost, and lines of metrics, which are written and sent to a tracker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from accelerate import Accelerator

from rewarddiff.loop.job import Job
from rewarddiff.loop.metrics import Line, MetricsFile, Sums
from rewarddiff.loop.objective import Summing
from rewarddiff.machine import Meter


class Recorder:
    """Writes a line of metrics for every step of training, and for every evaluation on the dev set.

    Attributes:
        meter: what the training has cost until now.
        metrics: the lines.
    """

    def __init__(self, job: Job, accelerator: Accelerator, steps_of_an_epoch: int) -> None:
        self.meter = Meter()
        self.metrics = MetricsFile(job.output / "metrics.jsonl")
        self._objective, self._config = job.objective, job.config
        self._accelerator = accelerator
        self._steps_of_an_epoch = steps_of_an_epoch
        self._is_tracking = False

    def record(self, split: str, step: int, sums: Sums, **more: float) -> Line:
        """Write a line of metrics, in the form that the objective gives them."""
        means, counts = sums.means()
        if isinstance(self._objective, Summing):
            means = self._objective.summary(means, counts)
        line: Line = {
            "step": step,
            "epoch": step / self._steps_of_an_epoch,
            "split": split,
            **means,
            **more,
        }
        line |= {"tokens": self.meter.tokens, "seconds": self.meter.seconds}
        self.metrics.add(line, write=self._accelerator.is_main_process)
        if self._config.track:
            self._track(line, step)
        return line

    def _track(self, line: Line, step: int) -> None:
        if not self._is_tracking:
            self._accelerator.init_trackers("rewarddiff", config=_scalars(asdict(self._config)))
            self._is_tracking = True
        split = line["split"]
        values = {f"{split}/{k}": v for k, v in line.items() if isinstance(v, int | float)}
        self._accelerator.log(values, step=step)

    def take_back(self, lines: list[Line]) -> None:
        """Keep the lines that an interrupted training had written until its checkpoint."""
        self.metrics.take_back(lines)
        if self._accelerator.is_main_process:
            self.metrics.rewrite()

    def finish(self) -> None:
        """Let the tracker end."""
        if self._config.track:
            self._accelerator.end_training()


def _scalars(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as trackers take them: what is no plain value as text."""
    return {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in config.items()}
