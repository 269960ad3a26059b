"""What a model's folder holds: which weights would be read, and whose code would be run.

Weights are opened by transformers and peft, which fall back to pickles and offer to run code where
files ask for it. So a folder is looked at before they see it. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection, Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rewarddiff.errors import UserError
from rewarddiff.hashing import digest
from rewarddiff.sums import Pairs, read_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
VALUE_HEAD = "value_head.safetensors"
"""A head beside a model or an adapter, as LLaMA-Factory saves it."""
ABOUT = "rewarddiff_scorer.json"
PROMPTS = "rewarddiff_prompts.npy"
READ_ENDINGS = (
    ".safetensors", ".json", ".jinja", ".txt", ".model", ".spm", ".tiktoken", ".codes", ".bpe", ".vocab", ".tokenizer",
    PROMPTS,  # a whole name, matched as an ending
)  # fmt: skip
"""Kinds of files that decide what a model answers, and what may be said of it: weights,
configuration, templates, vocabularies, and the prompts that a scorer was trained on."""
NOTE_PATTERNS = (
    "README*", "LICENSE*", "requirements.txt", "training_args*", "trainer_state.json",
    "*_results.json", ".*",
)  # fmt: skip
"""Files of these kinds that no loader reads: what trainers and people write down."""
SAVED_PATTERNS = (
    "config.json", "generation_config.json", "adapter_config.json", "*.safetensors.index.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "processor_config.json",
    "preprocessor_config.json", "vocab*.json", "*_vocab.json", "vocab.txt", "merges.txt", "dict.txt", "normalizer.json",
    "emoji.json", "byte_maps.json", "word_shape.json", "word_pronunciation.json", ABOUT,
)  # fmt: skip
"""Names of .json and .txt by which a model, a tokenizer or a scorer is saved; others may be
anyone's."""
TEMPLATES_FOLDER = "additional_chat_templates"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
PARTS = ("layers", "layer", "experts", "blocks")
"""How keys of a configuration end that count parts of a model."""
MOST_PARTS = 10_000
POINTER = b"version https://git-lfs"


def require_model(folder: Path, mend: str) -> None:
    """Look at a model's folder before anything in it is loaded.

    Args:
        mend: what the user could give instead, for the message.

    Raises:
        UserError: `folder` is no model, or loading it would open a pickle or run code.
    """
    if not folder.is_dir():
        cause = f"no such folder{nearest(folder)}"
        if folder.exists():
            cause = "a file, not a model's folder"
        raise UserError(f"{folder}: {cause}; give a folder with config.json and weights, {mend}")
    if base_of(folder) is not None:
        _require_weights(folder, ADAPTER_WEIGHTS)
        return
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: not a model's folder: config.json is missing")
    _refuse_named_elsewhere(folder / "config.json")
    weight_files = _indexed(folder / INDEX) if (folder / INDEX).is_file() else [WEIGHTS]
    # An index beside a single file is looked at too: config.json may prefer it.
    for name in weight_files:
        _refuse_unread(folder, name)
    if (folder / WEIGHTS).is_file() and not _prefers_index(folder):
        weight_files = [WEIGHTS]
    for name in weight_files:
        _require_weights(folder, name)


def weight_files(folder: Path) -> list[Path]:
    """Return the files of weights of a folder that `require_model` has looked at, adapters' too."""
    if (folder / ADAPTER).is_file():
        names = [ADAPTER_WEIGHTS]
    elif (folder / WEIGHTS).is_file() and not _prefers_index(folder):
        names = [WEIGHTS]
    else:
        names = _indexed(folder / INDEX)
    if (folder / VALUE_HEAD).is_file():
        _require_weights(folder, VALUE_HEAD)
        names.append(VALUE_HEAD)
    return [folder / name for name in names]


def refuse_pickled_head(folder: Path) -> None:
    """Raise a UserError where a head beside the model is pickled: without it there is no score."""
    pickled = folder / "value_head.bin"
    if pickled.is_file():
        raise UserError(f"{folder}: {_as_safetensors(pickled.name, VALUE_HEAD)}")


def base_of(folder: Path) -> str | None:
    """Return the model that a folder's adapter belongs to; None where it holds no adapter."""
    path = folder / ADAPTER
    if not path.is_file():
        return None
    base = json_object(path).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UserError(
            f"{path}: does not say which model the adapter is for "
            "(base_model_name_or_path is missing); save the adapter again"
        )
    return base


def has_tokenizer(folder: Path) -> bool:
    """Return whether a tokenizer was saved beside the weights."""
    names = ("tokenizer_config.json", "tokenizer.json")
    return any((folder / name).is_file() for name in names)


def files_read(folder: Path) -> list[Path]:
    """Return the files of a model's folder that decide what it answers.

    They are recognised by their ending, so that none is forgotten.
    """
    candidates = {*folder.iterdir(), *folder.glob(f"{TEMPLATES_FOLDER}/*.jinja")}
    if (folder / INDEX).is_file():
        # Shards may lie in a folder below.
        candidates.update(folder / name for name in _indexed(folder / INDEX))
    return sorted(file for file in candidates if file.is_file() and _is_read(file.name))


def fingerprint(folder: Path, without: Collection[str] = ()) -> str:
    """Return a hash of all `files_read` by name and content: 32 hexadecimal digits.

    It does not depend on where the folder is. Each file is read once a process, unless its size or time of
    change differs later.

    Args:
        without: names of files to leave out.
    """
    lines = []
    for file in files_read(folder):
        if file.name in without:
            continue
        status = file.stat()
        content = _file_hash(file.resolve(), status.st_size, status.st_mtime_ns)
        lines.append(f"{file.relative_to(folder).as_posix()}:{content}\n".encode())
    return digest(lines)


def nearest(path: Path) -> str:
    """Return ` (did you mean …?)` with the existing path most like a mistyped one, or nothing."""
    guess = Path(path.anchor)
    for part in path.relative_to(guess).parts:
        if (guess / part).exists():
            guess /= part
            continue
        try:
            names = [entry.name for entry in guess.iterdir() if entry.is_dir()]
        except OSError:
            return ""
        alike = difflib.get_close_matches(part, names, n=1)
        if not alike:
            return ""
        guess /= alike[0]
    return f" (did you mean {guess}?)"


def is_saved(name: str) -> bool:
    """Return whether a file of this name belongs to a saved model, not to a user's notes or data."""
    if name.endswith((".json", ".txt")):
        return any(fnmatch(name, pattern) for pattern in SAVED_PATTERNS)
    return _is_read(name)


def _is_read(name: str) -> bool:
    return name.endswith(READ_ENDINGS) and not any(fnmatch(name, note) for note in NOTE_PATTERNS)


@lru_cache(maxsize=1024)
def _file_hash(file: Path, size: int, mtime_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


def _prefers_index(folder: Path) -> bool:
    """Return whether transformers reads the index although there is a single file of weights."""
    return json_object(folder / "config.json").get("transformers_weights") == INDEX


def _refuse_unread(folder: Path, name: str) -> None:
    """Refuse a file of weights that is a pickle by its name, or outside the folder."""
    if not name.endswith(".safetensors"):
        raise UserError(
            f"{folder}: {INDEX} names {name}, which is no safetensors; "
            "save the model as safetensors"
        )
    windows_path = PureWindowsPath(name)
    absolute = PurePosixPath(name).is_absolute() or windows_path.is_absolute()
    if absolute or ".." in windows_path.parts:
        raise UserError(f"{folder}: {INDEX} names {name}, outside the folder; save the model again")


def _require_weights(folder: Path, name: str) -> None:
    """Refuse a file of weights that is missing, or a pointer."""
    if not (folder / name).is_file():
        pickled = sorted(file.name for file in folder.iterdir() if file.name.endswith(PICKLES))
        mend = ""
        if len(pickled) > 1:
            mend = f"; {pickled[0]} is pickled and is not read, save the model as safetensors"
        if len(pickled) == 1:
            mend = f"; {_as_safetensors(pickled[0], name)}"
        raise UserError(f"{folder}: not a whole model: weights ({name}) are missing{mend}")
    with (folder / name).open("rb") as stream:
        start = stream.read(len(POINTER))
    if start == POINTER:
        raise UserError(
            f"{folder / name}: a pointer of Git LFS, not the weights; "
            "run git lfs pull in its folder"
        )


def _as_safetensors(pickled: str, name: str) -> str:
    """Say that a file is not read, and the command that makes safetensors of it."""
    program = (
        "import torch, safetensors.torch as s; "
        f"w = torch.load('{pickled}', weights_only=True); "
        f"s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, '{name}', {{'format': 'pt'}})"
    )
    return (
        f"{pickled} is pickled and is not read; where you trust its source, make it safetensors, "
        f'in its folder: python -c "{program}"'
    )


def _indexed(index: Path) -> list[str]:
    """Return the files of weights that an index names, each once."""
    weight_map = json_object(index).get("weight_map")
    names = weight_map.values() if isinstance(weight_map, dict) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{index}: weight_map does not name files of weights; save the model again")
    return sorted(set(names))


def _refuse_named_elsewhere(config: Path) -> None:
    """Refuse a configuration that names other files of weights, code on the hub, or parts without measure."""
    for key, value in _entries(json_object(config)):
        if key == "transformers_weights" and value not in (None, WEIGHTS, INDEX):
            raise UserError(
                f"{config}: transformers_weights names {value}; only {WEIGHTS} or {INDEX} is read"
            )
        implementation = key.endswith(("attn_implementation", "experts_implementation"))
        if implementation and "/" in json.dumps(value):
            raise UserError(
                f"{config}: {key} names code on the hub ({value}), which is never run; delete the key"
            )
        # Each is made before the first weight is read.
        if key.endswith(PARTS) and isinstance(value, int) and value > MOST_PARTS:
            raise UserError(f"{config}: {key} is {value:,}, more than any model has; mend the file")


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, at any depth."""
    if isinstance(value, dict):
        yield from value.items()
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from _entries(child)


def json_object(path: Path, pairs: Pairs | None = None) -> dict[str, Any]:
    """Return what a file of a model's folder holds.

    Args:
        pairs: makes an object of its keys and values.

    Raises:
        UserError: the file holds no JSON object.
    """
    try:
        content = read_json(path, pairs)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(
            f"{path.parent}: cannot be loaded ({path.name} is no JSON: {error}); save it again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path.parent}: cannot be loaded ({path.name} is no JSON object); save it again"
        )
    return content
