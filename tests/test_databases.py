"""Databases of others: tables alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rewarddiff.annotate.votes import Votes
from rewarddiff.data.vote_files import read_votes
from rewarddiff.databases import require_plain
from rewarddiff.errors import UserError
from rewarddiff.store import Store

ACTING = {
    "view": "CREATE VIEW v AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    "trigger": "CREATE TABLE t (a); CREATE TRIGGER v AFTER INSERT ON t BEGIN DELETE FROM t; END",
    "table": "CREATE VIRTUAL TABLE v USING fts5(a)",
}


@pytest.mark.parametrize("kind", list(ACTING))
def test_what_acts_is_refused_by_whoever_opens_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "annotations.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(ACTING[kind])
    for opened in (read_votes, Votes, Store):
        with pytest.raises(UserError, match=f"it holds a {kind} 'v'"):
            opened(path)


def test_tables_with_indices_are_plain(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x")) as database:
        database.executescript("CREATE TABLE t (a PRIMARY KEY, b UNIQUE); CREATE INDEX i ON t (b)")
        require_plain(database)
