"""Which policies that learn from their own samples are held against each other, and by what."""

from __future__ import annotations

from typing import Any

from rewarddiff.config import load_recipe
from rewarddiff.pipeline.contrasts import compared_pairs, unequal
from rewarddiff.pipeline.recipe import BASE, Recipe
from rewarddiff.results import Cost, LedgerCounts, PolicyResult, Unequal


def recipe(**policies: Any) -> Recipe:
    values = {
        "name": "r",
        "model": "m",
        "scorers": {"reward": {"kind": "reward"}},
        "policies": policies,
    }
    config: Recipe = load_recipe(values, [], Recipe)
    return config


def online(estimator: str = "gae", kind: str = "score", **options: Any) -> dict[str, Any]:
    reward = {"source": "reward", "kind": kind}
    return {"online": {"advantage": {"estimator": estimator}, "reward": reward, **options}}


def trained(name: str, tokens: int, steps: int = 10) -> PolicyResult:
    cost = Cost.measured(
        {
            "seconds": 1.0,
            "tokens": tokens,
            "tokens_per_second": 1.0,
            "peak_memory_bytes": 1,
            "peak_gpu_memory_bytes": None,
        }
    )
    last = {"step": steps, "split": "train", "loss": 0.0}
    return PolicyResult(
        name, 0, "online-gae", None, None, None, (last,), cost, LedgerCounts(0, 0, {}, {})
    )


def test_a_relative_reward_is_held_against_the_score_with_its_estimator() -> None:
    policies = {
        "ppo": online(),
        "contrastive": online(kind="contrastive"),
        "reinforce": online("reinforce"),
        "dpo": {},
    }
    against_base = [(name, BASE) for name in policies]
    assert compared_pairs(recipe(**policies)) == [("contrastive", "ppo"), *against_base]


def test_the_reward_and_the_length_of_samples_are_no_other_training() -> None:
    config = recipe(
        ppo=online(),
        contrastive=online(kind="contrastive"),
        more=online(kind="contrastive", num_generations=8),
        drawn=online(kind="contrastive", baseline={"k": 3}),
    )
    results = [trained("ppo", 1000), trained("contrastive", 2000), trained("more", 1000, 20)]
    results.append(trained("drawn", 1000))
    assert unequal(config.policies, results, "contrastive", "ppo") == ()
    assert unequal(config.policies, results, "drawn", "ppo") == ()
    assert unequal(config.policies, results, "more", "ppo") == (
        Unequal("online.num_generations", 8, 4),
        Unequal("steps", 20, 10),
    )
