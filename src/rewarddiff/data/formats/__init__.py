"""Every format that can be read, and how to tell which one a row is in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from rewarddiff.data.formats.base import TURNS, Convert, Format, RowError, Values
from rewarddiff.data.formats.debates import UKP
from rewarddiff.data.formats.lists import QA_FEEDBACK, REWARDBENCH, RM_BENCH, RRHF, SCORED, SIMPEVAL
from rewarddiff.data.formats.pairs import HH, TLDR, TRL, TRL_IMPLICIT
from rewarddiff.data.formats.singles import UNPAIRED
from rewarddiff.errors import UserError

FORMATS: tuple[Format, ...] = (
    TLDR,
    UKP,
    SIMPEVAL,
    QA_FEEDBACK,
    RRHF,
    SCORED,
    RM_BENCH,
    REWARDBENCH,
    TRL,
    TRL_IMPLICIT,
    HH,
    UNPAIRED,
)
"""In the order they are tried: the more telling columns first."""


def detect(values: Values) -> Format | None:
    """The first format that this row fits."""
    return next((candidate for candidate in FORMATS if candidate.matches(values)), None)


def named(name: str) -> Format:
    """The format of this name.

    Raises:
        UserError: there is none; names the nearest.
    """
    by_name = {candidate.name: candidate for candidate in FORMATS}
    if name not in by_name:
        close = get_close_matches(name, by_name, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(by_name)}"
        raise UserError(f"format={name}: no such format; {hint}")
    return by_name[name]


def nearest(columns: Collection[str]) -> tuple[Format, list[str]]:
    """The format that shares the largest part of its columns with these, and what is missing for
    it."""

    def share(candidate: Format) -> float:
        return sum(column in columns for column in candidate.columns) / len(candidate.columns)

    best = max(FORMATS, key=share)
    return best, [column for column in best.columns if column not in columns]


def misfit(values: Values) -> str:
    """Why a row is in no known format, and what to do about it: the end of a message that begins
    with its columns."""
    best, missing = nearest(values)
    if len(missing) == len(best.columns):
        all_formats = "; ".join(f"{form.name} ({', '.join(form.columns)})" for form in FORMATS)
        return f"are in no known format; rename them to those of one of: {all_formats}"
    if missing:
        return (
            f"are in no known format, the nearest is {best.name} ({', '.join(best.columns)}): "
            f"missing {', '.join(missing)}; rename the columns"
        )
    return f"are in no known format: {_pair_misfit(values)}"


PROMPT_NAMES = (
    "instruction",
    "question",
    "query",
    "input",
    "conversations",
    "messages",
    "problem",
    "context",
)
"""What other collections call the column of the prompt."""


def _pair_misfit(values: Values) -> str:
    """What is wrong with a chosen and a rejected response that stand without a prompt."""
    contents = f"chosen holds {_kind(values['chosen'])}, rejected holds {_kind(values['rejected'])}"
    named_otherwise = [name for name in PROMPT_NAMES if name in values]
    if named_otherwise:
        renaming = f"rename {named_otherwise[0]} to prompt"
        if "input" in named_otherwise[1:]:
            renaming += " (with input put behind it)"
    else:
        renaming = f"add a column prompt, or write prompt and answer as {TURNS} in both"
    if isinstance(values["chosen"], Mapping):
        renaming += (
            ", and give chosen and rejected as texts or as lists of turns with role and content"
        )
    return f"{contents}, and no column prompt says to what; {renaming}"


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Mapping):
        return f"an object with {', '.join(map(str, value))}"
    return "nothing" if value is None else f"a {type(value).__name__}"


__all__ = [
    "FORMATS",
    "Convert",
    "Format",
    "RowError",
    "Values",
    "detect",
    "misfit",
    "named",
    "nearest",
]
