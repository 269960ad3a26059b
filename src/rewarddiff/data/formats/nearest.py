"""What to say of a row that is in no known format: the nearest one, and what to rename."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice
from typing import Any

from rewarddiff.data.formats.base import Format, Values
from rewarddiff.data.formats.cells import TURNS
from rewarddiff.writing import listed

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "prompt": (
        "instruction",
        "question",
        "query",
        "input",
        "problem",
        "context",
        "post",
        "user",
    ),
    "chosen": ("good", "better", "preferred", "accepted", "winner", "positive", "win", "best"),
    "rejected": ("bad", "worse", "dispreferred", "loser", "negative", "lose", "worst", "reject"),
    "response": ("answer", "output", "completion", "reply", "text", "generation"),
    "completion": ("answer", "output", "response", "reply", "text", "generation"),
    "responses": ("answers", "outputs", "completions", "candidates", "replies", "generations"),
    "label": ("desirable", "is_good", "liked", "thumb", "feedback", "kto_tag"),
    "kto_tag": ("label", "desirable", "feedback"),
    "winner": ("preference", "preferred", "verdict", "vote"),
    "scores": ("ratings", "rewards", "grades"),
    "margin": ("strength", "gap", "confidence", "votes"),
    "response_a": ("answer_a", "completion_a", "output_a"),
    "response_b": ("answer_b", "completion_b", "output_b"),
}
"""What other collections call the columns of the plain formats."""

PLAIN_WORDS = {"response", "answer", "output", "completion", "text", "reply", "user", "model", "my"}
"""Words that may stand beside a synonym: good_answer is good, user_query a query."""

MOST_NAMES = 50
"""Columns of a row among which those of a format are looked for."""

LONGEST_NAME = 60
"""Characters of a name that may be meant for a column of a format."""

ALIKE = 0.8
"""From this similarity on, a name is taken for another that was mistyped."""

MAIN = ("trl", "scored", "trl-unpaired", "response", "messages", "arena-texts", "prompts")
"""The formats that are named where no format is near, and that go before others as near."""

OPTIONAL = {"trl": "margin", "scored": "scores"}
"""A column that these formats read where it is there."""


@dataclass(frozen=True)
class Near:
    """How far a format is from a row.

    Attributes:
        renamed: the format's columns that are there under other names. missing: those that are not.
        looks: with its columns renamed the row would be read.
    """

    form: Format
    renamed: Mapping[str, str]
    missing: Sequence[str]
    looks: bool

    @property
    def covered(self) -> int:
        """How many columns that the format reads are there, renamed or not."""
        columns = {*self.form.columns, *self.renamed}
        return len(columns) - len(self.missing)

    @property
    def rank(self) -> tuple[float, int, int]:
        """Sort by what is missing, then by how much of the row is read."""
        missing_share = len(self.missing) / len(self.form.columns)
        if not self.missing and not self.looks:
            missing_share = 0.5
        return missing_share, -self.covered, len(self.renamed)


def misfit(values: Values, formats: Sequence[Format]) -> str:
    """Say why a row is in no known format, and the mend: the end of a message about its columns."""
    main_first = sorted(formats, key=_main_place)
    nears = [_near(form, values) for form in main_first]
    # Anything with a prompt is near to prompts alone, and as a rule something else is meant.
    nears = [near for near in nears if near.form.to_compare or near.looks]
    nearest = min(nears, key=lambda near: near.rank)
    if len(nearest.missing) >= nearest.covered:
        return f"are in no known format; {_any_format(main_first)}"
    if {"chosen", "rejected"} <= values.keys() and "prompt" in nearest.missing:
        return f"are in no known format: {_pair_misfit(values)}"
    if nearest.renamed or nearest.missing:
        return f"are in no known format, the nearest is {_mend(nearest)}"
    return (
        f"are those of {nearest.form.name}, what they hold is not; compare them with "
        "the project's docs/formats.md"
    )


def _main_place(form: Format) -> int:
    return MAIN.index(form.name) if form.name in MAIN else len(MAIN)


def _near(form: Format, values: Values) -> Near:
    renamed: dict[str, str] = {}
    missing = []
    free = list(islice(_names_to_give(form, values), MOST_NAMES))
    for column in form.missing(values):
        candidate = _candidate(column, free)
        if candidate is None:
            missing.append(column)
        else:
            renamed[column] = candidate
            free.remove(candidate)
    more = OPTIONAL.get(form.name)
    if more is not None and more not in values:
        candidate = _candidate(more, free)
        if candidate is not None:
            renamed[more] = candidate
    looks = not missing and form.looks(_with_names(values, renamed))
    return Near(form, renamed, missing, looks)


def _names_to_give(form: Format, values: Values) -> Iterator[str]:
    """Yield the columns of a row that may be meant for some of the format's."""
    for column in values:
        if column not in form.columns and len(column) <= LONGEST_NAME:
            yield column


def _with_names(values: Values, renamed: Mapping[str, str]) -> Values:
    """Return a row with the names of a format for some of its columns."""
    row = {name: value for name, value in values.items() if name not in renamed.values()}
    return row | {column: values[name] for column, name in renamed.items()}


def _candidate(column: str, free: Iterable[str]) -> str | None:
    """Return which of these columns is the one meant; None: none looks like it."""
    plain = {_plain(name): name for name in free if name}
    names = [name for name in (column, *SYNONYMS.get(column, ())) if _plain(name) in plain]
    if names:
        return plain[_plain(names[0])]
    for name, original in plain.items():
        telling = [word for word in name.split("_") if word not in PLAIN_WORDS]
        if "_".join(telling) in SYNONYMS.get(column, ()):
            return original
    alike = {name: _similarity(_plain(column), name) for name in plain}
    best = max(alike, key=alike.__getitem__, default=None)
    if best is None or alike[best] < ALIKE:
        return None
    return plain[best]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _similarity(a: str, b: str) -> float:
    """Return how alike two names are; those with other numbers in them are not."""
    if re.findall(r"\d+", a) != re.findall(r"\d+", b):
        return 0.0
    return SequenceMatcher(None, a, b).ratio()


def _mend(near: Near) -> str:
    """Name the format and its columns, those missing, and how to rename."""
    absent = [column for column in [*near.renamed, *near.missing] if column in near.form.columns]
    text = f"{_with_columns(near.form)}: missing {', '.join(absent)}"
    pairs = [f"{column}={name}" for column, name in near.renamed.items()]
    if near.missing:
        pairs += [f"{column}=COLUMN" for column in near.missing]
        return (
            f"{text}; rename the columns that hold them, or name these with "
            f"--columns {shlex.quote(','.join(pairs))} (in a recipe data.columns)"
        )
    names = ", ".join(f"{name} to {column}" for column, name in near.renamed.items())
    return (
        f"{text}; rename {names}, or leave the file as it is and add --columns "
        f"{shlex.quote(','.join(pairs))} (in a recipe data.columns)"
    )


def _with_columns(form: Format) -> str:
    return f"{form.name} ({', '.join(form.columns)})"


def _any_format(formats: Sequence[Format]) -> str:
    """Name the plain formats with their columns; the others are in the documentation."""
    main = [_with_columns(form) for form in formats if form.name in MAIN]
    return (
        f"rename them to those of one of: {'; '.join(main)}; or name them with --columns "
        "prompt=COLUMN,chosen=COLUMN,…; prompts alone are read beside any columns with "
        f"--format prompts (the project's docs/formats.md has all {len(formats)} formats)"
    )


def _pair_misfit(values: Values) -> str:
    """Say what is wrong with a chosen and a rejected response that stand without a prompt."""
    contents = f"chosen holds {_kind(values['chosen'])}, rejected holds {_kind(values['rejected'])}"
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
        return f"an object with {listed(map(str, value))}"
    return f"a {type(value).__name__}"
