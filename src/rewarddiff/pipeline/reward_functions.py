"""What scores samples in online training, of any scorer: policies import none."""

from __future__ import annotations

from collections.abc import Sequence

from rewarddiff.differences import Differences, Pair
from rewarddiff.policies.online.group_rewards import RewardFunctions, Scores
from rewarddiff.records import Group
from rewarddiff.scorers.protocol import Pointwise, Scorer


def functions_of(reward: Scorer | RewardFunctions | Scores) -> RewardFunctions:
    """Return what scores groups, of a scorer or of functions."""
    if isinstance(reward, RewardFunctions):
        return reward
    if isinstance(reward, Pointwise):
        return RewardFunctions(scores=reward.rewards)
    if not isinstance(reward, Scorer):
        return RewardFunctions(scores=reward)

    def differences(groups: Sequence[Group], pairs: Sequence[Sequence[Pair]]) -> list[Differences]:
        return reward.differences(groups, pairs, orders="one")

    return RewardFunctions(differences=differences)
