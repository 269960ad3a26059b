"""Scores, reference log-probabilities and samples, kept by what determines them.

A key is a hash of everything the value depends on (weights, text, settings). So a stored value is
never stale, and a second run, or an α sweep, pays for nothing twice. One SQLite file; values are
JSON.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from rewarddiff.errors import UserError
from rewarddiff.hashing import digest


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


class Store:
    """A dictionary in one SQLite file: text key → JSON value. Usable as a context manager.

    Raises:
        UserError: at any time, where the file cannot be read or written, or is no store.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._db = sqlite3.connect(path, timeout=60)
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS items (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def get(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values that are there."""
        values = {}
        with self._explained():
            for key in keys:
                row = self._db.execute("SELECT value FROM items WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    values[key] = json.loads(row[0])
        return values

    def is_empty(self) -> bool:
        """Tell whether nothing is kept."""
        with self._explained():
            return self._db.execute("SELECT 1 FROM items LIMIT 1").fetchone() is None

    def put(self, values: Mapping[str, Any]) -> None:
        """Write the values, all or none."""
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        with self._explained(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", rows)

    def clear(self) -> None:
        """Keep nothing."""
        with self._explained(), self._db:
            self._db.execute("DELETE FROM items")

    def take(self, other: Path) -> None:
        """Write all values of another store, and remove that one."""
        with Store(other) as store:
            rows = store._db.execute("SELECT key, value FROM items").fetchall()
        with self._explained(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", rows)
        other.unlink()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise a UserError for an error of SQLite."""
        try:
            yield
        except sqlite3.OperationalError as error:
            # No place, no permission, or a lock that is held for a minute.
            raise UserError(
                f"{self._path}: cannot be written ({error}); "
                "free some space, or choose another output"
            ) from error
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"{self._path}: is broken ({error}); delete it, what it kept is computed again"
            ) from error
