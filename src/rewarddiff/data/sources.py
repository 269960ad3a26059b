"""What a name given by the user stands for: files, a Hugging Face dataset, the embedded data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from rewarddiff.data import files
from rewarddiff.data.files import Row
from rewarddiff.data.formats import FORMATS
from rewarddiff.errors import UserError

DEMO = "demo"
"""The name of the data that comes with the package."""

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
SAVED = ("dataset_dict.json", "state.json")
"""What datasets.save_to_disk leaves in a folder."""


@dataclass(frozen=True)
class Stream:
    """Rows in one format: of one file (`path`), or of a dataset (`path` is None)."""

    name: str
    rows: Iterator[Row]
    path: Path | None = None


def streams(source: str | Path, split: str | None = None) -> list[Stream]:
    """What the source stands for, one stream a file.

    Raises:
        UserError: nothing there, nothing readable, no such split, or several splits and none named.
    """
    if source == DEMO:
        return _files([Path(str(package_files("rewarddiff.demo").joinpath("preferences.jsonl")))], split, source)
    if not str(source).strip():
        raise UserError("no data is named; give a file, a folder, a dataset's name, or demo")
    path = Path(source)
    if path.is_dir():
        if any((path / name).exists() for name in SAVED):
            import datasets

            return [_dataset(datasets.load_from_disk(str(path)), str(source), split)]
        return _folder(path, split)
    if path.exists():
        if not files.kind(path):
            raise UserError(f"{path}: cannot be read by its name; rename it to one of {', '.join(files.SUFFIXES)}")
        return _files([path], split, source)
    if files.kind(path) or not isinstance(source, str) or not HUB_NAME.fullmatch(source):
        raise UserError(f"{path}: no such file or folder; check the path")
    return [_dataset(_from_hub(source), source, split)]


def paths(source: str | Path, split: str | None = None) -> list[Path]:
    """The files a source is read from; none where it is a dataset's name."""
    path = Path(source)
    if path.is_dir() and any((path / name).exists() for name in SAVED):
        return sorted(file for file in path.rglob("*") if file.is_file())
    if source != DEMO and not path.exists():
        return []
    found = [stream.path for stream in streams(source, split) if stream.path is not None]
    beside = {other for file in found for other in file.parent.iterdir() if _is_companion(other, [file])}
    return sorted({*found, *beside})


def _files(found: list[Path], split: str | None, source: str | Path) -> list[Stream]:
    if split is not None:
        raise UserError(f"{source}: a single file has no split {split!r}; leave the split out")
    return [Stream(path.name, files.rows(path, path.name), path) for path in found]


def _folder(folder: Path, split: str | None) -> list[Stream]:
    """Its readable files by name, at any depth; a split is files or folders of that name (train, train-00000-of-2)."""
    readable = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and files.kind(path) and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )
    found = [path for path in readable if not _is_companion(path, readable)]
    if split is not None:
        found = [path for path in found if _in_split(path.relative_to(folder), split)]
    if not found:
        wanted = f" for split {split!r}" if split else ""
        raise UserError(
            f"{folder}: no file{wanted} ends in any of {', '.join(files.SUFFIXES)} (or .gz); check the path"
        )
    names = [path.relative_to(folder).as_posix() for path in found]
    return [Stream(name, files.rows(path, name), path) for path, name in zip(found, names, strict=True)]


def _is_companion(path: Path, others: Iterable[Path]) -> bool:
    """A file such as arguments.jsonl beside pairs.jsonl holds no groups itself."""
    stems = {fmt.beside for fmt in FORMATS if fmt.beside}
    return files.stem(path) in stems and any(path.parent == o.parent and files.stem(o) == "pairs" for o in others)


def _in_split(path: Path, split: str) -> bool:
    return split in path.parts[:-1] or re.split(r"[-_.]", files.stem(path))[0] == split


def _from_hub(name: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, streaming=True)
    except Exception as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{name}: no such file, and not loaded from the hub ({cause}); check the name") from error


def _dataset(data: Any, name: str, split: str | None) -> Stream:
    if isinstance(data, Mapping):
        choices = list(data)
        if split is None and len(choices) == 1:
            split = choices[0]
        if split not in choices:
            wanted = f"no split {split!r}" if split else "several splits"
            raise UserError(f"{name}: {wanted}; name one of {', '.join(choices)}")
        data, name = data[split], f"{name}[{split}]"
    elif split is not None:
        raise UserError(f"{name}: has no split {split!r}; leave the split out")
    return Stream(name, (Row(f"{name}:{n}", dict(values)) for n, values in enumerate(data, start=1)))
