"""A row for each comparison of the data, with its coefficient: what TRL and others train on.

Two passes. The scorer is asked window by window, and what it says is kept beside the output. Then
coefficients are made of all differences together (a few numbers for each comparison are in memory),
and the rows are written in order.

prompt, chosen, rejected       as TRL has them
coefficient                    what the pair's loss is to be multiplied by
difference                     d(chosen, rejected) of the pair as it is written
margin                         the difference, or 0 where the scorer contradicts the pair
spread, probability            of the difference, where there are any
chosen_score, rejected_score   where the scorer scores responses by themselves
flipped                        whether the data has the pair the other way round, with negative=flip
id, subset, topic, row         where it comes from; row is "file:row"
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rewarddiff.coefficients import CoefficientConfig, CoefficientResult
from rewarddiff.coefficients import weigh as coefficients_of
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.data.passing import PassingRow
from rewarddiff.differences import Array, Differences
from rewarddiff.errors import UserError
from rewarddiff.processes import once
from rewarddiff.records import Comparison, Group, plain_prompt
from rewarddiff.scorers.opening import open_scorer
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.scoring import tables
from rewarddiff.scoring.answers import (
    Answer,
    ask_rows,
    estimate_of,
    of_equal_texts,
    store_of,
)
from rewarddiff.scoring.calls import with_calls
from rewarddiff.scoring.identity import identity_of
from rewarddiff.scoring.parts import Parts, parts_of
from rewarddiff.scoring.summary import Reading
from rewarddiff.scoring.suspicious import SUSPICIOUS, Suspicious, most_contradicted
from rewarddiff.scoring.tables import Values
from rewarddiff.scoring.weigh_summary import WeighSummary
from rewarddiff.scoring.windows import WINDOW, Data
from rewarddiff.scoring.work import Done, carry_out
from rewarddiff.store import Store
from rewarddiff.version import __version__

LAYOUT = "5"
"""Raised when rows change their meaning, so that no window of before is gone on from."""

HEADS = "heads"
"""The array that holds what every head says of every comparison of a window."""


@dataclass(frozen=True)
class WeighJob:
    """What is done with a window of rows.

    Attributes:
        scorer: what names it, or in one process the scorer itself.
        options: of a language model that judges.
    """

    scorer: str | Scorer
    data: Data
    config: CoefficientConfig
    options: tuple[str, ...] = ()

    def begin(self, folder: Path) -> Callable[[Sequence[PassingRow]], Done]:
        scorer = self.scorer
        if isinstance(scorer, str):
            scorer = open_scorer(scorer, self.options)
        if self.config.calibrated and scorer.temperature is None:
            raise UserError(
                f"coefficient.calibrated: {scorer.name} has no temperature; leave it out, or train "
                "the scorer with a dev split"
            )
        store = store_of(scorer, folder)
        work = partial(_window, scorer, store, self.config)
        estimate = partial(estimate_of, orders=self.config.orders, rank=False, store=store)
        return with_calls(scorer, work, estimate, self.data, folder)


def weigh(
    scorer: str | Path | Scorer,
    data: Data,
    output: Path,
    config: CoefficientConfig,
    *,
    processes: int = 1,
    max_drop: float = 0.05,
    suspicious: int = SUSPICIOUS,
    options: Sequence[str] = (),
) -> tuple[WeighSummary, Suspicious]:
    """Write a row for every comparison of the data with its coefficient.

    Args:
        options: of a language model that judges, as `form=grades`.

    Returns:
        What was written, and the comparisons that the scorer contradicts most.

    Raises:
        UserError: the data or the scorer cannot be read; too many rows cannot be used; there is no
            comparison, or nothing in the weights to train on.
    """
    asked = str(scorer) if isinstance(scorer, Path) else scorer
    needs = f"{config.orders} {config.calibrated} {config.lower > 0}"
    made_from = {
        "scorer": identity_of(asked, options),
        "data": data.identity(),
        "options": f"{LAYOUT} {WINDOW} {needs}",
        "version": __version__,
    }
    with parts_of(output.with_suffix(""), made_from, ".jsonl") as parts:
        job = WeighJob(asked, data, config, tuple(options))
        speed = carry_out(job, parts, "weighing", processes)
        summary = WeighSummary(output, config, speed)
        return once(lambda: _written(parts, summary, data, max_drop, suspicious))


def _written(
    parts: Parts, summary: WeighSummary, data: Data, max_drop: float, suspicious: int
) -> tuple[WeighSummary, Suspicious]:
    """Write all windows with their coefficients; return the summary, complete, and what is contradicted."""
    config = summary.config
    for account in parts.accounts():
        summary.add(account)
    summary.rows.enforce(max_drop)
    summary.require_some(data.sources)
    differences = _differences(parts)
    result = coefficients_of([_counted(differences, summary.temperature, config)], config)
    summary.distribution = result.report
    contradicted = most_contradicted(parts.windows(), differences.mean, suspicious)
    weighed = _Weighed(parts, result, config.negative == "flip", summary.left_out)
    tables.write(summary.output, weighed.windows)
    return summary, contradicted


def _window(
    scorer: Scorer,
    store: Store | None,
    config: CoefficientConfig,
    rows: Sequence[PassingRow],
) -> Done:
    """Return a row for every comparison that can be trained on, and what the heads say of each."""
    groups: list[Group] = []
    answers: list[Answer] = []
    of_rows = ask_rows(scorer, rows, config.orders, rank=False, store=store)
    for row, of_row in zip(rows, of_rows, strict=True):
        if of_row:
            _note_without_comparisons(row)
            groups += row.groups
            answers += of_row
    comparisons = Ledger()
    written: list[Values] = []
    heads: list[Array] = []
    weights: tuple[float, ...] = (1.0,)
    ensemble = False
    for group, answer in zip(groups, answers, strict=True):
        kept = _kept(group, answer, comparisons)
        if answer.differences is None:
            continue
        weights, ensemble = answer.differences.weights, answer.differences.ensemble
        heads.append(answer.differences.by_head[kept])
        written += [_row(group, answer, place, scorer.temperature) for place in kept]
    if config.lower and heads and not ensemble:
        raise UserError(
            f"coefficient.lower: {scorer.name} has no spread over heads; leave it out, or ask a "
            "scorer that was trained with heads: 5"
        )
    account = {
        "comparisons": comparisons.to_dict(),
        "weights": weights,
        "ensemble": ensemble,
        "temperature": scorer.temperature,
        "reading": asdict(Reading.of(scorer, groups)),
    }
    by_head = np.concatenate(heads) if heads else np.zeros((0, len(weights)))
    return Done(written, account, {HEADS: by_head})


def _note_without_comparisons(row: PassingRow) -> None:
    """Count a row of which there is nothing to weigh."""
    compares = any(True for group in row.groups for _ in group.known_comparisons())
    if not compares:
        row.ledger.change(Reason.NO_ORDER, row.place, "nothing is compared")


def _kept(group: Group, answer: Answer, ledger: Ledger) -> list[int]:
    """Return which of the answer's comparisons have an order, two texts and a difference.

    Each of the group's comparisons is counted once: those with an empty response are not asked for.
    """
    for comparison in group.known_comparisons():
        if not all(text.strip() for text in _texts(group, comparison)):
            ledger.drop(Reason.EMPTY_RESPONSE, group)
    means = answer.means
    kept = []
    for place, comparison in enumerate(answer.comparisons):
        if comparison.tie:
            ledger.drop(Reason.NO_ORDER, group, "a tie")
        elif of_equal_texts(group, comparison):
            ledger.drop(Reason.IDENTICAL_RESPONSES, group)
        elif math.isnan(means[place]):
            ledger.drop(Reason.UNSCORED, group, "the scorer says nothing of it")
        else:
            ledger.keep()
            kept.append(place)
    return kept


def _texts(group: Group, comparison: Comparison) -> tuple[str, str]:
    return group.responses[comparison.chosen], group.responses[comparison.rejected]


def _row(group: Group, answer: Answer, place: int, temperature: float | None) -> dict[str, Any]:
    """Return a comparison as the data has it, with all but its coefficient."""
    comparison = answer.comparisons[place]
    chosen, rejected = _texts(group, comparison)
    row: dict[str, Any] = {
        "prompt": plain_prompt(group.prompt),
        "chosen": _as_trl(group, chosen),
        "rejected": _as_trl(group, rejected),
        "difference": answer.means[place],
    }
    for column, values in (
        ("spread", answer.spreads),
        ("probability", answer.probabilities(temperature)),
    ):
        if values is not None:
            row[column] = values[place]
    scores = (answer.scores[comparison.chosen], answer.scores[comparison.rejected])
    if None not in scores:
        row["chosen_score"], row["rejected_score"] = scores
    origin = {"id": group.id, "subset": group.subset, "topic": group.topic, "row": group.source}
    row |= {column: value for column, value in origin.items() if value}
    return row


def _as_trl(group: Group, response: str) -> str | list[dict[str, str]]:
    """Return a response to a text as a text, and one in a conversation as its next turn."""
    if isinstance(group.prompt, str):
        return response
    return [{"role": "assistant", "content": response}]


def _differences(parts: Parts) -> Differences:
    """Return what was said of all comparisons, in order."""
    arrays = [parts.array(window, HEADS) for window in parts.done()]
    by_head = np.concatenate(arrays) if arrays else np.zeros((0, 1))
    weights: tuple[float, ...] = (1.0,)
    ensemble = False
    for account in parts.accounts():
        if account["comparisons"]["kept"]:
            weights, ensemble = tuple(account["weights"]), account["ensemble"]
            break
    return Differences(((0, 1),) * len(by_head), by_head, weights=weights, ensemble=ensemble)


def _counted(
    differences: Differences, temperature: float | None, config: CoefficientConfig
) -> Differences:
    """Return the differences as they count: as probabilities' log-odds where that is asked for."""
    if not config.calibrated or temperature is None:
        return differences
    return differences.over(temperature)


@dataclass(frozen=True)
class _Weighed:
    """The rows with their coefficients, to be gone through as often as a table needs.

    Attributes:
        left_out: gets the comparisons that are dropped, once.
    """

    parts: Parts
    result: CoefficientResult
    flips: bool
    left_out: Ledger

    def windows(self) -> Iterator[list[Values]]:
        """Yield the rows to be written, window by window."""
        ((weights,), (flip,), (keep,)) = self.result.weights, self.result.flip, self.result.keep
        place = 0
        counted = bool(self.left_out.total)
        for rows in self.parts.windows():
            written: list[Values] = []
            for row in rows:
                if keep[place]:
                    written.append(self._row(row, float(weights[place]), bool(flip[place])))
                if not counted:
                    self._count(row, bool(keep[place]))
                place += 1
            yield written

    def _count(self, row: Values, keep: bool) -> None:
        if keep:
            self.left_out.keep()
        else:
            self.left_out.drop(Reason.CONTRADICTORY, row["row"], "the scorer contradicts it")

    def _row(self, row: Values, weight: float, flip: bool) -> dict[str, Any]:
        written = {**row, **_turned(row)} if flip else dict(row)
        written["coefficient"] = weight
        written["margin"] = max(written["difference"], 0.0)
        if self.flips:
            written["flipped"] = flip
        return written


def _turned(row: Values) -> Mapping[str, Any]:
    """Return what is otherwise in a row whose pair is turned."""
    turned = {
        "chosen": row["rejected"],
        "rejected": row["chosen"],
        "difference": -row["difference"],
    }
    if "probability" in row:
        turned["probability"] = 1.0 - row["probability"]
    if "chosen_score" in row:
        turned["chosen_score"] = row["rejected_score"]
        turned["rejected_score"] = row["chosen_score"]
    return turned
