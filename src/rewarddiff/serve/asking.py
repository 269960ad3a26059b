"""What a request asks a scorer: rewards of responses, or differences of one prompt's responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewarddiff.differences import Pair
from rewarddiff.records import Group, Prompt
from rewarddiff.scorers.protocol import Orders


@dataclass(frozen=True)
class Sample:
    """A response whose reward is asked for.

    Attributes:
        place: where it stands in its request, for messages.
    """

    prompt: Prompt
    response: str
    place: str


@dataclass(frozen=True)
class Rewards:
    """One number for each sample, and if so asked how many tokens they are read as."""

    samples: tuple[Sample, ...]
    counts_tokens: bool = False

    @property
    def size(self) -> int:
        return len(self.samples)


@dataclass(frozen=True)
class Comparing:
    """d of pairs of one group's responses."""

    group: Group
    pairs: tuple[Pair, ...]
    orders: Orders

    @property
    def size(self) -> int:
        return len(self.group.responses)


Work = Rewards | Comparing


def joined(samples: Sequence[Sample]) -> tuple[list[Group], list[tuple[int, int]]]:
    """Return samples as groups, those of one prompt together and equal ones once.

    Returns:
        The groups, each named for the first place of its prompt; and for every sample its group and
        its place there.
    """
    number: dict[tuple[type, Prompt], int] = {}
    first: list[Sample] = []
    responses: list[dict[str, int]] = []
    where = []
    for sample in samples:
        # A text that a template has written equals no other of the same letters.
        key = (type(sample.prompt), sample.prompt)
        if key not in number:
            number[key] = len(first)
            first.append(sample)
            responses.append({})
        of_prompt = responses[number[key]]
        place = of_prompt.setdefault(sample.response, len(of_prompt))
        where.append((number[key], place))
    groups = []
    for sample, of_prompt in zip(first, responses, strict=True):
        groups.append(Group(sample.place, sample.prompt, tuple(of_prompt)))
    return groups, where
