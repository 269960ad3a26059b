"""What the page of a baseline says of variance, against the formula by hand."""

from __future__ import annotations

import math

import pytest

from rewarddiff.report.baseline import BaselineSummary, verdict
from rewarddiff.results import Distribution, Interval


def summary(k: int, between: Interval) -> BaselineSummary:
    return BaselineSummary(
        data="prompts.jsonl",
        model="my/sft",
        scorer="my/scorer",
        prompts=24,
        k=k,
        cut=0,
        empty=0,
        unscored=0,
        means=Distribution(0.0, 1.0, {}),
        spreads=None,
        histograms=(),
        between=between,
        hardest=(),
        easiest=(),
    )


@pytest.mark.parametrize(
    ("k", "between", "sentence"),
    [
        # (1 − 0.208) · 1.5 = 1.188; a baseline of two takes noise off from a third on
        (
            2,
            Interval(0.208, 0.05, 0.4, 24),
            "20.8 % [5.0 %, 40.0 %] of the variance of the scores lies between prompts. Taking the mean "
            "of k = 2 off leaves (1 − share)(1 + 1/k) = 118.8 % of the variance: noise is added, as "
            "with any share below 1/(k + 1) = 33.3 %.",
        ),
        # (1 − 0.5) · 4/3 = 0.667
        (
            3,
            Interval.unbounded(0.5),
            "50.0 % of the variance of the scores lies between prompts. Taking the mean of k = 3 off "
            "leaves (1 − share)(1 + 1/k) = 66.7 % of the variance: rewards get steadier.",
        ),
    ],
)
def test_what_a_baseline_leaves_of_the_variance(k: int, between: Interval, sentence: str) -> None:
    said = verdict(summary(k, between)).replace("\u202f", " ").replace("\u00a0", " ")
    assert said.endswith(sentence)


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert verdict(summary(1, Interval.unbounded(math.nan))).endswith("scored by my/scorer.")
