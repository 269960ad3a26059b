"""What is said first of a run, and by whose evidence."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from typing import Any

import pytest
import report_example as example
from rich.console import Console

from rewarddiff.report import terminal_table
from rewarddiff.report.page import page
from rewarddiff.report.policy_tables import contrasts_table
from rewarddiff.report.scorer_statements import scorer_note, trained
from rewarddiff.report.statements import SCOPE, caution, head, notes
from rewarddiff.report.values import setting
from rewarddiff.results import (
    MAJORITY,
    UNKNOWN,
    Contrast,
    Interval,
    JudgeResults,
    LengthControl,
    Results,
    Summary,
    Unequal,
)


def line(scorer: str, low: float, high: float, *, used: bool = False) -> Contrast:
    """One scorer on x against y."""
    return Contrast(
        a="x",
        b="y",
        scorer=scorer,
        used_in_training=used,
        unequal=(),
        seed="all",
        mean_gap=Interval((low + high) / 2, low, high, 9),
        win=0.5,
        tie=0.0,
        lose=0.5,
    )


def said_of(*contrasts: Contrast, **parts: Any) -> Results:
    return replace(example.empty(), contrasts=contrasts, **parts)


FAVOURING = line("difference", 0.018, 0.082, used=True)
AGAINST = line("judge", -0.115, -0.001)
JUDGED = "x against y, by a scorer without a part in their training: judge −0.058 [−0.115, −0.001], lower."


def test_an_independent_scorer_speaks_first_and_a_dependent_one_that_disagrees_is_named() -> None:
    # The dependent scorer stands first in the recipe, and so in the results.
    said = head(said_of(FAVOURING, AGAINST))
    assert said.result == (
        f"{JUDGED} The scorer with a part in it says otherwise: difference +0.050 [0.018, 0.082], higher."
    )
    agreeing = line("difference", -0.3, -0.1, used=True)
    assert head(said_of(agreeing, AGAINST)).result == JUDGED


def test_what_an_independent_scorer_does_not_see_is_no_result() -> None:
    unclear = line("judge", -0.1, 0.2)
    assert head(said_of(FAVOURING, unclear)).result == (
        "x against y, by a scorer without a part in their training: judge +0.050 [−0.100, 0.200], no difference shown. "
        "The scorer with a part in it says otherwise: difference +0.050 [0.018, 0.082], higher."
    )


def test_without_independent_scorers_there_is_no_evidence() -> None:
    said = head(said_of(FAVOURING))
    assert said.result == (
        "No independent evidence on x against y: every scorer here had a part in their training. "
        "Such scorers say: difference +0.050 [0.018, 0.082], higher."
    )


def test_page_and_terminal_say_the_same() -> None:
    results = example.results()
    said = head(results)
    console = Console(width=500, file=io.StringIO())
    console.print(terminal_table(results))
    shown = re.sub(r"</?\w[^>]*>", "", page(results))
    for text in (console.file.getvalue(), shown):  # type: ignore[attr-defined]
        for sentence in (said.result, *said.limits):
            assert sentence in text


def test_no_more_than_four_sentences_stand_at_the_head() -> None:
    results = example.results(1)
    first = replace(results.contrasts[0], unequal=(Unequal("train.lr", 1e-6, 5e-6),))
    results = replace(results, contrasts=(first, *results.contrasts[1:]))
    said = head(results)
    assert len(re.findall(r"\.( |$)", said.result)) + len(said.limits) == 4
    assert said.further
    whole = page(results).replace("&#39;", "'")
    assert all(f"<li>{text}</li>" in whole for text in said.further)


def test_the_first_screen_has_one_limit_and_the_words_are_below() -> None:
    results = example.results(1)
    said = head(results)
    first, _, rest = page(results).replace("&#39;", "'").partition("<nav")
    assert first.count('class="limit"') == 1
    assert said.limit in first
    assert said.result not in first
    words = rest.partition('<section id="words">')[2].partition("</section>")[0]
    assert said.result in words
    assert said.limit not in words  # it is said once
    shown, _, folded = words.partition("<details")
    assert shown.count("<p") == 2  # the result and one remark
    for sentence in {*said.limits, *said.further} - {said.limit}:
        assert sentence in shown or f"<li>{sentence}</li>" in folded


@pytest.mark.parametrize("judged", [False, True])
def test_results_without_a_known_limit_still_say_how_far_intervals_go(judged: bool) -> None:
    results = example.empty()
    if judged:
        lines = example.judges().win_rates[:1]
        line = replace(lines[0], n=lines[0].scored, length_controlled=LengthControl(UNKNOWN, ""))
        results = replace(results, judges=replace(results.judges, win_rates=(line,)))
    assert head(results).limit == SCOPE


def test_training_that_was_unequal_stands_beside_the_comparison() -> None:
    unequal = (
        Unequal("train.lr", 1e-6, 5e-6),
        Unequal("train.max_steps", 6, 1),
        Unequal("lora", None, {"r": 2, "dora": False}),
        Unequal("tokens", 12000, 2000),
    )
    results = said_of(replace(AGAINST, unequal=unequal), replace(FAVOURING, unequal=unequal))
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
    clear, below = line("r", 0.1, 0.3), line("s", -0.3, -0.1)
    assert caution(said_of(clear, below)) == ""
    touches = line("r", 0.0, 0.2)
    assert caution(said_of(touches, below)).startswith("Read with care: 1 of the 2 gaps")
    own = line("r", 0.1, 0.3, used=True)
    assert "a scorer that trained one of the two" in caution(said_of(own, below))
    # Another judge says the same: not by the scorer that trained alone.
    assert "trained" not in caution(said_of(own, line("s", 0.1, 0.3)))
    unknown = replace(clear, mean_gap=Interval.unbounded(0.1))
    assert caution(said_of(unknown)) == ""


def test_of_one_training_only_that_is_said() -> None:
    curve = (
        {"split": "dev", "step": 0, "loss": 0.693},
        {"split": "train", "step": 7, "loss": 0.5},
        {"split": "dev", "step": 7, "loss": 0.612},
    )
    policy = replace(example.policy("dpo", 0), curve=curve)
    results = said_of(policies=(policy,))
    sentence = "dpo was trained for 7 steps: dev loss 0.693 at first, 0.612 at last."
    assert trained(results) == [sentence]
    words = re.sub(r"<style.*?</style>|<[^>]*>", " ", page(results), flags=re.DOTALL).lower()
    assert sentence.lower() in words
    for absent in ("scorer", "compared", "coefficient", "sample", "reward of", "one line a seed"):
        assert absent not in words
    scorer = replace(example.scorer_summary("reward", 1), accuracy=Interval(0.7, 0.6, 0.8, 9))
    assert head(said_of(summary=Summary((scorer,), ()))).result == (
        "reward is right on 70.0 % [60.0, 80.0] of held-out comparisons."
    )


def test_evaluations_begin_with_their_own_note() -> None:
    notes = ("a", "b", "c", "d", "e")
    results = said_of(AGAINST, command="eval", notes=notes)
    said = head(results)
    assert (said.result, said.limits, said.further) == (
        "a",
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
        (math.nan, 0.5, ""),
        (0.5, math.nan, ""),
    ],
)
def test_a_scorer_must_beat_the_better_rule_by_length(low: float, longer: float, said: str) -> None:
    summary = replace(
        example.scorer_summary("reward", 1),
        accuracy=Interval(0.75, low, 0.9, 9),
        longer_wins=Interval.unbounded(longer),
    )
    note = scorer_note(summary)
    if said:
        assert note.endswith(f"{said}.")
    else:
        assert note == ""


# --- judges beside scorers of rewards -------------------------------------------------------------


def judged(*, used: tuple[str, ...] = (), **parts: Any) -> Results:
    """Two judges and their majority on x against y, where a scorer that trained x sees a gain."""
    rates = []
    for judge in ("gpt", "qwen", MAJORITY):
        is_used = judge in used or (judge == MAJORITY and bool(used))
        rate = example.win_rate("x", "y", judge, 0.5, lose=0.3)
        rates.append(replace(rate, used_in_training=is_used))
    judges = replace(JudgeResults.none(), win_rates=tuple(rates))
    return said_of(FAVOURING, judges=judges, **parts)


def test_judges_that_trained_nothing_are_independent_evidence() -> None:
    # 50 % won, 20 % tied: a win rate of 60 %.
    result = head(judged()).result
    assert result.startswith(
        "x against y, by judges without a part in their training: the majority of the judges with a "
        "win rate of 60.0 % ["
    )
    assert "No independent evidence" not in result


def test_of_a_majority_with_a_part_in_training_the_independent_judge_speaks() -> None:
    result = head(judged(used=("gpt",))).result
    assert "without a part in their training: qwen with a win rate of 60.0 %" in result
    assert "majority" not in result.partition("says otherwise")[0]


def test_without_independent_judges_there_is_still_no_evidence() -> None:
    result = head(judged(used=("gpt", "qwen"))).result
    assert result.startswith("No independent evidence on x against y")


def test_scorers_and_judges_speak_together() -> None:
    results = judged()
    contrasts = (*results.contrasts, AGAINST)
    result = head(replace(results, contrasts=contrasts)).result
    assert result.startswith(
        "x against y, by a scorer and judges without a part in their training: judge −0.058 "
        "[−0.115, −0.001], lower; the majority of the judges with a win rate of 60.0 %"
    )


def test_what_independent_judges_see_as_well_needs_no_caution() -> None:
    alone = said_of(FAVOURING)
    assert "only under a scorer that trained one of the two" in caution(alone)
    assert caution(judged()) == ""
