"""What the page of a sweep says of figures worked by hand."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from report_example import scorer_summary

from rewarddiff.report.sweep import markdown, page, remarks, verdict
from rewarddiff.report.sweep_figures import accuracy_figures, gap_figures, loss_figures, places
from rewarddiff.report.sweep_tables import controls_table, points_table
from rewarddiff.results import (
    HeldAgainst,
    Interval,
    SweepAxis,
    SweepCombination,
    SweepGap,
    SweepPoint,
    SweepResults,
    SweepScorer,
    Unequal,
)

KEY = "coefficient.alpha"


def against(policy: str, *gaps: tuple[str, bool, float]) -> HeldAgainst:
    """Return gaps (scorer, whether used in training, low); each interval is two wide."""
    return HeldAgainst(
        policy=policy,
        gaps={
            scorer: SweepGap(Interval(low + 1, low, low + 2, 9), used) for scorer, used, low in gaps
        },
        unequal=(),
    )


def point(
    policy: str, alpha: float | None, baseline: HeldAgainst | None, *controls: HeldAgainst
) -> SweepPoint:
    return SweepPoint(
        policy=policy,
        settings={} if alpha is None else {KEY: alpha},
        models=(),
        objective="dpo",
        control={"dpo": None, "weighted": "none", "shuffled": "shuffled"}[policy],
        dev_loss=Interval(0.5, 0.25, 0.75, 2),
        rewards={},
        baseline=baseline,
        controls=controls,
    )


def changed(sweep: SweepResults, place: int, **more: Any) -> SweepResults:
    """Return the sweep with one of its points changed."""
    points = list(sweep.points)
    points[place] = replace(points[place], **more)
    return replace(sweep, points=tuple(points))


@pytest.fixture
def sweep() -> SweepResults:
    judged = (("judge", False, 0.5), ("reward", True, 1.0))
    unbounded = SweepGap(Interval.unbounded(-7.0, 9), False)
    return SweepResults(
        name="x",
        version="0",
        created="now",
        axes=(SweepAxis(KEY, "alpha", (0.0, 2.0, 10.0)),),
        seeds=(0, 1),
        combinations=(SweepCombination("combinations/alpha-0", {KEY: 0.0}),),
        points=(
            point("dpo", None, against("base", ("judge", False, -1.0), ("reward", False, -1.0))),
            point("weighted", 0.0, None),
            point(
                "weighted",
                2.0,
                against("dpo", *judged),
                HeldAgainst("shuffled", {"judge": unbounded}, ()),
            ),
            point("weighted", 10.0, against("dpo", ("judge", False, -9.0), ("reward", True, 1.0))),
            point("shuffled", 2.0, against("dpo", *judged)),
        ),
        scorers=(),
        seconds=math.nan,
    )


def test_the_verdict_counts_weighted_policies_under_independent_scorers(
    sweep: SweepResults,
) -> None:
    # judge: [0.5, 2.5] above, [−9, −7] below. The scorer they were trained with, the control and
    # dpo do not count.
    assert verdict(sweep) == (
        "Of 2 gaps between weighted policies and their baseline under scorers without a part in "
        "their training, 1 is above zero, 1 is below, and none not told apart from zero. "
        "The scorers they were trained with say otherwise: of 2 gaps 2 are above zero and none are "
        "below."
    )
    agreeing = against("dpo", ("judge", False, -9.0), ("reward", True, -3.0))
    assert "otherwise" not in verdict(changed(sweep, 3, baseline=agreeing))
    dependent = sweep
    for place in (2, 3):
        alone = against("dpo", ("reward", True, 1.0))
        dependent = changed(dependent, place, baseline=alone)
    assert verdict(dependent).startswith(
        "No independent evidence. Of 2 gaps between weighted policies and their baseline under the "
        "scorers they were trained with, 2 are"
    )
    assert (
        verdict(replace(sweep, points=sweep.points[:1]))
        == "No weighted policy was held against its baseline."
    )


def test_one_seed_is_said_to_be_one(sweep: SweepResults) -> None:
    assert not any("One seed" in text for text in remarks(sweep))
    assert any("One seed" in text for text in remarks(replace(sweep, seeds=(3,))))


def test_rows_of_the_tables(sweep: SweepResults) -> None:
    rows = [[str(cell) for cell in row] for row in points_table(sweep).rows]
    assert rows[1] == ["weighted", "0", "the baseline itself", "0.500 [0.250, 0.750]", "–", "–"]
    assert rows[2] == [
        "weighted",
        "2",
        "dpo",
        "0.500 [0.250, 0.750]",
        "1.500 [0.500, 2.500]",
        "2.000† [1.000, 3.000]",
    ]
    assert [[str(cell) for cell in row] for row in controls_table(sweep).rows] == [
        ["weighted − shuffled", "2", "−7.000", "–"]
    ]
    assert "| weighted | 10 | dpo |" in markdown(sweep)


def test_a_figure_for_each_scorer_with_a_line_for_each_policy(sweep: SweepResults) -> None:
    figures = gap_figures(sweep)
    assert [figure.title for figure in figures] == ["Under judge", "Under reward †"]
    assert "along alpha: weighted 0.000, 1.500, −8.000; shuffled 1.500" in figures[0].svg
    assert page(sweep) == page(sweep)
    assert page(sweep).count("<svg") == 3  # two gaps, one dev loss


def test_a_policy_has_one_colour_in_all_figures(sweep: SweepResults) -> None:
    # In the first figure weighted and shuffled are lines; in that of the dev losses dpo is a level
    # beside them.
    gaps, losses = gap_figures(sweep)[0].svg, loss_figures(sweep)[0].svg
    colours = [set(re.findall(r"--series-\d", svg)) for svg in (gaps, losses)]
    assert colours == [{"--series-2", "--series-3"}, {"--series-1", "--series-2", "--series-3"}]


def test_points_trained_unequally_are_named(sweep: SweepResults) -> None:
    assert "unequally" not in markdown(sweep)
    baseline = sweep.points[2].baseline
    assert baseline is not None
    unequal = (Unequal("train.lr", 1e-6, 5e-6), Unequal("lora", None, {"r": 2}))
    sweep = changed(sweep, 2, baseline=replace(baseline, unequal=unequal))
    text = "trained unequally: train.lr 1e−6 against 5e−6, lora none against {r: 2}"
    assert remarks(sweep)[0] == f"weighted and dpo were {text}."
    assert str(points_table(sweep).rows[2][2]) == "dpo‡"
    assert f"‡ {text}." in points_table(sweep).marks


def test_places_are_to_scale_where_values_can_be_told_apart() -> None:
    assert places([0.0, 0.5, 2.0]) == {0.0: 0.0, 0.5: 0.5, 2.0: 2.0}
    assert places([1e-6, 1e-5, 1e-3]) == {1e-6: 0.0, 1e-5: 1.0, 1e-3: 2.0}
    assert places(["clip", "abs"]) == {"clip": 0.0, "abs": 1.0}
    assert places([3.0]) == {3.0: 0.0}


TOKENS = "scorers.*.train.max_tokens"


def test_scorers_have_a_learning_curve_for_each_setting_of_the_other_keys(
    sweep: SweepResults,
) -> None:
    def at(name: str, tokens: float, path: str, accuracy: float) -> SweepScorer:
        interval = Interval(accuracy, accuracy - 0.1, accuracy + 0.1, 50)
        summary = replace(scorer_summary("reward", 3), name=name, accuracy=interval)
        return SweepScorer({TOKENS: tokens, "data.path": path}, None, summary)

    paths = ("hh.jsonl", "ukp.jsonl")
    axes = (SweepAxis(TOKENS, "max_tokens", (1e5, 4e5)), SweepAxis("data.path", "path", paths))
    scorers = []
    for place, path in enumerate(paths):
        for tokens in (1e5, 4e5):
            scorers.append(at("reward", tokens, path, 0.6 + 0.1 * place))
            scorers.append(at("last", tokens, path, 0.5 + tokens / 1e7))
    curves = replace(sweep, axes=axes, points=(), scorers=tuple(scorers))
    first, second = accuracy_figures(curves)
    assert (first.title, second.title) == ("path hh.jsonl", "path ukp.jsonl")
    assert "along max_tokens: reward 0.600, 0.600; last 0.510, 0.540" in first.svg
    assert "reward 0.700, 0.700" in second.svg
    assert ">100000<" in first.svg
    assert page(curves).count("<svg") == 2
    # The key concerns no scorer: there is nothing along it.
    assert accuracy_figures(replace(curves, axes=(SweepAxis(KEY, "alpha", (0.0, 2.0)),))) == ()


def test_the_least_dev_loss_is_said_of_every_scorer_that_a_star_stands_for(
    sweep: SweepResults,
) -> None:
    scorers = []
    for name, losses in (("reward", (0.7, 0.6)), ("last", (0.5, 0.8))):
        for tokens, loss in zip((1e5, 4e5), losses, strict=True):
            summary = replace(scorer_summary("reward", 3), name=name)
            scorers.append(SweepScorer({TOKENS: tokens}, Interval.unbounded(loss), summary))
    axis = SweepAxis(TOKENS, "max_tokens", (1e5, 4e5))
    said = " ".join(remarks(replace(sweep, axes=(axis,), points=(), scorers=tuple(scorers))))
    assert re.search(r"dev loss of reward, .*? max_tokens 400000: 0.600", said)
    assert re.search(r"dev loss of last, .*? max_tokens 100000: 0.500", said)
