"""What is learned from, in words: how often it is misread, and by whom."""

from __future__ import annotations

from rewarddiff.lab.online.results import OnlineLab
from rewarddiff.report.values import percent


def misreadings(results: OnlineLab) -> tuple[float, float]:
    """Return how often a failure is read as a success, and a success as a failure."""
    c0 = results.config["noise"]
    c1 = results.config.get("noise_of_success")
    return c0, c0 if c1 is None else c1


def is_learned(results: OnlineLab) -> bool:
    """Return whether the reward is a reward model's."""
    return results.config.get("reward") == "learned"


def reward_words(results: OnlineLab) -> str:
    """Say what is learned from."""
    c0, c1 = misreadings(results)
    misread = f"{percent(c0, 0)} of the failures as successes and {percent(c1, 0)} of the successes as failures"
    if is_learned(results):
        return (
            "what is learned from is a reward model, trained on comparisons by rewards that read "
            f"{misread}; it puts a success before a failure in {percent(results.accuracy.value, 0)}"
        )
    return f"the reward that is learned from reads {misread}"
