"""What a name given by the user stands for: files, a Hugging Face dataset, the embedded data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files as package_files
from pathlib import Path

from rewarddiff.data import files
from rewarddiff.data.file_splits import of_split
from rewarddiff.data.files import Row
from rewarddiff.data.formats import FORMATS
from rewarddiff.data.huggingface import dataset_rows, is_saved, load_from_hub, load_saved
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path

DEMO = "demo"
"""The name of the data that comes with the package."""

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")

DATASET_INFO = "dataset_info.json"
"""The file in which LLaMA-Factory, and `datasets`, describe those beside it."""

METADATA = (
    "config.json",
    DATASET_INFO,
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "croissant.json",
)
"""Files of datasets and the Hub that stand beside the data and hold no rows."""

HIDDEN = (".", "__")
"""How names of folders begin that are not looked into, such as __MACOSX."""


@dataclass(frozen=True)
class Stream:
    """Rows in one format: of one file (`path`), or of a dataset (`path` is None)."""

    name: str
    rows: Iterator[Row]
    path: Path | None = None


def streams(source: str | Path, split: str | None = None) -> list[Stream]:
    """Return what the source stands for, one stream a file.

    `SOURCE#SPLIT` names the split along with the source.

    Raises:
        UserError: nothing there, nothing readable, no such split, or several splits and none named.
    """
    source, split = _with_split(source, split)
    if source == DEMO:
        demo = package_files("rewarddiff.demo").joinpath("preferences.jsonl")
        return [replace(_only_file(Path(str(demo)), split, source), name=DEMO)]
    if not str(source).strip():
        raise UserError("no data is named; give a file, a folder, a dataset's name, or demo")
    path = user_path(source)
    if is_saved(path):
        return [Stream(*dataset_rows(load_saved(path), str(source), split))]
    if os.path.isdir(path):
        return _folder(path, split)
    if os.path.lexists(path):
        files.check_file(path)
        if not files.kind(path):
            suffixes = ", ".join(files.SUFFIXES)
            raise UserError(f"{path}: cannot be read by its name; rename it to one of {suffixes}")
        return [_only_file(path, split, source)]
    require(source)
    return [Stream(*dataset_rows(load_from_hub(str(source)), str(source), split))]


def require(source: str | Path) -> None:
    """Raise a UserError where a file or folder is meant that is not there.

    Nothing is read or asked of the hub.
    """
    name, _ = _with_split(source, None)
    path = user_path(name)
    may_be_on_the_hub = isinstance(name, str) and HUB_NAME.fullmatch(name) and not files.kind(path)
    if not os.path.lexists(path) and not may_be_on_the_hub:
        raise UserError(f"{path}: no such file or folder; check the path")


def paths(source: str | Path, split: str | None = None) -> list[Path]:
    """Return the files a source is read from; none where it is a dataset's name."""
    source, split = _with_split(source, split)
    path = user_path(source)
    if is_saved(path):
        return sorted(file for file in path.rglob("*") if file.is_file())
    if source != DEMO and not os.path.lexists(path):
        return []
    read = {stream.path for stream in streams(source, split) if stream.path is not None}
    companions: set[Path] = set()
    for folder in {file.parent for file in read}:
        companions.update(file for file in folder.iterdir() if _is_companion(file, read))
        companions.update(file for file in [folder / DATASET_INFO] if file.is_file())
    return sorted(read | companions)


def takes_in(source: str | Path, file: Path) -> bool:
    """Tell whether a file written there would be read as data, the source being a folder."""
    name, _ = _with_split(source, None)
    folder = user_path(name)
    if name == DEMO or not os.path.isdir(folder) or is_saved(folder):
        return False
    folder, file = folder.resolve(), file.resolve()
    if not file.is_relative_to(folder) or file.name in METADATA or file.name.startswith("."):
        return False
    folders = file.relative_to(folder).parts[:-1]
    return _has_rows(file) and not any(part.startswith(HIDDEN) for part in folders)


def _has_rows(file: Path) -> bool:
    """Tell by its name whether a file is one of rows, readable or packed."""
    return bool(files.kind(file)) or files.is_packed(file)


def _with_split(source: str | Path, split: str | None) -> tuple[str | Path, str | None]:
    """Return what `SOURCE#SPLIT` stands for; a file or folder with such a name goes before.

    Raises:
        UserError: another split is named besides.
    """
    name, mark, named = str(source).rpartition("#")
    if not mark or not name or not named or os.path.lexists(user_path(source)):
        return source, split
    if split not in (None, named):
        raise UserError(
            f"{source}: names split {named!r}, and split={split} another; leave one of them out"
        )
    return name if isinstance(source, str) else Path(name), named


def _only_file(path: Path, split: str | None, source: str | Path) -> Stream:
    if split is not None:
        raise UserError(f"{source}: a single file has no split {split!r}; leave the split out")
    return Stream(files.shown(path.name), files.read_rows(path), path)


def _folder(folder: Path, split: str | None) -> list[Stream]:
    """Return the readable files of a folder by name, at any depth, or those of one split.

    Raises:
        UserError: no readable file, no such split, or files of several splits and none named.
    """
    candidates = sorted(path for path in _below(folder) if _has_rows(path))
    by_name = {}
    for path in candidates:
        if path.name not in METADATA and not _is_companion(path, candidates):
            files.check_file(path)
            by_name[path.relative_to(folder).as_posix()] = path
    if not by_name:
        suffixes = ", ".join(files.SUFFIXES)
        raise UserError(f"{folder}: no file ends in any of {suffixes} (or .gz); check the path")
    chosen = of_split(folder, list(by_name), split)
    chosen_files = [(files.shown(name), by_name[name]) for name in chosen]
    return [Stream(name, files.read_rows(path), path) for name, path in chosen_files]


def _below(folder: Path) -> Iterator[Path]:
    """Yield all files at any depth but hidden ones. Links are followed, each folder once."""

    def refuse(error: OSError) -> None:
        raise UserError(
            f"{error.filename}: cannot be read ({error.strerror}); "
            "check its permissions, or take it away"
        )

    visited: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if os.path.realpath(place) in visited:
            folders.clear()
            continue
        visited.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        for name in names:
            if not name.startswith("."):
                yield Path(place, name)


def _is_companion(path: Path, others: Iterable[Path]) -> bool:
    """Tell a file such as arguments.jsonl beside pairs.jsonl, which holds no groups itself."""
    if files.stem(path) not in {form.beside for form in FORMATS if form.beside}:
        return False
    return any(path.parent == other.parent and files.stem(other) == "pairs" for other in others)
