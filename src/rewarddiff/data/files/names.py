"""What a file's name, and its kind on the disk, say of how it can be read."""

from __future__ import annotations

import stat
from pathlib import Path

from rewarddiff.errors import UserError
from rewarddiff.paths import as_name
from rewarddiff.writing import printable

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""What can be read; each may end in .gz as well."""

PACKED = (".bz2", ".xz", ".zst", ".lz4", ".zip", ".7z")
"""How files are packed that cannot be read."""

NO_FILES = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}


def kind(path: Path) -> str:
    """Return the suffix that says how to read the file, without .gz; empty if none does."""
    name = path.name.lower().removesuffix(".gz")
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return suffix
    return ""


def stem(path: Path) -> str:
    """Return the name without its reading suffixes: train for train.jsonl.gz."""
    name = path.name
    if name.lower().endswith(".gz"):
        name = name[: -len(".gz")]
    return name[: len(name) - len(kind(path))]


def is_packed(path: Path) -> bool:
    """Tell whether rows are packed in a way that cannot be read, as in rows.jsonl.zst."""
    return path.suffix.lower() in PACKED and bool(kind(path.with_suffix("")))


def check_file(path: Path) -> None:
    """Raise UserError where rows cannot be read once and again: a pipe, a device, a dead link."""
    if is_packed(path):
        raise UserError(
            f"{path}: packed as {path.suffix}, which is not read; unpack it, or pack it with gzip"
        )
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            problem = "a link to nothing; put the file there, or remove the link"
        else:
            problem = f"cannot be read ({error.strerror}); check the path and its permissions"
        raise UserError(f"{path}: {problem}") from None
    if not stat.S_ISREG(mode):
        what = NO_FILES.get(stat.S_IFMT(mode), "a device")
        raise UserError(f"{path}: {what} and no file; write the rows to a file and give that")


def shown(name: str) -> str:
    """Return a file's name in one line of text: what is no UTF-8, or acts on a terminal, written out."""
    return printable(name).replace("\n", r"\n").replace("\t", r"\t")


def name_of(source: str | Path) -> str:
    """Return what to call data, or a scorer, in the name of an output beside other outputs."""
    path = Path(source)
    if path.name == "model" and path.parent.name:
        path = path.parent  # the scorer of a run has its name one level up
    return as_name(stem(path)) or "data"
