"""Results → what they say in sentences. The page, the terminal, Markdown and the notes of
results.json all ask here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewarddiff.report.cells import Results, share_cell
from rewarddiff.report.values import (
    Interval,
    count,
    entries,
    interval,
    mapping,
    mean,
    names,
    number,
    percent,
    real,
    setting,
    signed,
    word,
)

SENTENCES = 4
"""As many stand at the head of a page; what else there is to say is folded."""

NO_EVIDENCE = frozenset({"length", "grades", "baseline"})
"""Kinds of judges that say nothing of how good a policy is: rules by length, and the data
itself."""

KEYS_NAMED = 3
"""Of the keys in which two policies differ, so many stand in a headline; tables and notes name
all."""


@dataclass(frozen=True)
class Gap:
    """What one scorer says of two policies: the mean reward of the first less that of the second.

    Attributes:
        independent: whether the scorer had no part in training either, nor a start in common with
            one that had.
    """

    scorer: str
    reward: Interval
    independent: bool

    @property
    def reading(self) -> str:
        if not self.reward.known:
            return "not known"
        if not self.reward.bounded:
            return "without an interval (too few samples, or all alike, to say more)"
        if not self.reward.excludes_zero:
            return "no difference shown"
        return "higher" if self.reward.low > 0 else "lower"

    def __str__(self) -> str:
        bounds = (
            f" [{real(self.reward.low)}, {real(self.reward.high)}]" if self.reward.bounded else ""
        )
        return f"{self.scorer} {signed(self.reward.value)}{bounds}, {self.reading}"


@dataclass(frozen=True)
class Difference:
    """A key, or an amount of training, in which two policies differ."""

    key: str
    a: Any
    b: Any

    def __str__(self) -> str:
        return f"{self.key} {setting(self.a)} against {setting(self.b)}"


@dataclass(frozen=True)
class Contrast:
    """Two policies held against each other.

    Attributes:
        gaps: by every scorer that is evidence at all.
        unequal: in what their training differs besides coefficient, strength and order.
    """

    a: str
    b: str
    gaps: tuple[Gap, ...]
    unequal: tuple[Difference, ...]

    @property
    def name(self) -> str:
        return f"{self.a} against {self.b}"

    @property
    def independent(self) -> list[Gap]:
        return [gap for gap in self.gaps if gap.independent]

    @property
    def dependent(self) -> list[Gap]:
        return [gap for gap in self.gaps if not gap.independent]

    @property
    def disagreeing(self) -> list[Gap]:
        """The dependent gaps that read otherwise than some independent one."""
        readings = {gap.reading for gap in self.independent}
        return [gap for gap in self.dependent if readings - {gap.reading}]


@dataclass(frozen=True)
class Head:
    """What stands above everything else.

    Attributes:
        result: by independent evidence, and who says otherwise; one or two sentences.
        limits: what limits it; together with the result at most `SENTENCES`.
        further: whatever else there is to say.
    """

    result: str
    limits: tuple[str, ...] = ()
    further: tuple[str, ...] = ()


# --- what is known of two policies -----------------------------------------------------------------------------------


def contrasts(results: Results) -> list[Contrast]:
    """Return every pair of policies that was compared, in the order of the results."""
    lines = over_seeds(results)
    marked = trained_with(results)
    kinds = {
        word(line.get("name")): word(line.get("kind")) for line in entries(results.get("scorers"))
    }
    by_pair: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in lines:
        by_pair.setdefault((word(line.get("a")), word(line.get("b"))), []).append(line)
    pairs = []
    for (a, b), of_pair in by_pair.items():
        gaps = tuple(
            Gap(
                word(line.get("scorer")),
                interval(line.get("mean_gap")),
                not had_a_part(line, marked),
            )
            for line in of_pair
            if kinds.get(word(line.get("scorer"))) not in NO_EVIDENCE
        )
        pairs.append(Contrast(a, b, gaps, unequal(of_pair[0])))
    return [pair for pair in pairs if pair.gaps]


def over_seeds(results: Results) -> list[Mapping[str, Any]]:
    """Return the contrasts over all seeds; those of single seeds where there are no others."""
    lines = entries(results.get("contrasts"))
    return [line for line in lines if line.get("seed") == "all"] or lines


def trained_with(results: Results) -> set[tuple[str, str]]:
    """Return the (policy, scorer) pairs where the scorer, or one of the same start, had a part in
    the training."""
    used = [run for run in entries(results.get("rewards")) if run.get("used_in_training") is True]
    return {(word(run.get("policy")), word(run.get("scorer"))) for run in used}


def had_a_part(line: Results, marked: set[tuple[str, str]]) -> bool:
    """Whether the scorer of a contrast is no independent judge of it."""
    scorer = word(line.get("scorer"))
    return line.get("used_in_training") is True or any(
        (word(line.get(side)), scorer) in marked for side in "ab"
    )


def unequal(line: Results) -> tuple[Difference, ...]:
    """Return in what the training of a contrast's policies differs."""
    differences = entries(line.get("unequal"))
    return tuple(
        Difference(word(entry.get("key")), entry.get("a"), entry.get("b")) for entry in differences
    )


def trained_unequally(differences: Sequence[Difference], most: int | None = None) -> str:
    """Return `trained unequally: train.lr 1e−6 against 5e−6, …`, with at most so many keys by
    name."""
    named = ", ".join(map(str, differences[:most]))
    rest = len(differences) - len(differences[:most])
    return f"trained unequally: {named}" + (f" and {rest} more" if rest else "")


# --- sentences -------------------------------------------------------------------------------------------------------


def head(results: Results) -> Head:
    """Return what is said first: of policies the result by independent evidence, else what was
    trained or measured."""
    pairs, given = contrasts(results), _given(results)
    if results.get("stages") in (["eval"], ["sweep"]) and given:
        result, others = given[:1], given[1:]
    elif pairs:
        result, others = verdict(pairs[0]), [*limits(results), *map(statement, pairs[1:]), *given]
    else:
        lines = [*trained(results), *scorer_notes(results), *given] or ["Nothing was recorded."]
        result, others = lines[:1], lines[1:]
    said = {*result, *map(statement, pairs[:1])}
    others = [text for text in dict.fromkeys(others) if text not in said]
    room = SENTENCES - len(result)
    return Head(" ".join(result), tuple(others[:room]), tuple(others[room:]))


def notes(results: Results) -> list[str]:
    """Return a statement on every two policies that were compared, and what is amiss with
    scorers."""
    return [*map(statement, contrasts(results)), *scorer_notes(results)]


def statement(pair: Contrast) -> str:
    """Return everything that is known of two policies as one sentence, independent scorers
    first."""
    parts = [f"by {gap}" for gap in pair.independent]
    parts += [f"by {gap}, but it had a part in their training" for gap in pair.dependent]
    if pair.unequal:
        parts.append(trained_unequally(pair.unequal))
    return f"{pair.name}: {'; '.join(parts)}."


def verdict(pair: Contrast) -> list[str]:
    """Return the result by independent scorers, and what the others say where that is something
    else."""
    dependent = "; ".join(map(str, pair.dependent))
    if not pair.independent:
        return [
            f"No independent evidence on {pair.name}: every scorer here had a part in their training.",
            f"Such scorers say: {dependent}.",
        ]
    scorers = "a scorer" if len(pair.independent) == 1 else "scorers"
    result = [
        f"{pair.name}, by {scorers} without a part in their training: {'; '.join(map(str, pair.independent))}."
    ]
    if pair.disagreeing:
        disagreeing = "; ".join(map(str, pair.disagreeing))
        who = (
            "The scorer with a part in it says"
            if len(pair.disagreeing) == 1
            else "Scorers with a part in it say"
        )
        result.append(f"{who} otherwise: {disagreeing}.")
    return result


def limits(results: Results) -> list[str]:
    """Return what limits the results on policies, the gravest first."""
    first, *rest = contrasts(results)
    sentences = []
    if first.unequal:
        text = trained_unequally(first.unequal, KEYS_NAMED)
        sentences.append(f"{first.a} and {first.b} were {text}.")
    if many := sum(bool(pair.unequal) for pair in rest):
        are = "is" if many == 1 else "are"
        sentences.append(f"{many} of the other comparisons {are} of policies trained unequally.")
    by_scorer = _scorer_notes(results)
    judges = [gap.scorer for gap in first.independent]
    sentences += [by_scorer[judge] for judge in judges if judge in by_scorer]
    sentences += [text for text in [caution(results)] if text]
    sentences += by_scorer.values()
    if len({word(run.get("seed")) for run in entries(results.get("rewards"))}) == 1:
        sentences.append(
            "One seed: intervals are over prompts alone and say nothing of other seeds."
        )
    return sentences


def caution(results: Results) -> str:
    """Return how many gaps are not told apart from zero, or only by dependent scorers; empty where
    all are."""
    gaps = [(pair, gap) for pair in contrasts(results) for gap in pair.gaps if gap.reward.bounded]
    unclear = sum(not gap.reward.excludes_zero for _, gap in gaps)
    alone = 0
    for pair, gap in gaps:
        backed = any(other.reading == gap.reading for other in pair.independent)
        alone += gap.reward.excludes_zero and not gap.independent and not backed
    of = f"of the {len(gaps)} gaps between policies" if len(gaps) > 1 else "gap between policies"
    parts = []
    if unclear:
        parts.append(
            f"{unclear} {of} {_have(unclear)} an interval that includes zero: no difference is shown there"
        )
    if alone:
        whose = f"{alone} {_have(alone)}" if parts else f"{alone} {of} {_have(alone)}"
        parts.append(f"{whose} a clear sign only under a scorer that trained one of the two")
    return f"Read with care: {'; '.join(parts)}." if parts else ""


def scorer_notes(results: Results) -> list[str]:
    """Return a sentence on every scorer that is not shown to be better than a rule by length, or a
    coin."""
    return list(_scorer_notes(results).values())


def _scorer_notes(results: Results) -> dict[str, str]:
    summary = entries(mapping(results.get("summary")).get("scorers"))
    sentences = {word(line.get("name")): scorer_note(line) for line in summary}
    return {name: text for name, text in sentences.items() if text}


def scorer_note(line: Results) -> str:
    """Return that a scorer is not shown to beat the better of the two rules by length; empty where
    it is."""
    low, longer = interval(line.get("accuracy")).low, number(line.get("longer_wins"))
    best = max(longer, 1 - longer)
    if not low <= best:  # it is above, or one of the two is not known
        return ""
    rule = f"choosing the {'longer' if longer > 0.5 else 'shorter'} response"
    if longer == 0.5:
        rule = "a coin"
    return (
        f"{word(line.get('name'))}: its accuracy is not shown to be above {rule} ({percent(best)})."
    )


def trained(results: Results) -> list[str]:
    """Return a sentence on every scorer and policy: how good it is by itself, or else how its
    training ended."""
    sentences = []
    accuracies = {
        word(line.get("name")): interval(line.get("accuracy"))
        for line in entries(mapping(results.get("summary")).get("scorers"))
    }
    for kind in ("scorers", "policies"):
        runs = entries(results.get(kind))
        for name in names(runs):
            accuracy = accuracies.get(name, Interval())
            if kind == "scorers" and accuracy.known:
                sentences.append(
                    f"{name} is right on {share_cell(accuracy)} of held-out comparisons."
                )
            else:
                sentences += _ended(
                    [entries(run.get("curve")) for run in runs if word(run.get("name")) == name],
                    name,
                )
    return sentences


def _ended(curves: Sequence[Sequence[Mapping[str, Any]]], name: str) -> list[str]:
    """How the training of all seeds ended, by the dev split where there is one; nothing where no
    curve is known."""
    for split in ("dev", "train"):
        of_split = [[line for line in curve if line.get("split") == split] for curve in curves]
        of_split = [lines for lines in of_split if lines]
        if of_split:
            first, last = (
                mean(number(lines[place].get("loss")) for lines in of_split) for place in (0, -1)
            )
            steps = count(mean(number(lines[-1].get("step")) for lines in of_split))
            return [
                f"{name} was trained for {steps} steps: {split} loss {real(first)} at first, {real(last)} at last."
            ]
    return []


def _given(results: Results) -> list[str]:
    """The notes of the results themselves."""
    raw = results.get("notes")
    return [str(note) for note in raw if note] if isinstance(raw, (list, tuple)) else []


def _have(many: int) -> str:
    return "has" if many == 1 else "have"
