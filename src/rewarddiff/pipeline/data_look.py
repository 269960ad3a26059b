"""What data holds, as far as the choice of a first recipe depends on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

from rewarddiff.data import Groups
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.records import Group
from rewarddiff.writing import counted

SAMPLED = 200
"""Groups whose texts are counted in tokens."""


@dataclass(frozen=True)
class DataLook:
    """Counts over all groups, and the lengths of texts of some, in tokens of the policy.

    Attributes:
        lists: groups of three responses and more.
        decided: comparisons that are no tie. stated: comparisons whose strength the data states.
        strengths: how many different strengths that are, ties left out.
        weighed: comparisons with a coefficient of the data's own. negative: those of them below 0.
        most_comparisons: of one group.
        prompt, response: the length that 95 of 100 do not exceed.
        mean_prompt, mean_response: mean lengths.
    """

    groups: int
    responses: int
    lists: int
    conversations: int
    comparisons: int
    decided: int
    stated: int
    strengths: int
    weighed: int
    negative: int
    most_comparisons: int
    desirable: int
    undesirable: int
    prompt: int
    response: int
    mean_prompt: float
    mean_response: float

    @property
    def graded(self) -> bool:
        """Whether the data states how much better for every comparison, and not always the same.

        Beside coefficients it is a scorer that states it.
        """
        is_stated = self.stated == self.comparisons and self.strengths > 1
        return is_stated and not self.has_coefficients

    @property
    def has_coefficients(self) -> bool:
        """Whether every comparison has a coefficient of the data's own."""
        return 0 < self.comparisons == self.weighed

    @property
    def mostly_lists(self) -> bool:
        return 2 * self.lists > self.groups

    def sentences(self) -> Iterator[str]:
        """Yield what the data holds, a line each."""
        each = self.responses / self.groups
        kind = "a conversation each" if self.conversations == self.groups else "plain text"
        if 0 < self.conversations < self.groups:
            kind = f"{self.conversations} of them conversations"
        yield f"{counted(self.groups, 'prompt')} ({kind}) with {each:.3g} responses each."
        if self.comparisons:
            yield (
                f"{counted(self.comparisons, 'comparison')}, {self.comparisons - self.decided} of them ties; "
                f"{self._strengths()}."
            )
        if self.desirable or self.undesirable:
            yield (
                f"{counted(self.desirable, 'response')} labelled desirable, {self.undesirable} undesirable."
            )
        yield (
            f"In tokens, 95 of 100 prompts have no more than {self.prompt}, responses "
            f"{self.response}."
        )

    def _strengths(self) -> str:
        if self.has_coefficients:
            return "each has a coefficient of its own"
        if not self.stated:
            return "how much better is not stated"
        if self.graded:
            return f"how much better is stated for all, in {self.strengths} degrees"
        if self.stated == self.comparisons:
            return "how much better is stated, and always the same"
        return f"how much better is stated for {self.stated} of them, which is too few to use"


def look(groups: Groups, encoder: Encoder) -> DataLook:
    """Count what groups hold.

    Args:
        encoder: of the policy, without limits.

    Raises:
        TemplateRefused: the chat template refuses a prompt.
    """
    responses = lists = conversations = comparisons = decided = stated = most = 0
    labels = {True: 0, False: 0}
    strengths: set[float] = set()
    coefficients: list[float] = []
    for group in groups:
        responses += len(group.responses)
        lists += len(group.responses) > 2
        conversations += not isinstance(group.prompt, str)
        known = list(group.known_comparisons())
        comparisons += len(known)
        decided += sum(not comparison.tie for comparison in known)
        most = max(most, len(known))
        given = [c.strength for c in known if c.strength is not None]
        stated += len(given)
        coefficients += [c.coefficient for c in known if c.coefficient is not None]
        strengths.update(strength for strength in given if strength)
        for _, label in group.known_labels():
            labels[label] += 1
    prompts, texts = _lengths(_sampled(groups), encoder)
    return DataLook(
        groups=len(groups),
        responses=responses,
        lists=lists,
        conversations=conversations,
        comparisons=comparisons,
        decided=decided,
        stated=stated,
        strengths=len(strengths),
        weighed=len(coefficients),
        negative=sum(coefficient < 0 for coefficient in coefficients),
        most_comparisons=most,
        desirable=labels[True],
        undesirable=labels[False],
        prompt=_most(prompts),
        response=_most(texts),
        mean_prompt=mean(prompts),
        mean_response=mean(texts),
    )


def unlimited(tokenizer: object) -> Encoder:
    """Return an encoder that cuts nothing."""
    return Encoder(tokenizer, LengthConfig(max_response=1_000_000_000))  # type: ignore[arg-type]


def _sampled(groups: Groups) -> Groups:
    """Return some groups, evenly spread over the data."""
    step = max(1, len(groups) // SAMPLED)
    return groups.select(list(range(0, len(groups), step))[:SAMPLED])


def _lengths(groups: Sequence[Group], encoder: Encoder) -> tuple[list[int], list[int]]:
    """Return the lengths of all prompts and of all responses."""
    encoder.require(groups)
    prompts: list[int] = []
    responses: list[int] = []
    for group in groups:
        prompts.append(len(encoder.prompt(group.prompt)))
        responses += map(len, encoder.responses(group.prompt, group.responses))
    return prompts, responses


def _most(lengths: Sequence[int]) -> int:
    """Return the length that 95 of 100 do not exceed."""
    ranked = sorted(lengths)
    return ranked[int(0.95 * (len(ranked) - 1))]
