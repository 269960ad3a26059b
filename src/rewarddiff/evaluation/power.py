"""How many prompts tell two policies apart."""

from __future__ import annotations

import math

from scipy import stats

from rewarddiff.evaluation.intervals import LEVEL


def prompts_needed(rate: float, *, ties: float = 0.0, power: float = 0.8) -> int:
    """Return how many prompts a sign test needs to tell a win rate from one half.

    Args:
        rate: wins and half of the ties, in (0, 1), not ½.
        ties: share of ties; they take no part in the test.
        power: how likely the test is to find it, at a level of 5 %, two-sided.

    Raises:
        ValueError: a rate of one half, or one that leaves no room for so many ties.

    Source: the binomial test in normal approximation, with its continuity correction; Fleiss, Levin
        and Paik 2003, section 2.4.

    >>> prompts_needed(0.55), prompts_needed(0.6)
    (803, 204)
    """
    decided = 1 - ties
    if decided <= 0 or rate == 0.5:
        raise ValueError(f"a rate of {rate} with {ties:.0%} ties cannot be told from one half")
    won = 0.5 + (rate - 0.5) / decided
    if not 0 <= won <= 1:
        raise ValueError(f"a rate of {rate} leaves no room for {ties:.0%} ties")
    z_level = float(stats.norm.ppf(0.5 + LEVEL / 2))
    z_power = float(stats.norm.ppf(power))
    gap = abs(won - 0.5)
    n = ((z_level / 2 + z_power * math.sqrt(won * (1 - won))) / gap) ** 2
    corrected = n / 4 * (1 + math.sqrt(1 + 2 / (n * gap))) ** 2
    return math.ceil(corrected / decided)
