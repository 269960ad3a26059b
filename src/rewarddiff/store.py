"""Scores, reference log-probabilities and samples, kept by what determines them.

A key is a hash of everything the value depends on (weights, text, settings). So a stored value is
never stale, and a second run, or an α sweep, pays for nothing twice. One SQLite file; values are
JSON, each beside a sum of it: SQLite has none, and a value that was changed on the disk would be
used.
"""

from __future__ import annotations

import json
import logging
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from rewarddiff.databases import journal_of, require_own_journal, require_plain
from rewarddiff.errors import UserError
from rewarddiff.hashing import digest
from rewarddiff.room import NoRoom, room_for

logger = logging.getLogger(__name__)


def fingerprint(*parts: object) -> str:
    """Return a 128-bit hash of JSON-able parts, the same text on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return digest([text.encode()])


def finite(value: Any) -> Any:
    """Return a value as JSON can hold it: numpy's as Python's, NaN and infinities as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def sum_of(key: str, value: str) -> str:
    """Return the hash of a value under its key: swapped values are found too."""
    return digest([key.encode(), b"\0", value.encode()])


def is_as_written(key: object, value: object, sum_of_written: object) -> bool:
    """Tell whether a row holds what was written; a flipped bit may make bytes or None of a text."""
    if not (isinstance(key, str) and isinstance(value, str)):
        return False
    return sum_of(key, value) == sum_of_written


class Store:
    """A dictionary in one SQLite file: text key → JSON value. Usable as a context manager.

    Raises:
        UserError: at any time, where the file cannot be read or written, or is no store.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        require_own_journal(path)
        with self._explained():
            self._db = sqlite3.connect(path, timeout=60)
            # What is no UTF-8 any more is no error of SQLite's, but a value with another sum.
            self._db.text_factory = lambda text: text.decode("utf-8", "replace")
            require_plain(self._db)
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS kept "
                "(key TEXT PRIMARY KEY, value TEXT NOT NULL, sum TEXT NOT NULL)"
            )
            if journal_of(path).exists():
                # SQLite rolls back what a kill has left half written. What it finds not begun
                # stays, until a transaction takes its place.
                self._db.execute("PRAGMA user_version = 0")
            self._take_over_items()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def get(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values that are there; one that is not as it was written counts as absent."""
        values = {}
        changed = 0
        query = "SELECT value, sum FROM kept WHERE key = ?"
        with self._explained():
            for key in keys:
                row = self._db.execute(query, (key,)).fetchone()
                if row is None:
                    continue
                value, sum_of_written = row
                if is_as_written(key, value, sum_of_written):
                    values[key] = json.loads(value)
                else:
                    changed += 1
        self._warn_of_changed(changed)
        return values

    def _warn_of_changed(self, count: int) -> None:
        if count:
            logger.warning(
                "%s: %d of the values that it keeps do not hold what was written: made again",
                self._path,
                count,
            )

    def is_empty(self) -> bool:
        """Tell whether nothing is kept."""
        with self._explained():
            return self._db.execute("SELECT 1 FROM kept LIMIT 1").fetchone() is None

    def put(self, values: Mapping[str, Any]) -> None:
        """Write the values, all or none."""
        texts = [(key, json.dumps(value)) for key, value in values.items()]
        self._write((key, text, sum_of(key, text)) for key, text in texts)

    def clear(self) -> None:
        """Keep nothing."""
        with self._explained(), self._db:
            self._db.execute("DELETE FROM kept")

    def take(self, other: Path) -> None:
        """Write all values of another store that are as they were written, and remove that one."""
        with Store(other) as store, store._explained():
            rows = store._db.execute("SELECT key, value, sum FROM kept").fetchall()
            whole = [row for row in rows if is_as_written(*row)]
            store._warn_of_changed(len(rows) - len(whole))
        self._write(whole)
        other.unlink()

    def _write(self, rows: Iterable[tuple[str, str, str]]) -> None:
        rows = list(rows)
        size = sum(len(text) for row in rows for text in row)
        with self._explained(size), self._db:
            self._db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", rows)

    def _take_over_items(self) -> None:
        """Take over what was kept before values had sums: a judge's answers have cost money."""
        named = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'items'"
        if self._db.execute(named).fetchone() is None:
            return
        self._db.create_function("sum_of", 2, sum_of, deterministic=True)
        with self._db:
            self._db.execute(
                "INSERT OR IGNORE INTO kept SELECT key, value, sum_of(key, value) FROM items"
            )
            self._db.execute("DROP TABLE items")

    @contextmanager
    def _explained(self, size: int | None = None) -> Iterator[None]:
        """Raise a UserError for an error of SQLite; `size` is of what is written."""
        try:
            with room_for(self._path, size):
                yield
        except NoRoom as error:
            raise UserError(error.line) from error
        except sqlite3.OperationalError as error:
            # No place, no permission, or a lock that is held for a minute.
            raise UserError(
                f"{self._path}: cannot be written ({error}); "
                "free some space, or choose another output"
            ) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            # What SQLite says of a broken schema quotes it, and may be no UTF-8.
            raise UserError(
                f"{self._path}: is broken ({error}); delete it, what it kept is computed again"
            ) from error
