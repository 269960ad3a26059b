"""The votes in the SQLite file of an annotation project.

votes(item, annotator, grade, skipped, reason, seconds, …)   grade in favour of a, null where skipped
items(id, place, prompt, a, b, source)                       prompt and source as JSON
settings(key, value)                                         as JSON; `scale`: its steps
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rewarddiff.data.files.rows import MAX_LINE
from rewarddiff.data.formats.base import RowError, Values
from rewarddiff.data.formats.cells import from_json, optional_number, text
from rewarddiff.data.formats.conversations import prompt
from rewarddiff.data.formats.voted import grade, steps, word
from rewarddiff.data.votes import Vote
from rewarddiff.databases import require_plain
from rewarddiff.errors import UserError
from rewarddiff.writing import cut

DATABASE = "annotations.sqlite"
"""The file of a project that holds its items and votes."""

BEGINNING = b"SQLite format 3\0"

QUERY = """
    SELECT items.id AS item, items.prompt, items.a, items.b, items.source,
           votes.annotator, votes.grade, votes.skipped, votes.seconds, votes.reason
    FROM votes JOIN items ON items.id = votes.item
    ORDER BY items.place, votes.annotator
"""

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
            require_plain(database)
            database.row_factory = sqlite3.Row
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_LINE)
            return list(_votes(database))
    except NOT_A_PROJECT as error:
        raise UserError(
            f"{path}: cannot be read as a project of rewarddiff annotate ({cut(str(error))}); "
            "give its folder, or a file of votes"
        ) from None


def _votes(database: sqlite3.Connection) -> Iterator[Vote]:
    scale = _scale(database)
    for row in database.execute(QUERY):
        yield _vote({**dict(row), "steps": scale})


def _vote(values: Values) -> Vote:
    source_a, source_b = _sources(values["source"])
    return Vote(
        prompt=prompt({"prompt": from_json(text(values, "prompt"))}),
        response_a=text(values, "a"),
        response_b=text(values, "b"),
        grade=None if values["skipped"] else grade(values, "grade"),
        annotator=text(values, "annotator"),
        steps=steps(values),
        seconds=optional_number(values, "seconds"),
        reason=word(values, "reason"),
        source_a=source_a,
        source_b=source_b,
        item=text(values, "item"),
    )


def _scale(database: sqlite3.Connection) -> Any:
    """Return the steps of the scale; None where nothing says so."""
    row = database.execute("SELECT value FROM settings WHERE key = 'scale'").fetchone()
    return None if row is None else json.loads(str(row["value"]))


def _sources(source: str | None) -> tuple[str, str]:
    """Return what wrote a and b; empty where it is not known."""
    known: Any = json.loads(source) if source else None
    if not isinstance(known, dict):
        return "", ""
    return str(known.get("a") or ""), str(known.get("b") or "")
