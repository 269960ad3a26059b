"""A difference model that `rewarddiff serve` reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewarddiff.differences import Differences, Pair, by_group
from rewarddiff.records import Group, plain_prompt
from rewarddiff.remembering import remember
from rewarddiff.scorers.protocol import Orders
from rewarddiff.scorers.remote.apis import number
from rewarddiff.scorers.remote.connection import Connection
from rewarddiff.store import Store, fingerprint


@dataclass(frozen=True)
class _Comparison:
    """Two responses to be compared, and where they stand."""

    group: Group
    pair: Pair

    @property
    def body(self) -> dict[str, Any]:
        """What is posted: the first response against the second as an anchor, in both orders."""
        a, b = (self.group.responses[place] for place in self.pair)
        return {"prompt": plain_prompt(self.group.prompt), "responses": [a], "anchors": [b]}

    @property
    def row(self) -> str:
        return self.group.source or self.group.id


@dataclass(frozen=True)
class RemoteComparer:
    """A difference model that `rewarddiff serve` reads: see `RemoteScorer`."""

    connection: Connection
    name: str
    temperature: None = None
    prompts: None = None

    def differences(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Differences]:
        """Return d(x, a, b) of the pairs of each group: see `protocol.Scorer`.

        The server reads both orders and gives their mean, whatever `orders` is.
        """
        asked: list[_Comparison] = []
        for group, group_pairs in zip(groups, pairs, strict=True):
            asked += [_Comparison(group, pair) for pair in group_pairs]
        served = self.connection.served

        def key(comparison: _Comparison) -> str:
            return fingerprint("remote", served.api, served.identity, comparison.body)

        def compute(missing: Sequence[_Comparison]) -> Iterator[tuple[int, float]]:
            return self.connection.ask_all(
                missing, self._posted, lambda comparison: comparison.row, progress
            )

        answers = remember(store, asked, key, compute, alone=True)
        values = np.array(answers, dtype=np.float64)
        of_groups = by_group(values, map(len, pairs))
        differences = []
        for group_pairs, of_group in zip(pairs, of_groups, strict=True):
            differences.append(Differences.of(of_group, group_pairs, apart=False))
        return differences

    def _posted(self, comparison: _Comparison) -> float:
        return self.connection.client.post("compare", comparison.body, _difference)


def _difference(answer: Any) -> float:
    """Return d(a, anchor) from an answer of /compare to one response and one anchor."""
    compared = answer.get("comparisons") if isinstance(answer, dict) else None
    if not isinstance(compared, list) or len(compared) != 1:
        raise ValueError("other comparisons than the one that was asked for")
    if not isinstance(compared[0], dict):
        raise ValueError("a comparison that is no object")
    return number(compared[0].get("difference"))
