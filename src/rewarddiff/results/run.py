"""The content of results.json, of a run and of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rewarddiff.results.evaluation import Evaluation
from rewarddiff.results.fields import (
    UNKNOWN,
    Curve,
    Figure,
    Histogram,
    Interval,
    Settings,
    Strict,
)
from rewarddiff.results.win_rates import JudgeResults
from rewarddiff.results.work import Cost, Data, LedgerCounts, StageCost


@dataclass(frozen=True)
class ScorerResult(Strict):
    """A scorer of one seed on one test.

    Attributes:
        name: the scorer's, with the test where that is not the run's own split.
        fingerprint: a hash of what determines its answers: equal ones answer alike.
        curve: of its training; empty where it was trained before, or the test is a further one.
    """

    name: str
    scorer: str
    test: str
    kind: str
    seed: int
    backbone: str
    fingerprint: str
    evaluation: Evaluation
    curve: Curve
    cost: Cost
    ledger: LedgerCounts


@dataclass(frozen=True)
class ScorerContrast(Strict):
    """Two scorers on the comparisons that neither was trained on: figures of a less those of b.

    Attributes:
        gap: in accuracy. spearman_gap: in the correlation with the strength of the data.
        p: of a test that flips the signs of prompts' gaps; unknown over several seeds.
    """

    a: str
    b: str
    test: str
    gap: Interval
    spearman_gap: Interval
    p: Figure


@dataclass(frozen=True)
class OrderResult(Strict):
    """Lists that a scorer put in order for a policy, see `scorers.ranking.Consistency`."""

    policy: str
    seed: int
    scorer: str
    method: str
    groups: int
    readings: int
    inconsistency: Figure
    cyclic: Figure
    triples: int
    agreement: Figure
    comparisons: int


@dataclass(frozen=True)
class Distribution(Strict):
    """Mean, standard deviation and quantiles, by their share as text: "0.05"."""

    mean: Figure
    std: Figure
    quantiles: Mapping[str, Figure]


@dataclass(frozen=True, kw_only=True)
class CoefficientReport(Strict):
    """What became of the pairs, and how their weights are spread; see `coefficients`.

    Attributes:
        before: of the differences. after: of the weights of the pairs that are kept.
        n: pairs asked about. share_unscored: of these, those of which the scorer says nothing; the
            other shares and the distributions leave them out.
        effective_share: (Σ|w|)² / (n Σw²).
        spread, share_doubted: of a scorer with several heads.
    """

    n: int
    n_kept: int
    share_negative: Figure
    share_dropped: Figure
    share_flipped: Figure
    share_zero: Figure
    share_unscored: Figure
    effective_share: Figure
    before: Distribution
    after: Distribution
    warnings: tuple[str, ...]
    spread: Distribution | None
    share_doubted: Figure


@dataclass(frozen=True)
class CoefficientResult(Strict):
    """The coefficients of a policy, and a histogram of the differences behind them.

    Of coefficients that the data brings nothing else is known: the histogram is their own.
    """

    policy: str
    seed: int
    report: CoefficientReport
    histogram: Histogram


@dataclass(frozen=True)
class PolicyResult(Strict):
    """A policy of one seed, with its columns as the recipe asks for them."""

    name: str
    seed: int
    objective: str
    coefficient: Settings | None
    order: Settings | None
    strength: Settings | None
    curve: Curve
    cost: Cost
    ledger: LedgerCounts

    @property
    def samples_itself(self) -> bool:
        """Whether it learned from its own samples: its curve tells how long they were."""
        return any("completions/mean_length" in line for line in self.curve)


@dataclass(frozen=True)
class RewardMean(Strict):
    """Mean reward of a policy's samples under a scorer.

    Attributes:
        used_in_training: whether the scorer, or one of the same start, had a part in training the
            policy: it is no independent judge then.
    """

    policy: str
    seed: int
    scorer: str
    used_in_training: bool
    mean: Interval


@dataclass(frozen=True)
class RewardDistribution(Strict):
    """How the rewards of a policy's samples under a scorer are spread; every one is counted.

    Attributes:
        histogram: its edges are the same for all policies under one scorer of one seed.
    """

    policy: str
    seed: int
    scorer: str
    spread: Distribution
    histogram: Histogram


@dataclass(frozen=True)
class SampleLengths(Strict):
    """A policy's samples: how many are empty, or cut at `max_new_tokens`, and their mean words."""

    policy: str
    seed: int
    n: int
    empty: int
    unfinished: int
    mean_words: Figure


SCHEMA: Literal[5] = 5
"""Raised when a key of results.json comes or goes, or means something else."""

ELSEWHERE = "trained"
"""The key in which two policies differ where one or both were trained elsewhere: all that is known."""

WEIGHTS_OF_DATA = "coefficient.source"
"""The key that stands where the data brings the coefficients of one or both: whose they are is not
known."""


@dataclass(frozen=True)
class Unequal(Strict):
    """A dotted key of the recipe, or an amount of training, in which two policies differ."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Contrast(Strict):
    """Two policies under one scorer, for one seed or over all of them.

    Attributes:
        used_in_training: as in `RewardMean`, of either policy.
        unequal: in what their training differs, besides coefficient, strength and order.
        mean_gap: mean reward of a less that of b.
        win, tie, lose: shares of the prompts.
        rate: wins and half of the ties.
    """

    a: str
    b: str
    scorer: str
    used_in_training: bool
    unequal: tuple[Unequal, ...]
    seed: int | Literal["all"]
    mean_gap: Interval
    win: Figure
    tie: Figure
    lose: Figure
    rate: Interval = UNKNOWN


Outcome = Literal["win", "tie", "lose", "unscored"]
"""What a judge says of a policy against another."""


@dataclass(frozen=True)
class PromptSamples(Strict):
    """A held-out prompt with every policy's response, and its reward under every scorer.

    Attributes:
        verdicts: by judge, of the two policies of the first of `judges.win_rates`, or of the first
            two responses where there is none; empty where nobody judged.
    """

    prompt: str
    responses: Mapping[str, str]
    rewards: Mapping[str, Mapping[str, Figure]]
    verdicts: Mapping[str, Outcome] = field(default_factory=dict)


Extreme = Literal["largest", "median", "smallest"]
"""Which gain of all."""


@dataclass(frozen=True)
class CaseStudy(Strict):
    """A held-out prompt that is picked by what one policy gains on another there.

    Attributes:
        used_in_training: as in `Contrast`, of the scorer that picks.
        pick: whose gain is the largest, the median or the smallest of all held-out prompts.
        gain: reward of a less that of b.
    """

    a: str
    b: str
    scorer: str
    used_in_training: bool
    seed: int
    pick: Extreme
    gain: Figure
    sample: PromptSamples


@dataclass(frozen=True)
class ScorerSummary(Strict):
    """A scorer on one test over all seeds; figures without an interval are means over seeds."""

    name: str
    kind: str
    seeds: int
    accuracy: Interval
    spearman_strength: Interval
    spearman_strength_oriented: Figure
    ece: Figure
    temperature: Figure
    ece_tempered: Figure
    mean: Figure
    std: Figure
    antisymmetry: Figure
    longer_wins: Interval


@dataclass(frozen=True)
class PolicySummary(Strict):
    """A policy's mean reward by scorer, over seeds and prompts.

    Attributes:
        trained: the folder of one that was trained elsewhere; None of the others.
    """

    name: str
    seeds: int
    rewards: Mapping[str, Interval]
    trained: str | None


@dataclass(frozen=True)
class Summary(Strict):
    scorers: tuple[ScorerSummary, ...]
    policies: tuple[PolicySummary, ...]


@dataclass(frozen=True, kw_only=True)
class Results(Strict):
    """The content of `results.json`.

    Attributes:
        command: what made it.
        recipe: as it was resolved; None of an evaluation.
        judges: what judges and people say of policies, held against each other.
        samples: of the first held-out prompts. cases: of those that gains pick out.
        notes: sentences on what was found, and on what limits it.
        seconds: that all of it took.
        sha256: the sum of all else in the file; "" until it is written.
    """

    schema: Literal[5] = SCHEMA
    command: Literal["run", "eval", "judge"]
    name: str
    version: str
    created: str
    recipe: Settings | None
    machine: Mapping[str, Any]
    data: Data
    scorers: tuple[ScorerResult, ...]
    scorer_contrasts: tuple[ScorerContrast, ...]
    orders: tuple[OrderResult, ...]
    coefficients: tuple[CoefficientResult, ...]
    policies: tuple[PolicyResult, ...]
    rewards: tuple[RewardMean, ...]
    lengths: tuple[SampleLengths, ...]
    contrasts: tuple[Contrast, ...]
    judges: JudgeResults
    samples: tuple[PromptSamples, ...]
    reward_distributions: tuple[RewardDistribution, ...] = ()
    cases: tuple[CaseStudy, ...] = ()
    costs: tuple[StageCost, ...]
    summary: Summary
    notes: tuple[str, ...]
    seconds: Figure
    sha256: str = ""
