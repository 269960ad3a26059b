"""Rows out and in again: every kind of file holds what it was given."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from rewarddiff.errors import UserError
from rewarddiff.scoring import tables
from rewarddiff.scoring.tables import Values

ROWS: list[list[Values]] = [
    [{"id": 1, "prompt": 'two\nlines, "quoted"', "scores": None, "extra": None}],
    [
        {"id": 2, "prompt": "ünï — ✓", "scores": [0.1, None], "late": {"a": 1}},
        {"id": 3.5, "prompt": "", "scores": [], "late": None},
    ],
]


def windows() -> Iterator[Sequence[Values]]:
    return iter(ROWS)


FLAT = [row for rows in ROWS for row in rows]


def test_lines_hold_rows_as_they_are(tmp_path: Path) -> None:
    tables.write(tmp_path / "out.jsonl", windows)
    texts = (tmp_path / "out.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(text) for text in texts] == FLAT


def test_csv_has_the_columns_of_all_rows(tmp_path: Path) -> None:
    tables.write(tmp_path / "out.csv", windows)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "prompt", "scores", "extra", "late"]
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in FLAT]
    assert [row["scores"] for row in rows] == ["", "[0.1, null]", "[]"]
    assert rows[1]["late"] == '{"a": 1}'


def test_no_cell_of_csv_is_a_formula_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"prompt": "=1+1", "-r": "a\rb", "score": -0.5},
        {"prompt": "- a list", "score": "-0.5"},
    ]
    tables.write(tmp_path / "out.csv", lambda: iter([rows]))
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        read_back = list(csv.reader(file, strict=True))
    assert read_back == [
        ["prompt", "'-r", "score"],
        ["'=1+1", "a\rb", "-0.5"],
        ["'- a list", "", "-0.5"],
    ]
    assert "2 cells got an apostrophe" in capsys.readouterr().err


def test_parquet_has_types_that_hold_all_rows(tmp_path: Path) -> None:
    tables.write(tmp_path / "out.parquet", windows)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    columns = ("id", "prompt", "scores", "extra", "late")
    assert rows == [{column: row.get(column) for column in columns} for row in FLAT]
    assert [row["id"] for row in rows] == [1.0, 2.0, 3.5]


def test_a_folder_loads_with_datasets(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # what was there is replaced
    tables.write(tmp_path / "out", windows)
    dataset = datasets.load_from_disk(str(tmp_path / "out"))
    assert dataset["prompt"][:] == [row["prompt"] for row in FLAT]
    assert dataset[1]["scores"] == [0.1, None]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_part_in_parquet_keeps_types(tmp_path: Path) -> None:
    rows = [{"when": date(2026, 1, 2), "raw": b"\xff"}, {"when": None, "raw": None}]
    file = tmp_path / "part.parquet"
    file.write_bytes(tables.encoded(rows, ".parquet"))
    assert tables.decoded(file) == rows


@pytest.mark.parametrize(
    ("row", "column"), [({"a": "text"}, "a"), ({"a": {}}, ""), ({"a": 1 << 70}, "a")]
)
def test_what_parquet_cannot_hold_is_one_line(tmp_path: Path, row: Values, column: str) -> None:
    with pytest.raises(UserError, match=r"write to a file named \.jsonl$") as refused:
        tables.write(tmp_path / "out.parquet", lambda: iter([[{"a": 1}], [row]]))
    assert column in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_says_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"out\.txt: .* \.jsonl, \.csv, \.parquet$"):
        tables.check_suffix(Path("out.txt"))
    with pytest.raises(UserError, match=r"one of \.jsonl, \.csv, \.parquet$"):
        tables.check_suffix(Path("out"))
    assert tables.check_suffix(Path("out"), folders=True) == ""
