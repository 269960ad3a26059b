"""What results say of scorers, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rewarddiff.report.cells import share_cell
from rewarddiff.report.values import bounds, count, mean, percent, points, real
from rewarddiff.results import (
    PEOPLE,
    CurveLine,
    Cut,
    Interval,
    Overlap,
    Results,
    ScorerResult,
    ScorerSummary,
    TrainedOn,
)
from rewarddiff.writing import counted


def scorer_notes(results: Results) -> dict[str, str]:
    """Return a sentence on every scorer that is not shown to beat a rule by length, or a coin."""
    sentences = {line.name: scorer_note(line) for line in results.summary.scorers}
    return {name: sentence for name, sentence in sentences.items() if sentence}


def scorer_note(line: ScorerSummary) -> str:
    """Say that a scorer is not shown to beat the better of two rules; empty where it is."""
    rule = length_rule(line.longer_wins)
    not_shown = line.accuracy.low <= rule.accuracy.value  # neither where one is not known
    if not not_shown:
        return ""
    name = "a coin" if rule.accuracy.value == 0.5 else rule.sentence
    above = f"{name} ({percent(rule.accuracy.value)})"
    return f"{line.name}: its accuracy is not shown to be above {above}."


@dataclass(frozen=True)
class LengthRule:
    """The better of the two rules by length: which response it chooses, how often it is right."""

    chooses: Literal["longer", "shorter"]
    accuracy: Interval

    @property
    def sentence(self) -> str:
        return f"choosing the {self.chooses} response"


def length_rule(longer: Interval) -> LengthRule:
    """Return the better of the two rules by length; `longer`: the accuracy of the longer response.

    Every place that sets a scorer beside length asks here, so that all give the same number.
    """
    if longer.value < 0.5:
        shorter = Interval(1 - longer.value, 1 - longer.high, 1 - longer.low, longer.n)
        return LengthRule("shorter", shorter)
    return LengthRule("longer", longer)


def trained(results: Results) -> list[str]:
    """Return how good every scorer is, or else how its and each policy's training ended."""
    sentences = []
    for line in results.summary.scorers:
        if line.accuracy.known:
            accuracy = share_cell(line.accuracy)
            sentences.append(f"{line.name} is right on {accuracy} of held-out comparisons.")
        else:
            curves = [run.curve for run in results.scorers if run.name == line.name]
            sentences += _ended(curves, line.name)
    for name in dict.fromkeys(policy.name for policy in results.policies):
        curves = [policy.curve for policy in results.policies if policy.name == name]
        sentences += _ended(curves, name)
    return sentences


def _ended(curves: Sequence[Sequence[CurveLine]], name: str) -> list[str]:
    """Say how the training of all seeds ended, by the dev split where there is one.

    Nothing where no curve is known.
    """
    for split in ("dev", "train"):
        of_split = [[line for line in curve if line["split"] == split] for curve in curves]
        of_split = [lines for lines in of_split if lines]
        if of_split:
            steps = counted(
                round(mean(_number(lines[-1], "step") for lines in of_split)), "step", count
            )
            first = real(mean(_number(lines[0], "loss") for lines in of_split))
            last = real(mean(_number(lines[-1], "loss") for lines in of_split))
            return [
                f"{name} was trained for {steps}: {split} loss {first} at first, {last} at last."
            ]
    return []


def _number(line: Mapping[str, str | float], key: str) -> float:
    value = line[key]
    assert not isinstance(value, str)
    return value


# --- of one evaluation ----------------------------------------------------------------------------


def evaluation_note(result: ScorerResult) -> str:
    """Say how good a scorer is on the data of an evaluation, beside length."""
    evaluation = result.evaluation
    accuracy = evaluation.accuracy
    if not accuracy.n:
        return f"{result.name}: no comparison has a better response."
    longer = percent(evaluation.baselines.longer_wins.value)
    of = f"{counted(accuracy.n, 'comparison', count)} {bounds(accuracy, points)}".rstrip()
    sentences = [
        f"{result.name} is right on {percent(accuracy.value)} of {of}; "
        f"the longer response is the better one in {longer}.",
    ]
    if evaluation.cut is not None:
        sentences.append(_cut_remark(evaluation.cut))
    sentences += [overlap_remark(evaluation.trained_on), labels_remark(result)]
    return " ".join(sentence for sentence in sentences if sentence)


def _cut_remark(cut: Cut) -> str:
    parts = []
    for name, many in (("prompt", cut.prompt), ("response", cut.response)):
        if many:
            parts.append(f"{many} with a {name} beyond its limits")
    if not parts:
        return ""
    return f"It read {' and '.join(parts)} in part."


def overlap_remark(overlap: Overlap) -> str:
    """Say what of the data a scorer was trained on; empty where all comparisons are held out."""
    if not overlap.known:
        return "Its folder does not say what it was trained on, so these prompts may be among them."
    if not overlap.comparisons:
        return ""
    comparisons = counted(overlap.comparisons, "comparison", count)
    prompts = counted(overlap.prompts, "prompt", count)
    seen = f"{comparisons} of {prompts} that it was trained on"
    if overlap.left_out:
        return f"Left out are {seen}."
    return f"These are figures of training, not of held-out data: there is nothing but {seen}."


def labels_remark(result: ScorerResult) -> str:
    """Say when people are measured by what they said themselves, which their folder cannot tell."""
    if result.kind != PEOPLE or not result.evaluation.n:
        return ""
    return (
        "Where the labels come from these same votes, that people agree with them is no evidence."
    )


def overlap_notes(results: Results) -> list[str]:
    """Say of each scorer where it is measured on what it was, or may have been, trained on."""
    remarks: dict[str, str] = {}
    for result in results.scorers:
        parts = (overlap_remark(result.evaluation.trained_on), labels_remark(result))
        remarks.setdefault(result.name, " ".join(filter(None, parts)))
    return [f"{name}: {remark}" for name, remark in remarks.items() if remark]


def trained_on_remarks(trained_on: TrainedOn, things: str) -> list[str]:
    """Return sentences on the prompts that scorers were, or may have been, trained on."""
    remarks = []
    if not trained_on.known:
        remarks.append(
            "Not every scorer says what it was trained on, so these prompts may be among that."
        )
    seen = f"{count(trained_on.prompts)}"
    if trained_on.left_out:
        remarks.append(
            f"{seen} further {things} are left out: a scorer was trained on their prompts."
        )
    elif trained_on.prompts:
        remarks.append(
            f"A scorer was trained on the prompts of all {seen} {things}: nothing here is held out."
        )
    return remarks
