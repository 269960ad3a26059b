"""What the training loop trains of a scorer, by its configuration."""

from __future__ import annotations

from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.losses import Grades
from rewarddiff.scorers.neural.objectives.base import ScorerObjective, check_strengths, shape
from rewarddiff.scorers.neural.objectives.difference import DifferenceObjective
from rewarddiff.scorers.neural.objectives.odin import OdinObjective
from rewarddiff.scorers.neural.objectives.reward import RewardObjective
from rewarddiff.scorers.neural.readers import Reader

__all__ = [
    "DifferenceObjective",
    "OdinObjective",
    "RewardObjective",
    "ScorerObjective",
    "check_strengths",
    "objective",
    "shape",
]


def objective(
    reader: Reader, config: ScorerConfig, *, grades: Grades | None = None, seed: int = 0
) -> ScorerObjective:
    """What trains a scorer of this configuration; arguments as of `ScorerObjective`."""
    cls: type[ScorerObjective] = DifferenceObjective
    if config.reads_apart:
        cls = RewardObjective if config.odin is None else OdinObjective
    return cls(reader, config, grades=grades, seed=seed)
