"""Formats in which a row is one response, judged by itself."""

from __future__ import annotations

from rewarddiff.data.formats.base import FieldError, Format, Values
from rewarddiff.data.formats.cells import items, row_id, text, turns
from rewarddiff.data.formats.conversations import (
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
    label = _label(values)
    if turns(values["completion"]) is None:
        question = in_context(values, prompt(values))
        response = text(values, "completion")
    else:
        completion = messages(items(values, "completion"), "completion")
        conversation = spoken_prompt(prompt(values))
        response = last_turn(conversation, completion, "completion")
        question = in_context(values, conversation)
    return Group(row_id(values), question, (response,), labels=(label,))


def _label(values: Values) -> bool:
    """Tell whether the response is desirable."""
    value = values["label"]
    if value is None or value == "":
        raise FieldError("no label")
    label = LABELS.get(str(value).strip().lower())
    if label is None:
        raise FieldError(f"label is {str(value)[:20]}, expected true or false")
    return label


UNPAIRED = Format("trl-unpaired", ("prompt", "completion", "label"), _unpaired)
