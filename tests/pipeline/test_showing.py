"""What a report shows of samples: the prompts that gains pick out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rewarddiff.evaluation.histograms import distribution, histograms_on_one_axis
from rewarddiff.pipeline.contrasts import win_rate
from rewarddiff.pipeline.showing import picked, reward_distributions


def test_largest_smallest_and_median_gain() -> None:
    # In order: −2, −1, 0.5, 1, 7 at the places 3, 0, 4, 1, 2.
    assert picked([-1.0, 1.0, 7.0, -2.0, 0.5]) == {"largest": 2, "median": 4, "smallest": 3}


def test_of_an_even_number_the_median_is_the_lower_of_the_middle() -> None:
    # In order: 1, 2, 3, 4; the two in the middle are 2 and 3.
    assert picked([4.0, 3.0, 2.0, 1.0])["median"] == 2


def test_no_prompt_is_picked_twice() -> None:
    assert picked([0.0]) == {"largest": 0}
    assert picked([1.0, 2.0]) == {"largest": 1, "smallest": 0}
    assert picked([5.0, 5.0, 5.0]) == {"largest": 0}
    assert picked([math.nan, math.nan]) == {}
    assert picked([math.nan, 2.0, 1.0]) == {"largest": 1, "smallest": 2}


def test_every_reward_is_in_its_histogram_and_all_share_their_edges() -> None:
    one, other = np.array([0.0, 1.0, 1e3]), np.array([-5.0, 0.5])
    first, second = histograms_on_one_axis([one, other])
    assert first.edges == second.edges
    assert (first.edges[0], first.edges[-1]) == (-5.0, 1e3)
    assert (sum(first.counts), sum(second.counts)) == (3, 2)
    assert (first.negative, second.negative) == (0, 1)


def test_mean_deviation_and_tails() -> None:
    # Of 0, 1, …, 100: mean 50, variance (101² − 1)/12 = 850, and the q-quantile is 100 q.
    spread = distribution(np.arange(101.0))
    assert spread.mean == 50.0
    assert spread.std == pytest.approx(math.sqrt(850))
    assert spread.quantiles["0.01"] == pytest.approx(1.0)
    assert spread.quantiles["0.95"] == pytest.approx(95.0)
    assert spread.quantiles["1"] == 100.0
    assert math.isnan(distribution(np.array([])).quantiles["0.5"])


def test_distributions_are_of_every_policy_under_every_scorer_and_seed() -> None:
    rewards = {
        0: {"judge": {"base": [0.0, 1.0], "dpo": [2.0, 3.0]}},
        1: {"judge": {"base": [5.0, 5.0], "dpo": [7.0, 9.0]}},
    }
    lines = list(reward_distributions(rewards))
    assert [(line.seed, line.scorer, line.policy, line.spread.mean) for line in lines] == [
        (0, "judge", "base", 0.5),
        (0, "judge", "dpo", 2.5),
        (1, "judge", "base", 5.0),
        (1, "judge", "dpo", 8.0),
    ]
    assert lines[0].histogram.edges == lines[1].histogram.edges != lines[2].histogram.edges


def test_a_win_rate_counts_ties_half_and_mirrors() -> None:
    # Two wins, one tie and one loss of four: (2 + 1/2)/4.
    gaps = np.array([[0.3, 2.0, 0.0, -1.0]])
    assert win_rate(gaps).value == 0.625
    assert win_rate(-gaps).value == 0.375
    assert win_rate(np.array([[1.0] * 20])).low < 1.0  # all won, and yet no certainty
