"""Stages map files to files.

Each writes one directory; its manifest, written last, says what it was made from.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rewarddiff import __version__, files, launch, sums
from rewarddiff.differences import Array
from rewarddiff.differing import differing
from rewarddiff.loop.checkpoint import CHECKPOINT, discard_checkpoint, holds_checkpoint
from rewarddiff.outputs import foreign
from rewarddiff.processes import once
from rewarddiff.results import RESULTS, Results, plain
from rewarddiff.sealed import MANIFEST
from rewarddiff.store import fingerprint, finite

logger = logging.getLogger(__name__)

STARTED = "started.json"
"""Written first: what a directory is being made from."""

NOTES = (MANIFEST, STARTED, f"{files.FRESH}{MANIFEST}", f"{files.FRESH}{STARTED}")
"""What a stage writes for itself; the latter two are what a kill may leave."""

WRITTEN = (
    "model", "metrics.jsonl", "logs", "value_head.safetensors", "baseline.jsonl", "baseline.html",
    "baseline-figures", "comparisons.json", "train.npy", "dev.npy", "scores.npy", "samples.json",
    "rewards.json", "verdicts.jsonl",
)  # fmt: skip
"""Files and folders that stages make in their folders; what has another name there is somebody else's."""


class Stage:
    """One directory of a run.

    The same inputs again: nothing is done. Other inputs, or a file that is lost: the directory is
    made anew. The same inputs after an interruption: what is there (a checkpoint) is kept and gone
    on from.

    Attributes:
        done: whether the directory is complete; `manifest` then holds what `finish` was given.
        anew: why a directory that was complete, or begun, is made anew; empty where there was none.
    """

    def __init__(self, folder: Path, name: str, inputs: dict[str, Any]) -> None:
        self.folder = folder
        self.name = name
        self.inputs = _inputs(name, inputs)
        self.key = fingerprint(self.inputs)
        self.manifest: dict[str, Any] = {}
        self.anew = ""
        # Of several processes the main one looks, and clears the place, for all.
        self.manifest, self.anew = once(self._looked_up)
        self.done = bool(self.manifest)

    def _looked_up(self) -> tuple[dict[str, Any], str]:
        """Return the manifest of a directory that is complete, empty where it is to be made; and why anew."""
        self.manifest = self.found(self.folder)
        if self.manifest:
            if self.manifest.get("key") != self.key:
                self.anew = "its inputs are not those of the earlier run" + self._others(
                    self.manifest
                )
            else:
                self.anew = sums.fault(self.folder, _needed(self.manifest))
        if not self.manifest or self.anew:
            self._begin()
        elif "files" in self.manifest:
            self._complete_started()
            discard_checkpoint(self.folder)
        return self.manifest, self.anew

    def _complete_started(self) -> None:
        """Write the second file of `finish` where a kill came between the two, or it was damaged since."""
        started = sums.read_sealed(self.folder / STARTED)
        if started is None:
            cause = "is lost, or does not hold what was written to it"
            logger.warning("%s: %s %s: written anew", self.folder, STARTED, cause)
        if started is None or "files" not in started:
            self._say_who_wrote()

    def _begin(self) -> None:
        files.sweep_up(self.folder.parent)
        started = _read(self.folder / STARTED)
        was_complete = (self.folder / MANIFEST).exists() or "files" in started
        if was_complete and not self.manifest:
            self.anew = f"{MANIFEST} is lost, or does not hold what was written to it"
        elif not (self.anew or started) and (self.folder / STARTED).exists():
            self.anew = f"{STARTED} does not hold what was written to it"
        elif not (self.anew or started) and holds_checkpoint(self.folder):
            self.anew = f"{STARTED} is lost"
        is_of_this = started.get("key") == self.key
        if started and not (self.anew or is_of_this):
            self.anew = "it was begun with other inputs" + self._others(started)
        if was_complete or not is_of_this:
            self._clear(_written(self.folder))
        files.make_folder(self.folder)
        _write_note(self.folder / STARTED, {"key": self.key, "inputs": self.inputs})
        self.manifest = {}

    def _others(self, note: Mapping[str, Any]) -> str:
        """Return behind a colon what the inputs in a note differ in from these."""
        now = json.loads(json.dumps(finite(self.inputs), default=str))
        others = differing(note.get("inputs", {}), now)
        return f": {others}" if others else ""

    def finish(self, **outputs: Any) -> dict[str, Any]:
        """Declare the directory complete; the other processes wait until it is."""
        self.manifest = once(lambda: self._finished(outputs))
        self.done = True
        return self.manifest

    def _finished(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        files.sync_all(self.folder)
        held = sums.of_files(self.folder, _names(self.folder))
        as_lists = {name: list(held_by_one) for name, held_by_one in held.items()}
        written = {"key": self.key, "inputs": self.inputs, "files": as_lists}
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.manifest = {**written, "created": created, **outputs}
        _write_note(self.folder / MANIFEST, self.manifest)
        self._say_who_wrote()
        discard_checkpoint(self.folder)
        return self.manifest

    def _say_who_wrote(self) -> None:
        """Write down who wrote all the files, should the manifest be lost."""
        written = {name: self.manifest[name] for name in ("key", "inputs", "files")}
        _write_note(self.folder / STARTED, written)

    def _clear(self, written: Collection[str] | None) -> None:
        """Remove what an earlier run left; `written` are the files of a complete one, see `_foreign`.

        Raises:
            UserError: there is something here that no stage wrote.
        """
        if self.folder.exists():
            names = {file.name for file in self.folder.iterdir()}
            if names and names.isdisjoint(NOTES) and not holds_checkpoint(self.folder):
                raise foreign(self.folder)
        for name in _foreign(self.folder, written):
            raise foreign(self.folder, name)
        files.remove(self.folder)

    @staticmethod
    def found(folder: Path) -> dict[str, Any]:
        """Return the manifest of a directory that was finished; empty where there is none."""
        return _read(folder / MANIFEST)

    @staticmethod
    def key_of(name: str, inputs: dict[str, Any]) -> str:
        """Return the key of a stage with these inputs."""
        return fingerprint(_inputs(name, inputs))


def _inputs(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"stage": name, "version": __version__, **inputs}


def _names(folder: Path) -> set[str]:
    """Return the path of every file that a stage wrote below its folder, but for its notes and checkpoint."""
    names = set()
    for path in _paths(folder):
        is_hidden = any(part.startswith(".") for part in path.parts)
        if path.parts[0] in WRITTEN and not is_hidden:
            names.add(path.as_posix())
    return names


def _foreign(folder: Path, written: Collection[str] | None) -> list[str]:
    """Return the path of every file below a stage's folder that no stage wrote.

    Args:
        written: the files that one did; None: that is not known, and names tell.
    """
    names = []
    for path in _paths(folder):
        top, name = path.parts[0], path.as_posix()
        if top in (*NOTES, CHECKPOINT) or any(map(files.is_passing, path.parts)):
            continue
        is_of_a_stage = top in WRITTEN if written is None else name in written
        if not is_of_a_stage:
            names.append(name)
    return sorted(names)


def _paths(folder: Path) -> Iterator[Path]:
    """Yield the path of every file below a folder."""
    for file in folder.rglob("*"):
        if file.is_file():
            yield file.relative_to(folder)


def _written(folder: Path) -> set[str] | None:
    """Return the files that a stage of this folder wrote, by its notes, which need not be whole; None: unknown.

    Either note may be damaged in a name, so what one of them has is known.
    """
    written: set[str] = set()
    is_known = False
    for name in (MANIFEST, STARTED):
        try:
            written.update(sums.read_json(folder / name)["files"])
            is_known = True
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return written if is_known else None


def _needed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sums of the files that later stages need."""
    written = manifest.get("files", {})
    return {name: held for name, held in written.items() if not _for_people(name)}


def _for_people(name: str) -> bool:
    """Whether a file may be changed or deleted: people read it."""
    return name.endswith(".md") or name.startswith(("metrics.jsonl", "logs/"))


def _read(path: Path) -> dict[str, Any]:
    """Return what `_write_note` wrote; empty where it is lost, or something else stands there."""
    return sums.read_sealed(path) or {}


def _write_note(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object with its own sum."""
    files.write_text(path, sums.sealed_json(path.name, finite(content), indent=1))


def write_json(path: Path, content: Any) -> None:
    """Write atomically; NaN and infinities, which JSON does not have, become null.

    Of several processes, which have the same to write, the main one does.
    """
    if not launch.is_main():
        return
    text = json.dumps(finite(content), indent=1, default=str, allow_nan=False)
    files.write_text(path, f"{text}\n")


def write_results(folder: Path, results: Results) -> None:
    """Write `results.json`, with the sum of all else in it, as `write_json` writes."""
    if launch.is_main():
        _write_note(folder / RESULTS, plain(results))


def write_array(path: Path, array: Array) -> None:
    """Write numbers as a .npy file, as `write_json` writes."""
    if launch.is_main():
        with files.written(path, array.nbytes) as fresh:
            np.save(fresh, array, allow_pickle=False)
