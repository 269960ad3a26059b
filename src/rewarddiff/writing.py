"""How numbers and texts are written for people, and the only way they leave for the terminal."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

from rewarddiff.launch import is_main

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType  # noqa: TID251
    from rich.segment import Segment
    from rich.text import Text

LONGEST = 300
"""Characters of a text of somebody else's that a message repeats."""

WIDTH_OF_FILES = 120
"""Characters of a line of tables in a file or pipe, unless COLUMNS says another width."""

NAMED = 50
"""Names of somebody else's that a message lists."""

_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, delete, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks, embeddings, overrides and isolates of direction
    "\u2028\u2029\ud800-\udfff]"  # further line ends; halves of pairs, which no encoding can write
)

_UNSEEN = re.compile("[\u180e\u200b\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
"""What takes no room: two names may differ by it alone, and a page may need it to break lines. Joiners
stay, which letters of some scripts are written with."""

_MARKDOWN = re.compile(r"^[#>+=-]|[\\`*|~]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|&(?=[#\w])")
"""What Markdown acts on in a line; a bracket only where a target follows it, an underscore only at a word's end."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a cell begins that a spreadsheet may take for a formula."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def figure(value: float, form: str) -> str:
    """Return a number in one of Python's formats, with a true minus sign.

    >>> figure(-0.5, "+.2f"), figure(1e-6, "g")
    ('−0.50', '1e−06')
    """
    return format(value, form).replace("-", "−")


def percent(share: float, digits: int = 1) -> str:
    """Return a share as a percentage.

    >>> percent(0.715)
    '71.5 %'
    """
    return f"{figure(100 * share, f'.{digits}f')} %"


def counted(number: int, noun: str, write: Callable[[int], str] = "{:,}".format) -> str:
    """Return a number with what it counts.

    >>> counted(1, "pair"), counted(2000, "pair"), counted(2, "policy")
    ('1 pair', '2,000 pairs', '2 policies')
    """
    several = f"{noun.removesuffix('y')}ies" if noun.endswith("cy") else f"{noun}s"
    return f"{write(number)} {noun if number == 1 else several}"


def cut(text: str, most: int = LONGEST) -> str:
    """Return a text in one line, or where it is long its beginning.

    >>> cut("a\\nlong story", 7)
    'a long…'
    """
    line = re.sub(r"[\n\r]+", " ", text[: most + 1])
    return line if len(text) <= most else f"{line[: most - 1]}…"


def listed(names: Iterable[str], most: int = NAMED) -> str:
    """Return names with commas between; of many the first, and how many more there are.

    >>> listed("abcde", 3)
    'a, b, c and 2 more'
    """
    names = list(names)
    text = ", ".join(cut(name, 60) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"


def is_encodable(text: str) -> bool:
    """Tell whether text is UTF-8: other bytes came along as lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeError:
        return False
    return True


def printable(text: str) -> str:
    """Return the text with all that a terminal acts on written out; line feeds and tabs stay.

    >>> print(printable("a\\x1b[31mb\\u202ec"))
    a\\x1b[31mb\\u202ec
    """
    return _ACTING.sub(_written_out, text)


def on_terminal(text: str) -> str:
    """Return the text with all written out that a terminal acts on or does not show.

    >>> print(on_terminal("pay\\u200bpal"))
    pay\\u200bpal
    """
    return _UNSEEN.sub(_written_out, printable(text))


def as_markdown(text: str) -> str:
    """Return the text as one line of Markdown that shows it: no link, image, tag or code comes from it.

    >>> print(as_markdown("*a* [b](c) <d>"))
    \\*a\\* [b\\](c) &lt;d>
    """
    one_line = printable(" ".join(text.split()))
    return _MARKDOWN.sub(r"\\\g<0>", one_line).replace("<", "&lt;")


def code_span(text: str) -> str:
    """Return the text as code in a line of Markdown.

    >>> print(code_span("a"), code_span("`"))
    `a` `` ` ``
    """
    one_line = printable(" ".join(text.split()))
    runs = [0, *map(len, re.findall("`+", one_line))]
    fence = "`" * (max(runs) + 1)
    room = " " if len(fence) > 1 else ""
    return f"{fence}{room}{one_line}{room}{fence}"


def no_formula(text: str) -> str:
    """Return the text as a cell of CSV: an apostrophe keeps a spreadsheet from computing it.

    >>> no_formula("=1+1"), no_formula("-0.5")
    ("'=1+1", '-0.5')
    """
    is_formula = text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def csv_line(cells: Iterable[str | float | None]) -> str:
    """Return a line of CSV, as RFC 4180 has it but for a plain line feed at its end.

    >>> csv_line(["a,b", "@c", None, -1])
    '"a,b",\\'@c,,-1\\n'
    """
    stream = io.StringIO()
    # By this end the writer knows what to quote: a carriage return too.
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([no_formula(cell) if isinstance(cell, str) else cell for cell in cells])
    return stream.getvalue().removesuffix("\r\n") + "\n"


def _written_out(character: re.Match[str]) -> str:
    point = ord(character[0])
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def say(*lines: str, error: bool = False) -> None:
    """Print lines, made printable: results to stdout, errors and progress to stderr.

    Of processes that a launcher has started the main one speaks for all.
    """
    if is_main():
        print_lines(*lines, error=error)


def print_lines(*lines: str, error: bool = False) -> None:
    """Print lines as `say` does, in any process: what the others do not know of."""
    stream = sys.stderr if error else sys.stdout
    print(*map(on_terminal, lines), sep="\n", file=stream, flush=True)


def console(*, error: bool = False) -> Console:
    """Return a rich console that shows texts as they are: made printable, and without markup.

    It shows nothing in a process that does not speak for all.
    """
    from rich.console import Console  # noqa: TID251
    from rich.segment import Segment

    class PrintingConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(on_terminal(text), **options)

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                # What rich itself tells the terminal (of the cursor) comes in segments of its own.
                if segment.control:
                    yield segment
                else:
                    yield Segment(on_terminal(segment.text), segment.style)

    stream = sys.stderr if error else sys.stdout
    is_measured = stream.isatty() or "COLUMNS" in os.environ
    return PrintingConsole(
        file=_behind_guards(stream),
        width=None if is_measured else WIDTH_OF_FILES,
        markup=False,
        emoji=False,
        highlight=False,
        quiet=not is_main(),
    )


class _Guard:
    """A stream that makes printable what is written to it; all else of it is that of `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream  # rich's own name for what stands behind a stream

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(on_terminal(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def guard() -> None:
    """Make printable, from now on, what libraries write to stdout and stderr: warnings, logs, tracebacks."""
    sys.stdout = cast(TextIO, _Guard(sys.stdout))
    sys.stderr = cast(TextIO, _Guard(sys.stderr))


@contextmanager
def guarded() -> Iterator[None]:
    """Do as `guard` while the block runs."""
    before = sys.stdout, sys.stderr
    guard()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _behind_guards(stream: TextIO) -> TextIO:
    """Return the stream itself, for a console, which tells the terminal of colours and of the cursor."""
    while (behind := getattr(stream, "rich_proxied_file", None)) is not None:
        stream = behind
    return stream


class PrintableFormatter(logging.Formatter):
    """Messages of loggers, made printable."""

    def format(self, record: logging.LogRecord) -> str:
        return on_terminal(super().format(record))
