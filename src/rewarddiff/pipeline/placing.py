"""The model that `rewarddiff train` makes, placed in the folder that the user named, which may hold other things."""

from __future__ import annotations

import glob
import json
from pathlib import Path

from rewarddiff import files
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path
from rewarddiff.pipeline.stage import write_json

RECORD = Path("run") / "placed.json"
"""The size and time of every file that a training placed in its output, by name."""

OF_A_MODEL = ("config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""Files besides the weights by which a folder is seen to hold a model."""


def check_place(model: str | Path, output: Path) -> None:
    """Refuse an output in which a training would replace files that no earlier one placed there. Raises UserError."""
    source = user_path(model)
    if source.is_dir() and output.is_dir() and source.samefile(output):
        raise UserError(f"{output}: the output is the model's own folder; choose another")
    placed = _placed(output)
    for file in sorted(output.iterdir()) if output.is_dir() else ():
        of_a_model = file.suffix == ".safetensors" or file.name in OF_A_MODEL
        if of_a_model and file not in placed:
            raise UserError(f"{output}: holds a model that no training put there ({file.name}); choose another output")
    if placed:  # what lies in the run's folder may be made anew now, and would no longer tell
        write_json(output / RECORD, {file.name: _identity(file) for file in placed})


def place(model: Path, output: Path) -> None:
    """Link the model's files into `output`, in place of those that an earlier training put there.

    Raises:
        UserError: a file that no training put there is in the way; the model is whole where it was trained.
    """
    made = [file for file in sorted(model.iterdir()) if file.is_file()]
    kept = [file.name for file in made if _identity(file) == _identity(output / file.name)]
    for file in _placed(output):
        if file.name not in kept:
            file.unlink()
    write_json(output / RECORD, {file.name: _identity(file) for file in made})
    for file in made:
        target = output / file.name
        if target.exists() and file.name not in kept:
            if file.name == "README.md":  # the user's own says more than a model card of ours
                continue
            raise UserError(f"{target}: no training put this file there; move it away, and run the same command again")
        if file.name not in kept:
            files.link(file, target)


def _placed(output: Path) -> list[Path]:
    """The files directly in `output` that a training placed there: the record, or the run itself, holds the same."""
    try:
        record = json.loads((output / RECORD).read_text())
    except (OSError, ValueError):
        record = {}
    placed = []
    for file in sorted(output.iterdir()) if output.is_dir() else ():
        recorded = [record.get(file.name)] if isinstance(record, dict) else []
        made = [_identity(twin) for twin in output.glob(f"run/*/*/model/{glob.escape(file.name)}")]
        if (identity := _identity(file)) is not None and identity in recorded + made:
            placed.append(file)
    return placed


def _identity(file: Path) -> list[int] | None:
    """Size and time of the last change, which links and copies of a file share; None where there is no plain file."""
    if file.is_symlink() or not file.is_file():
        return None
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]
