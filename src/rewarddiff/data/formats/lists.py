"""Formats in which a prompt has a list of responses."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from statistics import fmean

from rewarddiff.data.formats.base import (
    Format,
    RowError,
    Values,
    as_text,
    asked,
    by_row,
    finite,
    holds_answers,
    in_context,
    listed,
    lists_of_answers,
    numbers,
    prompt,
    row_id,
    scores,
    text,
    texts,
)
from rewarddiff.data.ledger import Reason
from rewarddiff.records import STYLES, Comparison, Group


def _scored(values: Values) -> Group:
    """`prompt`, `responses`, and `scores` (higher is better, null where unknown) or `ranks` (1 is
    best), or neither.

    Ranks say the order and nothing of how much: strengths are unknown, equal ranks are ties.
    """
    responses = texts(values, "responses")
    known: tuple[float, ...] | None = None
    comparisons: tuple[Comparison, ...] = ()
    if values.get("scores") is not None:
        known = scores(values, count=len(responses))
    elif values.get("ranks") is not None:
        comparisons = _ranked(numbers(values, "ranks", count=len(responses)))
    return Group(row_id(values), in_context(values, prompt(values)), responses, known, comparisons)


def _ranked(ranks: tuple[float, ...]) -> tuple[Comparison, ...]:
    return tuple(
        Comparison(i, j, 0.0 if ranks[i] == ranks[j] else None)
        if ranks[i] <= ranks[j]
        else Comparison(j, i)
        for i, j in combinations(range(len(ranks)), 2)
    )


def _rrhf(values: Values) -> Group:
    """RRHF's own files: `query`, `responses`, `scores`."""
    responses = texts(values, "responses")
    question = in_context(values, prompt(values, "query"))
    return Group(row_id(values), question, responses, scores(values, count=len(responses)))


def _qa_feedback(values: Values) -> Group:
    """Fine-grained RLHF's QA feedback (2306.01693): four predictions and who won each of the six
    pairs.

    Pairs in the order (1,2), (1,3), (1,4), (2,3), (2,4), (3,4); 0 is a tie, 1 the first, 2 the
    second.
    """
    count = sum(column.startswith("prediction ") for column in values)
    responses = tuple(text(values, f"prediction {k}") for k in range(1, count + 1))
    pairs = list(combinations(range(count), 2))
    comparisons = []
    for (i, j), winner in zip(pairs, numbers(values, "preference", count=len(pairs)), strict=True):
        if winner not in (0, 1, 2):
            raise RowError(Reason.MISSING_FIELD, f"preference holds {winner:g}, expected 0, 1 or 2")
        comparisons.append(
            Comparison(j, i) if winner == 2 else Comparison(i, j, 0.0 if winner == 0 else None)
        )
    return Group(
        row_id(values), asked(text(values, "question")), responses, None, tuple(comparisons)
    )


def _simpeval(values: Values) -> Group:
    """SimpEval (2212.09739): one system's simplification a row, rated 0 to 100 by several people.

    The score is the mean of the ratings that are there.
    """
    rated = [
        values[column] for column in values if column.startswith("rating_") and column[7:].isdigit()
    ]
    ratings = [finite(value, "rating") for value in rated if value is not None and value != ""]
    if not ratings:
        raise RowError(Reason.MISSING_FIELD, "no rating")
    column = (
        "processed_generation" if values.get("processed_generation") is not None else "generation"
    )
    question = asked(f"Simplify this sentence: {text(values, 'original')}")
    return Group(str(values["original_id"]), question, (text(values, column),), (fmean(ratings),))


def _rewardbench(values: Values) -> Group:
    """RewardBench, where both are one text; RewardBench 2 and its like, where they are lists,
    chosen beat rejected.

    A prompt that is a text is what a user says, not a text to go on with.
    """
    chosen, rejected = _answers(values, "chosen"), _answers(values, "rejected")
    pairs = product(range(len(chosen)), range(len(chosen), len(chosen) + len(rejected)))
    comparisons = tuple(Comparison(i, j) for i, j in pairs)
    given = prompt(values)
    question = in_context(values, asked(given) if isinstance(given, str) else given)
    return Group(row_id(values), question, chosen + rejected, None, comparisons)


def _answers(values: Values, side: str) -> tuple[str, ...]:
    value = values.get(side)
    if isinstance(value, str) and not holds_answers(value):
        return (as_text(value, side),)
    found = texts(values, side)
    if not found:
        raise RowError(Reason.EMPTY_RESPONSE, f"{side} holds no response")
    return found


def _rewardbench_looks(values: Values) -> bool:
    """Lists, or what only RewardBench's own files name."""
    own = {"subset", "chosen_model", "rejected_model"} <= values.keys()
    return lists_of_answers(values) or (
        own and all(isinstance(values[side], str) for side in ("chosen", "rejected"))
    )


def _rm_bench(values: Values) -> Group:
    """RM-Bench (2410.16184): a right and a wrong answer, each in three styles, in the order of
    `STYLES`."""
    group = _rewardbench(values)
    sizes = [len(_answers(values, side)) for side in ("chosen", "rejected")]
    if sizes != [len(STYLES)] * 2:
        raise RowError(
            Reason.MISSING_FIELD,
            f"{sizes[0]} chosen and {sizes[1]} rejected texts, expected 3 and 3",
        )
    return replace(group, styles=STYLES * 2)


def _rm_bench_looks(values: Values) -> bool:
    sides = [listed(values[side]) or [] for side in ("chosen", "rejected")]
    named = str(values["domain"]).startswith(("chat", "math", "code", "safety"))
    return named and lists_of_answers(values) and all(len(side) == len(STYLES) for side in sides)


SCORED = Format("scored", ("prompt", "responses"), by_row(_scored))
RRHF = Format("rrhf", ("query", "responses", "scores"), by_row(_rrhf))
QA_FEEDBACK = Format(
    "qa-feedback", ("question", "prediction 1", "prediction 2", "preference"), by_row(_qa_feedback)
)
SIMPEVAL = Format(
    "simpeval",
    ("original", "original_id", "generation", "rating_1"),
    by_row(_simpeval),
    gather=True,
)
REWARDBENCH = Format(
    "rewardbench", ("prompt", "chosen", "rejected"), by_row(_rewardbench), looks=_rewardbench_looks
)
RM_BENCH = Format(
    "rm-bench", ("prompt", "chosen", "rejected", "domain"), by_row(_rm_bench), looks=_rm_bench_looks
)
