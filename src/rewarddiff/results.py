"""What a run, an evaluation and their side commands found: the dataclasses that are their files.

`results.json` of a run and of `eval` is `Results`, `best_of_n.json` is `BestOfResults`, and what
`designs` writes is `DesignResults`. Inside, an unknown figure is NaN; in a file it is `null`.
Reading is strict: every key has to be there, and no other.

Neither numpy nor pydantic is imported until something is read or written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from rewarddiff.errors import UserError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Kind = TypeVar("Kind")

RESULTS = "results.json"

AGAIN = "run the recipe again to write it anew"


@dataclass(frozen=True)
class NullFor:
    """Marks a float that a file holds as `null` where it is not finite, and what `null` means."""

    value: float

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        number_or_null = core_schema.nullable_schema(core_schema.float_schema())

        def read(value: float | None) -> float:
            return self.value if value is None else float(value)

        def write(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return core_schema.no_info_after_validator_function(
            read,
            number_or_null,
            serialization=core_schema.plain_serializer_function_ser_schema(
                write, return_schema=number_or_null
            ),
        )


Figure = Annotated[float, NullFor(math.nan)]
"""A number that may be unknown."""

UpperEnd = Annotated[float, NullFor(math.inf)]
"""The upper end of a range that may have none."""

CurveLine = Mapping[str, str | int | Figure]
"""What was measured at one step: `step`, `split`, `loss`, and the metrics of the objective."""

Curve = tuple[CurveLine, ...]

Settings = Mapping[str, Any]
"""A part of a recipe, as it was resolved."""


class Strict:
    """A part of a file in which no further key may stand."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012


# --- figures --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval(Strict):
    """A value, its 95 % confidence interval, and the number of observations behind it."""

    value: Figure
    low: Figure
    high: Figure
    n: int

    @classmethod
    def unbounded(cls, value: float, n: int = 0) -> Interval:
        """A value of whose spread nothing is known."""
        return cls(value, math.nan, math.nan, n)

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def excludes_zero(self) -> bool:
        return self.bounded and (self.low > 0 or self.high < 0)


UNKNOWN = Interval.unbounded(math.nan)


@dataclass(frozen=True)
class Bin(Strict):
    """Accuracy of the comparisons with low ≤ x < high; the last bin includes its upper end."""

    low: float
    high: UpperEnd
    accuracy: Interval


@dataclass(frozen=True)
class Histogram(Strict):
    """Counts between consecutive edges, and how many values are negative."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    negative: int


# --- an evaluation of a scorer --------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedOn(Strict):
    """What scorers were trained on, of the data they are measured on.

    Attributes:
        known: whether the scorers say what they were trained on; nothing else is known where they
            do not.
        prompts: those that one of them was trained on.
        left_out: whether figures leave them out, which needs others.
    """

    known: bool
    prompts: int
    left_out: bool


@dataclass(frozen=True)
class Overlap(TrainedOn):
    """The same of one scorer; `comparisons` of these prompts, ties among them."""

    comparisons: int


@dataclass(frozen=True, kw_only=True)
class Sizes(Strict):
    """How much a scorer was measured on.

    Attributes:
        n: comparisons that are decided. n_groups: their prompts.
        ties: of the data. undecided: differences of exactly 0.
    """

    trained_on: Overlap
    n: int
    n_groups: int
    ties: int
    undecided: int


@dataclass(frozen=True)
class ByLength(Strict):
    """Accuracy where the better response is the shorter or the longer one; how many are as long."""

    shorter: Interval
    longer: Interval
    equal: int


@dataclass(frozen=True)
class SubsetAccuracy(Strict):
    """Accuracy in a part of a collection; `first` as in `FirstOfList`."""

    subset: str
    accuracy: Interval
    first: Interval


@dataclass(frozen=True)
class FirstOfList(Strict):
    """Lists of three responses and more.

    Attributes:
        first: how often the scorer puts one of the data's best first.
        chance: how often a blind draw would.
        n: mean length of the lists.
        partial: lists left out, in which a best one was not compared with every other.
    """

    first: Interval
    chance: Figure
    n: Figure
    partial: int


@dataclass(frozen=True, kw_only=True)
class ByDifficulty(Strict):
    """Accuracy on RM-Bench by style: `hard` is where the wrong answer is the showier one."""

    easy: Interval
    normal: Interval
    hard: Interval
    average: Figure


@dataclass(frozen=True, kw_only=True)
class DomainAccuracy(ByDifficulty):
    domain: str


@dataclass(frozen=True, kw_only=True)
class RMBench(ByDifficulty):
    """RM-Bench's figures, see `evaluation.lists.rm_bench`.

    Attributes:
        matrix: share won by the right answer in the style of the row over the wrong one in the
            style of the column.
        partial: prompts left out, which lost a style.
    """

    matrix: tuple[tuple[Figure, ...], ...]
    by_domain: tuple[DomainAccuracy, ...]
    partial: int


@dataclass(frozen=True, kw_only=True)
class Agreement(Strict):
    """Figures that depend on the order of differences only, whatever their scale is.

    Attributes:
        by_strength: accuracy by the strength that the data states.
        spearman_strength: rank correlation of |d| with that strength.
        spearman_strength_oriented: of d, ties left out.
        subsets: parts of the collection. by_subset: accuracy in every one, where they are not too
            many. macro_accuracy: their mean.
        rm_bench: None for other data.
    """

    accuracy: Interval
    by_strength: tuple[Bin, ...]
    spearman_strength: Interval
    spearman_strength_oriented: Interval
    by_length: ByLength
    subsets: int
    by_subset: tuple[SubsetAccuracy, ...]
    macro_accuracy: Figure
    best_of_n: FirstOfList
    rm_bench: RMBench | None


@dataclass(frozen=True)
class ByOrder(Strict):
    """Accuracy of either reading, of the comparisons read in both orders."""

    forward: Figure
    backward: Figure


@dataclass(frozen=True)
class Calibrated(Strict):
    """What σ(d / T) is worth as a probability, at the temperature that the scorer keeps."""

    temperature: Figure
    nll: Figure
    ece: Figure


@dataclass(frozen=True)
class Antisymmetry(Strict):
    """|d(1,2) + d(2,1)|: mean, largest, and the mean relative to the mean |d|."""

    mean: Figure
    max: Figure
    relative: Figure


@dataclass(frozen=True)
class HeadSpread(Strict):
    """Whether the spread of d over a scorer's heads tells where it is wrong.

    Attributes:
        mean: mean standard deviation of d over the heads.
        auroc: how often a comparison that the scorer gets right has a larger |d| in units of its
            spread than one it gets wrong.
        auroc_alone: the same of |d| by itself; only above that do the heads tell something.
    """

    mean: Figure
    auroc: Figure
    auroc_alone: Figure


@dataclass(frozen=True)
class AspectAccuracy(Strict):
    """Accuracy on the part of an aspect: of its `own` head, and of all heads as `weighted`."""

    aspect: str
    own: Interval
    weighted: Interval


@dataclass(frozen=True)
class RewardHistograms(Strict):
    """Rewards of all responses compared; counts of the chosen and the rejected ones by edges."""

    mean: Figure
    std: Figure
    edges: tuple[float, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Baseline(Agreement):
    """The figures of a scorer that reads nothing."""

    nll: Figure
    ece: Figure


@dataclass(frozen=True)
class Baselines(Strict):
    """Scorers that read nothing.

    Attributes:
        longer_wins: accuracy of "the longer response is better".
        length: d is the difference of log lengths. constant: d is 0.
    """

    longer_wins: Interval
    length: Baseline
    constant: Baseline


@dataclass(frozen=True)
class Cut(Strict):
    """Of how many groups a prompt or a response was read in part."""

    prompt: int
    response: int


@dataclass(frozen=True, kw_only=True)
class Evaluation(Agreement, Sizes):
    """Every figure of a scorer on labelled comparisons, see `evaluation.scorers`.

    Attributes:
        mean, std, mean_abs: of d oriented by the label, logits. mean_abs_ties: of the data's ties.
        nll: mean of −log σ(d), nats.
        by_bin: accuracy by |d|.
        ece: expected calibration error of σ(d). temperature: T that calibrates σ(d / T) here.
        ece_tempered: the error at temperatures fitted on the other half of the prompts.
        histogram: of d, oriented by the label.
        cut: None where it was not counted.
    """

    accuracy_by_order: ByOrder
    mean: Figure
    std: Figure
    mean_abs: Figure
    mean_abs_ties: Figure
    nll: Figure
    by_bin: tuple[Bin, ...]
    ece: Figure
    temperature: Figure
    ece_tempered: Figure
    calibrated: Calibrated
    antisymmetry: Antisymmetry
    spread: HeadSpread
    by_aspect: tuple[AspectAccuracy, ...]
    rewards: RewardHistograms
    baselines: Baselines
    histogram: Histogram
    cut: Cut | None


# --- data and cost --------------------------------------------------------------------------------


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
    """The splits by name, the ledger of their data, and those of further test files by label."""

    splits: Mapping[str, SplitCounts]
    ledger: LedgerCounts
    tests: Mapping[str, LedgerCounts]


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
        """The cost that a `Meter` gave; only policies read a reference."""
        without = {"reference_seconds": math.nan, "reference_tokens": None}
        return read(cls, {**without, **figures})


@dataclass(frozen=True, kw_only=True)
class StageCost(Cost):
    stage: str


# --- a run ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScorerResult(Strict):
    """A scorer of one seed on one test.

    Attributes:
        name: the scorer's, with the test where that is not the run's own split.
        curve: of its training; empty where it was trained before, or the test is a further one.
    """

    name: str
    scorer: str
    test: str
    kind: str
    seed: int
    backbone: str
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
        effective_share: (Σ|w|)² / (n Σw²).
        spread, share_doubted: of a scorer with several heads.
    """

    n: int
    n_kept: int
    share_negative: Figure
    share_dropped: Figure
    share_flipped: Figure
    share_zero: Figure
    effective_share: Figure
    before: Distribution
    after: Distribution
    warnings: tuple[str, ...]
    spread: Distribution | None
    share_doubted: Figure


@dataclass(frozen=True)
class CoefficientResult(Strict):
    """The coefficients of a policy, and a histogram of the differences behind them."""

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
class SampleLengths(Strict):
    """A policy's samples: how many are empty, or cut at `max_new_tokens`, and their mean words."""

    policy: str
    seed: int
    n: int
    empty: int
    unfinished: int
    mean_words: Figure


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


@dataclass(frozen=True)
class PromptSamples(Strict):
    """A held-out prompt with every policy's response, and its reward under every scorer."""

    prompt: str
    responses: Mapping[str, str]
    rewards: Mapping[str, Mapping[str, Figure]]


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
    """A policy's mean reward by scorer, over seeds and prompts."""

    name: str
    seeds: int
    rewards: Mapping[str, Interval]


@dataclass(frozen=True)
class Summary(Strict):
    scorers: tuple[ScorerSummary, ...]
    policies: tuple[PolicySummary, ...]


@dataclass(frozen=True, kw_only=True)
class Results(Strict):
    """The content of `results.json`.

    Attributes:
        command: what made it. A run of a sweep has points for policies.
        recipe: as it was resolved; None of an evaluation.
        notes: sentences on what was found, and on what limits it.
        seconds: that all of it took.
    """

    schema: Literal[2] = 2
    command: Literal["run", "sweep", "eval"]
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
    samples: tuple[PromptSamples, ...]
    costs: tuple[StageCost, ...]
    summary: Summary
    notes: tuple[str, ...]
    seconds: Figure


# --- side commands --------------------------------------------------------------------------------


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


# --- reading and writing --------------------------------------------------------------------------


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what reads and writes a dataclass of this module, and gives its JSON Schema."""
    from pydantic import TypeAdapter

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def plain(result: Any) -> Any:
    """Return a dataclass of this module as JSON values: unknown figures are None."""
    return adapter(type(result)).dump_python(result, mode="json")


def read(kind: type[Kind], values: Any) -> Kind:
    """Return JSON values as a dataclass of this module. Raises pydantic's ValidationError."""
    result: Kind = adapter(kind).validate_python(values)
    return result


def read_results(folder: Path) -> Results:
    """Return what a finished run or evaluation wrote. Raises UserError."""
    from pydantic import ValidationError

    path = folder / RESULTS
    mend = "give the folder of a finished run"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; {mend}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {mend}") from None
    try:
        results: Results = adapter(Results).validate_json(text, strict=True)
    except ValidationError as error:
        raise UserError(f"{path}: {_cause(error)}; {AGAIN}") from None
    return results


def _cause(error: Any) -> str:
    """Say in a few words what is wrong with a file of results: of its errors, the telling one."""
    errors = error.errors(include_url=False, include_context=False)
    by_key = {".".join(map(str, one["loc"])): one for one in errors}
    if "schema" in by_key:
        return f"schema is {by_key['schema']['input']}, and this version reads 2"
    key, first = next(iter(by_key.items()))
    if first["type"] == "json_invalid":
        return f"is not JSON ({first['msg'].removeprefix('Invalid JSON: ')})"
    if not key:
        return "holds no results"
    if first["type"] == "missing":
        return f"{key} is missing"
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key} is a key that results do not have"
    return f"{key}: {first['msg']}"
