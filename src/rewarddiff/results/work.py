"""What a run worked on, and what that cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewarddiff.results.fields import Figure, Strict
from rewarddiff.results.reading import read


@dataclass(frozen=True)
class Place(Strict):
    """Where a row was dropped or changed: `source` is "file:row"."""

    source: str
    id: str
    detail: str


@dataclass(frozen=True)
class Tally(Strict):
    """How often something happened to a row, and the first places."""

    count: int
    examples: tuple[Place, ...]


@dataclass(frozen=True)
class LedgerCounts(Strict):
    """What became of all rows, by reason; see `data.ledger`."""

    total: int
    kept: int
    dropped: Mapping[str, Tally]
    changed: Mapping[str, Tally]


@dataclass(frozen=True)
class SplitCounts(Strict):
    """Prompts, comparisons, and labels of single responses in a split."""

    groups: int
    comparisons: int
    labels: int


@dataclass(frozen=True)
class Data(Strict):
    """The splits by name, the ledger of their data, and those of further test files by label.

    Attributes:
        contents: of every test, a hash of what scorers were measured on.
        prompts: a hash of those that policies answered; empty where none were judged.
    """

    splits: Mapping[str, SplitCounts]
    ledger: LedgerCounts
    tests: Mapping[str, LedgerCounts]
    contents: Mapping[str, str]
    prompts: str


@dataclass(frozen=True, kw_only=True)
class Cost(Strict):
    """What a piece of work cost.

    Attributes:
        tokens: None where none were counted.
        reference_seconds, reference_tokens: of a policy's reference log-probabilities; unknown
            where there are none.
    """

    seconds: Figure
    tokens: int | None
    tokens_per_second: Figure
    peak_memory_bytes: int | None
    peak_gpu_memory_bytes: int | None
    reference_seconds: Figure
    reference_tokens: int | None

    @classmethod
    def measured(cls, figures: Mapping[str, Any]) -> Cost:
        """Return the cost that a `Meter` gave; only policies read a reference."""
        without = {"reference_seconds": math.nan, "reference_tokens": None}
        return read(cls, {**without, **figures})


@dataclass(frozen=True, kw_only=True)
class StageCost(Cost):
    stage: str
