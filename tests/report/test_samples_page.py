"""Samples on the page: cases, filters without a script, and anchors that lead to each."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import report_example as example

from rewarddiff.report.page import page
from rewarddiff.report.samples import Compared, sample_sections
from rewarddiff.results import MAJORITY, PromptSamples, Results


def sample(gap: float, prompt: str = "Why?") -> PromptSamples:
    return PromptSamples(
        prompt,
        {"a": "one answer", "b": "another"},
        {"a": {"judge": 1.0 + gap}, "b": {"judge": 1.0}},
    )


@pytest.mark.parametrize(
    ("gap", "outcome"), [(0.5, "win"), (-0.5, "lose"), (0.0, "tie"), (math.nan, "")]
)
def test_outcomes_follow_rewards(gap: float, outcome: str) -> None:
    assert Compared("a", "b", "judge").outcome(sample(gap))[0] == outcome


def test_the_same_text_is_a_tie_and_a_verdict_goes_before_rewards() -> None:
    compared = Compared("a", "b", "judge")
    alike = replace(sample(3.0), responses={"a": "same", "b": "same"})
    assert compared.outcome(alike)[0] == "tie"
    judged = replace(sample(3.0), verdicts={"judge": "lose"})
    assert compared.outcome(judged) == ("lose", "b better, by judge")
    assert compared.outcome(PromptSamples("x", {"a": "only"}, {"a": {"judge": 1.0}})) == ("", "")


def with_samples(*samples: PromptSamples) -> Results:
    contrast = replace(example.results(1).contrasts[0], a="a", b="b", scorer="judge")
    return replace(example.empty(), contrasts=(contrast,), samples=samples)


def test_filters_leave_the_articles_of_an_outcome() -> None:
    results = with_samples(sample(1.0), sample(-1.0), sample(2.0), sample(0.0))
    (_, section) = sample_sections(results)
    assert [(choice.outcome, choice.label) for choice in section.filters] == [
        ("all", "all (4)"),
        ("win", "a better (2)"),
        ("tie", "tie (1)"),
        ("lose", "b better (1)"),
    ]
    html = page(results)
    part = html.partition('<section id="samples">')[2].partition("</section>")[0]
    assert re.findall(r'<article id="(samples-\d)" class="(\w+)"', part) == [
        ("samples-1", "win"), ("samples-2", "lose"), ("samples-3", "win"), ("samples-4", "tie"),
    ]  # fmt: skip
    # Each choice has a rule that hides the others, and inputs stand before what they choose among.
    for outcome in ("win", "tie", "lose"):
        assert f'class="show-{outcome}"' in part
        assert f".show-{outcome}:checked ~ article:not(.{outcome}, :target)" in html
    assert part.rindex("<input") < part.index("<article")
    assert part.count("checked") == 1


def test_samples_of_one_outcome_need_no_filter() -> None:
    (_, section) = sample_sections(with_samples(sample(1.0), sample(2.0)))
    assert section.filters == ()


def test_every_sample_can_be_linked_to_and_is_listed() -> None:
    results = with_samples(*(sample(gap, f"Question {gap}?") for gap in (1.0, 2.0, 3.0, -1.0)))
    html = page(results)
    for number in range(1, 5):
        assert html.count(f'id="samples-{number}"') == 1
        assert html.count(f'href="#samples-{number}"') == 2  # beside it, and in the list
    assert "Question -1.0?" in html.partition("All 4 prompts")[2].partition("</details>")[0]


def test_cases_say_whose_gain_they_are() -> None:
    (cases, _) = sample_sections(example.results())
    assert [case.title for case in cases.samples] == [
        "Largest gain: +1.204",
        "Median gain: +0.031",
        "Smallest gain: −0.774",
    ]
    assert "dpo+difference gains most, least and in the middle on dpo" in cases.intro
    assert "had a part in their training" not in cases.intro
    used = [replace(case, used_in_training=True) for case in example.CASES]
    (cases, _) = sample_sections(replace(example.results(), cases=tuple(used)))
    assert "reward had a part in their training" in cases.intro


def test_in_a_run_verdicts_are_about_the_policies_that_judges_compare_first() -> None:
    results = replace(example.results(), judges=example.judges())
    judged = [replace(s, verdicts={"gpt": "win"}) for s in results.samples]
    (_, section) = sample_sections(replace(results, samples=tuple(judged)))
    # base stands first among the responses; judges compare dpo+difference with dpo first.
    assert section.samples[0].remark == "dpo+difference better, by gpt"


def test_of_judging_the_majority_filters() -> None:
    (_, section) = sample_sections(example.judging())
    assert [choice.outcome for choice in section.filters] == ["all", "win", "tie"]
    assert section.samples[0].remark == "dpo+difference better, by majority of the judges"
    without = [replace(s, verdicts={"gpt": "lose"}) for s in example.judging().samples]
    (_, section) = sample_sections(replace(example.judging(), samples=tuple(without)))
    assert section.samples[0].outcome == "lose"
    assert MAJORITY not in section.samples[0].remark


def test_the_most_independent_judge_filters() -> None:
    results = example.judging()
    used = [replace(r, used_in_training=r.judge != "qwen") for r in results.judges.win_rates]
    judges = replace(results.judges, win_rates=tuple(used))
    (_, section) = sample_sections(replace(results, judges=judges))
    assert section.samples[0].remark == "no verdict, by qwen"
