"""What a judge may say, and the verdict in it: a number, positive where the first response is better.

The verdict is what a reply ends with: an explanation may quote others, and what follows a verdict may
take it back. What is not on the menu is no verdict.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rewarddiff.endpoints.chat import Reply, TokenChoice

GRADES = {"1": 3.0, "2": 2.0, "3": 1.0, "4": 0.0, "5": -1.0, "6": -2.0, "7": -3.0}
"""From 1, the first response is much better, over 4, a tie, to 7, the second is much better."""
LEAST_SCORE, MOST_SCORE = 1, 10
LEAST_MASS = 0.5
"""Probability that the grades must hold together where an expectation over them is to be taken."""
OFF_MENU = "a verdict off the menu"
NOT_AT_END = "no verdict at the end of the reply"
LONGEST_CLOSING = 80
"""Characters of a line that may follow a verdict: a kind word, without any number."""

# Bounded, so that no reply, however long its lines, takes long to read.
_DECOR = r"[\s*_`#\[\]()]{0,12}"
_NUMBER = r"[-+−]?\d{1,4}(?:\.\d{1,4})?"
_OUT_OF_TEN = r"(?:\s?/\s?10\b)?"
_SCORES_LABEL = re.compile(rf"{_DECOR}scores?{_DECOR}[:=]", re.I)
_GRADE_LABEL = re.compile(rf"{_DECOR}(?:final )?verdict{_DECOR}[:=]", re.I)
_SCORES = re.compile(
    rf"{_DECOR}(?P<first>{_NUMBER}){_OUT_OF_TEN}{_DECOR}(?:[\s,;|]|and)"
    rf"{_DECOR}(?P<second>{_NUMBER}){_OUT_OF_TEN}{_DECOR}\.?{_DECOR}"
)
# What a grade stands for may follow it, in brackets or as the menu has it.
_MEANING = (
    r"(?:\([^()\d]{1,80}\)|[=:–—-]\s?(?:the (?:first|second) response is|both are)[a-z ]{1,30})"
)
_GRADE = re.compile(
    rf"{_DECOR}(?P<grade>{_NUMBER})(?![\w/]){_DECOR}(?:{_MEANING})?{_DECOR}\.?{_DECOR}", re.I
)
_BARE_GRADE = re.compile(rf"{_DECOR}(?P<grade>{_NUMBER}){_DECOR}\.?{_DECOR}")


class NoVerdict(Exception):
    """A reply that holds no verdict; says why."""


Form = Callable[[Reply], float]
"""Returns the verdict in a reply, or raises `NoVerdict`."""


def scores(reply: Reply) -> float:
    """Return the first response's score minus the second's, of two scores from 1 to 10.

    They stand in the last line behind "Scores:", or alone.

    >>> scores(Reply("The first is right, the second is not.\\n**Scores:** 9 4"))
    5.0

    Raises:
        NoVerdict: there is none, or a number is off the scale.
    """
    match = _verdict(whole(reply), _SCORES_LABEL, _SCORES, _SCORES)
    first, second = (float(number.replace("−", "-")) for number in match.groups())
    if not all(LEAST_SCORE <= score <= MOST_SCORE for score in (first, second)):
        raise NoVerdict(OFF_MENU)
    return first - second


def grades(reply: Reply) -> float:
    """Return 3 where the first response is much better, 0 for a tie, −3 where the second is.

    With log-probabilities it is the expectation over the grades that might have stood there, if they
    hold half of the probability or more.

    >>> grades(Reply("Both are right; the first says why.\\nVerdict: 2"))
    2.0

    Raises:
        NoVerdict: there is none, or it is no grade.
    """
    match = _verdict(whole(reply), _GRADE_LABEL, _GRADE, _BARE_GRADE)
    if match["grade"] not in GRADES:
        raise NoVerdict(OFF_MENU)
    alternatives = _alternatives(reply, match.start("grade"))
    expected = None if alternatives is None else expectation(alternatives)
    return GRADES[match["grade"]] if expected is None else expected


FORMS: Mapping[str, Form] = {"scores": scores, "grades": grades}


def nearest_grades(expectations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the grades that are nearest to expectations over them; NaN stays NaN.

    >>> nearest_grades(np.array([0.04, -0.6, 2.9])).tolist()
    [0.0, -1.0, 3.0]
    """
    return np.round(expectations) + 0.0  # no −0


def expectation(alternatives: Mapping[str, float]) -> float | None:
    """Return the mean value of the grades among tokens; None where they hold too little together.

    Args:
        alternatives: log-probabilities of tokens, nats.

    >>> round(expectation({"1": math.log(0.6), " 2": math.log(0.2), "The": math.log(0.2)}), 6)
    2.75
    """
    masses = dict.fromkeys(GRADES, 0.0)
    for token, logprob in alternatives.items():
        if token.strip() in GRADES:
            masses[token.strip()] += math.exp(logprob)
    total = sum(masses.values())
    if not LEAST_MASS <= total < math.inf:
        return None
    return sum(GRADES[grade] * mass for grade, mass in masses.items()) / total


def whole(reply: Reply) -> str:
    """Return the text of a reply that is one.

    Raises:
        NoVerdict: it is refused, empty, or cut, where even a number may lack its last digit.
    """
    if reply.refusal or reply.finish == "content_filter":
        raise NoVerdict("the judge refuses")
    if not reply.text.strip():
        raise NoVerdict("an empty reply")
    if reply.finish == "length":
        raise NoVerdict("a reply cut by max_tokens")
    return reply.text


def _verdict(
    text: str, label: re.Pattern[str], labelled: re.Pattern[str], bare: re.Pattern[str]
) -> re.Match[str]:
    """Return the verdict in the last line, or in the last but one before a closing line.

    Raises:
        NoVerdict: there is none, or what stands behind the label is none.
    """
    lines = [line.span() for line in re.finditer(r"[^\n]+", text) if line[0].strip()]
    last = lines[-1]
    start = _end_of_label(text, label, last)
    if start is None:
        alone = bare.fullmatch(text, *last)
        if alone is not None:
            return alone
        if len(lines) > 1 and _is_closing(text[slice(*last)]):
            last = lines[-2]
            start = _end_of_label(text, label, last)
    if start is None:
        raise NoVerdict(NOT_AT_END)
    verdict = labelled.fullmatch(text, start, last[1])
    if verdict is None:
        raise NoVerdict(OFF_MENU)
    return verdict


def _end_of_label(text: str, label: re.Pattern[str], line: tuple[int, int]) -> int | None:
    """Return where a line's verdict begins; None where it has no label, or nothing behind it."""
    match = label.match(text, *line)
    if match is None or not text[match.end() : line[1]].strip(" \t\r*_"):
        return None
    return match.end()


def _is_closing(line: str) -> bool:
    return len(line) <= LONGEST_CLOSING and not re.search(r"\d", line)


def _alternatives(reply: Reply, place: int) -> Mapping[str, float] | None:
    """Return what might have stood at a place of the text; None where its token is not a grade alone."""
    joined = "".join(token.text for token in reply.tokens)
    # Servers may put in tokens that are not in the text: the end of the turn, or hidden reasoning.
    before = joined.rfind(reply.text)
    token = _token_at(reply.tokens, before + place)
    if before < 0 or token is None or token.text.strip() != reply.text[place]:
        return None
    return token.alternatives


def _token_at(tokens: tuple[TokenChoice, ...], place: int) -> TokenChoice | None:
    end = 0
    for token in tokens:
        end += len(token.text)
        if place < end:
            return token
    return None
