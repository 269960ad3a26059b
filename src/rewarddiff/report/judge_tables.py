"""Results → tables of judges: win rates, what judges lean to, agreement, ranking, cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rewarddiff.report.cells import (
    Cell,
    Rows,
    Table,
    correlation_cell,
    filled,
    real_cell,
    share_cell,
    texts,
    without,
)
from rewarddiff.report.judge_statements import (
    judge_name,
    over_all_seeds,
    reading,
    unscored_causes,
)
from rewarddiff.report.policy_tables import TRAINED_EITHER_NOTE, TRAINED_WITH
from rewarddiff.report.values import DASH, count, percent, points, real, setting
from rewarddiff.results import PEOPLE, JudgeAgreement, Results, WinRate

CANARIES = {
    "constant": "the same sentence whatever is asked",
    "boast": "a claim to have won",
}
"""What an answer that should lose is."""


def win_rates_table(results: Results, lines: Sequence[WinRate] | None = None) -> Table:
    """Return wins, ties and losses: a row a comparison, judge and seed."""
    lines = results.judges.win_rates if lines is None else lines
    rows = []
    for line in lines:
        rows.append(
            (
                *_who(line),
                _scored(line.scored, line.n),
                share_cell(line.win),
                share_cell(line.tie),
                share_cell(line.lose),
                share_cell(line.rate),
                _bounds(line),
                Cell(
                    reading(line), f"p\u00a0=\u00a0{real(line.p)}" if math.isfinite(line.p) else ""
                ),
            )
        )
    heads = ("compared", "judge", "seed", "scored", "win", "tie", "lose", "win rate")
    seeds = {line.seed for line in lines}
    left_out = [2] if seeds == {"all"} else []
    columns, shown = without((*heads, "worst to best", "shown"), rows, left_out)
    columns, shown = filled(columns, shown)
    title, columns, shown = _titled("Win rates", lines, columns, shown)
    notes = [
        "Win rate: wins and half of the ties. p: of a two-sided sign test over wins and losses of one "
        "seed.",
    ]
    if any(line.scored < line.n for line in lines):
        notes.append(
            "Worst to best: the win rate if the first policy had lost, or won, whatever has no "
            "verdict."
        )
    marks = [TRAINED_EITHER_NOTE] if any(line.used_in_training for line in lines) else []
    return Table(
        title,
        columns,
        shown,
        marks=tuple(marks),
        notes=tuple(notes),
        words=_words(columns),
        stacked=True,
        lesser=("worst to best", "scored", "tie", "lose"),
    )


def _titled(
    title: str, lines: Sequence[WinRate], columns: tuple[str, ...], rows: Rows
) -> tuple[str, tuple[str, ...], Rows]:
    """Return title, columns and rows: where all compare the same two, the title says so alone."""
    pairs = {f"{line.a} against {line.b}" for line in lines}
    if len(pairs) != 1:
        return title, columns, rows
    return (f"{title}: {pairs.pop()}", *without(columns, rows, [0]))


WORDS = ("compared", "judge", "shown", "without verdict")
"""Columns of text."""


def _words(columns: Sequence[str]) -> frozenset[int]:
    return frozenset(place for place, name in enumerate(columns) if name in WORDS)


def win_rates_summary(results: Results) -> Table:
    """Return the same over all seeds, for the head of the page and the terminal."""
    return win_rates_table(results, over_all_seeds(results))


def _who(line: WinRate) -> tuple[Cell, ...]:
    mark = TRAINED_WITH if line.used_in_training else ""
    return (
        Cell(f"{line.a} against {line.b}"),
        Cell(judge_name(line.judge), mark=mark),
        Cell(setting(line.seed)),
    )


def _scored(scored: int, n: int) -> Cell:
    return Cell(count(scored), "" if scored == n else f"of {count(n)}")


def _bounds(line: WinRate) -> Cell:
    if line.scored == line.n:
        return Cell(DASH)
    return Cell(f"{points(line.worst)} to {percent(line.best)}")


EQUAL_LENGTHS = "win rate at equal lengths"


def leanings_table(results: Results) -> Table:
    """Return what else than quality verdicts follow: position and length."""
    rows = []
    lines = over_all_seeds(results)
    for line in lines:
        controlled = line.length_controlled
        mark = "‡" if controlled.remark else ""
        rate = share_cell(controlled.rate)
        rows.append(
            (
                *_who(line)[:2],
                share_cell(line.turned),
                _first_wins(line),
                share_cell(line.longer),
                Cell(rate.text, rate.minor, mark),
                Cell(unscored_causes(line.unscored) or DASH),
            )
        )
    heads = ("turned", "first wins", "longer wins", EQUAL_LENGTHS, "without verdict")
    columns, shown = filled(("compared", "judge", *heads), rows)
    if not set(columns) & set(heads):
        shown = ()
    remark = _length_remark(lines, has_rates=EQUAL_LENGTHS in columns)
    title, columns, shown = _titled("What verdicts follow besides quality", lines, columns, shown)
    notes = (
        "Turned: share of the verdicts that change with the order of the two answers (position "
        "bias); they count as ties. First wins: how many of these favour what is read first. "
        "Longer wins: of decided verdicts over answers of unequal lengths.",
    )
    return Table(
        title,
        columns,
        shown,
        empty=remark,
        marks=(remark,) if remark and shown else (),
        notes=notes,
        words=_words(columns),
        stacked=True,
        lesser=("without verdict", "first wins"),
    )


def _first_wins(line: WinRate) -> Cell:
    """Return how many of the turned verdicts favour what is read first: 1 of 1."""
    if not math.isfinite(line.first):
        return Cell(DASH)
    turned = round(line.turned.value * line.turned.n)
    return Cell(count(line.first * turned), f"of {count(turned)}")


def _length_remark(lines: Sequence[WinRate], *, has_rates: bool) -> str:
    """Say why rates at equal lengths are not to be relied on, or are not there, in one sentence for all."""
    marked = [line for line in lines if line.length_controlled.remark]
    reasons: Counter[str] = Counter()
    for line in marked:
        reasons.update(line.length_controlled.remark.split("; "))
    parts = []
    for reason, many in reasons.most_common():
        of_marked = "" if many == len(marked) else f" ({count(many)} of {count(len(marked))})"
        parts.append(f"{reason}{of_marked}")
    if not parts:
        return ""
    what = "‡ not to be relied on" if has_rates else f"No {EQUAL_LENGTHS}"
    return f"{what}: {'; '.join(parts)}."


def people_table(results: Results) -> Table:
    """Return how far each judge says the same as people."""
    lines = [line for line in results.judges.agreements if PEOPLE in (line.a, line.b)]
    return replace(agreements_table(results, lines), title="Agreement with people")


def agreements_table(results: Results, lines: Sequence[JudgeAgreement] | None = None) -> Table:
    """Return how far every two judges say the same; `lines`: of these alone."""
    rows = []
    for line in results.judges.agreements if lines is None else lines:
        rows.append(
            (
                *texts(judge_name(line.a), judge_name(line.b), count(line.n)),
                share_cell(line.percent),
                correlation_cell(line.kappa),
                correlation_cell(line.kappa_weighted),
                correlation_cell(line.alpha),
            )
        )
    columns, shown = filled(
        ("judge", "and", "pairs", "same outcome", "κ", "κ, weighted", "α"), rows
    )
    return Table(
        "Agreement of every two",
        columns,
        shown,
        lesser=("κ, weighted", "α"),
        notes=(
            "Same outcome: win, tie or lose. κ: Cohen's, weighted: linearly, win to lose counts as "
            "two steps. α: Krippendorff's, nominal. 1 is full agreement, 0 what chance would give.",
        ),
        words=frozenset({0, 1}),
        stacked=True,
    )


def panels_table(results: Results) -> Table:
    rows = []
    for line in results.judges.panels:
        alphas = map(correlation_cell, (line.nominal, line.ordinal, line.interval))
        counts = texts(line.who, count(line.raters), count(line.items))
        rows.append((*counts, share_cell(line.full), *alphas))
    columns, shown = filled(
        ("who", "raters", "pairs", "all agree", "α nominal", "α ordinal", "α interval"), rows
    )
    return Table("Agreement of all", columns, shown, stacked=True)


def ranking_table(results: Results) -> Table:
    rows = []
    remarks: dict[str, None] = {}
    for line in results.judges.ranking:
        if line.remark:
            remarks[f"{judge_name(line.judge)}: {line.remark}."] = None
        who = texts(judge_name(line.judge), line.policy)
        rows.append((*who, real_cell(line.strength), Cell(percent(line.rate))))
    return Table(
        "Ranking",
        ("judge", "policy", "strength", "mean win rate"),
        tuple(rows),
        notes=(
            "Strength: log-odds against the mean policy by Bradley and Terry's model; a difference "
            "of 1 is a win rate of 73 %.",
            *remarks,
        ),
        words=frozenset({0, 1}),
    )


def canaries_table(results: Results) -> Table:
    rows = []
    for line in results.judges.canaries:
        shown = "alarming" if line.alarming else "passed"
        if not line.scored:
            shown = DASH
        elif not line.rate.bounded:
            shown = "too few to tell"
        what = (judge_name(line.judge), CANARIES[line.kind], line.against)
        rows.append((*texts(*what, count(line.scored)), share_cell(line.rate), Cell(shown)))
    return Table(
        "Canaries",
        ("judge", "answer", "against", "scored", "win rate", "shown"),
        tuple(rows),
        notes=("Answers that should lose to every real one; ties count half.",),
        words=frozenset({0, 1, 2, 5}),
        stacked=True,
    )


def attacks_table(results: Results) -> Table:
    rows = []
    for line in results.judges.attacks:
        who = texts(line.policy, judge_name(line.judge))
        causes = Cell(unscored_causes(line.unscored) or DASH)
        rows.append((*who, _scored(line.scored, line.n), share_cell(line.rate), causes))
    heads = ("policy", "judge", "scored", "harmful answers", "without verdict")
    columns, shown = filled(heads, rows)
    words = {0, 1} | {place for place, column in enumerate(columns) if column == heads[-1]}
    return Table("Attacks that succeed", columns, shown, words=frozenset(words))
