"""Results → one self-contained page: no script, nothing fetched, every text escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from rewarddiff import files
from rewarddiff.report import bookkeeping, figures, policy_tables, scorer_tables
from rewarddiff.report.cells import Table
from rewarddiff.report.figures import Drawing
from rewarddiff.report.slices import slices_tables
from rewarddiff.report.statements import head, trained_with
from rewarddiff.report.summary import overview
from rewarddiff.report.values import count, real
from rewarddiff.results import PolicyResult, PromptSamples, Results, ScorerResult, Settings
from rewarddiff.writing import printable

CLIP = 600  # characters of a sample shown at once


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
    """A prompt with its responses; without a title it is numbered."""

    prompt: Clip
    responses: tuple[Response, ...]
    title: str = ""


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
    """
    path = folder / "report.html"
    write(path, page(results))
    return path


def page(results: Results) -> str:
    """Return the page as text."""
    first = head(results)
    parts = [f"rewarddiff {results.version}", results.created]
    test = results.data.splits.get("test")
    if test is not None:
        parts.append(f"{count(test.comparisons)} test comparisons")
    return compose(
        results.name,
        " · ".join(parts),
        first.result,
        sections(results),
        remarks=first.limits,
        further=first.further,
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
    """Return a page of sections under a verdict and what limits it; `further` is folded."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        # Markup is what this package wrote, or a sample's text in a block of its own, which may use
        # marks of direction.
        if isinstance(value, str) and not isinstance(value, Markup):
            return printable(value)
        return value

    environment = Environment(
        loader=PackageLoader("rewarddiff.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        finalize=shown,
    )
    return environment.get_template("report.html").render(
        title=title,
        subtitle=subtitle,
        verdict=verdict,
        remarks=remarks,
        further=further,
        css=Markup(_css()),
        sections=[section for section in sections if not section.bare],
    )


def write(path: Path, text: str) -> None:
    """Write a page; halves of pairs, which no encoding can write, become question marks."""
    files.write_bytes(path, text.encode("utf-8", "replace"))


def picture(svg: str) -> str:
    """Return a figure as a file of its own, which brings the page's colours with it."""
    colours = _css().partition("\n* {")[0]
    style = f"<style>{colours} text {{ fill: var(--ink); }}</style>"
    attributes = 'font-family="system-ui, sans-serif" stroke-linejoin="round"'
    opened, closed, drawn = svg.removeprefix("<svg").partition(">")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}'
    return f"{head}{opened}{closed}{style}{drawn}\n"


def _css() -> str:
    return (resources("rewarddiff.report") / "templates" / "report.css").read_text("utf-8")


# --- sections -------------------------------------------------------------------------------------


def sections(results: Results) -> list[Section]:
    """Return the page's parts, in reading order."""
    return [
        Section("summary", "Summary", tables=tuple(overview(results))),
        *_of_scorers(results),
        Section(
            "curves",
            "Learning curves",
            intro=_curves_intro(results),
            figures=figures.curves(results),
        ),
        *_of_policies(results),
        Section(
            "data",
            "Data",
            intro="Every row that was dropped or changed is counted, by reason.",
            tables=(bookkeeping.data_table(results), bookkeeping.ledger_table(results)),
        ),
        _coefficients(results),
        Section(
            "cost",
            "Cost",
            figures=figures.costs(results),
            tables=(bookkeeping.costs_table(results),),
        ),
        Section("recipe", "Recipe", source=_yaml(results.recipe)),
        Section("machine", "Machine and versions", tables=(bookkeeping.machine_table(results),)),
    ]


def _of_scorers(results: Results) -> list[Section]:
    return [
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
            tables=(scorer_tables.strength_table(results),),
        ),
        Section(
            "slices",
            "Where scorers are right",
            intro="By which response is longer, by part of the collection, and how far rewards of "
            "chosen and rejected responses lie apart; every score is counted.",
            figures=figures.reward_histograms(results),
            tables=tuple(slices_tables(results)),
        ),
    ]


def _of_policies(results: Results) -> list[Section]:
    return [
        Section(
            "rewards",
            "Rewards",
            intro=_rewards_intro(results),
            figures=figures.rewards(results),
        ),
        Section(
            "contrasts",
            "Head to head",
            intro="Both policies answer the same prompts; the higher reward wins.",
            figures=figures.contrasts(results),
            tables=(policy_tables.contrasts_table(results),),
        ),
        Section(
            "samples",
            "Samples side by side",
            intro="The highest reward under each scorer is in bold.",
            samples=tuple(map(_sample, results.samples)),
        ),
    ]


def _coefficients(results: Results) -> Section:
    intro = "What each comparison's loss was multiplied by"
    tables = [policy_tables.coefficients_table(results)]
    if results.orders:
        intro += ", and who put lists in order"
        tables.append(policy_tables.orders_table(results))
    return Section(
        "coefficients",
        "Coefficients",
        intro=f"{intro}.",
        figures=figures.spreads(results),
        tables=tuple(tables),
    )


def _curves_intro(results: Results) -> str:
    """Say what the lines of the learning curves are."""
    runs: list[ScorerResult | PolicyResult] = [*results.scorers, *results.policies]
    sentences = ["Coloured lines: training batches."]
    if any(line["split"] == "dev" for run in runs for line in run.curve):
        sentences.append("Dark dots: held-out dev comparisons.")
    if len({run.seed for run in runs}) > 1:
        sentences.append("One line a seed.")
    return " ".join(sentences)


def _rewards_intro(results: Results) -> str:
    """Say what the marks among the rewards are."""
    intro = "Mean reward of each policy's samples on held-out prompts, with its interval"
    if len({line.seed for line in results.rewards}) > 1:
        intro += "; small ticks are single seeds"
    intro += "."
    if trained_with(results):
        intro += (
            " Hollow dots: the policy was trained with this very scorer, or one of the same start, "
            "so its reward is no independent evidence."
        )
    return intro


# --- samples and texts ----------------------------------------------------------------------------


def _sample(sample: PromptSamples) -> Sample:
    best: dict[str, float] = {}
    for rewards in sample.rewards.values():
        for scorer, reward in rewards.items():
            best[scorer] = max(best.get(scorer, reward), reward)
    responses = []
    for policy, text in sample.responses.items():
        grades = []
        for scorer, reward in sample.rewards[policy].items():
            is_best = len(sample.responses) > 1 and reward == best[scorer]
            grades.append(Grade(scorer, real(reward), is_best))
        responses.append(Response(policy, clip(text), tuple(grades)))
    return Sample(clip(sample.prompt), tuple(responses))


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


def _yaml(recipe: Settings | None) -> str:
    import yaml

    if recipe is None:
        return ""
    return str(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100))
