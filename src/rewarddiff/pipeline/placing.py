"""Where a trained model is put: what is replaced there, and what never is."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rewarddiff import files, model_files, models, sums
from rewarddiff.errors import UserError
from rewarddiff.loop.checkpoint import CHECKPOINT, discard_checkpoint
from rewarddiff.paths import user_path
from rewarddiff.sealed import PLACED, seal

logger = logging.getLogger(__name__)

IDENTITIES = "identities"
"""The key of `sealed.PLACED` under which size and time of every file stand that a training placed, by name."""

MADE_ANEW = ("model", CHECKPOINT)
"""Folders of an output that a training from Python replaces, or removes where a training wrote them."""


def check_model_place(output: Path, starts: Iterable[str | Path], *, scorer: bool) -> None:
    """Refuse an output whose `model` a training from Python must not replace, before anything is
    loaded. A model that will be replaced is named in the log.

    Args:
        starts: models by name that training starts from; all that the first one is made of must
            stay.
        scorer: whether a scorer is trained, and not a policy.

    Raises:
        UserError: a start lies there, or a model of another kind; the first start is no model.
    """
    first, *others = starts
    for start in [*models.lineage(first), *map(user_path, others)]:
        for place in _made_anew(output):
            if _lies_in(start, place):
                raise UserError(
                    f"{start}: training starts from it, and would replace {place}; "
                    "choose another output"
                )
    model = output / "model"
    holds_scorer = (model / model_files.ABOUT).is_file()
    if holds_scorer and not scorer:
        raise UserError(
            f"{model}: holds a scorer, which the policy would replace; choose another output"
        )
    holds_model = any((model / name).is_file() for name in ("config.json", model_files.ADAPTER))
    if scorer and holds_model and not holds_scorer:
        raise UserError(
            f"{model}: holds a model that is no scorer, and would be replaced; "
            "choose another output"
        )
    if holds_scorer or holds_model:
        logger.warning("%s: holds a model already, which will be replaced", model)


def complete(output: Path) -> None:
    """Write the sums of a model from Python beside it, and remove what its training would go on from."""
    seal(output / "model")
    discard_checkpoint(output)


def _made_anew(output: Path) -> list[Path]:
    """Return the folders that are replaced or removed, with those by which `files` does so."""
    folders: list[Path] = []
    for name in MADE_ANEW:
        folders += files.names(output / name)
    return folders


def _lies_in(folder: Path, place: Path) -> bool:
    """Whether a folder is a place or lies in it, by whatever names they are called."""
    if not (folder.exists() and place.exists()):
        return False
    folder = folder.resolve()
    return any(place.samefile(parent) for parent in (folder, *folder.parents))


def check_place(model: str | Path, output: Path) -> None:
    """Refuse an output in which a training would replace files of others. Raises UserError."""
    source = user_path(model)
    if source.is_dir() and output.is_dir() and source.samefile(output):
        raise UserError(f"{output}: the output is the model's own folder; choose another")
    placed = _placed(output)
    for name in _files(output):
        if model_files.is_saved(name) and name not in placed:
            raise UserError(
                f"{output}: holds a model that no training put there ({name}); choose another output"
            )
    if placed:
        # What lies in the run's folder may be made anew now, and would no longer tell.
        _record(output, placed, _recorded(output))


def place(model: Path, output: Path) -> None:
    """Link the model's files into `output`, in place of those that an earlier training put there.

    Raises:
        UserError: a file that no training put there is in the way; the model is whole where it was
            trained.
    """
    trained = {name: file for name, file in _files(model).items() if file.is_file()}
    account = {"folder": str(output.resolve()), "files": sums.of_files(model, trained)}
    unchanged = set()
    for name, file in trained.items():
        if _identity(file) == _identity(output / name):
            unchanged.add(name)
    for name, file in _placed(output).items():
        if name not in unchanged:
            file.unlink()
    _record(output, trained, account)
    for name, file in trained.items():
        if name in unchanged:
            continue
        target = output / name
        if not target.exists():
            files.make_folder(target.parent)
            files.link(file, target)
        elif name != "README.md":
            # A README of the user's says more than a model card of ours.
            raise UserError(
                f"{target}: no training put this file there; move it away, "
                "and run the same command again"
            )


def _placed(output: Path) -> dict[str, Path]:
    """Return the files in `output` that a training placed there, by name.

    The record says so, or the run itself holds the same.
    """
    identities = _recorded(output).get(IDENTITIES)
    if not isinstance(identities, dict):
        identities = {}
    placed = {}
    for name, file in _files(output).items():
        identity = _identity(file)
        twins = output.glob(f"run/*/*/model/{glob.escape(name)}")
        known = [identities.get(name), *map(_identity, twins)]
        if identity is not None and identity in known:
            placed[name] = file
    return placed


def _recorded(output: Path) -> dict[str, Any]:
    """Return what `_record` wrote; empty where it is lost, or something else stands there."""
    return sums.read_sealed(output / PLACED) or {}


def _record(output: Path, placed: Mapping[str, Path], account: Mapping[str, Any]) -> None:
    """Write down which files were placed, beside what `sealed` looks at."""
    identities = {name: _identity(file) for name, file in placed.items()}
    content = {**account, IDENTITIES: identities}
    files.write_text(output / PLACED, sums.sealed_json(PLACED.name, content))


def _files(folder: Path) -> dict[str, Path]:
    """Return what lies directly in a folder, and a model's further chat templates there, by name."""
    if not folder.is_dir():
        return {}
    paths = sorted([*folder.iterdir(), *folder.glob(f"{model_files.TEMPLATES_FOLDER}/*.jinja")])
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _identity(file: Path) -> list[int] | None:
    """Return size and time of the last change, which links and copies of a file share.

    None where there is no plain file.
    """
    if file.is_symlink() or not file.is_file():
        return None
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]
