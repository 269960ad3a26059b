"""Errors that a person can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

from rewarddiff.writing import cut, listed

LOOKED_AT = 1000
"""Known names that are looked at for one that is near."""


class UserError(Exception):
    """The user's input is at fault: one line naming the place, the cause and the mend.

    The command line prints the message without a traceback and exits with status 2.
    """


class FailedElsewhere(UserError):
    """Another process of this command has failed, and says so itself."""


class TrainingError(RuntimeError):
    """Training stopped itself: a loss or gradient was not finite. Exit status 1."""


def is_panic(error: BaseException) -> bool:
    """Tell whether a library written in Rust gives up; what it raises then is no Exception."""
    return type(error).__name__ == "PanicException"


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a half sentence that helps after a wrong name: the nearest, or all that are known."""
    names = sorted(islice(known, LOOKED_AT))
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f" – did you mean '{cut(near[0])}'?"
    if names:
        return f" – known here: {listed(names)}"
    return ""
