"""sweep.json → its page, with what is said first."""

from pathlib import Path
from typing import TYPE_CHECKING

from rewarddiff.report.cells import Table
from rewarddiff.report.page import Section, compose, write
from rewarddiff.report.statements import KEYS_NAMED, SENTENCES, trained_unequally
from rewarddiff.report.sweep_figures import gap_figures, loss_figures
from rewarddiff.report.sweep_tables import (
    axes_table,
    controls_table,
    points_table,
    runs_table,
    scorers_table,
)
from rewarddiff.report.sweep_values import Sweep, interval, seeds_text, unequal, value_text
from rewarddiff.report.text import markdown_page, terminal_page
from rewarddiff.report.values import real
from rewarddiff.results import Interval

if TYPE_CHECKING:
    from rich.console import Group

REGULARISERS = (
    *("head.duplication", "head.reverse", "head.regulariser"),
    *("odin", "loss.center", "train."),
)
"""Keys of a scorer that leave alone what its dev loss is of: they weigh what is not in it, or say
how it is trained."""


def render_sweep(sweep: Sweep, folder: Path) -> Path:
    """Write `folder/sweep.html` and `folder/sweep.md`, and return the page's path."""
    path = folder / "sweep.html"
    write(path, page(sweep))
    write(path.with_suffix(".md"), markdown(sweep))
    return path


def page(sweep: Sweep) -> str:
    """Return the page as text."""
    axes = ", ".join(axis["key"] for axis in sweep["axes"]) or "seed"
    subtitle = f"rewarddiff {sweep['version']} · {sweep['created']} · {seeds_text(sweep)}"
    sections = [
        Section("points", "Points of the sweep", tables=(points_table(sweep),)),
        Section(
            "gaps",
            "Gaps in mean reward",
            intro="Gap to the policy each point is held against, with its 95 % interval over seeds "
            "and prompts. Dashed with hollow dots: controls, whose weights are not those of their "
            "comparisons.",
            figures=gap_figures(sweep),
        ),
        Section(
            "controls",
            "Weighted policies less their controls",
            intro="Does it matter which comparison has which weight? A control is trained alike, "
            "with weights that are constant, shuffled or inverse.",
            tables=(controls_table(sweep),),
        ),
        Section(
            "losses",
            "Dev loss",
            intro="Unweighted loss on the dev comparisons after training, with its 95 % interval "
            "over seeds.",
            figures=loss_figures(sweep),
        ),
        Section("scorers", "Scorers on held-out comparisons", tables=(scorers_table(sweep),)),
        Section("runs", "What was run", tables=(axes_table(sweep), runs_table(sweep))),
    ]
    sentences = remarks(sweep)
    shown = SENTENCES - 1  # beside the verdict
    return compose(
        f"{sweep['name']}: sweep of {axes}",
        subtitle,
        verdict(sweep),
        sections,
        remarks=sentences[:shown],
        further=sentences[shown:],
    )


def terminal_sweep(sweep: Sweep) -> "Group":
    """Return the verdict and the tables as one rich renderable."""
    return terminal_page(verdict(sweep), remarks(sweep), _tables(sweep))


def markdown(sweep: Sweep) -> str:
    """Return the verdict and the tables as GitHub-flavoured Markdown."""
    return markdown_page(verdict(sweep), remarks(sweep), _tables(sweep), notes=True)


def _tables(sweep: Sweep) -> tuple[Table, ...]:
    return points_table(sweep), controls_table(sweep), scorers_table(sweep)


# --- what is said ---------------------------------------------------------------------------------


def verdict(sweep: Sweep) -> str:
    """Say how many gaps of weighted policies are told apart from zero, by independent scorers."""
    independent: list[Interval] = []
    dependent: list[Interval] = []
    for point in sweep["points"]:
        if point["control"] == "none":
            for gap in point["gaps"].values():
                kind = dependent if gap["used_in_training"] else independent
                kind.append(interval(gap))
    if not sweep["points"]:
        return "No policies were trained: a sweep of scorers alone."
    gaps = independent or dependent
    if not gaps:
        return "No weighted policy was held against its baseline."
    above, below = _told_apart(gaps)
    unclear = len(gaps) - above - below
    counted = (
        f"{_are(above)} above zero, {_are(below)} below, and {unclear or 'none'} not told apart "
        "from zero."
    )
    of = f"Of {len(gaps)} gaps between weighted policies and their baseline under"
    if not independent:
        return f"No independent evidence. {of} the scorers they were trained with, {counted}"
    sentence = f"{of} scorers without a part in their training, {counted}"
    also_above, also_below = _told_apart(dependent)
    alike = (also_above > 0, also_below > 0) == (above > 0, below > 0)
    if dependent and not alike:
        sentence += (
            " The scorers they were trained with say otherwise: "
            f"of {len(dependent)} gaps {_are(also_above)} above zero and {_are(also_below)} below."
        )
    return sentence


def _told_apart(gaps: list[Interval]) -> tuple[int, int]:
    """Count the gaps above and below zero."""
    return sum(gap.low > 0 for gap in gaps), sum(gap.high < 0 for gap in gaps)


def _are(many: int) -> str:
    return f"{many or 'none'} {'is' if many == 1 else 'are'}"


def remarks(sweep: Sweep) -> list[str]:
    """Say what limits the sweep, and where its scorers' dev losses are least."""
    sentences = []
    differing = [point for point in sweep["points"] if point["unequal"]]
    if differing:
        first = differing[0]
        text = trained_unequally(unequal(first), KEYS_NAMED)
        sentence = f"{first['name']} and {first['against']} were {text}"
        if len(differing) > 1:
            sentence += f"; {len(differing)} points in all are held against one trained unequally"
        sentences.append(f"{sentence}.")
    gaps = sum(len(point["gaps"]) for point in sweep["points"])
    if gaps > 4:
        by_chance = max(1, round(gaps / 20))
        sentences.append(
            f"With {gaps} gaps looked at, about {by_chance} would leave zero out of its 95 % "
            "interval if nothing had any effect: the best point of a sweep is to be confirmed with "
            "other seeds."
        )
    if len(sweep["seeds"]) == 1:
        sentences.append(
            "One seed: intervals are over prompts alone and say nothing of other seeds."
        )
    if any(axis["key"].startswith(("scorers.", "data.")) for axis in sweep["axes"]):
        sentences.append(
            "Runs with other data or scorers are judged by other scorers: compare gaps within a "
            "run."
        )
    return sentences + _least_losses(sweep)


def _least_losses(sweep: Sweep) -> list[str]:
    """Say where each scorer's dev loss is least.

    Regularisers and settings of training are to be chosen by that. Other keys change what the loss
    is, and then it tells nothing.
    """
    labels: dict[str, dict[str, str]] = {}
    for axis in sweep["axes"]:
        if axis["key"].startswith("scorers."):
            _, name, key = axis["key"].split(".", 2)
            if not key.startswith(REGULARISERS):
                return []
            labels.setdefault(name, {})[axis["key"]] = axis["label"]
    sentences = []
    for name, of_scorer in sorted(labels.items()):
        losses = []
        for line in sweep["scorers"]:
            if line["name"] == name and line["dev_loss"]:
                losses.append((interval(line["dev_loss"]).value, line["settings"]))
        if len(losses) > 1:
            loss, settings = min(losses, key=lambda measured: measured[0])
            at = [f"{of_scorer[k]} {value_text(v)}" for k, v in settings.items() if k in of_scorer]
            sentences.append(
                f"The dev loss of {name}, without its regularisers, is least at {', '.join(at)}: "
                f"{real(loss)}."
            )
    return sentences
