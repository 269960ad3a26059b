"""λ and truncated responses: values by hand, exact resume."""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.errors import UserError
from rewarddiff.rewards import Moments, RunningScale, ScaleConfig, TruncationConfig, penalised

NUMBERS = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20)


def test_absolute_means_by_hand() -> None:
    # |r|: 2, 4, then 6: mean 4. |r_RL|: 1, 0, then 2: mean 1. λ = 4, after the first batch 3/0.5.
    scale = RunningScale(ScaleConfig("absolute_mean"))
    scale = scale.update([1.0, 0.0], original=[2.0, -4.0])
    assert scale.factor == pytest.approx(6.0)
    scale = scale.update([-2.0], original=[6.0])
    assert scale.factor == pytest.approx(4.0)


def test_deviations_by_hand() -> None:
    # r = 1, 5 has deviation 2, r_RL = 9, 10 has ½: λ = 4, and 1/½ where the reward gets unit size.
    rewards, original = [9.0, 10.0], [1.0, 5.0]
    assert RunningScale(ScaleConfig("std")).update(rewards, original=original).factor == 4.0
    assert RunningScale(ScaleConfig("unit_std")).update(rewards).factor == 2.0


def test_a_constant_scale_stays() -> None:
    scale = RunningScale(ScaleConfig("constant", value=0.5))
    assert scale.update([3.0, 400.0]).factor == 0.5


def test_without_a_baseline_the_paper_scale_is_one() -> None:
    scale = RunningScale(ScaleConfig("absolute_mean"))
    assert scale.update([3.0, -4.0], original=[3.0, -4.0]).factor == 1.0


@given(NUMBERS, NUMBERS)
def test_moments_of_batches_are_those_of_the_whole(first: list[float], second: list[float]) -> None:
    running = Moments().add(first).add(second)
    whole = first + second
    assert running.count == len(whole)
    assert running.mean == pytest.approx(statistics.fmean(whole), abs=1e-8)
    assert running.std == pytest.approx(statistics.pstdev(whole), abs=1e-6)
    assert running.absolute_mean == pytest.approx(statistics.fmean(map(abs, whole)))


def test_what_was_not_scored_is_in_no_moment() -> None:
    assert Moments().add([1.0, np.nan, np.inf, 3.0]) == Moments().add([1.0, 3.0])
    assert Moments().add([np.nan]) == Moments()


def test_a_large_mean_does_not_eat_the_deviation() -> None:
    # Σv² − n·mean² of numbers near 10⁹ is wrong in every digit; 1 apart they have deviation ½.
    running = Moments().add([1e9]).add([1e9 + 1])
    assert running.std == 0.5


@pytest.mark.parametrize("mode", ["absolute_mean", "std", "unit_std"])
def test_nothing_to_go_by_leaves_rewards_as_they_are(mode: str) -> None:
    scale = RunningScale(ScaleConfig(mode))  # type: ignore[arg-type]
    assert scale.factor == 1.0
    assert scale.update([0.0, 0.0], original=[0.0, 0.0]).factor == 1.0


@pytest.mark.parametrize("mode", ["absolute_mean", "std"])
def test_rewards_of_nothing_silence_no_baseline(mode: str) -> None:
    # All sampled responses got 0, and their baselines did not: λ = 0 would stop the training.
    scale = RunningScale(ScaleConfig(mode))  # type: ignore[arg-type]
    assert scale.update([1.0, -2.0], original=[0.0, 0.0]).factor == 1.0


@pytest.mark.parametrize("mode", ["constant", "absolute_mean", "std", "unit_std"])
def test_a_resumed_scale_goes_on_to_the_bit(mode: str) -> None:
    draw = np.random.default_rng(0)
    scale = RunningScale(ScaleConfig(mode))  # type: ignore[arg-type]
    for step in range(6):
        batch, original = draw.normal(size=(2, 4, 3)) * 1.7 + 0.1
        if step == 3:
            kept = json.loads(json.dumps(scale.state()))
            other = RunningScale(scale.config).resumed(kept)
            assert other == scale
            scale = other
        before, scale = scale, scale.update(batch, original=original)
        assert before.relative.count == 12 * step  # an update leaves the state before it alone
    draw = np.random.default_rng(0)
    straight = RunningScale(scale.config)
    for _ in range(6):
        batch, original = draw.normal(size=(2, 4, 3)) * 1.7 + 0.1
        straight = straight.update(batch, original=original)
    assert straight == scale
    assert straight.factor == scale.factor


def test_a_scorer_of_pairs_has_no_paper_scale() -> None:
    with pytest.raises(UserError, match="needs r of every response"):
        RunningScale(ScaleConfig("absolute_mean")).update([1.0])
    with pytest.raises(ValueError, match="shapes differ"):
        RunningScale(ScaleConfig("std")).update([1.0], original=[1.0, 2.0])
    with pytest.raises((ValueError, UserError), match="above 0"):
        ScaleConfig("constant", value=0.0)


# Truncated responses.


def test_three_ways_to_treat_a_truncated_response() -> None:
    rewards, truncated = [2.0, -2.0, 5.0], [True, True, False]
    left = penalised(rewards, truncated, TruncationConfig())
    subtracted = penalised(rewards, truncated, TruncationConfig(missing_eos_penalty=1.5))
    multiplied = penalised(rewards, truncated, TruncationConfig(stop_properly_penalty_coef=0.25))
    assert left.tolist() == [2.0, -2.0, 5.0]
    assert subtracted.tolist() == [0.5, -3.5, 5.0]
    # A factor pulls towards 0: the bad one that was cut off is better than it was.
    assert multiplied.tolist() == [0.5, -0.5, 5.0]


def test_a_truncated_response_without_a_score_has_none() -> None:
    for config in (
        TruncationConfig(missing_eos_penalty=1.0),
        TruncationConfig(stop_properly_penalty_coef=0.0),
    ):
        assert np.isnan(penalised([np.nan], [True], config)).all()


@pytest.mark.parametrize(
    "options",
    [
        {"missing_eos_penalty": -1.0},
        {"stop_properly_penalty_coef": 1.5},
        {"stop_properly_penalty_coef": -0.5},
        {"missing_eos_penalty": 1.0, "stop_properly_penalty_coef": 0.5},
    ],
)
def test_penalties_that_are_refused(options: dict[str, float]) -> None:
    with pytest.raises((ValueError, UserError), match="penalty"):
        TruncationConfig(**options)


def test_penalties_need_flags_of_the_same_shape() -> None:
    with pytest.raises(ValueError, match="boolean"):
        penalised([1.0], [1], TruncationConfig())
    with pytest.raises(ValueError, match="shapes differ"):
        penalised([1.0, 2.0], [True], TruncationConfig())
