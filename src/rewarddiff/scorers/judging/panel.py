"""Several scorers that vote; the majority of the whole panel decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.records import Group
from rewarddiff.scorers.protocol import Judge, Orders, Scorer
from rewarddiff.store import Store
from rewarddiff.verdicts import Verdicts, majority

ABSTAINED = "most of the panel gives no verdict"


@dataclass(frozen=True, eq=False)
class PanelScorer:
    """Scorers of any kind that vote on each pair: see `protocol.Judge`.

    Attributes:
        name: what errors call it.
        members: by their names.
        temperature: none: fitted on held-out comparisons where it is needed.
    """

    name: str
    members: Mapping[str, Scorer]
    temperature: None = None

    @property
    def prompts(self) -> Set[str] | None:
        """Hashes of all prompts that a member learned from; None where one does not know."""
        prompts: Set[str] = frozenset()
        for scorer in self.members.values():
            if scorer.prompts is None:
                return None
            prompts |= scorer.prompts
        return prompts

    def verdicts(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Verdicts]:
        """Return what the majority says of the pairs of each group, whatever stands first."""
        by_member = []
        for name, scorer in self.members.items():
            line = None if progress is None else f"{progress}: {name}"
            votes = _votes(scorer, groups, pairs, orders=orders, store=store, progress=line)
            by_member.append(votes)
        verdicts = []
        for group_pairs, *of_members in zip(pairs, *by_member, strict=True):
            verdicts.append(_verdicts(group_pairs, of_members))
        return verdicts

    def differences(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Differences]:
        """Return d of the pairs of each group: see `verdicts.majority`."""
        verdicts = self.verdicts(groups, pairs, orders=orders, store=store, progress=progress)
        return [of_group.differences for of_group in verdicts]


def _votes(
    scorer: Scorer,
    groups: Sequence[Group],
    pairs: Sequence[Sequence[Pair]],
    *,
    orders: Orders,
    store: Store | None,
    progress: str | None,
) -> list[Array]:
    """Return for whom a member votes in each group: a judge by its verdicts, whoever else by d."""
    if isinstance(scorer, Judge):
        verdicts = scorer.verdicts(groups, pairs, orders=orders, store=store, progress=progress)
        return [of_group.outcomes for of_group in verdicts]
    stated = scorer.differences(groups, pairs, orders=orders, store=store, progress=progress)
    return [of_group.mean for of_group in stated]


def _verdicts(pairs: Sequence[Pair], votes: Sequence[Array]) -> Verdicts:
    values = majority(np.stack(votes))
    causes = tuple(ABSTAINED if unscored else "" for unscored in np.isnan(values).tolist())
    return replace(Verdicts.of(pairs, values), causes=causes)
