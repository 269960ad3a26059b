"""The user's rows with what a scorer says of them, in further columns.

scores       of every response, in the row's order (in pairs: chosen, rejected)
comparisons  those that the data makes: places [chosen, rejected] of the responses
differences  d(chosen, rejected) of each, null where the scorer says nothing
spread       of each difference over the heads of an ensemble
probability  σ(d / T) of each, where the scorer has a temperature
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.data.passing import PassingRow, filled
from rewarddiff.errors import UserError
from rewarddiff.processes import once
from rewarddiff.records import Group
from rewarddiff.scorers.opening import open_scorer
from rewarddiff.scorers.protocol import Pointwise, Scorer
from rewarddiff.scoring import tables
from rewarddiff.scoring.answers import (
    Answer,
    ask_rows,
    estimate_of,
    merged,
    of_equal_texts,
    store_of,
)
from rewarddiff.scoring.calls import Calls, with_calls
from rewarddiff.scoring.identity import identity_of
from rewarddiff.scoring.parts import Parts, Useless, parts_of
from rewarddiff.scoring.summary import Agreement, Distribution, Reading, ledger_lines
from rewarddiff.scoring.windows import WINDOW, Data
from rewarddiff.scoring.work import Done, Speed, carry_out
from rewarddiff.store import Store, finite
from rewarddiff.version import __version__
from rewarddiff.writing import counted, figure, say

COLUMNS = ("scores", "comparisons", "differences", "spread", "probability")
"""What is written beside the user's columns."""

LAYOUT = "5"
"""Raised when columns change their meaning, so that no window of before is gone on from."""


@dataclass
class ScoreSummary:
    """What was scored.

    Attributes:
        output: the file with the scores.
        rows: of the data, those that cannot be used among them.
        ledger: what became of the rows.
        scores: of the responses.
        agreement: with the data's comparisons.
        alone: responses without a score, since the scorer scores none by itself.
        unscored: rows of which the scorer leaves something open.
        pointwise: whether it does.
        reading: how the scorer read the rows.
        calls: what a language model that judges was asked for.
    """

    output: Path
    rows: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    scores: Distribution = field(default_factory=Distribution)
    agreement: Agreement = field(default_factory=Agreement)
    alone: int = 0
    unscored: int = 0
    pointwise: bool = True
    reading: Reading = field(default_factory=Reading)
    calls: Calls = field(default_factory=Calls)
    speed: Speed = field(default_factory=lambda: Speed(0, 0.0))

    def add(self, account: Mapping[str, Any]) -> None:
        """Count a window."""
        self.rows += account["rows"]
        self.ledger.merge(Ledger.from_dict(account["ledger"]))
        self.scores.add(account["scores"])
        self.agreement.add(account["differences"])
        self.agreement.equal_texts += account["equal_texts"]
        self.alone += account["alone"]
        self.unscored += account["unscored"]
        self.pointwise = account["pointwise"]
        self.reading.add(account["reading"])
        self.calls.add(account.get("calls"))

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        lines = ledger_lines("rows", self.ledger, "can be used")
        if self.scores.count:
            lines.append(f"scores        {self.scores.count:,}: {self.scores.line()}")
        if not self.pointwise:
            lines.append(
                "              mean differences to the row's other responses, to be compared within "
                "a row alone: this scorer scores no response by itself"
            )
        if self.alone:
            lines.append(
                f"no score      {counted(self.alone, 'response')} without another in the row"
            )
        if self.agreement.compared:
            lines.append(f"comparisons   {self.agreement.line()}")
        lines += self.reading.lines()
        lines += self.calls.lines()
        if self.speed.rows:
            lines.append(f"speed         {figure(self.speed.rate, '.4g')} rows/s")
        return lines


@dataclass(frozen=True)
class ScoreJob:
    """What is done with a window of rows.

    Attributes:
        scorer: what names it, or in one process the scorer itself.
        names: what each of our columns is called in the output.
        options: of a language model that judges.
    """

    scorer: str | Scorer
    data: Data
    names: Mapping[str, str]
    options: tuple[str, ...] = ()

    def begin(self, folder: Path) -> Callable[[Sequence[PassingRow]], Done]:
        scorer = self.scorer
        if isinstance(scorer, str):
            scorer = open_scorer(scorer, self.options)
        store = store_of(scorer, folder)
        work = partial(_window, scorer, store, self.names)
        return with_calls(scorer, work, partial(estimate_of, store=store), self.data, folder)


def score(
    scorer: str | Path | Scorer,
    data: Data,
    output: Path,
    *,
    processes: int = 1,
    max_drop: float = 1.0,
    options: Sequence[str] = (),
) -> ScoreSummary:
    """Write every row of the data with what a scorer says of it, in the order of the data.

    Args:
        options: of a language model that judges, as `form=grades`.

    Raises:
        UserError: the data or the scorer cannot be read; no row can be used; a number is not finite.
    """
    suffix = tables.check_suffix(output)
    names = _names(data)
    asked = str(scorer) if isinstance(scorer, Path) else scorer
    job = ScoreJob(asked, data, names, tuple(options))
    made_from = {
        "scorer": identity_of(asked, options),
        "data": data.identity(),
        "options": f"{LAYOUT} {WINDOW} {' '.join(names.values())}",
        "version": __version__,
    }
    kind = ".parquet" if suffix == ".parquet" else ".jsonl"
    with parts_of(output, made_from, kind) as parts:
        speed = carry_out(job, parts, "scoring", processes)
        return once(lambda: _written(output, parts, speed, data, max_drop))


def _written(output: Path, parts: Parts, speed: Speed, data: Data, max_drop: float) -> ScoreSummary:
    """Write all windows as one output, if they are of use."""
    summary = _summary(output, parts, speed)
    _require_some(summary, data, max_drop)
    if tables.check_suffix(output) == ".jsonl":
        tables.join(output, parts.rows_files())
    else:
        tables.write(output, parts.windows)
    return summary


def _names(data: Data) -> dict[str, str]:
    """Return what our columns are called: by their own names, or numbered where the data has one.

    The first rows tell; a later row with such a column ends the work, rather than lose a value.
    """
    taken: set[str] = set()
    for row in islice(data.rows(), WINDOW):
        taken.update(row.row.as_written or ())
    suffix = ""
    number = 1
    while any(column + suffix in taken for column in COLUMNS):
        number += 1
        suffix = f"_{number}"
    if suffix:
        columns = ", ".join(column for column in COLUMNS if column in taken)
        say(f"the data has columns of these names ({columns}): ours end in {suffix}", error=True)
    return {column: column + suffix for column in COLUMNS}


def _window(
    scorer: Scorer,
    store: Store | None,
    names: Mapping[str, str],
    rows: Sequence[PassingRow],
) -> Done:
    """Return the rows of a window with their columns, and what is to be counted."""
    groups: list[Group] = []
    written = []
    scores: list[float] = []
    differences: list[float] = []
    equal_texts = 0
    unscored = 0
    alone = 0
    for row, answers in zip(rows, ask_rows(scorer, rows, store=store), strict=True):
        if row.values is None:
            continue  # counted in the ledger: there is nothing that could be written
        if not answers:
            written.append(_with_columns(row, {"scores": None}, names))
            continue
        groups += row.groups
        answer = merged(answers)
        written.append(_with_columns(row, _columns(answer, scorer.temperature), names))
        known = [value for value in answer.scores if value is not None]
        scores += known
        alone += not known and len(filled(row.groups[0])) == 1
        for comparison, d in zip(answer.comparisons, answer.means, strict=True):
            if comparison.tie or math.isnan(d):
                continue
            if of_equal_texts(row.groups[0], comparison):
                equal_texts += 1
            else:
                differences.append(d)
        unscored += _note_unscored(row, answer)
    account = {
        "scores": scores,
        "differences": differences,
        "equal_texts": equal_texts,
        "unscored": unscored,
        "alone": alone,
        "pointwise": isinstance(scorer, Pointwise),
        "reading": asdict(Reading.of(scorer, groups)),
    }
    return Done(written, account)


def _note_unscored(row: PassingRow, answer: Answer) -> bool:
    """Count a row of which a scorer, that compares, leaves something open; say whether it does."""
    compares_all = all(score is None for score in answer.scores) and len(filled(row.groups[0])) > 1
    if not answer.unscored and not compares_all:
        return False
    detail = "no order of its responses"
    if answer.unscored:
        detail = f"{answer.unscored} of {len(answer.comparisons)} comparisons"
    row.ledger.change(Reason.UNSCORED, row.place, detail)
    return True


def _columns(answer: Answer, temperature: float | None) -> dict[str, Any]:
    """Return the columns of a row: what exists."""
    has_scores = any(value is not None for value in answer.scores)
    columns: dict[str, Any] = {"scores": list(answer.scores) if has_scores else None}
    if not answer.comparisons:
        return columns
    columns["comparisons"] = [[c.chosen, c.rejected] for c in answer.comparisons]
    columns["differences"] = finite(answer.means)
    spreads = answer.spreads
    if spreads is not None:
        columns["spread"] = finite(spreads)
    probabilities = answer.probabilities(temperature)
    if probabilities is not None:
        columns["probability"] = finite(probabilities)
    return columns


def _with_columns(
    row: PassingRow, columns: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    """Return the user's row with our columns behind it."""
    values = dict(row.values or {})
    for column, value in columns.items():
        name = names[column]
        if name in values:
            raise UserError(
                f"{row.place}: has a column {name}, which the first rows have not; rename it"
            )
        values[name] = value
    return values


def _summary(output: Path, parts: Parts, speed: Speed) -> ScoreSummary:
    summary = ScoreSummary(output, speed=speed)
    _add_all(summary, parts.accounts())
    return summary


def _require_some(summary: ScoreSummary, data: Data, max_drop: float) -> None:
    """Raise a UserError where no row can be used, or fewer than are wanted."""
    summary.ledger.enforce(max_drop)
    sources = ", ".join(data.sources)
    is_scored = bool(summary.scores.count or summary.agreement.compared)
    if summary.unscored and not is_scored:
        raise Useless(
            f"{sources}: the scorer says nothing of any of {summary.unscored} rows; check it, or "
            "score by another one"
        )
    if summary.alone and not is_scored:
        raise Useless(
            f"{sources}: one response to each prompt, and this scorer compares responses and scores "
            "none alone; give two or more to each, or score by a reward model"
        )
    if summary.ledger.kept:
        return
    summary.ledger.enforce(0)
    raise UserError(f"{sources}: holds no rows; check the file")


def _add_all(summary: ScoreSummary, accounts: Iterable[Mapping[str, Any]]) -> None:
    for account in accounts:
        summary.add(account)
