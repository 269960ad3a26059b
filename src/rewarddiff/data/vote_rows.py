"""Votes as rows of files: ours, and those of MultiPref, HelpSteer3 and Label Studio."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rewarddiff.data.formats.annotated import (
    EXPERT,
    EXPERT_PREFIX,
    HELPSTEER3_LARGEST,
    MULTIPREF_GRADES,
    NORMAL,
)
from rewarddiff.data.formats.voted import CHOSEN, REJECTED
from rewarddiff.data.votes import Item, Vote, items
from rewarddiff.errors import UserError
from rewarddiff.records import Prompt, plain_prompt

Row = dict[str, Any]


def vote_rows(votes: Iterable[Vote]) -> list[Row]:
    """Return a row for each vote, skipped ones among them."""
    rows = []
    for vote in votes:
        row = {
            "item": vote.item,
            "prompt": plain_prompt(vote.prompt),
            "response_a": vote.response_a,
            "response_b": vote.response_b,
            "grade": vote.grade,
            "steps": vote.steps,
            "annotator": vote.annotator,
            "seconds": vote.seconds,
            "reason": vote.reason,
            "source_a": vote.source_a,
            "source_b": vote.source_b,
        }
        rows.append(row)
    return rows


def pair_rows(votes: Iterable[Vote]) -> list[Row]:
    """Return a row for each pair that anyone has graded: preference data with a strength.

    `margin` is the mean grade in favour of the chosen response, 0 where people tie; `share` the share
    of the n grades that say the same. `a` says which of the two was response a.
    """
    return [_pair_row(item) for item in _graded(votes)]


def _pair_row(item: Item) -> Row:
    turned = item.mean < 0
    oriented = [vote.swap() if turned else vote for vote in item.votes]
    first = oriented[0]
    grades = [vote.grade for vote in oriented if vote.grade is not None]
    margin = abs(item.mean)
    agreeing = [grade for grade in grades if (grade > 0 if margin else grade == 0)]
    return {
        "id": first.item,
        "prompt": plain_prompt(first.prompt),
        "chosen": _response(first.prompt, first.response_a),
        "rejected": _response(first.prompt, first.response_b),
        "margin": margin,
        "share": len(agreeing) / len(grades),
        "n": len(grades),
        "steps": first.steps,
        "a": REJECTED if turned else CHOSEN,
        "chosen_source": first.source_a,
        "rejected_source": first.source_b,
        "votes": [
            {
                "annotator": vote.annotator,
                "grade": vote.grade,
                "seconds": vote.seconds,
                "reason": vote.reason,
            }
            for vote in oriented
        ],
    }


def _response(prompt: Prompt, response: str) -> str | list[dict[str, str]]:
    """Return a response to a text as a text, and one in a conversation as its next turn."""
    if isinstance(prompt, str):
        return response
    return [{"role": "assistant", "content": response}]


def multipref_rows(votes: Iterable[Vote]) -> list[Row]:
    """Return MultiPref's rows: five steps, a prompt of one text; skipped votes are left out."""
    answers = {grade: answer for answer, grade in MULTIPREF_GRADES.items()}
    rows = []
    for item in _graded(votes, steps=5, name="MultiPref"):
        first = item.votes[0]
        normal: list[Row] = []
        expert: list[Row] = []
        for vote in item.votes:
            if vote.grade is None:
                continue
            annotation = {
                "evaluator": vote.annotator.removeprefix(EXPERT_PREFIX),
                "overall_pref": answers[vote.grade],
                "overall_own_reason": vote.reason,
                "time_spent": vote.seconds,
            }
            is_expert = vote.annotator.startswith(EXPERT_PREFIX)
            (expert if is_expert else normal).append(annotation)
        row = {
            "comparison_id": first.item,
            "text": _one_text(first),
            "model_a": first.source_a,
            "completion_a": first.response_a,
            "model_b": first.source_b,
            "completion_b": first.response_b,
            NORMAL: normal,
            EXPERT: expert,
        }
        rows.append(row)
    return rows


def _one_text(vote: Vote) -> str:
    """Return the prompt as the one text that it is."""
    if isinstance(vote.prompt, str):
        return vote.prompt
    if len(vote.prompt) != 1 or vote.prompt[0].role != "user":
        raise UserError(
            f"item {vote.item}: MultiPref has prompts of one text, and this is a conversation of "
            f"{len(vote.prompt)} turns; write it as rows, votes or helpsteer3"
        )
    return vote.prompt[0].content


def helpsteer3_rows(votes: Iterable[Vote]) -> list[Row]:
    """Return HelpSteer3's preferences, −3 (response 1 is much better) to 3; none of skipped votes.

    `overall_preference` is the mean rounded to a whole number, halves away from 0.
    """
    rows = []
    for item in _graded(votes, steps=2 * HELPSTEER3_LARGEST + 1, name="HelpSteer3"):
        first = item.votes[0]
        individual = []
        for vote in item.votes:
            if vote.grade is not None:
                preference = {
                    "score": -vote.grade,
                    "reasoning": vote.reason,
                    "annotator": vote.annotator,
                    "seconds": vote.seconds,
                }
                individual.append(preference)
        row = {
            "id": first.item,
            "context": _turns(first.prompt),
            "response1": first.response_a,
            "response2": first.response_b,
            "overall_preference": -_rounded(item.mean),
            "individual_preference": individual,
            "model1": first.source_a,
            "model2": first.source_b,
        }
        rows.append(row)
    return rows


def _rounded(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def _turns(prompt: Prompt) -> list[dict[str, Any]]:
    """Return a prompt as turns; one that is a text is what a user says."""
    plain = plain_prompt(prompt)
    return [{"role": "user", "content": plain}] if isinstance(plain, str) else plain


def label_studio_rows(votes: Iterable[Vote]) -> list[Row]:
    """Return Label Studio's tasks with an annotation for each vote."""
    tasks = []
    for number, item in enumerate(items(votes), start=1):
        first = item.votes[0]
        task = {
            "id": number,
            "data": {
                "id": first.item,
                "prompt": plain_prompt(first.prompt),
                "answer1": first.response_a,
                "answer2": first.response_b,
                "steps": first.steps,
            },
            "meta": {"source_a": first.source_a, "source_b": first.source_b},
            "annotations": [_annotation(vote) for vote in item.votes],
        }
        tasks.append(task)
    return tasks


def _annotation(vote: Vote) -> Row:
    results: list[Row] = []
    if vote.grade is not None:
        comparison = {
            "from_name": "comparison",
            "to_name": "answer1",
            "type": "choices",
            "value": {"choices": [choice(vote.grade, vote.largest)]},
        }
        results.append(comparison)
    if vote.reason:
        reason = {
            "from_name": "reason",
            "to_name": "prompt",
            "type": "textarea",
            "value": {"text": [vote.reason]},
        }
        results.append(reason)
    return {
        "completed_by": {"email": vote.annotator},
        "result": results,
        "was_cancelled": vote.grade is None,
        "lead_time": vote.seconds,
    }


def choice(grade: int, largest: int) -> str:
    """Return a grade in words, as Label Studio's choices have it.

    >>> choice(3, 3), choice(-1, 3), choice(2, 2)
    ('A is much better', 'B is slightly better', 'A is much better')
    """
    if grade == 0:
        return "Tie"
    side = "A" if grade > 0 else "B"
    size = abs(grade)
    degree = ""
    if size == largest:
        degree = " much"
    elif size == 1:
        degree = " slightly"
    return f"{side} is{degree} better"


def _graded(votes: Iterable[Vote], steps: int | None = None, name: str = "") -> Sequence[Item]:
    """Return the items that anyone has graded.

    Raises:
        UserError: their scale has other steps than the file's that is asked for.
    """
    graded = []
    for item in items(votes):
        if steps is not None and item.votes[0].steps != steps:
            raise UserError(
                f"{name} has a scale of {steps} steps, these votes have {item.votes[0].steps}; "
                "write them as rows or votes, which keep the scale"
            )
        if not math.isnan(item.mean):
            graded.append(item)
    return graded


ROWS: dict[str, Callable[[Iterable[Vote]], list[Row]]] = {
    "rows": pair_rows,
    "votes": vote_rows,
    "multipref": multipref_rows,
    "helpsteer3": helpsteer3_rows,
    "label-studio": label_studio_rows,
}
"""What makes rows of votes, by the name of the form that is asked for."""
