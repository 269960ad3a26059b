"""Rows of any content, and files of any bytes: what is written comes back, or one line says what is wrong."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples_many import many
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.data import Ledger, load_groups, read
from rewarddiff.data.columns import names_read
from rewarddiff.data.files import SUFFIXES, read_rows
from rewarddiff.data.outputs import read_outputs
from rewarddiff.data.passing import passing
from rewarddiff.data.questions import read_questions
from rewarddiff.data.vote_files import read_votes
from rewarddiff.errors import UserError
from rewarddiff.records import Group
from rewarddiff.rewards.stored import read_baseline

letters = st.characters(exclude_categories=["Cs"])
texts = st.text(letters) | st.sampled_from(
    [
        "None",
        "null",
        "\ufeff",
        "\u2028",
        "\x85",
        "a\r\nb",
        "\r",
        '"',
        '""',
        "\\",
        "[",
        "{}",
        "1",
        "NaN",
    ]
)
numbers = (
    st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([10**400, -(10**18), 1e308])
)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


# --- what is written comes back ---------------------------------------------------------------------


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@given(
    rows=st.lists(st.dictionaries(texts, values, min_size=1, max_size=4), min_size=1, max_size=5),
    name=st.sampled_from(["rows.jsonl", "rows.jsonl.gz", "rows.json", "rows.json.gz"]),
    indent=st.none() | st.integers(0, 3),
    ascii=st.booleans(),
)
@many
def test_rows_in_json_come_back_equal(
    place: Path, rows: list[dict[str, Any]], name: str, indent: int | None, ascii: bool
) -> None:
    if name.startswith("rows.jsonl"):
        text = "".join(json.dumps(row, ensure_ascii=ascii) + "\n" for row in rows)
    else:
        text = json.dumps(rows, ensure_ascii=ascii, indent=indent)
    path = written(place / name, text.encode())
    assert [row.values for row in read_rows(path)] == rows


cells = texts.filter(lambda text: "\0" not in text)


@given(
    rows=st.lists(
        st.fixed_dictionaries({"prompt": cells, "chosen": cells, "rejected": cells}),
        min_size=1,
        max_size=5,
    ),
    name=st.sampled_from(["rows.csv", "rows.tsv", "rows.csv.gz"]),
)
@many
def test_rows_in_csv_come_back_equal(place: Path, rows: list[dict[str, str]], name: str) -> None:
    plain = place / name.removesuffix(".gz")
    with plain.open("w", newline="", encoding="utf-8") as stream:
        delimiter = "\t" if plain.suffix == ".tsv" else ","
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    path = written(place / name, plain.read_bytes()) if name.endswith(".gz") else plain
    assert [row.values for row in read_rows(path)] == rows


columns = st.fixed_dictionaries(
    {
        "prompt": st.none() | texts,
        "scores": st.none() | st.lists(st.none() | st.floats(allow_nan=False), max_size=3),
        "id": st.none() | st.integers(-(2**63), 2**63 - 1),
        "turns": st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), max_size=2),
    }
)
SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("scores", pa.list_(pa.float64())),
        ("id", pa.int64()),
        ("turns", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ]
)


@given(rows=st.lists(columns, min_size=1, max_size=40), group=st.integers(1, 40))
@many
def test_rows_in_parquet_come_back_equal(
    place: Path, rows: list[dict[str, Any]], group: int
) -> None:
    path = place / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, row_group_size=group)
    assert [row.values for row in read_rows(path)] == rows


@given(
    answers=st.lists(
        st.tuples(texts, texts, texts).filter(
            lambda row: all(text.strip() for text in row) and row[1].strip() != row[2].strip()
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda row: row[0].strip(),
    )
)
@many
def test_pairs_come_back_as_groups(place: Path, answers: list[tuple[str, str, str]]) -> None:
    """But for texts that are read as something else: a list of turns, or a prompt said again."""
    plain = [row for row in answers if not any(text.lstrip().startswith("[") for text in row)]
    plain = [row for row in plain if not row[1].startswith(row[0]) or not row[2].startswith(row[0])]
    if not plain:
        return
    rows = [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in plain]
    path = written(place / "pairs.jsonl", as_lines(rows))
    groups = load_groups(path, max_drop=0)
    assert [(group.prompt, *group.responses) for group in groups] == plain


# --- what is no row ends in one line ----------------------------------------------------------------

READERS: list[Callable[[Path], Any]] = [
    lambda path: load_groups(path, max_drop=1.0),
    lambda path: [unread.read() for unread in passing([path])],
    read_questions,
    read_outputs,
    read_votes,
    read_baseline,
]


def line_of(work: Callable[[], Any]) -> str:
    """Return the one line of a UserError that is raised; empty: none is."""
    message = ""
    try:
        work()
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    return message


def require_rows_or_a_line(path: Path) -> None:
    """Read a file in every way: nothing is raised but a UserError of one line."""
    for reader in READERS:
        message = line_of(lambda reader=reader: reader(path))  # type: ignore[misc]
        assert not message or path.name in message
    ledger = Ledger()
    groups: list[Group] = []
    if line_of(lambda: groups.extend(read(path, ledger=ledger))):
        return
    assert ledger.total == sum(row.stands_for for row in read_rows(path))
    for group in groups:
        assert all(isinstance(response, str) for response in group.responses)


NAMES = sorted(names_read())

turns = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("role", "content", "from", "value", "tool_calls", "tools"), values),
)
strange = values | st.lists(turns | scalars, max_size=3) | turns
rows_of_names = st.dictionaries(st.sampled_from(NAMES) | texts, strange, max_size=6)


@given(
    rows=st.lists(rows_of_names | values, max_size=4),
    form=st.sampled_from([".jsonl", ".json"]),
)
@many
def test_any_values_are_groups_or_one_line(place: Path, rows: list[Any], form: str) -> None:
    content = as_lines(rows) if form == ".jsonl" else json.dumps(rows).encode()
    require_rows_or_a_line(written(place / f"strange{form}", content))


SIGNS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\n",
    b"\r",
    b"\\",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"null",
]
PAIR = as_lines([{"prompt": "p", "chosen": "a", "rejected": "b", "margin": 1}])
pieces = st.sampled_from(
    [*SIGNS, PAIR, b"prompt,chosen,rejected\n", b"\xef\xbb\xbf", b"\xff\xfe", b"1e400"]
)


@given(
    content=st.lists(pieces | st.binary(max_size=20), max_size=12).map(b"".join),
    suffix=st.sampled_from([*SUFFIXES, ".jsonl.gz", ".csv.gz"]),
)
@many
def test_any_bytes_are_groups_or_one_line(place: Path, content: bytes, suffix: str) -> None:
    path = place / f"bytes{suffix}"
    path.write_bytes(content)
    require_rows_or_a_line(path)
    if suffix.endswith(".gz"):
        require_rows_or_a_line(written(path, content))
