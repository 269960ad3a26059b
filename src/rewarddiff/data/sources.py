"""What a name given by the user stands for: files, a Hugging Face dataset, the embedded data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path, PurePosixPath
from typing import Any

from rewarddiff.data import files
from rewarddiff.data.files import Row
from rewarddiff.data.formats import FORMATS
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path

DEMO = "demo"
"""The name of the data that comes with the package."""

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")

METADATA = (
    "config.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "croissant.json",
)
"""Files of datasets and the Hub that stand beside the data and hold no rows."""

SYNONYMS = (
    ("train", "training"),
    ("validation", "valid", "val", "dev"),
    ("test", "testing", "eval", "evaluation"),
)
"""Words that name splits, as `datasets` knows them: those in a row mean the same."""

SPLIT_WORDS = frozenset(word for words in SYNONYMS for word in words)

SHARD = re.compile(r"-\d+-of-\d+.*$")
"""The end of train-00000-of-00002, and of what the Hub makes of it with a hash."""

NUMBER = re.compile(r"(?<=.)[-_. ]*(part|shard|chunk)?[-_. ]*\d+$", re.IGNORECASE)
"""The end of train-1, train_part2, validation1."""


@dataclass(frozen=True)
class Stream:
    """Rows in one format: of one file (`path`), or of a dataset (`path` is None)."""

    name: str
    rows: Iterator[Row]
    path: Path | None = None


def streams(source: str | Path, split: str | None = None) -> list[Stream]:
    """What the source stands for, one stream a file. `SOURCE#SPLIT` names the split along with the
    source.

    Raises:
        UserError: nothing there, nothing readable, no such split, or several splits and none named.
    """
    source, split = _with_split(source, split)
    if source == DEMO:
        return _files(
            [Path(str(package_files("rewarddiff.demo").joinpath("preferences.jsonl")))],
            split,
            source,
        )
    if not str(source).strip():
        raise UserError("no data is named; give a file, a folder, a dataset's name, or demo")
    path = user_path(source)
    if _is_saved(path):
        return [_dataset(_load_saved(path), str(source), split)]
    if os.path.isdir(path):
        return _folder(path, split)
    if os.path.lexists(path):
        files.check_file(path)
        if not files.kind(path):
            raise UserError(
                f"{path}: cannot be read by its name; rename it to one of {', '.join(files.SUFFIXES)}"
            )
        return _files([path], split, source)
    require(source)
    return [_dataset(_from_hub(str(source)), str(source), split)]


def require(source: str | Path) -> None:
    """Raise a UserError where a file or folder is meant that is not there. Nothing is read or asked
    of the hub."""
    name, _ = _with_split(source, None)
    path = user_path(name)
    may_be_on_the_hub = (
        isinstance(name, str) and HUB_NAME.fullmatch(name) is not None and not files.kind(path)
    )
    if not os.path.lexists(path) and not may_be_on_the_hub:
        raise UserError(f"{path}: no such file or folder; check the path")


def paths(source: str | Path, split: str | None = None) -> list[Path]:
    """The files a source is read from; none where it is a dataset's name."""
    source, split = _with_split(source, split)
    path = user_path(source)
    if _is_saved(path):
        return sorted(file for file in path.rglob("*") if file.is_file())
    if source != DEMO and not os.path.lexists(path):
        return []
    found = [stream.path for stream in streams(source, split) if stream.path is not None]
    folders = {file.parent for file in found}
    beside = {
        other for folder in folders for other in folder.iterdir() if _is_companion(other, found)
    }
    return sorted({*found, *beside})


def takes_in(source: str | Path, file: Path) -> bool:
    """Whether a file that is written there would be read as one of rows, by its name, where the
    source is a folder."""
    name, _ = _with_split(source, None)
    folder = user_path(name)
    if name == DEMO or not os.path.isdir(folder) or _is_saved(folder):
        return False
    folder, file = folder.resolve(), file.resolve()
    if not file.is_relative_to(folder) or file.name in METADATA or file.name.startswith("."):
        return False
    hidden = any(part.startswith((".", "__")) for part in file.relative_to(folder).parts[:-1])
    return (files.packed(file) or bool(files.kind(file))) and not hidden


def _with_split(source: str | Path, split: str | None) -> tuple[str | Path, str | None]:
    """What `SOURCE#SPLIT` stands for; a file or folder with such a name goes before.

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


def _files(found: list[Path], split: str | None, source: str | Path) -> list[Stream]:
    if split is not None:
        raise UserError(f"{source}: a single file has no split {split!r}; leave the split out")
    return [Stream(path.name, files.rows(path, path.name), path) for path in found]


def _folder(folder: Path, split: str | None) -> list[Stream]:
    """The readable files of a folder by name, at any depth, or those of one split.

    Raises:
        UserError: no readable file, no such split, or files of several splits and none named.
    """
    readable = sorted(path for path in _below(folder) if files.kind(path) or files.packed(path))
    found = [
        path for path in readable if path.name not in METADATA and not _is_companion(path, readable)
    ]
    for path in found:
        files.check_file(path)
    if not found:
        raise UserError(
            f"{folder}: no file ends in any of {', '.join(files.SUFFIXES)} (or .gz); check the path"
        )
    names = {path.relative_to(folder).as_posix(): path for path in found}
    chosen = _of_split(folder, list(names), split)
    return [Stream(name, files.rows(names[name], name), names[name]) for name in chosen]


def _below(folder: Path) -> Iterator[Path]:
    """All files at any depth, but hidden ones and those in hidden folders or such as __MACOSX.
    Links are followed."""

    def refuse(error: OSError) -> None:
        raise UserError(
            f"{error.filename}: cannot be read ({error.strerror}); check its permissions, or take it away"
        )

    visited: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if os.path.realpath(place) in visited:
            folders.clear()
            continue
        visited.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _is_companion(path: Path, others: Iterable[Path]) -> bool:
    """A file such as arguments.jsonl beside pairs.jsonl holds no groups itself."""
    stems = {fmt.beside for fmt in FORMATS if fmt.beside}
    return files.stem(path) in stems and any(
        path.parent == o.parent and files.stem(o) == "pairs" for o in others
    )


# --- splits ---------------------------------------------------------------------------------------------------------


def _of_split(folder: Path, names: list[str], split: str | None) -> list[str]:
    """The files of this split among those of a folder; all of them where none is named, and they
    are of one.

    Raises:
        UserError: no such split, or several and none named.
    """
    splits = {name: split_of_file(name) for name in names}
    choices = sorted({of_file for of_file in splits.values() if of_file})
    if split is None:
        if len(set(splits.values())) <= 1:
            return names
        without = next(
            (
                f", or give a file of no split by itself, as {name}"
                for name in names
                if not splits[name]
            ),
            "",
        )
        raise UserError(f"{folder}: several splits; {_named_as(folder, choices)}{without}")
    chosen = [
        name
        for name in names
        if splits[name] == split or (not splits[name] and split in _other_names(name))
    ]
    if chosen:
        return chosen
    synonyms = next((words for words in SYNONYMS if split in words), ())
    chosen = [name for name in names if splits[name].lower() in synonyms]
    if chosen:
        return chosen
    mend = (
        f"name one of {', '.join(choices)}"
        if choices
        else "no file is named as a split is; leave the split out"
    )
    raise UserError(f"{folder}: no split {split!r}; {mend}")


def split_of_file(name: str) -> str:
    """The split that a file of a folder is of, by its path in it: the file's name or a folder's;
    empty if of none.

    As in `datasets`: a word for a split (`SYNONYMS`) is one wherever it stands between other signs,
    and of files in numbered parts (train_prefs-00000-of-00002) all before the number is the split.
    But names are not cut at a word: test_sft.jsonl is of split test_sft, and not of test.

    >>> [split_of_file(name) for name in ("data/train_prefs-00000-of-00001.parquet", "dev/a.csv", "helpful.jsonl")]
    ['train_prefs', 'dev', '']
    """
    path = PurePosixPath(name)
    stem = files.stem(Path(name))
    sharded = SHARD.sub("", stem)
    names = [NUMBER.sub("", sharded), *reversed(path.parts[:-1])]
    for candidate in names:
        if candidate.lower() in SPLIT_WORDS:
            return candidate
    if sharded != stem:
        return sharded
    return next(
        (candidate for candidate in names if not SPLIT_WORDS.isdisjoint(_words(candidate))), ""
    )


def _other_names(name: str) -> set[str]:
    """By what a file can be asked for that is of no split: its name, that without a number, and its
    folders'."""
    stem = files.stem(Path(name))
    return {stem, NUMBER.sub("", stem), *PurePosixPath(name).parts[:-1]}


def _words(name: str) -> list[str]:
    return re.split(r"[-._ ]|\d+", name.lower())


# --- datasets -------------------------------------------------------------------------------------------------------


def _is_saved(path: Path) -> bool:
    """Whether this is a folder that `datasets` has saved: a dataset, or several by split."""
    one = os.path.isfile(path / "state.json") and os.path.isfile(path / "dataset_info.json")
    return one or os.path.isfile(path / "dataset_dict.json")


def _load_saved(path: Path) -> Any:
    import datasets

    try:
        return datasets.load_from_disk(str(path))
    except Exception as error:
        raise UserError(
            f"{path}: a saved dataset that cannot be loaded ({_cause(error)}); save it again"
        ) from error


def _cause(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _from_hub(name: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, streaming=True)
    except Exception as error:
        raise UserError(
            f"{name}: no such file, and not loaded from the hub ({_cause(error)}); check the name"
        ) from error


def _named_as(source: str | Path, splits: Sequence[str]) -> str:
    """How to say which of a source's splits is meant, wherever data is named."""
    return f"name one of {', '.join(splits)}, as in {source}#{splits[0]}"


def _dataset(data: Any, name: str, split: str | None) -> Stream:
    if isinstance(data, Mapping):
        choices = list(data)
        if split is None and len(choices) == 1:
            split = choices[0]
        if split not in choices:
            wanted = f"no split {split!r}" if split else "several splits"
            raise UserError(f"{name}: {wanted}; {_named_as(name, choices)}")
        data, name = data[split], f"{name}[{split}]"
    elif split is not None:
        raise UserError(f"{name}: has no split {split!r}; leave the split out")
    return Stream(
        name, _dataset_rows(data.with_format(None), name)
    )  # plain values, whatever it was saved for


def _dataset_rows(data: Iterable[Mapping[str, Any]], name: str) -> Iterator[Row]:
    number = 0
    try:
        for number, values in enumerate(data, start=1):
            yield Row(f"{name}:{number}", dict(values))
    except Exception as error:
        raise UserError(
            f"{name}:{number + 1}: cannot be read ({_cause(error)}); load it anew, or take the row out"
        ) from error
