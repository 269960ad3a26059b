"""How numbers and texts are written for people, and the only way they leave for the terminal."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rewarddiff import launch

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType  # noqa: TID251
    from rich.segment import Segment
    from rich.text import Text

_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, delete, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks, embeddings, overrides and isolates of direction
    "\u2028\u2029\ud800-\udfff]"  # further line ends; halves of pairs, which no encoding can write
)


def figure(value: float, form: str) -> str:
    """Return a number in one of Python's formats, with a true minus sign.

    >>> figure(-0.5, "+.2f"), figure(1e-6, "g")
    ('−0.50', '1e−06')
    """
    return format(value, form).replace("-", "−")


def printable(text: str) -> str:
    """Return the text with all that a terminal acts on written out; line feeds and tabs stay.

    >>> print(printable("a\\x1b[31mb\\u202ec"))
    a\\x1b[31mb\\u202ec
    """
    return _ACTING.sub(_written_out, text)


def _written_out(character: re.Match[str]) -> str:
    point = ord(character[0])
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"


def say(*lines: str, error: bool = False) -> None:
    """Print lines, made printable: results to stdout, errors and progress to stderr.

    Of processes that a launcher has started the main one speaks for all.
    """
    if launch.is_main():
        print_lines(*lines, error=error)


def print_lines(*lines: str, error: bool = False) -> None:
    """Print lines as `say` does, in any process: what the others do not know of."""
    stream = sys.stderr if error else sys.stdout
    print(*map(printable, lines), sep="\n", file=stream, flush=True)


def console(*, error: bool = False) -> Console:
    """Return a rich console that shows texts as they are: made printable, and without markup.

    It shows nothing in a process that does not speak for all.
    """
    from rich.console import Console  # noqa: TID251
    from rich.segment import Segment

    class PrintingConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                # What rich itself tells the terminal (of the cursor) comes in segments of its own.
                if segment.control:
                    yield segment
                else:
                    yield Segment(printable(segment.text), segment.style)

    return PrintingConsole(
        stderr=error, markup=False, emoji=False, highlight=False, quiet=not launch.is_main()
    )


class PrintableFormatter(logging.Formatter):
    """Messages of loggers, made printable."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
