"""Findings → one page with plots, and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from rewarddiff import files
from rewarddiff.lab.asking import Finding, LabConfig
from rewarddiff.lab.identities import Identity
from rewarddiff.lab.words import signed
from rewarddiff.lab.world import share_of_wrong_labels
from rewarddiff.report import charts
from rewarddiff.report.cells import Cell, Table
from rewarddiff.report.document import Page, Section, picture, write
from rewarddiff.report.figures import Drawing
from rewarddiff.report.svg import palette
from rewarddiff.report.text import markdown_table
from rewarddiff.report.values import bounds
from rewarddiff.results import Interval
from rewarddiff.writing import figure


def render_lab(
    config: LabConfig,
    findings: Sequence[Finding],
    identities: Sequence[Identity],
    version: str,
    folder: Path,
) -> Path:
    """Write `folder/lab.html` and `folder/lab.md` with its `images`; return the page's path."""
    path = Path(folder) / "lab.html"
    colours = palette(chain.from_iterable(finding.rows for finding in findings))
    drawings = [drawing(finding, colours) for finding in findings]
    write(path, document(config, findings, drawings, identities, version))
    files.write_text(path.with_suffix(".md"), markdown(config, findings, identities))
    for finding, drawn in zip(findings, drawings, strict=True):
        place = path.with_name("images") / f"lab-{finding.key}.svg"
        files.write_text(place, picture(drawn.svg))
    return path


def page(
    config: LabConfig,
    findings: Sequence[Finding],
    drawings: Sequence[Drawing],
    identities: Sequence[Identity],
    version: str,
) -> str:
    """Return the page as text."""
    return document(config, findings, drawings, identities, version).html()


def document(
    config: LabConfig,
    findings: Sequence[Finding],
    drawings: Sequence[Drawing],
    identities: Sequence[Identity],
    version: str,
) -> Page:
    """Return the page."""
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
    for identity in identities:
        tables = (identity_table(identity),)
        sections.append(Section(identity.key, identity.title, tables=tables))
    subtitle = f"rewarddiff {version} · {config.seeds} seeds"
    return Page("When does weighting by the difference help?", subtitle, about(config), sections)


def about(config: LabConfig) -> str:
    """Say what the worlds are like and how policies are compared."""
    world = config.world
    labels = "labels without noise"
    if world.noise:
        wrong = share_of_wrong_labels(world)
        labels = (
            f"a label prefers a response with probability σ(true gap / {world.noise:g}), "
            f"so that {wrong:.0%} are wrong"
        )
    return (
        f"{world.pairs} comparisons of responses with {world.features} features, "
        "true rewards of standard deviation 1 "
        f"({world.unseen:.0%} of their variance in no feature); {labels}. "
        f"DPO, its policies compared {config.training.kl:g} nats from the reference. "
        "All figures are gaps in true reward to plain DPO on the same comparisons, "
        f"with 95 % intervals over {config.seeds} worlds."
    )


def drawing(finding: Finding, colours: Mapping[str, str]) -> Drawing:
    """Draw a line of gaps along the question's axis for each way."""
    rows = []
    for line, row in finding.rows.items():
        points = []
        for place, gap in row.items():
            points.append((float(finding.places.index(place)), gap))
        rows.append((line, points, False))
    ticks = [(float(i), place) for i, place in enumerate(finding.places)]
    axes = (finding.axis, "gap to plain DPO")
    chart = charts.Lines(rows, ticks, [("", 0.0)], colours, axes)
    return Drawing("Gap to plain DPO", f"by {finding.axis}", chart, finding.question)


def table(finding: Finding) -> Table:
    """Return the gaps, one row a place, one column a line."""
    rows = []
    for place in finding.places:
        cells = [gap_cell(row[place]) for row in finding.rows.values()]
        rows.append((Cell(place), *cells))
    return Table("Gap to plain DPO", (finding.axis, *finding.rows), tuple(rows), stacked=True)


def gap_cell(gap: Interval) -> Cell:
    """Return a gap with its interval."""
    return Cell(signed(gap.value), bounds(gap, signed))


def identity_table(identity: Identity) -> Table:
    """Return what was derived beside what came out, one row a case."""
    expectation = "derived" if identity.holds else "one might think"
    rows = tuple(
        (Cell(case), Cell(figure(expected, ".4f")), Cell(figure(simulated, ".4f")))
        for case, expected, simulated in identity.cases
    )
    return Table(identity.title, ("case", expectation, "simulated"), rows)


def markdown(config: LabConfig, findings: Sequence[Finding], identities: Sequence[Identity]) -> str:
    """Return statements and tables as GitHub-flavoured Markdown."""
    parts = [about(config)]
    for finding in findings:
        statements = "\n".join(f"- {text}" for text in finding.statements)
        shown = f"![{finding.question}](images/lab-{finding.key}.svg)"
        parts += [f"## {finding.question}", statements, shown, markdown_table(table(finding))]
    for identity in identities:
        parts += [f"## {identity.title}", markdown_table(identity_table(identity))]
    return "\n\n".join(parts) + "\n"
