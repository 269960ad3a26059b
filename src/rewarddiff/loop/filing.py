"""What is trained on, written to files once: into a cache, or a temporary folder."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rewarddiff import files
from rewarddiff.data.ledger import Ledger
from rewarddiff.machine import only_new_garbage
from rewarddiff.processes import once
from rewarddiff.sums import fault_of_sealed

logger = logging.getLogger(__name__)

LEDGER = "ledger.json"
"""What became of the groups that items were made of."""

LAYOUT = 1
"""Raised when what is written, or how, changes: earlier caches are then not read."""

Fill = Callable[[Path, Ledger], None]
"""Writes items into an empty folder, and counts what became of their groups."""


@dataclass(frozen=True)
class Place:
    """A folder that holds items.

    Attributes:
        keep: what lives as long as the folder is to be there.
    """

    folder: Path
    keep: object = None


def filed(fill: Fill, ledger: Ledger, cache: Path | None = None) -> Place:
    """Return a folder that `fill` has filled, now or in an earlier run.

    Args:
        ledger: what `fill` counts is added to it, also where that was earlier.
        cache: the folder, named by all that determines what is written; None: a temporary one,
            which goes with the place.
    """
    if cache is None:
        counts = Ledger()
        temporary = temporary_folder()
        with only_new_garbage():
            fill(Path(temporary.name), counts)
        ledger.merge(counts)
        return Place(Path(temporary.name), temporary)
    once(partial(_make, fill, cache))
    ledger.merge(Ledger.from_dict(json.loads((cache / LEDGER).read_text("utf-8"))))
    return Place(cache)


def _make(fill: Fill, folder: Path) -> None:
    """Fill a folder, unless it is there as it was written; it appears whole or not at all."""
    files.recover(folder)
    if folder.exists():
        fault = fault_of_sealed(folder)
        if not fault:
            return
        logger.warning("%s: %s: made anew", folder, fault)
    counts = Ledger()
    fresh = files.begin(folder)
    try:
        with only_new_garbage():
            fill(fresh, counts)
        files.write_text(fresh / LEDGER, json.dumps(counts.to_dict()))
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    files.replace(fresh, folder, sealed=True)


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that goes with the object."""
    return tempfile.TemporaryDirectory(prefix="rewarddiff-", ignore_cleanup_errors=True)
