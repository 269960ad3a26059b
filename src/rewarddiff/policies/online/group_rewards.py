"""From what scores responses, handed in as functions, to one reward for each response of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from rewarddiff.config import checked
from rewarddiff.designs import DesignConfig, comparisons
from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.errors import UserError
from rewarddiff.policies.online.estimators import AdvantageConfig, baseline_effect
from rewarddiff.records import LARGEST, Group
from rewarddiff.rewards import (
    Baseline,
    ScaleConfig,
    TruncationConfig,
    contrastive,
    contrastive_difference,
    group_difference,
)

Unscored = Literal["stop", "leave_out"]
"""What comes of a response without a score."""

Scores = Callable[[Sequence[Group]], Sequence[ArrayLike]]
"""r of every response of each group, in their order; NaN where one is not scored."""

ReadPairs = Callable[[Sequence[Group], Sequence[Sequence[Pair]]], Sequence[Differences]]
"""d of the pairs of each group, in their order; the first response of a pair is read first."""


@dataclass(frozen=True)
class RewardFunctions:
    """What scores responses; one of the two is enough for some rewards.

    Attributes:
        scores: r, of responses by themselves. None: there is none.
        differences: d, of pairs. None: d is a difference of r.
        temperature: what d is divided by to be log-odds; None: not known.
    """

    scores: Scores | None = None
    differences: ReadPairs | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.scores is None and self.differences is None:
            raise UserError("reward: give a function of groups that scores their responses")

    @property
    def pointwise(self) -> bool:
        """Whether every difference is one of rewards."""
        return self.differences is None

    def r(self, groups: Sequence[Group]) -> list[Array]:
        """Return r of every response of each group.

        Raises:
            UserError: there is no r, or not one number for each response.
        """
        if self.scores is None:
            raise UserError(
                "reward: this one scores no response by itself; use contrastive_difference or "
                "group_difference, with a scale of mode constant or unit_std"
            )
        with in_own_precision():
            scores = list(self.scores(groups))
        if len(scores) != len(groups):
            raise UserError(
                f"reward: {len(scores)} arrays for {len(groups)} groups; give one for each, in their "
                "order"
            )
        return [_numbers(*both) for both in zip(groups, scores, strict=True)]

    def d(self, groups: Sequence[Group], pairs: Sequence[Sequence[Pair]]) -> list[Differences]:
        """Return d of the pairs of each group."""
        if self.differences is not None:
            with in_own_precision():
                stated = list(self.differences(groups, pairs))
            if [d.pairs for d in stated] != [tuple(of_group) for of_group in pairs]:
                raise UserError(
                    f"reward: differences of other pairs than those of {len(groups)} groups that it "
                    "was asked for; give one for each pair, in their order"
                )
            for group, of_group in zip(groups, stated, strict=True):
                require_finite(group.source or group.id, "differences", of_group.mean)
            return stated
        differences = []
        for rewards, pairs_of_group in zip(self.r(groups), pairs, strict=True):
            differences.append(Differences.of_rewards(rewards, pairs_of_group))
        return differences


@contextmanager
def in_own_precision() -> Iterator[None]:
    """Let scorers compute as they do elsewhere: the policy's autocast is none of theirs."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def _numbers(group: Group, scores: ArrayLike) -> Array:
    """Return a group's rewards as an array, one number for each response.

    Raises:
        UserError: they are no numbers, or not so many.
    """
    name = group.source or group.id
    count = len(group.responses)
    try:
        rewards = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{name}: rewards {scores!r} are no numbers ({error}); the reward gives one for each of "
            f"{count} responses, NaN where it has none"
        ) from error
    if rewards.shape != (count,):
        raise UserError(
            f"{name}: rewards of shape {rewards.shape} for {count} responses; the reward gives one "
            "number for each"
        )
    require_finite(name, "rewards", rewards)
    return rewards


def require_finite(name: str, what: str, values: Array) -> None:
    """Raise a UserError where a number is none that models compute with; NaN is one not given."""
    if (np.abs(values) > LARGEST).any():
        raise UserError(
            f"{name}: its {what} are {values.tolist()}; stopped before an update: mend what scores it"
        )


@checked
@dataclass(frozen=True)
class RewardConfig:
    """What becomes of the scores of a group's responses.

    Attributes:
        kind: `score` is r; `contrastive` r less the baseline's; `contrastive_difference` d against
            the baseline's responses; `group_difference` d against the rest of the group.
        baseline: how the baseline's responses are taken together.
        design: which comparisons `group_difference` reads.
        scale: λ.
        truncation: what a response gets that was cut off.
    """

    kind: Literal["score", "contrastive", "contrastive_difference", "group_difference"] = "score"
    baseline: Baseline = "mean"
    design: DesignConfig = field(default_factory=DesignConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    truncation: TruncationConfig = field(default_factory=TruncationConfig)

    @property
    def needs_r(self) -> bool:
        """Whether every response has to be scored by itself."""
        return self.kind in ("score", "contrastive") or self.scale.needs_original

    @property
    def reads_baseline(self) -> bool:
        """Whether every prompt needs stored responses."""
        return self.kind in ("contrastive", "contrastive_difference")


class Reward(NamedTuple):
    """What the responses of one group get, before λ.

    Attributes:
        relative: (responses,).
        original: r of the same; None where it is not known.
    """

    relative: Array
    original: Array | None


def check_baseline(reward: RewardConfig, advantage: AdvantageConfig, *, pointwise: bool) -> None:
    """Raise a UserError where the estimator takes off again what the baseline takes off.

    Args:
        pointwise: every difference is one of rewards.
    """
    # d of rewards is r(y) − r(b): whatever is taken over b, it is r(y) less one number a prompt.
    is_of_prompt = reward.kind == "contrastive"
    if reward.kind == "contrastive_difference":
        is_of_prompt = pointwise
    effect = baseline_effect(advantage, reward.truncation)
    if is_of_prompt and not effect.acts:
        raise UserError(
            f"reward {reward.kind} changes nothing with estimator {advantage.estimator}: "
            f"{effect.reason}; use gae or reinforce, or group_difference of a scorer of pairs, "
            "or allow_cancelling: true"
        )


def with_baselines(
    config: RewardConfig,
    functions: RewardFunctions,
    groups: Sequence[Group],
    *,
    unscored: Unscored = "stop",
) -> list[Group]:
    """Return groups whose stored responses have what the reward reads of them.

    Scores that are not there are asked for once.

    Args:
        unscored: whether a group without any score stops the training; left out, its responses have
            no reward.

    Raises:
        UserError: a group has no stored response, or none with a score where that is to stop.
    """
    if not config.reads_baseline:
        return list(groups)
    for group in groups:
        if not group.responses:
            raise UserError(
                f"{group.source or group.id}: reward {config.kind} needs responses to compare "
                "with; sample some for every prompt, or use reward score"
            )
    if config.kind != "contrastive":
        return list(groups)
    missing = [group for group in groups if group.scores is None]
    scored = iter(functions.r(missing) if missing else [])
    complete = []
    for group in groups:
        if group.scores is None:
            group = replace(group, scores=tuple(next(scored).tolist()))
        if unscored == "stop" and not np.isfinite(np.asarray(group.scores)).any():
            raise UserError(
                f"{group.source or group.id}: none of its stored responses has a score, and reward "
                "contrastive takes their mean off; leave the prompt out, mend what scores them, or "
                "set unscored: leave_out"
            )
        complete.append(group)
    return complete


def group_rewards(
    config: RewardConfig,
    functions: RewardFunctions,
    groups: Sequence[Group],
    baselines: Sequence[Group],
) -> list[Reward]:
    """Return the rewards of each group's responses.

    Args:
        groups: prompts with the sampled responses.
        baselines: the same prompts with their stored responses.
    """
    if config.kind in ("score", "contrastive"):
        rewards = []
        for r, stored in zip(functions.r(groups), baselines, strict=True):
            relative = r
            if config.kind == "contrastive":
                scores = np.asarray(stored.scores, dtype=np.float64)
                relative = contrastive(r, scores, baseline=config.baseline)
            rewards.append(Reward(relative, r))
        return rewards
    if config.kind == "contrastive_difference":
        relatives = _against_stored(config, functions, groups, baselines)
    else:
        relatives = _against_the_rest(config, functions, groups)
    if not config.scale.needs_original:
        return [Reward(relative, None) for relative in relatives]
    originals = functions.r(groups)
    return [Reward(*both) for both in zip(relatives, originals, strict=True)]


def _against_stored(
    config: RewardConfig,
    functions: RewardFunctions,
    groups: Sequence[Group],
    baselines: Sequence[Group],
) -> list[Array]:
    """Return d of each sampled response against the stored ones of its prompt."""
    joined = []
    pairs: list[list[Pair]] = []
    for group, stored in zip(groups, baselines, strict=True):
        sampled = len(group.responses)
        joined.append(group.with_responses((*group.responses, *stored.responses)))
        places = range(sampled, sampled + len(stored.responses))
        # Whoever likes what stands first is asked both ways round.
        first = [(i, j) for i in range(sampled) for j in places]
        pairs.append([*first, *((j, i) for i, j in first)])
    relatives = []
    for group, differences in zip(groups, functions.d(joined, pairs), strict=True):
        relative = contrastive_difference(
            differences, len(group.responses), baseline=config.baseline
        )
        relatives.append(relative)
    return relatives


def _against_the_rest(
    config: RewardConfig, functions: RewardFunctions, groups: Sequence[Group]
) -> list[Array]:
    """Return d of each sampled response against the others of its group."""
    pairs = [comparisons(len(group.responses), config.design, group.id) for group in groups]
    relatives = []
    for group, differences in zip(groups, functions.d(groups, pairs), strict=True):
        relatives.append(group_difference(differences, len(group.responses)))
    return relatives
