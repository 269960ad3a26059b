"""Names on a command line that can only be mistaken: a file that is not there, half an address, …"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rewarddiff.data.files.names import kind
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path

ADDRESS = ("http://", "https://")
"""How the address of a server begins."""


def check_named(text: str | Path, words: Iterable[str] = ()) -> None:
    """Refuse a name of which no folder and no model of the hub can be meant.

    Args:
        words: that have a meaning of their own where this name stands, as length.

    Raises:
        UserError: a file that is not there, a server's model without an address, a mistyped word.
    """
    name = str(text)
    path = user_path(text)
    if path.exists() or name in words or name.startswith(ADDRESS):
        return
    model, mark, url = name.partition("@")
    if mark and not url.startswith(ADDRESS):
        raise UserError(
            f"{name}: no such file or folder, and no server's address behind the @; write a model as "
            f"{model or 'MODEL'}@http://{url if ':' in url else 'HOST:PORT'}"
        )
    if not mark and kind(path):
        raise UserError(f"{name}: no such file{_nearest_file(path)}; check the name")
    near = difflib.get_close_matches(name, list(words), n=1, cutoff=0.75)
    if near:
        raise UserError(f"{name}: no such scorer – did you mean '{near[0]}'?")


def check_contest(
    policies: Sequence[str], judges: Sequence[str], *, people: bool, attack: bool
) -> None:
    """Refuse policies and judges that cannot be held together, by their number and names alone.

    Args:
        people: whether votes of people judge too.
        attack: whether each response is judged by itself.

    Raises:
        UserError: no judge, one policy alone, or one given twice.
    """
    if not judges and (not people or attack):
        raise UserError(
            "no judge: name one with --judge, as MODEL@URL, the folder of a language model, or a scorer"
        )
    if len(policies) < 2 and not attack:
        raise UserError("one policy: name another one, to hold it against")
    check_given_once(policies, "name every policy once")
    for text, times in Counter(judges).items():
        if times > 1:
            raise UserError(f"{text}: given {times} times as a judge; name every judge once")


def check_given_once(texts: Iterable[str], mend: str) -> None:
    """Raise a UserError where a text is given twice."""
    for text, times in Counter(texts).items():
        if times > 1:
            raise UserError(f"{text}: given {times} times; {mend}")


def _nearest_file(path: Path) -> str:
    """Return a half sentence with the file beside it that is called nearly so; empty: there is none."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f" (there is no folder {path.parent})"
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f" – did you mean '{path.with_name(near[0])}'?" if near else ""
