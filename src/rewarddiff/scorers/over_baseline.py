"""Rewards relative to stored responses: of any scorer, for any trainer and for the server."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.records import Group
from rewarddiff.rewards import Baseline, contrastive, contrastive_difference
from rewarddiff.rewards.stored import StoredBaseline, StoredResponses
from rewarddiff.scorers.protocol import Orders, Pointwise, Scorer
from rewarddiff.store import Store


@dataclass(frozen=True)
class OverBaseline:
    """A scorer whose reward of a response is by how much it beats its prompt's stored ones.

    It is `Pointwise` whatever the scorer is: a difference model gives mean_j d(x, y, b_j), a reward
    model r(x, y) − mean_j r(x, b_j). Of a reward model the two are equal, so stored scores are used
    where they are this scorer's, and stored responses are read where they are not.

    Attributes:
        scorer: what reads the responses.
        stored: the stored ones.
        baseline: g, which is the mean in the paper.
        fingerprint: of the scorer; empty: not known, and stored scores are not used.

    Raises:
        UserError: g is the maximum, and prompts have unequally many responses.

    Source: Shen et al. 2024, arXiv 2403.07708, section 3.
    """

    scorer: Scorer
    stored: StoredBaseline
    baseline: Baseline = "mean"
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.baseline == "max":
            self.stored.require_equal_sizes()

    @property
    def name(self) -> str:
        return self.scorer.name

    @property
    def temperature(self) -> float | None:
        return self.scorer.temperature

    @property
    def prompts(self) -> Set[str] | None:
        return self.scorer.prompts

    def rewards(
        self, groups: Sequence[Group], *, store: Store | None = None, progress: str | None = None
    ) -> list[Array]:
        """Return the relative reward of every response of each group: see `protocol.Pointwise`.

        Raises:
            UserError: a prompt has no stored responses, or the scorer fails.
        """
        stored = [self.stored.of(group.prompt) for group in groups]
        return self.over(groups, stored, store=store, progress=progress)

    def differences(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Differences]:
        """Return the differences of the relative rewards: see `protocol.Scorer`."""
        rewards = self.rewards(groups, store=store, progress=progress)
        paired = zip(rewards, pairs, strict=True)
        return [Differences.of_rewards(of_group, of_pairs) for of_group, of_pairs in paired]

    def over(
        self,
        groups: Sequence[Group],
        stored: Sequence[StoredResponses],
        *,
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Array]:
        """Return the rewards of each group's responses over the stored ones beside it."""
        is_scored = all(responses.scores is not None for responses in stored)
        is_by_this_scorer = bool(self.fingerprint) and self.fingerprint == self.stored.scorer
        if isinstance(self.scorer, Pointwise) and is_scored and is_by_this_scorer:
            rewards = []
            scored = self.scorer.rewards(groups, store=store, progress=progress)
            for of_group, responses in zip(scored, stored, strict=True):
                assert responses.scores is not None
                rewards.append(contrastive(of_group, responses.scores, baseline=self.baseline))
            return rewards
        return self._compared(groups, stored, store, progress)

    def _compared(
        self,
        groups: Sequence[Group],
        stored: Sequence[StoredResponses],
        store: Store | None,
        progress: str | None,
    ) -> list[Array]:
        """Read every response against every stored one of its prompt."""
        beside = []
        pairs = []
        for group, responses in zip(groups, stored, strict=True):
            beside.append(group.with_responses(group.responses + responses.responses))
            pairs.append(against(len(group.responses), len(responses.responses)))
        read = self.scorer.differences(beside, pairs, store=store, progress=progress)
        rewards = []
        for group, d in zip(groups, read, strict=True):
            count = len(group.responses)
            rewards.append(contrastive_difference(d, count, baseline=self.baseline))
        return rewards


def against(count: int, others: int) -> list[Pair]:
    """Return the pairs of `count` responses with each of those that stand behind them.

    >>> against(2, 2)
    [(0, 2), (0, 3), (1, 2), (1, 3)]
    """
    pairs = []
    for response in range(count):
        pairs += [(response, count + other) for other in range(others)]
    return pairs
