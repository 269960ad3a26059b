"""The page of policies that learn from their own samples: curves, first and last turns, time."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_example as example

from rewarddiff.report import render
from rewarddiff.report.online import online_section, turns
from rewarddiff.report.page import document
from rewarddiff.results import Curve, Results

TURNS = 10
SECONDS = 10.0


def line(step: int, **metrics: Any) -> dict[str, Any]:
    """The second and every other step goes on with the samples of the one before it."""
    turn = (step - 1) // 2
    return {
        "step": step,
        "split": "train",
        "loss": 0.001 * step,
        "reward": turn / 2,
        "objective/scores": float(turn),
        "objective/kl": 0.5 * turn,
        "objective/kl_coef": 0.05,
        "objective/entropy": 70.25 - turn,
        "completions/mean_length": 30.0,
        "completions/clipped_ratio": 0.75,
        "time/sampling": 3.0 + turn / 1024,
        "time/reading": 1.0,
        "time/scoring": 1.0 - turn / 1024,
        "seconds": SECONDS * (turn + 1) - (SECONDS / 4 if step % 2 else 0.0),
        **metrics,
    }


def curve(**metrics: Any) -> Curve:
    return tuple(line(step, **metrics) for step in range(1, 2 * TURNS + 1))


def results(curve: Curve) -> Results:
    """The example, where the first policy learned from its own samples."""
    whole = example.results(1)
    first, *others = whole.policies
    return replace(whole, policies=(replace(first, curve=curve), *others))


def cells(table: Any) -> dict[str, dict[str, str]]:
    rows = {}
    for name, *figures in table.rows:
        texts = [cell.text for cell in figures]
        rows[name.text] = dict(zip(table.columns[1:], texts, strict=True))
    return rows


def test_a_turn_counts_once_however_many_steps_it_has() -> None:
    assert [line["step"] for line in turns(curve())] == list(range(1, 2 * TURNS, 2))


def test_turns_that_happen_to_score_alike_are_two() -> None:
    alike = curve(**{"objective/scores": 0.5, "reward": 0.5, "objective/entropy": 70.0})
    assert len(turns(alike)) == TURNS


def test_first_and_last_turns_are_means_over_a_fifth_of_them() -> None:
    # Of ten turns 0 and 1, and 8 and 9: the scores are the turns' numbers.
    changes, _ = online_section(results(curve())).tables
    rows = cells(changes)
    assert list(rows) == ["dpo, first 2", "dpo, last 2"]
    first, last = rows.values()
    assert [first["score r"], last["score r"]] == ["0.500", "8.500"]
    assert [first["reward"], last["reward"]] == ["0.250", "4.250"]
    assert [first["KL, nats"], last["KL, nats"]] == ["0.250", "4.250"]
    assert [first["entropy, nats"], last["entropy, nats"]] == ["69.8", "61.8"]
    assert [first["tokens"], first["truncated"]] == ["30.0", "75.0 %"]


def test_the_time_of_a_turn_is_shared_out_whole() -> None:
    # Ten turns of 10 s: sampling, reading and scoring take 5 s of each, and updates the rest.
    _, times = online_section(results(curve())).tables
    (row,) = cells(times).values()
    assert row["turns"] == str(TURNS)
    parts = [float(row[name].split()[0]) for name in ("sampling", "reading", "scoring", "updates")]
    assert parts == [30.0, 10.0, 10.0, 50.0]
    assert row["in all"] == "1 min 40 s"


def test_what_was_not_trained_on_is_counted() -> None:
    lines = curve(**{"objective/unscored": 2.0})
    lines = tuple({**one, "skipped": 1.0} if one["step"] < 4 else one for one in lines)
    notes = online_section(results(lines)).tables[1].notes
    # Steps 1 to 3 of 20; two answers in each of the ten turns.
    assert any("3 of 20 steps were skipped" in note for note in notes)
    assert any("left out, without a score: 20 answers" in note for note in notes)


def test_seeds_are_lines_of_one_figure_and_rows_of_the_times() -> None:
    whole = example.results(2)
    policies = [replace(policy, curve=curve()) for policy in whole.policies[:2]]
    section = online_section(replace(whole, policies=tuple(policies)))
    (drawing,) = section.figures
    assert drawing.caption == "2 seeds"
    assert len(drawing.chart.sheet().rows) == 2 * 5 * 2 * TURNS  # seeds, panels, steps
    changes, times = section.tables
    assert len(changes.rows) == 2
    assert list(cells(times)) == ["dpo, seed 0", "dpo, seed 1"]
    assert "One line a seed." in section.intro


@pytest.mark.parametrize(
    ("metrics", "panels"),
    [
        ({}, {"score r", "KL, nats", "entropy, nats", "tokens", "truncated"}),
        (
            # Adaptive: each turn has its own.
            {"objective/kl_coef": None},
            {"score r", "KL, nats", "β", "entropy, nats", "tokens", "truncated"},
        ),
    ],
)
def test_figures_have_what_was_measured_as_csv(
    metrics: dict[str, Any], panels: set[str], tmp_path: Path
) -> None:
    lines = list(curve())
    if "objective/kl_coef" in metrics:
        lines = [{**line, "objective/kl_coef": 0.01 * line["step"]} for line in lines]  # type: ignore[operator]
    render(results(tuple(lines)), tmp_path)
    rows = list(csv.DictReader((tmp_path / "figures" / "online-dpo.csv").open()))
    assert {row["metric"] for row in rows} == panels
    scores = [float(row["value"]) for row in rows if row["metric"] == "score r"]
    assert scores == [turn for turn in range(TURNS) for _ in range(2)]


def test_how_many_pairs_were_trained_on_is_shown_where_it_is_by_pairs() -> None:
    # A step that was left without any has no loss.
    lines = [
        {**line, "objective/pairs": float(20 - i), "loss": None} for i, line in enumerate(curve())
    ]
    (drawing,) = online_section(results(tuple(lines))).figures
    pairs = [row[-1] for row in drawing.chart.sheet().rows if row[0] == "pairs"]
    assert pairs == [20.0 - i for i in range(2 * TURNS)]


def test_a_scorer_without_scores_is_shown_by_what_it_pays() -> None:
    without = [{k: v for k, v in line.items() if k != "objective/scores"} for line in curve()]
    section = online_section(results(tuple(without)))
    (drawing,) = section.figures
    metrics = {row[0] for row in drawing.chart.sheet().rows}
    assert "reward" in metrics
    assert "score r" not in metrics
    assert "score r" not in section.tables[0].columns


def test_the_intro_explains_what_is_shown_alone() -> None:
    assert "β: what a nat of KL costs." in online_section(results(curve())).intro
    without = [{k: v for k, v in line.items() if k != "objective/kl_coef"} for line in curve()]
    intro = online_section(results(tuple(without))).intro
    assert "β" not in intro
    assert "Accuracy" not in intro
    of_pairs = online_section(results(curve(**{"rewards/accuracies": 0.5}))).intro
    assert "Accuracy: of a step's pairs" in of_pairs


def test_what_is_trained_on_data_has_its_curves_where_it_had_them() -> None:
    names = [name for name, _ in document(results(curve())).drawings()]
    assert "online-dpo" in names
    assert "curves-dpo" not in names
    assert "curves-dpo-difference" in names
    keys = [section.key for section in document(example.results(1)).shown]
    assert "online" not in keys
    assert "curves" in keys


def test_the_page_of_an_online_run_begins_with_what_was_gained_and_how() -> None:
    online, offline = document(results(curve())), document(example.results(1))
    keys = [section.key for section in online.shown]
    assert keys[:2] == ["summary", "online"]
    assert online.numbers[0].what.startswith("mean reward under")
    assert offline.numbers[0].what.startswith("accuracy of")
    assert {number.what for number in online.numbers} == {n.what for n in offline.numbers}


def test_the_spread_within_groups_is_shown_where_it_was_measured() -> None:
    section = online_section(results(curve(reward_std=0.25)))
    (drawing,) = section.figures
    assert {row[-1] for row in drawing.chart.sheet().rows if row[0] == "spread"} == {0.25}
    assert [row["spread"] for row in cells(section.tables[0]).values()] == ["0.250", "0.250"]
    assert "Spread: standard deviation" in section.intro
    assert "Spread" not in online_section(results(curve())).intro
