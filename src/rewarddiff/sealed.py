"""What was made, and is opened by its path: as it was written, or refused.

A run looks at its stages by itself. Here others do, who name a model or samples by where they lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rewarddiff import files
from rewarddiff.errors import UserError
from rewarddiff.sums import SUMS, fault, of_folder, read_sealed, sealed_json

MANIFEST = "manifest.json"
"""Written last by a stage: what it was made from, and the sums of all its files, under `files`."""

PLACED = Path("run") / "placed.json"
"""Written by `train` into its output: the sums of the files that it put there, under `files`, and under
`folder` where that was."""


def require_as_written(part: Path) -> None:
    """Refuse a file or a folder that is not as the manifest of its stage, or its training, says.

    What has no manifest of ours beside it, as a copy that lies elsewhere, is its owner's. A README may
    be changed, and files that were added are not looked at. In one process a file that nobody writes
    to is read once, however often it is asked for.

    Raises:
        UserError: names the file, and what differs.
    """
    place = part.resolve()  # what a link leads to; and the name of "."
    for folder, written in _accounts(place):
        differs = fault(folder, written)
        if differs:
            raise UserError(
                f"{part}: {differs}; run again what made it, or, where it was changed on purpose, "
                "give a copy that lies elsewhere"
            )


def seal(part: Path) -> None:
    """Write the sums of a folder's files beside it: a copy of the folder goes without them."""
    names = {f"{part.name}/{name}": held for name, held in of_folder(part).items()}
    files.write_text(part.with_name(SUMS), sealed_json(SUMS, {"files": names}))


def unseal(part: Path) -> None:
    """Remove what `seal` has written, before something else takes the folder's place."""
    part.with_name(SUMS).unlink(missing_ok=True)


def _accounts(place: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every folder that has the sums of a place, or of files in it, with these."""
    for name in (MANIFEST, SUMS):
        beside = _files(read_sealed(place.with_name(name)))
        of_place = {}
        for file, held in beside.items():
            if file == place.name or file.startswith(f"{place.name}/"):
                of_place[file] = held
        yield place.parent, _for_programs(of_place)
    placed = read_sealed(place / PLACED)
    if placed is not None and placed.get("folder") == str(place):
        yield place, _for_programs(_files(placed))


def _files(account: dict[str, Any] | None) -> dict[str, Any]:
    """Return the sums of files in an account; empty where it has none."""
    held = (account or {}).get("files")
    return held if isinstance(held, dict) else {}


def _for_programs(written: dict[str, Any]) -> dict[str, Any]:
    """Return the sums of files that are not for people alone."""
    return {name: held for name, held in written.items() if not name.endswith(".md")}
