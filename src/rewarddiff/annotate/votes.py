"""A project's file: SQLite, in which a vote is when it has been acknowledged.

The tables are in `schema.sql`. Writes are whole transactions that are on the disk when they return
(`synchronous=FULL`); a killed process loses nothing that it has answered.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from rewarddiff.annotate.records import Answer, Progress, Receipt, Shown, prompt_from_json
from rewarddiff.databases import require_own_journal, require_plain
from rewarddiff.errors import UserError

BUSY_SECONDS = 30
"""How long a write waits for another program that holds the file."""

OPEN = """
    FROM assignments LEFT JOIN votes USING (item, annotator)
    WHERE assignments.annotator = ? AND votes.item IS NULL
"""
"""The items that an annotator has still to answer."""


class Votes:
    """The file of a project. Threads may share it: they take turns."""

    def __init__(self, path: Path) -> None:
        """Open a file, or begin one.

        Raises:
            UserError: it is no such file.
        """
        require_own_journal(path)
        self.path = path
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        try:
            require_plain(self._connection)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_schema())
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self._connection.close()
            raise UserError(
                f"{path}: no file of annotations ({error}); choose another output"
            ) from error

    def close(self) -> None:
        """Close the file, when what a thread is storing is stored; what was acknowledged is in it."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection in a transaction: all of it is stored, or none."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite ends it by itself where a disk is full
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Return what a query finds."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    # What was said when the project began.

    def settings(self) -> dict[str, Any]:
        """Return the project's settings; a new project has none."""
        rows = self.rows("SELECT key, value FROM settings")
        return {row["key"]: json.loads(row["value"]) for row in rows}

    def keep_settings(self, settings: Mapping[str, Any]) -> None:
        """Store settings, in place of those of the same name."""
        rows = [(key, json.dumps(value)) for key, value in settings.items()]
        with self.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)

    # Annotators.

    def names(self) -> list[str]:
        """Return the annotators, in the order in which they were added."""
        return [row["name"] for row in self.rows("SELECT name FROM annotators ORDER BY rowid")]

    def annotator_of(self, token: str) -> str | None:
        """Return whose token this is; None: nobody's."""
        given = token_hash(token)
        owner = None
        # All are compared, each in constant time: how long it takes tells nothing of any.
        for row in self.rows("SELECT name, token_hash FROM annotators"):
            if hmac.compare_digest(row["token_hash"], given):
                owner = row["name"]
        return owner

    def preferences(self, annotator: str) -> dict[str, Any]:
        """Return what an annotator has chosen on the settings page."""
        query = "SELECT preferences FROM annotators WHERE name = ?"
        [row] = self.rows(query, annotator)
        preferences: dict[str, Any] = json.loads(row["preferences"])
        return preferences

    def keep_preferences(self, annotator: str, preferences: Mapping[str, Any]) -> None:
        """Store what an annotator has chosen."""
        with self.writing() as connection:
            connection.execute(
                "UPDATE annotators SET preferences = ? WHERE name = ?",
                (json.dumps(preferences), annotator),
            )

    # Items and votes.

    def progress(self, annotator: str) -> Progress:
        """Count what an annotator has answered, and what there is."""
        [votes] = self.rows(
            "SELECT count(*) AS done, total(skipped) AS skipped FROM votes WHERE annotator = ?",
            annotator,
        )
        [assigned] = self.rows(
            "SELECT count(*) AS total FROM assignments WHERE annotator = ?", annotator
        )
        return Progress(votes["done"], int(votes["skipped"]), assigned["total"])

    def begin_visit(self, annotator: str) -> None:
        """Forget when an unanswered item was shown: nobody has looked at it in between."""
        with self.writing() as connection:
            connection.execute(
                "UPDATE assignments SET shown = NULL WHERE annotator = ?", (annotator,)
            )

    def next_item(self, annotator: str) -> Shown | None:
        """Return the item that an annotator is to answer now; None: all are answered.

        Its time runs from the first call that returns it.
        """
        query = f"SELECT assignments.item {OPEN} ORDER BY place LIMIT 1"
        with self.writing() as connection:
            row = connection.execute(query, (annotator,)).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE assignments SET shown = ? "
                "WHERE annotator = ? AND item = ? AND shown IS NULL",
                (time.time(), annotator, row["item"]),
            )
        return self._shown(annotator, row["item"])

    def _shown(self, annotator: str, item: str) -> Shown:
        query = "SELECT * FROM items JOIN assignments ON item = id WHERE annotator = ? AND id = ?"
        [row] = self.rows(query, annotator, item)
        responses = (row["b"], row["a"]) if row["first"] else (row["a"], row["b"])
        earlier = self.rows(
            "SELECT reason FROM undone WHERE annotator = ? AND item = ? ORDER BY created DESC LIMIT 1",
            annotator,
            item,
        )
        reason = earlier[0]["reason"] if earlier else ""
        return Shown(item, prompt_from_json(row["prompt"]), responses, reason)

    def vote(self, annotator: str, answer: Answer) -> Receipt:
        """Store an answer; when this returns, it is on the disk.

        Raises:
            LookupError: this annotator has no such item, or the form was another's.
        """
        with self.writing() as connection:
            assigned = connection.execute(
                "SELECT * FROM assignments WHERE annotator = ? AND item = ?",
                (annotator, answer.item),
            ).fetchone()
            if assigned is None:
                raise LookupError(answer.item)
            if _is_known(connection, annotator, answer):
                return "known"
            earlier = connection.execute(
                "SELECT 1 FROM votes WHERE annotator = ? AND item = ?", (annotator, answer.item)
            ).fetchone()
            if earlier is not None:
                return "answered"
            _store(connection, annotator, answer, assigned)
        return "stored"

    def last_vote(self, annotator: str) -> sqlite3.Row | None:
        """Return the vote that an undo would take back; None: there is none."""
        query = "SELECT * FROM votes WHERE annotator = ? ORDER BY rowid DESC LIMIT 1"
        rows = self.rows(query, annotator)
        return rows[0] if rows else None

    def undo(self, annotator: str, nonce: str) -> bool:
        """Take a vote back, the one of this form; False: there is none, or none any more.

        Naming the form makes an undo that arrives twice take back one vote.
        """
        with self.writing() as connection:
            vote = connection.execute(
                "SELECT * FROM votes WHERE annotator = ? AND nonce = ?", (annotator, nonce)
            ).fetchone()
            if vote is None:
                return False
            connection.execute("DELETE FROM votes WHERE nonce = ?", (nonce,))
            connection.execute("INSERT INTO undone VALUES (?,?,?,?,?,?,?,?,?)", tuple(vote))
            connection.execute(
                "UPDATE assignments SET shown = NULL, spent = ? WHERE annotator = ? AND item = ?",
                (vote["seconds"], annotator, vote["item"]),
            )
        return True


def token_hash(token: str) -> str:
    """Return what a project's file keeps of a token. Tokens are random and long: no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def _schema() -> str:
    return (resources("rewarddiff.annotate") / "schema.sql").read_text("utf-8")


def _is_known(connection: sqlite3.Connection, annotator: str, answer: Answer) -> bool:
    """Tell whether this form has arrived before.

    Raises:
        LookupError: as the form of another annotator, or of another item.
    """
    for table in ("votes", "undone"):
        row = connection.execute(
            f"SELECT annotator, item FROM {table} WHERE nonce = ?", (answer.nonce,)
        ).fetchone()
        if row is not None:
            if tuple(row) != (annotator, answer.item):
                raise LookupError(answer.nonce)
            return True
    return False


def _store(
    connection: sqlite3.Connection, annotator: str, answer: Answer, assigned: sqlite3.Row
) -> None:
    """Insert a vote: its grade towards a, and the seconds since the item was shown."""
    grade = answer.toward_first
    if grade is not None and assigned["first"] == 1:
        grade = -grade
    now = time.time()
    seconds = assigned["spent"] + max(0.0, now - (assigned["shown"] or now))
    connection.execute(
        "INSERT INTO votes VALUES (?,?,?,?,?,?,?,?,?)",
        (
            answer.item,
            annotator,
            grade,
            int(grade is None),
            answer.reason,
            round(seconds, 3),
            assigned["first"],
            datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds"),
            answer.nonce,
        ),
    )
