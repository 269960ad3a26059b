"""Rows out of JSON: one object a line, an array of objects, or one object over several lines."""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import Any

from rewarddiff.data.files import rows
from rewarddiff.data.files.rows import (
    BOM,
    CROWDED,
    DEEPEST,
    MOST_PARTS,
    NOT_UTF8,
    TOO_DEEP,
    TOO_LONG,
    RefusedError,
    Row,
    beginning,
    is_too_deep,
    limited_lines,
)
from rewarddiff.writing import cut, is_encodable

MEND_ARRAY = "mend it there, or download it again"

MEND_OBJECT = "write one object a line, or an array of objects in a file named .json"

BLANKS = re.compile(r"[ \t\r\n]*")

BLOCK = 1 << 20
"""Bytes of an array that are read at a time, but for longer elements."""


def read_json(stream: BufferedReader) -> Iterator[Row]:
    """Read an array of objects; or, as is common under .json, one object a line."""
    first = _first_line(beginning(stream))
    if first.startswith(b"["):
        return _array(stream)
    return _object_or_lines(stream, first)


def read_lines(stream: BufferedReader) -> Iterator[Row]:
    """Read one object a line; an array of objects under this name is read too, with a note."""
    head = beginning(stream)
    first = _first_line(head)
    if first == b"[" or _begins_array(first, head):
        return _array(stream, "a JSON array and not lines: read as in a file named .json")
    return _object_or_lines(stream, first)


def _first_line(head: bytes) -> bytes:
    return head.partition(b"\n")[0].strip()


def _begins_array(first: bytes, head: bytes) -> bool:
    """Tell an array of rows from a list on a line of its own, which is a row that is wrong."""
    begins_with_object = first.startswith(b"[") and first[1:].lstrip().startswith(b"{")
    more_lines = head.partition(b"\n")[2].strip()
    return begins_with_object and not (more_lines and _is_json(first))


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _object_or_lines(stream: BufferedReader, first: bytes) -> Iterator[Row]:
    return _object(stream) if first == b"{" else _lines(stream)


def _lines(stream: BufferedReader) -> Iterator[Row]:
    parser = _Parser()
    for number, (line, too_long) in enumerate(limited_lines(stream.readline), start=1):
        if too_long:
            yield Row(number, None, TOO_LONG)
            continue
        if number == 1:
            line = line.removeprefix(BOM)
        if line.strip():
            values, problem = parser.row(line.decode("utf-8", "surrogateescape"))
            yield Row(number, values, problem, size=len(line))


def _object(stream: BufferedReader) -> Iterator[Row]:
    """Read one object over several lines."""
    content = stream.read(rows.MAX_LINE + 1)
    text = content.decode("utf-8-sig", "surrogateescape")
    if len(content) > rows.MAX_LINE:
        problem = f"of more than {rows.MAX_LINE >> 20} MiB"
    else:
        values, problem = _Parser().row(text)
        if values is not None:
            yield Row(1, values, size=len(content))
            return
    raise RefusedError(
        f"a JSON object over several lines ({problem})",
        MEND_OBJECT,
        line=text[: text.index("{")].count("\n") + 1,
    )


def _array(stream: BufferedReader, note: str = "") -> Iterator[Row]:
    """Read an array of objects; the note stands at the first that is a row."""
    window = _Window(stream)
    parser = _Parser()
    window.takes("[")
    is_empty = window.takes("]")
    goes_on = not is_empty
    number = 0
    while goes_on:
        number += 1
        value, problem, size = _element(window, parser, number)
        if problem:
            yield Row(number, None, problem)
        else:
            yield Row(number, value, note=note, size=size)
            note = ""
        goes_on = window.takes(",")
    line = window.line
    is_closed = is_empty or window.takes("]")
    if not is_closed or window.sign():
        raise RefusedError(f"the array is not valid JSON after element {number}", MEND_ARRAY, line)


def _element(window: _Window, parser: _Parser, number: int) -> tuple[Any, str, int]:
    """Return the next element of an array, its problem as a row, and its length.

    Raises:
        RefusedError: it is not valid JSON, or longer than any row.
    """
    window.sign()
    while True:
        try:
            value, problem, end = parser.value(window.text, window.place)
        except RecursionError:
            cause, line = TOO_DEEP, window.line
        except ValueError as error:
            cause, line = str(error), window.line
            if isinstance(error, json.JSONDecodeError):
                cause, line = error.msg, window.lines_before + error.lineno
            if _is_crowded(window.text, window.place):
                cause = CROWDED
            elif window.reads_more():
                continue
        else:
            # A number, or an object, that ends where the text does may go on.
            if end == len(window.text) and window.reads_more():
                continue
            size = end - window.place
            window.place = end
            return value, problem, size
        within = "" if window.has_ended else f" within {rows.MAX_LINE >> 20} MiB"
        raise RefusedError(
            f"element {number} of the array is not valid JSON{within} ({cause})", MEND_ARRAY, line
        )


class _Window:
    """The part of a text that is looked at: it is moved on, so that memory holds no more.

    Attributes:
        place: where in `text` the next thing begins.
        lines_before: line feeds before `text`.
    """

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.text = ""
        self.place = 0
        self.lines_before = 0
        self.has_ended = False

    @property
    def line(self) -> int:
        """The line of the place, from 1."""
        return self.lines_before + self.text.count("\n", 0, self.place) + 1

    def reads_more(self) -> bool:
        """Read on behind the text, and forget what is before the place.

        Returns False, and does nothing, at the end of the file, and where the text is longer than any row.
        """
        rest = len(self.text) - self.place
        if self.has_ended or rest > rows.MAX_LINE:
            return False
        block = self._stream.read(max(BLOCK, min(rest, rows.MAX_LINE - rest)))
        self.has_ended = not block
        self.lines_before += self.text.count("\n", 0, self.place)
        self.text = self.text[self.place :] + self._decoder.decode(block, final=self.has_ended)
        self.place = 0
        return True

    def sign(self) -> str:
        """Go to the next character that is no blank, and return it; empty at the end of the file."""
        while True:
            blanks = BLANKS.match(self.text, self.place)
            assert blanks is not None  # no blank is also a match
            self.place = blanks.end()
            if self.place < len(self.text) or not self.reads_more():
                return self.text[self.place : self.place + 1]

    def takes(self, sign: str) -> bool:
        """Go behind this character, if it is the next that is no blank."""
        if self.sign() != sign:
            return False
        self.place += 1
        return True


class _Parser:
    """Reads objects, and notices keys that stand twice in one: `json` by itself keeps the last."""

    def __init__(self) -> None:
        self._repeated_key = ""
        self._decoder = json.JSONDecoder(object_pairs_hook=self._collect)

    def _collect(self, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            self._repeated_key = next(key for key, times in counts.items() if times > 1)
        return values

    def value(self, text: str, start: int) -> tuple[Any, str, int]:
        """Return the value that stands in a text, its problem as a row, and where it ends.

        Raises:
            ValueError: no JSON stands there. RecursionError: it is nested too deeply.
        """
        self._repeated_key = ""
        value, end = self._decoder.raw_decode(text, start)
        problem = ""
        if not isinstance(value, dict):
            problem = f"a JSON {type(value).__name__}, expected an object"
        elif self._repeated_key:
            problem = f"key {cut(self._repeated_key)} stands twice"
        elif _may_be_deep(text, start, end) and is_too_deep(value):
            problem = TOO_DEEP
        elif not _is_utf8(text[start:end], value):
            problem = NOT_UTF8
        return value, problem, end

    def row(self, text: str) -> tuple[dict[str, Any] | None, str]:
        """Return the object that the text is, or None and what is wrong with it."""
        text = text.strip()
        if _is_crowded(text):
            return None, CROWDED
        try:
            value, problem, end = self.value(text, 0)
            if end < len(text):
                raise json.JSONDecodeError("Extra data", text, end)
        except RecursionError:
            return None, TOO_DEEP
        except ValueError as error:
            return None, f"not valid JSON: {error}"
        return (None, problem) if problem else (value, "")


def _is_crowded(text: str, start: int = 0) -> bool:
    """Tell whether a long text has more brackets than any row."""
    if len(text) - start < BLOCK:
        return False
    return text.count("[", start) + text.count("{", start) > MOST_PARTS


def _may_be_deep(text: str, start: int, end: int) -> bool:
    """Tell whether a text has as many brackets as it takes to be too deep."""
    return text.count("[", start, end) + text.count("{", start, end) > DEEPEST


def _is_utf8(text: str, value: Any) -> bool:
    r"""Tell whether a JSON text and its value are UTF-8: escapes like \ud800 alone are not."""
    if "\\ud" in text or "\\uD" in text:
        return is_encodable(text + json.dumps(value, ensure_ascii=False))
    return is_encodable(text)
