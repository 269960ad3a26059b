"""What scores samples in online training, of any scorer: policies import none."""

from __future__ import annotations

from collections.abc import Sequence

from rewarddiff.differences import Differences, Pair
from rewarddiff.policies.online.group_rewards import RewardFunctions, Scores
from rewarddiff.records import Group
from rewarddiff.scorers.protocol import Pointwise, Scorer


def functions_of(
    reward: Scorer | RewardFunctions | Scores, *, spread: bool = False
) -> RewardFunctions:
    """Return what scores groups, of a scorer or of functions.

    Args:
        spread: the spread of d over the heads of a scorer is wanted, which r alone does not have.
    """
    if isinstance(reward, RewardFunctions):
        return reward
    if not isinstance(reward, Scorer):
        return RewardFunctions(scores=reward)
    scores = reward.rewards if isinstance(reward, Pointwise) else None
    if scores is not None and not spread:
        return RewardFunctions(scores=scores, temperature=reward.temperature)

    def differences(groups: Sequence[Group], pairs: Sequence[Sequence[Pair]]) -> list[Differences]:
        return reward.differences(groups, pairs, orders="one")

    return RewardFunctions(scores, differences, reward.temperature)
