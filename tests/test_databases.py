"""Databases of others: tables alone."""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from rewarddiff.annotate.votes import Votes
from rewarddiff.data.vote_files import read_votes
from rewarddiff.databases import JOURNAL_MAGIC, require_plain
from rewarddiff.errors import UserError
from rewarddiff.store import Store

ACTING = {
    "view": "CREATE VIEW v AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    "trigger": "CREATE TABLE t (a); CREATE TRIGGER v AFTER INSERT ON t BEGIN DELETE FROM t; END",
    "table": "CREATE VIRTUAL TABLE v USING fts5(a)",
    "generated column": "CREATE TABLE t (a, v AS (hex(zeroblob(400000000))))",
}


@pytest.mark.parametrize("kind", list(ACTING))
def test_what_acts_is_refused_by_whoever_opens_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "annotations.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(ACTING[kind])
    for opened in (read_votes, Votes, Store):
        with pytest.raises(UserError, match=f"it holds a {kind} 'v'"):
            opened(path)


def journal_naming(database: Path, named: Path) -> None:
    """Write a journal of no page that names a super-journal, as of a killed commit to two databases."""
    pages = database.stat().st_size // 4096
    header = struct.pack(">8s5I", JOURNAL_MAGIC, 0, 1, pages, 512, 4096).ljust(512, b"\0")
    name = str(named).encode()
    lock_page = 0x40000000 // 4096 + 1
    end = struct.pack(">2I8s", len(name), sum(name), JOURNAL_MAGIC)
    Path(f"{database}-journal").write_bytes(header + struct.pack(">I", lock_page) + name + end)


@pytest.mark.parametrize("opened", [Votes, Store])
def test_what_a_foreign_journal_names_is_not_deleted(opened: type, tmp_path: Path) -> None:
    place, precious = tmp_path / "run" / "x.sqlite", tmp_path / "precious.txt"
    precious.write_text("mine")
    place.parent.mkdir()
    opened(place).close()
    journal_naming(place, precious)
    with pytest.raises(UserError, match=r"x\.sqlite-journal: no journal that rewarddiff writes"):
        opened(place)
    assert precious.exists()
    with closing(sqlite3.connect(place)) as database:  # what would have come of it
        database.execute("SELECT * FROM sqlite_master").fetchall()
    assert not precious.exists()


def test_a_pipe_in_place_of_a_journal_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.sqlite-journal")
    with pytest.raises(UserError, match="no journal that rewarddiff writes"):
        Store(tmp_path / "x.sqlite")


def test_tables_with_indices_are_plain(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x")) as database:
        database.executescript("CREATE TABLE t (a PRIMARY KEY, b UNIQUE); CREATE INDEX i ON t (b)")
        require_plain(database)


def test_stored_generated_columns_are_refused_too() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE t (a, v AS (2 * a) STORED)")
        with pytest.raises(sqlite3.DatabaseError, match="a generated column 'v'"):
            require_plain(database)
