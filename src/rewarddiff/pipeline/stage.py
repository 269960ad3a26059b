"""Stages map files to files. Each writes one directory; its manifest, written last, says what it was made from."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

from rewarddiff import __version__
from rewarddiff.errors import UserError
from rewarddiff.store import fingerprint


class Stage:
    """One directory of a run.

    The same inputs again: nothing is done. Other inputs: the directory is made anew. The same inputs after an
    interruption: what is there (a checkpoint) is kept and gone on from.

    Attributes:
        done: whether the directory is complete; `manifest` then holds what `finish` was given.
        replaced: whether a complete directory, made from other inputs, was removed.
    """

    def __init__(self, folder: Path, name: str, inputs: dict[str, Any]) -> None:
        self.folder, self.name = folder, name
        self.inputs = {"stage": name, "version": __version__, **inputs}
        self.key = fingerprint(self.inputs)
        self.manifest = self.found(folder)
        self.done = self.manifest.get("key") == self.key
        self.replaced = bool(self.manifest) and not self.done
        if not self.done:
            if _read(folder / "started.json").get("key") != self.key:
                self._clear()
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "started.json", {"key": self.key, "inputs": self.inputs})
            self.manifest = {}

    def finish(self, **outputs: Any) -> dict[str, Any]:
        """Declare the directory complete."""
        self.manifest = {
            "key": self.key,
            "inputs": self.inputs,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **outputs,
        }
        write_json(self.folder / "manifest.json", self.manifest)
        (self.folder / "started.json").unlink(missing_ok=True)
        self.done = True
        return self.manifest

    def _clear(self) -> None:
        """Remove what an earlier run left: a folder that holds a stage's file.

        Raises:
            UserError: there is something here that no stage wrote.
        """
        ours = any((self.folder / name).exists() for name in ("manifest.json", "started.json"))
        if self.folder.exists() and any(self.folder.iterdir()) and not ours:
            raise UserError(f"{self.folder}: holds files that no run wrote; choose another output, or move them away")
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def found(folder: Path) -> dict[str, Any]:
        """The manifest of a complete directory; empty where there is none."""
        return _read(folder / "manifest.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


def write_json(path: Path, content: Any) -> None:
    """Write atomically; NaN and infinities, which JSON does not have, become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(_finite(content), indent=1, default=str, allow_nan=False) + "\n")
    os.replace(fresh, path)


def _finite(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numbers and arrays of numpy
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
