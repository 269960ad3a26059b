"""What a laboratory's page is made of, written as a page with plots and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rewarddiff import files
from rewarddiff.report.cells import Table
from rewarddiff.report.charts import file_names
from rewarddiff.report.document import Page, Section, picture, write
from rewarddiff.report.figures import Drawing
from rewarddiff.report.text import markdown_table


@dataclass(frozen=True)
class Part:
    """A question with what was found.

    Attributes:
        intro: what is asked, and of what.
        statements: in plain words, by rules from the figures.
    """

    key: str
    title: str
    intro: str = field(default="", kw_only=True)
    statements: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return not (self.statements or self.drawings or self.tables)

    @property
    def section(self) -> Section:
        """It as a section of the page."""
        return Section(
            self.key,
            self.title,
            self.intro,
            self.statements,
            figures=self.drawings,
            tables=self.tables,
        )


@dataclass(frozen=True)
class Findings:
    """Everything that a laboratory has to say.

    Attributes:
        name: of its files.
        about: what was done, and what figures are.
    """

    name: str
    title: str
    subtitle: str
    about: str
    parts: tuple[Part, ...]

    @property
    def page(self) -> Page:
        """The page."""
        sections = [part.section for part in self.parts]
        return Page(self.title, self.subtitle, self.about, sections)

    @property
    def images(self) -> dict[str, Drawing]:
        """Every figure by the name of its file."""
        drawings = [(part.key, drawn) for part in self.parts for drawn in part.drawings]
        names = file_names(f"{self.name} {key} {drawn.title}" for key, drawn in drawings)
        return dict(zip(names, [drawn for _, drawn in drawings], strict=True))

    @property
    def markdown(self) -> str:
        """Statements, figures and tables as GitHub-flavoured Markdown."""
        names = iter(self.images)
        lines = [self.about]
        for part in self.parts:
            lines.append(f"## {part.title}")
            if part.intro:
                lines.append(part.intro)
            if part.statements:
                lines.append("\n".join(f"- {text}" for text in part.statements))
            for drawn in part.drawings:
                lines.append(f"![{drawn.label}](images/{next(names)}.svg)")
            titles = [part.title, *(drawn.title for drawn in part.drawings)]
            for table in part.tables:
                if table.title not in titles:
                    lines.append(f"### {table.title}")
                lines += [markdown_table(table), *table.marks, *table.notes]
        return "\n\n".join(lines) + "\n"

    def write(self, folder: Path) -> Path:
        """Write the page, the Markdown and its images; return the page's path."""
        path = folder / f"{self.name}.html"
        write(path, self.page)
        files.write_text(path.with_suffix(".md"), self.markdown)
        for name, drawn in self.images.items():
            files.write_text(folder / "images" / f"{name}.svg", picture(drawn.svg))
        return path
