"""What is said first of a run, and by whose evidence."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
import report_example as example
from rich.console import Console

from rewarddiff.report import markdown_tables, terminal_table
from rewarddiff.report.page import page
from rewarddiff.report.statements import caution, head, notes, scorer_note, trained
from rewarddiff.report.tables import contrasts_table
from rewarddiff.report.values import setting


def line(
    scorer: str, low: float, high: float, *, used: bool = False, **more: Any
) -> dict[str, Any]:
    """One scorer on x against y."""
    gap = {"value": (low + high) / 2, "low": low, "high": high}
    return {
        "a": "x",
        "b": "y",
        "scorer": scorer,
        "seed": "all",
        "mean_gap": gap,
        "used_in_training": used,
        **more,
    }


FAVOURING = line("difference", 0.018, 0.082, used=True)
AGAINST = line("judge", -0.115, -0.001)
JUDGED = "x against y, by a scorer without a part in their training: judge −0.058 [−0.115, −0.001], lower."


def test_an_independent_scorer_speaks_first_and_a_dependent_one_that_disagrees_is_named() -> None:
    # The dependent scorer stands first in the recipe, and so in the results.
    said = head({"contrasts": [FAVOURING, AGAINST]})
    assert said.result == (
        f"{JUDGED} The scorer with a part in it says otherwise: difference +0.050 [0.018, 0.082], higher."
    )
    agreeing = line("difference", -0.3, -0.1, used=True)
    assert head({"contrasts": [agreeing, AGAINST]}).result == JUDGED


def test_what_an_independent_scorer_does_not_see_is_no_result() -> None:
    unclear = line("judge", -0.1, 0.2)
    assert head({"contrasts": [FAVOURING, unclear]}).result == (
        "x against y, by a scorer without a part in their training: judge +0.050 [−0.100, 0.200], no difference shown. "
        "The scorer with a part in it says otherwise: difference +0.050 [0.018, 0.082], higher."
    )


def test_without_independent_scorers_there_is_no_evidence() -> None:
    said = head({"contrasts": [FAVOURING]})
    assert said.result == (
        "No independent evidence on x against y: every scorer here had a part in their training. "
        "Such scorers say: difference +0.050 [0.018, 0.082], higher."
    )
    by_rewards = {"contrasts": [FAVOURING | {"used_in_training": None}]}
    by_rewards["rewards"] = [{"policy": "y", "scorer": "difference", "used_in_training": True}]
    assert head(by_rewards).result == said.result


@pytest.mark.parametrize("kind", ["length", "grades", "baseline"])
def test_length_and_grades_are_no_judges(kind: str) -> None:
    scorers = [{"name": "rule", "kind": kind}]
    said = head({"contrasts": [line("rule", 0.1, 0.2), FAVOURING], "scorers": scorers})
    assert said.result.startswith("No independent evidence on x against y")
    assert "rule" not in said.result


def test_page_terminal_and_markdown_say_the_same() -> None:
    results = example.results()
    said = head(results)
    console = Console(width=500, file=io.StringIO())
    console.print(terminal_table(results))
    shown = re.sub(r"</?\w[^>]*>", "", page(results))
    for text in (console.file.getvalue(), markdown_tables(results), shown):  # type: ignore[attr-defined]
        for sentence in (said.result, *said.limits):
            assert sentence in text


def test_no_more_than_four_sentences_stand_at_the_head() -> None:
    results = example.results(1)
    results["contrasts"][0]["unequal"] = [{"key": "train.lr", "a": 1e-6, "b": 5e-6}]
    said = head(results)
    assert len(re.findall(r"\.( |$)", said.result)) + len(said.limits) == 4
    assert said.further
    top = page(results).partition("<nav")[0]
    assert all(f"<li>{text}</li>" in top.replace("&#39;", "'") for text in said.further)
    assert "<details" in top
    assert top.index(said.limits[-1]) < top.index("<details")


def test_training_that_was_unequal_stands_beside_the_comparison() -> None:
    unequal = [
        {"key": "train.lr", "a": 1e-6, "b": 5e-6}, {"key": "train.max_steps", "a": 6, "b": 1},
        {"key": "lora", "a": None, "b": {"r": 2, "dora": False}}, {"key": "tokens", "a": 12000, "b": 2000},
    ]  # fmt: skip
    results = {"contrasts": [AGAINST | {"unequal": unequal}, FAVOURING | {"unequal": unequal}]}
    named = "trained unequally: train.lr 1e−6 against 5e−6, train.max_steps 6 against 1, "
    named += "lora none against {r: 2, dora: false}"
    assert head(results).limits[0] == f"x and y were {named} and 1 more."
    whole = f"{named}, tokens 12000 against 2000."
    assert notes(results) == [
        "x against y: by judge −0.058 [−0.115, −0.001], lower; by difference +0.050 [0.018, 0.082], higher, but it had "
        f"a part in their training; {whole}"
    ]
    table = contrasts_table(results)
    assert [str(row[0]) for row in table.rows] == ["x − y‡"] * 2
    assert f"‡ x − y: {whole}" in table.marks
    console = Console(width=200, file=io.StringIO())
    console.print(terminal_table(results))
    assert f"‡ x − y: {whole}" in console.file.getvalue()  # type: ignore[attr-defined]
    assert f"‡ x − y: {whole}" in page(results)


def test_caution_names_gaps_seen_only_by_the_scorer_that_trained() -> None:
    clear = {"a": "x", "b": "y", "scorer": "r", "mean_gap": {"value": 0.2, "low": 0.1, "high": 0.3}}
    below = clear | {"scorer": "s", "mean_gap": {"value": -0.2, "low": -0.3, "high": -0.1}}
    touches = clear | {"mean_gap": {"value": 0.1, "low": 0.0, "high": 0.2}}
    own = [{"policy": "x", "scorer": "r", "used_in_training": True}]
    assert caution({"contrasts": [clear, below]}) == ""
    assert caution({"contrasts": [touches, below]}).startswith("Read with care: 1 of the 2 gaps")
    assert "a scorer that trained one of the two" in caution(
        {"contrasts": [clear, below], "rewards": own}
    )
    agrees = clear | {
        "scorer": "s"
    }  # another judge says the same: not by the scorer that trained alone
    assert "trained" not in caution({"contrasts": [clear, agrees], "rewards": own})
    assert caution({"contrasts": [{"a": "x"}]}) == ""


def test_of_one_training_only_that_is_said() -> None:
    curve = [{"split": "dev", "step": 0, "loss": 0.693}, {"split": "train", "step": 7, "loss": 0.5}]
    curve.append({"split": "dev", "step": 7, "loss": 0.612})
    policy = {"name": "dpo", "policies": [{"name": "dpo", "seed": 0, "curve": curve}]}
    assert trained(policy) == [
        "dpo was trained for 7 steps: dev loss 0.693 at first, 0.612 at last."
    ]
    words = re.sub(r"<style.*?</style>|<[^>]*>", " ", page(policy), flags=re.DOTALL)
    assert "dpo was trained for 7 steps" in words
    for absent in (
        "scorer",
        "compared",
        "coefficient",
        "sample",
        "reward of",
        "No ",
        "One line a seed",
    ):
        assert absent.lower() not in words.lower()
    scorer = {
        "summary": {
            "scorers": [{"name": "reward", "accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}}]
        }
    }
    scorer["scorers"] = [{"name": "reward"}]  # type: ignore[assignment]
    assert head(scorer).result == "reward is right on 70.0 % [60.0, 80.0] of held-out comparisons."


def test_evaluations_and_runs_of_sweeps_begin_with_their_own_note() -> None:
    results = {
        "stages": ["sweep"],
        "notes": ["A run of a sweep.", "b", "c", "d", "e"],
        "contrasts": [AGAINST],
    }
    said = head(results)
    assert (said.result, said.limits, said.further) == (
        "A run of a sweep.",
        ("b", "c", "d"),
        ("e",),
    )


def test_settings_are_written_as_in_a_recipe() -> None:
    written = [
        setting(x)
        for x in (1e-6, 4.0e-4, 0.5, 3, -2, True, None, "bf16", {"r": 8}, ["a", 1.5], 1000000.0)
    ]
    assert written == [
        "1e−6",
        "0.0004",
        "0.5",
        "3",
        "−2",
        "true",
        "none",
        "bf16",
        "{r: 8}",
        "[a, 1.5]",
        "1000000",
    ]


@pytest.mark.parametrize(
    ("low", "longer", "said"),
    [
        (0.55, 0.6, "the longer response (60.0 %)"),
        (0.65, 0.6, ""),
        (0.65, 0.3, "the shorter response (70.0 %)"),  # the shorter response is right in 1 − 0.3
        (0.71, 0.3, ""),
        (0.5, 0.5, "a coin (50.0 %)"),
        (None, 0.5, ""),
        (0.5, None, ""),
    ],
)
def test_a_scorer_must_beat_the_better_rule_by_length(
    low: float | None, longer: float | None, said: str
) -> None:
    note = scorer_note(
        {
            "name": "reward",
            "accuracy": {"value": 0.75, "low": low},
            "longer_wins": {"value": longer},
        }
    )
    assert note.endswith(f"{said}.") if said else note == ""
