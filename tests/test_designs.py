"""Which comparisons are read: counted and worked by hand, against all graphs of few responses, and
by identities."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.designs import DesignConfig, Pair, comparisons, uncertainty
from rewarddiff.errors import UserError
from rewarddiff.rankings import potentials


def unordered(pairs: list[Pair]) -> set[frozenset[int]]:
    return set(map(frozenset, pairs))


def joined(n: int, pairs: list[Pair]) -> bool:
    reached, new = {0}, {0}
    while new:
        new = {b for pair in pairs for a, b in (pair, pair[::-1]) if a in new} - reached
        reached |= new
    return len(reached) == n


@st.composite
def designed(draw: st.DrawFn) -> tuple[int, DesignConfig]:
    n, seed = draw(st.integers(2, 9)), draw(st.integers(0, 10_000))
    mode = draw(st.sampled_from(["both", "all", "anchor", "budget"]))
    budget = draw(st.integers(n - 1, n * n)) if mode == "budget" else None
    return n, DesignConfig(mode, budget, seed)


@given(designed())
def test_every_design_joins_all_responses(case: tuple[int, DesignConfig]) -> None:
    n, design = case
    pairs = comparisons(n, design, "g")
    every = n * (n - 1) // 2
    sizes = {
        "both": 2 * every,
        "all": every,
        "anchor": n - 1,
        "budget": min(design.budget or 0, every),
    }
    assert len(pairs) == len(set(pairs)) == sizes[design.mode]
    assert all(a != b and 0 <= a < n and 0 <= b < n for a, b in pairs)
    assert joined(n, pairs)
    if design.mode != "both":
        assert len(unordered(pairs)) == len(pairs)  # none in both orders
    assert pairs == comparisons(n, design, "g")


@given(designed(), st.integers(0, 100))
def test_scores_that_explain_the_differences_are_found_by_every_design(
    case: tuple[int, DesignConfig], seed: int
) -> None:
    n, design = case
    scores = np.random.default_rng(seed).normal(size=n)
    pairs = comparisons(n, design)
    assert potentials(n, pairs, [scores[a] - scores[b] for a, b in pairs]) == pytest.approx(
        scores - scores.mean()
    )


@given(designed())
def test_no_response_is_read_first_much_more_often(case: tuple[int, DesignConfig]) -> None:
    n, design = case
    pairs = comparisons(n, design)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    if design.mode == "anchor":
        assert len(first) == 1
    else:
        assert all(abs(first[i] - second[i]) <= 1 for i in range(n))


@pytest.mark.parametrize("n", [3, 5, 7])
def test_a_liking_for_the_first_place_cancels_where_it_can(n: int) -> None:
    """Of an odd number each is first (n − 1)/2 times: d = s_a − s_b + 5 in all comparisons gives
    the scores s."""
    scores = np.arange(n) ** 2.0
    pairs = comparisons(n, DesignConfig("all"))
    assert potentials(n, pairs, [scores[a] - scores[b] + 5 for a, b in pairs]) == pytest.approx(
        scores - scores.mean()
    )


def test_both_is_every_order() -> None:
    assert comparisons(4, DesignConfig()) == list(permutations(range(4), 2))


@pytest.mark.parametrize("n", range(2, 8))
@pytest.mark.parametrize("seed", [0, 1])
def test_a_budget_for_all_pairs_is_all(n: int, seed: int) -> None:
    every = n * (n - 1) // 2
    everything = comparisons(n, DesignConfig("all", seed=seed), "g")
    assert comparisons(n, DesignConfig("budget", every, seed), "g") == everything
    assert comparisons(n, DesignConfig("budget", every + 1, seed), "g") == everything


def test_chance_is_drawn_by_seed_and_group() -> None:
    def anchors(seeds: range, groups: range) -> set[int]:
        return {
            comparisons(5, DesignConfig("anchor", seed=s), str(g))[0][0]
            for s in seeds
            for g in groups
        }

    assert anchors(range(60), range(1)) == anchors(range(1), range(60)) == set(range(5))
    drawn = {frozenset(unordered(comparisons(5, DesignConfig("budget", 5, s)))) for s in range(200)}
    assert len(drawn) == 12  # rings of five: 4!/2


def test_uncertainty_by_hand() -> None:
    # A chain of three: resistances 1, 1 and 2. A triangle: 1 beside 1 + 1, so 2/3 each.
    assert uncertainty(3, [(0, 1), (1, 2)]) == pytest.approx(4 / 3)
    assert uncertainty(3, [(0, 1), (1, 2), (2, 0)]) == pytest.approx(2 / 3)
    # A ring of four: neighbours 1 beside 3 is 3/4 (four of them), across 2 beside 2 is 1 (two):
    # (4·3/4 + 2)/6.
    assert uncertainty(4, comparisons(4, DesignConfig("budget", 4))) == pytest.approx(5 / 6)
    for n in (2, 5, 6):
        assert uncertainty(n, comparisons(n, DesignConfig("all"))) == pytest.approx(2 / n)
        assert uncertainty(n, comparisons(n, DesignConfig("anchor"))) == pytest.approx(
            2 * (n - 1) / n
        )
    assert math.isinf(uncertainty(4, [(0, 1), (2, 3)]))
    assert math.isnan(uncertainty(1, []))


def test_uncertainty_is_that_of_the_potentials() -> None:
    """By simulation: noise alone read by a design of seven of fifteen comparisons."""
    draw, pairs = np.random.default_rng(0), comparisons(6, DesignConfig("budget", 7))
    found = np.array([potentials(6, pairs, draw.normal(size=7)) for _ in range(4000)])
    gaps = np.array([found[:, a] - found[:, b] for a, b in combinations(range(6), 2)])
    assert gaps.var(axis=1).mean() == pytest.approx(uncertainty(6, pairs), rel=0.05)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_few_comparisons_determine_the_scores_nearly_as_well_as_any(n: int) -> None:
    """Against all graphs with as many comparisons; of a tree, a star is the best."""
    every = list(combinations(range(n), 2))
    for size in range(n - 1, len(every) + 1):
        best = min(uncertainty(n, list(graph)) for graph in combinations(every, size))
        assert uncertainty(n, comparisons(n, DesignConfig("budget", size))) <= 1.07 * best


@given(st.integers(4, 12))
def test_another_comparison_never_hurts(n: int) -> None:
    sizes = range(n - 1, n * (n - 1) // 2 + 1)
    found = [uncertainty(n, comparisons(n, DesignConfig("budget", size))) for size in sizes]
    assert all(a > b for a, b in pairwise(found))


def test_nothing_to_compare() -> None:
    for design in (
        DesignConfig(),
        DesignConfig("all"),
        DesignConfig("anchor"),
        DesignConfig("budget", 3),
    ):
        assert comparisons(0, design) == comparisons(1, design) == []


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="4 comparisons cannot join 6 responses; give at least 5"):
        comparisons(6, DesignConfig("budget", 4))
    for options in (
        {"mode": "budget"},
        {"mode": "all", "budget": 3},
        {"mode": "budget", "budget": 0},
    ):
        with pytest.raises(ValueError, match="budget"):
            DesignConfig(**options)  # type: ignore[arg-type]
