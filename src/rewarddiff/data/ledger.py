"""What happened to every row: kept, dropped or changed, and why. Counts are exact, examples are
few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from rewarddiff.errors import UserError

EXAMPLES = 20
"""Places remembered for each reason; the count goes on."""


class Reason(StrEnum):
    """Why a row was dropped or changed."""

    UNREADABLE = "unreadable"
    MISSING_FIELD = "missing_field"
    EMPTY_RESPONSE = "empty_response"
    IDENTICAL_RESPONSES = "identical_responses"
    IDENTICAL_AFTER_TRUNCATION = "identical_after_truncation"
    PROMPTS_DIFFER = "prompts_differ"
    DUPLICATE = "duplicate"
    CONTRADICTORY = "contradictory"
    PROMPT_TOO_LONG = "prompt_too_long"
    PROMPT_CUT = "prompt_cut"
    RESPONSE_CUT = "response_cut"
    TEMPLATE_REFUSED = "template_refused"
    NON_FINITE_SCORE = "non_finite_score"
    SINGLE_RESPONSE = "single_response"
    NO_ORDER = "no_order"
    NO_ASPECT = "no_aspect"
    NO_ANSWER = "no_answer"
    PROMPT_IN_RESPONSE = "prompt_in_response"
    TOOLS_LEFT_OUT = "tools_left_out"
    OTHER_FORM = "other_form"
    IN_TRAINING = "in_training"


MEND: Mapping[Reason, str] = {
    Reason.UNREADABLE: "repair or delete the rows that are not valid",
    Reason.MISSING_FIELD: "fill in the field or delete the rows",
    Reason.EMPTY_RESPONSE: "delete the rows with an empty response",
    Reason.IDENTICAL_RESPONSES: "delete the rows whose responses are the same text",
    Reason.IDENTICAL_AFTER_TRUNCATION: "raise the length limit for responses",
    Reason.PROMPTS_DIFFER: "delete the rows whose dialogues differ before the last answer",
    Reason.DUPLICATE: "delete the repeated rows",
    Reason.CONTRADICTORY: "decide which of the opposite labels is right and delete the other",
    Reason.PROMPT_TOO_LONG: "raise the length limit for prompts",
    Reason.PROMPT_CUT: "raise the length limit for prompts",
    Reason.RESPONSE_CUT: "raise the length limit for responses",
    Reason.TEMPLATE_REFUSED: "change or delete the rows whose roles the model's chat template does not take",
    Reason.NON_FINITE_SCORE: "replace NaN and infinite scores or delete the rows",
    Reason.SINGLE_RESPONSE: "give every prompt at least two responses, or each response a label",
    Reason.NO_ORDER: "nothing to mend if ties are meant",
    Reason.NO_ASPECT: "give these parts of the collection an aspect of the scorer, if they are to train it",
    Reason.NO_ANSWER: "end every conversation with a turn of the assistant, or delete the rows",
    Reason.PROMPT_IN_RESPONSE: "begin the responses behind the prompt",
    Reason.TOOLS_LEFT_OUT: "use a model whose chat template reads tools, and delete the rows whose response is a call",
    Reason.OTHER_FORM: "nothing to mend; rename the file to what it is",
    Reason.IN_TRAINING: "take these prompts out of the test file, or out of the training data",
}


@dataclass(frozen=True, slots=True)
class Example:
    """Where it happened: `source` is "file:row", `id` the group's, `detail` one short phrase."""

    source: str
    id: str = ""
    detail: str = ""


@dataclass(slots=True)
class Tally:
    """How often, and the first places."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, example: Example, rows: int) -> None:
        self.count += rows
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)

    def merge(self, other: Tally) -> None:
        self.count += other.count
        self.examples = (self.examples + other.examples)[:EXAMPLES]


class Ledger:
    """Counts rows by what became of them.

    A row is what the file calls one: a line, a record. A group built of n rows (one response or one
    vote a row) counts n. Every row is kept or dropped, once; changes are counted beside that, as
    often as they happen. Use one ledger a stage: a later stage's total is what the earlier one
    kept.
    """

    def __init__(self) -> None:
        self._kept = 0
        self._dropped: dict[Reason, Tally] = {}
        self._changed: dict[Reason, Tally] = {}

    def keep(self, rows: int = 1) -> None:
        """Count rows that go on."""
        self._kept += rows

    def drop(
        self, reason: Reason | str, source: str, id: str = "", detail: str = "", rows: int = 1
    ) -> None:
        """Count rows that end here."""
        self._dropped.setdefault(Reason(reason), Tally()).add(Example(source, id, detail), rows)

    def change(self, reason: Reason | str, source: str, id: str = "", detail: str = "") -> None:
        """Count something altered, or worth knowing, in a row that goes on."""
        self._changed.setdefault(Reason(reason), Tally()).add(Example(source, id, detail), 1)

    def __repr__(self) -> str:
        reasons = ", ".join(f"{tally.count} {reason}" for reason, tally in self._dropped.items())
        changes = ", ".join(f"{tally.count} {reason}" for reason, tally in self._changed.items())
        dropped = f"{self.dropped} dropped ({reasons})" if reasons else "0 dropped"
        return f"Ledger({self.total} rows: {self.kept} kept, {dropped}{f', changed: {changes}' if changes else ''})"

    @property
    def kept(self) -> int:
        return self._kept

    @property
    def dropped(self) -> int:
        return sum(tally.count for tally in self._dropped.values())

    @property
    def changed(self) -> int:
        """Changes, as often as they happened."""
        return sum(tally.count for tally in self._changed.values())

    @property
    def total(self) -> int:
        return self.kept + self.dropped

    def count(self, reason: Reason | str) -> int:
        """Rows dropped plus changes made for this reason."""
        reason = Reason(reason)
        return sum(
            tallies[reason].count for tallies in (self._dropped, self._changed) if reason in tallies
        )

    def merge(self, other: Ledger) -> None:
        """Add another ledger's counts (of other rows) to this one's."""
        self._kept += other._kept
        for mine, theirs in ((self._dropped, other._dropped), (self._changed, other._changed)):
            for reason, tally in theirs.items():
                mine.setdefault(reason, Tally()).merge(tally)

    def enforce(self, max_drop: float) -> None:
        """Stop if more than the share `max_drop` of all rows was lost: dropped, other than as mere
        repeats.

        Raises:
            UserError: names the commonest reason, its first place and the mend.
        """
        lost = {
            reason: tally
            for reason, tally in self._dropped.items()
            if reason is not Reason.DUPLICATE
        }
        count = sum(tally.count for tally in lost.values())
        if count <= max_drop * self.total:
            return
        reason, tally = max(lost.items(), key=lambda item: item[1].count)
        first = tally.examples[0]
        detail = f" ({first.detail})" if first.detail else ""
        loss, other_mend = f"more than the {max_drop:.1%} allowed", ", or raise max_drop"
        if self.kept == 0:
            loss, other_mend = "none is left", ""
        raise UserError(
            f"{first.source}: {count} of {self.total} rows dropped, {loss}, "
            f"most ({tally.count}) for {reason}{detail}; {MEND[reason]}{other_mend}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""

        def plain(tallies: dict[Reason, Tally]) -> dict[str, Any]:
            return {
                str(r): {"count": t.count, "examples": [asdict(e) for e in t.examples]}
                for r, t in tallies.items()
            }

        return {
            "total": self.total,
            "kept": self.kept,
            "dropped": plain(self._dropped),
            "changed": plain(self._changed),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Ledger:
        """The ledger that `to_dict` wrote down."""

        def tallies(plain: Mapping[str, Any]) -> dict[Reason, Tally]:
            return {
                Reason(r): Tally(t["count"], [Example(**e) for e in t["examples"]])
                for r, t in plain.items()
            }

        ledger = cls()
        ledger._kept = values["kept"]
        ledger._dropped = tallies(values["dropped"])
        ledger._changed = tallies(values["changed"])
        return ledger

    def table(self) -> str:
        """The ledger as a few lines of text, commonest reason first."""
        lines = [f"{self.total} rows: {self.kept} kept, {self.dropped} dropped"]
        for verb, tallies in (("dropped", self._dropped), ("changed", self._changed)):
            for reason, tally in sorted(tallies.items(), key=lambda item: -item[1].count):
                first = tally.examples[0]
                detail = f" ({first.detail})" if first.detail else ""
                lines.append(
                    f"  {verb:<8} {tally.count:>7}  {reason:<26}  first: {first.source}{detail}"
                )
        return "\n".join(lines)
