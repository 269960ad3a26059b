"""Picks of the best of n: one page, one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rewarddiff.report import plots
from rewarddiff.report.cells import Cell, Results, Table, real_cell, share_cell
from rewarddiff.report.figures import Drawing
from rewarddiff.report.page import Section, compose, write
from rewarddiff.report.text import terminal_page
from rewarddiff.report.values import (
    Interval,
    count,
    entries,
    interval,
    mapping,
    names,
    number,
    real,
    trained_on_remarks,
    word,
)
from rewarddiff.writing import figure

if TYPE_CHECKING:
    from rich.console import Group


def render_best_of_n(found: Results, folder: Path) -> Path:
    """Write `folder/best_of_n.html`, and return its path."""
    path = Path(folder) / "best_of_n.html"
    sections = [
        Section(
            "gain",
            "What picking gains",
            intro="Gain in reward over a single draw, by the scorer that judges and by the one that picked, with 95 % "
            "intervals over prompts; how often the pick is better than a single draw.",
            figures=(
                _drawing(found, "gold", "by the judge"),
                _drawing(found, "wins", "wins against a single draw"),
            ),
            tables=(picks_table(found), fits_table(found)),
        )
    ]
    title = f"Best of n: {word(found.get('model'))}"
    prompts = f"{count(number(found.get('prompts')))} prompts of {word(found.get('data'))}"
    made = f"rewarddiff {word(found.get('version'))} · {prompts}"
    write(path, compose(title, made, verdict(found), sections, remarks=counts(found)))
    return path


def verdict(found: Results) -> str:
    """For each scorer the n at which the judge likes its picks best; at last the judge itself,
    where it picks too."""
    said, gold = [], word(found.get("gold"))
    picking = names(entries(found.get("rows")), "scorer")
    for name in sorted(picking, key=lambda name: name == gold):
        rows = [row for row in entries(found.get("rows")) if row["scorer"] == name]
        best = max(rows, key=lambda row: number(row.get("gold")))
        gain = interval(best.get("gold"))
        shown = "" if gain.excludes_zero else ", not told apart from no gain"
        own = " by its own judgement, which is no independent evidence" * (name == gold)
        said.append(f"{name}: best at n = {best['n']} (gain {real(gain.value)}{shown}){own}")
    return f"Judged by {gold}: " + "; ".join(said) + "."


def terminal_best_of_n(found: Results) -> Group:
    """The verdict and the tables as one rich renderable."""
    return terminal_page(verdict(found), counts(found), (picks_table(found), fits_table(found)))


def picks_table(found: Results) -> Table:
    rows = tuple(
        (
            Cell(word(row.get("scorer"))),
            Cell(count(number(row.get("n")))),
            Cell(figure(number(row.get("kl")), ".2f")),
            real_cell(interval(row.get("score"))),
            real_cell(interval(row.get("gold"))),
            share_cell(interval(row.get("wins"))),
        )
        for row in entries(found.get("rows"))
    )
    return Table(
        "Picks", ("picked by", "n", "KL, nats", "gain by itself", "gain by the judge", "wins"), rows
    )


def fits_table(found: Results) -> Table:
    rows = []
    for fit in entries(found.get("fits")):
        figures = (Cell(real(number(fit.get(key)))) for key in ("alpha", "beta"))
        rows.append((Cell(word(fit.get("scorer"))), *figures, Cell(_peak(fit))))
    return Table(
        "Over-optimisation: gain by the judge = d(α − βd), d = √KL",
        ("picked by", "α", "β", "turns at, nats"),
        tuple(rows),
        notes=("Gao et al. 2022, arXiv 2210.10760.",),
    )


def _peak(fit: Results) -> str:
    """Where the law turns; nothing is said of what lies beyond the measured nats."""
    peak, measured = number(fit.get("peak")), number(fit.get("measured"))
    rises = number(fit.get("alpha")) > 0
    beyond = rises and not peak <= measured
    return f"not within 0–{measured:.2f}" if beyond else real(peak)


def counts(found: Results) -> list[str]:
    """What was left out or scored as something else."""
    said = []
    if dropped := number(mapping(found.get("ledger")).get("dropped")):
        said.append(f"{count(dropped)} rows of the data were dropped.")
    if empty := number(found.get("empty")):
        said.append(f"{count(empty)} draws were empty, and scored as a full stop.")
    return said + trained_on_remarks(found, "prompts")


def _drawing(found: Results, key: str, axis: str) -> Drawing:
    rows = entries(found.get("rows"))
    sizes = sorted({int(row["n"]) for row in rows})
    ticks = [(float(i), str(n)) for i, n in enumerate(sizes)]
    lines: list[tuple[str, list[tuple[float, Interval]], bool]] = [
        (
            name,
            [
                (float(sizes.index(row["n"])), interval(row.get(key)))
                for row in rows
                if row["scorer"] == name
            ],
            False,
        )
        for name in names(rows, "scorer")
    ]
    title = "Gain by the judge" if key == "gold" else "Win rate"
    level = [("", 0.0 if key == "gold" else 0.5)]
    colours = plots.palette(name for name, *_ in lines)
    return Drawing(
        title,
        f"{axis}, by n",
        plots.lines(lines, ticks, level, colours, f"{title} by n", ("n", axis)),
    )
