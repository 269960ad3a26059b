"""The interval of the share of variance between prompts: it covers, and is never a point by accident."""

from __future__ import annotations

import math

import numpy as np

from rewarddiff.evaluation.intraclass import interval_between


def test_it_covers_the_share_that_scores_were_drawn_with() -> None:
    """Half of the variance between prompts, 40 prompts of 3: nine of ten intervals hold 0.5.

    Of 30 intervals 27 are expected to. With a probability of 99.8 % no more than 8 do not.
    """
    draws = np.random.default_rng(0)
    misses = 0
    for _ in range(30):
        scores = draws.normal(size=(40, 1)) + draws.normal(size=(40, 3))
        interval = interval_between(scores)
        assert interval.low <= interval.value <= interval.high
        misses += not interval.low <= 0.5 <= interval.high
    assert misses <= 8


def test_it_is_narrower_with_more_prompts() -> None:
    draws = np.random.default_rng(1)
    scores = draws.normal(size=(800, 1)) + draws.normal(size=(800, 2))
    few, many = interval_between(scores[:50]), interval_between(scores)
    # Sixteen times as many prompts: about a quarter as wide.
    assert 0.15 < (many.high - many.low) / (few.high - few.low) < 0.4


def test_nothing_is_known_of_one_response_or_one_prompt() -> None:
    for scores in ([[1.0], [4.0]], [[1.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]):
        interval = interval_between(scores)
        assert math.isnan(interval.value)
        assert not interval.bounded
    # A prompt that was not scored whole is left out, as in the share.
    whole = [[1.0, 3.0], [6.0, 6.0], [2.0, 0.0]]
    assert interval_between([*whole, [5.0, math.nan]]) == interval_between(whole)


def test_where_prompts_explain_all_the_end_is_that_of_what_was_not_seen() -> None:
    """All resamples are 1: of 14 prompts without an exception, Wilson's bound of 0.785."""
    scores = np.repeat(np.arange(14.0)[:, None], 3, axis=1)
    interval = interval_between(scores)
    assert interval.high == 1
    assert abs(interval.low - 0.7847) < 1e-4
