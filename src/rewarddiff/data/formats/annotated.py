"""Collections in which every row has the votes of several people on two responses."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

from rewarddiff.data.formats.base import FieldError, Format, Values
from rewarddiff.data.formats.cells import items, optional_number, row_id, signed, text
from rewarddiff.data.formats.conversations import asked, in_context, prompt, spoken_prompt
from rewarddiff.data.votes import Vote
from rewarddiff.records import Comparison, Group, Prompt

MULTIPREF_GRADES = {
    "A-is-clearly-better": 2,
    "A-is-slightly-better": 1,
    "Tie": 0,
    "B-is-slightly-better": -1,
    "B-is-clearly-better": -2,
}
"""MultiPref's five answers as steps in favour of the first response."""

GRADES_IN_SMALL_LETTERS = {answer.lower(): grade for answer, grade in MULTIPREF_GRADES.items()}

NORMAL, EXPERT = ("normal_worker_annotations", "expert_worker_annotations")

EXPERT_PREFIX = "expert "
"""What the name of an annotator among the experts begins with here: each column has its own."""

HELPSTEER3_LARGEST = 3


def _multipref(values: Values) -> Group:
    """Read MultiPref (2410.19133): the strength is the mean of four people's answers.

    One says "clearly" (2), "slightly" (1) or "tie" (0).
    """
    grades = []
    for column in (NORMAL, EXPERT):
        grades += [_grade(annotation) for annotation in items(values, column)]
    if not grades:
        raise FieldError("no annotation")
    responses = (text(values, "completion_a"), text(values, "completion_b"))
    comparison = Comparison.by_gap(0, 1, fmean(grades))
    id = str(values.get("comparison_id") or "")
    return Group(id, asked(text(values, "text")), responses, comparisons=(comparison,))


def _multipref_votes(values: Values) -> Iterator[Vote]:
    """Yield the answer of every annotator."""
    for column, prefix in ((NORMAL, ""), (EXPERT, EXPERT_PREFIX)):
        for place, annotation in enumerate(items(values, column), start=1):
            evaluator = annotation.get("evaluator") or f"annotator {place}"
            yield Vote(
                prompt=asked(text(values, "text")),
                response_a=text(values, "completion_a"),
                response_b=text(values, "completion_b"),
                grade=_grade(annotation),
                annotator=f"{prefix}{evaluator}",
                steps=5,
                seconds=optional_number(annotation, "time_spent"),
                reason=str(annotation.get("overall_own_reason") or ""),
                source_a=str(values.get("model_a") or ""),
                source_b=str(values.get("model_b") or ""),
                item=str(values.get("comparison_id") or ""),
            )


def _grade(annotation: Any) -> int:
    preference = str(annotation["overall_pref"])
    if preference.lower() not in GRADES_IN_SMALL_LETTERS:
        raise FieldError(f"overall_pref is {preference[:20]}, expected A-is-clearly-better, …")
    return GRADES_IN_SMALL_LETTERS[preference.lower()]


def _helpsteer3(values: Values) -> Group:
    """Read HelpSteer3's preferences: −3, the first is much better, to 3, the second is."""
    preference = signed(values, "overall_preference", HELPSTEER3_LARGEST)
    comparison = Comparison.by_gap(0, 1, 0.0 - preference)
    question, responses = _helpsteer3_texts(values)
    return Group(row_id(values), question, responses, comparisons=(comparison,))


def _helpsteer3_texts(values: Values) -> tuple[Prompt, tuple[str, str]]:
    responses = (text(values, "response1"), text(values, "response2"))
    return in_context(values, spoken_prompt(prompt(values, "context"))), responses


def _helpsteer3_votes(values: Values) -> Iterator[Vote]:
    """Yield every individual preference, or the overall one where there are none.

    HelpSteer3 names no annotators: they are numbered by their place in the row.
    """
    question, (first, second) = _helpsteer3_texts(values)
    individual = values.get("individual_preference")
    if not individual:
        individual = [{"score": values["overall_preference"], "annotator": "overall"}]
    for place, preference in enumerate(individual, start=1):
        yield Vote(
            prompt=question,
            response_a=first,
            response_b=second,
            grade=-whole(signed(preference, "score", HELPSTEER3_LARGEST), "score"),
            annotator=str(preference.get("annotator") or f"annotator {place}"),
            steps=7,
            seconds=optional_number(preference, "seconds"),
            reason=str(preference.get("reasoning") or ""),
            source_a=str(values.get("model1") or ""),
            source_b=str(values.get("model2") or ""),
            item=row_id(values),
        )


def whole(value: float, what: str) -> int:
    """Return a number that must be whole, as grades of single people are."""
    if value != int(value):
        raise FieldError(f"{what} is {value:g}, expected a whole number of steps")
    return int(value)


MULTIPREF = Format(
    "multipref",
    ("text", "completion_a", "completion_b", NORMAL, EXPERT),
    _multipref,
    votes=_multipref_votes,
)
HELPSTEER3 = Format(
    "helpsteer3",
    ("context", "response1", "response2", "overall_preference"),
    _helpsteer3,
    votes=_helpsteer3_votes,
)
