"""LLaMA-Factory's files: Alpaca's columns, and ShareGPT's conversations."""

from __future__ import annotations

from functools import partial

from rewarddiff.data.formats.base import FieldError, Format, Values
from rewarddiff.data.formats.cells import items, listed, row_id, text, turns
from rewarddiff.data.formats.conversations import (
    ASSISTANT,
    answer,
    answered,
    in_context,
    messages,
)
from rewarddiff.data.formats.pairs import pair
from rewarddiff.data.formats.singles import has_no_label, label
from rewarddiff.records import Comparison, Group, Message

Conversation = tuple[Message, ...]


def _instruction(values: Values) -> Conversation:
    """Return what was said before, and `instruction` with `input` in the next line."""
    question = text(values, "instruction")
    more = values.get("input")
    if more:
        question = "\n".join([question, text(values, "input")]).strip("\n")
    return (*_history(values), Message("user", question))


def _history(values: Values) -> Conversation:
    """Return earlier turns: `history` is a list of [question, answer]."""
    turns_before: list[Message] = []
    if not values.get("history"):
        return ()
    for exchange in items(values, "history"):
        texts = listed(exchange)
        if texts is None or len(texts) != 2 or not all(isinstance(said, str) for said in texts):
            raise FieldError("history holds something else than [question, answer]")
        turns_before += [Message("user", texts[0]), Message(ASSISTANT, texts[1])]
    return tuple(turns_before)


def _alpaca(values: Values) -> Group:
    """Read Alpaca's columns with `chosen` and `rejected`."""
    return pair(values, _instruction(values), answer(values, "chosen"), answer(values, "rejected"))


def _alpaca_kto(values: Values) -> Group:
    """Read Alpaca's columns with an `output` that `kto_tag` calls desirable or not."""
    question = in_context(values, _instruction(values))
    desirable = label(values, "kto_tag")
    return Group(row_id(values), question, (answer(values, "output"),), labels=(desirable,))


def _alpaca_output(values: Values) -> Group:
    """Read Alpaca's columns with a response; a list of two is, as it once was, better and worse."""
    question = in_context(values, _instruction(values))
    outputs = listed(values.get("output"))
    if outputs is None or not all(isinstance(output, str) for output in outputs):
        return Group(row_id(values), question, (answer(values, "output"),))
    if len(outputs) != 2:
        raise FieldError(
            f"output holds {len(outputs)} texts, expected one, or a better and a worse"
        )
    return Group(row_id(values), question, tuple(outputs), comparisons=(Comparison(0, 1),))


def _conversation(values: Values, column: str) -> Conversation:
    said = turns(values.get(column))
    if said is None:
        raise FieldError(f"{column} is not a list of turns")
    return messages(said, column)


def _sharegpt(column: str, values: Values) -> Group:
    """Read a conversation that `chosen` and `rejected`, a turn each, go on with."""
    question = _conversation(values, column)
    if not question:
        raise FieldError(f"{column} holds no turn")
    return pair(values, question, answer(values, "chosen"), answer(values, "rejected"))


def _sharegpt_kto(column: str, tag: str, values: Values) -> Group:
    """Read a conversation whose last turn is desirable or not."""
    question, response = answered(_conversation(values, column), column)
    desirable = label(values, tag)
    return Group(row_id(values), in_context(values, question), (response,), labels=(desirable,))


def _sharegpt_answer(column: str, values: Values) -> Group:
    """Read a conversation whose last turn is the response."""
    question, response = answered(_conversation(values, column), column)
    return Group(row_id(values), in_context(values, question), (response,))


def _one_turn_each(values: Values) -> bool:
    """Tell sides that are one turn or a text from whole conversations, which hold the prompt."""
    for side in ("chosen", "rejected"):
        whole = turns(values[side])
        if whole is not None and len(whole) != 1:
            return False
    return True


ALPACA = Format("alpaca", ("instruction", "chosen", "rejected"), _alpaca)
ALPACA_KTO = Format("alpaca-kto", ("instruction", "output", "kto_tag"), _alpaca_kto)
ALPACA_OUTPUT = Format("alpaca-sft", ("instruction", "output"), _alpaca_output, looks=has_no_label)
SHAREGPT = Format(
    "sharegpt",
    ("conversations", "chosen", "rejected"),
    partial(_sharegpt, "conversations"),
    looks=_one_turn_each,
)
MESSAGES_PAIR = Format(
    "messages-pair",
    ("messages", "chosen", "rejected"),
    partial(_sharegpt, "messages"),
    looks=_one_turn_each,
)
SHAREGPT_KTO = Format(
    "sharegpt-kto",
    ("conversations", "kto_tag"),
    partial(_sharegpt_kto, "conversations", "kto_tag"),
)
MESSAGES_KTO = Format(
    "messages-kto", ("messages", "label"), partial(_sharegpt_kto, "messages", "label")
)
SHAREGPT_ANSWER = Format(
    "sharegpt-sft",
    ("conversations",),
    partial(_sharegpt_answer, "conversations"),
    looks=has_no_label,
)
MESSAGES = Format(
    "messages", ("messages",), partial(_sharegpt_answer, "messages"), looks=has_no_label
)
