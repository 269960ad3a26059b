"""How people are asked, and who can reach the page."""

from __future__ import annotations

from dataclasses import dataclass

from rewarddiff.config import at_least, checked, positive


@checked
@dataclass(frozen=True)
class AnnotateConfig:
    """Options of `rewarddiff annotate`, as key=value.

    Attributes:
        guidelines: a text file (Markdown) for annotators; None: a short text of ours.
        names: further hosts that the page is asked for by, as annotate.example.org.
        https: the page is reached through a proxy that encrypts.
        per_item: annotators who are asked about each item; None: all.
        limit: at most so many items.
        seed: draws orders and sides; None: a random one. It is kept with the project.
        shuffle: each annotator gets the items in an order of their own.
        rate: requests a second of one annotator (of one address where there is no link), at most.
    """

    guidelines: str | None = None
    names: tuple[str, ...] = ()
    https: bool = False
    per_item: int | None = None
    limit: int | None = None
    seed: int | None = None
    shuffle: bool = True
    rate: float | None = 50.0

    def __post_init__(self) -> None:
        at_least(self, 1, "per_item", "limit")
        positive(self, "rate")
