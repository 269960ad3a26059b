"""Results → samples side by side, with what is said of the two policies that are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rewarddiff.report.document import Filter, Grade, Response, Sample, Section, clip
from rewarddiff.report.evidence import Pair, pairs
from rewarddiff.report.judge_statements import by_independence, judge_name
from rewarddiff.report.values import count, real, setting, signed
from rewarddiff.results import CaseStudy, PromptSamples, Results, WinRate

WORDS = 90
"""Characters of a prompt in the list of all."""


@dataclass(frozen=True)
class Compared:
    """Two policies and who judges between them, by whom samples are filtered."""

    a: str
    b: str
    judge: str

    @property
    def labels(self) -> dict[str, str]:
        """What every outcome is called."""
        return {
            "win": f"{self.a} better",
            "tie": "tie",
            "lose": f"{self.b} better",
            "unscored": "no verdict",
        }

    def outcome(self, sample: PromptSamples) -> tuple[str, str]:
        """Return the outcome for the first policy, and what is said of it; empty where unknown."""
        if self.judge in sample.verdicts:
            outcome = sample.verdicts[self.judge]
            return outcome, f"{self.labels[outcome]}, by {judge_name(self.judge)}"
        gap = self._gap(sample)
        if not math.isfinite(gap):
            return "", ""
        outcome = "tie"
        if gap:
            outcome = "win" if gap > 0 else "lose"
        return outcome, f"{self.a} less {self.b}, by {self.judge}: {signed(gap)}"

    def _gap(self, sample: PromptSamples) -> float:
        if not {self.a, self.b} <= set(sample.responses):
            return math.nan
        if sample.responses[self.a] == sample.responses[self.b]:
            return 0.0
        of_a, of_b = (sample.rewards.get(name, {}) for name in (self.a, self.b))
        return of_a.get(self.judge, math.nan) - of_b.get(self.judge, math.nan)


def sample_sections(results: Results) -> list[Section]:
    """Return the prompts that gains pick out, and the first ones."""
    compared = _compared(results)
    samples = [_sample(sample, compared) for sample in results.samples]
    sentences = []
    by_policy = [rewards for sample in results.samples for rewards in sample.rewards.values()]
    if any(by_policy):
        sentences.append("The highest reward under each scorer is in bold.")
    if compared is not None:
        judge = judge_name(compared.judge)
        sentences.append(f"Compared are {compared.a} and {compared.b}, by {judge}.")
    return [
        Section(
            "cases",
            "Cases: largest, median and smallest gain",
            intro=_cases_intro(results.cases),
            samples=tuple(map(_case, results.cases)),
        ),
        Section(
            "samples",
            "Samples side by side",
            intro=" ".join(sentences),
            samples=tuple(samples),
            filters=tuple(_filters(samples, compared)),
        ),
    ]


def _compared(results: Results) -> Compared | None:
    """Return the first two policies that are compared, with the most independent judge of them."""
    judges = {judge for sample in results.samples for judge in sample.verdicts}
    of_judges = [line for line in results.judges.win_rates if line.judge in judges]
    if of_judges:
        return _judged(of_judges)
    compared: list[Pair] = pairs(results)
    if not compared:
        return None
    first = compared[0]
    gap = (first.independent or first.dependent)[0]
    return Compared(first.a, first.b, gap.scorer)


def _judged(lines: Sequence[WinRate]) -> Compared:
    """Return the first two policies that judges compare, which verdicts on samples are about.

    Of the judges it is the most independent one; of these the majority.
    """
    of_pair = [line for line in lines if (line.a, line.b) == (lines[0].a, lines[0].b)]
    first = by_independence(of_pair)[0]
    return Compared(first.a, first.b, first.judge)


def _filters(samples: Sequence[Sample], compared: Compared | None) -> list[Filter]:
    """Return the choices by outcome; none where all samples have the same."""
    if compared is None:
        return []
    filters = []
    for outcome, label in compared.labels.items():
        many = sum(sample.outcome == outcome for sample in samples)
        if many:
            filters.append(Filter(outcome, f"{label} ({count(many)})"))
    if len(filters) < 2:
        return []
    return [Filter("all", f"all ({count(len(samples))})"), *filters]


def _cases_intro(cases: Sequence[CaseStudy]) -> str:
    if not cases:
        return ""
    first = cases[0]
    intro = (
        f"Of all held-out prompts, those on which {first.a} gains most, least and in the middle on "
        f"{first.b}, by rewards of the scorer {first.scorer}; seed {setting(first.seed)}."
    )
    if first.used_in_training:
        intro += f" {first.scorer} had a part in their training."
    return intro


def _case(case: CaseStudy) -> Sample:
    title = f"{case.pick.capitalize()} gain: {signed(case.gain)}"
    return _of(case.sample, title=title, remark=f"{case.a} less {case.b}, by {case.scorer}")


def _sample(sample: PromptSamples, compared: Compared | None) -> Sample:
    outcome, remark = compared.outcome(sample) if compared is not None else ("", "")
    return _of(sample, outcome=outcome, remark=remark)


def _of(sample: PromptSamples, *, title: str = "", outcome: str = "", remark: str = "") -> Sample:
    best: dict[str, float] = {}
    for rewards in sample.rewards.values():
        for scorer, reward in rewards.items():
            best[scorer] = max(best.get(scorer, reward), reward)
    responses = []
    for policy, text in sample.responses.items():
        grades = []
        for scorer, reward in sample.rewards.get(policy, {}).items():
            is_best = len(sample.responses) > 1 and reward == best[scorer]
            grades.append(Grade(scorer, real(reward), is_best))
        responses.append(Response(policy, clip(text), tuple(grades)))
    return Sample(
        clip(sample.prompt),
        tuple(responses),
        title=title,
        outcome=outcome,
        remark=remark,
        begins=_beginning(sample.prompt),
    )


def _beginning(prompt: str) -> str:
    words = " ".join(prompt.split())
    return words if len(words) <= WORDS else f"{words[:WORDS].rstrip()}…"
