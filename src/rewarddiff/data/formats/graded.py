"""Formats in which each response of a prompt has a grade or a rank."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from statistics import fmean
from typing import Any

from rewarddiff.data.formats.base import FieldError, Format, RowError, Values
from rewarddiff.data.formats.battles import helpsteer_prompt
from rewarddiff.data.formats.cells import (
    finite,
    items,
    listed,
    number,
    optional_number,
    row_id,
    text,
)
from rewarddiff.data.formats.conversations import asked, prompt
from rewarddiff.data.formats.lists import ranked
from rewarddiff.data.ledger import Reason
from rewarddiff.records import Comparison, Group

NOT_RATED = ("N/A", "NA", "")
"""What UltraFeedback writes where an aspect does not apply."""


def _helpsteer(values: Values) -> Group:
    """Read HelpSteer's ratings, a response a row: the score is `helpfulness`, 0 to 4.

    The rows of a prompt are gathered.
    """
    rating = number(values, "helpfulness")
    return Group(row_id(values), helpsteer_prompt(values), (text(values, "response"),), (rating,))


def _ultrafeedback(values: Values) -> Group:
    """Read UltraFeedback (2310.01377): `completions`, each with ratings of several aspects.

    The score is `fine-grained_score`, the mean of these ratings, or where it is missing that mean
    itself. `overall_score` is not read: some that are 10 were meant as 1.
    """
    completions = items(values, "completions")
    responses = tuple(text(completion, "response") for completion in completions)
    scores = tuple(_rating(completion) for completion in completions)
    return Group(row_id(values), asked(text(values, "instruction")), responses, scores)


def _rating(completion: Mapping[str, Any]) -> float:
    """Return a completion's mean rating; NaN where it has none."""
    fine_grained = optional_number(completion, "fine-grained_score")
    if fine_grained is not None:
        return fine_grained
    ratings = []
    for aspect, annotation in (completion.get("annotations") or {}).items():
        rating = annotation.get("Rating")
        if rating is not None and rating not in NOT_RATED:
            ratings.append(finite(rating, aspect))
    return fmean(ratings) if ratings else math.nan


def _nectar(values: Values) -> Group:
    """Read Nectar: `answers`, each with its rank, 1 the best. Ranks say nothing of how much."""
    answers = items(values, "answers")
    responses = tuple(text(answer, "answer") for answer in answers)
    ranks = [number(answer, "rank") for answer in answers]
    return Group(row_id(values), prompt(values), responses, comparisons=ranked(ranks))


def _shp(values: Values) -> Group:
    """Read SHP: two comments on a post, their scores, and in `labels` which is preferred.

    1 is the first. The strength is the gap of the scores.
    """
    responses = (text(values, "human_ref_A"), text(values, "human_ref_B"))
    label = number(values, "labels")
    if label not in (0, 1):
        raise FieldError(f"labels is {label:g}, expected 0 or 1")
    scores = (number(values, "score_A"), number(values, "score_B"))
    chosen = 0 if label == 1 else 1
    gap = scores[chosen] - scores[1 - chosen]
    if gap < 0:
        raise RowError(Reason.CONTRADICTORY, f"labels is {label:g} with scores {scores}")
    comparison = Comparison(chosen, 1 - chosen, gap)
    question = asked(text(values, "history"))
    return Group(row_id(values), question, responses, scores, (comparison,))


def _holds(column: str, key: str, values: Values) -> bool:
    """Tell whether a column is a list of objects with this key."""
    objects = listed(values[column])
    if objects is None:
        return False
    return all(isinstance(element, Mapping) and key in element for element in objects)


HELPSTEER = Format("helpsteer", ("prompt", "response", "helpfulness"), _helpsteer, gather=True)
ULTRAFEEDBACK = Format(
    "ultrafeedback",
    ("instruction", "completions"),
    _ultrafeedback,
    looks=partial(_holds, "completions", "response"),
)
NECTAR = Format("nectar", ("prompt", "answers"), _nectar, looks=partial(_holds, "answers", "rank"))
SHP = Format(
    "shp",
    ("history", "human_ref_A", "human_ref_B", "score_A", "score_B", "labels"),
    _shp,
)
