"""Results → one self-contained page: no script, nothing fetched, every text escaped."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rewarddiff.report import bookkeeping, figures, slices, tables
from rewarddiff.report.cells import Results, Table
from rewarddiff.report.figures import Drawing
from rewarddiff.report.statements import head, trained_with
from rewarddiff.report.values import count, entries, mapping, number, real, word
from rewarddiff.writing import printable

CLIP = 600  # characters of a sample shown at once


@dataclass(frozen=True)
class Clip:
    """A text, cut in two where it is long."""

    head: str
    tail: str = ""


@dataclass(frozen=True)
class Response:
    policy: str
    text: Clip
    grades: tuple[tuple[str, str, bool], ...]  # scorer, reward, whether the best of this sample


@dataclass(frozen=True)
class Sample:
    prompt: Clip
    responses: tuple[Response, ...]


@dataclass(frozen=True)
class Section:
    """A part of the page; one without anything to show is left out."""

    key: str
    title: str
    intro: str = ""
    figures: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    samples: tuple[Sample, ...] = ()
    source: str = ""

    @property
    def bare(self) -> bool:
        tables = any(table.rows or table.empty for table in self.tables)
        return not (self.figures or self.samples or self.source or tables)


def render(results: Results, folder: Path) -> Path:
    """Write `folder/report.html` at once or not at all, and return its path.

    The same results give the same bytes. What results say nothing of is left out.

    Args:
        results: the content of results.json; parts may be missing, `null` or NaN.
        folder: made if absent.
    """
    path = Path(folder) / "report.html"
    write(path, page(results))
    return path


def page(results: Results) -> str:
    """The page as text."""
    said = head(results)
    title = str(results.get("name") or "rewarddiff report")
    return compose(
        title,
        _subtitle(results),
        said.result,
        sections(results),
        remarks=said.limits,
        further=said.further,
    )


def compose(
    title: str,
    subtitle: str,
    verdict: str,
    sections: Sequence[Section],
    *,
    remarks: Sequence[str] = (),
    further: Sequence[str] = (),
) -> str:
    """A page of sections under a verdict and what limits it; `further` remarks are folded."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("rewarddiff.report", "templates")

    def shown(value: Any) -> Any:
        # Markup is what this package wrote, or a sample's text in a block of its own, which may use
        # marks of direction.
        return (
            value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)
        )

    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        finalize=shown,
    )
    return environment.get_template("report.html").render(
        title=title, subtitle=subtitle, verdict=verdict, remarks=remarks, further=further, css=Markup(_css()),
        sections=[section for section in sections if not section.bare],
    )  # fmt: skip


def _css() -> str:
    return (files("rewarddiff.report") / "templates" / "report.css").read_text("utf-8")


def picture(svg: str) -> str:
    """A figure of a page as a file of its own, which brings the page's colours, light and dark,
    with it."""
    colours = _css().partition("\n* {")[0]
    style = f"<style>{colours} text {{ fill: var(--ink); }}</style>"
    head = '<svg xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" stroke-linejoin="round"'
    opened, closed, drawn = svg.removeprefix("<svg").partition(">")
    return f"{head}{opened}{closed}{style}{drawn}\n"


def sections(results: Results) -> list[Section]:
    """The page's parts, in reading order."""
    orders = tables.orders_table(results)
    further = (
        slices.calibration_table,
        slices.subsets_table,
        slices.aspects_table,
        slices.rm_bench_table,
        slices.spreads_table,
    )
    parts = [table for table in (make(results) for make in further) if table.rows]
    return [
        Section("summary", "Summary", tables=tables.overview(results)),
        Section(
            "strength",
            "How much better: the differences",
            intro="The difference d says by how much the chosen response beats the rejected one. "
            "Where it is negative, the scorer contradicts the label.",
            figures=figures.histograms(results),
        ),
        Section(
            "calibration",
            "Accuracy by |d|",
            intro="A scorer that knows by how much is more often right where |d| is larger, "
            "and where the data itself states a stronger preference. "
            "Whiskers: 95 % Wilson intervals; dashed line: chance.",
            figures=figures.accuracies(results),
            tables=(tables.strength_table(results),),
        ),
        Section(
            "slices",
            "Where scorers are right",
            intro="By which response is longer, by part of the collection, and how far rewards of chosen and rejected "
            "responses lie apart; every score is counted.",
            figures=figures.reward_histograms(results),
            tables=(slices.slices_table(results), *parts),
        ),
        Section(
            "curves",
            "Learning curves",
            intro=_of_curves(results),
            figures=figures.curves(results),
        ),
        Section(
            "rewards",
            "Rewards",
            intro=_of_rewards(results),
            figures=figures.rewards(results),
        ),
        Section(
            "contrasts",
            "Head to head",
            intro="Both policies answer the same prompts; the higher reward wins.",
            figures=figures.contrasts(results),
            tables=(tables.contrasts_table(results),),
        ),
        Section(
            "samples",
            "Samples side by side",
            intro="The highest reward under each scorer is in bold.",
            samples=_samples(results),
        ),
        Section(
            "data",
            "Data",
            intro="Every row that was dropped or changed is counted, by reason.",
            tables=(bookkeeping.data_table(results), bookkeeping.ledger_table(results)),
        ),
        Section(
            "coefficients",
            "Coefficients",
            intro=f"What each comparison's loss was multiplied by{', and who put lists in order' * bool(orders.rows)}.",
            figures=figures.spreads(results),
            tables=(tables.coefficients_table(results), *((orders,) if orders.rows else ())),
        ),
        Section(
            "cost",
            "Cost",
            figures=figures.costs(results),
            tables=(bookkeeping.costs_table(results),),
        ),
        Section("recipe", "Recipe", source=_yaml(results.get("recipe"))),
        Section("machine", "Machine and versions", tables=(bookkeeping.machine_table(results),)),
    ]


def _of_curves(results: Results) -> str:
    """What the lines of the learning curves are."""
    runs = [*entries(results.get("scorers")), *entries(results.get("policies"))]
    parts = ["Coloured lines: training batches."]
    if any(line.get("split") == "dev" for run in runs for line in entries(run.get("curve"))):
        parts.append("Dark dots: held-out dev comparisons.")
    if len({word(run.get("seed")) for run in runs}) > 1:
        parts.append("One line a seed.")
    return " ".join(parts)


def _of_rewards(results: Results) -> str:
    """What the marks among the rewards are."""
    seeds = {word(run.get("seed")) for run in entries(results.get("rewards"))}
    ticks = "; small ticks are single seeds" if len(seeds) > 1 else ""
    parts = [f"Mean reward of each policy's samples on held-out prompts, with its interval{ticks}."]
    if trained_with(results):
        parts.append(
            "Hollow dots: the policy was trained with this very scorer, or one of the same start, so its reward is no "
            "independent evidence."
        )
    return " ".join(parts)


# --- samples and texts -----------------------------------------------------------------------------------------------


def _samples(results: Results) -> tuple[Sample, ...]:
    found = []
    for sample in entries(results.get("samples")):
        responses, rewards = mapping(sample.get("responses")), mapping(sample.get("rewards"))
        best: dict[str, float] = {}
        for policy in responses:
            for scorer, value in mapping(rewards.get(policy)).items():
                best[scorer] = max(best.get(scorer, number(value)), number(value))
        shown = []
        for policy, text in responses.items():
            grades = tuple(
                (
                    str(scorer),
                    real(number(value)),
                    len(responses) > 1 and number(value) == best[scorer],
                )
                for scorer, value in mapping(rewards.get(policy)).items()
            )
            shown.append(Response(str(policy), clip(text), grades))
        found.append(Sample(clip(sample.get("prompt")), tuple(shown)))
    return tuple(found)


def clip(value: Any, most: int = CLIP) -> Clip:
    """Cut a text longer than `most` characters at the last space before it; a little over is shown
    whole."""
    text = "" if value is None else str(value)
    if not text.strip():
        return Clip("(empty)")
    if len(text) <= most + most // 4:
        return Clip(text)
    space = text.rfind(" ", most // 2, most)
    cut = space if space > 0 else most
    return Clip(text[:cut], text[cut:])


def _subtitle(results: Results) -> str:
    parts = [f"rewarddiff {results['version']}" if results.get("version") else "rewarddiff"]
    if results.get("created"):
        parts.append(str(results["created"]))
    test = mapping(mapping(mapping(results.get("data")).get("splits")).get("test"))
    if (size := number(test.get("comparisons"))) == size:
        parts.append(f"{count(size)} test comparisons")
    return " · ".join(parts)


def _yaml(recipe: Any) -> str:
    if not recipe:
        return ""
    import yaml

    try:
        return str(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100))
    except yaml.YAMLError:  # a value YAML has no plain form for, such as a Path
        return json.dumps(recipe, indent=2, ensure_ascii=False, default=str)


def write(path: Path, text: str) -> None:
    """Write beside the target and rename: readers see the old file or the new one, never half of
    it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(text.encode("utf-8", "replace"))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
