"""What safety takes of a training: its checkpoints, and looking whether numbers are finite.

    python -m benchmarks.safety --minutes 5
    python -m benchmarks.safety --minutes 5 --lora

Trains SmolLM2-135M by DPO on the demo's data with default settings, so with checkpoints as often as these
allow. Seconds are those spent within what writes a checkpoint, sums and `fsync` included, and within what
looks at losses, metrics, gradients and weights.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import rewarddiff
from rewarddiff.loop import train
from rewarddiff.loop.faults import Faults
from rewarddiff.loop.keeping import Keeper
from rewarddiff.loop.objective import LossOutput, TrainConfig
from rewarddiff.policies.policy import LoraConfig, PolicyConfig

MODEL = "smollm2-135m-instruct"
GROUPS = 64
ENOUGH = 100_000
"""Steps, of which time allows a few."""


class Clock:
    """Adds up seconds, and how often, by what they are spent on; what runs within something is the latter's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.times: Counter[str] = Counter()
        self.is_running = False

    def timed(self, what: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            if self.is_running:
                return work(*args, **options)
            self.is_running = True
            begun = time.perf_counter()
            try:
                return work(*args, **options)
            finally:
                self.is_running = False
                self.seconds[what] += time.perf_counter() - begun
                self.times[what] += 1

        return run


@contextmanager
def timing(clock: Clock) -> Iterator[None]:
    """Let a clock time what is done for safety."""
    look = vars(LossOutput)["fault"].fget
    with ExitStack() as patches:
        for name in ("look_at_start", "look_at_weights", "stop_at_first"):
            method = clock.timed("looking at numbers", getattr(Faults, name))
            patches.enter_context(patch.object(Faults, name, method))
        method = clock.timed("checkpoints", Keeper.keep_if_possible)
        patches.enter_context(patch.object(Keeper, "keep_if_possible", method))
        fault = property(clock.timed("looking at numbers", look))
        patches.enter_context(patch.object(LossOutput, "fault", fault))
        yield


@contextmanager
def ended_after(seconds: float, steps: list[float]) -> Iterator[None]:
    """Let a training end as by an interrupt once so many seconds have gone by since its first step."""
    step = train._Run._step

    def timed(run: Any, number: int) -> Any:
        steps.append(time.monotonic())
        if steps[-1] - steps[0] > seconds:
            raise KeyboardInterrupt
        return step(run, number)

    with patch.object(train._Run, "_step", timed):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--lora", action="store_true")
    options = parser.parse_args()
    settings = TrainConfig(batch_size=8, epochs=ENOUGH, max_steps=ENOUGH)
    config = PolicyConfig(train=settings, lora=LoraConfig() if options.lora else None)
    groups = rewarddiff.load_groups("demo")[:GROUPS]
    clock = Clock()
    steps: list[float] = []
    with (
        tempfile.TemporaryDirectory() as place,
        timing(clock),
        ended_after(60 * options.minutes, steps),
        suppress(KeyboardInterrupt),
    ):
        rewarddiff.train_policy(MODEL, groups, output=Path(place) / "policy", config=config)
    whole = steps[-1] - steps[0]
    print(f"{len(steps) - 1} steps, {whole:.0f} s")
    for what, seconds in clock.seconds.items():
        print(f"{what}: {clock.times[what]} times, {seconds:.2f} s, {100 * seconds / whole:.2f} %")


if __name__ == "__main__":
    main()
