"""Our own batch: prompts with their responses, one number a response."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from rewarddiff.serve.asking import Sample
from rewarddiff.serve.protocols.base import Json, Responses, RewardProtocol, Turns
from rewarddiff.serve.served import Scores, Served


class Row(BaseModel):
    """A prompt, plain text or turns, with responses."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    prompt: Turns
    responses: Responses


class Score(RewardProtocol):
    """`{"rows": [{"prompt": …, "responses": [str, …]}, …]}` → `{"scores": [[float, …], …], …}`.

    A prompt is read as in a file of data: text as it stands, turns by the chat template.
    """

    model_config = ConfigDict(extra="forbid")
    route: ClassVar[str] = "/score"
    serves: ClassVar[str] = "rewarddiff"

    rows: list[Row]

    def samples(self, served: Served) -> Iterator[Sample]:
        for i, row in enumerate(self.rows):
            for j, response in enumerate(row.responses):
                yield Sample(row.prompt, response, f"rows[{i}].responses[{j}]")

    def rewarded(self, served: Served, scores: Scores) -> Json:
        numbers = iter(scores.rewards)
        by_row = [list(islice(numbers, len(row.responses))) for row in self.rows]
        return {"scores": by_row, "model": served.name, "fingerprint": served.fingerprint}
