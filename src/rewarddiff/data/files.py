"""Rows out of files, one at a time: JSONL, JSON, CSV, TSV and Parquet, each also as .gz."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast

from rewarddiff.errors import UserError
from rewarddiff.paths import as_name

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""What can be read; each may end in .gz as well."""

PACKED = (".bz2", ".xz", ".zst", ".lz4", ".zip", ".7z")
"""How files are packed that cannot be read."""

BATCH = 256
"""Rows of Parquet held at a time."""

HEAD = 1 << 16
"""Bytes at the beginning of a JSON file from which its form is told."""

MAX_LINE = 1 << 26
"""Length of the longest line or cell that is read, in bytes or characters: no row is that long."""

ROWS_IN_A_CELL: Mapping[str, int] = {",": 10, "\t": 2}
"""From so many lines on, one record whose every line has the delimiters of a whole row is taken for
several rows that a stray quotation mark holds together. Lines of a text often have a comma, hardly
ever a tab."""

UNREADABLE_BEGINNINGS: Mapping[bytes, tuple[str, str]] = {
    b"version https://git-lfs.github.com/spec/": (
        "a pointer of Git LFS, not the data",
        "fetch it: git lfs pull",
    ),
    b"\x1f\x8b": ("packed with gzip", "let its name end in .gz"),
    b"BZh": ("packed with bzip2", "unpack it"),
    b"\xfd7zXZ\0": ("packed with xz", "unpack it"),
    b"\x28\xb5\x2f\xfd": ("packed with zstd", "unpack it"),
    b"PK\x03\x04": ("a zip archive or a spreadsheet", "unpack it, or export it as CSV"),
    b"PAR1": ("Parquet", "let its name end in .parquet"),
    b"\xff\xfe": ("text in UTF-16", "save it as UTF-8"),
    b"\xfe\xff": ("text in UTF-16", "save it as UTF-8"),
}
"""First bytes of files that are no text, whatever their name says: what they are, and the mend.
Lines of such a file are not its rows, and counting them would hide how many rows are lost."""

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its place "file:row", and its values, or None and the `problem` in a
    phrase.

    It stands for several rows where a file is broken so that they cannot be told apart. `note` says
    how the file was read where that is not as its name says.
    """

    source: str
    values: dict[str, Any] | None
    problem: str = ""
    stands_for: int = 1
    note: str = ""


class Cell(str):
    """A text from a cell that can hold nothing else: a list or a conversation in it is written as
    JSON."""

    __slots__ = ()


class DamagedError(Exception):
    """The file is not what its suffix says, or no longer."""


class RefusedError(Exception):
    """The file cannot be read as a whole: the cause, the mend, and the line where that shows (0:
    none)."""

    def __init__(self, cause: str, mend: str, line: int = 0) -> None:
        super().__init__(f"{cause}; {mend}")
        self.line = line


class Found(NamedTuple):
    """A row as a reader finds it: like `Row`, with the number in place of the source."""

    number: int
    values: dict[str, Any] | None
    problem: str = ""
    stands_for: int = 1
    note: str = ""


def kind(path: Path) -> str:
    """The suffix that says how to read the file, without .gz; empty if it cannot be read."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def stem(path: Path) -> str:
    """The name without its reading suffixes: train for train.jsonl.gz."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return name[: len(name) - len(kind(path))]


def packed(path: Path) -> bool:
    """Whether the file is one of rows that is packed in a way that cannot be read, as
    rows.jsonl.zst."""
    return path.suffix.lower() in PACKED and bool(kind(path.with_suffix("")))


def check_file(path: Path) -> None:
    """Raise UserError if this is nothing that rows can be read from once and again: a pipe, a
    device, a dead link."""
    if packed(path):
        raise UserError(
            f"{path}: packed as {path.suffix}, which is not read; unpack it, or pack it with gzip"
        )
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            raise UserError(
                f"{path}: a link to nothing; put the file there, or remove the link"
            ) from None
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from None
    if stat.S_ISREG(mode):
        return
    others = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISDIR: "a folder"}
    what = next((name for is_one, name in others.items() if is_one(mode)), "a device")
    raise UserError(f"{path}: {what} and no file; write the rows to a file and give that")


def name_of(source: str | Path) -> str:
    """Return what to call data, or a scorer, in the name of an output: what tells it from those
    that lie beside it."""
    path = Path(source)
    if (
        path.name == "model" and path.parent.name
    ):  # the folder of a run's scorer, whose name is one level up
        path = path.parent
    return as_name(stem(path)) or "data"


def rows(path: Path, name: str) -> Iterator[Row]:
    """The file's rows in order; `name` is what their places call it. Rows count from 1, as lines
    do.

    A row's number is that of the line it begins on, in a JSON array and in Parquet its own. Only
    JSON arrays, objects over several lines, and .parquet.gz are held in memory whole.

    Raises:
        UserError: the file is cut in the middle, or is not what its name says.
    """
    readers = {".csv": _csv, ".tsv": _tsv, ".parquet": _parquet, ".json": _json}
    last, damage = 0, ""
    try:
        check_file(path)
        with _open(path) as stream:
            _check_beginning(stream, kind(path))
            for found in readers.get(kind(path), _jsonl)(stream):
                last = found.number
                yield Row(f"{name}:{found.number}", *found[1:])
    except EOFError:
        damage = "the file ends in the middle of its compressed data"
    except (zlib.error, gzip.BadGzipFile, DamagedError) as error:
        damage = f"the data is damaged ({error})"
    except RefusedError as error:
        place = f"{path}:{error.line}" if error.line else f"{path}"
        raise UserError(f"{place}: {error}") from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions"
        ) from None
    if damage:
        yield Row(f"{name}:{last + 1}", None, damage)
        raise UserError(
            f"{path}:{last + 1}: {damage}, the last good row is {last}; download it again"
        )


def _open(path: Path) -> IO[bytes]:
    return (
        cast("IO[bytes]", gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")
    )


def _check_beginning(stream: IO[bytes], suffix: str) -> None:
    """Refuse a file of text whose first bytes are those of something else."""
    beginning = _beginning(stream)
    for signature, (what, mend) in UNREADABLE_BEGINNINGS.items():
        expected = suffix == ".parquet" and signature == b"PAR1"
        if beginning.startswith(signature) and not expected:
            raise RefusedError(f"this is {what}", mend)


def _beginning(stream: IO[bytes]) -> bytes:
    """Return some bytes from the first that is no blank, fewer where data is damaged there; the
    stream is rewound."""
    buffered = cast("io.BufferedReader", stream)
    head = b""
    try:
        head = buffered.read1(HEAD).removeprefix(BOM).lstrip()
        while len(head) < HEAD and (block := buffered.read1(HEAD)):
            head = (head + block).lstrip()
    except (EOFError, zlib.error):
        pass  # the reader comes to the same place, and says so
    stream.seek(0)
    return head


# --- JSON -----------------------------------------------------------------------------------------------------------


class _Parser:
    """Reads objects, and notices keys that stand twice in one: `json` by itself keeps the last."""

    def __init__(self) -> None:
        self._repeated = ""
        self._decoder = json.JSONDecoder(object_pairs_hook=self._collect)

    def _collect(self, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            self._repeated = next(key for key in keys if keys.count(key) > 1)
        return values

    def value(self, text: str, start: int) -> tuple[Any, str, int]:
        """Return the value that stands in a text, what is wrong with it as a row, and where it
        ends.

        Raises:
            ValueError: no JSON stands there. RecursionError: it is nested too deeply.
        """
        self._repeated = ""
        value, end = self._decoder.raw_decode(text, start)
        problem = ""
        if not isinstance(value, dict):
            problem = f"a JSON {type(value).__name__}, expected an object"
        elif self._repeated:
            problem = f"key {self._repeated} stands twice"
        elif not _encodable(text[start:end], value):
            problem = "not valid UTF-8"
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


def _encodable(text: str, value: Any = None) -> bool:
    """False where bytes were no UTF-8 and came along as lone surrogates, or JSON put such into
    `value` by escapes."""
    try:
        if not text.isascii():
            text.encode("utf-8")
        if value is not None and ("\\ud" in text or "\\uD" in text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        return False
    return True


def _json(stream: IO[bytes]) -> Iterator[Found]:
    """An array of objects; or, as is common under this suffix, one object a line."""
    return _shaped(stream, named_lines=False)


def _jsonl(stream: IO[bytes]) -> Iterator[Found]:
    """One object a line; an array of objects under this name is read too, with a note."""
    return _shaped(stream, named_lines=True)


def _shaped(stream: IO[bytes], named_lines: bool) -> Iterator[Found]:
    shape = _shape(_beginning(stream), named_lines)
    if shape == "array":
        note = "a JSON array and not lines: read as in a file named .json" if named_lines else ""
        return _array(stream, note)
    return _object(stream) if shape == "object" else _lines(stream)


def _shape(beginning: bytes, named_lines: bool) -> Literal["lines", "array", "object"]:
    """Tell how the rows of a file are written down from its first line, which may be cut.

    In a file that is named one of lines, a list on a line of its own is a row that is wrong, and no
    array of rows.
    """
    first, _, rest = beginning.partition(b"\n")
    first = first.strip()
    if first == b"{":
        return "object"
    if not first.startswith(b"["):
        return "lines"
    if named_lines and first != b"[":
        holds_objects = first[1:].lstrip().startswith(b"{")
        is_a_row = bool(rest.strip()) and _is_json(first)
        return "array" if holds_objects and not is_a_row else "lines"
    return "array"


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(stream: IO[bytes]) -> Iterator[Found]:
    parser = _Parser()
    number = 0
    while line := stream.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            _skip_line(stream)
            yield Found(number, None, TOO_LONG)
            continue
        if number == 1:
            line = line.removeprefix(BOM)
        if line.strip():
            yield Found(number, *parser.row(line.decode("utf-8", "surrogateescape")))


def _skip_line(stream: IO[bytes] | io.TextIOBase) -> None:
    """Read on to the end of the line without holding it."""
    newline = "\n" if isinstance(stream, io.TextIOBase) else b"\n"
    while (piece := stream.readline(MAX_LINE)) and not piece.endswith(newline):  # type: ignore[arg-type]
        pass


def _object(stream: IO[bytes]) -> Iterator[Found]:
    """One object over several lines."""
    text = stream.read().decode("utf-8-sig", "surrogateescape")
    values, problem = _Parser().row(text)
    if values is None:
        raise RefusedError(
            f"a JSON object over several lines ({problem})",
            "write one object a line, or an array of objects in a file named .json",
            line=text[: text.index("{")].count("\n") + 1,
        )
    yield Found(1, values)


def _array(stream: IO[bytes], note: str) -> Iterator[Found]:
    text = stream.read().decode("utf-8-sig", "surrogateescape")
    parser = _Parser()
    place = _after_blanks(text, text.index("[") + 1)
    number = 0
    while number or text[place : place + 1] != "]":
        number += 1
        try:
            value, problem, place = parser.value(text, place)
        except (ValueError, RecursionError) as error:
            line = error.lineno if isinstance(error, json.JSONDecodeError) else 0
            raise RefusedError(
                f"element {number} of the array is not valid JSON ({error})", MEND_ARRAY, line
            ) from None
        if problem:
            yield Found(number, None, problem)
        else:
            yield Found(number, value, note=note)
            note = ""
        place = _after_blanks(text, place)
        if text[place : place + 1] != ",":
            break
        place = _after_blanks(text, place + 1)
    if text[place : place + 1] != "]" or _after_blanks(text, place + 1) < len(text):
        line = text.count("\n", 0, place) + 1
        raise RefusedError(f"the array is not valid JSON after element {number}", MEND_ARRAY, line)


MEND_ARRAY = "mend it there, or download it again"
TOO_LONG = f"a line of more than {MAX_LINE >> 20} MiB, longer than any row; write one row a line"
BLANKS = re.compile(r"[ \t\r\n]*")


def _after_blanks(text: str, place: int) -> int:
    blanks = BLANKS.match(text, place)
    assert blanks is not None  # no blank is also a match
    return blanks.end()


# --- CSV ------------------------------------------------------------------------------------------------------------


class _Record:
    """The lines of a text, one after the other, those of the present record remembered.

    Of a line that is longer than any row only the beginning is kept.
    """

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self.lines: list[str] = []
        self.first = 1

    def begin(self) -> None:
        """Forget the record's lines: the next one begins another."""
        self.first += len(self.lines)
        self.lines = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE)
        if not line:
            raise StopIteration
        self.lines.append(line)
        if self.too_long:
            _skip_line(self._text)
        return line

    @property
    def too_long(self) -> bool:
        return len(self.lines[-1]) == MAX_LINE and not self.lines[-1].endswith("\n")

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1

    def are_rows(self, delimiter: str, columns: int) -> bool:
        """Whether every line could be a row by itself, by its number of delimiters."""
        return all(line.count(delimiter) == columns - 1 for line in self.lines)


def _tsv(stream: IO[bytes]) -> Iterator[Found]:
    return _csv(stream, delimiter="\t")


def _csv(stream: IO[bytes], delimiter: str = ",") -> Iterator[Found]:
    """Rows are numbered by the line they begin on, the header being line 1. Every value is a
    `Cell`.

    A quotation mark that is not closed takes the lines after it into its cell. These are counted
    one by one, since nobody can tell whether they are rows.
    """
    csv.field_size_limit(MAX_LINE)
    record = _Record(io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline=""))
    reader = csv.reader(record, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        record.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if not header:
                raise RefusedError(
                    f"the header is not valid CSV ({error})", "mend the line", record.first
                ) from None
            yield Found(record.first, None, _broken(record, error), len(record.lines))
            continue
        if not cells:
            continue
        if not header:
            header = _header(cells, record.first)
            continue
        problem, stands_for = _wrong_with(cells, header, record, delimiter)
        values = None if problem else dict(zip(header, map(Cell, cells), strict=True))
        yield Found(record.first, values, problem, stands_for)


def _header(cells: list[str], line: int) -> list[str]:
    if not _encodable("".join(cells)):
        raise RefusedError(
            "the names of the columns are not valid UTF-8", "save the file as UTF-8", line
        )
    _check_columns(cells, line)
    return cells


def _check_columns(names: Sequence[str], line: int = 0) -> None:
    """Refuse two columns of one name; names that are empty are no names."""
    repeated = next((name for name in names if name and names.count(name) > 1), None)
    if repeated is not None:
        raise RefusedError(
            f"column {repeated} stands twice", "rename or delete one of the two", line
        )


def _broken(record: _Record, error: csv.Error) -> str:
    if record.too_long:
        return TOO_LONG
    if len(record.lines) == 1:
        return f"not valid CSV: {error}"
    return f"not valid CSV: a quotation mark that opens here is not closed by line {record.last} ({error})"


def _wrong_with(
    cells: list[str], header: list[str], record: _Record, delimiter: str
) -> tuple[str, int]:
    """Return what is wrong with a record, empty if nothing, and how many rows of the file it stands
    for."""
    if record.too_long:
        return TOO_LONG, 1
    several = len(record.lines) > 1 and record.are_rows(delimiter, len(header))
    if several and (len(cells) != len(header) or len(record.lines) >= ROWS_IN_A_CELL[delimiter]):
        return (
            f"a quotation mark that opens here holds the rows to line {record.last} in one cell",
            len(record.lines),
        )
    if len(cells) != len(header):
        return f"{len(cells)} cells under {len(header)} columns", 1
    if not _encodable("".join(cells)):
        return "not valid UTF-8", 1
    return "", 1


# --- Parquet --------------------------------------------------------------------------------------------------------


def _parquet(stream: IO[bytes]) -> Iterator[Found]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(stream, gzip.GzipFile):
        stream = io.BytesIO(stream.read())
    number = 0
    try:
        file = pq.ParquetFile(stream)
        _check_columns(file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=BATCH):
            for values, problem in _plain(batch):
                number += 1
                yield Found(number, values, problem)
    except (pa.ArrowException, OSError) as error:
        cause = str(error).splitlines() or [type(error).__name__]
        raise DamagedError(cause[0]) from None


def _plain(batch: Any) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """The batch's rows as Python's values; a row with one that Python cannot hold, as the year
    10000, by itself."""
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        for index in range(batch.num_rows):
            yield _plain_row(batch, index)
    else:
        yield from ((values, "") for values in rows)


def _plain_row(batch: Any, index: int) -> tuple[dict[str, Any] | None, str]:
    values = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = column[index].as_py()
        except (ValueError, OverflowError) as error:
            return None, f"column {name} holds a value that cannot be read ({error})"
    return values, ""
