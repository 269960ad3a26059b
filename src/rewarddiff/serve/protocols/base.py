"""What the protocols have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, PlainValidator, StrictStr

from rewarddiff.data.formats.base import RowError
from rewarddiff.data.formats.conversations import messages
from rewarddiff.records import Prompt
from rewarddiff.serve.asking import Rewards, Sample, Work
from rewarddiff.serve.failures import refused
from rewarddiff.serve.served import Answer, Scores, Served

Json = dict[str, Any] | float
"""What an answer holds."""

__all__ = ["Json", "Protocol", "Responses", "RewardProtocol", "Turns"]


class Protocol(BaseModel):
    """A request of one protocol, and its answer.

    Keys that a trainer's protocol may send besides are left alone; our own are checked.

    Attributes:
        route: where it is sent to.
        serves: what the start-up line and the documentation call it.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    route: ClassVar[str]
    serves: ClassVar[str]

    def work(self, served: Served) -> Work:
        """Return what is to be read.

        Raises:
            Failure: the request can be read and not be scored.
        """
        raise NotImplementedError

    def answer(self, served: Served, answer: Answer) -> Json:
        """Return the answer's JSON."""
        raise NotImplementedError


class RewardProtocol(Protocol):
    """A protocol that asks for one number a response.

    Attributes:
        counts_tokens: whether the answer says how many tokens were read.
    """

    counts_tokens: ClassVar[bool] = False

    def samples(self, served: Served) -> Iterable[Sample]:
        """Return the responses in the order of their numbers."""
        raise NotImplementedError

    def rewarded(self, served: Served, scores: Scores) -> Json:
        """Return the answer's JSON."""
        raise NotImplementedError

    def work(self, served: Served) -> Rewards:
        served.require_rewards()
        samples = tuple(self.samples(served))
        for sample in samples:
            served.require_readable(sample.prompt, sample.place)
        return Rewards(samples, self.counts_tokens)

    def answer(self, served: Served, answer: Answer) -> Json:
        assert isinstance(answer, Scores)
        return self.rewarded(served, answer)


def as_prompt(value: Any) -> Prompt:
    """Return a text, or turns as chat templates have them, as a prompt."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError('should be a text, or turns [{"role": …, "content": …}, …]')
    try:
        return messages(value, "it")
    except RowError as error:
        raise ValueError(error.detail) from error


Turns = Annotated[Prompt, PlainValidator(as_prompt)]
"""A prompt as it is sent."""

Responses = list[StrictStr]


def require_as_many(name: str, values: Sequence[object], count: int, of: str) -> None:
    """Raise a Failure where a list has another length than the one that it goes with."""
    if len(values) != count:
        raise refused(f"{len(values)} {name} but {count} {of}; send one for each")
