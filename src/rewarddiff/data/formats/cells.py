"""What stands in a row's cell: a text, a number, a list. Whatever is none is a RowError."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from rewarddiff.data.files import Cell
from rewarddiff.data.formats.base import FieldError, RowError, Values
from rewarddiff.data.ledger import Reason
from rewarddiff.writing import is_encodable

TURNS = 'a list of turns [{"role": …, "content": …}, …]'
"""How a conversation is written, for messages."""

SHAREGPT_KEYS = ("from", "value")
"""How ShareGPT names the role and the content of a turn."""

SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "system": "system",
}
"""Who speaks a turn that ShareGPT and LLaMA-Factory write with `from` and `value`."""

LARGEST = 1e15
"""Larger numbers are refused: none is a grade, and squared differences must fit into float32."""

SUBSETS = ("subset", "domain", "source", "category")
"""Columns that name a part of a collection: RewardBench, RM-Bench, UltraFeedback, HelpSteer."""

LONGEST_SUBSET = 60
"""Characters of the longest text that is the name of a part."""

MOST_RESPONSES = 512
"""Responses that a prompt may have: they make 130,000 comparisons."""

SPEAKER = re.compile(
    r"""['"](?:role|from)['"]\s*:\s*"""
    r"""['"](?:system|user|assistant|human|gpt|model|bot|tool|function)['"]"""
)
SPOKEN = re.compile(r"""['"](?:content|value)['"]\s*:""")
OPENING = re.compile(r"\s*(?:array\()?\[\s*\{")
"""How a list of objects begins: in JSON, as Python writes it, and as NumPy does."""


def text(values: Values, column: str) -> str:
    """Return a text that must be there (it may be empty: that is another reason)."""
    value = values.get(column)
    if value is None:
        raise FieldError(f"no {column}")
    return as_text(value, column)


def as_text(value: Any, what: str) -> str:
    """Return the text that a value is, unless that is a conversation nobody would read as such."""
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, value))
        raise FieldError(f"{what} is an object with {keys}; expected text or {TURNS}")
    if not isinstance(value, str):
        raise FieldError(f"{what} is {type(value).__name__}, expected text")
    if is_foreign_conversation(value):
        raise RowError(
            Reason.UNREADABLE, f"{what}: messages are to be written as JSON with role and content"
        )
    return value


def is_foreign_conversation(value: Any) -> bool:
    """Tell whether a text is a conversation, but not in JSON with role and content.

    pandas and datasets write lists of messages into CSV files as Python does. A text counts where
    it begins as a list of objects, in a CSV cell also as one object, and names a speaker and what
    was said.
    """
    if not isinstance(value, str):
        return False
    is_one_object = isinstance(value, Cell) and value.lstrip().startswith("{")
    if not is_one_object and not OPENING.match(value):
        return False
    names_turns = SPEAKER.search(value) and SPOKEN.search(value)
    return bool(names_turns) and turns(value) is None


def number(values: Values, column: str) -> float:
    """Return a finite number that must be there; digits in text count."""
    value = optional_number(values, column)
    if value is None:
        raise FieldError(f"no {column}")
    return value


def optional_number(values: Values, *columns: str) -> float | None:
    """Return the first of the columns that holds anything, as a finite number; None: none does."""
    for column in columns:
        value = values.get(column)
        if value is not None and value != "":
            return finite(value, column)
    return None


def finite(value: Any, what: str) -> float:
    """Return a value as a finite number; true and false are none."""
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise FieldError(f"{what} is not a number") from None
    if not math.isfinite(result):
        raise RowError(Reason.NON_FINITE_SCORE, f"{what} is {value}")
    if abs(result) > LARGEST:
        raise RowError(Reason.NON_FINITE_SCORE, f"{what} is {result:g}, beyond ±{LARGEST:g}")
    return result


def signed(values: Values, column: str, limit: int) -> float:
    """Return a preference between two responses: a number from −limit to limit."""
    preference = number(values, column)
    if abs(preference) > limit:
        raise FieldError(f"{column} is {preference:g}, expected -{limit} to {limit}")
    return preference


def items(values: Values, column: str) -> list[Any]:
    """Return a list that must be there; in a CSV cell it is JSON."""
    if values.get(column) is None:
        raise FieldError(f"no {column}")
    elements = listed(values[column])
    if elements is None:
        raise FieldError(
            f"{column} is not a list (written in a cell of text, a list is JSON)",
        )
    return elements


def listed(value: Any) -> list[Any] | None:
    """Return the list that a value is, or that a text is in JSON; None: it is neither."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = from_json(value)
    return list(value) if isinstance(value, list | tuple) else None


def from_json(text: str) -> Any:
    """Return what a text says in JSON; None where that is nothing that a row may hold."""
    try:
        value = json.loads(text)
        is_readable = "\\u" not in text or is_encodable(json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError):
        return None
    return value if is_readable else None


def turns(value: Any) -> list[Any] | None:
    """Return a conversation's turns, given as a list or in JSON; None: the value is none."""
    elements = listed(value)
    if isinstance(value, str) and not (elements and all(map(is_turn, elements))):
        return None
    return elements


def is_turn(value: Any) -> bool:
    """Tell a turn with `role`, or one as ShareGPT writes it, with `from` and `value`."""
    return isinstance(value, Mapping) and ("role" in value or is_sharegpt_turn(value))


def is_sharegpt_turn(value: Mapping[str, Any]) -> bool:
    """Tell a turn that says whom it is from, and what was said under `value`."""
    return "value" in value and str(value.get("from")) in SHAREGPT_ROLES


def numbers(values: Values, column: str, *, count: int) -> list[float]:
    """Return a list of `count` finite numbers."""
    return [finite(value, column) for value in _one_each(values, column, count)]


def scores(values: Values, *, count: int) -> tuple[float, ...]:
    """Return the `count` finite scores of a list, NaN where one is null."""
    elements = _one_each(values, "scores", count)
    return tuple(math.nan if value is None else finite(value, "scores") for value in elements)


def _one_each(values: Values, column: str, count: int) -> list[Any]:
    elements = items(values, column)
    if len(elements) != count:
        raise FieldError(f"{count} responses but {len(elements)} {column}")
    return elements


def holds_answers(value: Any) -> bool:
    """Tell whether a value is a list of answers, or a CSV cell that looks like one.

    Such a cell begins and ends as a list of texts does; one that is not JSON is refused later, and
    not read as an answer.
    """
    if isinstance(value, Cell):
        cell = value.strip()
        return cell.startswith(("['", '["')) and cell.endswith(("']", '"]'))
    if not isinstance(value, list | tuple):
        return False
    return all(isinstance(item, str | list | tuple) for item in value)


def require_few(count: int) -> None:
    """Raise RowError where a prompt has more responses than can be compared with each other."""
    if count > MOST_RESPONSES:
        raise RowError(Reason.TOO_MANY_RESPONSES, f"{count:,}")


def lists_of_answers(values: Values) -> bool:
    """Tell whether chosen and rejected are lists of answers, each a text or a conversation."""
    chosen, rejected = values["chosen"], values["rejected"]
    return holds_answers(chosen) and holds_answers(rejected) and bool(chosen or rejected)


def subset(values: Values) -> str:
    """Return the part of its collection that a row is from; empty: no column says so in a word."""
    for column in SUBSETS:
        value = values.get(column)
        if isinstance(value, str) and 0 < len(value) <= LONGEST_SUBSET:
            return value
    return ""


def row_id(values: Values) -> str:
    """Return the row's own id; empty if it has none."""
    value = values.get("id")
    is_id = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value) if is_id else ""
