"""Every figure of a scorer on labelled comparisons."""

from __future__ import annotations

from dataclasses import dataclass

from rewarddiff.results.fields import Bin, Figure, Histogram, Interval, Strict


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
        unscored: comparisons, ties among them, of which the scorer says nothing; they are in no other
            figure.
    """

    trained_on: Overlap
    n: int
    n_groups: int
    ties: int
    undecided: int
    unscored: int


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
