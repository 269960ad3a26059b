"""The content of best_of_n.json, and of what `rewarddiff designs` writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rewarddiff.results.evaluation import TrainedOn
from rewarddiff.results.fields import Figure, Interval, Settings, Strict
from rewarddiff.results.work import LedgerCounts


@dataclass(frozen=True)
class Pick(Strict):
    """Picks of the best of n by a scorer.

    Attributes:
        kl: nats from the policy.
        score: gain over one draw by the scorer that picks. gold: by the judge.
        wins: share of picks that the judge likes better than one draw more.
    """

    scorer: str
    n: int
    kl: float
    score: Interval
    gold: Interval
    wins: Interval


@dataclass(frozen=True)
class OverOptimisation(Strict):
    """The law gain = d(α − βd), d = √KL, of a scorer's picks.

    Attributes:
        peak: nats at which it turns; unknown beyond those that were measured.
        measured: nats of the largest n.
    """

    scorer: str
    alpha: Figure
    beta: Figure
    peak: Figure
    measured: float


@dataclass(frozen=True, kw_only=True)
class BestOfResults(Strict):
    """The content of `best_of_n.json`; `empty`: draws without a text."""

    schema: Literal[1] = 1
    version: str
    data: str
    model: str
    gold: str
    config: Settings
    prompts: int
    trained_on: TrainedOn
    ledger: LedgerCounts
    empty: int
    rows: tuple[Pick, ...]
    fits: tuple[OverOptimisation, ...]


@dataclass(frozen=True)
class ListSizes(Strict):
    mean: float
    least: int
    most: int


@dataclass(frozen=True, kw_only=True)
class DesignRow(Strict):
    """A design of comparisons by a method: means over seeds; see `scorers.ranking.DesignFigures`.

    Attributes:
        readings, tokens: of a list.
    """

    scorer: str
    design: Settings
    method: str
    readings: float
    tokens: Figure
    uncertainty: Figure
    inconsistency: Figure
    cyclic: Figure
    spearman: Figure
    kendall: Figure
    accuracy: Interval


@dataclass(frozen=True, kw_only=True)
class DesignResults(Strict):
    """What `rewarddiff designs` writes."""

    schema: Literal[1] = 1
    data: str
    seeds: int
    groups: int
    trained_on: TrainedOn
    responses: ListSizes
    rows: tuple[DesignRow, ...]
