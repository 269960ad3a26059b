"""The offline questions on a transformer → one page with plots, and Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rewarddiff.lab.asking import Finding
from rewarddiff.lab.online.distance import gap_at_one_distance
from rewarddiff.lab.online.offline_findings import Both, agreement, beside, findings, gaps, verdict
from rewarddiff.lab.online.offline_results import OfflineLab, OfflineTrained
from rewarddiff.lab.online.parts import Findings, Part
from rewarddiff.lab.online.summary import over_seeds
from rewarddiff.lab.page import drawing, gap_cell, table
from rewarddiff.report.cells import Cell, Table, real_cell, texts
from rewarddiff.report.svg import palette
from rewarddiff.report.values import percent
from rewarddiff.results import Interval
from rewarddiff.writing import counted

Gaps = Mapping[str, Mapping[str, Interval]]


def offline_findings(results: OfflineLab, linear: Gaps) -> Findings:
    """Return everything that the page says.

    Args:
        linear: what the linear laboratory says of the same lines, by line and quality.
    """
    parts = [_part(finding, _colours(results)) for finding in findings(results)]
    both = beside(linear, gaps(results, gap_at_one_distance))
    if both:
        parts.append(Part("linear", LINEAR, tuple(agreement(both)), (), (linear_table(both),)))
    parts.append(Part("ends", ENDS, tables=(ends_table(results),)))
    subtitle = f"rewarddiff {results.version} · {counted(len(results.worlds), 'world')}"
    title = "Does weighting help a transformer?"
    return Findings("lab-offline", title, subtitle, about(results), tuple(parts))


def _part(finding: Finding, colours: Mapping[str, str]) -> Part:
    drawings = (drawing(finding, colours),)
    return Part(finding.key, finding.question, finding.statements, drawings, (table(finding),))


LINEAR = "Does the linear laboratory say the same?"
ENDS = "Where every way ends"


def about(results: OfflineLab) -> str:
    """Say what the comparisons are like, and what the figures are."""
    pairs = results.config["pairs"]
    equal = over_seeds([world.equal for world in results.worlds])
    wrong = over_seeds([world.wrong for world in results.worlds])
    return (
        f"A small transformer is trained on {pairs['pairs']} comparisons of its own responses, by DPO "
        f"with β = {pairs['beta']:g} for {pairs['steps']} steps. A response succeeds (true reward 1) or "
        f"fails (0). In {percent(equal.value, 0)} of the comparisons both do alike and the label is a "
        f"coin's; of the other labels {percent(wrong.value, 0)} are wrong. A scorer of known quality "
        "says by how much one response is better, and that is a weight of the loss or an offset in "
        "it. Where it contradicts the label, clip weighs 0, abs weighs as if it agreed, and flip "
        "turns the label. All figures are gaps in true reward on held-out prompts to plain DPO "
        "on the same comparisons, with 95 % intervals over "
        f"{counted(len(results.worlds), 'world')}."
    )


def linear_table(both: Sequence[Both]) -> Table:
    """Return what both laboratories say, one row an answer."""
    rows = []
    for one in both:
        words = texts(verdict(one.linear), verdict(one.transformer))
        gaps = (gap_cell(one.linear), gap_cell(one.transformer))
        rows.append((*texts(one.line, one.place), gaps[0], words[0], gaps[1], words[1]))
    columns = ("way", "scorer", "linear policy", "", "transformer", "")
    notes = (
        "Both are compared at one distance from the start. The gaps are in standard deviations of "
        "the true reward in the linear laboratory, and in shares of success here: compare directions.",
    )
    return Table(LINEAR, columns, tuple(rows), notes=notes, words=frozenset({0, 1, 3, 5}))


def ends_table(results: OfflineLab) -> Table:
    """Return true reward and KL at the end of training, one row a way."""
    starts = [world.plain.curve[0].gold for world in results.worlds]
    rows = [(*texts("before training", ""), real_cell(over_seeds(starts)), Cell("0"))]
    rows.append(_end("plain DPO", "", [world.plain for world in results.worlds]))
    by_way: dict[tuple[str, str], list[OfflineTrained]] = {}
    for world in results.worlds:
        for way in world.ways:
            by_way.setdefault((way.line, f"{way.quality:g}"), []).append(way)
    rows += [_end(line, place, ways) for (line, place), ways in by_way.items()]
    columns = ("way", "scorer", "true reward", "KL, nats")
    return Table(ENDS, columns, tuple(rows), words=frozenset({0, 1}))


def _end(name: str, place: str, ways: Sequence[OfflineTrained]) -> tuple[Cell, ...]:
    gold = over_seeds([way.curve[-1].gold for way in ways])
    kl = over_seeds([way.curve[-1].kl for way in ways], (0.0, math.inf))
    return (*texts(name, place), real_cell(gold), real_cell(kl))


def _colours(results: OfflineLab) -> dict[str, str]:
    return palette(way.line for way in results.worlds[0].ways)
