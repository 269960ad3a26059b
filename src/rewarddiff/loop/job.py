"""What the loop is asked to do: the arguments of one training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewarddiff.loop.objective import Objective, TrainConfig


@dataclass(frozen=True)
class Job:
    """One training, see `loop.train.train`."""

    objective: Objective[Any]
    items: Sequence[Any]
    dev: Sequence[Any]
    output: Path
    config: TrainConfig
    seed: int
    name: str
