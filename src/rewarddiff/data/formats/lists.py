"""Formats in which a prompt has a list of responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from statistics import fmean

from rewarddiff.data.formats.base import FieldError, Format, RowError, Values
from rewarddiff.data.formats.cells import (
    as_text,
    finite,
    holds_answers,
    listed,
    lists_of_answers,
    numbers,
    require_few,
    row_id,
    scores,
    text,
)
from rewarddiff.data.formats.conversations import asked, in_context, prompt, spoken_prompt, texts
from rewarddiff.data.ledger import Reason
from rewarddiff.records import STYLES, Comparison, Group


def _scored(values: Values) -> Group:
    """Read `prompt`, `responses`, and `scores` (higher is better, null where unknown) or `ranks`.

    Ranks (1 is best) say the order and nothing of how much: strengths are unknown, equal ranks are
    ties. Both may be missing.
    """
    responses = texts(values, "responses")
    grades = None
    comparisons: tuple[Comparison, ...] = ()
    if values.get("scores") is not None:
        grades = scores(values, count=len(responses))
    elif values.get("ranks") is not None:
        comparisons = ranked(numbers(values, "ranks", count=len(responses)))
    question = in_context(values, prompt(values))
    return Group(row_id(values), question, responses, grades, comparisons)


def ranked(ranks: Sequence[float]) -> tuple[Comparison, ...]:
    """Return every pair of responses as their ranks, 1 the best, put them; equal ones tie."""
    require_few(len(ranks))
    comparisons = []
    for i, j in combinations(range(len(ranks)), 2):
        if ranks[i] == ranks[j]:
            comparisons.append(Comparison(i, j, 0.0))
        elif ranks[i] < ranks[j]:
            comparisons.append(Comparison(i, j))
        else:
            comparisons.append(Comparison(j, i))
    return tuple(comparisons)


def _rrhf(values: Values) -> Group:
    """Read RRHF's own files: `query`, `responses`, `scores`."""
    responses = texts(values, "responses")
    question = in_context(values, prompt(values, "query"))
    return Group(row_id(values), question, responses, scores(values, count=len(responses)))


def _qa_feedback(values: Values) -> Group:
    """Read Fine-grained RLHF's QA feedback (2306.01693): predictions, and who won each pair.

    Pairs of four in the order (1,2), (1,3), (1,4), (2,3), (2,4), (3,4); 0 is a tie, 1 the first, 2
    the second.
    """
    count = sum(column.startswith("prediction ") for column in values)
    require_few(count)
    responses = tuple(text(values, f"prediction {k}") for k in range(1, count + 1))
    pairs = list(combinations(range(count), 2))
    winners = numbers(values, "preference", count=len(pairs))
    comparisons = []
    for (i, j), winner in zip(pairs, winners, strict=True):
        if winner == 0:
            comparisons.append(Comparison(i, j, 0.0))
        elif winner == 1:
            comparisons.append(Comparison(i, j))
        elif winner == 2:
            comparisons.append(Comparison(j, i))
        else:
            raise FieldError(f"preference holds {winner:g}, expected 0, 1 or 2")
    question = asked(text(values, "question"))
    return Group(row_id(values), question, responses, comparisons=tuple(comparisons))


def _simpeval(values: Values) -> Group:
    """Read SimpEval (2212.09739): one system's simplification a row, rated 0 to 100 by people.

    The score is the mean of the ratings that are there.
    """
    ratings = []
    for column in values:
        if column.startswith("rating_") and column[7:].isdigit():
            value = values[column]
            if value is not None and value != "":
                ratings.append(finite(value, "rating"))
    if not ratings:
        raise FieldError("no rating")
    column = "processed_generation"
    if values.get(column) is None:
        column = "generation"
    question = asked(f"Simplify this sentence: {text(values, 'original')}")
    return Group(
        row_id({"id": values["original_id"]}), question, (text(values, column),), (fmean(ratings),)
    )


def _rewardbench(values: Values) -> Group:
    """Read RewardBench, where both are one text, or RewardBench 2, where chosen beat rejected.

    A prompt that is a text is what a user says, not a text to go on with.
    """
    chosen = _answers(values, "chosen")
    rejected = _answers(values, "rejected")
    responses = chosen + rejected
    require_few(len(responses))
    pairs = product(range(len(chosen)), range(len(chosen), len(responses)))
    comparisons = tuple(Comparison(i, j) for i, j in pairs)
    question = in_context(values, spoken_prompt(prompt(values)))
    return Group(row_id(values), question, responses, comparisons=comparisons)


def _answers(values: Values, side: str) -> tuple[str, ...]:
    value = values.get(side)
    if isinstance(value, str) and not holds_answers(value):
        return (as_text(value, side),)
    answers = texts(values, side)
    if not answers:
        raise RowError(Reason.EMPTY_RESPONSE, f"{side} holds no response")
    return answers


def _rewardbench_looks(values: Values) -> bool:
    """Tell by lists, or by what only RewardBench's own files name."""
    if lists_of_answers(values):
        return True
    sides_are_texts = isinstance(values["chosen"], str) and isinstance(values["rejected"], str)
    return sides_are_texts and {"subset", "chosen_model", "rejected_model"} <= values.keys()


def _rm_bench(values: Values) -> Group:
    """Read RM-Bench (2410.16184): a right and a wrong answer, each in the three `STYLES`."""
    group = _rewardbench(values)
    chosen = len(_answers(values, "chosen"))
    rejected = len(_answers(values, "rejected"))
    if chosen != len(STYLES) or rejected != len(STYLES):
        raise FieldError(
            f"{chosen} chosen and {rejected} rejected texts, expected 3 and 3",
        )
    return replace(group, styles=STYLES + STYLES)


def _rm_bench_looks(values: Values) -> bool:
    if not str(values["domain"]).startswith(("chat", "math", "code", "safety")):
        return False
    for side in ("chosen", "rejected"):
        answers = listed(values[side])
        if answers is None or len(answers) != len(STYLES):
            return False
    return lists_of_answers(values)


SCORED = Format("scored", ("prompt", "responses"), _scored)
RRHF = Format("rrhf", ("query", "responses", "scores"), _rrhf)
QA_FEEDBACK = Format(
    "qa-feedback", ("question", "prediction 1", "prediction 2", "preference"), _qa_feedback
)
SIMPEVAL = Format(
    "simpeval",
    ("original", "original_id", "generation", "rating_1"),
    _simpeval,
    gather=True,
)
REWARDBENCH = Format(
    "rewardbench", ("prompt", "chosen", "rejected"), _rewardbench, looks=_rewardbench_looks
)
RM_BENCH = Format(
    "rm-bench", ("prompt", "chosen", "rejected", "domain"), _rm_bench, looks=_rm_bench_looks
)
