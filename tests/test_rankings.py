"""Rankings from differences: worked by hand, by identities, and against least squares written
another way."""

from __future__ import annotations

import math
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.rankings import (
    Method,
    cyclic_triples,
    inconsistency,
    mean_differences,
    potentials,
    rank,
)

ALL: list[Method] = ["borda", "copeland", "sum", "potentials"]


def every(n: int) -> list[tuple[int, int]]:
    return list(combinations(range(n), 2))


def test_by_hand() -> None:
    # d(0,1) = ln 3, d(0,2) = 0, d(1,2) = −ln 3: σ is ¾, ½, ¼.
    d, third = [math.log(3), 0.0, -math.log(3)], math.log(3) / 3
    assert rank(3, every(3), d, "sum") == pytest.approx(
        [math.log(3), -2 * math.log(3), math.log(3)]
    )
    assert rank(3, every(3), d, "copeland").tolist() == [1, -2, 1]
    assert rank(3, every(3), d, "borda") == pytest.approx([5 / 8, 1 / 4, 5 / 8])
    # On all pairs the potentials are the row sums over n.
    assert rank(3, every(3), d, "potentials") == pytest.approx([third, -2 * third, third])


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=7))
def test_scores_that_explain_all_differences_are_found(scores: list[float]) -> None:
    n = len(scores)
    pairs = [(a, b) if (a + b) % 2 else (b, a) for a, b in every(n)]
    d = [scores[a] - scores[b] for a, b in pairs]
    found = potentials(n, pairs, d)
    assert found == pytest.approx(np.array(scores) - np.mean(scores), abs=1e-9)
    if any(abs(x) > 1e-6 for x in d):
        assert inconsistency(n, pairs, d) == pytest.approx(0, abs=1e-9)
    assert cyclic_triples(n, pairs, d)[0] == 0


@given(st.integers(3, 6), st.integers(0, 10_000))
def test_potentials_are_the_least_squares(n: int, seed: int) -> None:
    """The gradient of Σ(s_a − s_b − d)² vanishes, and the residual is orthogonal to every s_a −
    s_b."""
    draw = np.random.default_rng(seed)
    chain = [(i, i + 1) for i in range(n - 1)]  # joined, and some of the other pairs
    pairs = chain + [p for p in every(n) if p not in chain and draw.random() < 0.5]
    d = draw.normal(size=len(pairs))
    s = potentials(n, pairs, d)
    residual = np.array([s[a] - s[b] - value for (a, b), value in zip(pairs, d, strict=True)])
    gradient = np.zeros(n)
    for (a, b), r in zip(pairs, residual, strict=True):
        gradient[a] += r
        gradient[b] -= r
    assert gradient == pytest.approx(np.zeros(n), abs=1e-9)
    assert s.sum() == pytest.approx(0, abs=1e-9)
    assert inconsistency(n, pairs, d) == pytest.approx(float(residual @ residual / (d @ d)))


@pytest.mark.parametrize("method", ALL)
def test_turning_a_pair_round_changes_nothing(method: Method) -> None:
    d = np.random.default_rng(1).normal(size=10)
    turned = [(b, a) if i % 3 else (a, b) for i, (a, b) in enumerate(every(5))]
    signs = np.array([-1.0 if i % 3 else 1.0 for i in range(10)])
    assert rank(5, turned, signs * d, method) == pytest.approx(rank(5, every(5), d, method))


def test_cycles() -> None:
    around = [(0, 1), (1, 2), (2, 0)]
    assert inconsistency(3, around, [2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert cyclic_triples(3, around, [2.0, 2.0, 2.0]) == (1, 1)
    assert cyclic_triples(3, around, [-2.0, -1.0, -3.0]) == (1, 1)
    assert cyclic_triples(3, around, [2.0, 2.0, -2.0]) == (0, 1)
    assert cyclic_triples(3, around, [2.0, 2.0, 0.0]) == (0, 1)
    assert cyclic_triples(4, around, [1.0, 1.0, 1.0]) == (1, 1)  # triples with 3 were not compared
    # Four responses, 0 ≻ 1 ≻ 2 ≻ 0 and all above 3: one of four triples goes round.
    assert cyclic_triples(4, [*around, (0, 3), (1, 3), (2, 3)], np.ones(6)) == (1, 4)


def test_what_was_not_compared() -> None:
    assert potentials(4, [(0, 1), (2, 3)], [2.0, 4.0]) == pytest.approx([1, -1, 2, -2])
    assert rank(3, [(0, 1)], [1.0], "borda")[2] == 0.5
    assert rank(3, [(0, 1)], [1.0], "copeland").tolist() == [1, -1, 0]
    assert potentials(2, [], []).tolist() == [0, 0]
    assert math.isnan(inconsistency(2, [], []))
    assert math.isnan(inconsistency(2, [(0, 1)], [0.0]))


@pytest.mark.parametrize(
    ("pairs", "d", "message"),
    [
        ([(0, 1)], [1.0, 2.0], "1 pairs but"),
        ([(0, 1)], [math.nan], "finite"),
        ([(0, 0)], [1.0], "pair of one response"),
        ([(0, 2)], [1.0], "outside the 2"),
    ],
)
def test_what_is_refused(pairs: list[tuple[int, int]], d: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        potentials(2, pairs, d)


def test_equal_scores_stay_equal() -> None:
    """Rounding errors of least squares break no tie: of noise-free differences of scores, and of a
    pure cycle."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.choice(rng.normal(size=3), size=7)
        pairs = list(combinations(range(7), 2))
        found = potentials(7, pairs, [scores[a] - scores[b] for a, b in pairs])
        assert all((found[a] == found[b]) == (scores[a] == scores[b]) for a, b in pairs)
    assert potentials(3, [(0, 1), (1, 2), (2, 0)], [1.0, 1.0, 1.0]).tolist() == [0, 0, 0]


# -- differences of which nothing is said ----------------------------------------------------------


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=6), st.randoms())
def test_means_are_those_of_scores_whichever_differences_are_missing(
    scores: list[float], draw: random.Random
) -> None:
    """Where d = s_a − s_b, the mean over the others is (n·s − Σs)/(n − 1), known from any tree."""
    n = len(scores)
    pairs = every(n)
    order = draw.sample(range(n), n)
    tree = {frozenset((order[i], draw.choice(order[:i]))) for i in range(1, n)}
    d = [scores[a] - scores[b] if {a, b} in tree else math.nan for a, b in pairs]
    expected = (n * np.array(scores) - sum(scores)) / (n - 1)
    assert mean_differences(n, pairs, d) == pytest.approx(expected, abs=1e-9)
    whole = [scores[a] - scores[b] for a, b in pairs]
    assert mean_differences(n, pairs, whole) == pytest.approx(expected, abs=1e-9)


def test_responses_that_nothing_joins_have_no_mean() -> None:
    nan = math.nan
    # 0–1 and 2–3 are known, nothing between them
    assert np.isnan(mean_differences(4, every(4), [1.0, nan, nan, nan, nan, 2.0])).all()
    assert np.isnan(mean_differences(2, [(0, 1)], [nan])).all()
    assert mean_differences(1, [], []).tolist() == [0.0]


def test_differences_near_the_least_number_there_is_are_no_nan() -> None:
    scores = potentials(2, [(0, 1)], [2.0**-1040])
    np.testing.assert_allclose(scores, [2.0**-1041, -(2.0**-1041)], atol=1e-300)
