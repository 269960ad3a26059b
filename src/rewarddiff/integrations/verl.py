"""Scorers as rewards of verl: a `compute_score`, and a reward manager.

verl takes either by its configuration, as `pkg://rewarddiff.integrations.verl`:

    compute_score    reward.custom_reward_function: the prompt has to stand in `extra_info`
    RewardManager    reward.reward_manager: reads the prompt from verl's own batch

Source: verl's documentation, "Reward Loop" and "Implement Reward Function for Dataset". verl is
imported by the manager alone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

from rewarddiff.errors import UserError
from rewarddiff.integrations.scoring import Turns, opened, opened_over, rewards_of
from rewarddiff.scorers.opening import is_address
from rewarddiff.scorers.protocol import Scorer

_opening = threading.Lock()
_reading = threading.Lock()


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: object,
    extra_info: Mapping[str, Any] | None = None,
    *,
    scorer: str,
    prompt_key: str = "prompt",
    stored: str | None = None,
    **_: object,
) -> dict[str, float]:
    """Return a response's reward, as verl asks a custom reward function for it.

    Args:
        data_source, ground_truth: what verl passes; a scorer needs neither.
        solution_str: the response.
        extra_info: the row's; it holds the prompt, a text or a list of turns.
        scorer: a folder, a name on the hub, or the URL of a server; a folder is loaded once.
        prompt_key: where in `extra_info` the prompt stands.
        stored: a file of `rewarddiff baseline`: the reward is by how much a response beats those of
            its prompt. It acts with gae and reinforce_plus_plus; group estimators cancel it, unless
            the scorer is one that compares.

    Raises:
        UserError: there is no prompt, or the scorer failed: a failure is never a reward.
    """
    prompt = (extra_info or {}).get(prompt_key)
    if prompt is None:
        raise UserError(
            f"verl: extra_info of a row of {data_source} has no {prompt_key}; write the prompt there "
            "when preparing the data, or use the reward manager, which needs none"
        )
    (score,) = scores(scorer, [prompt], [solution_str], stored)
    return {"score": score}


def scores(
    scorer: str,
    prompts: Sequence[str | Turns],
    responses: Sequence[str],
    stored: str | None = None,
) -> list[float]:
    """Return the reward of every response; each scorer is opened once per process.

    Raises:
        UserError: one of them has none.
    """
    with _opening:  # verl asks from several threads
        loaded = _opened(scorer, stored)
    with nullcontext() if is_address(scorer) else _reading:
        rewards = rewards_of(loaded, prompts, responses)
    values = [score for score in rewards.scores if score is not None]
    if len(values) < len(responses):
        raise UserError(f"verl: {rewards.problems[0]}")
    return values


@lru_cache
def _opened(scorer: str, stored: str | None) -> Scorer:
    return opened(scorer) if stored is None else opened_over(scorer, stored)


def __getattr__(name: str) -> Any:
    if name == "RewardManager":
        from rewarddiff.integrations.verl_manager import RewardManager

        return RewardManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
