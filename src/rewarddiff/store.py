"""Scores, reference log-probabilities and samples, kept by what determines them.

A key is a hash of everything the value depends on (weights, text, settings). So a stored value is
never stale, and a second run, or an α sweep, pays for nothing twice. One SQLite file; values are
JSON.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rewarddiff.errors import UserError
from rewarddiff.hashing import digest

Item = TypeVar("Item")


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


WRITE_SECONDS = 1.0
"""Values are written together this often: one write each would take longer than a small model."""


class Store:
    """A dictionary on disk: text key → JSON value. Usable as a context manager.

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

    def __enter__(self) -> Store:
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


def remember(
    store: Store | None,
    items: Sequence[Item],
    key: Callable[[Item], str],
    compute: Callable[[Sequence[Item]], Iterable[tuple[int, Any]]],
    *,
    keep: Callable[[Any], bool] = lambda _: True,
    seconds: float = WRITE_SECONDS,
) -> list[Any]:
    """Return the value of every item, computing only those the store does not hold.

    `compute` gets the missing items and yields (index among them, value) in any order; values are
    stored every so many seconds and when an error or the user ends the pass, so that it goes on
    where it stopped.

    Args:
        keep: which values are stored; the others are computed anew next time.
        seconds: 0 stores each as it comes, so that a kill loses none.
    """
    keys = [key(item) for item in items]
    values: dict[str, Any] = {} if store is None else store.get(keys)
    missing = {k: item for k, item in zip(keys, items, strict=True) if k not in values}
    missing_keys = list(missing)
    computed = compute(list(missing.values())) if missing else ()
    unwritten: dict[str, Any] = {}
    written = time.monotonic()
    try:
        for index, value in computed:
            values[missing_keys[index]] = value
            if keep(value):
                unwritten[missing_keys[index]] = value
            if store is not None and unwritten and time.monotonic() - written >= seconds:
                store.put(unwritten)
                unwritten = {}
                written = time.monotonic()
    finally:
        try:
            if store is not None and unwritten:
                store.put(unwritten)
        finally:
            # Not left to the collector: at the end of the process nobody would run what it waits for.
            if isinstance(computed, Generator):
                computed.close()
    return [values[k] for k in keys]
