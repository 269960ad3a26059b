"""The votes in the SQLite file of an annotation project.

votes(item, annotator, grade, skipped, reason, seconds, …)   grade in favour of a, null where skipped
items(id, place, prompt, a, b, source)                       prompt and source as JSON
settings(key, value)                                         as JSON; `scale`: its steps
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rewarddiff.data.files.rows import MAX_LINE
from rewarddiff.data.formats.base import RowError, Values
from rewarddiff.data.formats.cells import from_json, number, optional_number, text
from rewarddiff.data.formats.conversations import prompt
from rewarddiff.data.formats.voted import grade, steps, word
from rewarddiff.data.votes import Vote
from rewarddiff.databases import require_plain
from rewarddiff.errors import UserError
from rewarddiff.writing import cut

DATABASE = "annotations.sqlite"
"""The file of a project that holds its items and votes."""

BEGINNING = b"SQLite format 3\0"

SETTINGS = "SELECT key, value FROM settings"
ITEMS = "SELECT id, place, prompt, a, b, source FROM items"
VOTES = "SELECT item, annotator, grade, skipped, seconds, reason FROM votes"

NOT_A_PROJECT = (
    sqlite3.Error,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RecursionError,
    RowError,
)


def is_database(path: Path) -> bool:
    """Tell an SQLite file by its first bytes."""
    if not os.path.isfile(path):
        return False
    with path.open("rb") as file:
        return file.read(len(BEGINNING)) == BEGINNING


def database_votes(path: Path) -> list[Vote]:
    """Return the votes of a project, skipped ones among them, in the order of its items.

    Raises:
        UserError: it is no such file, or cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_LINE)
            require_plain(database)
            database.row_factory = sqlite3.Row
            return _votes(_Tables(path, database))
    except NOT_A_PROJECT as error:
        raise UserError(
            f"{path}: cannot be read as a project of rewarddiff annotate ({cut(str(error))}); "
            "give its folder, or a file of votes"
        ) from None


class _Tables:
    """The tables of a file, which together hold no more text than the file has bytes.

    A damaged or hostile file may have the same row without end, or one text in many rows. So each
    table is read once, row by row, and nothing is sorted or joined by SQLite, which would not end.
    """

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._database = database
        log = path.with_name(f"{path.name}-wal")
        self._room = path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def rows(self, query: str, keys: int) -> dict[tuple[Any, ...], Values]:
        """Return the rows of a table by the values of its first columns, in the order of the file.

        Raises:
            ValueError: two rows have the same, or they hold more than the file.
        """
        rows: dict[tuple[Any, ...], Values] = {}
        for row in self._database.execute(query):
            key = tuple(row)[:keys]
            if key in rows:
                raise ValueError(f"two rows have {dict(zip(row.keys(), key, strict=False))}")
            self._room -= sum(len(value) for value in row if isinstance(value, str | bytes))
            if self._room < 0:
                raise ValueError("its rows hold more text than the file has bytes")
            rows[key] = dict(row)
        return rows


def _votes(tables: _Tables) -> list[Vote]:
    """Return the votes by the places of their items, and those on one by annotator."""
    scale = tables.rows(SETTINGS, 1).get(("scale",))
    scale_steps = None if scale is None else json.loads(str(scale["value"]))
    items = {key: item for (key,), item in tables.rows(ITEMS, 1).items()}
    votes_on: dict[Any, list[Values]] = {key: [] for key in items}
    for vote in tables.rows(VOTES, 2).values():
        item = text(vote, "item")
        if item not in items:
            raise ValueError(f"a vote is on item '{item}', which is not there")
        votes_on[item].append({**vote, "steps": scale_steps})
    votes = []
    for key in sorted(items, key=lambda key: number(items[key], "place")):
        votes += _votes_on(items[key], votes_on[key])
    return votes


def _votes_on(item: Values, votes: Sequence[Values]) -> list[Vote]:
    """Return the votes on an item by annotator; they share its texts."""
    if not votes:
        return []
    asked = prompt({"prompt": from_json(text(item, "prompt"))})
    response_a, response_b = text(item, "a"), text(item, "b")
    source_a, source_b = _sources(item["source"])
    votes_on = []
    for values in votes:
        vote = Vote(
            prompt=asked,
            response_a=response_a,
            response_b=response_b,
            grade=None if values["skipped"] else grade(values, "grade"),
            annotator=text(values, "annotator"),
            steps=steps(values),
            seconds=optional_number(values, "seconds"),
            reason=word(values, "reason"),
            source_a=source_a,
            source_b=source_b,
            item=text(values, "item"),
        )
        votes_on.append(vote)
    return sorted(votes_on, key=lambda vote: vote.annotator)


def _sources(source: str | None) -> tuple[str, str]:
    """Return what wrote a and b; empty where it is not known."""
    known: Any = json.loads(source) if source else None
    if not isinstance(known, dict):
        return "", ""
    return str(known.get("a") or ""), str(known.get("b") or "")
