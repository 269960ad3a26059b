"""What a card tells of stored responses and KL, each as a reader would say it."""

from __future__ import annotations

from rewarddiff.policies.online.card import settings_of
from rewarddiff.policies.online.config import OnlineConfig, StoredConfig
from rewarddiff.policies.online.group_rewards import RewardConfig
from rewarddiff.policies.online.kl import KLConfig
from rewarddiff.policies.online.semi_config import SemiOnlineConfig


def test_a_contrastive_reward_with_a_refreshed_baseline_and_a_target() -> None:
    config = OnlineConfig(
        reward=RewardConfig("contrastive"),
        baseline=StoredConfig(k=3, refresh=50),
        kl=KLConfig(kl_coef=0.1, target_kl=6.0),
    )
    assert settings_of(config, "tea") == {
        "samples": "4 to each prompt, at temperature 1, of at most 128 tokens",
        "reward": "contrastive, by tea",
        "stored responses": "3 to each prompt, of the model as it was before, drawn anew every 50 turns",
        "KL": "coefficient 0.1 in the reward to begin with, and 6 nats a response as its target",
    }
    assert settings_of(OnlineConfig(kl=KLConfig(kl_coef=0.0)), "tea")["KL"] == "none"


def test_pairs_of_samples() -> None:
    assert settings_of(SemiOnlineConfig(steps_per_generation=1), "tea") == {
        "samples": "4 to each prompt, at temperature 1, of at most 128 tokens, drawn anew every step",
        "pairs": "best_worst, by tea",
    }
