"""Findings → one page with plots, and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rewarddiff.evaluation.metrics import Interval
from rewarddiff.lab.identities import Identity
from rewarddiff.lab.questions import Finding, LabConfig, signed
from rewarddiff.lab.world import share_of_wrong_labels
from rewarddiff.report import plots
from rewarddiff.report.cells import Cell, Table
from rewarddiff.report.figures import Drawing
from rewarddiff.report.page import Section, compose, picture, write
from rewarddiff.report.text import markdown_table
from rewarddiff.report.values import interval
from rewarddiff.writing import figure


def render_lab(
    config: LabConfig,
    findings: Sequence[Finding],
    identities: Sequence[Identity],
    version: str,
    folder: Path,
) -> Path:
    """Write `folder/lab.html` and `folder/lab.md`, with its `images`, and return the page's
    path."""
    path = Path(folder) / "lab.html"
    colours = plots.palette(line for finding in findings for line in finding.rows)
    drawings = [drawing(finding, colours) for finding in findings]
    write(path, page(config, findings, drawings, identities, version))
    write(path.with_suffix(".md"), markdown(config, findings, identities))
    for finding, drawn in zip(findings, drawings, strict=True):
        write(path.with_name("images") / f"lab-{finding.key}.svg", picture(drawn.svg))
    return path


def page(
    config: LabConfig,
    findings: Sequence[Finding],
    drawings: Sequence[Drawing],
    identities: Sequence[Identity],
    version: str,
) -> str:
    """The page as text."""
    sections = [
        Section(
            finding.key,
            finding.question,
            intro=" ".join(finding.statements),
            figures=(drawn,),
            tables=(table(finding),),
        )
        for finding, drawn in zip(findings, drawings, strict=True)
    ]
    sections += [Section(one.key, one.title, tables=(identity_table(one),)) for one in identities]
    subtitle = f"rewarddiff {version} · {config.seeds} seeds"
    return compose("When does weighting by the difference help?", subtitle, about(config), sections)


def about(config: LabConfig) -> str:
    world = config.world
    labels = "labels without noise"
    if world.noise:
        wrong = share_of_wrong_labels(world)
        labels = (
            f"a label prefers a response with probability σ(true gap / {world.noise:g}), "
            f"so that {wrong:.0%} are wrong"
        )
    return (
        f"{world.pairs} comparisons of responses with {world.features} features, true rewards of standard deviation 1 "
        f"({world.unseen:.0%} of their variance in no feature); {labels}. "
        f"DPO, its policies compared {config.training.kl:g} nats from the reference. All figures are gaps in true "
        f"reward to plain DPO on the same comparisons, with 95 % intervals over {config.seeds} worlds."
    )


def drawing(finding: Finding, colours: Mapping[str, str]) -> Drawing:
    rows = [
        (
            line,
            [
                (float(finding.places.index(place)), interval(asdict(gap)))
                for place, gap in row.items()
            ],
            False,
        )
        for line, row in finding.rows.items()
    ]
    ticks = [(float(i), place) for i, place in enumerate(finding.places)]
    svg = plots.lines(
        rows, ticks, [("", 0.0)], colours, finding.question, (finding.axis, "gap to plain DPO")
    )
    return Drawing("Gap to plain DPO", f"by {finding.axis}", svg)


def table(finding: Finding) -> Table:
    """One row a place, one column a line."""
    rows = tuple(
        (Cell(place), *(_cell(row[place]) for row in finding.rows.values()))
        for place in finding.places
    )
    return Table("Gap to plain DPO", (finding.axis, *finding.rows), rows, stacked=True)


def _cell(gap: Interval) -> Cell:
    return Cell(signed(gap.value), f"[{signed(gap.low)}, {signed(gap.high)}]")


def identity_table(identity: Identity) -> Table:
    rows = tuple(
        (Cell(case), *(Cell(figure(value, ".4f")) for value in (one, other)))
        for case, one, other in identity.cases
    )
    return Table(
        identity.title,
        ("case", "derived" if identity.holds else "one might think", "simulated"),
        rows,
    )


def markdown(config: LabConfig, findings: Sequence[Finding], identities: Sequence[Identity]) -> str:
    """Statements and tables as GitHub-flavoured Markdown."""
    parts = [about(config)]
    for finding in findings:
        statements = "\n".join(f"- {text}" for text in finding.statements)
        shown = f"![{finding.question}](images/lab-{finding.key}.svg)"
        parts += [f"## {finding.question}", statements, shown, markdown_table(table(finding))]
    for one in identities:
        parts += [f"## {one.title}", markdown_table(identity_table(one))]
    return "\n\n".join(parts) + "\n"
