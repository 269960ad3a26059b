"""What a command has come to, to be compared with what it comes to when nothing happens: all but the moment."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import beside  # noqa: F401, it is what lets the others be found

from benchmarks.trace import differences

STORE = "store.sqlite"

NUMBERS = (".safetensors", ".npy", ".arrow")

OF_THE_MOMENT = (
    "manifest.json",
    "started.json",
    "metrics.jsonl",
    "results.json",
    "report.html",
    "cost-where-the-time-went.csv",
    STORE,
)
"""Files that tell when something was done and how long it took: what else they hold is compared."""

OF_ASKING = ("calls", "kept", "prompt_tokens", "completion_tokens", "price", "estimated_price")
"""What a judge was asked for: it is more where a kill lost answers."""


def fault(expected: Any, reached: Any) -> str:
    """Return in what two outcomes differ, but for what tells of the moment; "" where in nothing."""
    others = differences(expected, reached)
    return f"other results: {others[:3]}" if others else ""


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the names that have another value, or none before or after."""
    names = before.keys() | after.keys()
    return sorted(name for name in names if before.get(name) != after.get(name))


def hashed(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


def sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashed(path) for path in files}


def numbers(run: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of weights or numbers of a run.

    Not of what stages keep for each other: it is read only where they are made anew.
    """
    return {
        name: value
        for name, value in sums(run).items()
        if name.endswith(NUMBERS) and not name.startswith("cache/")
    }


def curves(folder: Path) -> dict[str, list[Any]]:
    """Return the metrics of every step of the trainings below a folder."""
    files = sorted(folder.rglob("metrics.jsonl"))
    return {path.relative_to(folder).as_posix(): _metrics(path) for path in files}


def _metrics(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(run: Path) -> Any:
    """Return the results of a run, wherever it lies, but for the costs: what is computed twice costs more."""
    content = _results(run / "results.json")
    del content["costs"]
    return content


def _results(file: Path) -> Any:
    content = json.loads(file.read_text())
    del content["sha256"]
    if content["recipe"] is not None:
        del content["recipe"]["output"]
    # They stand in order of time.
    content["costs"] = sorted(content["costs"], key=lambda cost: str(cost["stage"]))
    for use in content["judges"]["uses"]:
        for key in OF_ASKING:
            del use[key]
    return content


def everything(run: Path) -> dict[str, Any]:
    """Return what every file of a run holds, but for locks; and its folders."""
    contents: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_dir():
            contents[name] = "a folder"
        elif path.name in OF_THE_MOMENT:
            contents[name] = _lasting(path)
        elif not path.name.endswith("lock"):
            contents[name] = hashed(path)
    return contents


def _lasting(path: Path) -> Any:
    """Return what a file holds, without what it tells of the moment."""
    if path.name == STORE:
        return _kept(path)
    if path.name == "metrics.jsonl":
        return _metrics(path)
    if path.name == "results.json":
        return _results(path)
    if path.suffix in (".html", ".csv"):
        return "of times"
    content = json.loads(path.read_text())
    del content["sha256"]
    content.pop("judges", None)  # seconds by judge
    files = content.get("files", {})
    content["files"] = {name: held for name, held in files.items() if "metrics" not in name}
    return content


def _kept(store: Path) -> dict[str, Any]:
    """Return the values of a store by their keys, but for accounts of judges."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT key, value FROM kept").fetchall()
    values = {key: json.loads(value) for key, value in rows}
    return {key: value for key, value in values.items() if "estimated_price" not in str(value)}
