"""Databases that others may have made: tables and nothing that acts."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from rewarddiff.errors import UserError

JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""Begins a journal of SQLite, and ends one that names a super-journal (sqlite.org/fileformat2.html)."""

ACTING = """
    SELECT type, name FROM sqlite_master
    WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'
"""
GENERATED = """
    SELECT 'generated column', columns.name
    FROM sqlite_master AS tables, pragma_table_xinfo(tables.name) AS columns
    WHERE tables.type = 'table' AND columns.hidden IN (2, 3)
"""


def require_own_journal(path: Path) -> None:
    """Refuse a database beside a journal that rewarddiff does not write, before it is opened for writing.

    SQLite rolls a journal back before anything else. It then deletes the super-journal that the journal
    names, which may be any file; only a transaction on several databases has one, and there is none
    here. A journal without one is what a killed process of ours leaves, and is rolled back.

    Raises:
        UserError: the journal names a super-journal, or is no file.
    """
    journal = journal_of(path)
    if not _is_own(journal):
        raise UserError(
            f"{journal}: no journal that rewarddiff writes, and one that may do harm; remove it"
        )


def journal_of(path: Path) -> Path:
    """Return the file that SQLite keeps beside a database while a transaction lasts."""
    return Path(f"{os.path.realpath(path)}-journal")


def _is_own(journal: Path) -> bool:
    """Tell whether SQLite may roll a journal back; one that is not there does no harm."""
    try:
        if not stat.S_ISREG(journal.stat().st_mode):
            return False  # SQLite would wait for what a pipe says
        with journal.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(JOURNAL_MAGIC)))
            return file.read() != JOURNAL_MAGIC
    except FileNotFoundError:
        return True


def require_plain(database: sqlite3.Connection) -> None:
    """Refuse a database with triggers, views, virtual tables or generated columns: ours have none.

    A view may go on for ever, a trigger change what is stored, and a generated column take all memory.

    Raises:
        sqlite3.DatabaseError: it has one, or is no database.
    """
    database.execute("PRAGMA trusted_schema = OFF")
    for query in (ACTING, GENERATED):
        acting = database.execute(query).fetchone()
        if acting is not None:
            kind, name = acting
            raise sqlite3.DatabaseError(f"it holds a {kind} '{name}', and is to hold tables alone")
