"""Rows out of JSON: one object a line, an array of objects, or one object over several lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import Any

from rewarddiff.data.files.rows import (
    BOM,
    NOT_UTF8,
    TOO_LONG,
    RefusedError,
    Row,
    beginning,
    is_encodable,
    limited_lines,
)

MEND_ARRAY = "mend it there, or download it again"

BLANKS = re.compile(r"[ \t\r\n]*")


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
            yield Row(number, *parser.row(line.decode("utf-8", "surrogateescape")))


def _object(stream: BufferedReader) -> Iterator[Row]:
    """Read one object over several lines."""
    text = stream.read().decode("utf-8-sig", "surrogateescape")
    values, problem = _Parser().row(text)
    if values is None:
        raise RefusedError(
            f"a JSON object over several lines ({problem})",
            "write one object a line, or an array of objects in a file named .json",
            line=text[: text.index("{")].count("\n") + 1,
        )
    yield Row(1, values)


def _array(stream: BufferedReader, note: str = "") -> Iterator[Row]:
    """Read an array of objects; the note stands at the first that is a row."""
    text = stream.read().decode("utf-8-sig", "surrogateescape")
    parser = _Parser()
    place = _after_blanks(text, text.index("[") + 1)
    number = 0
    goes_on = not text.startswith("]", place)
    while goes_on:
        number += 1
        try:
            value, problem, place = parser.value(text, place)
        except (ValueError, RecursionError) as error:
            line = error.lineno if isinstance(error, json.JSONDecodeError) else 0
            raise RefusedError(
                f"element {number} of the array is not valid JSON ({error})", MEND_ARRAY, line
            ) from None
        if problem:
            yield Row(number, None, problem)
        else:
            yield Row(number, value, note=note)
            note = ""
        place = _after_blanks(text, place)
        goes_on = text.startswith(",", place)
        if goes_on:
            place = _after_blanks(text, place + 1)
    if not text.startswith("]", place) or _after_blanks(text, place + 1) < len(text):
        line = text.count("\n", 0, place) + 1
        raise RefusedError(f"the array is not valid JSON after element {number}", MEND_ARRAY, line)


def _after_blanks(text: str, place: int) -> int:
    blanks = BLANKS.match(text, place)
    assert blanks is not None  # no blank is also a match
    return blanks.end()


class _Parser:
    """Reads objects, and notices keys that stand twice in one: `json` by itself keeps the last."""

    def __init__(self) -> None:
        self._repeated_key = ""
        self._decoder = json.JSONDecoder(object_pairs_hook=self._collect)

    def _collect(self, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            self._repeated_key = next(key for key in keys if keys.count(key) > 1)
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
            problem = f"key {self._repeated_key} stands twice"
        elif not _is_utf8(text[start:end], value):
            problem = NOT_UTF8
        return value, problem, end

    def row(self, text: str) -> tuple[dict[str, Any] | None, str]:
        """Return the object that the text is, or None and what is wrong with it."""
        text = text.strip()
        try:
            value, problem, end = self.value(text, 0)
            if end < len(text):
                raise json.JSONDecodeError("Extra data", text, end)
        except (ValueError, RecursionError) as error:
            return None, f"not valid JSON: {error}"
        return (None, problem) if problem else (value, "")


def _is_utf8(text: str, value: Any) -> bool:
    r"""Tell whether a JSON text and its value are UTF-8: escapes like \ud800 alone are not."""
    if "\\ud" in text or "\\uD" in text:
        return is_encodable(text + json.dumps(value, ensure_ascii=False))
    return is_encodable(text)
