"""What a scorer is worth: every figure on its differences over a held-out set, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewarddiff.coefficients import both_orders
from rewarddiff.evaluation import metrics
from rewarddiff.evaluation.correlations import resampled, spearman_interval
from rewarddiff.records import STYLES

Array = NDArray[np.float64]

MAX_LEVELS = 10
"""Up to so many distinct strengths each is its own level; beyond, the strengths are cut at their
quintiles."""

MAX_SUBSETS = 50
"""Beyond so many a column does not name parts of a collection."""

FOLDS = 10
"""Parts of the prompts, each of which is left out once when a temperature is tried."""


@dataclass(frozen=True, slots=True)
class ScoredComparison:
    """A labelled comparison and what the scorer said of it.

    Attributes:
        group: id of the prompt with these responses.
        d: d(x, chosen, rejected) in logits; of a reward model r(x, chosen) − r(x, rejected).
        strength: what the data says of how much, 0 a tie, None unknown.
        chosen_length: of the chosen response, in one unit throughout (characters or tokens).
        rejected_length: of the rejected one.
        d_swapped: d(x, rejected, chosen) as read, not oriented; None where one reading is
            antisymmetric by itself.
        pair: places of the chosen and the rejected response in their group.
        rewards: r(x, chosen) and r(x, rejected); None of a difference model.
        subset: the part of its collection that the prompt is from.
        prompt: the same for groups of the same prompt; empty: the group's id.
        styles: of the chosen and of the rejected response, each one of `STYLES`; None where
            unknown.
        spread: standard deviation of d over the scorer's heads; None where it has one.
        aspect: d of the head for the comparison's own part; None of a scorer that has none for it.
        trained_on: whether the scorer was trained on this prompt; None where that is not known.
    """

    group: str
    d: float
    chosen_length: int
    rejected_length: int
    strength: float | None = None
    d_swapped: float | None = None
    pair: tuple[int, int] = (0, 1)
    rewards: tuple[float, float] | None = None
    subset: str = ""
    prompt: str = ""
    styles: tuple[str, str] | None = None
    spread: float | None = None
    aspect: float | None = None
    trained_on: bool | None = None

    @property
    def cluster(self) -> str:
        """Of one prompt: comparisons that are resampled together, and whose halves share a
        temperature."""
        return self.prompt or self.group

    @property
    def difference(self) -> float:
        """d as read, or d̄ of both orders where both were read."""
        return self.d if self.d_swapped is None else float(both_orders(self.d, self.d_swapped))


def evaluate_differences(
    comparisons: Sequence[ScoredComparison],
    *,
    temperature: float | None = None,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Every figure on the differences, as plain JSON values; None stands for NaN (no data).

    A comparison read in both orders enters with d̄ = ½(d − d_swapped). Comparisons that the data
    calls ties have no right answer: they are counted, enter only `spearman_strength`, and
    `mean_abs_ties` says how decided the scorer was on them. Intervals are 95 %: bootstrap over
    prompts, with the floor of `metrics.all_alike` where all resamples are alike, or Wilson in the
    tables by bin, which treats comparisons as independent. The temperature is fitted on all
    comparisons; `ece_tempered` divides each by a temperature fitted on the other half of the
    prompts, so that no comparison is judged by a temperature it helped to fit. Both are None where
    comparisons do not tell a temperature.

    Comparisons of prompts that the scorer was trained on are left out, unless there are no others.

    Args:
        temperature: of the scorer, fitted on other comparisons.

    Keys:
        trained_on: see `overlap`.
        n, n_groups, ties, undecided: decided comparisons, their prompts, ties of the data,
            differences of exactly 0.
        accuracy: {value, low, high, n}; accuracy_by_order: {forward, backward} of the comparisons
            read twice.
        mean, std, mean_abs, mean_abs_ties, nll: of d oriented by the label; nll in nats.
        by_bin: accuracy by |d|, see `metrics.bin_edges`; by_strength: by what the data says; [{low,
            high, accuracy}], high None where the bin has no upper end.
        ece, temperature, ece_tempered.
        calibrated: temperature, the scorer's own, and nll and ece of σ(d / T), the probability that
            it gives.
        antisymmetry: {mean, max, relative}, None values where nothing was read twice.
        spearman_strength: of |d| with strength, {value, low, high, n}; spearman_strength_oriented:
            of d, ties left out.
        by_length: accuracy where the better response is the shorter, or the longer one, and how
            many are as long.
        subsets: parts of the collection; by_subset: accuracy in every one where there are 2 to
            `MAX_SUBSETS`, with `first` as in best_of_n, and `macro_accuracy`, their mean.
        by_aspect: of a scorer with aspects, for each that the data has a part of: `own`, the
            accuracy there of its own head, and `weighted`, that of d.
        best_of_n: of lists of three and more: how often the scorer puts one of the data's best
            first, `chance` how often a blind draw would, the mean length `n` of the lists, and how
            many `partial` ones were left out.
        rm_bench: of RM-Bench: see `_rm_bench`; empty for other data.
        spread: of a scorer with several heads: mean, the mean standard deviation of d over them;
            auroc, how often a comparison that it gets right has a larger |d| in units of its spread
            than one it gets wrong (½: the ratio says nothing), with auroc_alone, the same of |d| by
            itself: only above that do the heads tell something.
        rewards: of a reward model: mean and std over all responses compared, and histograms of the
            chosen and of the rejected ones with common edges; every response once, none left out.
        baselines: longer_wins, the accuracy of "the longer response is better"; and the same
            figures, as far as they have them, of scorers that read nothing: length, whose d is the
            difference of log lengths, for nll and ece tempered as above; constant, whose d is 0.
    """
    trained_on = overlap(comparisons)
    (comparisons,) = held_out_comparisons(comparisons)
    decided = [c for c in comparisons if c.strength != 0]
    ties = [c for c in comparisons if c.strength == 0]
    twice = [c for c in decided if c.d_swapped is not None]
    d, clusters = _differences(decided), [c.cluster for c in decided]

    figures = {
        "trained_on": trained_on,
        "n": len(decided),
        "n_groups": len(set(clusters)),
        "ties": len(ties),
        "undecided": int((d == 0).sum()),
        **_agreement(comparisons, resamples),
        "accuracy_by_order": {
            "forward": metrics.accuracy([c.d for c in twice]),
            "backward": metrics.accuracy([-c.d_swapped for c in twice if c.d_swapped is not None]),
        },
        "mean": _mean(d),
        "std": _std(d),
        "mean_abs": _mean(np.abs(d)),
        "mean_abs_ties": _mean(np.abs(_differences(ties))),
        "nll": metrics.negative_log_likelihood(d),
        "by_bin": metrics.accuracy_by_bin(d, metrics.bin_edges(d)),
        "ece": metrics.ece(d),
        "temperature": metrics.fit_temperature(d),
        "ece_tempered": metrics.ece(_tempered(d, clusters, folds=2)),
        "calibrated": _calibrated(d, temperature),
        "antisymmetry": metrics.antisymmetry(
            [c.d for c in twice], [c.d_swapped for c in twice if c.d_swapped is not None]
        ),
        "spread": _spread(decided),
        "by_aspect": _by_aspect(decided, resamples),
        "rewards": _rewards(comparisons),
        "baselines": _baselines(comparisons, resamples),
    }
    return {name: plain(figure) for name, figure in figures.items()}


def held_out_comparisons(*compared: Sequence[ScoredComparison]) -> list[list[ScoredComparison]]:
    """Return the comparisons of prompts that no scorer was trained on; all of them where no decided
    one is left.

    Args:
        compared: what each scorer said of the same comparisons, in the same order.
    """
    new = [not any(c.trained_on for c in said) for said in zip(*compared, strict=True)]
    decided = [is_new and c.strength != 0 for is_new, c in zip(new, compared[0], strict=True)]
    if not any(decided):
        return [list(said) for said in compared]
    return [[c for c, is_new in zip(said, new, strict=True) if is_new] for said in compared]


def overlap(comparisons: Sequence[ScoredComparison]) -> dict[str, Any]:
    """Return how much of the data a scorer was trained on.

    Keys:
        known: whether the scorer says what it was trained on; nothing else is known where it does
            not.
        prompts, comparisons: those that it was trained on, ties among them.
        left_out: whether figures leave them out, which needs others.
    """
    trained = [c for c in comparisons if c.trained_on]
    (rest,) = held_out_comparisons(comparisons)
    return {
        "known": all(c.trained_on is not None for c in comparisons),
        "prompts": len({c.cluster for c in trained}),
        "comparisons": len(trained),
        "left_out": len(rest) < len(comparisons),
    }


def overlap_remark(trained_on: Mapping[str, Any]) -> str:
    """Return what `overlap` found in a sentence; empty where all comparisons are held out."""
    if not trained_on["known"]:
        return "Its folder does not say what it was trained on, so these prompts may be among them."
    if not trained_on["comparisons"]:
        return ""
    seen = f"{trained_on['comparisons']} comparisons of {trained_on['prompts']} prompts that it was trained on"
    if trained_on["left_out"]:
        return f"Left out are {seen}."
    return f"These are figures of training, not of held-out data: there is nothing but {seen}."


def _agreement(comparisons: Sequence[ScoredComparison], resamples: int) -> dict[str, Any]:
    """The figures that depend on the order of differences only, so that a baseline has them
    whatever its scale is."""
    decided = [c for c in comparisons if c.strength != 0]
    graded = [c for c in comparisons if c.strength is not None]
    ordered = [c for c in graded if c.strength != 0]
    shorter = [c for c in decided if c.chosen_length < c.rejected_length]
    longer = [c for c in decided if c.chosen_length > c.rejected_length]
    return {
        "accuracy": _share(decided, resamples),
        "by_strength": _by_strength(ordered),
        "spearman_strength": spearman_interval(*_strength_told(graded), n=resamples),
        "spearman_strength_oriented": spearman_interval(
            _differences(ordered), _strengths(ordered), [c.cluster for c in ordered], n=resamples
        ),
        "by_length": {
            "shorter": _share(shorter, resamples),
            "longer": _share(longer, resamples),
            "equal": len(decided) - len(shorter) - len(longer),
        },
        **_subsets(comparisons, resamples),
        "best_of_n": _best_of_n(comparisons, resamples),
        "rm_bench": _rm_bench(decided, resamples),
    }


def _calibrated(d: Array, temperature: float | None) -> dict[str, float]:
    if temperature is None:
        return dict.fromkeys(("temperature", "nll", "ece"), math.nan)
    tempered = d / temperature
    return {
        "temperature": temperature,
        "nll": metrics.negative_log_likelihood(tempered),
        "ece": metrics.ece(tempered),
    }


def _share(decided: Sequence[ScoredComparison], resamples: int) -> metrics.Interval:
    """Of comparisons in which the scorer agrees."""
    right, clusters = metrics.correct(_differences(decided)), [c.cluster for c in decided]
    return metrics.bootstrap(right, clusters, bounds=metrics.SHARE, n=resamples)


def _subsets(comparisons: Sequence[ScoredComparison], resamples: int) -> dict[str, Any]:
    names = sorted({c.subset for c in comparisons if c.strength != 0})
    if not 2 <= len(names) <= MAX_SUBSETS:
        return {"subsets": len(names), "by_subset": [], "macro_accuracy": math.nan}
    parts = [[c for c in comparisons if c.subset == name] for name in names]
    found = [_share([c for c in own if c.strength != 0], resamples) for own in parts]
    told = [
        {
            "subset": name or "(none)",
            "accuracy": share,
            "first": _best_of_n(own, resamples)["first"],
        }
        for name, share, own in zip(names, found, parts, strict=True)
    ]
    return {
        "subsets": len(names),
        "by_subset": told,
        "macro_accuracy": _mean(_array([own.value for own in found])),
    }


def _by_aspect(decided: Sequence[ScoredComparison], resamples: int) -> list[dict[str, Any]]:
    parts: dict[str, list[ScoredComparison]] = {}
    for c in sorted(decided, key=lambda c: c.subset):
        if c.aspect is not None:
            parts.setdefault(c.subset, []).append(c)
    return [
        {
            "aspect": name,
            "own": _share([replace(c, d=c.aspect or 0.0, d_swapped=None) for c in own], resamples),
            "weighted": _share(own, resamples),
        }
        for name, own in parts.items()
    ]


def _rm_bench(decided: Sequence[ScoredComparison], resamples: int) -> dict[str, Any]:
    """RM-Bench's figures: each right answer against each wrong one, in the styles of `STYLES`
    (arXiv 2410.16184).

    As in its published code a comparison is won where d > 0, so that a draw is lost. As in its
    published table domains count alike, and safety-refuse and safety-response are one. Prompts that
    lost a style (an empty answer, or one text in two styles) are left out.

    Keys:
        matrix: share won by the right answer in the style of the row over the wrong one in the
            style of the column.
        easy, normal, hard: below, on, and above the diagonal: {value, low, high, n}; average: their
            mean.
        by_domain: the same of every domain. partial: prompts left out.
    """
    lists: dict[str, list[ScoredComparison]] = {}
    for c in decided:
        if c.styles is not None:
            lists.setdefault(c.group, []).append(c)
    whole = [c for own in lists.values() if len(own) == len(STYLES) ** 2 for c in own]
    if not lists:
        return {}
    parts: dict[str, list[ScoredComparison]] = {}
    for c in sorted(whole, key=lambda c: c.subset):
        parts.setdefault(c.subset.split("-")[0] or "(none)", []).append(c)
    weights = {c.subset: len(whole) / len(own) / len(parts) for own in parts.values() for c in own}
    cells = {(a, b): [c for c in whole if c.styles == (a, b)] for a in STYLES for b in STYLES}
    return {
        **_by_difficulty(whole, weights, resamples),
        "matrix": [[_won(cells[a, b], weights, resamples).value for b in STYLES] for a in STYLES],
        "by_domain": [
            {"domain": name, **_by_difficulty(own, dict.fromkeys(weights, 1.0), resamples)}
            for name, own in parts.items()
        ],
        "partial": sum(len(own) != len(STYLES) ** 2 for own in lists.values()),
    }


def _by_difficulty(
    comparisons: Sequence[ScoredComparison], weights: Mapping[str, float], resamples: int
) -> dict[str, Any]:
    """Hard is where the wrong answer is the showier one."""

    def lead(c: ScoredComparison) -> int:
        chosen, rejected = c.styles or ("", "")
        return STYLES.index(chosen) - STYLES.index(rejected)

    parts = {
        "easy": [c for c in comparisons if lead(c) > 0],
        "normal": [c for c in comparisons if lead(c) == 0],
        "hard": [c for c in comparisons if lead(c) < 0],
    }
    won = {name: _won(own, weights, resamples) for name, own in parts.items()}
    return {**won, "average": _mean(_array([share.value for share in won.values()]))}


def _won(
    comparisons: Sequence[ScoredComparison], weights: Mapping[str, float], resamples: int
) -> metrics.Interval:
    """The share with d > 0, each comparison by the weight of its part."""
    won, clusters = _differences(comparisons) > 0, [c.cluster for c in comparisons]
    weight = [weights[c.subset] for c in comparisons]
    return metrics.bootstrap(won, clusters, weights=weight, bounds=metrics.SHARE, n=resamples)


def _best_of_n(comparisons: Sequence[ScoredComparison], resamples: int) -> dict[str, Any]:
    """Lists are groups with comparisons of three responses or more; the best are those that never
    lose.

    The scorer puts one of them first where it is held above all others; where best ones are held
    equal to some others, all of these share the first place. Lists in which a best one was not
    compared with every other that is not are left out: an order that is known in part is easier to
    hit than by a blind draw.
    """
    lists: dict[str, list[ScoredComparison]] = {}
    for c in comparisons:
        lists.setdefault(c.group, []).append(c)
    found, clusters, chance, sizes, partial = [], [], [], [], 0
    for own in lists.values():
        responses = {place for c in own for place in c.pair}
        best = responses - {c.pair[1] for c in own if c.strength != 0}
        if len(responses) < 3 or not best or best == responses:
            continue
        above = [_above(own, place) for place in best]
        if any((responses - best) - d.keys() for d in above):
            partial += 1
            continue
        found.append(_first([[d[other] for other in sorted(responses - best)] for d in above]))
        clusters.append(own[0].cluster)
        chance.append(len(best) / len(responses))
        sizes.append(len(responses))
    return {
        "first": metrics.bootstrap(found, clusters, bounds=metrics.SHARE, n=resamples),
        "chance": _mean(_array(chance)),
        "n": _mean(_array(sizes)),
        "partial": partial,
    }


def _above(comparisons: Sequence[ScoredComparison], place: int) -> dict[int, float]:
    """By how much the scorer holds a response above each that it was compared with."""
    found = {c.pair[1]: c.difference for c in comparisons if c.pair[0] == place}
    return found | {c.pair[0]: -c.difference for c in comparisons if c.pair[1] == place}


def _first(above: Sequence[Sequence[float]]) -> float:
    """The share of the first place that the best ones have; `above`: each of them over each of the
    others."""
    if any(min(d) > 0 for d in above):
        return 1.0
    level = [d for d in above if min(d) == 0]
    equal = {other for d in level for other, value in enumerate(d) if value == 0}
    return len(level) / (len(level) + len(equal)) if level else 0.0


def _spread(decided: Sequence[ScoredComparison]) -> dict[str, Any]:
    known = [c for c in decided if c.spread is not None]
    d, spread = np.abs(_differences(known)), _array([c.spread or 0.0 for c in known])
    right = _differences(known) > 0
    sure = np.divide(d, spread, out=np.where(d > 0, np.inf, 0.0), where=spread > 0)
    return {
        "mean": _mean(spread),
        "auroc": metrics.auroc(sure, right),
        "auroc_alone": metrics.auroc(d, right),
    }


def _rewards(comparisons: Sequence[ScoredComparison]) -> dict[str, Any]:
    sides: tuple[dict[tuple[str, int], float], ...] = ({}, {})
    for c in comparisons:
        for side, place, reward in zip(sides, c.pair, c.rewards or (), strict=False):
            side[c.group, place] = reward
    every = _array(list({**sides[0], **sides[1]}.values()))
    if not every.size:
        return {"mean": math.nan, "std": math.nan, "edges": [], "chosen": [], "rejected": []}
    edges = np.histogram_bin_edges(every, bins=40)
    counts = [np.histogram(list(side.values()), edges)[0].tolist() for side in sides]
    return {
        "mean": float(every.mean()),
        "std": _std(every),
        "edges": edges.tolist(),
        "chosen": counts[0],
        "rejected": counts[1],
    }


def _baselines(comparisons: Sequence[ScoredComparison], resamples: int) -> dict[str, Any]:
    length = [replace(c, d=_log_ratio(c), d_swapped=None) for c in comparisons]
    nothing = [replace(c, d=0.0, d_swapped=None) for c in comparisons]
    decided = [c for c in length if c.strength != 0]
    tempered = _tempered(_differences(decided), [c.cluster for c in decided], folds=2)
    found = {
        name: {
            "nll": metrics.negative_log_likelihood(d),
            "ece": metrics.ece(d),
            **_agreement(read, resamples),
        }
        for name, d, read in (
            ("length", tempered, length),
            ("constant", np.zeros(len(decided)), nothing),
        )
    }
    return {"longer_wins": found["length"]["accuracy"], **found}


def _log_ratio(c: ScoredComparison) -> float:
    return math.log1p(c.chosen_length) - math.log1p(c.rejected_length)


def hits(comparisons: Sequence[ScoredComparison]) -> tuple[Array, Array]:
    """Of every prompt with decided comparisons: how many the scorer agrees with, and how many there
    are."""
    decided = [c for c in comparisons if c.strength != 0]
    groups, place = np.unique([c.cluster for c in decided], return_inverse=True)
    right = np.bincount(place, metrics.correct(_differences(decided)), len(groups))
    return np.asarray(right, dtype=np.float64), np.bincount(place, minlength=len(groups)).astype(
        np.float64
    )


def strength_correlation(
    comparisons: Sequence[ScoredComparison], resamples: int = 1000
) -> tuple[float, Array, int]:
    """ρ of |d| with the strength that the data says, the same in resamples of prompts, and of how
    many comparisons.

    Scorers of the same comparisons are resampled alike.
    """
    told = _strength_told([c for c in comparisons if c.strength is not None])
    return metrics.spearman(*told[:2]), resampled(*told, n=resamples), len(told[2])


def _strength_told(graded: Sequence[ScoredComparison]) -> tuple[Array, Array, list[str]]:
    return np.abs(_differences(graded)), _strengths(graded), [c.cluster for c in graded]


def _differences(comparisons: Sequence[ScoredComparison]) -> Array:
    return _array([c.difference for c in comparisons])


def _strengths(comparisons: Sequence[ScoredComparison]) -> Array:
    return _array([c.strength for c in comparisons if c.strength is not None])


def _by_strength(graded: Sequence[ScoredComparison]) -> list[metrics.Bin]:
    strengths, d = _strengths(graded), _differences(graded)
    levels = np.unique(strengths)
    correct = metrics.correct(d)
    if levels.size <= MAX_LEVELS:
        return [metrics.share_by_bin(strengths, correct, (level, level))[0] for level in levels]
    quintiles = np.unique(np.quantile(strengths, np.linspace(0, 1, 6)))
    return metrics.share_by_bin(strengths, correct, [float(edge) for edge in quintiles])


def _tempered(d: Array, groups: Sequence[str], *, folds: int) -> Array:
    """Each d over the temperature of the other folds of the prompts; empty where they do not tell
    it."""
    fold = np.array(
        [blake2b(g.encode(), digest_size=1).digest()[0] % folds for g in groups], dtype=int
    )
    tempered = np.empty_like(d)
    for place in np.unique(fold):
        tempered[fold == place] = d[fold == place] / metrics.fit_temperature(d[fold != place])
    return tempered if np.isfinite(tempered).all() else _array([])


@dataclass(frozen=True, slots=True)
class Calibration:
    """A scorer's temperature as held-out comparisons tell it.

    Attributes:
        temperature: None where they do not.
        remark: why there is none, or why it is 1; empty: it was fitted.
    """

    temperature: float | None
    remark: str = ""


def calibrate(comparisons: Sequence[ScoredComparison]) -> Calibration:
    """Fit a scorer's temperature, and keep it where it serves comparisons that it was not fitted
    on.

    It is tried on each of `FOLDS` parts of the prompts as fitted on the others. Where they do not
    all tell one it hangs on too few comparisons: None. Where their NLL is no lower than that of d
    as it is, d stays as it is: 1.
    """
    decided = [c for c in comparisons if c.strength != 0 and not c.trained_on]
    d = _differences(decided)
    if not d.any():
        return Calibration(None, "no comparison that it was not trained on tells a temperature")
    if math.isnan(metrics.fit_temperature(d)):
        cause = "all are right" if (d > 0).all() else "it is no better than chance on them"
        return Calibration(
            None, f"{d.size} held-out comparisons do not tell a temperature: {cause}"
        )
    tempered = _tempered(d, [c.cluster for c in decided], folds=FOLDS)
    if not tempered.size:
        return Calibration(
            None,
            f"{d.size} held-out comparisons do not tell a temperature: it hangs on a few of them",
        )
    if metrics.negative_log_likelihood(tempered) >= metrics.negative_log_likelihood(d):
        return Calibration(
            1.0, f"no temperature fitted on {d.size} held-out comparisons lowers the NLL of others"
        )
    return Calibration(metrics.fit_temperature(d))


def _array(values: Sequence[float]) -> Array:
    return np.array(values, dtype=np.float64)


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else math.nan


def _std(values: Array) -> float:
    """The standard deviation; NaN of fewer than two, of whose spread nothing is known."""
    return float(values.std()) if values.size > 1 else math.nan


def plain(value: Any) -> Any:
    """Dataclasses as dicts, numbers that JSON does not have as None."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
