"""Databases that others may have made: tables and nothing that acts."""

from __future__ import annotations

import sqlite3


def require_plain(database: sqlite3.Connection) -> None:
    """Refuse a database with triggers, views or virtual tables, of which this package makes none.

    A view may go on for ever, and a trigger change what is stored.

    Raises:
        sqlite3.DatabaseError: it has one, or is no database.
    """
    database.execute("PRAGMA trusted_schema = OFF")
    query = (
        "SELECT type, name FROM sqlite_master "
        "WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'"
    )
    acting = database.execute(query).fetchone()
    if acting is not None:
        kind, name = acting
        raise sqlite3.DatabaseError(f"it holds a {kind} '{name}', and is to hold tables alone")
