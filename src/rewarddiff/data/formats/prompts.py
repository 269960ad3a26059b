"""Formats of prompts that are to be answered: alone, or with the responses of a baseline."""

from __future__ import annotations

from rewarddiff.data.formats.base import Format, Values
from rewarddiff.data.formats.cells import SUBSETS, row_id
from rewarddiff.data.formats.conversations import in_context, prompt
from rewarddiff.data.formats.lists import SCORED
from rewarddiff.records import Group

BESIDE_A_PROMPT = {"prompt", "id", "system", "tools", *SUBSETS}
"""Columns that say nothing of a response."""


def _alone(values: Values) -> Group:
    """Read a prompt, text or a conversation; there is no response to it."""
    return Group(row_id(values), in_context(values, prompt(values)), ())


def _has_nothing_else(values: Values) -> bool:
    """Tell a prompt alone: a column that may hold a response must not go unread."""
    return values.keys() <= BESIDE_A_PROMPT


PROMPTS = Format("prompts", ("prompt",), _alone, looks=_has_nothing_else, to_compare=False)
BASELINE = Format("baseline", ("prompt", "responses", "ended"), SCORED.convert, to_compare=False)
