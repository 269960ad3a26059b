"""Logistic regression with an L1 penalty, by the steps that liblinear takes. numpy only.

A figure that rests on liblinear, as AlpacaEval's does, rests on where liblinear stops: short of the
minimum. Scores of two penalties often lie closer to each other than to those of the two minima, so
that the penalty with the best score, and with it the figure, hangs on the way that was taken.

Source: Yuan, Ho and Lin 2012, An improved GLMNET for L1-regularized logistic regression, JMLR 13;
`solve_l1r_lr` of liblinear 2, which visits features in random order, as scikit-learn seeds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from rewarddiff.evaluation.arrays import Array

TOLERANCE = 1e-4
"""scikit-learn's `tol`: violations at the end, in units of those at the start."""

NEWTON_STEPS = 100
SWEEPS = 1000
HALVINGS = 20
RIDGE = 1e-12
SUFFICIENT_DECREASE = 0.01
LONGEST_MOVE = 10.0
SHORTEST_MOVE = 1e-12

Shuffle = Callable[[list[int], int], None]
"""Shuffles the first so many of a list in place."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one class each.

    Attributes:
        features: (rows, features).
        is_negative: 1 where a row is of the negative class, else 0, (rows,).
        weights: of the loss of each row, positive, (rows,).
    """

    features: Array
    is_negative: Array
    weights: Array

    @classmethod
    def of(cls, features: Array, shares: Array, cost: float) -> Rows:
        """Take every row as a positive and as a negative one, by its share in either."""
        weights = np.concatenate([shares, 1 - shares])
        kept = weights > 0
        return cls(
            np.concatenate([features, features])[kept],
            np.repeat([0.0, 1.0], len(shares))[kept],
            cost * weights[kept],
        )

    @property
    def tolerance(self) -> float:
        """The tolerance of liblinear, the smaller the rarer one class is."""
        negatives = float(self.is_negative.sum())
        rarer = min(negatives, len(self.weights) - negatives)
        return TOLERANCE * max(rarer, 1.0) / len(self.weights)

    def derivatives(self, odds: Array) -> tuple[Array, Array]:
        """Return the gradient of the loss, (features,), and its curvature in x·w, (rows,).

        Args:
            odds: exp(x·w), (rows,).
        """
        residual = self.weights * (1 / (1 + odds) - self.is_negative)
        return -residual @ self.features, self.weights * odds / (1 + odds) ** 2


@dataclass(frozen=True)
class Goal:
    """How far a descent goes: until the violations of one sweep are no more than these.

    Attributes:
        rows: what a violation is divided by, where it says which features can be left out.
    """

    violations: float
    rows: int


def l1_logistic(features: Array, shares: Array, cost: float, *, seed: int) -> Array:
    """Return w where liblinear stops on its way to the minimum of Σ|w| + cost·Σ_i loss_i.

    loss_i = −s_i·log σ(x_i·w) − (1 − s_i)·log σ(−x_i·w), in nats. There is no intercept; a feature
    of ones is penalised as the others are.

    Args:
        features: x, (rows, features).
        shares: s in [0, 1], by how much a row is of the positive class, (rows,).
        cost: scikit-learn's C.
        seed: of the order in which features are visited.
    """
    rows = Rows.of(features, shares, cost)
    w = np.zeros(features.shape[1])
    odds = np.ones(len(rows.weights))
    order = list(range(len(w)))
    shuffle = _shuffle(seed)
    at_start = slack = math.inf
    accuracy = 1.0
    for step in range(NEWTON_STEPS):
        gradient, curvature = rows.derivatives(odds)
        violations = _visit(order, len(order), partial(_violation_at, w, gradient, slack))
        if step == 0:
            at_start = sum(violations)
        if sum(violations) <= rows.tolerance * at_start:
            break
        hessian = rows.features.T @ (rows.features * curvature[:, None])
        parabola = Parabola(gradient, hessian + RIDGE * np.eye(len(w)), w)
        goal = Goal(accuracy * at_start, len(rows.weights))
        sweeps = parabola.descend(order, len(violations), shuffle, goal)
        w, odds = _line_search(rows, w, odds, gradient, np.array(parabola.target))
        if sweeps == 1:
            accuracy /= 4
        slack = max(violations) / len(rows.weights)
    return w


class Parabola:
    """The loss near w up to its second order, and the penalty: what a Newton step descends on.

    Attributes:
        target: where the descent has come to, (features,).
    """

    def __init__(self, gradient: Array, hessian: Array, w: Array) -> None:
        self.target = w.tolist()
        self._w = w.tolist()
        self._gradient = gradient.tolist()
        self._hessian = hessian.tolist()

    def descend(self, order: list[int], active: int, shuffle: Shuffle, goal: Goal) -> int:
        """Descend one feature at a time until the goal is reached; return the sweeps.

        Args:
            order: the features; the first `active` are visited, and sorted on the way.
        """
        visited = active
        slack = math.inf
        for sweep in range(1, SWEEPS + 1):
            shuffle(order, visited)
            violations = _visit(order, visited, partial(self._improve, slack))
            visited = len(violations)
            if sum(violations) > goal.violations:
                slack = max(violations) / goal.rows
            elif visited == active:
                return sweep
            else:
                # Those that were left out are looked at once more.
                visited = active
                slack = math.inf
        return SWEEPS

    def _improve(self, slack: float, j: int) -> float | None:
        """Go to the lowest point along one feature; return the violation there was."""
        curvature = self._hessian[j]
        gradient = self._gradient[j]
        for k, w in enumerate(self._w):
            gradient += curvature[k] * (self.target[k] - w)
        violation = _violation(self.target[j], gradient, slack)
        if violation is None:
            return None
        move = _shrunk(self.target[j], gradient, curvature[j])
        if abs(move) >= SHORTEST_MOVE:
            self.target[j] += min(max(move, -LONGEST_MOVE), LONGEST_MOVE)
        return violation


def _violation(w: float, gradient: float, slack: float) -> float | None:
    """Return how far 0 is from the slopes of |w| + gradient·w at w.

    None where w is 0 and stays so with more than the slack to spare.
    """
    if w > 0:
        return abs(gradient + 1)
    if w < 0:
        return abs(gradient - 1)
    beyond = abs(gradient) - 1
    if beyond < -slack:
        return None
    return max(beyond, 0.0)


def _violation_at(w: Array, gradient: Array, slack: float, j: int) -> float | None:
    return _violation(w[j], gradient[j], slack)


def _shrunk(w: float, gradient: float, curvature: float) -> float:
    """Return the move z with the least gradient·z + ½·curvature·z² + |w + z|."""
    if gradient + 1 < curvature * w:
        return -(gradient + 1) / curvature
    if gradient - 1 > curvature * w:
        return -(gradient - 1) / curvature
    return -w


def _visit(order: list[int], size: int, look: Callable[[int], float | None]) -> list[float]:
    """Look at the first `size` features; return the violations of those that count.

    The others are put behind them.
    """
    violations: list[float] = []
    while len(violations) < size:
        place = len(violations)
        violation = look(order[place])
        if violation is None:
            size -= 1
            order[place], order[size] = order[size], order[place]
        else:
            violations.append(violation)
    return violations


def _line_search(
    rows: Rows, w: Array, odds: Array, gradient: Array, target: Array
) -> tuple[Array, Array]:
    """Return w and exp(x·w) as far towards the target as descends; as they are where none does."""
    norm = np.abs(w).sum()
    along = rows.features @ (target - w)
    promised = gradient @ (target - w) + np.abs(target).sum() - norm
    for _ in range(HALVINGS):
        factors = np.exp(along)
        new_odds = odds * factors
        losses = np.log((1 + new_odds) / (factors + new_odds)) + rows.is_negative * along
        change = np.abs(target).sum() - norm + rows.weights @ losses
        if change <= SUFFICIENT_DECREASE * promised:
            return target, new_odds
        target = (w + target) / 2
        along = along / 2
        promised /= 2
    return w, odds


def _shuffle(seed: int) -> Shuffle:
    """Return liblinear's shuffle: Mersenne twister, a number below n by its upper bits."""
    twister = np.random.RandomState(seed)
    drawn: list[int] = []

    def shuffle(order: list[int], size: int) -> None:
        for place in range(size):
            if not drawn:
                drawn.extend(twister.randint(0, 2**32, size=256, dtype=np.uint32).tolist()[::-1])
            other = place + (drawn.pop() * (size - place) >> 32)
            order[place], order[other] = order[other], order[place]

    return shuffle
