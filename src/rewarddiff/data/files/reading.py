"""A file's rows by its suffix; damage, and what is not as the name says, is told at its place."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import cast

from rewarddiff.data.files.csv_dialect import UTF16_MARKS
from rewarddiff.data.files.csv_rows import read_csv, read_tsv
from rewarddiff.data.files.json_rows import read_json, read_lines
from rewarddiff.data.files.names import check_file, kind
from rewarddiff.data.files.parquet_rows import read_parquet
from rewarddiff.data.files.rows import DamagedError, RefusedError, Row, beginning
from rewarddiff.errors import UserError

READERS = {".csv": read_csv, ".tsv": read_tsv, ".parquet": read_parquet, ".json": read_json}
"""Readers by suffix; any other suffix is one of lines."""

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
    **dict.fromkeys(UTF16_MARKS, ("text in UTF-16", "save it as UTF-8")),
}
"""First bytes of files that are no text, whatever their name says: what they are, and the mend.
Lines of such a file are not its rows, and counting them would hide how many rows are lost."""


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the file's rows in order.

    Only a .parquet.gz is held in memory whole; of others no more than a long row.

    Raises:
        UserError: the file is cut in the middle, or is not what its name says.
    """
    reader = READERS.get(kind(path), read_lines)
    last = 0
    try:
        check_file(path)
        with _open(path) as stream:
            _check_beginning(stream, kind(path))
            for row in reader(stream):
                last = row.number
                yield row
        return
    except EOFError:
        damage = "the file ends in the middle of its compressed data"
    except (zlib.error, gzip.BadGzipFile, DamagedError) as error:
        damage = f"the data is damaged ({error})"
    except RefusedError as error:
        place = f"{path}:{error.line}" if error.line else f"{path}"
        raise UserError(f"{place}: {error}") from None
    except OSError as error:
        cause = error.strerror or error
        raise UserError(
            f"{path}: cannot be read ({cause}); check the path and its permissions"
        ) from None
    yield Row(last + 1, None, damage)
    raise UserError(f"{path}:{last + 1}: {damage}, the last good row is {last}; download it again")


def count_lines(path: Path) -> int:
    """Return how many lines a file has; of a packed one that is cut, those before the cut."""
    lines = 0
    with _open(path) as stream, suppress(EOFError, OSError, zlib.error):
        while block := stream.read(1 << 20):
            lines += block.count(b"\n")
    return lines


def _open(path: Path) -> BufferedReader:
    if path.name.lower().endswith(".gz"):
        return cast("BufferedReader", gzip.open(path))
    return path.open("rb")


def _check_beginning(stream: BufferedReader, suffix: str) -> None:
    """Refuse a file of text whose first bytes are those of something else."""
    head = beginning(stream)
    if suffix == ".parquet" and head.startswith(b"PAR1"):
        return
    if suffix in (".csv", ".tsv") and head.startswith(UTF16_MARKS):
        return
    for signature, (what, mend) in UNREADABLE_BEGINNINGS.items():
        if head.startswith(signature):
            raise RefusedError(f"this is {what}", mend)
