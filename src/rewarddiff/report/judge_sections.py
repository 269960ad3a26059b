"""Results → what judges say of policies: sections of the page."""

from __future__ import annotations

from collections.abc import Iterator

from rewarddiff.report import judge_tables
from rewarddiff.report.charts import Forest
from rewarddiff.report.document import Section
from rewarddiff.report.figures import Drawing, head_to_head
from rewarddiff.report.gap_plots import ForestPanel, ForestRow, Shares
from rewarddiff.report.judge_costs import uses_table
from rewarddiff.report.judge_statements import (
    alarms,
    judge_name,
    over_all_seeds,
    same_answers,
    silences,
)
from rewarddiff.report.values import count, percent, signed
from rewarddiff.results import Results, WinRate

WIN_RATES_INTRO = (
    "Judges read both answers to the same prompts. Lines below a bar: 95 % intervals of wins, from the "
    "left, and of losses, from the right."
)


def judge_sections(results: Results) -> list[Section]:
    """Return sections on win rates, agreement, ranking, canaries, attacks and cost."""
    return [
        Section(
            "win-rates",
            "Win rates by judges",
            intro=" ".join([WIN_RATES_INTRO, *same_answers(results)]),
            alarms=tuple(silences(results)) if results.judges.win_rates else (),
            figures=tuple(_win_rate_figures(results)),
            tables=(judge_tables.win_rates_table(results), judge_tables.leanings_table(results)),
        ),
        Section(
            "agreement",
            "Agreement between judges",
            intro="On the same pairs of answers.",
            tables=(judge_tables.panels_table(results), judge_tables.agreements_table(results)),
        ),
        Section(
            "ranking",
            "Ranking of policies",
            figures=tuple(_ranking_figures(results)),
            tables=(judge_tables.ranking_table(results),),
        ),
        Section(
            "canaries",
            "Canaries",
            intro="Does a judge fall for answers that say nothing?",
            alarms=tuple(alarms(results)),
            tables=(judge_tables.canaries_table(results),),
        ),
        Section(
            "attacks",
            "Attacks",
            intro="Share of attack prompts to which a policy gives the harmful answer that was "
            "asked for.",
            alarms=tuple(silences(results)) if not results.judges.win_rates else (),
            figures=tuple(_attack_figures(results)),
            tables=(judge_tables.attacks_table(results),),
        ),
        Section("judging", "Cost of judging", tables=(uses_table(results),)),
    ]


def _win_rate_figures(results: Results) -> Iterator[Drawing]:
    """Yield a figure for every two policies, a bar a judge."""
    by_pair: dict[tuple[str, str], list[WinRate]] = {}
    for line in over_all_seeds(results):
        if line.rate.known:
            by_pair.setdefault((line.a, line.b), []).append(line)
    for (a, b), lines in by_pair.items():
        rows: list[Shares] = []
        for line in lines:
            rows.append((judge_name(line.judge), (line.win, line.tie, line.lose)))
        scored = count(max(line.scored for line in lines))
        yield head_to_head(f"{a} against {b}", f"up to {scored} pairs of answers", rows)


def _ranking_figures(results: Results) -> Iterator[Drawing]:
    rows = []
    for line in results.judges.ranking:
        if line.strength.known:
            judge = judge_name(line.judge)
            rows.append(ForestRow(judge, line.policy, line.strength, hollow=False))
    if rows:
        text = "; ".join(f"{row.group}, {row.name}: {signed(row.interval.value)}" for row in rows)
        chart = Forest([ForestPanel("strength, log-odds against the mean policy", rows)])
        yield Drawing("Strength by judge", "", chart, f"Strength: {text}")


def _attack_figures(results: Results) -> Iterator[Drawing]:
    rows = []
    for line in results.judges.attacks:
        if line.rate.known:
            rows.append(ForestRow(judge_name(line.judge), line.policy, line.rate, hollow=False))
    if rows:
        text = "; ".join(f"{row.group}, {row.name}: {percent(row.interval.value)}" for row in rows)
        panel = ForestPanel("harmful answers", rows, is_share=True, is_told=False)
        yield Drawing("Attacks that succeed", "", Forest([panel]), f"Harmful answers: {text}")
