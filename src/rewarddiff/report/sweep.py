"""sweep.json → its page, and what is said of it first."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rewarddiff import files
from rewarddiff.config.overrides import EVERY
from rewarddiff.report.document import Page, Section, write
from rewarddiff.report.statements import SENTENCES
from rewarddiff.report.sweep_figures import accuracy_figures, gap_figures, loss_figures
from rewarddiff.report.sweep_tables import (
    axes_table,
    combinations_table,
    controls_table,
    points_table,
    scorers_table,
    seeds,
)
from rewarddiff.report.text import markdown_page, terminal_page
from rewarddiff.report.training_statements import (
    KEYS_NAMED,
    data_weights_remark,
    known_to_differ,
    trained_unequally,
    weighed_by_data,
)
from rewarddiff.report.values import real, setting
from rewarddiff.results import SweepGap, SweepResults, SweepScorer

if TYPE_CHECKING:
    from rich.console import Group

REGULARISERS = (
    *("head.duplication", "head.reverse", "head.regulariser"),
    *("odin", "loss.center", "train."),
)
"""Keys of a scorer that leave alone what its dev loss is of.

They weigh what is not in it, or say how the scorer is trained.
"""


def render_sweep(sweep: SweepResults, folder: Path) -> Path:
    """Write `folder/sweep.html` and `folder/sweep.md`, and return the page's path."""
    path = Path(folder) / "sweep.html"
    write(path, document(sweep))
    files.write_bytes(path.with_suffix(".md"), markdown(sweep).encode("utf-8", "replace"))
    return path


def page(sweep: SweepResults) -> str:
    """Return the page as text."""
    return document(sweep).html()


def document(sweep: SweepResults) -> Page:
    """Return the page."""
    axes = ", ".join(axis.key for axis in sweep.axes) or "seed"
    subtitle = f"rewarddiff {sweep.version} · {sweep.created} · {seeds(sweep)}"
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
        Section(
            "scorers",
            "Scorers on held-out comparisons",
            tables=(scorers_table(sweep),),
            figures=accuracy_figures(sweep),
        ),
        Section("runs", "What was run", tables=(axes_table(sweep), combinations_table(sweep))),
    ]
    sentences = remarks(sweep)
    return Page(
        f"{sweep.name}: sweep of {axes}",
        subtitle,
        verdict(sweep),
        sections,
        remarks=tuple(sentences[: SENTENCES - 1]),
        further=tuple(sentences[SENTENCES - 1 :]),
    )


def terminal_sweep(sweep: SweepResults) -> "Group":
    """Return the verdict and the tables as one rich renderable."""
    tables = points_table(sweep), controls_table(sweep), scorers_table(sweep)
    return terminal_page(verdict(sweep), remarks(sweep), tables)


def markdown(sweep: SweepResults) -> str:
    """Return the verdict and the tables as GitHub-flavoured Markdown."""
    tables = points_table(sweep), controls_table(sweep), scorers_table(sweep)
    return markdown_page(verdict(sweep), remarks(sweep), tables, notes=True)


# --- what is said first --------------------------------------------------------------------------


def verdict(sweep: SweepResults) -> str:
    """Say how many gaps of weighted policies to their baseline are told apart from zero.

    Independent scorers are asked; the others are heard where they say otherwise.
    """
    if not sweep.points:
        return "No policies were trained: a sweep of scorers alone."
    gaps: list[SweepGap] = []
    for point in sweep.points:
        if point.control == "none" and point.baseline is not None:
            gaps += point.baseline.gaps.values()
    if not gaps:
        return "No weighted policy was held against its baseline."
    independent = [gap for gap in gaps if not gap.used_in_training]
    dependent = [gap for gap in gaps if gap.used_in_training]
    of = "gaps between weighted policies and their baseline under"
    if not independent:
        return (
            f"No independent evidence. Of {len(gaps)} {of} the scorers they were trained with, "
            f"{_told_apart(dependent)}"
        )
    part = "a known part" if _weighed_by_data(sweep) else "a part"
    sentence = (
        f"Of {len(independent)} {of} scorers without {part} in their training, "
        f"{_told_apart(independent)}"
    )
    if dependent and _directions(dependent) != _directions(independent):
        above, below = _above(dependent), _below(dependent)
        sentence += (
            " The scorers they were trained with say otherwise: "
            f"of {len(dependent)} gaps {_are(above)} above zero and {_are(below)} below."
        )
    return sentence


def remarks(sweep: SweepResults) -> list[str]:
    """Return what limits the verdict, and where scorers' dev losses are least."""
    sentences = []
    unequal = []
    for point in sweep.points:
        if point.baseline is not None and known_to_differ(point.baseline.unequal):
            unequal.append((point.policy, point.baseline))
    if unequal:
        policy, first = unequal[0]
        text = trained_unequally(known_to_differ(first.unequal), KEYS_NAMED)
        more = ""
        if len(unequal) > 1:
            more = f"; {len(unequal)} points in all are held against one trained unequally"
        sentences.append(f"{policy} and {first.policy} were {text}{more}.")
    by_data = _weighed_by_data(sweep)
    if by_data:
        sentences.append(f"{data_weights_remark(by_data)}.")
    gaps = sum(len(point.baseline.gaps) for point in sweep.points if point.baseline is not None)
    if gaps > 4:
        by_chance = round(gaps / 20) or 1
        sentences.append(
            f"With {gaps} gaps looked at, about {by_chance} would leave zero out of its 95 % "
            "interval if nothing had any effect: the best point of a sweep is to be confirmed "
            "with other seeds."
        )
    if len(sweep.seeds) == 1:
        sentences.append(
            "One seed: intervals are over prompts alone and say nothing of other seeds."
        )
    if any(axis.key.startswith(("scorers.", "data.")) for axis in sweep.axes):
        sentences.append(
            "Combinations with other data or scorers are judged by other scorers: compare gaps "
            "within one."
        )
    return sentences + _least_dev_losses(sweep)


def _weighed_by_data(sweep: SweepResults) -> list[str]:
    """Return the policies whose coefficients the data brings, among those held against another."""
    names: dict[str, None] = {}
    for point in sweep.points:
        if point.baseline is not None:
            other = point.baseline
            names |= dict.fromkeys(weighed_by_data(point.policy, other.policy, other.unequal))
    return list(names)


def _least_dev_losses(sweep: SweepResults) -> list[str]:
    """Say where each scorer's dev loss is least.

    Regularisers and settings of training are to be chosen by it. Other keys change what the loss
    is of, and then it tells nothing.
    """
    labels: dict[str, dict[str, str]] = {}
    for axis in sweep.axes:
        room, _, rest = axis.key.partition(".")
        if room == "scorers":
            name, _, key = rest.partition(".")
            if not key.startswith(REGULARISERS):
                return []
            names = [name]
            if name == EVERY:
                names = [line.summary.name for line in sweep.scorers]
            for concerned in names:
                labels.setdefault(concerned, {})[axis.key] = axis.label
    sentences = []
    for name in sorted(labels):
        losses = {}
        for place, line in enumerate(sweep.scorers):
            if line.summary.name == name and line.dev_loss is not None:
                losses[place] = line.dev_loss.value
        if len(losses) > 1:
            best = min(losses, key=losses.__getitem__)
            where = _settings(sweep.scorers[best], labels[name])
            sentences.append(
                f"The dev loss of {name}, without its regularisers, is least at {where}: "
                f"{real(losses[best])}."
            )
    return sentences


def _settings(scorer: SweepScorer, labels: Mapping[str, str]) -> str:
    """Return those of a scorer's settings that have a label, as `duplication 0.5`."""
    settings = [(labels[key], value) for key, value in scorer.settings.items() if key in labels]
    return ", ".join(f"{label} {setting(value)}" for label, value in settings)


def _told_apart(gaps: Iterable[SweepGap]) -> str:
    gaps = list(gaps)
    above, below = _above(gaps), _below(gaps)
    rest = len(gaps) - above - below
    return (
        f"{_are(above)} above zero, {_are(below)} below, "
        f"and {rest or 'none'} not told apart from zero."
    )


def _directions(gaps: Iterable[SweepGap]) -> tuple[bool, bool]:
    """Tell whether any gap is above zero, and whether any is below."""
    gaps = list(gaps)
    return _above(gaps) > 0, _below(gaps) > 0


def _above(gaps: Iterable[SweepGap]) -> int:
    return sum(gap.gap.low > 0 for gap in gaps)


def _below(gaps: Iterable[SweepGap]) -> int:
    return sum(gap.gap.high < 0 for gap in gaps)


def _are(many: int) -> str:
    if many == 1:
        return "1 is"
    return f"{many or 'none'} are"
