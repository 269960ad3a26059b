"""Every format that can be read, and how to tell which one a row is in."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from rewarddiff.data.formats.base import Format, RowError, Values
from rewarddiff.data.formats.cells import TURNS
from rewarddiff.data.formats.debates import UKP
from rewarddiff.data.formats.lists import QA_FEEDBACK, REWARDBENCH, RM_BENCH, RRHF, SCORED, SIMPEVAL
from rewarddiff.data.formats.pairs import HH, TLDR, TRL, TRL_IMPLICIT
from rewarddiff.data.formats.singles import UNPAIRED
from rewarddiff.data.formats.weighed import WEIGHED
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
    WEIGHED,
    TRL,
    TRL_IMPLICIT,
    HH,
    UNPAIRED,
)
"""In the order they are tried: the more telling columns first."""

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


def detect(values: Values) -> Format | None:
    """Return the first format that this row fits."""
    for candidate in FORMATS:
        if candidate.matches(values):
            return candidate
    return None


def named(name: str) -> Format:
    """Return the format of this name.

    Raises:
        UserError: there is none; names the nearest.
    """
    by_name = {candidate.name: candidate for candidate in FORMATS}
    if name not in by_name:
        close = get_close_matches(name, by_name, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(by_name)}"
        raise UserError(f"format={name}: no such format; {hint}")
    return by_name[name]


def misfit(values: Values) -> str:
    """Say why a row is in no known format, and the mend: the end of a message about its columns."""

    def missing_share(candidate: Format) -> float:
        return len(candidate.missing(values)) / len(candidate.columns)

    nearest = min(FORMATS, key=missing_share)
    missing = nearest.missing(values)
    if len(missing) == len(nearest.columns):
        all_formats = "; ".join(f"{form.name} ({', '.join(form.columns)})" for form in FORMATS)
        return f"are in no known format; rename them to those of one of: {all_formats}"
    if missing:
        return (
            f"are in no known format, the nearest is {nearest.name} "
            f"({', '.join(nearest.columns)}): missing {', '.join(missing)}; rename the columns"
        )
    return f"are in no known format: {_pair_misfit(values)}"


def _pair_misfit(values: Values) -> str:
    """Say what is wrong with a chosen and a rejected response that stand without a prompt."""
    contents = f"chosen holds {_kind(values['chosen'])}, rejected holds {_kind(values['rejected'])}"
    prompt_names = [name for name in PROMPT_NAMES if name in values]
    if prompt_names:
        mend = f"rename {prompt_names[0]} to prompt"
        if "input" in prompt_names[1:]:
            mend += " (with input put behind it)"
    else:
        mend = f"add a column prompt, or write prompt and answer as {TURNS} in both"
    if isinstance(values["chosen"], Mapping):
        mend += ", and give chosen and rejected as texts or as lists of turns with role and content"
    return f"{contents}, and no column prompt says to what; {mend}"


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Mapping):
        return f"an object with {', '.join(map(str, value))}"
    return f"a {type(value).__name__}"


__all__ = ["FORMATS", "Format", "RowError", "Values", "detect", "misfit", "named"]
