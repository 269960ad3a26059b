"""Rows of numbers in files: what is written is read, and a hash tells contents apart."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff import ragged
from rewarddiff.ragged import Lengths, Ragged, RaggedWriter

COLUMNS = {"tokens": "H", "scores": "d", "name": "B"}

tokens = st.lists(st.integers(0, 65_535), max_size=6)
scores = st.lists(st.floats(allow_nan=False), max_size=3)
made_rows = st.lists(st.tuples(tokens, scores, st.binary(max_size=5)), max_size=12)

Rows = list[tuple[list[int], list[float], bytes]]


def written(rows: Rows, folder: Path) -> Ragged:
    folder.mkdir(exist_ok=True)
    with RaggedWriter(folder, COLUMNS) as writer:
        for row_tokens, row_scores, name in rows:
            writer.add(tokens=row_tokens, scores=row_scores, name=name)
    return Ragged(folder)


@given(made_rows)
def test_what_is_written_is_read(rows: Rows) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = written(rows, Path(folder))
        assert len(table) == len(rows)
        lengths = Lengths(table["tokens"])
        for place, (row_tokens, row_scores, name) in enumerate(rows):
            assert table["tokens"][place].tolist() == row_tokens
            assert table["scores"][place].tolist() == row_scores
            assert table["name"][place].tobytes() == name
            assert lengths[place] == len(row_tokens)


def test_many_rows_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: Rows = [([n, n + 1], [n / 2], b"row %d" % n) for n in range(50)]
    at_once = written(rows, tmp_path / "at once")
    monkeypatch.setattr(ragged, "BUFFER", 7)
    in_parts = written(rows, tmp_path / "in parts")
    assert in_parts["tokens"].values.tolist() == at_once["tokens"].values.tolist()
    assert in_parts.digest == at_once.digest


# Each pair of contents has the same numbers one behind the other, in the same columns.
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([([1, 2], [], b""), ([3], [], b"")], [([1], [], b""), ([2, 3], [], b"")]),
        ([([1], [], b""), ([], [], b"")], [([], [], b""), ([1], [], b"")]),
        ([([1], [0.5], b"a")], [([1], [0.25], b"a")]),
    ],
    ids=["cut elsewhere", "in another row", "another number"],
)
def test_the_hash_tells_contents_apart(tmp_path: Path, one: Rows, other: Rows) -> None:
    assert written(one, tmp_path / "a").digest == written(one, tmp_path / "b").digest
    assert written(one, tmp_path / "c").digest != written(other, tmp_path / "d").digest


def test_what_does_not_fit_its_type_is_refused_and_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(OverflowError), RaggedWriter(tmp_path, {"tokens": "H"}) as writer:
        writer.add(tokens=[65_536])
    with pytest.raises(FileNotFoundError):
        Ragged(tmp_path)
