"""Files made to do harm: memory and time stay small, and one line says what is wrong.

`tests/faults/bombs.py` has the same at full size, and more of it.
"""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewarddiff.cli import main
from rewarddiff.data import Ledger, load_groups, read
from rewarddiff.data.files import json_rows, read_rows, rows
from rewarddiff.data.questions import read_questions
from rewarddiff.data.vote_files import read_votes
from rewarddiff.errors import UserError
from rewarddiff.rewards.stored import read_baseline

MIB = 1 << 20


def row(n: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"question {n}", "chosen": f"good {n}", "rejected": f"bad {n}", **more}


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in rows).encode()


def refusal(path: Path, reader: Callable[[Path], Any] = load_groups) -> str:
    with pytest.raises(UserError) as caught:
        reader(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def unreadable(path: Path) -> list[str]:
    """What is wrong with the rows of a file that are none."""
    return [row.problem for row in read_rows(path) if row.values is None]


# --- what unpacks to a thousand times its size ------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "piece", "before", "cause"),
    [
        ("rows.jsonl.gz", b"\0", b"", ":1: a line that goes on for more than 16 MiB; give a file"),
        ("rows.json.gz", b"[", b"", ":1: element 1 of the array is not valid JSON"),
        (
            "rows.json.gz",
            b"x",
            b'[{"prompt": "',
            ":1: element 1 of the array is not valid JSON within 1 MiB",
        ),
        (
            "rows.json.gz",
            b"x",
            b'{\n"prompt": "',
            ":1: a JSON object over several lines (of more than 1 MiB)",
        ),
        ("rows.csv.gz", b"x,", b"", ":1: the header is a line of more than"),
        (
            "rows.csv.gz",
            b"\0",
            b"prompt,chosen,rejected\n",
            ":2: a line that goes on for more than 16 MiB",
        ),
    ],
)
def test_what_is_packed_is_read_in_bounded_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    piece: bytes,
    before: bytes,
    cause: str,
) -> None:
    """64 MiB in a file of 64 KiB, with an eighth of the limits."""
    monkeypatch.setattr(rows, "MAX_LINE", MIB)
    path = tmp_path / name
    path.write_bytes(gzip.compress(before + piece * (64 * MIB // len(piece)), 1))
    tracemalloc.start()
    message = refusal(path)
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"{path}{cause}" in message
    assert highest < 24 * MIB


def test_a_csv_record_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells over two lines each, none long, that are a record without an end.

    Its lines have 3, 6, 6, … characters: 168 of them are more than 1,000, and then 167 of 6 each.
    """
    monkeypatch.setattr(rows, "MAX_LINE", 1000)
    path = tmp_path / "rows.csv"
    path.write_bytes(b"prompt,chosen,rejected\na,b,c\n" + b'"x\ny",' * 400)
    first, *others = read_rows(path)
    assert first.values is not None
    assert [(other.number, other.stands_for) for other in others[:2]] == [(3, 168), (171, 167)]
    assert all(other.values is None for other in others)


def test_rows_behind_a_line_that_is_too_long_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where lines end as they did on old computers of Apple."""
    monkeypatch.setattr(rows, "MAX_LINE", 100)
    path = tmp_path / "rows.csv"
    path.write_bytes(
        b"\r".join([b"prompt,chosen,rejected", b"a,b," + b"x" * 300, b"d,e,f", b"g,h,i"])
    )
    assert [each.number for each in read_rows(path) if each.values is not None] == [3, 4]


def test_an_array_is_read_element_by_element(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of seven bytes, which cut texts, escapes, numbers and characters."""
    monkeypatch.setattr(json_rows, "BLOCK", 7)
    elements: list[dict[str, Any]] = [row(n, id=10**n, name="ä\U0001f600\\\n") for n in range(20)]
    for indent in (None, 2):
        path = tmp_path / "rows.json"
        path.write_text(json.dumps(elements, ensure_ascii=False, indent=indent), "utf-8")
        assert [each.values for each in read_rows(path)] == elements
    path.write_text(
        json.dumps(elements, indent=0).replace('"rejected": "bad 9"', '"rejected": bad')
    )
    # Line 1 is [, an element has 7 lines: element 10 begins on line 65, its `rejected` is the third key.
    assert refusal(path).startswith(f"{path}:68: element 10 of the array is not valid JSON")


def test_a_parquet_row_that_is_too_long_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_LINE", 10_000)
    columns = {name: [str(row(n)[name]) for n in range(100)] for name in row(0)}
    columns["chosen"][40] = "x" * 20_000
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    ledger = Ledger()
    assert len(load_groups(path, ledger=ledger)) == 99
    assert ledger.to_dict()["dropped"]["unreadable"]["examples"][0]["source"] == "rows.parquet:41"
    # One text of 20,000 characters, held once and said 100 times.
    columns["chosen"] = ["x" * 20_000] * 100
    pq.write_table(pa.table(columns), path)
    assert "more than 16 times a row of more than" in refusal(path)
    # A file of one such row is refused by what its end says.
    pq.write_table(pa.table({name: column[:1] for name, column in columns.items()}), path)
    assert "row group 0 has rows of more than" in refusal(path)


def test_a_parquet_file_that_declares_other_rows_than_it_holds_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({name: [str(row(n)[name]) for n in range(3)] for name in row(0)}), path)
    content = path.read_bytes()
    end = content[:-8].rfind(
        b"\x16\x06\x19"
    )  # num_rows, 3 as Thrift writes it, before the row groups
    path.write_bytes(content[: end + 1] + b"\x08" + content[end + 2 :])
    assert "the data is damaged" in refusal(path)
    # Both the end and its only row group say 2: the third row would be lost.
    fewer = bytearray(content)
    in_group = content[:-8].rfind(b"\x16\x06")
    assert in_group > end
    fewer[end + 1] = fewer[in_group + 1] = 4
    path.write_bytes(fewer)
    assert "damaged (row group 0 has 3 values of a column, and 2 rows)" in refusal(path)


# --- what takes long --------------------------------------------------------------------------------


def seconds(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def test_a_key_that_stands_twice_among_many_is_found_at_once(tmp_path: Path) -> None:
    keys = ",".join(f'"{n}":0' for n in range(50_000))
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{{keys},"49999":1}}\n')
    assert seconds(lambda: unreadable(path)) < 2
    assert unreadable(path) == ["key 49999 stands twice"]


def test_many_columns_are_refused_at_once_and_not_all_named(tmp_path: Path) -> None:
    names = [f"column {n}" for n in range(20_000)]
    for name, text in (
        ("rows.csv", ",".join(names) + "\n" + ",".join("x" for _ in names) + "\n"),
        ("rows.jsonl", json.dumps(dict.fromkeys(names, "x")) + "\n"),
    ):
        path = tmp_path / name
        path.write_text(text)
        assert seconds(lambda path=path: refusal(path)) < 3  # type: ignore[misc]
        assert len(refusal(path)) < 3000
        assert "column 49 and 19950 more are in no known format" in refusal(path)


@pytest.mark.parametrize("column", ["scores", "ranks"])
def test_responses_that_are_too_many_to_be_compared_cost_their_row(
    tmp_path: Path, column: str
) -> None:
    def of(count: int) -> dict[str, Any]:
        return {
            "prompt": f"{count}",
            "responses": [f"a {n}" for n in range(count)],
            column: [*range(count)],
        }

    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(of(3), of(5000)))
    ledger = Ledger()
    assert seconds(lambda: load_groups(path, ledger=ledger, max_drop=1)) < 3
    assert (ledger.kept, ledger.count("too_many_responses")) == (1, 1)


# --- values -----------------------------------------------------------------------------------------


def test_rows_are_as_deep_as_rows_are(tmp_path: Path) -> None:
    def nested(depth: int) -> str:
        return json.dumps(row(depth))[:-1] + f', "x": {"[" * depth}{"]" * depth}}}\n'

    path = tmp_path / "rows.jsonl"
    path.write_text("".join(map(nested, (99, 100, 500, 100_000))))
    assert unreadable(path) == ["more than 100 lists and objects within each other"] * 3


def test_half_a_character_in_a_cell_of_json_is_no_conversation(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    turns = '[{""role"": ""user"", ""content"": ""\\ud800""}]'
    path.write_text(f'prompt,chosen,rejected\na,b,c\n"{turns}",b,c\n')
    ledger = Ledger()
    assert len(load_groups(path, ledger=ledger, max_drop=1)) == 1
    assert ledger.count("unreadable") == 1


def test_nothing_is_not_the_text_none(tmp_path: Path) -> None:
    post = {"post": "My cat.", "title": None, "subreddit": "aww"}
    summaries = [{"text": " Cat."}, {"text": " Dog."}]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines({"info": post, "summaries": summaries, "choice": 0}))
    assert "(no title)" in refusal(path)
    asked = {"question_id": None, "turns": ["Why?"]}
    path.write_bytes(lines(asked))
    assert read_questions(path)[0].id == ""


def test_questions_without_a_turn_and_scores_beyond_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines({"turns": []}))
    assert "holds no prompt (turns holds no text)" in refusal(path, read_questions)
    path.write_bytes(lines({"prompt": "p", "responses": ["a"], "scores": [10**400]}))
    assert "scores are not one finite number" in refusal(path, read_baseline)


# --- projects of votes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("UPDATE items SET a = NULL", "no a"),
        ("UPDATE items SET b = x'00ff'", "b is bytes, expected text"),
        ("UPDATE items SET prompt = '\"\\ud800\"'", "no prompt"),
        ("UPDATE votes SET grade = 1.5", "grade is 1.5, expected a whole number"),
        ("UPDATE votes SET annotator = NULL", "no annotator"),
        ("UPDATE settings SET value = 'Infinity'", "steps is inf"),
        ("UPDATE settings SET value = '[1]'", "steps is not a number"),
        (
            "ALTER TABLE votes RENAME TO v; CREATE VIEW votes AS SELECT * FROM v",
            "it holds a view 'votes'",
        ),
        ("INSERT INTO items SELECT * FROM items", "two rows have {'id': 'i'}"),
        (
            "INSERT INTO votes SELECT * FROM votes",
            "two rows have {'item': 'i', 'annotator': 'ann'}",
        ),
        ("INSERT INTO settings SELECT * FROM settings", "two rows have {'key': 'scale'}"),
        ("UPDATE votes SET item = 'j'", "a vote is on item 'j', which is not there"),
        ("UPDATE items SET place = 'first'", "place is not a number"),
    ],
)
def test_a_vote_that_is_none_is_refused(tmp_path: Path, change: str, cause: str) -> None:
    path = tmp_path / "annotations.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            f"""
            CREATE TABLE settings (key TEXT, value TEXT);
            CREATE TABLE items (id TEXT, place INTEGER, prompt TEXT, a TEXT, b TEXT, source TEXT);
            CREATE TABLE votes (item TEXT, annotator TEXT, grade INTEGER, skipped INTEGER,
                                reason TEXT, seconds REAL);
            INSERT INTO settings VALUES ('scale', '5');
            INSERT INTO items VALUES ('i', 0, '"p"', 'x', 'y', '');
            INSERT INTO votes VALUES ('i', 'ann', 1, 0, '', 1.0);
            {change};
            """
        )
    assert f"cannot be read as a project of rewarddiff annotate ({cause}" in refusal(
        path, read_votes
    )


def test_texts_that_stand_in_two_tables_are_more_than_the_file(tmp_path: Path) -> None:
    """A page of two tables, as one row's text may be that of a million rows."""
    path = tmp_path / "annotations.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            """
            CREATE TABLE settings (key, value);
            CREATE TABLE items (id, place, prompt, a, b, source);
            CREATE TABLE votes (item, annotator, grade, skipped, seconds, reason);
            PRAGMA writable_schema = ON;
            UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'items')
            WHERE name = 'votes';
            """
        )
    with closing(sqlite3.connect(path)) as database, database:
        row = ("i", 0, json.dumps("p" * 1_000_000), "a", "b", None)
        database.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", row)
    cause = "its rows hold more text than the file has bytes"
    assert cause in refusal(path, read_votes)


# --- names ------------------------------------------------------------------------------------------

NAMES = [
    b"na\xefve.jsonl",
    b"a\nb.jsonl",
    b"a\x1b[31mb.jsonl",
    b"-rows.jsonl",
    b"rows#train.jsonl",
    b"n" * 249 + b".jsonl",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_file_may_have_any_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: bytes
) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
    path.write_bytes(lines(row(0), row(1), {"prompt": "p"}))
    groups = load_groups(path, max_drop=1, cache=tmp_path / "cache")
    assert [group.source.rpartition(":")[2] for group in groups] == ["1", "2"]
    assert "\n" not in groups[0].source
    assert main(["check", "--max-drop", "0.5", "--", os.fspath(path)]) == 0
    assert main(["check", "--", os.fspath(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "1 of 3 rows dropped" in line


def test_what_is_kept_of_data_is_made_anew_where_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(row(0), row(1), {"prompt": "p"}))

    def loaded() -> tuple[list[str], int]:
        ledger = Ledger()
        groups = load_groups(path, ledger=ledger, max_drop=1, cache=tmp_path / "cache")
        return [group.responses[0] for group in groups], ledger.dropped

    assert loaded() == (["good 0", "good 1"], 1)
    for kept in sorted((tmp_path / "cache").iterdir()):
        content = kept.read_bytes()
        kept.write_bytes(
            content.replace(b"good 1", b"good 7").replace(b'"count": 1', b'"count": 7')
        )
        assert loaded() == (["good 0", "good 1"], 1)
        kept.write_bytes(content[: len(content) // 2])
        assert loaded() == (["good 0", "good 1"], 1)


def test_groups_are_the_same_however_few_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(*(row(n) for n in range(30))))
    whole = list(load_groups(path))
    monkeypatch.setattr("rewarddiff.data.holding.LARGEST", 60)
    few = load_groups(path)
    assert list(few) == whole
    assert few[29] == whole[29]
    assert list(read(path, ledger=Ledger())) == whole
