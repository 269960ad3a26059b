"""A part of a finished stage that is opened by its path: as the stage wrote it, or refused.

A run looks at its stages by itself. Here others do, who name a model or samples by where they lie.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rewarddiff.errors import UserError
from rewarddiff.sums import fault, read_sealed

MANIFEST = "manifest.json"
"""Written last by a stage: what it was made from, and the sums of all its files, under `files`."""


def require_as_written(part: Path) -> None:
    """Refuse a file or a folder of a stage that is not as the manifest beside it says.

    What has no manifest of ours beside it, as a copy that lies elsewhere, is its owner's. A README may
    be changed, and files that were added are not looked at. In one process a file that nobody writes
    to is read once, however often it is asked for.

    Raises:
        UserError: names the file, and what differs.
    """
    place = part.resolve()  # what a link leads to; and the name of "."
    stage = place.parent
    differs = fault(stage, _written(stage, place.name))
    if differs:
        raise UserError(
            f"{part}: {differs}; run again what made it, or, where it was changed on purpose, "
            "give a copy that lies elsewhere"
        )


def _written(stage: Path, part: str) -> dict[str, Any]:
    """Return the sums of the files of a part; empty where no manifest of ours has them."""
    manifest = read_sealed(stage / MANIFEST) or {}
    files = manifest.get("files")
    if not isinstance(files, dict):
        return {}
    written = {}
    for name, held in files.items():
        is_of_part = name == part or name.startswith(f"{part}/")
        if is_of_part and not name.endswith(".md"):
            written[name] = held
    return written
