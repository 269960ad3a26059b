"""Numbers and texts as people are shown them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from rewarddiff.writing import console, figure, printable, say


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


def test_a_minus_is_a_minus() -> None:
    assert [figure(x, form) for x, form in ((-0.05, "+.3f"), (0.05, "+.3f"), (-1e-6, "g"), (-3, "d"))] == [
        "−0.050", "+0.050", "−1e−06", "−3",
    ]  # fmt: skip
