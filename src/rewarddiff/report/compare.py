"""Runs laid side by side: one page, and tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewarddiff.report.cells import Table
from rewarddiff.report.compare_figures import accuracy_figures, reward_figures
from rewarddiff.report.compare_tables import (
    contrasts_table,
    costs_table,
    policies_tables,
    recipes_table,
    scorers_tables,
    win_rates_table,
)
from rewarddiff.report.document import Page, Section, write
from rewarddiff.report.evidence import pairs
from rewarddiff.report.judge_statements import win_rate_statements
from rewarddiff.report.side_by_side import NamedRun, measured_alike, other_scorers, together
from rewarddiff.report.text import terminal_page
from rewarddiff.report.training_statements import data_weights_remark
from rewarddiff.report.values import setting
from rewarddiff.version import __version__

if TYPE_CHECKING:
    from rich.console import Group


def render_comparison(runs: Sequence[NamedRun], path: Path) -> Path:
    """Write the page with the numbers of its figures beside it, and return its path."""
    write(path, document(runs), figures=f"{path.stem}-figures")
    return path


def page(runs: Sequence[NamedRun]) -> str:
    """Return the page as text."""
    return document(runs).html()


def document(runs: Sequence[NamedRun]) -> Page:
    """Return the page."""
    sections = [
        Section(
            "recipes",
            "Keys in which the recipes differ",
            intro="Names and folders of runs are left out.",
            tables=(recipes_table(runs),),
        ),
        Section(
            "scorers",
            "Scorers",
            intro="Accuracy on held-out comparisons, with its 95 % interval. Runs share a figure "
            "where they measure on the very same comparisons.",
            figures=accuracy_figures(runs),
            tables=tuple(scorers_tables(runs)),
        ),
        Section(
            "policies",
            "Policies under the same scorers",
            intro="Mean reward of samples on the same held-out prompts, with its 95 % interval, "
            "under scorers that are the very same in several runs.",
            figures=reward_figures(runs),
            tables=tuple(policies_tables(runs)),
        ),
        Section(
            "contrasts",
            "Policies head to head, within each run",
            intro="Both answer the same prompts. Gaps are in the unit of the run's own scorer: of "
            "different scorers compare the signs and the shares, not the gaps.",
            tables=(contrasts_table(runs), win_rates_table(runs)),
        ),
        Section("cost", "Cost", tables=(costs_table(runs),)),
    ]
    subtitle = f"rewarddiff {__version__} · {len(runs)} runs"
    title = " and ".join(run.label for run in runs)
    return Page(title, subtitle, verdict(runs), sections, remarks=tuple(remarks(runs)))


def terminal_comparison(runs: Sequence[NamedRun]) -> Group:
    """Return what is said first and the tables as one rich renderable."""
    tables: list[Table] = [recipes_table(runs), *scorers_tables(runs), *policies_tables(runs)]
    tables += [win_rates_table(runs), costs_table(runs)]
    return terminal_page(verdict(runs), remarks(runs), tables)


# --- what is said first --------------------------------------------------------------------------


def verdict(runs: Sequence[NamedRun]) -> str:
    """Say whether figures of these runs compare at all."""
    if not any(run.results.data.contents for run in runs):
        return _of_judges(runs)
    compared = _measured_together(runs)
    judged = [run for run in runs if run.results.data.prompts]
    if len(compared) == len(runs) > 1:
        sentence = "All scorers are measured on the same held-out comparisons"
    elif compared:
        sentence = (
            f"Not all are measured on the same held-out comparisons: {' and '.join(compared)} are, "
            "and figures of the others do not compare with theirs"
        )
    else:
        sentence = (
            "No two are measured on the same held-out comparisons: their accuracies do not compare"
        )
    prompts = together(judged, lambda run: run.results.data.prompts)
    if len(judged) < 2:
        return f"{sentence}."
    if len(prompts) == 1:
        return f"{sentence}; policies answer the same prompts."
    return f"{sentence}; policies answer different prompts, so that their rewards do not compare."


def _of_judges(runs: Sequence[NamedRun]) -> str:
    """Say the same of runs in which nobody but judges measures."""
    prompts = {run.results.data.prompts for run in runs}
    if len(prompts) == 1 and "" not in prompts:
        return "Policies answer the same prompts: win rates of the same judge compare."
    return "Policies do not answer the same prompts: win rates hold within each run."


def _measured_together(runs: Sequence[NamedRun]) -> list[str]:
    """Return the runs that share a test with another, as many as share one."""
    largest: list[str] = []
    by_content: dict[str, list[str]] = {}
    for run in runs:
        for content in set(run.results.data.contents.values()):
            by_content.setdefault(content, []).append(run.label)
    for labels in by_content.values():
        if len(labels) > max(1, len(largest)):
            largest = labels
    return largest


def remarks(runs: Sequence[NamedRun]) -> list[str]:
    """Return what limits the comparison."""
    sentences = []
    others = other_scorers(runs)
    if others:
        sentences.append(
            "Not the same in all runs, by weights, settings or the base model that it compares with: "
            f"{', '.join(others)}. Rewards under different scorers do not compare."
        )
    sampling = [(run.recipe.get("evaluation") or {}).get("sampling") for run in runs if run.recipe]
    if any(other != sampling[0] for other in sampling):
        sentences.append("Samples are not drawn alike: see evaluation.sampling among the keys.")
    for run in runs:
        by_data: dict[str, None] = {}
        for pair in pairs(run.results):
            by_data |= dict.fromkeys(pair.weighed_by_data)
        if by_data:
            sentences.append(f"{run.label}: {data_weights_remark(list(by_data))}.")
    for group in measured_alike(runs):
        if len({line.first.evaluation.n for line in group}) > 1:
            sentences.append(
                "Some scorers leave out prompts that they were trained on: accuracies on the same data "
                "are of different comparisons there."
            )
    for run in runs:
        sentences += [f"{run.label}: {text}" for text in win_rate_statements(run.results)]
    machines = {str(run.results.machine.get("cpu")) for run in runs}
    if len(machines) > 1:
        named = "; ".join(f"{run.label}: {setting(run.results.machine.get('cpu'))}" for run in runs)
        sentences.append(f"Times are of different machines ({named}).")
    for run in runs:
        if run.results.command == "eval":
            sentences.append(f"{run.label} is an evaluation of scorers and has no recipe.")
    return sentences
