"""Whether trainings go on from their last checkpoint, and whether it outlives a kill.

A training that starts anew ends as one that goes on does, so its end shows neither. A process tells here what it
begins, keeps and discards; the checkpoints that a kill has left are looked at by their own sums.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import compare

from rewarddiff import files
from rewarddiff.files import EARLIER
from rewarddiff.loop import checkpoint
from rewarddiff.loop.checkpoint import CHECKPOINT
from rewarddiff.loop.train import _Run
from rewarddiff.sums import SUMS

MANIFEST = "manifest.json"


class Note(NamedTuple):
    """What a training has just done: "begun", "kept" a checkpoint, or is about to do: "discarded" it.

    Attributes:
        step: that it began at, or that the checkpoint is of.
    """

    what: str
    training: str
    step: int


def tell(run: Path, file: Path) -> None:
    """Let this process write down what its trainings below a folder begin, keep and discard."""
    save, remove, resume = checkpoint.save, files.remove, _Run._resume

    def write(what: str, training: Path, step: int) -> None:
        with file.open("a") as lines:
            lines.write(json.dumps([what, training.relative_to(run).as_posix(), step]) + "\n")

    def kept(folder: Path, module: Any, optimizer: Any, state: dict[str, Any]) -> None:
        save(folder, module, optimizer, state)
        write("kept", folder.parent, state["step"])

    def removed(folder: Path) -> None:
        if folder.name == CHECKPOINT:
            write("discarded", folder.parent, 0)
        remove(folder)

    def resumed(training: _Run) -> int:
        start = resume(training)
        write("begun", training.output, start)
        return start

    checkpoint.save, files.remove = kept, removed
    _Run._resume = resumed  # type: ignore[method-assign]


def notes(file: Path) -> list[Note]:
    """Return what trainings have told until now."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [Note(*json.loads(line)) for line in lines]


def begun(notes: list[Note]) -> dict[str, int]:
    """Return the step that each training began at."""
    return {training: step for what, training, step in notes if what == "begun"}


def due(run: Path, trainings: dict[str, int]) -> dict[str, int]:
    """Return the step at which each training that is not finished has to begin now."""
    unfinished = [name for name in trainings if not (run / name / MANIFEST).exists()]
    return {name: max(0, held(run / name)) for name in unfinished}


def held(training: Path) -> int:
    """Return the step of the checkpoint that is there and whole, or of the one before it; −1: there is none."""
    for name in (CHECKPOINT, f"{EARLIER}{CHECKPOINT}"):
        folder = training / name
        if (folder / SUMS).exists() and _is_whole(folder):
            step: int = json.loads((folder / "state.json").read_text())["step"]
            return step
    return -1


def _is_whole(folder: Path) -> bool:
    sums = json.loads((folder / SUMS).read_text())["files"]
    files = {folder / name: hashed for name, (_, hashed) in sums.items()}
    return all(path.is_file() and compare.hashed(path) == hashed for path, hashed in files.items())


def lost(run: Path, notes: list[Note]) -> str:
    """Return which checkpoint that was kept is not there, nor a later one; or ""."""
    owed: dict[str, int] = {}
    for what, training, step in notes:
        if what == "kept":
            owed[training] = step
        elif what == "discarded":
            owed.pop(training, None)
    for training, step in owed.items():
        if held(run / training) < step:
            return f"the checkpoint of {training} after step {step} is lost"
    return ""
