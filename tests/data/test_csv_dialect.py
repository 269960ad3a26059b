"""What separates cells, and which encoding a file is in: found out, and said."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.data import Ledger, read
from rewarddiff.data.files import read_rows
from rewarddiff.data.files.csv_dialect import DELIMITERS, SAMPLE, dialect_of
from rewarddiff.errors import UserError

HEADER = ["prompt", "chosen", "rejected"]

CELLS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], include_characters=",;|\t\"' \n"),
    max_size=12,
)


def table(rows: list[list[str]], delimiter: str) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter).writerows([HEADER, *rows])
    return stream.getvalue()


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=8),
    st.sampled_from(sorted(DELIMITERS)),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([".csv", ".tsv"]),
)
def test_what_a_csv_writer_wrote_is_read_whatever_separates_it(
    rows: list[list[str]], delimiter: str, encoding: str, suffix: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / f"rows{suffix}", table(rows, delimiter), encoding)
        cells = [row.values and list(row.values.values()) for row in read_rows(path)]
    assert cells == rows


def note(path: Path) -> str:
    ledger = Ledger()
    list(read(path, ledger=ledger))
    changed = ledger.to_dict()["changed"]
    return changed["other_form"]["examples"][0]["detail"] if "other_form" in changed else ""


@pytest.mark.parametrize(
    ("delimiter", "encoding", "said"),
    [
        (",", "utf-8", ""),
        (",", "utf-8-sig", ""),
        (";", "utf-8", "cells are separated by semicolons"),
        (
            ";",
            "cp1252",
            "cells are separated by semicolons, text is in Windows-1252, not UTF-8",
        ),
        ("|", "utf-16", "cells are separated by vertical bars, text is in UTF-16"),
    ],
)
def test_what_is_not_as_the_name_says_is_said_once(
    tmp_path: Path, delimiter: str, encoding: str, said: str
) -> None:
    rows = [[f"Größe {n}?", f"„{n} €“", "weiß nicht"] for n in range(5)]
    text = table(rows, delimiter)
    path = written(tmp_path / "rows.csv", text, encoding)
    assert note(path) == said
    groups = list(read(path, ledger=Ledger()))
    assert [[group.prompt, *group.responses] for group in groups] == rows


def test_packed_files_are_told_alike(tmp_path: Path) -> None:
    text = table([["Übel?", "ja", "nein"]], ";")
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(text.encode("cp1252")))
    assert "semicolons, text is in Windows-1252" in note(tmp_path / "rows.csv.gz")


@pytest.mark.parametrize(
    "text",
    [
        "prompt,chosen,rejected\nWhy; how; when,yes; so; be it,no; never; nope\n" * 3,
        'prompt,"chosen; best","rejected; worst"\na;b,c;d,e;f\n',
        "prompt,chosen,rejected\na;b;c,d\nx,y,z\n",  # a broken row beside a good one
        "prompt\nonly; one; column\n",
        "prompt,chosen|better,rejected\na|b,c,d\n",
    ],
)
def test_a_file_of_commas_stays_one(text: str) -> None:
    assert dialect_of(text.encode(), ",").delimiter == ","


@pytest.mark.parametrize(
    "text",
    [
        "prompt;chosen (best, of all);rejected\na;b, c, d;e\nf;g;h, i\n",
        'prompt;chosen;rejected\n"a;b,c";"d\n,,\ne";f\n',
        "prompt;chosen;rejected\n",
        "sep=;\nprompt;chosen;rejected\na,b;c,d;e,f\n",
    ],
)
def test_a_file_of_semicolons_is_one_in_spite_of_commas(text: str) -> None:
    assert dialect_of(text.encode(), ",").delimiter == ";"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("Grün, weiß".encode(), "utf-8-sig"),
        ("Grün".encode() + b" gr\xfcn", "utf-8-sig"),  # one broken byte in a file of UTF-8
        (b"plain \xff", "utf-8-sig"),  # no text of Western Europe
        (b"plain \x81", "utf-8-sig"),
        (b"gr\xfcn \x80 \x93so\x94", "cp1252"),
        (b"plain", "utf-8-sig"),
        (b"a" * (SAMPLE - 1) + "ü".encode(), "utf-8-sig"),  # a character cut in two
    ],
)
def test_the_encoding_is_told_by_all_bytes_together(content: bytes, encoding: str) -> None:
    assert dialect_of(content[:SAMPLE], ",").encoding == encoding


def test_rows_of_a_sep_line_are_numbered_as_in_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", "sep=;\nprompt;chosen;rejected\na;b;c\nd;e\n")
    good, broken = read_rows(path)
    assert (good.number, broken.number, broken.problem) == (3, 4, "2 cells under 3 columns")


def test_utf16_that_breaks_off_is_damage_at_its_row(tmp_path: Path) -> None:
    text = table([["a", "b", "c"], ["d", "e", "f"]], ",")
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode("utf-16")[:-3])
    with pytest.raises(
        UserError, match=f"^{path}:3: the data is damaged .* the last good row is 2"
    ):
        list(read(path, ledger=Ledger()))
