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
    """Write the sums of a folder's files beside it, and where it lies: a copy is its owner's."""
    names = {f"{part.name}/{name}": held for name, held in of_folder(part).items()}
    content = {"folder": str(part.parent.resolve()), "files": names}
    files.write_text(part.with_name(SUMS), sealed_json(SUMS, content))


def unseal(part: Path) -> None:
    """Remove what `seal` has written of a folder, before something else takes its place."""
    account = part.with_name(SUMS)
    if _of_part(_files(read_sealed(account)), part.name):
        account.unlink()


def _accounts(place: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every folder that has the sums of a place, or of files in it, with these."""
    beside, stage = place.parent, read_sealed(place.with_name(MANIFEST))
    yield beside, _for_programs(_of_part(_files(stage), place.name))
    trained = read_sealed(place.with_name(SUMS))
    if _is_of(trained, beside):
        yield beside, _for_programs(_of_part(_files(trained), place.name))
    placed = read_sealed(place / PLACED)
    if _is_of(placed, place):
        yield place, _for_programs(_files(placed))


def _is_of(account: dict[str, Any] | None, folder: Path) -> bool:
    """Whether an account tells of a folder that lies where it was written, so of no copy."""
    return account is not None and account.get("folder") == str(folder)


def _of_part(held: dict[str, Any], part: str) -> dict[str, Any]:
    """Return the sums of a file, or of the files of a folder, by its name."""
    of_part = {}
    for file, its_sum in held.items():
        if file == part or file.startswith(f"{part}/"):
            of_part[file] = its_sum
    return of_part


def _files(account: dict[str, Any] | None) -> dict[str, Any]:
    """Return the sums of files in an account; empty where it has none."""
    held = (account or {}).get("files")
    return held if isinstance(held, dict) else {}


def _for_programs(written: dict[str, Any]) -> dict[str, Any]:
    """Return the sums of files that are not for people alone."""
    return {name: held for name, held in written.items() if not name.endswith(".md")}
