"""What a model's folder holds, told from its small files: which weights would be read, and whose
code would be run.

Weights are opened by transformers and peft, which fall back to pickles and offer to run code where
files ask for it. So a folder is looked at before they see it. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rewarddiff.errors import UserError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ABOUT = "rewarddiff_scorer.json"
PROMPTS = "rewarddiff_prompts.npy"
READ = (
    ".safetensors", ".json", ".jinja", ".txt", ".model", ".spm", ".tiktoken", ".codes", ".bpe", ".vocab", ".tokenizer",
    PROMPTS,
)  # fmt: skip
"""Kinds of files that decide what a model answers, and what may be said of it: weights,
configuration, templates, vocabularies, and the prompts that a scorer was trained on."""
NOTES = (
    "README*",
    "LICENSE*",
    "requirements.txt",
    "training_args*",
    "trainer_state.json",
    "*_results.json",
    ".*",
)
"""Files of these kinds that no loader reads: what trainers and people write down."""
SAVED = (
    "config.json", "generation_config.json", "adapter_config.json", "*.safetensors.index.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "processor_config.json",
    "preprocessor_config.json", "vocab*.json", "*_vocab.json", "vocab.txt", "merges.txt", "dict.txt", "normalizer.json",
    "emoji.json", "byte_maps.json", "word_shape.json", "word_pronunciation.json", ABOUT,
)  # fmt: skip
"""Names of .json and .txt by which a model, a tokenizer or a scorer is saved; others may be
anyone's."""
TEMPLATES = "additional_chat_templates"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
POINTER = b"version https://git-lfs"


def require_model(folder: Path, mend: str) -> None:
    """Look at a model's folder before anything in it is loaded.

    Args:
        mend: what else could be given, for a folder that is none.

    Raises:
        UserError: `folder` is no model, or loading it would open a pickle or run code.
    """
    if not folder.is_dir():
        cause = (
            "a file, not a model's folder"
            if folder.exists()
            else f"no such folder{nearest(folder)}"
        )
        raise UserError(f"{folder}: {cause}; give a folder with config.json and weights, {mend}")
    if base_of(folder) is not None:
        _require_weights(folder, ADAPTER_WEIGHTS)
        return
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: not a model's folder: config.json is missing")
    _refuse_named_elsewhere(folder / "config.json")
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        _require_weights(folder, WEIGHTS)
        return
    for name in _indexed(folder / INDEX):
        _require_weights(folder, name)


def base_of(folder: Path) -> str | None:
    """The model that a folder's adapter belongs to; None where the folder holds no adapter."""
    path = folder / ADAPTER
    if not path.is_file():
        return None
    base = _json_object(path).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        cause = "base_model_name_or_path is missing"
        raise UserError(
            f"{path}: does not say which model the adapter is for ({cause}); save the adapter again"
        )
    return base


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer was saved beside the weights."""
    return any((folder / name).is_file() for name in ("tokenizer_config.json", "tokenizer.json"))


def files_read(folder: Path) -> list[Path]:
    """The files of a model's folder that decide what it answers: told by their kind, so that none
    is forgotten."""
    shards = (
        _indexed(folder / INDEX) if (folder / INDEX).is_file() else []
    )  # these may lie in a folder below
    candidates = {
        *folder.iterdir(),
        *folder.glob(f"{TEMPLATES}/*.jinja"),
        *(folder / name for name in shards),
    }
    return sorted(file for file in candidates if file.is_file() and _is_read(file.name))


def fingerprint(folder: Path) -> str:
    """Return a hash of all `files_read` by name and content: 32 hexadecimal digits, the same
    wherever they lie.

    Each file is read once a process, unless its size or time of change differs later.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in files_read(folder):
        status = file.stat()
        content = _file_hash(file.resolve(), status.st_size, status.st_mtime_ns)
        digest.update(f"{file.relative_to(folder).as_posix()}:{content}\n".encode())
    return digest.hexdigest()


def nearest(path: Path) -> str:
    """Return ` (did you mean …?)` with the existing path that is most like a mistyped one, or
    nothing."""
    guess = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        if not (guess / part).exists():
            try:
                names = [entry.name for entry in guess.iterdir() if entry.is_dir()]
            except OSError:
                return ""
            alike = difflib.get_close_matches(part, names, n=1)
            if not alike:
                return ""
            part = alike[0]
        guess /= part
    return f" (did you mean {guess}?)"


def is_saved(name: str) -> bool:
    """Whether a file's name is one by which a model is saved, and not one that a user gives to
    notes or data."""
    if name.endswith((".json", ".txt")):
        return any(fnmatch(name, pattern) for pattern in SAVED)
    return _is_read(name)


def _is_read(name: str) -> bool:
    return name.endswith(READ) and not any(fnmatch(name, note) for note in NOTES)


@lru_cache(maxsize=1024)
def _file_hash(file: Path, size: int, mtime_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


def _require_weights(folder: Path, name: str) -> None:
    """Raise a UserError unless the folder holds this file of weights, and it is no pickle, pointer
    or foreign file."""
    if not name.endswith(".safetensors"):
        raise UserError(
            f"{folder}: {INDEX} names {name}, which is no safetensors; save the model as safetensors"
        )
    if (
        PurePosixPath(name).is_absolute()
        or PureWindowsPath(name).is_absolute()
        or ".." in PureWindowsPath(name).parts
    ):
        raise UserError(f"{folder}: {INDEX} names {name}, outside the folder; save the model again")
    if not (folder / name).is_file():
        pickled = sorted(file.name for file in folder.iterdir() if file.name.endswith(PICKLES))
        mend = (
            f"; {pickled[0]} is pickled and is not read, save the model as safetensors"
            if pickled
            else ""
        )
        raise UserError(f"{folder}: not a whole model: weights ({name}) are missing{mend}")
    with (folder / name).open("rb") as stream:
        start = stream.read(len(POINTER))
    if start == POINTER:
        raise UserError(
            f"{folder / name}: a pointer of Git LFS, not the weights; run git lfs pull in its folder"
        )


def _indexed(index: Path) -> list[str]:
    """The files of weights that an index names, each once."""
    weight_map = _json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(name, str) for name in weight_map.values()
    ):
        raise UserError(f"{index}: weight_map does not name files of weights; save the model again")
    return sorted(set(weight_map.values()))


def _refuse_named_elsewhere(config: Path) -> None:
    """Refuse a configuration that names other files of weights than those looked at, or code on the
    hub."""
    for key, value in _entries(_json_object(config)):
        if key == "transformers_weights" and value not in (None, WEIGHTS, INDEX):
            raise UserError(
                f"{config}: transformers_weights names {value}; only {WEIGHTS} or {INDEX} is read"
            )
        implementation = key.endswith(("attn_implementation", "experts_implementation"))
        if implementation and "/" in json.dumps(value):
            raise UserError(
                f"{config}: {key} names code on the hub ({value}), which is never run; delete the key"
            )


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    if isinstance(value, dict):
        yield from value.items()
    children = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    for child in children:
        yield from _entries(child)


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path.parent}: cannot be loaded ({path.name} is no JSON: {error}); save it again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path.parent}: cannot be loaded ({path.name} is no JSON object); save it again"
        )
    return content
