"""Rows out of files, one at a time: JSONL, JSON, CSV, TSV and Parquet, each also as .gz."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from rewarddiff.errors import UserError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""What can be read; each may end in .gz as well."""

BATCH = 256
"""Rows of Parquet held at a time."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its place "file:row", and its values, or None and the `problem` in a phrase."""

    source: str
    values: dict[str, Any] | None
    problem: str = ""


class Cell(str):
    """A text from a cell that can hold nothing else: a list or a conversation in it is written as JSON."""

    __slots__ = ()


class DamagedError(Exception):
    """The file is not what its suffix says, or no longer."""


def kind(path: Path) -> str:
    """The suffix that says how to read the file, without .gz; empty if it cannot be read."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def stem(path: Path) -> str:
    """The name without its reading suffixes: train for train.jsonl.gz."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return name[: len(name) - len(kind(path))]


def rows(path: Path, name: str) -> Iterator[Row]:
    """The file's rows in order; `name` is what their places call it. Rows count from 1, as lines do.

    Only JSON arrays and .parquet.gz are held in memory whole.

    Raises:
        UserError: the file is cut in the middle, or is not what its name says.
    """
    readers = {".csv": _csv, ".tsv": _tsv, ".parquet": _parquet, ".json": _json}
    last, ended = 0, ""
    try:
        with _open(path) as stream:
            for number, values, problem in readers.get(kind(path), _jsonl)(stream):
                last = number
                yield Row(f"{name}:{number}", values, problem)
    except EOFError:
        ended = "the file ends in the middle of its compressed data"
    except (zlib.error, gzip.BadGzipFile, DamagedError) as error:
        ended = f"the data is damaged ({error})"
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions"
        ) from None
    if ended:
        yield Row(f"{name}:{last + 1}", None, ended)
        raise UserError(f"{path}:{last + 1}: {ended}, the last good row is {last}; download it again")


Found = tuple[int, dict[str, Any] | None, str]
"""Row number, values or None, problem."""


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def _jsonl(stream: Iterable[bytes]) -> Iterator[Found]:
    for number, line in enumerate(stream, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield number, *_object(line)


def _object(line: bytes) -> tuple[dict[str, Any] | None, str]:
    try:
        values = json.loads(line.decode("utf-8"))
        if b"\\ud" in line.lower():
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        return None, "not valid UTF-8"
    except (ValueError, RecursionError) as error:
        return None, f"not valid JSON: {error}"
    return (values, "") if isinstance(values, dict) else (None, f"a JSON {type(values).__name__}, expected an object")


def _json(stream: IO[bytes]) -> Iterator[Found]:
    """An array of objects; or, as is common under this suffix, one object a line."""
    head = b""
    while not head.strip() and (block := stream.read(64)):
        head = head + block
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"[":
        yield from _jsonl(_lines(head, stream))
        return
    try:
        array = json.loads((head + stream.read()).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        yield 1, None, f"not valid JSON: {error}"
        return
    for number, values in enumerate(array, start=1):
        yield number, *_object(json.dumps(values).encode("utf-8"))


def _lines(head: bytes, stream: IO[bytes]) -> Iterator[bytes]:
    """The stream's lines when its beginning has been read already."""
    yield from io.BytesIO(head + stream.readline())
    yield from stream


def _tsv(stream: IO[bytes]) -> Iterator[Found]:
    return _csv(stream, delimiter="\t")


def _csv(stream: IO[bytes], delimiter: str = ",") -> Iterator[Found]:
    """Rows are numbered by the line they end on, the header being line 1. Every value is a `Cell`."""
    csv.field_size_limit(1 << 30)
    reader = csv.reader(
        io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline=""), delimiter=delimiter, strict=True
    )
    header: list[str] = []
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, None, f"not valid CSV: {error}"
            continue
        if not cells:
            continue
        if not header:
            header = cells
        elif len(cells) != len(header):
            yield reader.line_num, None, f"{len(cells)} cells under {len(header)} columns"
        elif not _encodable("".join(cells)):
            yield reader.line_num, None, "not valid UTF-8"
        else:
            yield reader.line_num, dict(zip(header, map(Cell, cells), strict=True)), ""


def _encodable(text: str) -> bool:
    """False where undecodable bytes were carried along as lone surrogates."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _parquet(stream: IO[bytes]) -> Iterator[Found]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(stream, gzip.GzipFile):
        stream = io.BytesIO(stream.read())
    number = 0
    try:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=BATCH):
            for values in batch.to_pylist():
                number += 1
                yield number, values, ""
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(str(error).splitlines()[0]) from None
