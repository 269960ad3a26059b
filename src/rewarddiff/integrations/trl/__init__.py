"""DPO and reward training in TRL with a weight for each pair, and rewards for its online trainers.

WeightedDPOTrainer, WeightedRewardTrainer    TRL's trainers, for datasets with a `coefficient`
reward_function                              a scorer as one of `reward_funcs` of GRPO and RLOO
"""

from rewarddiff.integrations.trl.rewards import reward_function
from rewarddiff.integrations.trl.trainers import WeightedDPOTrainer, WeightedRewardTrainer

__all__ = ["WeightedDPOTrainer", "WeightedRewardTrainer", "reward_function"]
