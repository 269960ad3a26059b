"""Every figure as CSV: the numbers that are drawn, under names that are safe, beside the page."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import report_example as example
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.report import document, render
from rewarddiff.report.charts import Chart, Sheet, file_names
from rewarddiff.report.page import document as document_of
from rewarddiff.results import Results


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def everything() -> Results:
    return replace(example.results(), judges=example.judges())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(everything(), tmp_path_factory.mktemp("run")).parent


def test_every_figure_has_a_file_and_a_link(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    links = re.findall(r'<a href="(figures/[^"]*)">', text)
    assert len(links) == text.count("<svg") == len(set(links))
    assert {str(path.relative_to(folder)) for path in (folder / "figures").iterdir()} == set(links)
    for link in links:
        rows = rows_of(folder / link)
        assert rows
        assert all(None not in row and None not in row.values() for row in rows)


def test_files_hold_what_results_hold(folder: Path) -> None:
    results = everything()
    gaps = rows_of(folder / "figures" / "first-screen.csv")
    # Win rates stand there as they are: gpt on the first pair, 0.46 + 0.24/2 = 0.58.
    (rate,) = [
        row
        for row in gaps
        if row["by"] == "gpt" and row["compared"] == "dpo+difference against dpo"
    ]
    assert float(rate["value"]) == pytest.approx(0.58)
    assert rate["independent"] == "yes"
    rewards = rows_of(folder / "figures" / "rewards-under-difference.csv")
    assert [row["name"] for row in rewards] == ["base", *example.POLICIES]
    assert [row["independent"] for row in rewards] == ["yes", "yes", "no", "no"]
    assert float(rewards[1]["value"]) == pytest.approx(0.094 + 0.025)
    counts = rows_of(folder / "figures" / "distributions-rewards-by-reward.csv")
    shown = [
        line for line in results.reward_distributions if line.seed == 0 and line.scorer == "reward"
    ]
    assert sum(int(row["responses"]) for row in counts) == sum(
        sum(line.histogram.counts) for line in shown
    )
    # A curve's points are all there, also where the drawing has means over stretches of steps.
    steps = [
        row for row in rows_of(folder / "figures" / "curves-dpo.csv") if row["metric"] == "loss"
    ]
    assert sum(row["split"] == "train" for row in steps) == 2 * 300
    costs = rows_of(folder / "figures" / "cost-where-the-time-went.csv")
    assert [float(row["seconds"]) for row in costs] == [stage[1] for stage in example.STAGES]


@pytest.mark.parametrize(
    ("name", "drawing"), document_of(everything()).drawings(), ids=lambda value: str(value)[:30]
)
def test_what_is_drawn_is_what_is_written(name: str, drawing: document.Drawing) -> None:
    """A chart whose sheet changes draws something else: both come from the same rows."""
    chart: Chart = drawing.chart
    sheet = chart.sheet()
    assert all(len(row) == len(sheet.columns) for row in sheet.rows)
    named = {str(entry) for row in sheet.rows for entry in row if isinstance(entry, str)}
    texts = set(re.findall(r">([^<>]+)</text>", drawing.svg))
    names = {text for text in texts if text in {"gpt", "qwen", "base", "dpo", "majority"}}
    assert names <= named | {text.split(",")[0] for text in named}


def test_an_unknown_figure_is_an_empty_field_and_no_formula_runs() -> None:
    sheet = Sheet(("a", "b"), (("=1+1", math.nan), ('x,"y"\nz', 0.1), ("@sum", math.inf)))
    text = sheet.csv()
    assert text.splitlines()[1] == "'=1+1,"
    assert list(csv.reader(text.splitlines(keepends=True)))[2] == ['x,"y"\nz', "0.1"]
    assert "'@sum," in text


@given(st.lists(st.text(max_size=90), max_size=12))
def test_names_of_files_are_plain_and_no_two_alike(titles: list[str]) -> None:
    names = file_names(titles)
    assert len(set(names)) == len(titles)
    assert all(re.fullmatch(r"[a-z0-9-]{1,70}", name) for name in names)


def test_figures_that_are_gone_leave_no_file_and_others_stay(tmp_path: Path) -> None:
    results = example.results(1)
    some = replace(example.empty(), costs=results.costs, policies=results.policies[:1])
    render(some, tmp_path)
    own = tmp_path / "figures" / "of-somebody-else.csv"
    own.write_text("a\n")
    render(replace(some, policies=()), tmp_path)
    left = {path.name for path in (tmp_path / "figures").iterdir()}
    assert left == {"cost-where-the-time-went.csv", own.name}


# --- a page of their own --------------------------------------------------------------------------


def test_samples_of_a_large_report_have_a_page_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = replace(example.empty(), samples=example.SAMPLES, cases=example.CASES)
    small = render(results, tmp_path).stat().st_size
    assert not (tmp_path / "samples.html").exists()
    many = replace(results, samples=results.samples * 200)
    monkeypatch.setattr(document, "LARGE", small + 100_000)
    text = render(many, tmp_path).read_text()
    assert len(text) < small + 100_000
    assert '<a href="samples.html#samples">' in text
    assert "<article" not in text
    beside = (tmp_path / "samples.html").read_text()
    assert beside.count("<article") == 400 + len(results.cases)
    assert 'id="samples-400"' in beside
    assert "default-src 'none'" in beside
    # What is small again needs no second page.
    render(results, tmp_path)
    assert not (tmp_path / "samples.html").exists()
