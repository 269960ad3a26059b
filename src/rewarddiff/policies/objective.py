"""What every objective of a policy tells those who train with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from rewarddiff.data.ledger import Ledger
from rewarddiff.encoding import Encoder
from rewarddiff.forward import LogProbs
from rewarddiff.loop.objective import Objective
from rewarddiff.policies.batch import Column
from rewarddiff.policies.items import Pairs, PreferenceItem
from rewarddiff.records import Group


class PolicyObjective(Protocol):
    """An objective as a recipe names it: a frozen config that makes its items and its loss."""

    @property
    def name(self) -> str: ...

    @property
    def reads(self) -> frozenset[Column]:
        """The columns it reads besides the policy's log-probabilities."""
        ...

    @property
    def compares(self) -> bool:
        """Whether it learns from comparisons, and so takes coefficients, strengths and orders."""
        ...

    def check(self, groups: Iterable[Group]) -> None:
        """Raise a UserError where it cannot learn from such groups."""
        ...

    def items(
        self, groups: Iterable[tuple[Group, Pairs]], encoder: Encoder, ledger: Ledger
    ) -> list[PreferenceItem]:
        """Return the items of `stream` in memory."""
        ...

    def stream(
        self, groups: Iterable[tuple[Group, Pairs]], encoder: Encoder, ledger: Ledger
    ) -> Iterator[PreferenceItem]:
        """Yield what is trained on; groups with nothing for it are counted in the ledger."""
        ...

    def over(self, policy: LogProbs, *, signed: bool, tokens: int) -> Objective[PreferenceItem]:
        """Return what the loop trains.

        Args:
            signed: let negative coefficients through.
            tokens: an item of more is read in parts.
        """
        ...
