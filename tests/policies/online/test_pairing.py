"""From what a scorer says of a group to pairs: by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rewarddiff.designs import DesignConfig, comparisons
from rewarddiff.differences import Differences
from rewarddiff.policies.online.pairing import (
    each_once,
    folded,
    less_truncated,
    preferred,
    scores_by,
)

THREE = [(10,), (11,), (12,)]
"""The tokens of three responses."""


def of_rewards(*r: float) -> Differences:
    pairs = [(a, b) for a in range(len(r)) for b in range(a + 1, len(r))]
    return Differences.of_rewards(r, pairs)


@pytest.mark.parametrize(
    ("r", "best_worst", "all_pairs"),
    [
        ((1.0, 3.0, 2.0), [(1, 0)], [(1, 0), (2, 0), (1, 2)]),
        # Of two that are best the first one is taken; between them there is no pair.
        ((0.0, 5.0, 5.0), [(1, 0)], [(1, 0), (2, 0)]),
        ((2.0, 2.0, 2.0), [], []),
        # What is not scored is in no pair, also where it stands first.
        ((math.nan, 1.0, 4.0), [(2, 1)], [(2, 1)]),
        ((math.nan, 1.0, math.nan), [], []),
        ((-0.0, 0.0, 0.0), [], []),
    ],
)
def test_pairs_of_rewards_by_hand(
    r: tuple[float, ...], best_worst: list[tuple[int, int]], all_pairs: list[tuple[int, int]]
) -> None:
    assert preferred(of_rewards(*r), r, THREE) == best_worst
    assert preferred(of_rewards(*r), r, THREE, choice="all") == all_pairs


def test_the_same_response_twice_is_no_pair() -> None:
    # A scorer that reads two together may find itself better than itself.
    d = Differences.of([0.4, 2.0, 1.0], [(0, 1), (0, 2), (1, 2)])
    twins = [(7, 8), (7, 8), (9,)]
    assert preferred(d, [1.0, 0.5, -1.5], twins, choice="all") == [(0, 2), (1, 2)]


def test_a_cycle_is_oriented_by_d_itself() -> None:
    # 0 beats 1 by 5, 1 beats 2 by 1, and 2 beats 0 by 1. The potentials are s_a = Σ_b d(a, b) / 3:
    # s = (5 − 1, 1 − 5, 1 − 1) / 3 = (4, −4, 0) / 3. So 0 and 1 are the farthest apart.
    d = Differences.of([5.0, 1.0, 1.0], [(0, 1), (1, 2), (2, 0)])
    scores = scores_by(3, d)
    np.testing.assert_allclose(scores, [4 / 3, -4 / 3, 0], atol=1e-9)
    assert preferred(d, scores, THREE) == [(0, 1)]
    assert preferred(d, scores, THREE, choice="all") == [(0, 1), (1, 2), (2, 0)]


def test_only_what_was_compared_is_a_pair() -> None:
    # 2 is compared with 1 alone; that 0 is better than 2 as well nobody said.
    d = Differences.of([1.0, 3.0], [(0, 1), (1, 2)])
    assert preferred(d, scores_by(3, d), THREE) == [(1, 2)]


def test_a_response_of_which_nothing_is_known_has_no_score() -> None:
    d = Differences.of([math.nan, 2.0, math.nan], [(0, 1), (0, 2), (1, 2)])
    np.testing.assert_allclose(scores_by(3, d), [1.0, math.nan, -1.0])


@pytest.mark.parametrize("mode", ["both", "all"])
def test_swapped_differences_swap_every_pair(mode: str) -> None:
    rng = np.random.default_rng(0)
    responses = [(i,) for i in range(5)]
    for trial in range(20):
        pairs = comparisons(5, DesignConfig(mode), str(trial))  # type: ignore[arg-type]
        d = folded(Differences.of(rng.normal(size=len(pairs)), pairs))
        minus = Differences.of(-d.mean, d.pairs)
        for choice in ("best_worst", "all"):
            one = preferred(d, scores_by(5, d), responses, choice=choice)  # type: ignore[arg-type]
            other = preferred(minus, scores_by(5, minus), responses, choice=choice)  # type: ignore[arg-type]
            assert [(b, a) for a, b in one] == other
            assert len(one) == (1 if choice == "best_worst" else 10)


def test_both_orders_become_one_difference() -> None:
    # ½(d(0, 1) − d(1, 0)) = ½(3 + 1); a scorer that likes what stands first by 1 is corrected.
    pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    d = folded(Differences.of([3.0, 6.0, -1.0, 2.0, -4.0, math.nan], pairs))
    assert d.pairs == ((0, 1), (0, 2), (1, 2))
    np.testing.assert_allclose(d.mean, [2.0, 5.0, math.nan])  # one order alone is not enough
    one_order = folded(Differences.of([3.0, 6.0], [(1, 0), (0, 2)]))
    assert dict(zip(one_order.pairs, one_order.mean, strict=True)) == {(0, 1): -3.0, (0, 2): 6.0}


def test_both_orders_of_a_scorer_that_has_read_them_stay() -> None:
    read = Differences(
        ((0, 1), (1, 0)), np.array([[3.0], [-1.0]]), backward=np.array([[-1.0], [3.0]])
    )
    assert folded(read).mean.tolist() == [2.0]


def test_a_penalty_moves_rewards_and_differences_alike() -> None:
    r = np.array([1.0, 0.5, 2.0])
    truncated = [False, True, True]
    by_hand = of_rewards(1.0, -2.5, -1.0)  # 3 less for the last two
    moved = less_truncated(of_rewards(*r), truncated, 3.0)
    np.testing.assert_allclose(moved.mean, by_hand.mean)
    # Over two heads d is their mean; both orders are moved.
    heads = Differences(
        ((0, 1),), np.array([[1.0, 2.0]]), np.array([[-1.0, -3.0]]), (0.5, 0.5), ensemble=True
    )
    later = less_truncated(heads, truncated[:2], 3.0)
    np.testing.assert_allclose(later.mean, heads.mean + 3.0)
    np.testing.assert_allclose(later.spread, heads.spread)


def test_every_two_responses_once() -> None:
    assert each_once([(2, 0), (0, 2), (1, 0)]) == [(0, 1), (0, 2)]
