"""Prompts and responses out of cells that may hold conversations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rewarddiff.data.formats.base import FieldError, RowError, Values
from rewarddiff.data.formats.cells import (
    SHAREGPT_ROLES,
    as_text,
    from_json,
    is_sharegpt_turn,
    is_turn,
    items,
    listed,
    text,
    turns,
)
from rewarddiff.data.ledger import Reason
from rewarddiff.records import Message, Prompt

ASSISTANT = "assistant"
"""The role whose turn is a response."""

EXTRAS = ("name", "tool_calls", "tool_call_id", "tools")
"""Further keys of a turn that chat templates read."""


def prompt(values: Values, column: str = "prompt") -> Prompt:
    """Return a prompt that must be there: text or a conversation."""
    conversation = turns(values.get(column))
    return text(values, column) if conversation is None else messages(conversation, column)


def asked(question: str) -> tuple[Message, ...]:
    """Return a conversation of one user turn, where a prompt is an instruction to be answered."""
    return (Message("user", question),)


def spoken_prompt(prompt: Prompt) -> tuple[Message, ...]:
    """Return a prompt as a conversation: one that is a text is what a user says."""
    return asked(prompt) if isinstance(prompt, str) else prompt


def texts(values: Values, column: str) -> tuple[str, ...]:
    """Return a list of texts; an answer given as messages counts by its only message."""
    return tuple(_answer(item, column) for item in items(values, column))


def _answer(item: Any, what: str) -> str:
    if isinstance(item, list | tuple) and len(item) == 1:
        item = item[0]
    if isinstance(item, Mapping):
        # A turn that does not say who speaks is the assistant's.
        turn = item if is_turn(item) else {"role": ASSISTANT, **item}
        return _spoken(_message(turn, what), what)
    if not isinstance(item, str):
        raise FieldError(f"{what} holds a {type(item).__name__}, expected text")
    return as_text(item, what)


def messages(turns: Iterable[Any], what: str) -> tuple[Message, ...]:
    """Return a conversation in the usual form: [{"role": …, "content": …}, …]."""
    return tuple(_message(turn, what) for turn in turns)


def _message(turn: Any, what: str) -> Message:
    """Return one turn; what it says may be null where it calls a tool."""
    if not isinstance(turn, Mapping):
        raise FieldError(f"{what} holds a {type(turn).__name__} among its turns")
    if "role" not in turn and is_sharegpt_turn(turn):
        turn = _of_sharegpt(turn, what)
    extras = {}
    for key in EXTRAS:
        value = turn.get(key)
        if value and key == "tools":
            value = _tools(value)
        if value:
            extras[key] = without_nulls(value)
    role, content = turn.get("role"), _content(turn.get("content"), what)
    if content is None and "tool_calls" in extras:
        content = ""
    if not isinstance(role, str) or not isinstance(content, str):
        speaker = str(turn["from"])[:20] if "from" in turn else ""
        mend = f"; from is {speaker}, expected human or gpt" if speaker else ""
        raise FieldError(f"{what} holds a turn without the texts role and content{mend}")
    return Message.of(role, content, extras)


def _of_sharegpt(turn: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return a turn of ShareGPT with role and content; a call of a tool is JSON in its value."""
    speaker = str(turn["from"])
    renamed = {"role": SHAREGPT_ROLES[speaker], "content": turn["value"]}
    if speaker == "function_call":
        renamed |= {"content": None, "tool_calls": _calls(turn["value"], what)}
    return {**turn, **renamed}


def _calls(text: Any, what: str) -> list[dict[str, Any]]:
    """Return the calls of tools that a text holds in JSON: one with name and arguments, or a list."""
    calls = from_json(text) if isinstance(text, str) else None
    if isinstance(calls, Mapping):
        calls = [calls]
    if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls):
        raise FieldError(f"{what} holds a function_call that is not JSON with name and arguments")
    return [{"type": "function", "function": call} for call in calls]


def _content(content: Any, what: str) -> Any:
    """Return what a turn says: parts that are texts are joined, anything else is as it was."""
    if not isinstance(content, list | tuple):
        return content
    texts = []
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") != "text":
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise FieldError(f"{what} holds a turn with a part that is no text ({kind})")
        texts.append(as_text(part.get("text"), what))
    return "".join(texts)


def answered(conversation: tuple[Message, ...], what: str) -> tuple[Prompt, str]:
    """Cut a conversation before its last turn, which must be the assistant's: its response."""
    if not conversation:
        raise FieldError(f"{what} holds no turn")
    return conversation[:-1], _spoken(conversation[-1], what)


def answer(values: Values, column: str) -> str:
    """Return a response that must be there: a text, a turn, or a list of one turn."""
    value = values.get(column)
    turns_of_answer = turns(value)
    if turns_of_answer is not None:
        return last_turn((), messages(turns_of_answer, column), column)
    if is_turn(value):
        return _answer(value, column)
    return text(values, column)


def _tools(value: Any) -> list[Any]:
    tools = listed(value)
    if tools is None or not all(isinstance(tool, Mapping) for tool in tools):
        raise FieldError("tools is not a list of objects (in a text, a list is JSON)")
    return tools


def without_nulls(value: Any) -> Any:
    """Leave out the keys that hold null: Parquet gives every object the keys of all others."""
    if isinstance(value, Mapping):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(inner) for inner in value]
    return value


def last_turn(asked: tuple[Message, ...], turns: tuple[Message, ...], what: str) -> str:
    """Return the response: the one turn after the prompt, which the turns may repeat."""
    if turns[: len(asked)] == asked:
        turns = turns[len(asked) :]
    if not turns:
        raise RowError(Reason.EMPTY_RESPONSE, f"{what} holds no turn after the prompt")
    if len(turns) > 1:
        raise RowError(
            Reason.PROMPTS_DIFFER, f"{what} goes on for {len(turns)} turns after the prompt"
        )
    return _spoken(turns[0], what)


def _spoken(turn: Message, what: str) -> str:
    """Return what the assistant says in a turn that is to be learned."""
    if turn.role != ASSISTANT:
        raise RowError(
            Reason.NO_ANSWER, f"{what} ends with a turn of {turn.role}, expected {ASSISTANT}"
        )
    if "tool_calls" in turn.turn():
        raise RowError(
            Reason.TOOLS_LEFT_OUT, f"{what} ends with a call of a tool, and a response is a text"
        )
    return turn.content


def in_context(values: Values, prompt: Prompt) -> Prompt:
    """Return the prompt behind the row's system prompt and tools, from columns of these names.

    Beside such a column a prompt that is a text is what a user says: both are read by chat
    templates only.
    """
    if "system" not in values and "tools" not in values:
        return prompt
    conversation = _with_system(values, spoken_prompt(prompt))
    tools = values.get("tools")
    if not tools or not conversation:
        return conversation
    first = _message(conversation[0].turn() | {"tools": tools}, "prompt")
    return (first, *conversation[1:])


def _with_system(values: Values, conversation: tuple[Message, ...]) -> tuple[Message, ...]:
    if not values.get("system"):
        return conversation
    system = Message("system", text(values, "system"))
    if not conversation or conversation[0].role != system.role:
        return (system, *conversation)
    if conversation[0].content != system.content:
        raise RowError(
            Reason.CONTRADICTORY,
            "the column system is not the conversation's own system message",
        )
    return conversation
