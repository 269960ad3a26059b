"""What a format is: how one family of files says which response was preferred."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rewarddiff.data.ledger import Reason
from rewarddiff.data.votes import Vote
from rewarddiff.records import Group
from rewarddiff.writing import cut

Values = Mapping[str, Any]
"""One row: column → value."""


class RowError(Exception):
    """This row cannot be used; the reader counts it and goes on."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        detail = cut(detail)
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail


class FieldError(RowError):
    """A column is missing, or holds something else than its format has."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.MISSING_FIELD, detail)


@dataclass(frozen=True)
class Format:
    """How one family of files says what was preferred.

    Attributes:
        columns: these must all be there.
        convert: one row → one group; raises RowError. The reader fills in `source`, and `id` if it
            is empty.
        looks: settles what the column names leave open.
        gather: a prompt is spread over several rows, wherever they stand, and their groups are
            merged into one.
        beside: the stem of a file that is read along with this one and holds no groups itself.
        read_beside: returns what that file, beside this one (None: not a file), holds; `convert`
            is then called with it and the row.
        parts: makes several rows of one that says several things, each with its `subset`.
        remark: what is worth knowing of a row that goes on; None: nothing.
        pool: makes of the groups of one prompt as many as there are different pairs, where each row
            holds a part of what is known of one.
        votes: what single people say in a row; None: the format knows of none.
        to_compare: a row is there to be learned from, so that one without two different responses,
            a label, or a response given alone is dropped. False: it may have any number of
            responses, also none, since its prompt is to be answered.
    """

    name: str
    columns: tuple[str, ...]
    convert: Callable[..., Group]
    looks: Callable[[Values], bool] = lambda values: True
    gather: bool = False
    beside: str = ""
    read_beside: Callable[[Path | None], Any] | None = None
    parts: Callable[[Values], Iterable[dict[str, Any]]] | None = None
    remark: Callable[[Values], Reason | None] = lambda values: None
    pool: Callable[[Sequence[Group]], list[Group]] | None = None
    votes: Callable[[Values], Iterable[Vote]] | None = None
    to_compare: bool = True

    def missing(self, columns: Mapping[str, Any]) -> list[str]:
        """Return the format's columns that are not among these."""
        return [column for column in self.columns if column not in columns]

    def matches(self, values: Values) -> bool:
        return not self.missing(values) and self.looks(values)

    def converter(self, path: Path | None) -> Callable[[Values], Group]:
        """Return what makes a group of one row of this file; it raises RowError."""
        if self.read_beside is None:
            return self.convert
        return partial(self.convert, self.read_beside(path))
