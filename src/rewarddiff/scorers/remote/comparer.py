"""A difference model that `rewarddiff serve` reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewarddiff.differences import Differences, Pair, by_group
from rewarddiff.records import Group, plain_prompt
from rewarddiff.scorers.protocol import Orders
from rewarddiff.scorers.remote.apis import number
from rewarddiff.scorers.remote.connection import Connection
from rewarddiff.store import Store, fingerprint, remember


@dataclass(frozen=True)
class _Comparison:
    """Two responses to be compared, and where they stand."""

    group: Group
    pair: Pair

    @property
    def body(self) -> dict[str, Any]:
        """What is posted: both orders are read."""
        responses = [self.group.responses[place] for place in self.pair]
        design = {"mode": "both"}
        return {"prompt": plain_prompt(self.group.prompt), "responses": responses, "design": design}

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
        """Return d(x, a, b) of the pairs of each group: see `protocol.Scorer`."""
        asked: list[_Comparison] = []
        for group, group_pairs in zip(groups, pairs, strict=True):
            asked += [_Comparison(group, pair) for pair in group_pairs]
        served = self.connection.served

        def key(comparison: _Comparison) -> str:
            return fingerprint("remote", served.api, served.identity, comparison.body)

        def compute(missing: Sequence[_Comparison]) -> Iterator[tuple[int, list[float]]]:
            return self.connection.ask_all(
                missing, self._posted, lambda comparison: comparison.row, progress
            )

        both = np.array(remember(store, asked, key, compute), dtype=np.float64).reshape(-1, 2)
        differences = []
        for group_pairs, read in zip(pairs, by_group(both, map(len, pairs)), strict=True):
            backward = read[:, 1:] if orders == "both" else None
            differences.append(Differences(tuple(group_pairs), read[:, :1], backward))
        return differences

    def _posted(self, comparison: _Comparison) -> list[float]:
        return self.connection.client.post("compare", comparison.body, _both_orders)


def _both_orders(answer: Any) -> list[float]:
    """Return d(a, b) and d(b, a) from an answer of /compare to two responses."""
    compared = answer.get("comparisons") if isinstance(answer, dict) else None
    if not isinstance(compared, list):
        raise ValueError("no comparisons")
    by_pair = {}
    for entry in compared:
        if not isinstance(entry, dict):
            raise ValueError("a comparison that is no object")
        by_pair[entry.get("a"), entry.get("b")] = number(entry.get("difference"))
    if by_pair.keys() != {(0, 1), (1, 0)}:
        raise ValueError("other comparisons than were asked for")
    return [by_pair[0, 1], by_pair[1, 0]]
