"""Our own files of people's votes: a row for each vote, or for each pair with all its votes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from rewarddiff.data.formats.annotated import whole
from rewarddiff.data.formats.base import FieldError, Format, Values
from rewarddiff.data.formats.cells import items, listed, optional_number, text
from rewarddiff.data.formats.conversations import answer, in_context, prompt
from rewarddiff.data.formats.pairs import TRL, trl_texts
from rewarddiff.data.votes import Vote
from rewarddiff.records import Comparison, Group, is_number

CHOSEN, REJECTED = "chosen", "rejected"


def _vote(values: Values) -> Group:
    """Read a row of one vote: of its pair's strength it tells a part, see `_pooled`."""
    (vote,) = _vote_of(values)
    comparisons: tuple[Comparison, ...] = ()
    if vote.grade is not None:
        comparisons = (Comparison.by_gap(0, 1, vote.grade),)
    responses = (vote.response_a, vote.response_b)
    return Group(vote.item, vote.prompt, responses, comparisons=comparisons)


def _vote_of(values: Values) -> Iterator[Vote]:
    yield _checked(
        prompt=in_context(values, prompt(values)),
        response_a=answer(values, "response_a"),
        response_b=answer(values, "response_b"),
        grade=grade(values, "grade"),
        annotator=word(values, "annotator"),
        steps=steps(values),
        seconds=optional_number(values, "seconds"),
        reason=word(values, "reason"),
        source_a=word(values, "source_a"),
        source_b=word(values, "source_b"),
        item=word(values, "item"),
    )


def _pooled(groups: Sequence[Group]) -> list[Group]:
    """Make one group of all votes on the same two responses: the strength is their mean grade."""
    by_pair: dict[frozenset[str], list[Group]] = {}
    for group in groups:
        by_pair.setdefault(frozenset(map(str.strip, group.responses)), []).append(group)
    pooled = []
    for first, *others in by_pair.values():
        grades = []
        for group in (first, *others):
            is_turned = group.responses[0].strip() != first.responses[0].strip()
            grades += [-gap if is_turned else gap for gap in _gaps(group)]
        comparisons = (Comparison.by_gap(0, 1, fmean(grades)),) if grades else ()
        pooled.append(replace(first, comparisons=comparisons))
    return pooled


def _gaps(group: Group) -> Iterator[float]:
    """Yield by how much the first response is better."""
    for comparison in group.comparisons:
        assert comparison.strength is not None
        yield comparison.strength if comparison.chosen == 0 else -comparison.strength


def _votes_of_pair(values: Values) -> Iterator[Vote]:
    """Yield the votes of a row of one pair, in which grades are in favour of the chosen response."""
    question, chosen, rejected = trl_texts(values)
    for vote in items(values, "votes"):
        of_chosen = _checked(
            prompt=in_context(values, question),
            response_a=chosen,
            response_b=rejected,
            grade=grade(vote, "grade"),
            annotator=word(vote, "annotator"),
            steps=steps(values),
            seconds=optional_number(vote, "seconds"),
            reason=word(vote, "reason"),
            source_a=word(values, "chosen_source"),
            source_b=word(values, "rejected_source"),
            item=word(values, "id"),
        )
        yield of_chosen if values.get("a", CHOSEN) == CHOSEN else of_chosen.swap()


def _checked(**fields: Any) -> Vote:
    try:
        return Vote(**fields)
    except ValueError as error:
        raise FieldError(str(error)) from None


def steps(values: Values) -> int:
    """Return the steps of a vote's scale, seven where none are named."""
    given = optional_number(values, "steps")
    return 7 if given is None else whole(given, "steps")


def grade(values: Values, column: str) -> int | None:
    """Return the grade; None of a vote that was skipped, but its column must be there."""
    if column not in values:
        raise FieldError(f"no {column}")
    given = optional_number(values, column)
    return None if given is None else whole(given, column)


def word(values: Values, column: str) -> str:
    """Return a text or a number that may be missing."""
    value = values.get(column)
    if value is None:
        return ""
    return str(value) if is_number(value) else text(values, column)


def _has_votes(values: Values) -> bool:
    """Tell a list of objects with a grade each from a count of votes, or votes for each side."""
    votes = listed(values["votes"])
    if not votes or not all(isinstance(vote, dict) and "grade" in vote for vote in votes):
        return False
    return TRL.looks(values)


VOTE = Format(
    "vote",
    ("prompt", "response_a", "response_b", "grade", "annotator"),
    _vote,
    gather=True,
    pool=_pooled,
    votes=_vote_of,
)
VOTED = Format(
    "voted",
    ("prompt", "chosen", "rejected", "votes"),
    TRL.convert,
    looks=_has_votes,
    votes=_votes_of_pair,
)
