"""What everyone who states by how much responses are better has in common."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Literal, Protocol, runtime_checkable

from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.records import Group
from rewarddiff.store import Store
from rewarddiff.verdicts import Verdicts

Orders = Literal["both", "one"]


@runtime_checkable
class Scorer(Protocol):
    """A reward model, a difference model, the data's own grades, …

    Attributes:
        name: what errors call it.
        temperature: T fitted on held-out comparisons: σ(d / T) is then the probability to be
            preferred. None where there is none.
        prompts: hashes of the prompts that it learned from, as `data.prompt_hashes` makes them; None
            where not known.
    """

    @property
    def name(self) -> str: ...

    @property
    def temperature(self) -> float | None: ...

    @property
    def prompts(self) -> Set[str] | None: ...

    def differences(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Differences]:
        """Return d(x, a, b) for the pairs (a, b) of each group, in their order.

        Args:
            pairs: for every group, pairs of places of its responses.
            orders: read each pair both ways, which makes d antisymmetric to the bit, or with a first
                alone. Where responses are read by themselves the two are the same.
            store: where values are kept and found again.
            progress: name of the progress line; None: none.
        """
        ...


@runtime_checkable
class Pointwise(Scorer, Protocol):
    """A scorer that scores a response by itself: d(x, a, b) is r(x, a) − r(x, b)."""

    def rewards(
        self, groups: Sequence[Group], *, store: Store | None = None, progress: str | None = None
    ) -> list[Array]:
        """Return r(x, y) of every response of each group; higher is better."""
        ...


@runtime_checkable
class Judge(Scorer, Protocol):
    """A scorer that reads two responses and gives a verdict, or none."""

    def verdicts(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Verdicts]:
        """Return what it says of the pairs of each group, in the orders they were read.

        `differences` states the same: 0 where a verdict turns with the order, NaN where there is none.
        """
        ...


class ScorerOptions(Protocol):
    """A scorer that is not trained here, as a recipe asks for it: a dataclass of its options.

    Attributes:
        kind: which of `kinds.KINDS` is meant; a `Literal` with one value.
    """

    @property
    def kind(self) -> str: ...

    def scorer(self, name: str) -> Scorer:
        """Return the scorer; errors call it `name`."""
        ...

    def fingerprint(self) -> str:
        """Return a hash of all that determines its answers: equal ones answer alike."""
        ...
