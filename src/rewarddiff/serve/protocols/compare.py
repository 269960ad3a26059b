"""Our own comparisons: one prompt's responses against each other, or against others given."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic import ConfigDict, StrictStr

from rewarddiff.designs import DesignConfig, comparisons
from rewarddiff.differences import Differences
from rewarddiff.records import Group
from rewarddiff.scorers.over_baseline import against
from rewarddiff.scorers.ranking import ranking_of
from rewarddiff.serve.asking import Comparing
from rewarddiff.serve.failures import refused
from rewarddiff.serve.protocols.base import Json, Protocol, Responses, Turns
from rewarddiff.serve.served import Answer, Served

MOST_RESPONSES = 64
"""That are compared in one request; each with each, in both orders, that is 4,032 comparisons."""


class Compare(Protocol):
    """`{"prompt": …, "responses": [str, …], "design": {"mode": …}}` → rewards and comparisons.

    The rewards are potentials (`rankings.potentials`) of the comparisons that the design reads; with
    `anchors` instead of a design, the mean of d(x, y, anchor), both orders read.

    Attributes:
        id: the group's name, which with the design's seed draws what the design leaves to chance.
    """

    model_config = ConfigDict(extra="forbid")
    route: ClassVar[str] = "/compare"
    serves: ClassVar[str] = "comparisons"

    id: StrictStr = "responses"
    prompt: Turns
    responses: Responses
    design: DesignConfig | None = None
    anchors: Responses | None = None

    def work(self, served: Served) -> Comparing:
        served.require_readable(self.prompt, "prompt")
        count = len(self.responses)
        if not count or max(count, len(self.anchors or ())) > MOST_RESPONSES:
            raise refused(f"{count} responses; send 1 to {MOST_RESPONSES}, and as many anchors")
        if self.anchors is None:
            if count == 1:
                raise refused("one response, and nothing to compare it with; send 2, or anchors")
            design = self.design or DesignConfig()
            group = Group(self.id, self.prompt, tuple(self.responses))
            # A design that wants both orders lists both.
            return Comparing(group, tuple(comparisons(count, design, self.id)), "one")
        if self.design is not None:
            raise refused("a design and anchors; send one of them")
        if not self.anchors:
            raise refused("no anchors in the list; send at least one, or leave the key out")
        group = Group(self.id, self.prompt, (*self.responses, *self.anchors))
        return Comparing(group, tuple(against(count, len(self.anchors))), "both")

    def answer(self, served: Served, answer: Answer) -> Json:
        assert isinstance(answer, Differences)
        content = self._ranked(answer) if self.anchors is None else self._anchored(answer)
        return {**content, "model": served.name, "fingerprint": served.fingerprint}

    def _ranked(self, differences: Differences) -> dict[str, Any]:
        ranking = ranking_of(len(self.responses), differences, "potentials")
        compared = []
        for (a, b), d in zip(ranking.pairs, ranking.differences.tolist(), strict=True):
            compared.append({"a": a, "b": b, "difference": d})
        inconsistency = None if math.isnan(ranking.inconsistency) else ranking.inconsistency
        return {
            "rewards": ranking.scores.tolist(),
            "comparisons": compared,
            "inconsistency": inconsistency,
            "readings": ranking.readings,
        }

    def _anchored(self, differences: Differences) -> dict[str, Any]:
        count = len(self.responses)
        d = differences.mean
        compared = []
        for (a, b), value in zip(differences.pairs, d.tolist(), strict=True):
            compared.append({"a": a, "anchor": b - count, "difference": value})
        return {
            "rewards": d.reshape(count, -1).mean(1).tolist(),
            "comparisons": compared,
            "readings": differences.readings,
        }
