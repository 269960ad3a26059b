"""Rewards relative to a baseline or to the group: values by hand, identities, the noise identity."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.designs import DesignConfig, comparisons
from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.rewards import Baseline, contrastive, contrastive_difference, group_difference

BASELINES: tuple[Baseline, ...] = ("mean", "median", "max")
REWARDS = st.lists(st.floats(-100, 100), min_size=2, max_size=6)
DESIGNS = {
    "both": DesignConfig("both"),
    "all": DesignConfig("all"),
    "anchor": DesignConfig("anchor", seed=3),
    "budget": DesignConfig("budget", budget=6, seed=3),
}


def joint(pairs: list[Pair], seed: int = 0) -> Differences:
    """Differences of a scorer that reads two responses together: of no rewards at all."""
    return Differences.of(np.random.default_rng(seed).normal(size=len(pairs)), pairs, apart=False)


def every_two(n: int) -> list[Pair]:
    return list(combinations(range(n), 2))


# Against stored baselines.


@pytest.mark.parametrize(("baseline", "off"), [("mean", 3.0), ("median", 2.0), ("max", 7.0)])
def test_contrastive_by_hand(baseline: Baseline, off: float) -> None:
    # The baselines 0, 2, 7 have mean 3, median 2, maximum 7.
    rewards = contrastive([5.0, -1.0], [7.0, 0.0, 2.0], baseline=baseline)
    assert rewards.tolist() == [5 - off, -1 - off]


def test_contrastive_of_several_prompts_is_that_of_each() -> None:
    draw = np.random.default_rng(0)
    rewards, stored = draw.normal(size=(4, 5)), draw.normal(size=(4, 3))
    together = contrastive(rewards, stored)
    for prompt in range(4):
        np.testing.assert_array_equal(
            together[prompt], contrastive(rewards[prompt], stored[prompt])
        )


def test_what_was_not_scored_is_nan_and_in_no_baseline() -> None:
    # The baseline is the mean of 1 and 3; the response without a score stays without.
    rewards = contrastive([5.0, np.nan, np.inf], [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(rewards, [3.0, np.nan, np.nan])
    assert np.isnan(contrastive([5.0], [np.nan])).all()
    assert np.isnan(contrastive([5.0], [])).all()


def test_rewards_and_baselines_of_other_prompts() -> None:
    with pytest.raises(ValueError, match="other prompts"):
        contrastive(np.zeros((2, 4)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="median"):
        contrastive([1.0], [1.0], baseline="least")  # type: ignore[arg-type]


@pytest.mark.parametrize(("baseline", "values"), [("mean", 2.0), ("median", 1.0), ("max", -3.0)])
def test_contrastive_difference_by_hand(baseline: Baseline, values: float) -> None:
    # d(y, b) is 8, 1 and −3: mean 2, median 1, and −3 against the one that beats y, the best.
    differences = Differences.of([8.0, 1.0, 3.0], [(0, 1), (0, 2), (3, 0)])
    assert contrastive_difference(differences, 1, baseline=baseline).tolist() == [values]


@given(REWARDS, REWARDS, st.sampled_from(BASELINES))
def test_of_pointwise_rewards_both_contrastive_rewards_are_one(
    rewards: list[float], stored: list[float], baseline: Baseline
) -> None:
    # mean, median and maximum all move with a shift: r − g(r_j) = −g(−(r − r_j)) of its own.
    pairs = [(i, len(rewards) + j) for i in range(len(rewards)) for j in range(len(stored))]
    differences = Differences.of_rewards([*rewards, *stored], pairs)
    np.testing.assert_allclose(
        contrastive_difference(differences, len(rewards), baseline=baseline),
        contrastive(rewards, stored, baseline=baseline),
        atol=1e-9,
    )


def test_a_pair_read_in_both_places_counts_by_its_mean() -> None:
    # d(0, 2) = 4 and d(2, 0) = −1 say 4 and 1: 2.5. The pair of stored ones says nothing of 0.
    differences = Differences.of([4.0, -1.0, 9.0], [(0, 2), (2, 0), (1, 2)], apart=False)
    rewards = contrastive_difference(differences, 1)
    assert rewards.tolist() == [2.5]


def test_a_response_without_a_verdict_has_no_reward() -> None:
    differences = Differences.of([1.0, np.nan, np.nan], [(0, 2), (0, 3), (1, 2)])
    np.testing.assert_array_equal(contrastive_difference(differences, 2), [1.0, np.nan])


# Against the rest of the group.


def test_group_difference_by_hand() -> None:
    # d(0,1) = 1, d(0,2) = 4, d(1,2) = −1: y0 (1 + 4)/2, y1 (−1 − 1)/2, y2 (−4 + 1)/2.
    rewards = group_difference(Differences.of([1.0, 4.0, -1.0], every_two(3), apart=False), 3)
    np.testing.assert_allclose(rewards, [2.5, -1.0, -1.5])


@given(REWARDS, st.sampled_from(sorted(DESIGNS)))
def test_of_pointwise_rewards_it_is_r_less_the_mean_of_the_others(
    rewards: list[float], design: str
) -> None:
    n = len(rewards)
    differences = Differences.of_rewards(rewards, comparisons(n, DESIGNS[design], "group"))
    # Σ_{j≠i} (r_i − r_j)/(n − 1) = r_i − (Σ r − r_i)/(n − 1)
    expected = [r - (sum(rewards) - r) / (n - 1) for r in rewards]
    np.testing.assert_allclose(group_difference(differences, n), expected, atol=1e-9)


@pytest.mark.parametrize("mode", ["both", "all"])
def test_where_all_pairs_are_read_it_is_the_mean_over_the_others(mode: str) -> None:
    pairs = comparisons(5, DESIGNS[mode], "group")
    differences = joint(pairs)
    table: dict[Pair, list[float]] = {}
    for (a, b), value in zip(pairs, differences.mean, strict=True):
        table.setdefault((a, b), []).append(value)
        table.setdefault((b, a), []).append(-value)
    expected = []
    for i in range(5):
        expected.append(np.mean([np.mean(table[(i, j)]) for j in range(5) if j != i]))
    np.testing.assert_allclose(group_difference(differences, 5), expected)


@pytest.mark.parametrize("mode", DESIGNS)
def test_rewards_of_a_group_add_up_to_nothing(mode: str) -> None:
    differences = joint(comparisons(5, DESIGNS[mode], "group"))
    assert group_difference(differences, 5).sum() == pytest.approx(0, abs=1e-9)


def test_a_star_by_hand() -> None:
    # Anchor 1, d(0,1) = 3 and d(2,1) = −6: scores 3, 0, −6 less their mean −1 are 4, 1, −5, and
    # three halves of them are against the mean of the two others: 6, 1.5, −7.5.
    rewards = group_difference(Differences.of([3.0, 6.0], [(0, 1), (1, 2)]), 3)
    np.testing.assert_allclose(rewards, [6.0, 1.5, -7.5])


def test_who_was_not_compared_has_no_reward() -> None:
    # 0 and 1 are joined, 2 is not: its comparison has no verdict.
    differences = Differences.of([2.0, np.nan], [(0, 1), (1, 2)], apart=False)
    np.testing.assert_allclose(group_difference(differences, 4), [2.0, -2.0, np.nan, np.nan])
    assert np.isnan(group_difference(Differences.of([np.nan], [(0, 1)]), 2)).all()
    assert np.isnan(group_difference(Differences.of(np.zeros(0), []), 1)).all()


def test_only_the_sampled_responses_are_the_group() -> None:
    # Responses 2 and 3 are stored ones: what was read of them belongs to `contrastive_difference`.
    pairs = [(0, 1), (0, 2), (3, 1)]
    rewards = group_difference(Differences.of([2.0, 50.0, 60.0], pairs, apart=False), 2)
    np.testing.assert_allclose(rewards, [2.0, -2.0])
    assert group_difference(Differences.of(np.zeros(0), []), 0).shape == (0,)


def test_a_response_against_itself_says_nothing() -> None:
    # A scorer that prefers whatever stands first gives d(y, y) > 0.
    rewards = group_difference(Differences.of([5.0, 2.0], [(0, 0), (0, 1)], apart=False), 2)
    np.testing.assert_allclose(rewards, [2.0, -2.0])


def test_responses_that_go_round_are_all_alike() -> None:
    # 0 beats 1 beats 2 beats 0, by 1 each: no order, all rewards 0.
    rewards = group_difference(
        Differences.of([1.0, 1.0, 1.0], [(0, 1), (1, 2), (2, 0)], apart=False), 3
    )
    np.testing.assert_allclose(rewards, 0.0, atol=1e-12)


# The noise identity.


def outcomes(success: float, c0: float, c1: float) -> list[tuple[float, int, int]]:
    """Return (probability, true reward, observed reward) of one response.

    c0 is how often a true 0 is seen as 1, c1 how often a true 1 is seen as 0.
    """
    table = []
    for true, seen in product((0, 1), repeat=2):
        of_truth = success if true else 1 - success
        wrong = c1 if true else c0
        table.append((of_truth * (wrong if seen != true else 1 - wrong), true, seen))
    return table


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(
    ("p", "q", "c0", "c1"),
    [(0.8, 0.3, 0.1, 0.25), (0.2, 0.9, 0.3, 0.0), (0.5, 0.5, 0.4, 0.2), (0.7, 0.1, 0.6, 0.6)],
)
def test_noise_shrinks_the_expected_contrastive_reward(
    p: float, q: float, c0: float, c1: float, k: int
) -> None:
    # E[r_y − mean_j r_b] = (1 − c0 − c1)(p − q), whatever the noise: the class-conditional rates
    # shrink it, and for c0 + c1 > 1 turn it. It is also (1 − c0 − c1) · Pr(r*_y ≠ r*_b) ·
    # (2·Pr(r*_y = 1 | r*_y ≠ r*_b) − 1), with r* the true rewards. All outcomes are gone through.
    expected = 0.0
    for y, *stored in product(outcomes(p, c0, c1), *[outcomes(q, c0, c1)] * k):
        chance = y[0] * float(np.prod([outcome[0] for outcome in stored]))
        seen = contrastive([y[2]], [outcome[2] for outcome in stored])[0]
        expected += chance * seen
    assert expected == pytest.approx((1 - c0 - c1) * (p - q), abs=1e-12)

    differ, wins = p * (1 - q) + q * (1 - p), p * (1 - q)
    conditioned = (1 - c0 - c1) * differ * (2 * wins / differ - 1)
    assert expected == pytest.approx(conditioned, abs=1e-12)


def test_the_product_without_the_condition_is_no_identity() -> None:
    # p = 0.8, q = 0.3: Pr(≠) = 0.62, and 0.62·(2·0.8 − 1) = 0.372 is not p − q = 0.5.
    p, q = 0.8, 0.3
    differ = p * (1 - q) + q * (1 - p)
    assert differ * (2 * p - 1) == pytest.approx(0.372)
    without_noise = sum(
        y[0] * b[0] * contrastive([y[2]], [b[2]])[0]
        for y, b in product(outcomes(p, 0, 0), outcomes(q, 0, 0))
    )
    assert without_noise == pytest.approx(0.5)


def test_the_spread_of_a_baseline_falls_with_k() -> None:
    # A baseline of k draws adds q(1 − q)/k to the variance of the reward of a sure response.
    q = 0.3
    for k in (1, 2, 4):
        second = 0.0
        for stored in product(outcomes(q, 0, 0), repeat=k):
            chance = float(np.prod([outcome[0] for outcome in stored]))
            value: Array = contrastive([1.0], [outcome[2] for outcome in stored])
            second += chance * float(value[0] - (1 - q)) ** 2
        assert second == pytest.approx(q * (1 - q) / k)
