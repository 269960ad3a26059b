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
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from rewarddiff.config import checked
from rewarddiff.errors import UserError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

Negative = Literal["clip", "abs", "flip", "drop", "floor", "signed"]
Squash = Literal["none", "tanh", "sigmoid", "log1p", "clip", "rank"]
Normalise = Literal["none", "mean", "std"]
Control = Literal["none", "constant", "shuffled", "inverse"]

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
        source: where differences come from: a difference model, a reward model, or the data's own
            grades.
        scorer: name of the scorer to ask; None: the only one of that kind.
        orders: ask the difference model in one order (the paper) or average both (exactly
            antisymmetric).
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

    source: Literal["difference", "reward", "grades"] = "difference"
    scorer: str | None = None
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

    @property
    def signed(self) -> bool:
        """Whether weights can come out negative."""
        return self.negative == "signed" and self.squash != "sigmoid"


@dataclass(frozen=True, slots=True)
class CoefficientResult:
    """One entry per difference, in order.

    Attributes:
        weights: the coefficients; 0.0 where the pair is dropped.
        flip: whether chosen and rejected are to change places.
        keep: whether the pair is trained on.
        report: counts, shares and distributions, ready for JSON.
    """

    weights: Array
    flip: Mask
    keep: Mask
    report: dict[str, Any]


def both_orders(forward: ArrayLike, backward: ArrayLike) -> Array:
    """d̄(1,2) = ½(d(1,2) − d(2,1)): antisymmetric to the bit, and exactly 0 for a response against
    itself.

    Args:
        forward: d(x, y1, y2), shape (pairs,).
        backward: d(x, y2, y1), the same pairs read the other way round, not oriented.

    Raises:
        ValueError: unequal shapes.

    >>> both_orders([3.0], [-1.0])
    array([2.])
    """
    first, second = np.asarray(forward, dtype=np.float64), np.asarray(backward, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: forward {first.shape}, backward {second.shape}")
    return 0.5 * (first - second)


def lower_bounds(differences: ArrayLike, spreads: ArrayLike, z: float) -> Array:
    """Δ − z·s: what a scorer says a difference is at least, z standard deviations off.

    Args:
        differences: Δ, oriented by the label, shape (pairs,).
        spreads: s ≥ 0, the standard deviation of each, same shape and unit.

    Raises:
        ValueError: unequal shapes.
        UserError: a spread that is negative or not finite.

    >>> lower_bounds([2.0, -1.0], [0.5, 0.5], 2.0)
    array([ 1., -2.])
    """
    delta, spread = np.asarray(differences, dtype=np.float64), np.asarray(spreads, dtype=np.float64)
    if delta.shape != spread.shape:
        raise ValueError(f"shapes differ: differences {delta.shape}, spreads {spread.shape}")
    if not (np.isfinite(spread) & (spread >= 0)).all():
        raise UserError("coefficients: a spread is negative or not finite; score the data again")
    return delta - z * spread


def coefficients(
    differences: ArrayLike, config: CoefficientConfig, spreads: ArrayLike | None = None
) -> CoefficientResult:
    """The weight of every comparison, and which to flip or leave out.

    Args:
        differences: Δ, oriented by the label, shape (pairs,).
        config: see `CoefficientConfig`.
        spreads: the standard deviation of each over the scorer's heads, same shape and unit; read
            with `lower`.

    Raises:
        ValueError: not one-dimensional, or unequal shapes.
        UserError: no pairs, a difference that is not finite, no spreads for `lower`, or weights
            with nothing in them to train on.

    >>> coefficients([4.0, -1.0, 9.0], CoefficientConfig(alpha=0.5)).weights
    array([2., 0., 3.])
    """
    said = np.asarray(differences, dtype=np.float64)
    _check(said)
    delta = _bounds(said, config, spreads)
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
    report = _report(said, weights, flip, keep, config)
    if spreads is not None:
        spread = _describe(np.asarray(spreads, dtype=np.float64))
        report |= {"spread": spread, "share_doubted": float((negative & (said >= 0)).mean())}
    return CoefficientResult(weights, flip, keep, report)


def _bounds(delta: Array, config: CoefficientConfig, spreads: ArrayLike | None) -> Array:
    """What the differences count as: themselves, or with `lower` their lower bounds."""
    if config.lower == 0:
        return delta
    if spreads is None:
        raise UserError(
            "coefficient.lower: needs the spread of every difference; ask a scorer with several heads"
        )
    return lower_bounds(delta, spreads, config.lower)


def _check(delta: Array) -> None:
    if delta.ndim != 1:
        raise ValueError(f"differences must be one-dimensional, got shape {delta.shape}")
    if delta.size == 0:
        raise UserError("coefficients: no comparisons to weigh; check the data's split and ledger")
    if not np.isfinite(delta).all():
        first = int(np.flatnonzero(~np.isfinite(delta))[0])
        raise UserError(f"coefficients: difference {first} is {delta[first]}; score the data again")


def _weights(delta: Array, config: CoefficientConfig) -> Array:
    if config.alpha == 0:
        return np.ones_like(delta)
    with np.errstate(over="ignore"):
        weights = _squash(_treat(delta, config), config) ** config.alpha
    if config.negative == "clip":
        weights[delta < 0] = 0.0  # sigmoid would give them ½
    if not np.isfinite(weights).all():
        raise UserError(f"coefficients: R^{config.alpha} overflows; lower alpha or set squash=clip")
    _require_some(weights, config)
    weights = _control(_normalise(weights, config.normalise), config)
    _require_some(weights, config)  # the mean of signed weights can be 0
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
    """g(R), odd in R (only `signed` lets a negative R come here) except for the sigmoid."""
    scale, sign, size = config.squash_scale, np.sign(r), np.abs(r)
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
            ranks, some = np.zeros_like(r), size > 0
            ranks[some] = rankdata(size[some]) / max(int(some.sum()), 1)
            return sign * ranks


def _normalise(weights: Array, kind: Normalise) -> Array:
    if kind == "none":
        return weights
    divisor = float(weights.mean() if kind == "mean" else weights.std())
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
    """The k-th smallest place gets the k-th largest weight; equal weights share the mean of their
    places."""
    _, level, size = np.unique(weights, return_inverse=True, return_counts=True)
    ends = np.cumsum(size)
    falling = np.sort(weights)[::-1]
    total = np.add.reduceat(falling, ends - size)
    return np.asarray((total / size)[level], dtype=np.float64)


def _report(
    delta: Array, weights: Array, flip: Mask, keep: Mask, config: CoefficientConfig
) -> dict[str, Any]:
    kept = weights[keep]
    negative_weights = int((kept < 0).sum())
    return {
        "n": int(delta.size),
        "n_kept": int(keep.sum()),
        "share_negative": float((delta < 0).mean()),
        "share_dropped": float((~keep).mean()),
        "share_flipped": float(flip.mean()),
        "share_zero": float((kept == 0).mean()),
        "effective_share": _effective_share(np.abs(kept)),
        "before": _describe(delta),
        "after": _describe(kept),
        "warnings": [f"{negative_weights} negative weights: the loss has no lower bound"]
        if negative_weights
        else [],
    }


def _effective_share(sizes: Array) -> float:
    """(Σw)² / (n Σw²): 1 when all pairs weigh the same, 1/n when one pair has it all."""
    w = sizes / sizes.max()  # squares of very large weights would overflow
    return float(w.sum() ** 2 / (w.size * np.square(w).sum()))


def _describe(values: Array) -> dict[str, Any]:
    quantiles = np.quantile(values, QUANTILES)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "quantiles": {
            f"{q:g}": float(value) for q, value in zip(QUANTILES, quantiles, strict=True)
        },
    }
