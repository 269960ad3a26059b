"""Every format that can be read, and how to tell which one a row is in."""

from __future__ import annotations

from difflib import get_close_matches

from rewarddiff.data.formats import nearest
from rewarddiff.data.formats.annotated import HELPSTEER3, MULTIPREF
from rewarddiff.data.formats.base import Format, RowError, Values
from rewarddiff.data.formats.battles import (
    ARENA,
    ARENA_55K,
    ARENA_TEXTS,
    HELPSTEER2_PREFERENCE,
    SAFE_RLHF,
    SAFE_RLHF_BOTH,
    SAFE_RLHF_SAFER,
)
from rewarddiff.data.formats.debates import UKP
from rewarddiff.data.formats.graded import HELPSTEER, NECTAR, SHP, ULTRAFEEDBACK
from rewarddiff.data.formats.label_studio import LABEL_STUDIO
from rewarddiff.data.formats.lists import QA_FEEDBACK, REWARDBENCH, RM_BENCH, RRHF, SCORED, SIMPEVAL
from rewarddiff.data.formats.llama_factory import (
    ALPACA,
    ALPACA_KTO,
    ALPACA_OUTPUT,
    MESSAGES,
    MESSAGES_KTO,
    MESSAGES_PAIR,
    SHAREGPT,
    SHAREGPT_ANSWER,
    SHAREGPT_KTO,
)
from rewarddiff.data.formats.pairs import (
    ARGILLA,
    DISTILABEL,
    HH,
    ORCA,
    TLDR,
    TRL,
    TRL_IMPLICIT,
)
from rewarddiff.data.formats.prompts import BASELINE, PROMPTS
from rewarddiff.data.formats.singles import COMPLETION, RESPONSE, UNPAIRED
from rewarddiff.data.formats.voted import VOTE, VOTED
from rewarddiff.data.formats.weighed import WEIGHED
from rewarddiff.errors import UserError

FORMATS: tuple[Format, ...] = (
    TLDR,
    UKP,
    SIMPEVAL,
    QA_FEEDBACK,
    RRHF,
    BASELINE,
    SCORED,
    RM_BENCH,
    REWARDBENCH,
    WEIGHED,
    VOTE,
    VOTED,
    LABEL_STUDIO,
    SAFE_RLHF,
    SAFE_RLHF_SAFER,
    SAFE_RLHF_BOTH,
    HELPSTEER2_PREFERENCE,
    HELPSTEER3,
    HELPSTEER,
    MULTIPREF,
    SHP,
    ARENA,
    ARENA_55K,
    ARENA_TEXTS,
    ULTRAFEEDBACK,
    NECTAR,
    TRL,
    SHAREGPT,
    ALPACA,
    MESSAGES_PAIR,
    ORCA,
    DISTILABEL,
    ARGILLA,
    TRL_IMPLICIT,
    HH,
    UNPAIRED,
    ALPACA_KTO,
    SHAREGPT_KTO,
    MESSAGES_KTO,
    COMPLETION,
    RESPONSE,
    ALPACA_OUTPUT,
    SHAREGPT_ANSWER,
    MESSAGES,
    PROMPTS,
)
"""In the order they are tried: the more telling columns first."""


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
    return nearest.misfit(values, FORMATS)


__all__ = ["FORMATS", "PROMPTS", "Format", "RowError", "Values", "detect", "misfit", "named"]
