"""Length as a scorer: the control for whoever claims that something else was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from rewarddiff.config import checked
from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.records import Group
from rewarddiff.scorers.protocol import Orders
from rewarddiff.store import Store, fingerprint


@checked
@dataclass(frozen=True, kw_only=True)
class Length:
    """The longer response is better: r = log(1 + characters). Reads nothing, learns nothing."""

    kind: Literal["length"] = "length"

    def scorer(self, name: str) -> LengthScorer:
        return LengthScorer(name)

    def fingerprint(self) -> str:
        return fingerprint(asdict(self))


@dataclass(frozen=True)
class LengthScorer:
    """Scores a response by its length alone.

    Attributes:
        name: what errors call it.
        temperature: none: it brings none with it.
        prompts: none: nothing was learned from them.
    """

    name: str = "length"
    temperature: None = None
    prompts: frozenset[str] = frozenset()

    def rewards(
        self, groups: Sequence[Group], *, store: Store | None = None, progress: str | None = None
    ) -> list[Array]:
        """Return log(1 + characters) of every response of each group."""
        rewards: list[Array] = []
        for group in groups:
            rewards.append(np.log1p([len(response) for response in group.responses]))
        return rewards

    def differences(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Differences]:
        """Return log(1 + characters of a) − log(1 + characters of b) for the pairs of each group."""
        differences = []
        for rewards, group_pairs in zip(self.rewards(groups), pairs, strict=True):
            differences.append(Differences.of_rewards(rewards, group_pairs))
        return differences
