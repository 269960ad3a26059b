"""Bradley and Terry's model: against scikit-learn, by finite differences, and by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special
from sklearn.linear_model import LogisticRegression

from rewarddiff.evaluation.bradley_terry import (
    NEVER_MET,
    UNBOUNDED,
    has_finite_strengths,
    ranking,
    strengths,
)

Array = NDArray[np.float64]


def log_likelihood(wins: Array, s: Array) -> float:
    return float((wins * special.log_expit(s[:, None] - s[None, :])).sum())


def random_wins(seed: int, policies: int = 5) -> Array:
    draws = np.random.default_rng(seed)
    wins = draws.integers(1, 20, size=(policies, policies)) / 2
    np.fill_diagonal(wins, 0)
    return wins


def test_two_policies_by_hand() -> None:
    """3 to 1: σ(s₁ − s₂) = 3/4, so s₁ − s₂ = ln 3, and the mean is 0."""
    assert strengths([[0, 3], [1, 0]]).tolist() == pytest.approx(
        [math.log(3) / 2, -math.log(3) / 2]
    )


def test_a_chain_by_hand() -> None:
    """1 meets 2 at 3:1, 2 meets 3 at 3:1, 1 and 3 never meet: gaps of ln 3 each."""
    wins = [[0, 3, 0], [1, 0, 3], [0, 1, 0]]
    assert strengths(wins).tolist() == pytest.approx([math.log(3), 0, -math.log(3)], abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_likelihood_is_level_at_its_top(seed: int) -> None:
    wins = random_wins(seed)
    s = strengths(wins)
    for direction in np.eye(len(s)):
        step = 1e-4 * direction
        up, down = log_likelihood(wins, s + step), log_likelihood(wins, s - step)
        assert (up - down) / 2e-4 == pytest.approx(0, abs=1e-5)
        assert log_likelihood(wins, s) > max(up, down)
    assert s.mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_scikit_learns_logistic_regression(seed: int) -> None:
    wins = random_wins(seed)
    rows = []
    weights = []
    for i, j in itertools.permutations(range(len(wins)), 2):
        rows.append(np.eye(len(wins))[i] - np.eye(len(wins))[j])
        weights.append(wins[i, j])
    features = np.concatenate([rows, np.negative(rows)])
    labels = np.repeat([1, 0], len(rows))
    referee = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=10_000)
    referee.fit(features, labels, sample_weight=np.tile(weights, 2))
    expected = referee.coef_[0] - referee.coef_[0].mean()
    assert strengths(wins).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_tables_side_by_side_are_tables() -> None:
    tables = np.stack([random_wins(seed) for seed in range(3)])
    np.testing.assert_allclose(strengths(tables), [strengths(table) for table in tables])


@pytest.mark.parametrize(
    ("wins", "is_finite"),
    [
        ([[0, 1], [1, 0]], True),
        ([[0, 5], [0, 0]], False),  # one always wins
        ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], True),  # each beats the next, in a circle
        ([[0, 1, 1], [1, 0, 1], [0, 0, 0]], False),  # two never lose to the third
        ([[0, 1, 0], [1, 0, 0], [0, 0, 0]], False),  # the third met nobody
        ([[0]], True),
    ],
)
def test_when_strengths_are_finite(wins: list[list[float]], is_finite: bool) -> None:
    assert has_finite_strengths(wins) == is_finite
    assert np.isfinite(strengths(np.array(wins))).all() == is_finite


def values(rates: dict[tuple[str, str], float], prompts: int) -> dict[tuple[str, str], Array]:
    """Return verdicts with these shares of wins, wins spread evenly over the prompts."""
    by_pair = {}
    for place, (pair, rate) in enumerate(rates.items()):
        order = np.random.default_rng(place).permutation(prompts)
        by_pair[pair] = np.where(order < rate * prompts, 2.0, -1.0)
    return by_pair


def test_a_ranking() -> None:
    """Three policies, 100 prompts: b beats a at 60 %, c at 80 %; a beats c at 70 %."""
    verdicts = values({("a", "b"): 0.4, ("b", "c"): 0.8, ("a", "c"): 0.7}, 100)
    ranks = ranking("gpt", ["a", "b", "c"], verdicts, range(100))
    assert [rank.policy for rank in ranks] == ["b", "a", "c"]
    assert [rank.rate for rank in ranks] == pytest.approx([0.7, 0.55, 0.25])
    wins = np.array([[0, 40, 70], [60, 0, 80], [30, 20, 0]])
    expected = strengths(wins)[[1, 0, 2]]
    assert [rank.strength.value for rank in ranks] == pytest.approx(expected.tolist())
    for rank in ranks:
        assert rank.strength.low < rank.strength.value < rank.strength.high
        assert (rank.strength.n, rank.remark, rank.judge) == (200, "", "gpt")


def test_the_interval_is_the_models_own_where_prompts_are_independent() -> None:
    """Two policies at 60 % of 400: the log-odds have a standard error of 1/√(400·0.6·0.4), and a
    strength is half of them."""
    verdicts = values({("a", "b"): 0.6}, 400)
    best = ranking("gpt", ["a", "b"], verdicts, range(400))[0]
    half = 1.96 / 2 / math.sqrt(400 * 0.6 * 0.4)
    assert best.strength.high - best.strength.low == pytest.approx(2 * half, rel=0.1)


def test_who_is_a_and_who_is_b_changes_nothing() -> None:
    verdicts = values({("a", "b"): 0.4, ("b", "c"): 0.8, ("a", "c"): 0.7}, 60)
    turned = {(b, a): -d for (a, b), d in verdicts.items()}
    there = ranking("gpt", ["a", "b", "c"], verdicts, range(60))
    back = ranking("gpt", ["a", "b", "c"], turned, range(60))
    for first, second in zip(there, back, strict=True):
        assert first.policy == second.policy
        assert first.strength.value == pytest.approx(second.strength.value, abs=1e-12)
        assert first.strength.low == pytest.approx(second.strength.low, abs=1e-12)


def test_ties_and_unscored_verdicts() -> None:
    """Two ties and one verdict without a say: half a win each twice, so both are equal."""
    ranks = ranking("gpt", ["a", "b"], {("a", "b"): np.array([0.0, 0.0, math.nan])}, range(3))
    assert [rank.strength.value for rank in ranks] == [0.0, 0.0]
    assert [rank.rate for rank in ranks] == [0.5, 0.5]
    assert ranks[0].strength.n == 2


def test_a_policy_that_always_wins_is_said_to_have_no_bound() -> None:
    """10 of 10, with an imaginary tie 10.5 of 11: half of ln(10.5/0.5)."""
    best, worst = ranking("gpt", ["a", "b"], {("a", "b"): np.ones(10)}, range(10))
    assert best.remark == worst.remark == UNBOUNDED
    assert best.strength.value == pytest.approx(math.log(21) / 2)
    assert (best.rate, worst.rate) == (1.0, 0.0)
    assert not best.strength.bounded


def test_policies_that_never_met_have_no_strength() -> None:
    verdicts = values({("a", "b"): 0.6, ("c", "d"): 0.7}, 20)
    ranks = ranking("gpt", ["a", "b", "c", "d"], verdicts, range(20))
    assert {rank.remark for rank in ranks} == {NEVER_MET}
    assert all(math.isnan(rank.strength.value) for rank in ranks)
    assert [rank.policy for rank in ranks] == ["c", "a", "b", "d"]


def test_several_seeds_of_a_prompt_are_resampled_together() -> None:
    verdicts = values({("a", "b"): 0.6}, 50)
    once = ranking("gpt", ["a", "b"], verdicts, range(50))[0].strength
    seeds = {pair: np.stack([d, d, d]) for pair, d in verdicts.items()}
    thrice = ranking("gpt", ["a", "b"], seeds, range(50))[0].strength
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx(
        (once.value, once.low, once.high), abs=1e-9
    )
    assert thrice.n == 3 * once.n


def test_seeds_that_differ_widen_the_interval() -> None:
    """Two seeds, each with 200 prompts: a wins 60 % in one and 80 % in the other, 70 % of all.

    A strength is half of the log-odds: ln 1.5/2 = 0.203 and ln 4/2 = 0.693, together ln(7/3)/2. By
    Student's t of one degree of freedom their mean is uncertain by 12.706·0.245 = 3.116. Prompts
    alone would say about 0.11, so that a would seem better without doubt.
    """
    verdicts = np.stack([np.repeat([1.0, -1.0], [wins, 200 - wins]) for wins in (120, 160)])
    best = ranking("gpt", ["a", "b"], {("a", "b"): verdicts}, range(200))[0]
    middle = math.log(7 / 3) / 2
    assert best.strength.value == pytest.approx(middle)
    half = 12.7062 * (math.log(4) - math.log(1.5)) / 4
    assert (best.strength.low, best.strength.high) == pytest.approx(
        (middle - half, middle + half), abs=1e-3
    )


def test_all_pairs_have_the_same_seeds() -> None:
    verdicts = {("a", "b"): np.ones((2, 3)), ("b", "c"): np.ones(3)}
    with pytest.raises(ValueError, match=r"b and c: values of shape \(1, 3\), of 2 seeds"):
        ranking("gpt", ["a", "b", "c"], verdicts, range(3))
