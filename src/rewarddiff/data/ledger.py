"""What happened to every row: kept, dropped or changed, and why.

Counts are exact, examples are few.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from rewarddiff.errors import UserError
from rewarddiff.records import Group
from rewarddiff.writing import counted, cut

EXAMPLES = 20
"""Places remembered for each reason; the count goes on."""


class Reason(StrEnum):
    """Why a row was dropped or changed, and how the data can be mended."""

    mend: str

    def __new__(cls, name: str, mend: str = "") -> Reason:
        reason = str.__new__(cls, name)
        reason._value_ = name
        reason.mend = mend
        return reason

    UNREADABLE = "unreadable", "repair or delete the rows that are not valid"
    MISSING_FIELD = "missing_field", "fill in the field or delete the rows"
    EMPTY_RESPONSE = "empty_response", "delete the rows with an empty response"
    IDENTICAL_RESPONSES = "identical_responses", "delete the rows whose responses are the same text"
    IDENTICAL_AFTER_TRUNCATION = (
        "identical_after_truncation",
        "raise the length limit for responses",
    )
    PROMPTS_DIFFER = (
        "prompts_differ",
        "delete the rows whose dialogues differ before the last answer",
    )
    DUPLICATE = "duplicate", "delete the repeated rows"
    CONTRADICTORY = (
        "contradictory",
        "decide which of the opposite labels is right and delete the other",
    )
    PROMPT_TOO_LONG = "prompt_too_long", "raise the length limit for prompts"
    PROMPT_CUT = "prompt_cut", "raise the length limit for prompts"
    RESPONSE_CUT = "response_cut", "raise the length limit for responses"
    TEMPLATE_REFUSED = (
        "template_refused",
        "change or delete the rows whose roles the model's chat template does not take",
    )
    NON_FINITE_SCORE = "non_finite_score", "replace NaN and infinite scores or delete the rows"
    SINGLE_RESPONSE = (
        "single_response",
        "give every prompt at least two responses, or each response a label",
    )
    NO_RESPONSE = (
        "no_response",
        "nothing to mend if the prompts are to be answered; what compares needs two responses each",
    )
    TOO_MANY_RESPONSES = "too_many_responses", "give each prompt at most 512 responses"
    NO_ORDER = "no_order", "nothing to mend if ties are meant"
    NO_ASPECT = (
        "no_aspect",
        "give these parts of the collection an aspect of the scorer, if they are to train it",
    )
    NO_ANSWER = (
        "no_answer",
        "end every conversation with a turn of the assistant, or delete the rows",
    )
    PROMPT_IN_RESPONSE = "prompt_in_response", "begin the responses behind the prompt"
    TOOLS_LEFT_OUT = (
        "tools_left_out",
        "use a model whose chat template reads tools, and delete the rows whose response is a call",
    )
    OTHER_FORM = "other_form", "nothing to mend"
    UNSCORED = (
        "unscored",
        "ask the scorer again, or another one; nothing to mend where it is to abstain",
    )
    TURNED_BY_SCORER = (
        "label_turned_by_a_scorer",
        "weigh without negative=flip, if the labels are to be those of the data",
    )
    IN_TRAINING = (
        "in_training",
        "take these prompts out of the test file, or out of the training data",
    )


@dataclass(frozen=True, slots=True)
class Example:
    """Where it happened: `source` is "file:row", `id` the group's, `detail` one short phrase."""

    source: str
    id: str = ""
    detail: str = ""

    @property
    def in_brackets(self) -> str:
        """The detail, to stand behind the reason in a line."""
        return f" ({self.detail})" if self.detail else ""


@dataclass(slots=True)
class Tally:
    """How often something happened, and the first places."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, count: int, examples: Iterable[Example]) -> None:
        self.count += count
        if len(self.examples) < EXAMPLES:
            self.examples = [*self.examples, *examples][:EXAMPLES]


Tallies = dict[Reason, Tally]


class Ledger:
    """Counts rows by what became of them.

    A row is what the file calls one: a line, a record. A group built of n rows (one response or one
    vote a row) counts n. Every row is kept or dropped, once; changes are counted beside that, as
    often as they happen. Use one ledger a stage: a later stage's total is what the earlier one
    kept.
    """

    def __init__(self) -> None:
        self.kept = 0
        self._dropped: Tallies = {}
        self._changed: Tallies = {}

    def keep(self, rows: int = 1) -> None:
        """Count rows that go on."""
        self.kept += rows

    def drop(
        self, reason: Reason | str, where: Group | str, detail: str = "", *, rows: int = 1
    ) -> None:
        """Count rows that end here; `where` is the group, or "file:row" before there is one."""
        _add(self._dropped, reason, where, detail, rows)

    def change(self, reason: Reason | str, where: Group | str, detail: str = "") -> None:
        """Count something altered, or worth knowing, in a row that goes on."""
        _add(self._changed, reason, where, detail)

    def __repr__(self) -> str:
        dropped = f"{self.dropped} dropped"
        if self._dropped:
            dropped += f" ({_listed(self._dropped)})"
        changed = f", changed: {_listed(self._changed)}" if self._changed else ""
        return f"Ledger({self.total} rows: {self.kept} kept, {dropped}{changed})"

    @property
    def dropped(self) -> int:
        return _sum(self._dropped)

    @property
    def changed(self) -> int:
        """Changes, as often as they happened."""
        return _sum(self._changed)

    @property
    def total(self) -> int:
        return self.kept + self.dropped

    def count(self, reason: Reason | str) -> int:
        """Return the rows dropped for this reason plus the changes made for it."""
        reason = Reason(reason)
        tallies = (self._dropped.get(reason), self._changed.get(reason))
        return sum(tally.count for tally in tallies if tally is not None)

    def merge(self, other: Ledger) -> None:
        """Add another ledger's counts (of other rows) to this one's."""
        self.kept += other.kept
        for mine, theirs in ((self._dropped, other._dropped), (self._changed, other._changed)):
            for reason, tally in theirs.items():
                mine.setdefault(reason, Tally()).add(tally.count, tally.examples)

    def enforce(self, max_drop: float) -> None:
        """Stop if more than the share `max_drop` of all rows was lost; mere repeats are no loss.

        Raises:
            UserError: names the commonest reason, its first place and the mend.
        """
        losses = dict(self._dropped)
        losses.pop(Reason.DUPLICATE, None)
        count = _sum(losses)
        if count <= max_drop * self.total:
            return
        reason, tally = _commonest_first(losses)[0]
        first = tally.examples[0]
        if self.kept == 0:
            extent, mend = "none is left", reason.mend
        else:
            extent = f"more than the {max_drop:.1%} allowed"
            mend = f"{reason.mend}, or raise max_drop"
        raise UserError(
            f"{first.source}: {count} of {self.total} rows dropped, {extent}, "
            f"most ({tally.count}) for {reason}{first.in_brackets}; {mend}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `from_dict` reads them back."""
        return {
            "total": self.total,
            "kept": self.kept,
            "dropped": {str(reason): asdict(tally) for reason, tally in self._dropped.items()},
            "changed": {str(reason): asdict(tally) for reason, tally in self._changed.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Ledger:
        """Return the ledger that `to_dict` wrote down."""
        ledger = cls()
        ledger.kept = values["kept"]
        ledger._dropped = _tallies(values["dropped"])
        ledger._changed = _tallies(values["changed"])
        return ledger

    def table(self) -> str:
        """Return the ledger as a few lines of text, commonest reason first."""
        lines = [f"{counted(self.total, 'row', str)}: {self.kept} kept, {self.dropped} dropped"]
        for verb, tallies in (("dropped", self._dropped), ("changed", self._changed)):
            for reason, tally in _commonest_first(tallies):
                first = tally.examples[0]
                lines.append(
                    f"  {verb:<8} {tally.count:>7}  {reason:<26}"
                    f"  first: {first.source}{first.in_brackets}"
                )
        return "\n".join(lines)


def _add(
    tallies: Tallies, reason: Reason | str, where: Group | str, detail: str, rows: int = 1
) -> None:
    tally = tallies.setdefault(Reason(reason), Tally())
    tally.count += rows
    if len(tally.examples) < EXAMPLES:
        source, id = (where, "") if isinstance(where, str) else (where.source, where.id)
        tally.examples.append(Example(source, cut(id), cut(detail)))


def _sum(tallies: Tallies) -> int:
    return sum(tally.count for tally in tallies.values())


def _listed(tallies: Tallies) -> str:
    return ", ".join(f"{tally.count} {reason}" for reason, tally in tallies.items())


def _commonest_first(tallies: Tallies) -> list[tuple[Reason, Tally]]:
    return sorted(tallies.items(), key=lambda item: -item[1].count)


def _tallies(plain: Mapping[str, Any]) -> Tallies:
    tallies = {}
    for reason, values in plain.items():
        examples = [Example(**example) for example in values["examples"]]
        tallies[Reason(reason)] = Tally(values["count"], examples)
    return tallies
