"""Texts of prompts and responses: formatted, and never more than text."""

from __future__ import annotations

import html
from html.parser import HTMLParser

import pytest

from rewarddiff.annotate.texts import as_written, formatted
from rewarddiff.writing import printable
from tests.annotate.payloads import PAYLOADS

ELEMENTS = {
    *("div", "p", "br", "strong", "em", "s", "ul", "ol", "li", "blockquote", "pre", "code", "hr"),
    *("h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "a"),
}
ATTRIBUTES = {
    "div": {"class", "dir"},
    "a": {"href", "rel", "target"},
    "code": {"class"},
    "ol": {"start"},
    "th": {"style"},
    "td": {"style"},
}


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def test_there_are_a_hundred_different_payloads() -> None:
    assert len(set(PAYLOADS)) == 100


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_stays_text(payload: str) -> None:
    for content in (formatted(payload), as_written(payload)):
        page = Elements(content)
        for tag, attributes in page.elements:
            assert tag in ELEMENTS
            assert attributes.keys() <= ATTRIBUTES.get(tag, set())
            if tag == "a":
                assert str(attributes["href"]).startswith("http")
    # Elements within the outer div would have swallowed a part of this.
    written = Elements(as_written(payload))
    assert len(written.elements) == 1
    assert written.text == printable(payload)


def test_what_is_html_in_a_text_is_read_as_it_stands() -> None:
    content = formatted("a <b>bold</b> claim & <script>alert(1)</script>")
    assert html.unescape(Elements(content).text).strip() == (
        "a <b>bold</b> claim & <script>alert(1)</script>"
    )


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("**a** _b_ `c`", "<p><strong>a</strong> <em>b</em> <code>c</code></p>"),
        ("one\ntwo", "<p>one<br />\ntwo</p>"),
        ("# top", "<h3>top</h3>"),
        ("###### low", "<h6>low</h6>"),
        ("![a cat](http://x.example/c.png)", "<p>[image: a cat http://x.example/c.png]</p>"),
        (
            "[x](https://x.example/?a=1&b=2)",
            '<p><a href="https://x.example/?a=1&amp;b=2" rel="noopener noreferrer nofollow" '
            'target="_blank">x</a></p>',
        ),
        ("[x](//x.example)", "<p>[x](//x.example)</p>"),
        ("[x](/vote)", "<p>[x](/vote)</p>"),
        ("<https://x.example>", "x.example</a></p>"),
    ],
)
def test_markdown(text: str, content: str) -> None:
    assert content in formatted(text)


def test_as_written_keeps_every_space_and_star() -> None:
    text = "  **a**\n\n\n\tb  "
    assert Elements(as_written(text)).text == text


def test_a_deep_or_long_text_is_shown_in_time() -> None:
    for text in (">" * 5000 + "x", "[" * 5000, "*" * 20000, "- " * 3000 + "x"):
        assert formatted(text)
