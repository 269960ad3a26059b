"""What a recipe may say of a scorer: a model, trained here or before, or another kind."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from rewarddiff.config import to_dict
from rewarddiff.scorers.judging.options import Judge, Panel
from rewarddiff.scorers.kinds import KINDS
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.people import People
from rewarddiff.scorers.protocol import ScorerOptions


@dataclass(frozen=True)
class ScorerRecipe(ScorerConfig):
    """A scorer to train, or one that is trained already.

    Attributes:
        trained: folder of a trained scorer, or of any reward model (of one label or two, or with a
            value head), used as it is: only `kind` is heeded beside it, and `aspects`, which may
            weigh its own otherwise. Whether it has seen this run's test split is for its user to
            know.
    """

    trained: str | None = None

    @property
    def own(self) -> ScorerConfig:
        """The scorer's own configuration: what is learned."""
        options = {field.name: getattr(self, field.name) for field in fields(ScorerConfig)}
        return ScorerConfig(**options)

    @property
    def heeded(self) -> dict[str, Any]:
        """The keys that something heeds, as plain data."""
        keys: dict[str, Any] = to_dict(self)
        if self.trained is None:
            return keys
        heeded = {"kind": self.kind, "trained": self.trained}
        if self.aspects:
            heeded["aspects"] = keys["aspects"]
        return heeded


JUDGES = (Judge, Panel, People)
"""Kinds that compare two responses and score none by itself: their word on policies is a win rate."""

if TYPE_CHECKING:
    AnyScorer = ScorerRecipe | ScorerOptions
else:
    AnyScorer = Annotated[reduce(or_, KINDS, ScorerRecipe), Field(discriminator="kind")]
    """A model, or a kind that is not trained here; without `kind` it is a model."""
