"""What the page of a sweep says of figures worked by hand."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from rewarddiff.report.sweep import markdown, page, remarks, verdict
from rewarddiff.report.sweep_figures import gap_figures, loss_figures, places_of
from rewarddiff.report.sweep_tables import controls_table, points_table


def point(
    policy: str,
    alpha: float | None,
    name: str,
    against: str,
    *gaps: tuple[str, bool, float],
    **more: Any,
) -> Any:
    """A point with gaps (scorer, whether used in training, low); each interval is two wide."""
    told = {
        s: {"value": low + 1, "low": low, "high": low + 2, "n": 9, "used_in_training": used}
        for s, used, low in gaps
    }
    return {
        "policy": policy,
        "settings": {} if alpha is None else {"coefficient.alpha": alpha},
        "run": ".",
        "name": name,
        "objective": "dpo",
        "control": None if policy == "dpo" else "shuffled" if policy == "shuffled" else "none",
        "against": against,
        "dev_loss": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 2},
        "gaps": told,
        "controls": [],
        "unequal": [],
        **more,
    }


@pytest.fixture
def sweep() -> dict[str, Any]:
    judged = [("judge", False, 0.5), ("reward", True, 1.0)]
    against = [
        {
            "policy": "shuffled",
            "name": "shuffled-2",
            "gaps": {
                "judge": {
                    "value": -7.0,
                    "low": None,
                    "high": None,
                    "n": 9,
                    "used_in_training": False,
                }
            },
            "unequal": [],
        }
    ]
    return {
        "name": "x",
        "version": "0",
        "created": "now",
        "axes": [{"key": "coefficient.alpha", "label": "alpha", "values": [0.0, 2.0, 10.0]}],
        "seeds": [0, 1],
        "runs": [{"folder": ".", "settings": {}}],
        "scorers": [],
        "points": [
            point("dpo", None, "dpo", "base", ("judge", False, -1.0), ("reward", False, -1.0)),
            point("weighted", 0.0, "dpo", "dpo"),
            point("weighted", 2.0, "weighted-2", "dpo", *judged, controls=against),
            point(
                "weighted",
                10.0,
                "weighted-10",
                "dpo",
                ("judge", False, -9.0),
                ("reward", True, 1.0),
            ),
            point("shuffled", 2.0, "shuffled-2", "dpo", *judged),
        ],
    }


def test_the_verdict_counts_weighted_policies_under_independent_scorers(
    sweep: dict[str, Any],
) -> None:
    # judge: [0.5, 2.5] above, [−9, −7] below. The scorer they were trained with, the control and
    # dpo do not count.
    assert verdict(sweep) == (
        "Of 2 gaps between weighted policies and their baseline under scorers without a part in their training, "
        "1 is above zero, 1 is below, and none not told apart from zero. "
        "The scorers they were trained with say otherwise: of 2 gaps 2 are above zero and none are below."
    )
    agreeing = copy.deepcopy(sweep)
    agreeing["points"][3]["gaps"]["reward"] = {
        "value": -2.0,
        "low": -3.0,
        "high": -1.0,
        "n": 9,
        "used_in_training": True,
    }
    assert "otherwise" not in verdict(agreeing)
    for p in sweep["points"]:
        p["gaps"].pop("judge", None)
    assert verdict(sweep).startswith(
        "No independent evidence. Of 2 gaps between weighted policies and their baseline under the scorers they were "
        "trained with, 2 are"
    )
    sweep["points"] = sweep["points"][:1]
    assert verdict(sweep) == "No weighted policy was held against its baseline."


def test_one_seed_is_said_to_be_one(sweep: dict[str, Any]) -> None:
    assert not any("One seed" in text for text in remarks(sweep))
    assert any("One seed" in text for text in remarks(sweep | {"seeds": [3]}))


def test_rows_of_the_tables(sweep: dict[str, Any]) -> None:
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


def test_a_figure_for_each_scorer_with_a_line_for_each_policy(sweep: dict[str, Any]) -> None:
    figures = gap_figures(sweep)
    assert [figure.title for figure in figures] == ["Under judge", "Under reward †"]
    assert "along alpha: weighted 0.000, 1.500, −8.000; shuffled 1.500" in figures[0].svg
    assert page(sweep) == page(sweep)
    assert page(sweep).count("<svg") == 3  # two gaps, one dev loss


def test_a_policy_has_one_colour_in_all_figures(sweep: dict[str, Any]) -> None:
    # In the first figure weighted and shuffled are lines; in that of the dev losses dpo is a level
    # beside them.
    gaps, losses = gap_figures(sweep)[0].svg, loss_figures(sweep)[0].svg
    used = [set(re.findall(r"--series-\d", svg)) for svg in (gaps, losses)]
    assert used == [{"--series-2", "--series-3"}, {"--series-1", "--series-2", "--series-3"}]


def test_points_trained_unequally_are_named(sweep: dict[str, Any]) -> None:
    assert "unequally" not in markdown(sweep)
    sweep["points"][2]["unequal"] = [
        {"key": "train.lr", "a": 1e-6, "b": 5e-6},
        {"key": "lora", "a": None, "b": {"r": 2}},
    ]
    text = "trained unequally: train.lr 1e−6 against 5e−6, lora none against {r: 2}"
    assert remarks(sweep)[0] == f"weighted-2 and dpo were {text}."
    assert str(points_table(sweep).rows[2][2]) == "dpo‡"
    assert f"‡ {text}." in points_table(sweep).marks


def test_places_are_to_scale_where_values_can_be_told_apart() -> None:
    assert places_of([0.0, 0.5, 2.0]) == {"0": 0.0, "0.5": 0.5, "2": 2.0}
    assert places_of([1e-6, 1e-5, 1e-3]) == {"1e−6": 0.0, "1e−5": 1.0, "0.001": 2.0}
    assert places_of(["clip", "abs"]) == {"clip": 0.0, "abs": 1.0}
    assert places_of([3.0]) == {"3": 0.0}
