"""A baseline: how hard the prompts are, on one page and on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewarddiff.chat_template import as_they_stand
from rewarddiff.records import Prompt, prompt_text
from rewarddiff.report import plots
from rewarddiff.report.cells import Table, texts
from rewarddiff.report.charts import Sheet
from rewarddiff.report.document import (
    Grade,
    Page,
    Response,
    Sample,
    Section,
    clip,
    clip_end,
    write,
)
from rewarddiff.report.figures import Drawing
from rewarddiff.report.svg import SERIES, draw
from rewarddiff.report.text import terminal_page
from rewarddiff.report.values import bounds, count, percent, real
from rewarddiff.results import Distribution, Histogram, Interval
from rewarddiff.rewards.difficulty import variance_left
from rewarddiff.version import __version__
from rewarddiff.writing import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group

QUANTILES = {"0.05": "5 %", "0.25": "25 %", "0.5": "median", "0.75": "75 %", "0.95": "95 %"}


@dataclass(frozen=True)
class PromptExample:
    """A prompt with its stored responses, `scores` and `ended` one for each."""

    prompt: Prompt
    responses: tuple[str, ...]
    scores: tuple[float, ...]
    ended: tuple[bool, ...]
    mean: float
    spread: float


@dataclass(frozen=True, kw_only=True)
class BaselineSummary:
    """What a baseline says of its prompts.

    Attributes:
        data, model, scorer: as they were named.
        k: responses to each prompt.
        cut, empty, unscored: how many responses did not end, have no text, have no score.
        untemplated: prompts that are texts, though the model has a chat template.
        means, spreads: of prompts, by quantiles; empty of a scorer that scores no response alone.
        histograms: of the same two.
        between: share of the variance of r that lies between prompts; unknown with one response each.
        hardest, easiest: prompts with the lowest and the highest mean.
    """

    data: str
    model: str
    scorer: str
    prompts: int
    k: int
    cut: int
    empty: int
    unscored: int
    means: Distribution | None
    spreads: Distribution | None
    histograms: tuple[Histogram, ...]
    between: Interval
    hardest: tuple[PromptExample, ...]
    easiest: tuple[PromptExample, ...]
    untemplated: int = 0


@dataclass(frozen=True)
class PromptHistogram:
    """How many prompts have which value of one quantity."""

    histogram: Histogram
    axis: str

    def svg(self, label: str) -> str:
        from matplotlib.ticker import MaxNLocator

        def paint(figure: Figure) -> None:
            axes = plots.only_axes(figure, "y")
            axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
            edges = list(self.histogram.edges)
            axes.stairs(list(self.histogram.counts), edges, fill=True, color=SERIES[0])
            axes.set_xlabel(self.axis)
            axes.set_ylabel("prompts")

        return draw(200, label, paint)

    def sheet(self) -> Sheet:
        edges = self.histogram.edges
        bins = zip(edges, edges[1:], self.histogram.counts, strict=False)
        return Sheet(("from", "to", "prompts"), tuple(bins))


def render_baseline(path: Path, summary: BaselineSummary) -> None:
    """Write the page, with a CSV file for every figure in a folder beside it."""
    sections = [
        Section(
            "difficulty",
            "How hard the prompts are",
            intro="The mean score of the stored responses to a prompt is what a contrastive reward "
            "takes off; how far they lie apart says how sure that mean is.",
            figures=_figures(summary),
            tables=(distribution_table(summary),),
        ),
        Section("hardest", "Hardest prompts", samples=_samples(summary.hardest)),
        Section("easiest", "Easiest prompts", samples=_samples(summary.easiest)),
    ]
    subtitle = f"rewarddiff {__version__} · {summary.data} · {summary.model} · {summary.scorer}"
    page = Page("Baseline", subtitle, verdict(summary), sections, remarks=tuple(remarks(summary)))
    write(path, page, figures=f"{path.stem}-figures")


def terminal_baseline(summary: BaselineSummary) -> Group:
    """Return the verdict and the table as one rich renderable."""
    return terminal_page(verdict(summary), remarks(summary), (distribution_table(summary),))


def verdict(summary: BaselineSummary) -> str:
    """Say what was drawn, and how much of the scores' variance a baseline leaves."""
    responses = counted(summary.k, "response", count)
    drawn = f"{responses} of {summary.model} to each of {counted(summary.prompts, 'prompt', count)}"
    if summary.means is None:
        return (
            f"{drawn}, without scores: {summary.scorer} scores no response by itself. Use them for "
            "rewards by difference (contrastive_difference)."
        )
    if not summary.between.known:
        return f"{drawn}, scored by {summary.scorer}."
    return f"{drawn}, scored by {summary.scorer}. {_variance(summary.between, summary.k)}"


def _variance(between: Interval, k: int) -> str:
    """Say what lies between prompts, and what is left where the mean of k responses is taken off."""
    left = variance_left(between.value, k)
    ends = bounds(between, percent)
    share = f"{percent(between.value)} {ends}".strip()
    effect = "rewards get steadier"
    if left > 1:
        effect = f"noise is added, as with any share below 1/(k + 1) = {percent(1 / (k + 1))}"
    return (
        f"{share} of the variance of the scores lies between prompts. Taking the mean of k = {k} off "
        f"leaves (1 − share)(1 + 1/k) = {percent(left)} of the variance: {effect}."
    )


def remarks(summary: BaselineSummary) -> list[str]:
    """Say what limits the baseline: responses that were cut, are empty, or have no score."""
    total = summary.prompts * summary.k
    said = []
    for what, number in (
        ("Without a finite score, and left out of every mean", summary.unscored),
        ("Cut by max_new_tokens before their end", summary.cut),
        ("Empty", summary.empty),
    ):
        if number:
            said.append(f"{what}: {count(number)} of {count(total)} responses.")
    if summary.untemplated:
        said.append(as_they_stand(summary.untemplated, "row"))
    if summary.means is not None and summary.k == 1:
        said.append("With k = 1 nothing is known of the spread within a prompt.")
    return said


def distribution_table(summary: BaselineSummary) -> Table:
    """Return quantiles over prompts of the mean, and of the spread within a prompt."""
    rows = []
    for name, values in (
        ("mean of a prompt", summary.means),
        ("spread within a prompt", summary.spreads),
    ):
        if values is not None and math.isfinite(values.mean):
            quantiles = [real(values.quantiles[share]) for share in QUANTILES]
            rows.append(texts(name, real(values.mean), real(values.std), *quantiles))
    return Table(
        "Scores of the stored responses, over prompts",
        ("", "mean", "std", *QUANTILES.values()),
        tuple(rows),
        notes=("Spread: the standard deviation of the scores of one prompt, with n − 1.",),
    )


def _figures(summary: BaselineSummary) -> tuple[Drawing, ...]:
    drawn = []
    for histogram, title, axis in zip(
        summary.histograms,
        ("Means of prompts", "Spreads within prompts"),
        ("mean score of the responses to a prompt", "standard deviation within a prompt"),
        strict=False,
    ):
        if sum(histogram.counts):
            chart = PromptHistogram(histogram, axis)
            drawn.append(Drawing(title, f"Prompts by {axis}.", chart, f"{title}: a histogram"))
    return tuple(drawn)


def _samples(examples: Sequence[PromptExample]) -> tuple[Sample, ...]:
    samples = []
    for number, example in enumerate(examples, start=1):
        title = f"{number} · mean {real(example.mean)} · spread {real(example.spread)}"
        prompt = clip_end(prompt_text(example.prompt).strip())
        samples.append(Sample(prompt, tuple(_responses(example)), title))
    return tuple(samples)


def _responses(example: PromptExample) -> list[Response]:
    best = max((score for score in example.scores if math.isfinite(score)), default=math.nan)
    responses = []
    for number, text in enumerate(example.responses):
        score = example.scores[number]
        ending = "" if example.ended[number] else ", cut"
        grade = Grade("score", real(score), score == best)
        responses.append(Response(f"response {number + 1}{ending}", clip(text), (grade,)))
    return responses
