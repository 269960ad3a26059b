"""Files that are broken, or not what their names say: no row is lost uncounted."""

import csv
import gzip
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewarddiff.data import Ledger, load_groups, read
from rewarddiff.data.files import read_rows, rows
from rewarddiff.errors import UserError


def row(n: int) -> dict[str, Any]:
    return {"prompt": f"question {n}", "chosen": f"good {n}", "rejected": f"bad {n}"}


def lines(count: int) -> str:
    return "".join(json.dumps(row(n)) + "\n" for n in range(count))


def table(count: int, delimiter: str = ",") -> list[str]:
    """The lines of a CSV file: the header on line 1, row n on line n + 2."""
    return [delimiter.join(row(0)), *(delimiter.join(row(n).values()) for n in range(count))]


def write(path: Path, text: str | list[str]) -> Path:
    path.write_text(text if isinstance(text, str) else "\n".join(text) + "\n")
    return path


def kept_and_dropped(path: Path) -> tuple[list[str], Ledger]:
    ledger = Ledger()
    return [str(group.prompt) for group in read(path, ledger=ledger)], ledger


def first_unreadable(ledger: Ledger) -> dict[str, str]:
    example: dict[str, str] = ledger.to_dict()["dropped"]["unreadable"]["examples"][0]
    return example


# --- quotation marks ------------------------------------------------------------------------------------------------


def test_an_open_quotation_mark_costs_the_lines_to_the_end_of_the_file(tmp_path: Path) -> None:
    text = table(1000)
    # Line 27; 25 rows before it, 975 lines from it to line 1001.
    text[26] = '"unfinished,good 25,bad 25'
    path = write(tmp_path / "rows.csv", text)
    prompts, ledger = kept_and_dropped(path)
    assert prompts == [f"question {n}" for n in range(25)]
    assert (ledger.kept, ledger.dropped, ledger.total) == (25, 975, 1000)
    assert first_unreadable(ledger)["source"] == "rows.csv:27"
    assert (
        "quotation mark that opens here is not closed by line 1001"
        in first_unreadable(ledger)["detail"]
    )
    with pytest.raises(
        UserError, match=r"^rows\.csv:27: 975 of 1000 rows dropped, more than the 5.0% allowed"
    ):
        load_groups(path)


def test_an_open_quotation_mark_costs_the_lines_to_the_next_one(tmp_path: Path) -> None:
    text = table(1000)
    text[26] = '"unfinished,good 25,bad 25'
    # Line 101: 75 lines from 27 on, and reading goes on with 102.
    text[100] = 'question 99,"good, good",bad 99'
    prompts, ledger = kept_and_dropped(write(tmp_path / "rows.csv", text))
    assert prompts == [f"question {n}" for n in [*range(25), *range(100, 1000)]]
    assert (ledger.kept, ledger.dropped, ledger.total) == (925, 75, 1000)


@pytest.mark.parametrize(
    ("delimiter", "opening", "closing"),
    [
        (
            ",",
            '"unfinished,good,bad',
            'question,good,bad"',
        ),  # one cell from the first mark to the second
        (",", 'question,good,"bad', 'question,good,bad"'),  # three cells: a row to every CSV reader
        (",", '"question,good,bad', 'question",good,bad'),
        ("\t", 'question\tgood\t"bad', 'question\tgood\tbad"'),
    ],
)
def test_two_stray_quotation_marks_hide_no_rows(
    tmp_path: Path, delimiter: str, opening: str, closing: str
) -> None:
    text = table(1000, delimiter)
    text[26], text[100] = opening, closing
    name = "rows.tsv" if delimiter == "\t" else "rows.csv"
    prompts, ledger = kept_and_dropped(write(tmp_path / name, text))
    assert prompts == [f"question {n}" for n in [*range(25), *range(100, 1000)]]
    assert (ledger.kept, ledger.dropped, ledger.total) == (925, 75, 1000)
    assert first_unreadable(ledger)["source"] == f"{name}:27"


def test_a_text_of_many_lines_stays_a_row(tmp_path: Path) -> None:
    """Lines with as many commas as a row has are a text where one of them is not like a row."""
    answer = "\n".join([*["Well, yes, I do"] * 40, "The end"])
    path = write(
        tmp_path / "rows.csv", ["prompt,chosen,rejected", f'one,"{answer}",bad', "two,good,bad"]
    )
    groups = list(read(path, ledger=(ledger := Ledger())))
    assert [group.responses[0] for group in groups] == [answer, "good"]
    assert [group.source for group in groups] == ["rows.csv:2", "rows.csv:43"]
    assert ledger.dropped == 0


def test_a_header_that_cannot_be_read_makes_no_other_line_the_header(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.csv", ['prompt,"chosen"x,rejected', "prompt,chosen,rejected", "a,b,c"]
    )
    with pytest.raises(UserError, match=r"rows\.csv:1: the header is not valid CSV"):
        kept_and_dropped(path)


# --- what stands twice ----------------------------------------------------------------------------------------------


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "prompt,chosen,rejected,chosen\np,a,b,c\n")
    with pytest.raises(
        UserError, match=r"rows\.csv:1: column chosen stands twice; rename or delete"
    ):
        kept_and_dropped(path)
    columns = [["p"], ["a"], ["b"], ["c"]]
    pq.write_table(
        pa.table(columns, names=["prompt", "chosen", "rejected", "chosen"]),
        tmp_path / "rows.parquet",
    )
    with pytest.raises(UserError, match=r"rows\.parquet: column chosen stands twice"):
        kept_and_dropped(tmp_path / "rows.parquet")


def test_columns_without_a_name_may_be_many(tmp_path: Path) -> None:
    prompts, _ = kept_and_dropped(
        write(tmp_path / "rows.csv", "prompt,chosen,rejected,,\np,a,b,,\n")
    )
    assert prompts == ["p"]


TWICE = '{"prompt": "p", "chosen": "a", "rejected": "b", "chosen": "c"}'
TWICE_INSIDE = (
    '{"prompt": [{"role": "user", "content": "p", "content": "q"}], "chosen": "a", "rejected": "b"}'
)


@pytest.mark.parametrize(("broken", "key"), [(TWICE, "chosen"), (TWICE_INSIDE, "content")])
def test_a_row_with_a_key_that_stands_twice_is_counted(
    tmp_path: Path, broken: str, key: str
) -> None:
    good = json.dumps(row(0))
    for name, text in (
        ("rows.jsonl", f"{good}\n{broken}\n"),
        ("rows.json", f"[{good},\n{broken}]"),
    ):
        prompts, ledger = kept_and_dropped(write(tmp_path / name, text))
        assert prompts == ["question 0"]
        assert ledger.dropped == 1
        assert first_unreadable(ledger) == {
            "source": f"{name}:2",
            "id": "",
            "detail": f"key {key} stands twice",
        }


# --- files as a whole -----------------------------------------------------------------------------------------------


def test_rows_after_many_broken_ones_are_read(tmp_path: Path) -> None:
    """150 lines that are no JSON, more than are looked at to tell the format."""
    prompts, ledger = kept_and_dropped(write(tmp_path / "rows.jsonl", "no JSON\n" * 150 + lines(5)))
    assert len(prompts) == 5
    assert (ledger.kept, ledger.count("unreadable")) == (5, 150)


def test_a_file_of_which_nothing_can_be_read_is_not_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", lines(2500))
    # 120 of 2620 are less than the 5 % that may be dropped.
    bad = write(tmp_path / "b.jsonl", "no JSON\n" * 120)
    ledger = Ledger()
    with pytest.raises(
        UserError,
        match=f"^{bad}:1: none of 120 rows can be read .*; mend the file, or take it away",
    ):
        load_groups(tmp_path, ledger=ledger)
    assert (ledger.kept, ledger.dropped) == (2500, 120)


def test_an_array_named_jsonl_is_read_with_a_note(tmp_path: Path) -> None:
    rows = [row(n) for n in range(300)]
    for name, indent in (("one-line.jsonl", None), ("many-lines.jsonl", 1), ("packed.jsonl.gz", 1)):
        data = json.dumps(rows, indent=indent).encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        prompts, ledger = kept_and_dropped(tmp_path / name)
        assert prompts == [r["prompt"] for r in rows]
        assert (ledger.kept, ledger.dropped, ledger.count("other_form")) == (300, 0, 1)
        assert "a JSON array" in ledger.table()


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_around_the_rows_is_named(tmp_path: Path, name: str, indent: int | None) -> None:
    path = write(
        tmp_path / name, json.dumps({"version": "1", "data": [row(0), row(1)]}, indent=indent)
    )
    with pytest.raises(
        UserError,
        match=f"^{path}:1: one object that holds 2 rows under data; write that list alone",
    ):
        kept_and_dropped(path)


def test_a_single_row_over_several_lines_is_a_row(tmp_path: Path) -> None:
    assert kept_and_dropped(write(tmp_path / "rows.json", json.dumps(row(3), indent=2)))[0] == [
        "question 3"
    ]


def test_rows_over_several_lines_each_are_refused(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(row(n), indent=2) for n in range(3))
    with pytest.raises(
        UserError,
        match=r"rows\.jsonl:1: a JSON object over several lines .*write one object a line",
    ):
        kept_and_dropped(write(tmp_path / "rows.jsonl", text))


def test_an_array_that_breaks_off_stops_the_reading_at_its_line(tmp_path: Path) -> None:
    whole = json.dumps([row(n) for n in range(3)], indent=0).splitlines()
    # line 1 is [, a row has 5 lines: { , three keys, }; row 2 begins on line 7, its prompt on line
    # 8
    assert whole[7] == '"prompt": "question 1",'
    whole[7] = '"prompt": question 1,'
    with pytest.raises(UserError, match=r"rows\.json:8: element 2 of the array is not valid JSON"):
        kept_and_dropped(write(tmp_path / "rows.json", whole))
    for broken in ("[" + json.dumps(row(0)), "[" + json.dumps(row(0)) + "] and more", "[1, "):
        with pytest.raises(UserError, match=r"rows\.json:1: .*the array"):
            kept_and_dropped(write(tmp_path / "rows.json", broken))


def test_elements_that_are_no_rows_are_counted_one_by_one(tmp_path: Path) -> None:
    elements = ["7", json.dumps(row(0)), '{"prompt": "\\ud800"}', "[]"]
    (tmp_path / "rows.json").write_bytes(
        f"[{', '.join(elements)}, ".encode() + b'{"prompt": "\xff"}]'
    )
    prompts, ledger = kept_and_dropped(tmp_path / "rows.json")
    assert (prompts, ledger.count("unreadable")) == (["question 0"], 4)
    assert kept_and_dropped(write(tmp_path / "none.json", " [ ] "))[1].total == 0


def test_leading_blanks_are_read_in_linear_time(tmp_path: Path) -> None:
    """1 MiB of blanks: milliseconds if each is handled once, ten seconds if again for every block."""
    path = write(tmp_path / "rows.json", " " * (1 << 20) + lines(1))
    start = time.process_time()
    assert kept_and_dropped(path)[0] == ["question 0"]
    assert time.process_time() - start < 2
    (only,) = read(write(tmp_path / "rows.json", "\n" * 1000 + lines(1)), ledger=Ledger())
    assert only.source == "rows.json:1001"


def test_a_line_longer_than_any_row_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    limit = csv.field_size_limit()  # of the whole process
    request.addfinalizer(lambda: csv.field_size_limit(limit))
    monkeypatch.setattr(rows, "MAX_LINE", 100)
    long_row = json.dumps(row(0) | {"more": "x" * 1000})
    for name, text, place in (
        ("rows.jsonl", f"{lines(1)}{long_row}\n{lines(1)}", 2),
        ("rows.csv", f"prompt,chosen,rejected\na,b,c\nd,{'x' * 1000},f\ng,h,i\n", 3),
    ):
        before, too_long, after = read_rows(write(tmp_path / name, text))
        assert before.values is not None
        assert after.values is not None
        assert (too_long.values, too_long.number) == (None, place)
        assert "longer than any row; write one row a line" in too_long.problem
    # the cell that a quotation mark opens is no longer than a line may be
    opened = write(tmp_path / "open.csv", ["prompt,chosen,rejected", '"a,b,c', *["d,e,f"] * 200])
    assert any(each.values is None for each in read_rows(opened))


SIGNATURES = {
    "lfs.jsonl": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "pointer of Git LFS.*git lfs pull",
    ),
    "lfs.parquet": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "pointer of Git LFS",
    ),
    "gzip.jsonl": (gzip.compress(lines(9).encode()), "packed with gzip; let its name end in .gz"),
    "utf16.jsonl": (lines(1).encode("utf-16"), "UTF-16; save it as UTF-8"),
    "sheet.csv": (b"PK\x03\x04....", "a zip archive or a spreadsheet"),
    "table.json": (b"PAR1....", "Parquet; let its name end in .parquet"),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_is_no_text_is_not_counted_by_its_lines(tmp_path: Path, name: str) -> None:
    """Beside a large file, two or three lines that cannot be read would pass for a small loss."""
    content, message = SIGNATURES[name]
    write(tmp_path / "a.jsonl", lines(1000))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: this is .*{message}"):
        kept_and_dropped(tmp_path)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    (tmp_path / "dead.jsonl").symlink_to(tmp_path / "nowhere")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "socket.jsonl"))
    causes = {
        "pipe": "a pipe and no file",
        "zero": "a device",
        "dead": "a link to nothing",
        "socket": "a socket",
    }
    for name, cause in causes.items():
        with pytest.raises(UserError, match=f"{name}.jsonl: {cause}"):
            read(tmp_path / f"{name}.jsonl", ledger=Ledger())
    write(tmp_path / "a.jsonl", lines(1))
    with pytest.raises(
        UserError, match="a link to nothing; put the file there, or remove the link"
    ):
        read(tmp_path, ledger=Ledger())


def test_values_that_python_cannot_hold_cost_their_row(tmp_path: Path) -> None:
    """2^40 seconds are the year 36812, 2^30 days the year 2.9 million; Python's end with 9999."""
    when = pa.array([0, 2**40, None, 0], pa.timestamp("s"))
    day = pa.array([0, 0, 1, 2**30], pa.date32())
    columns = {
        name: pa.array([f"{name} {n}" for n in range(4)])
        for name in ("prompt", "chosen", "rejected")
    }
    pq.write_table(pa.table({**columns, "when": when, "day": day}), tmp_path / "rows.parquet")
    prompts, ledger = kept_and_dropped(tmp_path / "rows.parquet")
    assert prompts == ["prompt 0", "prompt 2"]
    assert ledger.count("unreadable") == 2
    assert first_unreadable(ledger)["source"] == "rows.parquet:2"
    assert first_unreadable(ledger)["detail"].startswith(
        "column when holds a value that cannot be read"
    )


def test_where_nothing_is_left_no_larger_max_drop_is_advised(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", json.dumps(row(0) | {"rejected": "good 0"}) + "\n")
    with pytest.raises(
        UserError, match=r"1 of 1 rows dropped, none is left, .*whose responses are the same text$"
    ):
        load_groups(path, max_drop=1)
