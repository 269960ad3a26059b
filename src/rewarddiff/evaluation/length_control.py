"""A win rate as it would be at equal lengths: AlpacaEval's `length_controlled_minimal`.

What is the package's (alpaca_eval 0.6.6, `metrics/glm_winrate.py`), with scikit-learn 1.9's folds:

- the model P(a wins) = σ(θ + φ·tanh((len b − len a) / std)), lengths in characters, their std with
  n − 1 over all prompts; no term for an instruction's difficulty, which exists for AlpacaEval's own
  805 prompts alone;
- an L1 penalty on θ and φ, no other intercept, a tie as half a win and half a loss;
- the penalty with the best mean log-likelihood over five folds, of ten; what liblinear makes of it;
- the figure: σ(θ).

What is not the package's:

- its standard error is that of equal numbers, 0; the interval here is that of θ by the sandwich
  estimator, whole prompts counting as one;
- where it fits losses alone, liblinear takes the only class for the positive one, and the package's
  θ has the wrong sign; here swapping the sides always gives 1 − the rate;
- it has no figure where all responses differ by the same length; here that is NaN too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from rewarddiff.evaluation.arrays import Array
from rewarddiff.evaluation.intervals import LEVEL, SHARE, all_alike, seeds_interval
from rewarddiff.evaluation.liblinear import l1_logistic
from rewarddiff.results import Interval
from rewarddiff.results.win_rates import LengthControl

COSTS = np.logspace(-4, 4, 10)
FOLDS = 5
SEED = 123
LEAST_LOG = math.log(1e-15)
"""Below, the package cuts the log of a probability."""

FEW = 30
"""Fewer decided verdicts than these tell two coefficients badly."""

ONE_SIDED = 0.9
"""Where one side is longer in more of the prompts, what equal lengths would do is extrapolated."""

WIDE = 0.3
"""An interval this wide says little of a rate."""

FAR = 0.1
FAR_SHARE = 0.25
"""The package warns where the rate moves by more than `FAR` and by more than this share of its way to 0 or 1."""

SELDOM = 0.5
"""Where lengths differ in fewer of the prompts, few tell what length does."""


@dataclass(frozen=True)
class LengthFit:
    """The model as fitted.

    Attributes:
        theta: log-odds of a at equal lengths. phi: of being shorter by far.
        cost: the chosen one of `COSTS`, scikit-learn's C; the larger the weaker the penalty.
        fold_phis: φ as each fold's complement tells it, at that cost.
    """

    theta: float
    phi: float
    cost: float
    fold_phis: tuple[float, ...]

    @property
    def rate(self) -> float:
        """σ(θ)."""
        return float(special.expit(self.theta))


def fit(wins: ArrayLike, gaps: ArrayLike) -> LengthFit | None:
    """Fit AlpacaEval's model; None where it cannot be: fewer verdicts than folds, or equal lengths.

    Args:
        wins: 1 where a wins, ½ a tie, 0 a loss, NaN unscored, (prompts,); or shares between.
        gaps: characters by which a's response is the longer, (prompts,).
    """
    shares = np.asarray(wins, dtype=np.float64).ravel()
    shorter_by = -np.asarray(gaps, dtype=np.float64).ravel()
    scored = np.isfinite(shares)
    if scored.sum() < FOLDS or not np.ptp(shorter_by):
        return None
    features = _features(shorter_by)[scored]
    shares = shares[scored]
    fold = (len(shares) - 1 - np.arange(len(shares))) % FOLDS  # as scikit-learn's GroupKFold
    seeds = _seeds()
    by_fold = np.empty((len(COSTS), FOLDS, 2))
    scores = np.empty((len(COSTS), FOLDS))
    for i, cost in enumerate(COSTS.tolist()):
        for k in range(FOLDS):
            inside = fold != k
            w = l1_logistic(features[inside], shares[inside], cost, seed=seeds[i])
            by_fold[i, k] = w
            scores[i, k] = _log_likelihood(features[~inside] @ w, shares[~inside])
    means = scores.mean(axis=1)
    # Equal up to rounding is equal, so that swapping the sides chooses the same.
    best = int(np.argmax(means >= means.max() - 1e-13))
    phi, theta = l1_logistic(features, shares, float(COSTS[best]), seed=seeds[0]).tolist()
    return LengthFit(theta, phi, float(COSTS[best]), tuple(by_fold[best, :, 0].tolist()))


def length_controlled(wins: ArrayLike, gaps: ArrayLike) -> LengthControl:
    """Return the win rate at equal lengths, with what speaks against relying on it.

    Several seeds are one table of verdicts; their own rates are the floor of the interval, as in
    `intervals.two_way_bootstrap`.

    Args:
        wins: 1, ½, 0 or NaN, (seeds, prompts) or (prompts,).
        gaps: characters by which a's response is the longer, same shape.
    """
    shares = np.atleast_2d(np.asarray(wins, dtype=np.float64))
    by = np.atleast_2d(np.asarray(gaps, dtype=np.float64))
    scored = np.isfinite(shares)
    n = int(scored.sum())
    model = fit(shares, by)
    if model is None:
        return LengthControl(Interval.unbounded(math.nan, n), _no_fit(n))
    interval = _interval(model, shares, by)
    remarks = _remarks(model, interval, shares[scored], by[scored])
    return LengthControl(interval, "; ".join(remarks))


def _features(shorter_by: Array) -> Array:
    """Return tanh of by how much a is shorter, in units of its spread, beside a column of ones."""
    relative = np.tanh(shorter_by / shorter_by.std(ddof=1))
    return np.stack([relative, np.ones_like(relative)], axis=-1)


def _log_likelihood(log_odds: Array, shares: Array) -> float:
    log_win = np.maximum(special.log_expit(log_odds), LEAST_LOG)
    log_loss = np.maximum(special.log_expit(-log_odds), LEAST_LOG)
    return float((shares * log_win + (1 - shares) * log_loss).mean())


def _seeds() -> list[int]:
    """Return the seeds that scikit-learn draws for liblinear, one for each penalty it tries."""
    draws = np.random.RandomState(SEED)
    return [int(draws.randint(np.iinfo(np.int32).max)) for _ in COSTS]


def _interval(model: LengthFit, shares: Array, gaps: Array) -> Interval:
    """Return the rate with its interval; without ends where length tells every outcome.

    Args:
        shares: (seeds, prompts), NaN unscored. gaps: same shape.
    """
    scored = np.isfinite(shares)
    n = int(scored.sum())
    prompts = int(scored.any(axis=0).sum())
    if is_separated(shares[scored], gaps[scored]):
        return Interval.unbounded(model.rate, n)
    error = _standard_error(model, shares, gaps)
    if np.ptp(shares[scored]) == 0 or error < 1e-12:
        return all_alike(model.rate, n, prompts, SHARE)
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * error
    low = float(special.expit(model.theta - half))
    high = float(special.expit(model.theta + half))
    fits = [fit(*of_seed) for of_seed in zip(shares, gaps, strict=True)]
    floor = seeds_interval([of_seed.rate for of_seed in fits if of_seed is not None], bounds=SHARE)
    if high - low < floor.high - floor.low:
        low, high = floor.low, floor.high
    return Interval(model.rate, low, high, n)


def _standard_error(model: LengthFit, shares: Array, gaps: Array) -> float:
    """Return the standard error of θ, whole prompts counting as one: H⁻¹·(Σ_prompts g·gᵀ)·H⁻¹.

    Source: Huber 1967; clusters: Liang and Zeger 1986. The factor of few clusters is G/(G − 1).
    """
    features = _features(-gaps.ravel()).reshape(*gaps.shape, 2)
    rates = special.expit(features @ np.array([model.phi, model.theta]))
    weights = np.where(np.isfinite(shares), rates * (1 - rates), 0.0)
    hessian = np.einsum("sp,spi,spj->ij", weights, features, features)
    residuals = np.nan_to_num(shares - rates)
    by_prompt = (residuals[..., None] * features).sum(axis=0)
    by_prompt = by_prompt[np.isfinite(shares).any(axis=0)]
    spread = np.cov(by_prompt.T) * len(by_prompt)
    inverse = np.linalg.pinv(hessian)
    return float(np.sqrt((inverse @ spread @ inverse)[1, 1]))


def is_separated(shares: Array, gaps: Array) -> bool:
    """Return whether length alone tells wins from losses, so that φ has no finite value.

    >>> is_separated(np.array([1.0, 1.0, 0.0]), np.array([9.0, 2.0, -3.0]))
    True
    """
    of_wins = gaps[shares > 0]
    of_losses = gaps[shares < 1]
    if not of_wins.size or not of_losses.size:
        return False
    return bool(of_wins.min() >= of_losses.max() or of_losses.min() >= of_wins.max())


def _no_fit(n: int) -> str:
    if n < FOLDS:
        return f"fewer than {FOLDS} verdicts"
    return "all responses differ by the same length"


def _remarks(model: LengthFit, interval: Interval, shares: Array, gaps: Array) -> list[str]:
    """Return what speaks against relying on the figure; the same words wherever it is the same."""
    remarks = []
    plain = float(shares.mean())
    decided = int((shares != 0.5).sum())
    if decided < FEW:
        remarks.append(f"fewer than {FEW} verdicts are decided")
    if np.ptp(shares) == 0 and decided:
        remarks.append("all verdicts are alike, so that the penalty alone sets the figure")
    if is_separated(shares, gaps):
        remarks.append("length tells every verdict, so that the penalty alone sets the figure")
    if model.theta == 0 and plain != 0.5:
        remarks.append("the penalty leaves nothing but one half")
    if min(model.fold_phis) < 0 < max(model.fold_phis):
        remarks.append("the effect of length changes its sign over the folds")
    differ = float((gaps != 0).mean())
    if differ < SELDOM:
        remarks.append(f"lengths differ in fewer than {SELDOM:.0%} of the prompts")
    one_sided = max(float((gaps > 0).mean()), float((gaps < 0).mean()))
    if one_sided > ONE_SIDED:
        share = f"more than {ONE_SIDED:.0%} of the prompts"
        remarks.append(f"one side is longer in {share}: equal lengths are extrapolated")
    if interval.high - interval.low > WIDE:
        remarks.append("the interval is wide")
    if _is_far(model.rate, plain):
        remarks.append("it is far from the plain rate")
    return remarks


def _is_far(rate: float, plain: float) -> bool:
    """Return whether the package would warn of an extreme change."""
    if rate < plain:
        return plain - rate > max(FAR, FAR_SHARE * plain)
    return rate - plain > max(FAR, FAR_SHARE * (1 - plain))
