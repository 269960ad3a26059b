"""The first screen's picture: gaps between policies on one axis, or how often scorers are right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rewarddiff.report.charts import Forest
from rewarddiff.report.evidence import over_seeds
from rewarddiff.report.figures import Drawing
from rewarddiff.report.first_screen import best_scorers
from rewarddiff.report.gap_plots import ForestPanel, ForestRow
from rewarddiff.report.values import bounds, percent, signed
from rewarddiff.results import Contrast, Interval, Results, WinRate

ROWS = 12
"""Gaps that the picture shows; what is compared first comes first, and figures further down have
all."""


def picture(results: Results) -> Drawing | None:
    """Draw gaps between policies with their intervals on one axis; of scorers alone, accuracies."""
    panels = []
    gaps = list(_gap_rows(results))
    rates = _rate_rows(results)
    room = ROWS // 2 if gaps and rates else ROWS
    if gaps:
        axis = "gap in mean reward, in standard deviations"
        panels.append(ForestPanel(axis, _first_groups(gaps, room)))
    if rates:
        first = _first_groups(rates, room)
        panels.append(ForestPanel("win rate by judges", first, zero=0.5, is_share=True))
    if panels:
        return _gaps_drawing(panels, len(gaps) + len(rates))
    accuracies = [
        ForestRow("", line.name, line.accuracy, hollow=False) for line in best_scorers(results)
    ]
    if not accuracies:
        return None
    panel = ForestPanel("accuracy", accuracies[:ROWS], zero=0.5, is_share=True)
    title = "How often each scorer is right"
    caption = "line at 50 %: chance; blue: shown to be better"
    return Drawing(title, caption, Forest([panel]), _said([panel]))


def _gaps_drawing(panels: Sequence[ForestPanel], total: int) -> Drawing:
    rows = [row for panel in panels for row in panel.rows]
    caption = "blue: interval above the line; red: below it; grey: across it"
    if any(row.hollow for row in rows):
        caption += "; hollow: by a scorer that trained one of the two, no independent evidence"
    if len(rows) < total:
        caption += f"; the first {len(rows)} of {total} gaps"
    if panels[0].zero == 0.0:
        caption += "; unit: the standard deviation of all rewards by a scorer"
    title = "What policies gain on one another, with 95\u00a0% intervals"
    return Drawing(title, caption, Forest(panels), _said(panels))


def _said(panels: Sequence[ForestPanel]) -> str:
    """Return the rows of a picture as text."""
    parts = []
    for panel in panels:
        write = percent if panel.is_share else signed
        for row in panel.rows:
            compared = f"{row.group}, by {row.name}" if row.group else row.name
            figure = f"{write(row.interval.value)} {bounds(row.interval, write)}"
            parts.append(f"{compared}: {figure.rstrip()}")
    return f"{panels[0].axis}: {'; '.join(parts)}"


def _gap_rows(results: Results) -> Iterator[ForestRow]:
    """Yield a row for every comparison and scorer whose spread is known."""
    for line in over_seeds(results):
        scale = deviation(results, line.scorer)
        if line.mean_gap.known and scale > 0:
            yield ForestRow(
                _compared(line), line.scorer, _scaled(line.mean_gap, scale), _used(line)
            )


def _rate_rows(results: Results) -> list[ForestRow]:
    rows = []
    for line in results.judges.win_rates:
        if line.seed == "all" and line.rate.known:
            rows.append(ForestRow(_compared(line), line.judge, line.rate, _used(line)))
    return rows


def _compared(line: Contrast | WinRate) -> str:
    return f"{line.a} − {line.b}" if isinstance(line, Contrast) else f"{line.a} against {line.b}"


def _used(line: Contrast | WinRate) -> bool:
    return line.used_in_training


def _scaled(gap: Interval, scale: float) -> Interval:
    return Interval(gap.value / scale, gap.low / scale, gap.high / scale, gap.n)


def _first_groups(rows: Sequence[ForestRow], room: int) -> list[ForestRow]:
    """Return the rows of the first comparisons, as many as there is room for; one at least."""
    shown: list[ForestRow] = []
    for group in dict.fromkeys(row.group for row in rows):
        of_group = [row for row in rows if row.group == group]
        if shown and len(shown) + len(of_group) > room:
            break
        shown += of_group
    return shown


def deviation(results: Results, scorer: str) -> float:
    """Return the standard deviation of a scorer's rewards over all policies' samples.

    Rewards of different scorers have different units; gaps in this one can stand on one axis. Over
    seeds it is the root of the mean variance within each. 0 where nothing is known.
    """
    by_seed: dict[int, list[tuple[float, float, int]]] = {}
    for line in results.reward_distributions:
        n = sum(line.histogram.counts)
        if line.scorer == scorer and math.isfinite(line.spread.std):
            by_seed.setdefault(line.seed, []).append((line.spread.mean, line.spread.std, n))
    if not by_seed:
        return 0.0
    variances = [_pooled_variance(parts) for parts in by_seed.values()]
    return math.sqrt(math.fsum(variances) / len(variances))


def _pooled_variance(parts: Sequence[tuple[float, float, int]]) -> float:
    """Return the variance of all values together, from mean, deviation and number of each part."""
    total = sum(n for *_, n in parts)
    if not total:
        return 0.0
    mean = math.fsum(average * n for average, _, n in parts) / total
    squares = math.fsum(n * (std**2 + (average - mean) ** 2) for average, std, n in parts)
    return squares / total
