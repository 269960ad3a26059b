"""What others may have left in the folder of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tiny import edit

from hostile_things.data import ENDLESS, database
from hostile_things.making import Change, Malice, Stock, malice

RUNS: dict[str, Change] = {}


def run(change: Change) -> Change:
    """Add what a function changes in a finished run."""
    RUNS[change.__name__] = change
    return change


@run
def manifest_that_names_a_device(folder: Path, stock: Stock) -> None:
    for manifest in folder.rglob("manifest.json"):
        reseal(manifest, files={"/dev/zero": [1, "0"], "../../../../etc/passwd": [1, "0"]})


@run
def sums_that_name_a_device(folder: Path, stock: Stock) -> None:
    for place in folder.rglob("model.safetensors"):
        target = place.parent / ".rewarddiff-sums.json"
        reseal(target, files={"/dev/zero": [1, "0"], "../../x": [1, "0"]})


@run
def store_with_a_view(folder: Path, stock: Stock) -> None:
    (folder / "store.sqlite").unlink(missing_ok=True)
    database(
        folder / "store.sqlite",
        f"CREATE VIEW kept AS {ENDLESS} SELECT i AS key, '1' AS value, '' AS sum FROM n",
    )


@run
def store_with_a_trigger(folder: Path, stock: Stock) -> None:
    database(
        folder / "store.sqlite",
        "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value TEXT NOT NULL, sum TEXT NOT NULL)",
        "CREATE TRIGGER evil AFTER INSERT ON kept BEGIN DELETE FROM kept; END",
    )


@run
def arrays_of_objects(folder: Path, stock: Stock) -> None:
    for path in folder.rglob("*.npy"):
        np.save(path, np.array([Malice(stock.ran)]), allow_pickle=True)


@run
def pickles_in_place_of_all(folder: Path, stock: Stock) -> None:
    for path in list(folder.rglob("*")):
        if path.is_file() and path.suffix in (".safetensors", ".npy", ".arrow", ".json"):
            malice(path, stock)


@run
def checkpoints_of_pickles(folder: Path, stock: Stock) -> None:
    for path in list(folder.glob("*/*")):
        if path.is_dir():
            (path / "checkpoint").mkdir(exist_ok=True)
            for name in ("state.json", "optimizer.pt", "model.safetensors", "random_states_0.pkl"):
                malice(path / "checkpoint" / name, stock)


@run
def results_with_classes(folder: Path, stock: Stock) -> None:
    edit(folder / "results.json", **{"__class__": "os.system", "py/object": "os.system"})


def reseal(path: Path, **changes: Any) -> None:
    """Change a sealed object, and seal it again: the sum is no secret."""
    from rewarddiff.sums import read_sealed, sealed_json

    content = (read_sealed(path) if path.exists() else None) or {}
    path.write_text(sealed_json(path.name, {**content, **changes}))
