"""The first screen: which three numbers, and one picture on one axis."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import report_example as example

from rewarddiff.report.charts import Forest
from rewarddiff.report.first_picture import ROWS, deviation, picture
from rewarddiff.report.first_screen import Number, numbers
from rewarddiff.report.gap_plots import ForestPanel
from rewarddiff.report.scorer_tables import scorers_table
from rewarddiff.results import (
    Distribution,
    Histogram,
    Interval,
    Results,
    RewardDistribution,
    ScorerContrast,
    Summary,
)


def scorers_alone() -> Results:
    results = example.results(1)
    summary = Summary(results.summary.scorers, ())
    return replace(example.empty(), scorers=results.scorers, summary=summary)


def test_of_a_run_accuracy_gap_and_win_rate_by_the_independent_scorer() -> None:
    # `difference` trained the weighted policy, so the gap and the win rate are those under
    # `reward`: 0.241 − 0.153 = 0.088, and 0.527 + 0.043/2 = 0.5485.
    first, second, third = numbers(example.results())
    assert (first.value, first.interval) == ("72.9 %", "[69.8, 76.0]")
    assert first.what == "accuracy of difference, the best of 2 scorers"
    assert (second.value, second.interval) == ("+0.088", "[−0.033, +0.209]")
    assert second.what == "mean reward under reward, dpo+difference less dpo"
    assert second.reading == "no difference shown"
    assert not second.warns
    assert third.value == "54.9 %"
    assert "not told apart from one half" in third.reading


def test_without_an_independent_scorer_that_is_said_beside_the_number() -> None:
    results = example.results()
    contrasts = [replace(line, used_in_training=True) for line in results.contrasts]
    _, gap, rate = numbers(replace(results, contrasts=tuple(contrasts)))
    assert gap.reading.endswith("; no independent evidence")
    assert gap.warns
    assert rate.warns


def test_judges_give_the_win_rate_where_there_are_some() -> None:
    results = replace(example.results(), judges=example.judges())
    # The majority: 0.46 − 3 · 0.03 won, 0.3 lost, so 0.37 + 0.33/2 = 0.535.
    _, _, rate = numbers(results)
    assert rate.value == "53.5 %"
    assert rate.what == "win rate of dpo+difference against dpo, by majority of the judges"


def test_independent_judges_stand_before_a_scorer_that_trained_a_policy() -> None:
    contrasts = [replace(line, used_in_training=True) for line in example.results().contrasts]
    judges = example.judges()
    results = replace(example.results(), contrasts=tuple(contrasts), judges=judges)
    _, rate, gap = numbers(results)
    assert rate.what.startswith("win rate of dpo+difference against dpo, by majority")
    assert not rate.warns
    assert gap.warns


def test_an_independent_judge_goes_before_a_majority_with_a_part_in_training() -> None:
    lines = example.judges().win_rates
    used = [replace(line, used_in_training=line.judge != "qwen") for line in lines]
    results = replace(example.results(), judges=replace(example.judges(), win_rates=tuple(used)))
    _, _, rate = numbers(results)
    assert rate.what == "win rate of dpo+difference against dpo, by qwen"


def test_of_judging_win_rate_length_and_agreement() -> None:
    first, second, third = numbers(example.judging())
    assert first.value == "53.5 %"
    assert (second.value, second.what) == (
        "49.5 %",
        "the same at equal lengths of the answers, by majority of the judges",
    )
    assert third.value == "0.54"
    assert third.what == "Krippendorff's α of 3 judges on 231 pairs"


def test_of_one_judge_its_position_bias_takes_the_place_of_agreement() -> None:
    results = example.judging()
    alone = [line for line in results.judges.win_rates if line.judge == "gpt"]
    judges = replace(results.judges, win_rates=tuple(alone), panels=())
    found = numbers(replace(results, judges=judges))
    # Its 54.0 % at equal lengths have a remark (few decided verdicts), so they are no headline.
    assert [number.value for number in found] == [
        "58.0 %",
        "73.1 %",  # with people, example.judges
        "18.3 %",
    ]


def test_of_scorers_alone_accuracy_gap_and_strength() -> None:
    gap = ScorerContrast(
        "difference", "reward", "test", Interval(0.02, -0.01, 0.05, 428), Interval(0, -1, 1, 9), 0.2
    )
    found = numbers(replace(scorers_alone(), scorer_contrasts=(gap,)))
    assert [number.value for number in found] == ["72.9 %", "+2.0", "0.34"]
    assert found[1].interval == "[−1.0, 5.0]"
    assert found[1].what == "points of accuracy, difference less reward"
    # The other way round it is the same number.
    turned = replace(gap, a="reward", b="difference", gap=Interval(-0.02, -0.05, 0.01, 428))
    assert numbers(replace(scorers_alone(), scorer_contrasts=(turned,)))[1] == found[1]


def test_a_scorer_that_does_not_beat_length_is_marked() -> None:
    results = scorers_alone()
    weak = replace(results.summary.scorers[0], accuracy=Interval(0.58, 0.53, 0.63, 428))
    (first, *_) = numbers(replace(results, summary=Summary((weak,), ())))
    assert first == Number(
        "58.0 %",
        "[53.0, 63.0]",
        "accuracy of reward",
        "not shown to be above 56.1 % by choosing the longer response",
        True,
    )


def test_length_has_one_number_on_the_first_screen_and_in_the_table() -> None:
    # The longer response is better in 41.9 % of 43: who chooses the shorter one is right in 58.1 %.
    results = scorers_alone()
    line = replace(
        results.summary.scorers[0],
        accuracy=Interval(0.512, 0.36, 0.66, 43),
        longer_wins=Interval(0.419, 0.27, 0.57, 43),
    )
    results = replace(results, summary=Summary((line,), ()))
    (first, *_) = numbers(results)
    assert first.reading == "not shown to be above 58.1 % by choosing the shorter response"
    (*_, rule) = scorers_table(results).rows
    cells = [str(cell) for cell in rule]
    assert cells[0] == "shorter wins"
    assert "58.1 % [43.0, 73.0]" in cells


def test_scorers_of_different_comparisons_stand_beside_length_on_their_own() -> None:
    results = scorers_alone()
    first, second = results.summary.scorers
    second = replace(second, longer_wins=Interval(0.52, 0.4, 0.6, 90))
    results = replace(results, summary=Summary((first, second), ()))
    rules = [str(row[0]) for row in scorers_table(results).rows if "wins" in row[0].text]
    assert rules == ["longer wins beside reward", "longer wins beside difference"]


def test_nothing_known_shows_no_number_and_no_picture() -> None:
    assert numbers(example.empty()) == ()
    assert picture(example.empty()) is None


# --- the picture ----------------------------------------------------------------------------------


def panels(results: Results) -> list[ForestPanel]:
    drawing = picture(results)
    assert drawing is not None
    assert isinstance(drawing.chart, Forest)
    return list(drawing.chart.panels)


def test_a_row_for_every_comparison_and_scorer_hollow_where_dependent() -> None:
    (panel,) = panels(example.results())
    assert [(row.group, row.name, row.hollow) for row in panel.rows] == [
        ("dpo+difference − dpo", "reward", False),
        ("dpo+difference − dpo", "difference", True),
        ("dpo+difference − dpo+shuffled", "reward", False),
        ("dpo+difference − dpo+shuffled", "difference", True),
        ("dpo − base", "reward", False),
        ("dpo − base", "difference", False),
    ]


def test_gaps_of_scorers_of_other_units_stand_on_one_axis() -> None:
    """Rewards that are ten times as large change nothing in the picture."""
    results = example.results()
    larger = replace(
        results,
        contrasts=tuple(replace(line, mean_gap=times_ten(line.mean_gap)) for line in results.contrasts),
        reward_distributions=tuple(
            replace(line, spread=replace(line.spread, mean=10 * line.spread.mean, std=10 * line.spread.std))
            for line in results.reward_distributions
        ),
    )  # fmt: skip
    (before,), (after,) = panels(results), panels(larger)
    for ours, theirs in zip(before.rows, after.rows, strict=True):
        assert ours.interval.value == pytest.approx(theirs.interval.value)
        assert ours.interval.low == pytest.approx(theirs.interval.low)


def times_ten(gap: Interval) -> Interval:
    return Interval(10 * gap.value, 10 * gap.low, 10 * gap.high, gap.n)


def spread(policy: str, seed: int, mean: float, std: float, n: int) -> RewardDistribution:
    histogram = Histogram((-1.0, 1.0), (n,), 0)
    return RewardDistribution(policy, seed, "judge", Distribution(mean, std, {}), histogram)


def test_the_deviation_is_that_of_all_samples_together() -> None:
    # Two policies with rewards {0, 2} and {4, 6}: together mean 3 and variance (9 + 1 + 1 + 9)/4 = 5.
    lines = (spread("a", 0, 1.0, 1.0, 2), spread("b", 0, 5.0, 1.0, 2))
    results = replace(example.empty(), reward_distributions=lines)
    assert deviation(results, "judge") == pytest.approx(math.sqrt(5))
    # A second seed of variance 3 (means 0, deviation √3): the root of (5 + 3)/2.
    further = spread("a", 1, 0.0, math.sqrt(3), 4)
    results = replace(results, reward_distributions=(*lines, further))
    assert deviation(results, "judge") == pytest.approx(2.0)
    assert deviation(results, "another") == 0.0


def test_judges_have_an_axis_of_their_own_about_one_half() -> None:
    gaps, rates = panels(replace(example.results(), judges=example.judges()))
    assert (gaps.zero, rates.zero) == (0.0, 0.5)
    assert [row.name for row in rates.rows] == ["gpt", "prometheus", "qwen", "majority"]
    assert [row.hollow for row in rates.rows] == [False, True, False, False]


def test_many_comparisons_show_the_first_whole_ones_and_say_so() -> None:
    results = example.results()
    many = [
        replace(line, a=f"policy {place}") for place in range(9) for line in results.contrasts[:2]
    ]
    drawing = picture(replace(results, contrasts=tuple(many)))
    assert drawing is not None
    (panel,) = panels(replace(results, contrasts=tuple(many)))
    assert len(panel.rows) == ROWS
    assert f"the first {ROWS} of 18 gaps" in drawing.caption


def test_scorers_alone_are_drawn_about_chance() -> None:
    (panel,) = panels(scorers_alone())
    assert (panel.zero, panel.is_share) == (0.5, True)
    assert [row.name for row in panel.rows] == ["difference", "reward"]
