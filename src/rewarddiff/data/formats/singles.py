"""Formats in which a row is one response, judged by itself or not at all."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from rewarddiff.data.formats.base import FieldError, Format, Values
from rewarddiff.data.formats.cells import items, row_id, turns
from rewarddiff.data.formats.conversations import (
    answer,
    in_context,
    last_turn,
    messages,
    prompt,
    spoken_prompt,
)
from rewarddiff.records import Group

LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
"""A label as text, in small letters: what files without a type for it hold."""


def _unpaired(values: Values) -> Group:
    """Read TRL's unpaired rows: prompt, completion (text or conversations), and its label.

    Every row is a group of one response, also where the next row has the same prompt.
    """
    return replace(_lone("completion", values), labels=(label(values, "label"),))


def _lone(column: str, values: Values) -> Group:
    """Read a prompt and one response of which nothing is known; both text or conversations."""
    if turns(values[column]) is None:
        question = in_context(values, prompt(values))
        response = answer(values, column)
    else:
        completion = messages(items(values, column), column)
        conversation = spoken_prompt(prompt(values))
        response = last_turn(conversation, completion, column)
        question = in_context(values, conversation)
    return Group(row_id(values), question, (response,))


def label(values: Values, column: str) -> bool:
    """Tell whether the response is desirable."""
    value = values.get(column)
    if value is None or value == "":
        raise FieldError(f"no {column}")
    desirable = LABELS.get(str(value).strip().lower())
    if desirable is None:
        raise FieldError(f"{column} is {str(value)[:20]}, expected true or false")
    return desirable


def has_no_label(values: Values) -> bool:
    """Tell a response without a label: one with a label must not be read as if it had none."""
    return "label" not in values and "kto_tag" not in values


UNPAIRED = Format("trl-unpaired", ("prompt", "completion", "label"), _unpaired)
COMPLETION = Format(
    "completion", ("prompt", "completion"), partial(_lone, "completion"), looks=has_no_label
)
RESPONSE = Format(
    "response", ("prompt", "response"), partial(_lone, "response"), looks=has_no_label
)
