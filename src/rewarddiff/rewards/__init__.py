"""Rewards of sampled responses as functions of their group: for any trainer.

What is imported from here needs numpy and scipy alone; `stored` reads files of data.

What a scorer says of the responses to one prompt becomes one number for each of them:

    r or d  ──relative──►  reward  ──scale──►  λ · reward  ──truncation──►  what the trainer gets

relative    the reward itself: r less a baseline's, or a mean of differences
scale       λ, which keeps rewards as large as they were before the baseline was taken off
truncation  what a response gets that was cut off before it ended
stored      a baseline in a file: responses to each prompt, scored once
difficulty  what such responses say of their prompts

A response that was not scored has the reward NaN, never 0: whoever estimates advantages leaves it
out.
"""

from rewarddiff.rewards.relative import (
    Baseline,
    contrastive,
    contrastive_difference,
    group_difference,
)
from rewarddiff.rewards.scale import Moments, RunningScale, ScaleConfig
from rewarddiff.rewards.truncation import TruncationConfig, penalised

__all__ = [
    "Baseline",
    "Moments",
    "RunningScale",
    "ScaleConfig",
    "TruncationConfig",
    "contrastive",
    "contrastive_difference",
    "group_difference",
    "penalised",
]
