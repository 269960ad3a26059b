"""What a page is made of, and how it becomes a file: no script, nothing fetched, texts escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewarddiff import files
from rewarddiff.report.cells import Table
from rewarddiff.report.charts import file_names
from rewarddiff.report.figures import Drawing
from rewarddiff.report.first_screen import Number
from rewarddiff.writing import printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

CLIP = 600  # characters of a sample shown at once

LARGE = 2_000_000
"""Bytes of a report beyond which its samples go to a page of their own."""

SAMPLES = "samples.html"


@dataclass(frozen=True)
class Clip:
    """A text of which a part is folded where it is long: `before` what is shown, or behind it."""

    head: str
    tail: str = ""
    before: str = ""


@dataclass(frozen=True)
class Grade:
    """A sample's reward under a scorer, and whether it is the best of its prompt."""

    scorer: str
    reward: str
    best: bool


@dataclass(frozen=True)
class Response:
    policy: str
    text: Clip
    grades: tuple[Grade, ...]


@dataclass(frozen=True)
class Sample:
    """A prompt with its responses; without a title it is numbered.

    Attributes:
        outcome: of the two policies that are compared, by which samples are filtered.
        remark: what is said of it beside its title.
        begins: the first words of the prompt, for the list of all.
    """

    prompt: Clip
    responses: tuple[Response, ...]
    title: str = ""
    outcome: str = ""
    remark: str = ""
    begins: str = ""


@dataclass(frozen=True)
class Filter:
    """A choice of samples by their outcome: what it is called, and how many it leaves."""

    outcome: str
    label: str


@dataclass(frozen=True)
class Section:
    """A part of the page; one without anything to show is left out.

    Attributes:
        points: statements, one below the other.
        alarms: what a reader must not miss.
        filters: choices of its samples.
        elsewhere: the page that has its samples, where they are not on this one.
    """

    key: str
    title: str
    intro: str = ""
    points: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    figures: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    samples: tuple[Sample, ...] = ()
    filters: tuple[Filter, ...] = ()
    source: str = ""
    elsewhere: str = ""

    @property
    def bare(self) -> bool:
        tables = any(table.rows or table.empty for table in self.tables)
        return not (self.figures or self.samples or self.source or self.elsewhere or tables)


@dataclass(frozen=True)
class Page:
    """A page of sections.

    Attributes:
        numbers, picture: what stands first; where there are none, the verdict does.
        limit: the one line beside them that says how far they go.
        verdict: the result in a sentence or two.
        remarks: what limits it, the gravest first. further: what is folded.
    """

    title: str
    subtitle: str
    verdict: str
    sections: Sequence[Section]
    remarks: tuple[str, ...] = ()
    further: tuple[str, ...] = ()
    numbers: tuple[Number, ...] = ()
    picture: Drawing | None = None
    limit: str = ""

    @property
    def shown(self) -> list[Section]:
        """The sections with something to show."""
        return [section for section in self.sections if not section.bare]

    def drawings(self) -> list[tuple[str, Drawing]]:
        """Return all figures with the names of their files, in reading order."""
        titles = []
        drawings = []
        if self.picture is not None:
            titles.append("first-screen")
            drawings.append(self.picture)
        for section in self.shown:
            for drawing in section.figures:
                titles.append(f"{section.key} {drawing.title}")
                drawings.append(drawing)
        return list(zip(file_names(titles), drawings, strict=True))

    def html(self, figures: str = "figures") -> str:
        """Return the page's text; `figures`: the folder beside it with each figure's numbers."""
        names = iter([name for name, _ in self.drawings()])
        return (
            _environment()
            .get_template("report.html")
            .render(
                page=self,
                css=_markup(_css()),
                # One link a figure, in reading order.
                csv=lambda: f"{figures}/{next(names)}.csv",
            )
        )

    def with_samples_at(self, place: str) -> Page:
        """Return the page without its samples, which it says are on another one."""
        sections = []
        for section in self.sections:
            if section.samples:
                section = replace(section, samples=(), filters=(), elsewhere=place)
            sections.append(section)
        return replace(self, sections=sections)

    def samples_alone(self) -> Page:
        """Return a page of the samples."""
        sections = [section for section in self.sections if section.samples]
        return Page(f"{self.title}: samples", self.subtitle, "", sections)


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        # Markup is what this package wrote, or a sample's text in a block of its own, which may use
        # marks of direction.
        if isinstance(value, str) and not isinstance(value, Markup):
            return printable(value)
        return value

    return Environment(
        loader=PackageLoader("rewarddiff.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        finalize=shown,
    )


def _markup(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)


def _css() -> str:
    return (resources("rewarddiff.report") / "templates" / "report.css").read_text("utf-8")


def picture(svg: str) -> str:
    """Return a figure as a file of its own, which brings the page's colours with it."""
    colours = _css().partition("\n* {")[0]
    style = f"<style>{colours} text {{ fill: var(--ink); }}</style>"
    attributes = 'font-family="system-ui, sans-serif" stroke-linejoin="round"'
    opened, closed, drawn = svg.removeprefix("<svg").partition(">")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}'
    return f"{head}{opened}{closed}{style}{drawn}\n"


# --- files ----------------------------------------------------------------------------------------


def write(path: Path, page: Page, *, figures: str = "figures", split: bool = False) -> None:
    """Write a page with a CSV file for every figure beside it, the page last.

    Args:
        figures: the folder of the CSV files. Of its files, those alone go that an earlier version
            of the page linked to and this one does not.
        split: whether the samples of a large page get one of their own.
    """
    earlier = _linked(path, figures)
    written = set()
    for name, drawing in page.drawings():
        place = f"{figures}/{name}.csv"
        _write(path.parent / place, drawing.chart.sheet().csv())
        written.add(place)
    text = page.html(figures)
    if split and len(text.encode("utf-8", "replace")) > LARGE and page.samples_alone().sections:
        _write(path.with_name(SAMPLES), page.samples_alone().html(figures))
        written.add(SAMPLES)
        text = page.with_samples_at(SAMPLES).html(figures)
    _write(path, text)
    for place in earlier - written:
        (path.parent / place).unlink(missing_ok=True)


def _linked(path: Path, figures: str) -> set[str]:
    """Return the files beside an earlier version of a page that it linked to."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return set()
    place = f"{re.escape(figures)}/[a-z0-9-]+\\.csv|{re.escape(SAMPLES)}"
    return set(re.findall(f'href="({place})["#]', text))


def _write(path: Path, text: str) -> None:
    """Write a file; halves of pairs, which no encoding can write, become question marks."""
    files.write_bytes(path, text.encode("utf-8", "replace"))


# --- texts ----------------------------------------------------------------------------------------


def clip(text: str) -> Clip:
    """Cut a text longer than `CLIP` characters at the last space before it.

    A little over is shown whole.
    """
    if not text.strip():
        return Clip("(empty)")
    if len(text) <= CLIP + CLIP // 4:
        return Clip(text)
    space = text.rfind(" ", CLIP // 2, CLIP)
    cut = space if space > 0 else CLIP
    return Clip(text[:cut], text[cut:])


def clip_end(text: str) -> Clip:
    """Do the same, but keep the end of the text: that of a prompt is what is answered."""
    if len(text) <= CLIP + CLIP // 4:
        return clip(text)
    start = len(text) - CLIP
    space = text.find(" ", start, start + CLIP // 2)
    cut = space + 1 if space > 0 else start
    return Clip(text[cut:], before=text[:cut])
