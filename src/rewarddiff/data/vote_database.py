"""The votes in the SQLite file of an annotation project.

votes(item, annotator, grade, skipped, reason, seconds, …)   grade in favour of a, null where skipped
items(id, place, prompt, a, b, source)                       prompt and source as JSON
settings(key, value)                                         as JSON; `scale`: its steps
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rewarddiff.data.formats.base import RowError
from rewarddiff.data.formats.conversations import prompt
from rewarddiff.data.votes import Vote
from rewarddiff.databases import require_plain
from rewarddiff.errors import UserError

DATABASE = "annotations.sqlite"
"""The file of a project that holds its items and votes."""

BEGINNING = b"SQLite format 3\0"

QUERY = """
    SELECT items.id, items.prompt, items.a, items.b, items.source,
           votes.annotator, votes.grade, votes.skipped, votes.seconds, votes.reason
    FROM votes JOIN items ON items.id = votes.item
    ORDER BY items.place, votes.annotator
"""

NOT_A_PROJECT = (sqlite3.DatabaseError, ValueError, TypeError, KeyError, RowError)


def is_database(path: Path) -> bool:
    """Tell an SQLite file by its first bytes."""
    if not path.is_file():
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
            return list(_votes(database))
    except NOT_A_PROJECT as error:
        raise UserError(
            f"{path}: cannot be read as a project of rewarddiff annotate ({error}); "
            "give its folder, or a file of votes"
        ) from None


def _votes(database: sqlite3.Connection) -> Iterator[Vote]:
    steps = _steps(database)
    for row in database.execute(QUERY):
        sources = _sources(row["source"])
        yield Vote(
            prompt=prompt({"prompt": json.loads(row["prompt"])}),
            response_a=row["a"],
            response_b=row["b"],
            grade=None if row["skipped"] else row["grade"],
            annotator=row["annotator"],
            steps=steps,
            seconds=row["seconds"],
            reason=row["reason"] or "",
            source_a=sources[0],
            source_b=sources[1],
            item=row["id"],
        )


def _steps(database: sqlite3.Connection) -> int:
    row = database.execute("SELECT value FROM settings WHERE key = 'scale'").fetchone()
    return 7 if row is None else int(json.loads(str(row["value"])))


def _sources(source: str | None) -> tuple[str, str]:
    """Return what wrote a and b; empty where it is not known."""
    known: Any = json.loads(source) if source else None
    if not isinstance(known, dict):
        return "", ""
    return str(known.get("a") or ""), str(known.get("b") or "")
