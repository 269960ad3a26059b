"""Label Studio's exports of projects in which two texts are compared (JSON, one object a task).

An annotation holds `results`. Which response is better stands in one of these:

    {"type": "pairwise", "value": {"selected": "left"}}             left or right, a scale of three
    {"type": "choices", "value": {"choices": ["A is much better"]}}
    {"type": "rating", "to_name": "answer1", "value": {"rating": 4}}, and one of the other text

Left, and the first text, is response a.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from rewarddiff.data.formats.annotated import whole
from rewarddiff.data.formats.base import FieldError, Format, Values
from rewarddiff.data.formats.cells import finite, items, optional_number, text
from rewarddiff.data.formats.conversations import prompt, spoken_prompt
from rewarddiff.data.votes import Vote
from rewarddiff.records import Comparison, Group

PROMPTS = ("prompt", "question", "instruction", "text", "dialogue")
"""Keys of `data` for what the texts answer, the first that is there."""

PAIRS = (
    ("answer1", "answer2"),
    ("text1", "text2"),
    ("response1", "response2"),
    ("response_a", "response_b"),
    ("completion_a", "completion_b"),
    ("answer_a", "answer_b"),
    ("left", "right"),
)
"""Keys of `data` for the two texts; the first are those of Label Studio's own templates."""

TIES = {
    "tie",
    "equal",
    "same",
    "about the same",
    "equally good",
    "both are equally good",
    "no preference",
    "neither",
    "both",
}

FIRST = {"a", "1", "left", "first"}

CHOICE = re.compile(
    r"(?:(?:answer|response|text|option|the) )*(?P<side>a|b|1|2|left|right|first|second)"
    r"(?: is)?(?: (?P<much>much|far|clearly|significantly|slightly|somewhat))?(?: better)?"
)
"""A choice in small letters without punctuation."""

SLIGHT = ("slightly", "somewhat")

STARS = 5


def _group(values: Values) -> Group:
    """Read a task: the strength is the mean grade of its annotations."""
    votes = list(_votes(values))
    grades = [vote.grade for vote in votes if vote.grade is not None]
    if not votes:
        raise FieldError("no annotation")
    comparisons = (Comparison.by_gap(0, 1, fmean(grades)),) if grades else ()
    first = votes[0]
    responses = (first.response_a, first.response_b)
    return Group(first.item, first.prompt, responses, comparisons=comparisons)


def _votes(values: Values) -> Iterator[Vote]:
    """Yield what every annotator of a task says; one that was cancelled is a skipped vote."""
    data = values["data"]
    meta = values.get("meta") or {}
    pair = _pair_of(data)
    given_steps = optional_number(data, "steps")
    question = spoken_prompt(prompt(data, _prompt_key(data)))
    for annotation in items(values, "annotations"):
        grade, steps = None, given_steps
        if not annotation.get("was_cancelled"):
            grade, steps = _grade(items(annotation, "result"), pair, given_steps)
        try:
            yield Vote(
                prompt=question,
                response_a=text(data, pair[0]),
                response_b=text(data, pair[1]),
                grade=grade,
                annotator=_annotator(annotation.get("completed_by")),
                steps=3 if steps is None else whole(steps, "steps"),
                seconds=optional_number(annotation, "lead_time"),
                reason=_reason(annotation.get("result") or []),
                source_a=str(meta.get("source_a") or ""),
                source_b=str(meta.get("source_b") or ""),
                item=str(data.get("id") or values.get("id") or ""),
            )
        except ValueError as error:
            raise FieldError(str(error)) from None


def _pair_of(data: Mapping[str, Any]) -> tuple[str, str]:
    """Return the keys of the two texts that are compared."""
    for pair in PAIRS:
        if pair[0] in data and pair[1] in data:
            return pair
    raise FieldError(f"data holds {', '.join(data)}; expected answer1 and answer2")


def _prompt_key(data: Mapping[str, Any]) -> str:
    for key in PROMPTS:
        if key in data:
            return key
    raise FieldError(f"data holds {', '.join(data)}; expected prompt")


def _annotator(completed_by: Any) -> str:
    """Return who annotated: an e-mail address where there is one, or else an id."""
    if isinstance(completed_by, Mapping):
        completed_by = completed_by.get("email") or completed_by.get("id")
    return "" if completed_by is None else str(completed_by)


def _reason(results: list[Any]) -> str:
    """Return what was written in a text area."""
    lines: list[str] = []
    for result in results:
        if result.get("type") == "textarea":
            lines += map(str, result["value"].get("text") or [])
    return "\n".join(lines)


def _grade(
    results: list[Any], pair: tuple[str, str], given_steps: float | None
) -> tuple[int | None, float]:
    """Return the grade of an annotation, and the steps of its scale.

    Nothing that compares is a skipped vote.
    """
    stars: dict[str, int] = {}
    for result in results:
        value = result["value"]
        match result["type"]:
            case "pairwise":
                return _selected(value["selected"], result, pair), given_steps or 3
            case "choices":
                return _chosen(value["choices"], given_steps or 7), given_steps or 7
            case "rating":
                stars[str(result.get("to_name"))] = _stars(value["rating"])
    if not stars:
        return None, given_steps or 3
    if stars.keys() != set(pair):
        raise FieldError(
            f"rated is {', '.join(stars)}, expected a rating of {pair[0]} and one of {pair[1]}"
        )
    return stars[pair[0]] - stars[pair[1]], 2 * (STARS - 1) + 1


def _selected(selected: Any, result: Mapping[str, Any], pair: tuple[str, str]) -> int:
    left, _, right = str(result.get("to_name", "")).partition(",")
    if selected in ("left", left, pair[0]):
        return 1
    if selected in ("right", right, pair[1]):
        return -1
    raise FieldError(f"selected is {str(selected)[:20]}, expected left or right")


def _chosen(choices: Any, steps: float) -> int:
    """Return the grade of a choice, by what it says."""
    if not isinstance(choices, list) or len(choices) != 1:
        raise FieldError("not one choice, but several or none")
    words = " ".join(re.findall(r"[a-z0-9]+", str(choices[0]).lower()))
    if words in TIES:
        return 0
    said = CHOICE.fullmatch(words)
    if said is None:
        raise FieldError(
            f"choice is {str(choices[0])[:40]}, expected as in A is much better, "
            "A is better, A is slightly better, or Tie"
        )
    grade = _degree(said["much"], steps)
    return grade if said["side"] in FIRST else -grade


def _degree(word: str | None, steps: float) -> int:
    """Return how many steps a word means: slightly 1, much the largest, without a word between."""
    largest = int(steps) // 2
    if word in SLIGHT:
        return 1
    return min(2, largest) if word is None else largest


def _stars(rating: Any) -> int:
    stars = whole(finite(rating, "rating"), "rating")
    if not 1 <= stars <= STARS:
        raise FieldError(f"rating is {stars}, expected 1 to {STARS}")
    return stars


def _compares(values: Values) -> bool:
    data = values["data"]
    if not isinstance(data, Mapping) or not isinstance(values["annotations"], list):
        return False
    return any(a in data and b in data for a, b in PAIRS)


LABEL_STUDIO = Format(
    "label-studio", ("data", "annotations"), _group, looks=_compares, votes=_votes
)
