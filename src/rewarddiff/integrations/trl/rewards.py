"""Scorers as `reward_funcs` of TRL's GRPO and RLOO trainers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rewarddiff.errors import UserError
from rewarddiff.integrations.scoring import Rewards, Turns, opened, opened_over, rewards_of
from rewarddiff.rewards import Baseline
from rewarddiff.rewards.stored import StoredBaseline
from rewarddiff.scorers.opening import is_address
from rewarddiff.scorers.protocol import Pointwise, Scorer
from rewarddiff.writing import printable

logger = logging.getLogger(__name__)

GIVE_UP_AFTER = 3
"""Calls without any reward, one behind the other, after which the training ends: it would learn
nothing."""

LogMetric = Callable[[str, float], None]


class RewardFunction:
    """Gives every completion its reward, or None where the scorer fails.

    Attributes:
        scorer: whose rewards.
    """

    def __init__(self, scorer: Scorer, name: str) -> None:
        self.scorer = scorer
        self.__name__ = name
        self._calls_without_reward = 0

    def __call__(
        self,
        prompts: Sequence[str | Turns],
        completions: Sequence[str | Turns],
        *,
        log_metric: LogMetric | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Return one reward per completion, as TRL asks for them.

        Args:
            log_metric: how TRL lets functions log: the share of completions without a reward.
            columns: what else TRL passes: the dataset's further columns, ids, the trainer's state.

        Raises:
            UserError: several calls one behind the other gave no reward at all.
        """
        return self._checked(rewards_of(self.scorer, prompts, completions), log_metric)

    def _checked(self, rewards: Rewards, log_metric: LogMetric | None) -> list[float | None]:
        """Return the rewards, and say how many there are not."""
        total = len(rewards.scores)
        lacking = rewards.scores.count(None)
        if log_metric is not None:
            log_metric(f"rewards/{self.__name__}/failed", lacking / total)
        if lacking < total:
            self._calls_without_reward = 0
        else:
            self._calls_without_reward += 1
        if lacking:
            report = f"{self.__name__}: no reward for {lacking} of {total} completions: "
            logger.warning(printable(report + rewards.problems[0]))
        if self._calls_without_reward == GIVE_UP_AFTER:
            raise UserError(
                f"{self.__name__}: {GIVE_UP_AFTER} calls one behind the other gave no reward: "
                f"{rewards.problems[0]}"
            )
        return rewards.scores


class AsyncRewardFunction(RewardFunction):
    """The same for TRL's event loop: it waits in a thread, beside other rewards."""

    async def __call__(  # type: ignore[override]
        self,
        prompts: Sequence[str | Turns],
        completions: Sequence[str | Turns],
        *,
        log_metric: LogMetric | None = None,
        **columns: Any,
    ) -> list[float | None]:
        rewards = await asyncio.to_thread(rewards_of, self.scorer, prompts, completions)
        return self._checked(rewards, log_metric)


def reward_function(
    scorer: Scorer | str | Path,
    *,
    name: str = "",
    stored: StoredBaseline | str | Path | None = None,
    baseline: Baseline = "mean",
    allow_cancelling: bool = False,
) -> RewardFunction:
    """Return a scorer as one of the `reward_funcs` of GRPOTrainer and RLOOTrainer.

    Completions of one prompt are read together. A difference model that has no rewards states the
    mean of its differences to the other completions of the prompt; their mean is 0, which GRPO and
    RLOO subtract anyway. With stored responses it states the differences to those.

    Args:
        scorer: a scorer, a folder, a name on the hub, or the URL of a server. One behind a URL is
            waited for in a thread, so that several such rewards wait together.
        name: what TRL calls it in its logs; the folder's name if not given.
        stored: responses to each prompt, as `rewarddiff baseline` writes them, or their file: the
            reward is by how much a completion beats them.
        baseline: g of the stored responses, as in `rewards.contrastive`.
        allow_cancelling: take stored responses also where they change no advantage.

    Raises:
        UserError: there is no such scorer or file; or GRPO and RLOO would cancel the baseline.
    """
    kind = AsyncRewardFunction if is_address(scorer) else RewardFunction
    if stored is None:
        scorer = opened(scorer)
    else:
        over = opened_over(scorer, stored, baseline)
        if isinstance(over.scorer, Pointwise) and not allow_cancelling:
            raise UserError(
                f"stored: {over.name} scores each response by itself, and GRPO and RLOO take the "
                "mean of a prompt's completions off, so that a baseline cancels; leave it out, use "
                "a difference model, or set allow_cancelling=True"
            )
        scorer = over
    return kind(scorer, name or scorer.name.rstrip("/").rpartition("/")[2])
