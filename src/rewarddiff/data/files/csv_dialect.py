"""What separates a CSV file's cells, and in which encoding it is: told by its beginning."""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice

SAMPLE = 1 << 20
"""Bytes from which a file's encoding and delimiter are told."""

RECORDS = 50
"""Records that are counted to tell the delimiter."""

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""What may stand between cells, and what it is called."""

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""The first bytes of text in UTF-16."""

MOSTLY = 0.9
"""The share of records that must have the header's cells for another delimiter than expected."""


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is read.

    Attributes:
        skipped: lines before the header: one where Excel says what separates cells (sep=;).
        note: what is not as the file's name says; empty: nothing.
    """

    delimiter: str
    encoding: str
    skipped: int = 0
    note: str = ""


def sample(stream: BufferedReader) -> bytes:
    """Return a file's first bytes, fewer where data is damaged there. The stream is rewound."""
    head = b""
    # Where data is damaged the reader comes to the same place, and says so.
    with suppress(EOFError, zlib.error):
        while len(head) < SAMPLE and (block := stream.read1(SAMPLE - len(head))):
            head += block
    stream.seek(0)
    return head


def dialect_of(head: bytes, expected: str) -> Dialect:
    """Return how a file with this beginning is read; `expected` separates cells by its name."""
    encoding = _encoding(head)
    text = head.decode(encoding, "replace")
    if len(head) >= SAMPLE:
        # The last line is cut off somewhere.
        text = text.rpartition("\n")[0] or text
    first_line = text.partition("\n")[0].strip('"\r\n ')
    skipped = 0
    if first_line.lower().startswith("sep=") and first_line[4:] in DELIMITERS:
        delimiter = first_line[4:]
        skipped = 1
    else:
        delimiter = _delimiter(text, expected)
    notes = []
    if delimiter != expected:
        notes.append(f"cells are separated by {DELIMITERS[delimiter]}")
    if encoding == "utf-16":
        notes.append("text is in UTF-16")
    elif encoding == "cp1252":
        notes.append("text is in Windows-1252, not UTF-8")
    return Dialect(delimiter, encoding, skipped, ", ".join(notes))


def _encoding(head: bytes) -> str:
    """Return UTF-16 where its mark says so; Windows-1252 where nothing is UTF-8 and all is text.

    A file of UTF-8 with a byte here and there that is not stays one, and its broken rows are
    counted.
    """
    if head.startswith(UTF16_MARKS):
        return "utf-16"
    cut_off = 3 if len(head) >= SAMPLE else 0  # a character of UTF-8 may be cut there
    text = head[: len(head) - cut_off].decode("utf-8-sig", "surrogateescape")
    others = {character for character in text if not character.isascii()}
    escaped = {character for character in others if "\udc80" <= character <= "\udcff"}
    if not escaped or others != escaped:
        return "utf-8-sig"
    foreign = bytes(ord(character) - 0xDC00 for character in escaped)
    return "cp1252" if all(map(_is_western, foreign)) else "utf-8-sig"


def _is_western(byte: int) -> bool:
    """Tell whether a byte is a letter or a sign of Western European texts in Windows-1252."""
    if byte == 0xFF:  # ÿ hardly ever stands in a text, and often in what is none
        return False
    character = bytes([byte]).decode("cp1252", "replace")
    return character != "\ufffd" and not unicodedata.category(character).startswith("C")


def _delimiter(text: str, expected: str) -> str:
    """Return what separates the cells of the header, and of nearly all records as often.

    Quoted cells are seen as such. What the file's name says is taken where nothing fits better.
    """
    fits = {}
    for delimiter in DELIMITERS:
        columns, share = _cells(text, delimiter)
        if columns > 1 and (delimiter == expected or share >= MOSTLY):
            fits[delimiter] = (share >= MOSTLY, columns, delimiter == expected)
    return max(fits, key=fits.__getitem__, default=expected)


def _cells(text: str, delimiter: str) -> tuple[int, float]:
    """Return the header's cells, and the share of the first records that have as many."""
    counts = [len(cells) for cells in islice(_records(text, delimiter), RECORDS + 1)]
    if not counts:
        return 0, 0.0
    header, *others = counts
    if not others:
        return header, 1.0
    return header, sum(count == header for count in others) / len(others)


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    lines = io.StringIO(text, newline="")
    with suppress(csv.Error):
        yield from (cells for cells in csv.reader(lines, delimiter=delimiter) if cells)
