"""What a format is, and the few readers of fields that all of them share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewarddiff.data.files import Cell
from rewarddiff.data.ledger import Reason
from rewarddiff.records import Group, Message, Prompt

Values = Mapping[str, Any]
"""One row: column → value."""

Convert = Callable[[Values], Group]
"""One row → one group; raises RowError. The reader fills in `source`, and `id` where it is empty."""


class RowError(Exception):
    """This row cannot be used; the reader counts it and goes on."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Format:
    """How one family of files says what was preferred.

    `columns` must all be there; `looks` settles what the column names leave open. `prepare` is told the file
    (None: not a file) and returns the converter. Where `gather` is set a prompt is spread over consecutive
    rows, and their groups are merged into one. `beside` names the stem of a file that is read along with
    this one and holds no groups itself.
    """

    name: str
    columns: tuple[str, ...]
    prepare: Callable[[Path | None], Convert]
    looks: Callable[[Values], bool] = lambda values: True
    gather: bool = False
    beside: str = ""

    def matches(self, values: Values) -> bool:
        return all(column in values for column in self.columns) and self.looks(values)


def by_row(convert: Convert) -> Callable[[Path | None], Convert]:
    """`prepare` for a format that needs nothing but the row."""
    return lambda path: convert


def text(values: Values, column: str) -> str:
    """A text that must be there (it may be empty: that is another reason)."""
    value = values.get(column)
    if value is None:
        raise RowError(Reason.MISSING_FIELD, f"no {column}")
    if not isinstance(value, str):
        raise RowError(Reason.MISSING_FIELD, f"{column} is {type(value).__name__}, expected text")
    return value


def number(values: Values, column: str) -> float:
    """A finite number that must be there; digits in text count."""
    value = optional_number(values, column)
    if value is None:
        raise RowError(Reason.MISSING_FIELD, f"no {column}")
    return value


def optional_number(values: Values, *columns: str) -> float | None:
    """The first of the columns that holds anything, as a finite number; None if none does."""
    for column in columns:
        value = values.get(column)
        if value is not None and value != "":
            return finite(value, column)
    return None


def finite(value: Any, what: str) -> float:
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise RowError(Reason.MISSING_FIELD, f"{what} is not a number") from None
    if not math.isfinite(result):
        raise RowError(Reason.NON_FINITE_SCORE, f"{what} is {value}")
    return result


SUBSETS = ("subset", "domain", "source", "category")
"""Columns by which collections name their parts: RewardBench, RM-Bench, UltraFeedback, HelpSteer."""


def subset(values: Values) -> str:
    """The part of its collection that a row is from; empty where no column says so in a word or two."""
    found = (values.get(column) for column in SUBSETS)
    return next((value for value in found if isinstance(value, str) and 0 < len(value) <= 60), "")


def items(values: Values, column: str) -> list[Any]:
    """A list that must be there; in a CSV cell it is JSON."""
    found = listed(values.get(column))
    if found is None:
        raise RowError(Reason.MISSING_FIELD, f"{column} is not a list (written in a cell of text, a list is JSON)")
    return found


def listed(value: Any) -> list[Any] | None:
    """The list that a value is, or that a text is in JSON, as where a cell can hold text only; None: it is neither."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return list(value) if isinstance(value, list | tuple) else None


def turns(value: Any) -> list[Any] | None:
    """The turns of a conversation, as a list or in JSON; None: it is no list, or a text that says something else."""
    found = listed(value)
    if isinstance(value, str) and not all(isinstance(turn, Mapping) and "role" in turn for turn in found or (None,)):
        return None
    return found


def texts(values: Values, column: str) -> tuple[str, ...]:
    """A list of texts; an answer given as messages counts by its only message."""
    return tuple(_answer(item, column) for item in items(values, column))


def lists_of_answers(values: Values) -> bool:
    """Whether chosen and rejected are lists of answers, each a text or a conversation, and not one answer each.

    A CSV cell that begins and ends as a list of texts does is taken for one, so that one that is not JSON is refused
    and not read as an answer.
    """
    return all(holds_answers(values[side]) for side in ("chosen", "rejected")) and any(
        values[side] for side in ("chosen", "rejected")
    )


def holds_answers(value: Any) -> bool:
    """Whether a value is a list of answers, or a CSV cell that looks like one."""
    if isinstance(value, str):
        return isinstance(value, Cell) and value.lstrip()[:2] in ("['", '["') and value.rstrip()[-2:] in ("']", '"]')
    return isinstance(value, list | tuple) and all(isinstance(item, str | list | tuple) for item in value)


def _answer(item: Any, what: str) -> str:
    if isinstance(item, list | tuple) and len(item) == 1:
        item = item[0]
    if isinstance(item, Mapping):
        item = item.get("content")
    if not isinstance(item, str):
        raise RowError(Reason.MISSING_FIELD, f"{what} holds a {type(item).__name__}, expected text")
    return item


def numbers(values: Values, column: str, *, count: int) -> tuple[float, ...]:
    """A list of `count` finite numbers."""
    return tuple(finite(value, column) for value in _of(values, column, count))


def scores(values: Values, *, count: int) -> tuple[float, ...]:
    """The `count` finite scores of a list, NaN where one is null: `clean` says what is known without it."""
    found = _of(values, "scores", count)
    return tuple(math.nan if value is None else finite(value, "scores") for value in found)


def _of(values: Values, column: str, count: int) -> list[Any]:
    found = items(values, column)
    if len(found) != count:
        raise RowError(Reason.MISSING_FIELD, f"{count} responses but {len(found)} {column}")
    return found


def messages(value: Iterable[Any], what: str) -> tuple[Message, ...]:
    """A conversation in the usual form: [{"role": …, "content": …}, …]."""
    turns = []
    for turn in value:
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, Mapping) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            raise RowError(Reason.MISSING_FIELD, f"{what} holds a turn without the texts role and content")
        turns.append(Message(role, content))
    return tuple(turns)


def last_turn(asked: tuple[Message, ...], turns: tuple[Message, ...], what: str) -> str:
    """The one turn after the prompt, which the turns may repeat: the response."""
    rest = turns[len(asked) :] if asked and turns[: len(asked)] == asked else turns
    if not rest:
        raise RowError(Reason.EMPTY_RESPONSE, f"{what} holds no turn after the prompt")
    if len(rest) > 1:
        raise RowError(Reason.PROMPTS_DIFFER, f"{what} goes on for {len(rest)} turns after the prompt")
    return rest[0].content


def prompt(values: Values, column: str = "prompt") -> Prompt:
    """A prompt that must be there: text or a conversation."""
    found = turns(values.get(column))
    return text(values, column) if found is None else messages(found, column)


def asked(question: str) -> tuple[Message, ...]:
    """A conversation of one user turn, for data whose prompt is an instruction and not text to continue."""
    return (Message("user", question),)


def row_id(values: Values) -> str:
    """The row's own id, if it has one."""
    value = values.get("id")
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
