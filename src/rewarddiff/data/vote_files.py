"""Files of votes, read and written: our own, collections that name annotators, and a project.

A project is the folder that `rewarddiff annotate` works in, or its `annotations.sqlite`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from rewarddiff import files
from rewarddiff.data.formats import FORMATS, Format, RowError, Values
from rewarddiff.data.ledger import Ledger
from rewarddiff.data.read import NOT_AS_EXPECTED, described_streams, with_formats
from rewarddiff.data.vote_database import DATABASE, database_votes, is_database
from rewarddiff.data.vote_rows import ROWS
from rewarddiff.data.votes import Vote
from rewarddiff.errors import UserError, suggest
from rewarddiff.paths import user_path
from rewarddiff.writing import counted, cut

VoteForm = Literal["rows", "votes", "multipref", "helpsteer3", "label-studio"]


def read_votes(path: str | Path) -> list[Vote]:
    """Return all votes of a file, or of a project of `rewarddiff annotate`, in their order.

    Raises:
        UserError: there is none, a row that cannot be read, or votes on different scales.
    """
    place = user_path(path)
    if os.path.isfile(place / DATABASE):
        place = place / DATABASE
    votes = database_votes(place) if is_database(place) else list(_votes_in(place))
    if not votes:
        raise UserError(f"{path}: holds no votes; annotate first, or give another file")
    return _on_one_scale(votes, path)


_KNOWN = ", ".join(form.name for form in FORMATS if form.votes is not None)
"""Formats that tell single votes."""


def _votes_in(place: Path) -> Iterator[Vote]:
    try:
        yield from _votes_of_streams(place)
    except UserError as error:
        columns, mark, _ = str(error).partition(" are in no known format")
        if not mark:
            raise
        # Votes are read as they are: who asks for them has no option that names columns.
        raise UserError(
            f"{columns} are those of no votes; rename them in the file to those of one of: {_KNOWN} "
            "(the project's docs/formats.md)"
        ) from error


def _votes_of_streams(place: Path) -> Iterator[Vote]:
    for stream, head, form in with_formats(described_streams(place, None, None), None, Ledger()):
        where = stream.path or stream.name
        for row in chain(head, stream.rows):
            if row.values is None:
                raise UserError(f"{where}:{row.number}: {row.problem}; mend the row, or delete it")
            yield from _votes_of(form, row.values, f"{where}:{row.number}")


def _votes_of(form: Format, values: Values, place: str) -> list[Vote]:
    if form.votes is None:
        raise UserError(
            f"{place}: in format {form.name} no single votes are told; give a file of votes "
            f"({_KNOWN}), or a project of rewarddiff annotate"
        )
    try:
        return list(form.votes(values))
    except RowError as error:
        cause = error.detail or str(error.reason)
    except NOT_AS_EXPECTED as error:
        cause = cut(f"not as {form.name} has it: {error}")
    raise UserError(f"{place}: {cause}; mend the row, or delete it")


def _on_one_scale(votes: list[Vote], path: str | Path) -> list[Vote]:
    """Return the votes, skipped ones on the scale of the others."""
    scales = sorted({vote.steps for vote in votes if vote.grade is not None})
    if not scales:
        return votes
    if len(scales) > 1:
        steps = " and ".join(map(str, scales))
        raise UserError(
            f"{path}: holds votes on scales of {steps} steps, which do not compare; "
            "give each scale a file of its own"
        )
    on_scale = []
    for vote in votes:
        is_other = vote.grade is None and vote.steps != scales[0]
        on_scale.append(replace(vote, steps=scales[0]) if is_other else vote)
    return on_scale


@dataclass(frozen=True)
class Written:
    """What was written: `rows` of so many `votes`, of which so many were `skipped`."""

    path: Path
    rows: int
    votes: int
    skipped: int

    @property
    def line(self) -> str:
        """The same in words."""
        return (
            f"{self.path}: {counted(self.rows, 'row')} of {counted(self.votes, 'vote')}, "
            f"{self.skipped:,} of these skipped"
        )


def write_votes(votes: Iterable[Vote], path: str | Path, form: str = "rows") -> Written:
    """Write votes to a file, whole or not at all.

    Args:
        form: `rows`, a row for each pair with its mean grade, which is preference data with a strength;
            `votes`, a row for each vote; `multipref`, `helpsteer3` or `label-studio`, as these have it.

    Raises:
        UserError: no such form, a suffix that is not the form's, or votes that the form cannot hold.
    """
    check_form(form)
    place = user_path(path)
    suffix = suffix_of(form)
    if place.suffix != suffix:
        raise UserError(f"{path}: votes as {form} are written to a file that ends in {suffix}")
    votes = list(votes)
    rows = ROWS[form](votes)
    if not rows:
        raise UserError(f"{path}: nothing to write, all of {len(votes)} votes are skipped")
    files.write_text(place, _array(rows) if suffix == ".json" else _lines(rows))
    skipped = sum(vote.grade is None for vote in votes)
    return Written(place, len(rows), len(votes), skipped)


def check_form(form: str) -> None:
    """Raise a UserError where there is no such form of votes."""
    if form not in ROWS:
        raise UserError(f"--as {form}: no such form of votes{suggest(form, get_args(VoteForm))}")


def suffix_of(form: str) -> str:
    """Return what the name of a file of this form ends with."""
    return ".json" if form == "label-studio" else ".jsonl"


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _array(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"
