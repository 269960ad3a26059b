"""Numbers and texts as people are shown them."""

from __future__ import annotations

import csv
import io
import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.table import Table
from rich.text import Text

from rewarddiff.writing import (
    as_markdown,
    code_span,
    console,
    csv_line,
    figure,
    guarded,
    no_formula,
    on_terminal,
    printable,
    say,
)


@given(st.text())
def test_what_is_printable_can_be_written_and_does_nothing(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")  # halves of surrogate pairs could not be
    for char in shown:
        assert char in "\n\t" or unicodedata.category(char) not in ("Cc", "Zl", "Zp")
        assert unicodedata.bidirectional(char) not in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )
        assert char not in "\u200e\u200f\u061c"
    assert printable(shown) == shown


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_letters_of_all_scripts_stay(text: str) -> None:
    assert printable(text) == text


def test_what_acts_is_written_out() -> None:
    assert printable("a\x1b[31m\x07\x9b\r\n\tb") == "a\\x1b[31m\\x07\\x9b\\x0d\n\tb"
    assert printable("\u202eabc\u2069\ud83d") == "\\u202eabc\\u2069\\ud83d"


def test_lines_go_to_the_stream_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    say("one", "two\x07")
    say("three", error=True)
    assert capsys.readouterr() == ("one\ntwo\\x07\n", "three\n")


@pytest.mark.parametrize(
    "text", ["[red]x", "[/]", "[/red]", ":smile:", "[bold", "\x1b]0;title\x07"]
)
def test_a_console_shows_texts_as_they_are(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(box=None, show_edge=False)
    table.add_column(Text(text))
    table.add_row(text)
    console().print(text)
    console().print(table)
    lines = capsys.readouterr().out.splitlines()
    shown = printable(text)
    head = printable(text.replace("\x07", ""))  # a bell in a Text rich drops by itself
    assert [line.strip() for line in lines] == [shown, head, shown]


@pytest.mark.parametrize(("variables", "width"), [({}, 120), ({"COLUMNS": "90"}, 90)])
def test_tables_in_a_file_have_room(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], width: int
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert console().width == width


def test_a_minus_is_a_minus() -> None:
    assert [figure(x, form) for x, form in ((-0.05, "+.3f"), (0.05, "+.3f"), (-1e-6, "g"), (-3, "d"))] == [
        "−0.050", "+0.050", "−1e−06", "−3",
    ]  # fmt: skip


def test_what_hides_is_shown_on_a_terminal_and_joiners_of_letters_stay() -> None:
    assert on_terminal("a\u200bb\ufeff\U000e0041") == "a\\u200bb\\ufeff\\U000e0041"
    assert on_terminal("\x1b\u200d\u0646") == "\\x1b\u200d\u0646"


def test_what_libraries_write_is_made_printable_and_our_own_colours_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    acting = "\x1b]0;title\x07"
    with guarded():
        sys.stderr.write(acting)
        logging.StreamHandler().emit(logging.makeLogRecord({"msg": acting}))
        colours = console()
        colours._force_terminal = True
        colours._color_system = 1
        colours.print(Text("bold", style="bold"))
    sys.stderr.write(acting)  # as before
    out, error = capsys.readouterr()
    assert out == "\x1b[1mbold\x1b[0m\n"
    assert error.count(printable(acting)) == 2
    assert error.count(acting) == 1


@given(st.lists(st.text(), min_size=1))
def test_a_line_of_csv_is_read_back_and_computes_nothing(cells: list[str]) -> None:
    line = csv_line(cells)
    assert line.endswith("\n")
    (read_back,) = (
        csv.reader(io.StringIO(line, newline=""), strict=True) if cells != [""] else [[""]]
    )
    assert read_back == list(map(no_formula, cells))
    for cell in read_back:
        assert cell[:1] not in ("=", "@", "\t", "\r", "\n") or not cell


@pytest.mark.parametrize("text", ["=1", "+1-1", "-x", "@SUM(1)", "\t=1", "\r=1", "-1e5e5", "＝1"])
def test_a_formula_becomes_text(text: str) -> None:
    assert no_formula(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1", "+1.5", "-.5e-7", "1", "a=b", "", "'=1"])
def test_numbers_and_other_texts_stay(text: str) -> None:
    assert no_formula(text) == text


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])))
def test_markdown_shows_a_text_and_makes_nothing_of_it(text: str) -> None:
    shown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for made in (as_markdown(text), f"- x: {as_markdown(text)}", f"It is {code_span(text)}."):
        (inline,) = [token for token in shown.parse(f"It {made}") if token.type == "inline"]
        kinds = {token.type for token in inline.children or []}
        assert kinds <= {"text", "text_special", "code_inline"}
    words = " ".join(text.split())
    (inline,) = [
        token for token in shown.parse(f"It {as_markdown(text)}.") if token.type == "inline"
    ]
    assert "".join(token.content for token in inline.children or []) == f"It {words}.".replace(
        "  ", " "
    )
