"""From differences to coefficients: what a comparison's loss is multiplied by. numpy only.

    Δ  ──lower──►  Δ − z·s  ──negative──►  R  ──squash──►  g(R)  ──α──►  g(R)^α  ──normalise──►
    ──control──►  weight

Δ is the difference oriented by the label: positive where the scorer agrees that the chosen response
is better. Where the scorer has several heads, s is their spread. Source: Reward Difference
Optimization, arXiv 2408.09385. The paper uses R^α with R = Δ and leaves open what happens at R < 0
(about 30 % of pairs), at which scale, and against which controls; every choice is a named option
here.

α = 0 is the unweighted method: every kept weight is exactly 1.0, whatever the squash, normalisation
and control, and also for pairs that `clip` would silence (0⁰ = 1). `flip` and `drop` act on the
pairs and not on the weights, so they still act at α = 0: that run tells what relabelling or
filtering does alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from rewarddiff.config import checked
from rewarddiff.differences import Array, Differences, Mask, Scalar, by_group, joined
from rewarddiff.errors import UserError
from rewarddiff.records import Group

Negative = Literal["clip", "abs", "flip", "drop", "floor", "signed"]
Squash = Literal["none", "tanh", "sigmoid", "log1p", "clip", "rank"]
Normalise = Literal["none", "mean", "std"]
Control = Literal["none", "constant", "shuffled", "inverse"]

COLUMN = "column"
"""The source of coefficients that are the data's own: its column `coefficient`."""

OF_WEIGHTS = ("source", "alpha", "normalise", "control", "seed")
"""Options that say what becomes of coefficients, not of differences."""

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@checked
@dataclass(frozen=True, slots=True)
class CoefficientConfig:
    """How differences become coefficients.

    The defaults are those that the laboratory speaks for, or not against (docs/lab.md): `clip` is
    near the best treatment with a good scorer and loses little with a middling one; α hardly
    matters. Real data tells no setting from another so far (docs/results.md). What neither asked
    about is as plain as it can be: both orders, which are antisymmetric, and no calibration,
    squashing, scaling or lower bound.

    Attributes:
        source: whose differences: the name of a scorer of the recipe, or `grades`, the data's own
            strengths. `column`: no differences, the data's column `coefficient` as it is, as
            `rewarddiff weigh` writes it. In Python differences are handed in.
        orders: ask a scorer that reads two responses together in one order (the paper) or average
            both (exactly antisymmetric).
        calibrated: divide differences by the scorer's temperature, so that σ(Δ) is the probability
            to be preferred.
        lower: z ≥ 0: a difference counts as Δ − z·s, with s its standard deviation over the heads
            of a scorer that has several (`heads`), so that a pair it is unsure of weighs less. A
            bound below 0 is treated as a negative difference is; it says doubt, not disagreement,
            which `abs`, `flip` and `signed` would take for strength: they are refused.
        alpha: the exponent α ≥ 0; 0 is the unweighted method.
        negative: what to do where the scorer contradicts the label (Δ < 0): `clip` weight 0; `abs`
            |Δ|; `flip` |Δ| and the label swapped; `drop` the pair is left out; `floor` Δ raised to
            `floor`; `signed` left negative.
        floor: the least difference under `floor`, positive.
        squash: g: `tanh` s·tanh(R/s); `log1p` s·log(1 + R/s); `clip` min(R, s); `sigmoid` σ(R/s);
            `rank` the rank among the positive R divided by their number, in (0, 1]. All but sigmoid
            keep 0 at 0.
        squash_scale: s > 0 in the unit of the differences; tanh, log1p and clip leave R ≪ s as it
            is.
        normalise: divide the weights by their `mean` or their `std` (population) over the kept
            pairs.
        control: what any claim is to be held against: `constant` every weight the mean; `shuffled`
            the same weights dealt to pairs at random; `inverse` the same weights in reversed order,
            the largest to the smallest (equal weights share the mean of their slots).
        seed: of `shuffled`.
    """

    source: str | None = None
    orders: Literal["both", "one"] = "both"
    calibrated: bool = False
    lower: float = 0.0
    alpha: float = 1.0
    negative: Negative = "clip"
    floor: float = 1e-3
    squash: Squash = "none"
    squash_scale: float = 1.0
    normalise: Normalise = "none"
    control: Control = "none"
    seed: int = 0

    replaced: ClassVar[Mapping[str, str]] = {"scorer": "is now source; write source: {given}"}

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise UserError(f"coefficient.alpha: must be finite and at least 0, got {self.alpha}")
        if not (math.isfinite(self.lower) and self.lower >= 0):
            raise UserError(f"coefficient.lower: must be finite and at least 0, got {self.lower}")
        if self.lower and self.negative in ("abs", "flip", "signed"):
            raise UserError(
                f"coefficient.lower: negative={self.negative} would take doubt for strength; use clip, drop or floor"
            )
        if not (math.isfinite(self.floor) and self.floor > 0):
            raise UserError(f"coefficient.floor: must be finite and positive, got {self.floor}")
        if not (math.isfinite(self.squash_scale) and self.squash_scale > 0):
            raise UserError(
                f"coefficient.squash_scale: must be finite and positive, got {self.squash_scale}"
            )
        if self.signed and self.alpha not in (0, 1):
            raise UserError(
                f"coefficient.alpha: negative=signed has no power {self.alpha} of a negative difference; "
                "use alpha=1, squash=sigmoid, or another treatment (clip, abs, flip, drop, floor)"
            )

        if self.source == COLUMN:
            self._check_column()

    def _check_column(self) -> None:
        """Refuse what says how differences become coefficients: here they are there already.

        `negative=signed` lets negative ones through.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in OF_WEIGHTS and value not in (field.default, "signed"):
                raise UserError(
                    f"coefficient.{field.name}: says what becomes of differences, and source: {COLUMN} "
                    "has coefficients already; leave it out"
                )
        if self.alpha not in (0, 1):
            raise UserError(
                f"coefficient.alpha: with source: {COLUMN} it is 1, or 0 for the unweighted method"
            )

    @property
    def signed(self) -> bool:
        """Whether weights can come out negative."""
        return self.negative == "signed" and self.squash != "sigmoid"


@dataclass(frozen=True, slots=True)
class CoefficientResult:
    """One entry per difference, in order; one array per group.

    Attributes:
        weights: the coefficients; 0.0 where the pair is not kept.
        flip: whether chosen and rejected are to change places.
        keep: whether the pair is trained on: not where it is dropped, or unscored.
        report: counts, shares and distributions, ready for JSON.
    """

    weights: list[Array]
    flip: list[Mask]
    keep: list[Mask]
    report: dict[str, Any]

    def of_group(self, place: int) -> tuple[list[float], list[bool], list[bool]]:
        """Return the weights of a group's pairs, which to flip, and which to keep."""
        columns = (self.weights, self.flip, self.keep)
        weights, flip, keep = (column[place].tolist() for column in columns)
        return weights, flip, keep


def lower_bounds(differences: Array, spreads: Array, z: float) -> Array:
    """Return Δ − z·s: what a scorer says a difference is at least, z standard deviations off.

    Args:
        differences: Δ, oriented by the label, shape (pairs,).
        spreads: s ≥ 0, the standard deviation of each, same shape and unit.

    >>> lower_bounds(np.array([2.0, -1.0]), np.array([0.5, 0.5]), 2.0)
    array([ 1., -2.])
    """
    return differences - z * spreads


def weigh(differences: Sequence[Differences], config: CoefficientConfig) -> CoefficientResult:
    """Return the weight of every comparison, and which to flip or leave out.

    Scales, ranks and controls are those of all groups together. Pairs of which the scorer says
    nothing (NaN) are left out, and the others weigh as if these had not been there.

    Args:
        differences: of each group, oriented by the label: pairs are (chosen, rejected).

    Raises:
        UserError: no pairs, or none that is scored, a difference that is infinite, no spread for
            `lower`, or weights with nothing in them to train on.

    >>> weigh([Differences.of([4.0, -1.0, 9.0])], CoefficientConfig(alpha=0.5)).weights
    [array([2., 0., 3.])]
    """
    sizes = [len(group.pairs) for group in differences]
    if not sum(sizes):
        raise UserError("coefficients: no comparisons to weigh; check the data's split and ledger")
    together = joined(differences)
    scored = together.scored
    if not scored.any():
        raise UserError(
            f"coefficients: the scorer says nothing of any of {scored.size} comparisons; "
            "check it, or name another one"
        )
    of_scored = _weigh(together.where(scored), config)
    report = of_scored.report
    unscored = int((~scored).sum())
    report |= {"n": int(scored.size), "share_unscored": unscored / scored.size}
    if unscored:
        report["warnings"].append(
            f"{unscored} of {scored.size} pairs are unscored, and left out of training"
        )
    return CoefficientResult(
        weights=by_group(_spread_out(of_scored.weights[0], scored), sizes),
        flip=by_group(_spread_out(of_scored.flip[0], scored), sizes),
        keep=by_group(_spread_out(of_scored.keep[0], scored), sizes),
        report=report,
    )


def _spread_out(values: NDArray[Scalar], scored: Mask) -> NDArray[Scalar]:
    """Return the values of scored pairs in the places of all: 0, or False, for the others."""
    everywhere = np.zeros(scored.size, dtype=values.dtype)
    everywhere[scored] = values
    return everywhere


def _weigh(together: Differences, config: CoefficientConfig) -> CoefficientResult:
    """Weigh pairs that are all scored, as one group."""
    stated = together.mean
    _check_finite(stated)
    delta = _bounds(stated, together, config)
    negative = delta < 0
    flip = negative if config.negative == "flip" else np.zeros_like(negative)
    keep = ~negative if config.negative == "drop" else np.ones_like(negative)
    if not keep.any():
        mend = " or doubts them; make lower smaller" if config.lower else "; use negative=flip"
        raise UserError(
            f"coefficients: every pair is dropped, the scorer contradicts all labels{mend}"
        )
    weights = np.zeros_like(delta)
    weights[keep] = _weights(delta[keep], config)
    report = _report(stated, weights, flip, keep)
    if together.ensemble:
        report["spread"] = _describe(together.spread)
        report["share_doubted"] = float((negative & (stated >= 0)).mean())
    return CoefficientResult([weights], [flip], [keep], report)


def weights_of_data(groups: Sequence[Group], config: CoefficientConfig) -> CoefficientResult:
    """Return the coefficients that the data brings for the comparisons of each group; not of ties.

    Raises:
        UserError: a comparison has none, or there is nothing in them to train on.
    """
    values: list[float] = []
    sizes = []
    for group in groups:
        comparisons = [c for c in group.known_comparisons() if not c.tie]
        sizes.append(len(comparisons))
        for comparison in comparisons:
            if comparison.coefficient is None:
                raise UserError(
                    f"coefficient.source: {COLUMN}, but {group.source or group.id} has no "
                    "coefficient; write the data with `rewarddiff weigh`, or name a scorer"
                )
            values.append(comparison.coefficient)
    if not values:
        raise UserError("coefficients: no comparisons to weigh; check the data's split and ledger")
    given = np.array(values, dtype=np.float64)
    if (given < 0).any() and not config.signed:
        raise UserError(
            f"coefficients: {int((given < 0).sum())} of the data's are negative; weigh it with "
            "another treatment of negative differences, or set negative=signed"
        )
    weights = np.ones_like(given)
    if config.alpha:
        weights = _control(_normalise(given, config.normalise), config)
        _require_some(weights, config)
    as_is = np.zeros(len(values), dtype=bool)
    return CoefficientResult(
        weights=by_group(weights, sizes),
        flip=by_group(as_is, sizes),
        keep=by_group(~as_is, sizes),
        report=_report(given, weights, as_is, ~as_is),
    )


def _bounds(delta: Array, differences: Differences, config: CoefficientConfig) -> Array:
    """Return what the differences count as: themselves, or with `lower` their lower bounds."""
    if config.lower == 0:
        return delta
    if not differences.ensemble:
        raise UserError(
            "coefficient.lower: needs the spread of every difference; ask a scorer with several heads"
        )
    return lower_bounds(delta, differences.spread, config.lower)


def _check_finite(delta: Array) -> None:
    finite = np.isfinite(delta)
    if not finite.all():
        first = int(np.flatnonzero(~finite)[0])
        raise UserError(f"coefficients: difference {first} is {delta[first]}; score the data again")


def _weights(delta: Array, config: CoefficientConfig) -> Array:
    if config.alpha == 0:
        return np.ones_like(delta)
    with np.errstate(over="ignore"):
        weights = _squash(_treat(delta, config), config) ** config.alpha
    if config.negative == "clip":
        # The sigmoid would give them ½.
        weights[delta < 0] = 0.0
    if not np.isfinite(weights).all():
        raise UserError(f"coefficients: R^{config.alpha} overflows; lower alpha or set squash=clip")
    _require_some(weights, config)
    weights = _control(_normalise(weights, config.normalise), config)
    # The mean of signed weights can be 0.
    _require_some(weights, config)
    return weights


def _require_some(weights: Array, config: CoefficientConfig) -> None:
    if not weights.any():
        mend = "make lower smaller" if config.lower else "use negative=abs"
        raise UserError(
            f"coefficients: every weight is 0, nothing would be trained; {mend}, check the scorer"
        )


def _treat(delta: Array, config: CoefficientConfig) -> Array:
    match config.negative:
        case "abs" | "flip":
            return np.abs(delta)
        case "clip":
            return np.maximum(delta, 0.0)
        case "floor":
            return np.maximum(delta, config.floor)
        case "drop" | "signed":
            return delta


def _squash(r: Array, config: CoefficientConfig) -> Array:
    """Return g(R), odd in R (only `signed` lets a negative R come here) except for the sigmoid."""
    scale = config.squash_scale
    sign = np.sign(r)
    size = np.abs(r)
    match config.squash:
        case "none":
            return r
        case "tanh":
            return scale * np.tanh(r / scale)
        case "sigmoid":
            return np.asarray(0.5 * (1.0 + np.tanh(0.5 * r / scale)), dtype=np.float64)
        case "log1p":
            return sign * scale * np.log1p(size / scale)
        case "clip":
            return np.clip(r, -scale, scale)
        case "rank":
            ranks = np.zeros_like(r)
            nonzero = size > 0
            ranks[nonzero] = rankdata(size[nonzero]) / max(int(nonzero.sum()), 1)
            return sign * ranks


def _normalise(weights: Array, kind: Normalise) -> Array:
    if kind == "none":
        return weights
    divisor = float(weights.mean()) if kind == "mean" else float(weights.std())
    if not divisor > np.finfo(np.float64).eps * float(np.abs(weights).max()):
        raise UserError(
            f"coefficients: normalise={kind} divides by {divisor:g}; use normalise=none"
        )
    return weights / divisor


def _control(weights: Array, config: CoefficientConfig) -> Array:
    match config.control:
        case "none":
            return weights
        case "constant":
            return np.full_like(weights, weights.mean())
        case "shuffled":
            return np.random.default_rng(config.seed).permutation(weights)
        case "inverse":
            return _reverse_order(weights)


def _reverse_order(weights: Array) -> Array:
    """Give the k-th smallest place the k-th largest weight; equal weights share a mean."""
    _, level, size = np.unique(weights, return_inverse=True, return_counts=True)
    ends = np.cumsum(size)
    falling = np.sort(weights)[::-1]
    total = np.add.reduceat(falling, ends - size)
    return np.asarray((total / size)[level], dtype=np.float64)


def _report(delta: Array, weights: Array, flip: Mask, keep: Mask) -> dict[str, Any]:
    kept = weights[keep]
    negative_weights = int((kept < 0).sum())
    warnings = []
    if negative_weights:
        warnings.append(f"{negative_weights} negative weights: the loss has no lower bound")
    return {
        "n": int(delta.size),
        "n_kept": int(keep.sum()),
        "share_negative": float((delta < 0).mean()),
        "share_dropped": float((~keep).mean()),
        "share_flipped": float(flip.mean()),
        "share_zero": float((kept == 0).mean()),
        "share_unscored": 0.0,
        "effective_share": _effective_share(np.abs(kept)),
        "before": _describe(delta),
        "after": _describe(kept),
        "warnings": warnings,
    }


def _effective_share(sizes: Array) -> float:
    """Return (Σw)² / (n Σw²): 1 when all pairs weigh the same, 1/n when one pair has it all."""
    # Squares of very large weights would overflow.
    w = sizes / sizes.max()
    return float(w.sum() ** 2 / (w.size * np.square(w).sum()))


def _describe(values: Array) -> dict[str, Any]:
    quantiles = {}
    for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True):
        quantiles[f"{q:g}"] = float(value)
    return {"mean": float(values.mean()), "std": float(values.std()), "quantiles": quantiles}
