"""What the offline questions have measured on a transformer, as it stands in its JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rewarddiff import files
from rewarddiff.lab.online.results import Point
from rewarddiff.results.fields import Settings, Strict
from rewarddiff.results.reading import plain, read

FILE = "lab-offline.json"


@dataclass(frozen=True)
class OfflineTrained(Strict):
    """One policy.

    Attributes:
        line: what was made of the scorer's differences; "" is plain DPO.
        quality: of the scorer, its correlation with the true difference.
        curve: from the start to the end of training.
    """

    line: str
    quality: float
    curve: tuple[Point, ...]


@dataclass(frozen=True)
class OfflineWorld(Strict):
    """Everything in the world of one seed.

    Attributes:
        equal: the share of comparisons whose responses are equally good.
        wrong: the share of the others whose label prefers the worse response.
        plain: DPO on the comparisons as they are labelled. ways: the others.
        seconds: of a processor.
    """

    seed: int
    equal: float
    wrong: float
    plain: OfflineTrained
    ways: tuple[OfflineTrained, ...]
    seconds: float


@dataclass(frozen=True)
class OfflineLab(Strict):
    """Everything that one run has measured."""

    version: str
    config: Settings
    worlds: tuple[OfflineWorld, ...]


def write_offline(results: OfflineLab, folder: Path) -> Path:
    """Write `folder/lab-offline.json`, and return its path."""
    path = folder / FILE
    files.write_text(path, json.dumps(plain(results), indent=1) + "\n")
    return path


def read_offline(path: Path) -> OfflineLab:
    """Return what `write_offline` has written."""
    return read(OfflineLab, json.loads(path.read_text()))
