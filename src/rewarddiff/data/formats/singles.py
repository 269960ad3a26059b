"""Formats in which a row is one response, judged by itself."""

from __future__ import annotations

from rewarddiff.data.formats.base import (
    Format,
    RowError,
    Values,
    by_row,
    in_context,
    items,
    last_turn,
    messages,
    prompt,
    row_id,
    text,
    turns,
)
from rewarddiff.data.ledger import Reason
from rewarddiff.records import Group, Message

LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
"""A label as text, in small letters: what files without a type for it hold."""


def _unpaired(values: Values) -> Group:
    """TRL's unpaired preference rows: prompt, completion (text or conversations), and whether it is
    desirable.

    Every row is a group of one response, also where the next row has the same prompt.
    """
    label = _label(values)
    if turns(values["completion"]) is None:
        asked_in_context = in_context(values, prompt(values))
        return Group(
            row_id(values), asked_in_context, (text(values, "completion"),), labels=(label,)
        )
    said = messages(items(values, "completion"), "completion")
    given = prompt(values)
    asked = (Message("user", given),) if isinstance(given, str) else given
    response = last_turn(asked, said, "completion")
    return Group(row_id(values), in_context(values, asked), (response,), labels=(label,))


def _label(values: Values) -> bool:
    value = values["label"]
    if value is None or value == "":
        raise RowError(Reason.MISSING_FIELD, "no label")
    label = LABELS.get(str(value).strip().lower())
    if label is None:
        raise RowError(Reason.MISSING_FIELD, f"label is {str(value)[:20]}, expected true or false")
    return label


UNPAIRED = Format("trl-unpaired", ("prompt", "completion", "label"), by_row(_unpaired))
