"""What a format is, and the few readers of fields that all of them share."""

from __future__ import annotations

import json
import math
import re
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
"""One row → one group; raises RowError. The reader fills in `source`, and `id` where it is
empty."""


class RowError(Exception):
    """This row cannot be used; the reader counts it and goes on."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Format:
    """How one family of files says what was preferred.

    `columns` must all be there; `looks` settles what the column names leave open. `prepare` is told
    the file (None: not a file) and returns the converter. Where `gather` is set a prompt is spread
    over several rows, wherever they stand, and their groups are merged into one. `beside` names the
    stem of a file that is read along with this one and holds no groups itself.
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
    return as_text(value, column)


def as_text(value: Any, what: str) -> str:
    """The text that a value is, if it is one, and not a conversation that nobody would read as
    such."""
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, value))
        raise RowError(
            Reason.MISSING_FIELD, f"{what} is an object with {keys}; expected text or {TURNS}"
        )
    if not isinstance(value, str):
        raise RowError(Reason.MISSING_FIELD, f"{what} is {type(value).__name__}, expected text")
    if is_foreign_conversation(value):
        raise RowError(
            Reason.UNREADABLE, f"{what}: messages are to be written as JSON with role and content"
        )
    return value


TURNS = 'a list of turns [{"role": …, "content": …}, …]'
"""How a conversation is written, for messages."""

SPEAKER = re.compile(
    r"""['"](?:role|from)['"]\s*:\s*['"](?:system|user|assistant|human|gpt|model|bot|tool|function)['"]"""
)
SPOKEN = re.compile(r"""['"](?:content|value)['"]\s*:""")
OPENING = re.compile(r"\s*(?:array\()?\[\s*\{")
"""How a list of objects begins: in JSON, as Python writes it, and as NumPy does."""


def is_foreign_conversation(value: Any) -> bool:
    """Whether a text is a conversation written as `turns` does not read it: Python's way, or with
    from and value.

    pandas and datasets write lists of messages into CSV files as Python does. A text counts where
    it begins as a list of objects, in a CSV cell also as one object, and names a speaker and what
    was said.
    """
    if not isinstance(value, str):
        return False
    begins_as_objects = OPENING.match(value) or (
        isinstance(value, Cell) and value.lstrip()[:1] == "{"
    )
    if not (begins_as_objects and SPEAKER.search(value) and SPOKEN.search(value)):
        return False
    return turns(value) is None


LARGEST = 1e15
"""Larger numbers are refused: none is a grade, and differences and their squares must stay finite
in float32."""


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
    if abs(result) > LARGEST:
        raise RowError(Reason.NON_FINITE_SCORE, f"{what} is {result:g}, beyond ±{LARGEST:g}")
    return result


SUBSETS = ("subset", "domain", "source", "category")
"""Columns by which collections name their parts: RewardBench, RM-Bench, UltraFeedback,
HelpSteer."""


def subset(values: Values) -> str:
    """The part of its collection that a row is from; empty where no column says so in a word or
    two."""
    found = (values.get(column) for column in SUBSETS)
    return next((value for value in found if isinstance(value, str) and 0 < len(value) <= 60), "")


def items(values: Values, column: str) -> list[Any]:
    """A list that must be there; in a CSV cell it is JSON."""
    found = listed(values.get(column))
    if found is None:
        raise RowError(
            Reason.MISSING_FIELD,
            f"{column} is not a list (written in a cell of text, a list is JSON)",
        )
    return found


def listed(value: Any) -> list[Any] | None:
    """The list that a value is, or that a text is in JSON, as where a cell can hold text only;
    None: it is neither."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return list(value) if isinstance(value, list | tuple) else None


def turns(value: Any) -> list[Any] | None:
    """The turns of a conversation, as a list or in JSON; None: it is no list, or a text that says
    something else."""
    found = listed(value)
    if isinstance(value, str) and not all(
        isinstance(turn, Mapping) and "role" in turn for turn in found or (None,)
    ):
        return None
    return found


def texts(values: Values, column: str) -> tuple[str, ...]:
    """A list of texts; an answer given as messages counts by its only message."""
    return tuple(_answer(item, column) for item in items(values, column))


def lists_of_answers(values: Values) -> bool:
    """Whether chosen and rejected are lists of answers, each a text or a conversation, and not one
    answer each.

    A CSV cell that begins and ends as a list of texts does is taken for one, so that one that is
    not JSON is refused and not read as an answer.
    """
    return all(holds_answers(values[side]) for side in ("chosen", "rejected")) and any(
        values[side] for side in ("chosen", "rejected")
    )


def holds_answers(value: Any) -> bool:
    """Whether a value is a list of answers, or a CSV cell that looks like one."""
    if isinstance(value, str):
        return (
            isinstance(value, Cell)
            and value.lstrip()[:2] in ("['", '["')
            and value.rstrip()[-2:] in ("']", '"]')
        )
    return isinstance(value, list | tuple) and all(
        isinstance(item, str | list | tuple) for item in value
    )


def _answer(item: Any, what: str) -> str:
    if isinstance(item, list | tuple) and len(item) == 1:
        item = item[0]
    if isinstance(item, Mapping):
        return _spoken(_message({"role": ASSISTANT, **item}, what), what)
    if not isinstance(item, str):
        raise RowError(Reason.MISSING_FIELD, f"{what} holds a {type(item).__name__}, expected text")
    return as_text(item, what)


def numbers(values: Values, column: str, *, count: int) -> tuple[float, ...]:
    """A list of `count` finite numbers."""
    return tuple(finite(value, column) for value in _of(values, column, count))


def scores(values: Values, *, count: int) -> tuple[float, ...]:
    """The `count` finite scores of a list, NaN where one is null: `clean` says what is known
    without it."""
    found = _of(values, "scores", count)
    return tuple(math.nan if value is None else finite(value, "scores") for value in found)


def _of(values: Values, column: str, count: int) -> list[Any]:
    found = items(values, column)
    if len(found) != count:
        raise RowError(Reason.MISSING_FIELD, f"{count} responses but {len(found)} {column}")
    return found


ASSISTANT = "assistant"
"""The role whose turn is a response."""

EXTRAS = ("name", "tool_calls", "tool_call_id", "tools")
"""Further keys of a turn that chat templates read."""


def messages(value: Iterable[Any], what: str) -> tuple[Message, ...]:
    """A conversation in the usual form: [{"role": …, "content": …}, …]."""
    return tuple(_message(turn, what) for turn in value)


def _message(turn: Any, what: str) -> Message:
    """One turn; what it says may be null where it calls a tool."""
    if not isinstance(turn, Mapping):
        raise RowError(
            Reason.MISSING_FIELD, f"{what} holds a {type(turn).__name__} among its turns"
        )
    role, content = turn.get("role"), turn.get("content")
    given = dict(turn)
    if given.get("tools"):
        given["tools"] = _objects(given["tools"], "tools")
    extras = {key: without_nulls(given[key]) for key in EXTRAS if given.get(key)}
    if content is None and "tool_calls" in extras:
        content = ""
    if not isinstance(role, str) or not isinstance(content, str):
        mend = "; rename from to role, value to content" if {"from", "value"} <= turn.keys() else ""
        raise RowError(
            Reason.MISSING_FIELD, f"{what} holds a turn without the texts role and content{mend}"
        )
    return Message.of(role, content, extras)


def without_nulls(value: Any) -> Any:
    """A value without the keys that hold null: Parquet gives every object the keys of all
    others."""
    if isinstance(value, Mapping):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(inner) for inner in value]
    return value


def last_turn(asked: tuple[Message, ...], turns: tuple[Message, ...], what: str) -> str:
    """The one turn of the assistant after the prompt, which the turns may repeat: the response."""
    rest = turns[len(asked) :] if asked and turns[: len(asked)] == asked else turns
    if not rest:
        raise RowError(Reason.EMPTY_RESPONSE, f"{what} holds no turn after the prompt")
    if len(rest) > 1:
        raise RowError(
            Reason.PROMPTS_DIFFER, f"{what} goes on for {len(rest)} turns after the prompt"
        )
    return _spoken(rest[0], what)


def _spoken(turn: Message, what: str) -> str:
    """What the assistant says in a turn that is to be learned."""
    if turn.role != ASSISTANT:
        raise RowError(
            Reason.NO_ANSWER, f"{what} ends with a turn of {turn.role}, expected {ASSISTANT}"
        )
    if "tool_calls" in turn.turn():
        raise RowError(
            Reason.TOOLS_LEFT_OUT, f"{what} ends with a call of a tool, and a response is a text"
        )
    return turn.content


def prompt(values: Values, column: str = "prompt") -> Prompt:
    """A prompt that must be there: text or a conversation."""
    found = turns(values.get(column))
    return text(values, column) if found is None else messages(found, column)


def asked(question: str) -> tuple[Message, ...]:
    """A conversation of one user turn, for data whose prompt is an instruction and not text to
    continue."""
    return (Message("user", question),)


def in_context(values: Values, prompt: Prompt) -> Prompt:
    """The prompt behind the row's system prompt and tools, from columns of these names.

    Beside such a column a prompt that is a text is what a user says: both are read by chat
    templates only.
    """
    if "system" not in values and "tools" not in values:
        return prompt
    turns = asked(prompt) if isinstance(prompt, str) else prompt
    return _with_tools(values, _with_system(values, turns))


def _with_system(values: Values, turns: tuple[Message, ...]) -> tuple[Message, ...]:
    if not values.get("system"):
        return turns
    system = Message("system", text(values, "system"))
    if turns[:1] and turns[0].role == system.role:
        if turns[0].content != system.content:
            raise RowError(
                Reason.CONTRADICTORY,
                "the column system is not the conversation's own system message",
            )
        return turns
    return (system, *turns)


def _with_tools(values: Values, turns: tuple[Message, ...]) -> tuple[Message, ...]:
    if not values.get("tools") or not turns:
        return turns
    first = _message(turns[0].turn() | {"tools": values["tools"]}, "prompt")
    return (first, *turns[1:])


def _objects(value: Any, what: str) -> list[Any]:
    objects = listed(value)
    if objects is None or not all(isinstance(item, Mapping) for item in objects):
        raise RowError(
            Reason.MISSING_FIELD, f"{what} is not a list of objects (in a text, a list is JSON)"
        )
    return objects


class WatchedRow(dict[str, Any]):
    """A row that remembers which of its columns were read."""

    def __init__(self, values: Values) -> None:
        super().__init__(values)
        self.columns_read: set[str] = set()

    def __getitem__(self, column: str) -> Any:
        self.columns_read.add(column)
        return super().__getitem__(column)

    def get(self, column: str, default: Any = None) -> Any:
        self.columns_read.add(column)
        return super().get(column, default)


def unread_keys(values: Values) -> set[str]:
    """The keys of a row's turns that nothing is read from, each with its column."""
    keys: set[str] = set()
    for column, value in values.items():
        for turn in turns(value) or []:
            if isinstance(turn, Mapping) and "role" in turn:
                filled = {key for key, content in turn.items() if content}
                keys.update(
                    f"{key} of the turns in {column}"
                    for key in filled - {"role", "content", *EXTRAS}
                )
    return keys


def row_id(values: Values) -> str:
    """The row's own id, if it has one."""
    value = values.get("id")
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
