"""How many prompts are enough: against the exact power of the sign test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rewarddiff.evaluation.power import prompts_needed


def exact_power(decided: int, won: float) -> float:
    """Return how likely the exact sign test of so many verdicts has p ≤ 0.05."""
    wins = np.arange(decided + 1)
    largest = int(stats.binom.ppf(0.025, decided, 0.5)) - 1  # P(wins ≤ largest) ≤ 0.025
    is_found = (wins <= largest) | (wins >= decided - largest)
    return float(stats.binom.pmf(wins, decided, won)[is_found].sum())


@pytest.mark.parametrize("rate", [0.55, 0.45, 0.6, 0.7])
def test_so_many_prompts_have_the_power(rate: float) -> None:
    n = prompts_needed(rate)
    assert exact_power(n, rate) == pytest.approx(0.8, abs=0.025)


def test_ties_are_prompts_lost_but_decided_ones_say_more() -> None:
    """55 % with half of the prompts tied: of the decided half 60 % are won, so twice as many prompts
    as 60 % needs, and fewer than 55 % without ties."""
    assert prompts_needed(0.55, ties=0.5) in (2 * prompts_needed(0.6), 2 * prompts_needed(0.6) - 1)
    assert prompts_needed(0.55, ties=0.5) < prompts_needed(0.55)


def test_one_half_cannot_be_told_from_itself() -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        prompts_needed(0.5)
    with pytest.raises(ValueError, match="no room"):
        prompts_needed(0.9, ties=0.5)
