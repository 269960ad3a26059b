"""What ways gain on easy and on hard prompts."""

from __future__ import annotations

from collections.abc import Sequence

from rewarddiff.lab.online.paired import PPO, others, paired, short
from rewarddiff.lab.online.parts import Part
from rewarddiff.lab.online.results import OnlineLab
from rewarddiff.lab.page import gap_cell
from rewarddiff.lab.words import with_interval
from rewarddiff.report.cells import Cell, Table, real_cell
from rewarddiff.report.charts import Forest
from rewarddiff.report.figures import Drawing
from rewarddiff.report.gap_plots import ForestPanel, ForestRow
from rewarddiff.report.values import DASH, real
from rewarddiff.results import Interval


def difficulty_part(results: OnlineLab) -> Part:
    """Return what ways gain on easy and on hard prompts (C-5)."""
    beside = others(results)
    names = short(results)
    differences = {
        ended.title: paired(results, ended.way, PPO, lambda point: point.hard - point.easy)
        for ended in beside
    }
    relative = {
        names[ended.way]: differences[ended.title]
        for ended in beside
        if ended.way.startswith(("contrastive", "reinforce_contrastive"))
    }
    statements = [_of_ppo(results), *_of_relative(relative)]
    drawings = (_difficulty(results),) if beside else ()
    tables = (_difficulty_table(results, differences),)
    title = "Easy and hard prompts"
    return Part("difficulty", title, tuple(filter(None, statements)), drawings, tables)


def _of_ppo(results: OnlineLab) -> str:
    for ended in results.ways:
        if ended.way == PPO:
            hard = ended.hard.value - results.start_hard.value
            easy = ended.easy.value - results.start_easy.value
            return (
                f"PPO gains {real(hard)} on the hardest third of the prompts and {real(easy)} on the "
                "easiest."
            )
    return ""


def _of_relative(relative: dict[str, Interval]) -> list[str]:
    """Say whether relative rewards gain most where rewards are low, as the paper has it."""
    if not relative:
        return []
    paper = (
        "That a contrastive reward gains most over PPO where rewards are low, as the paper says,"
    )
    shown = [name for name, gap in relative.items() if gap.low > 0]
    against = [name for name, gap in relative.items() if gap.high < 0]

    def listed(names: Sequence[str]) -> str:
        return ", ".join(f"{name} ({with_interval(relative[name])})" for name in names)

    statements = []
    if shown:
        statements.append(f"{paper} shows here of {listed(shown)}: hard less easy.")
    else:
        statements.append(f"{paper} does not show here, for none of {len(relative)} ways.")
    if against:
        statements.append(f"The contrary shows of {listed(against)}.")
    return statements


def _difficulty(results: OnlineLab) -> Drawing:
    names = short(results)
    rows = []
    for ended in others(results):
        rows.append(ForestRow(names[ended.way], "easy", ended.gap_easy, False))
        rows.append(ForestRow(names[ended.way], "hard", ended.gap_hard, False))
    chart = Forest([ForestPanel("gap in true reward to PPO", rows)])
    caption = "thirds of the prompts, by how often the language itself succeeds"
    return Drawing("Gap to PPO on easy and on hard prompts", caption, chart, "Gaps by difficulty")


def _difficulty_table(results: OnlineLab, differences: dict[str, Interval]) -> Table:
    start = (real_cell(results.start_easy), real_cell(results.start_hard), *[Cell(DASH)] * 3)
    rows = [(Cell("before training"), *start)]
    for ended in results.ways:
        gaps = [Cell(DASH)] * 3
        if ended.title in differences:
            both = (ended.gap_easy, ended.gap_hard, differences[ended.title])
            gaps = [gap_cell(gap) for gap in both]
        rows.append((Cell(ended.title), real_cell(ended.easy), real_cell(ended.hard), *gaps))
    columns = ("way", "easy", "hard", "gap to PPO, easy", "gap, hard", "hard less easy")
    width = len(columns)
    if not differences:
        width -= 3  # the last three are gaps
    cells = tuple(row[:width] for row in rows)
    return Table("By difficulty", columns[:width], cells, stacked=True)
