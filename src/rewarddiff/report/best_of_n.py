"""Picks of the best of n: one page, one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rewarddiff.report import charts, plots
from rewarddiff.report.cells import Table, real_cell, share_cell, texts
from rewarddiff.report.document import Page, Section, write
from rewarddiff.report.figures import Drawing
from rewarddiff.report.scorer_statements import trained_on_remarks
from rewarddiff.report.svg import palette
from rewarddiff.report.text import terminal_page
from rewarddiff.report.values import count, real, two_digits
from rewarddiff.results import BestOfResults, OverOptimisation, Pick
from rewarddiff.writing import counted

if TYPE_CHECKING:
    from rich.console import Group


def render_best_of_n(results: BestOfResults, folder: Path) -> Path:
    """Write `folder/best_of_n.html`, and return its path."""
    path = folder / "best_of_n.html"
    section = Section(
        "gain",
        "What picking gains",
        intro="Gain in reward over a single draw, by the scorer that judges and by the one that "
        "picked, with 95 % intervals over prompts; how often the pick is better than a single "
        "draw.",
        figures=drawings(results),
        tables=(picks_table(results), fits_table(results)),
    )
    title = f"Best of n: {results.model}"
    prompts = f"{counted(results.prompts, 'prompt', count)} of {results.data}"
    subtitle = f"rewarddiff {results.version} · {prompts}"
    remarks = tuple(counts(results))
    write(path, Page(title, subtitle, verdict(results), [section], remarks=remarks))
    return path


def terminal_best_of_n(results: BestOfResults) -> Group:
    """Return the verdict and the tables as one rich renderable."""
    tables = (picks_table(results), fits_table(results))
    return terminal_page(verdict(results), counts(results), tables)


def verdict(results: BestOfResults) -> str:
    """Say for each scorer the n at which the judge likes its picks best.

    At last of the judge itself, where it picks too.
    """
    picks_by_scorer = _by_scorer(results)
    parts = []
    for name in sorted(picks_by_scorer, key=lambda name: name == results.gold):
        best = max(picks_by_scorer[name], key=lambda pick: pick.gold.value)
        gain = real(best.gold.value)
        if not best.gold.excludes_zero:
            gain += ", not told apart from no gain"
        part = f"{name}: best at n = {best.n} (gain {gain})"
        if name == results.gold:
            part += " by its own judgement, which is no independent evidence"
        parts.append(part)
    return f"Judged by {results.gold}: {'; '.join(parts)}."


def _by_scorer(results: BestOfResults) -> dict[str, list[Pick]]:
    picks: dict[str, list[Pick]] = {}
    for row in results.rows:
        picks.setdefault(row.scorer, []).append(row)
    return picks


def picks_table(results: BestOfResults) -> Table:
    rows = []
    for row in results.rows:
        gains = (real_cell(row.score), real_cell(row.gold), share_cell(row.wins))
        rows.append((*texts(row.scorer, count(row.n), two_digits(row.kl)), *gains))
    columns = ("picked by", "n", "KL, nats", "gain by itself", "gain by the judge", "wins")
    return Table("Picks", columns, tuple(rows))


def fits_table(results: BestOfResults) -> Table:
    rows = []
    for fit in results.fits:
        rows.append(texts(fit.scorer, real(fit.alpha), real(fit.beta), _peak(fit)))
    return Table(
        "Over-optimisation: gain by the judge = d(α − βd), d = √KL",
        ("picked by", "α", "β", "turns at, nats"),
        tuple(rows),
        notes=("Gao et al. 2022, arXiv 2210.10760.",),
    )


def _peak(fit: OverOptimisation) -> str:
    """Return where the law turns; nothing is said of what lies beyond the measured nats."""
    is_measured = fit.peak <= fit.measured
    if fit.alpha > 0 and not is_measured:
        return f"not within 0–{fit.measured:.2f}"
    return real(fit.peak)


def counts(results: BestOfResults) -> list[str]:
    """Say what was left out or scored as something else."""
    remarks = []
    dropped = results.ledger.total - results.ledger.kept
    if dropped:
        remarks.append(f"Dropped: {counted(dropped, 'row', count)} of the data.")
    if results.empty:
        remarks.append(
            f"Empty, and scored as a full stop: {counted(results.empty, 'draw', count)}."
        )
    return remarks + trained_on_remarks(results.trained_on, "prompts")


def drawings(results: BestOfResults) -> tuple[Drawing, ...]:
    """Return the gain by the judge, and the win rate, by n."""
    sizes = sorted({row.n for row in results.rows})
    ticks = [(float(place), str(n)) for place, n in enumerate(sizes)]
    gains: list[plots.Line] = []
    wins: list[plots.Line] = []
    for name, picks in _by_scorer(results).items():
        places = [float(sizes.index(pick.n)) for pick in picks]
        gold = [pick.gold for pick in picks]
        won = [pick.wins for pick in picks]
        gains.append((name, list(zip(places, gold, strict=True)), False))
        wins.append((name, list(zip(places, won, strict=True)), False))
    drawn = []
    for title, axis, lines, level in (
        ("Gain by the judge", "by the judge", gains, 0.0),
        ("Win rate", "wins against a single draw", wins, 0.5),
    ):
        colours = palette(name for name, *_ in lines)
        chart = charts.Lines(lines, ticks, [("", level)], colours, ("n", axis))
        drawn.append(Drawing(title, f"{axis}, by n", chart, f"{title} by n"))
    return tuple(drawn)
