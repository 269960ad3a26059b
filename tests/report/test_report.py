"""The report: complete, honest, safe to open, the same bytes for the same results."""

import copy
import io
import math
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import report_example as example
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from rewarddiff.report import markdown_tables, render, terminal_table
from rewarddiff.report import page as page_module
from rewarddiff.report.cells import Cell, Table
from rewarddiff.report.page import clip, page
from rewarddiff.report.tables import (
    bins,
    policies_table,
    strength_table,
    summary_tables,
    win_tie_lose,
)
from rewarddiff.report.text import Fitted
from rewarddiff.report.values import count, duration, interval, mean, memory, number, percent, real

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; complains about tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._apart(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        opened = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def _apart(self, tag: str) -> None:
        self.text += " " * (tag in ("td", "th", "tr", "p", "h4", "div"))

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture(scope="module")
def html() -> str:
    return page(example.results())


@pytest.fixture(scope="module")
def parsed(html: str) -> Page:
    return Page(html)


# --- safety ----------------------------------------------------------------------------------------------------------


def test_no_script_and_nothing_fetched(html: str, parsed: Page) -> None:
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "img"} & set(
        parsed.tags
    )
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    links = [
        value
        for name, value in parsed.attributes
        if name in ("href", "src", "xlink:href", "action")
    ]
    assert links
    assert all(value.startswith("#") for value in links)
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_texts_of_people_are_escaped(html: str, parsed: Page) -> None:
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>same</b>" not in html
    assert example.HOSTILE in parsed.text  # the parser gives back what was put in
    assert "49" not in parsed.text.split("{{")[1][:10]  # templates inside samples are not run


def test_hostile_names_stay_text_everywhere() -> None:
    results = example.results(1)
    name = example.HOSTILE
    results["scorers"][0]["name"] = results["summary"]["scorers"][0]["name"] = name
    results["policies"][0]["name"] = results["summary"]["policies"][1]["name"] = name
    results["contrasts"][0] |= {"a": name, "scorer": name}
    results["coefficients"][0]["policy"] = results["costs"][0]["stage"] = name
    results["notes"] = [name]
    html = page(results)
    found = Page(html)
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert not [key for key, _ in found.attributes if key.startswith("on")]
    assert example.HOSTILE in found.text


def test_anchors_and_references_resolve_once(parsed: Page) -> None:
    ids = [value for name, value in parsed.attributes if name == "id"]
    targets = {value[1:] for name, value in parsed.attributes if name == "href"}
    targets |= {
        target for _, value in parsed.attributes for target in re.findall(r"url\(#([^)]*)\)", value)
    }
    assert targets <= set(ids)
    assert len(ids) == len(set(ids))


MARKS = "\u202a\u202e\u2067\u200f"


def test_marks_of_direction_do_not_reach_our_own_words() -> None:
    results = example.results(1)
    name = f"{MARKS}x"
    results["name"] = results["scorers"][0]["name"] = results["summary"]["scorers"][0]["name"] = (
        name
    )
    results["policies"][0]["name"] = results["summary"]["policies"][1]["name"] = name
    results["contrasts"][0] |= {"a": name, "scorer": name}
    results["contrasts"][1] |= {"a": name}
    results["coefficients"][0]["policy"] = results["costs"][0]["stage"] = name
    results["data"]["ledger"]["dropped"]["empty_response"]["examples"][0] |= {
        "source": name,
        "detail": name,
    }
    results["samples"][0]["responses"]["dpo"] = f"a sample may use them: {MARKS}"
    html = page(results)
    outside = re.sub(r'<div class="text" dir="auto">.*?</div>', "", html, flags=re.DOTALL)
    assert not set(MARKS) & set(outside)
    assert html.count(MARKS) == 1
    assert r"\u202a\u202e\u2067\u200fx" in outside


# --- the file --------------------------------------------------------------------------------------------------------


def test_render_writes_one_small_file_of_the_same_bytes(tmp_path: Path) -> None:
    first = render(example.results(), tmp_path / "a" / "new")
    second = render(example.results(), tmp_path / "b")
    assert first == tmp_path / "a" / "new" / "report.html"
    assert [path.name for path in first.parent.iterdir()] == ["report.html"]
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 1_500_000


def test_an_existing_report_survives_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("old")

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(page_module.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        render({}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_long_runs_stay_small(tmp_path: Path) -> None:
    results = example.results(3)
    for run in (*results["scorers"], *results["policies"]):
        run["curve"] = example.curve(0.69, 0.5, 5000, run["seed"])
    results["samples"] *= 20
    assert render(results, tmp_path).stat().st_size < 1_500_000


def test_importing_is_cheap() -> None:
    code = (
        "import sys, rewarddiff.report; "
        "print(sorted({'torch', 'matplotlib', 'jinja2', 'yaml', 'rich', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_lone_surrogate_does_not_stop_the_report(tmp_path: Path) -> None:
    assert r"cut \ud83d" in render({"notes": ["cut \ud83d"]}, tmp_path).read_text("utf-8")


# --- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown",
    [
        # scorers: accuracy 0.709 ± 0.031 and 0.729 ± 0.031, longer wins 0.561 ± 0.047
        "70.9 % [67.8, 74.0]", "72.9 % [69.8, 76.0]", "56.1 % [51.4, 60.8]",
        "0.34",  # Spearman 0.337
        "6.3 %",  # ECE: mean of 0.0613 and 0.0643 over the seeds is 0.0628
        "1.274", "2.9 %", "8.0 %",  # temperature, tempered ECE 0.0287, asymmetry 0.0803
        # policies: reward of dpo 0.153 + 0.025 ± 0.11; dpo+difference under the scorer it was
        # trained with
        "0.178 [0.068, 0.288]", "0.402† [0.292, 0.512]",
        # samples of the seeds: (24 + 48) of 480 unfinished, (31 + 32) / 2 words; nothing is known
        # of the base model's
        "15.0 % 31.5", "– – dpo",
        # head to head: 0.241 − 0.153 ± 0.121; 0.377 − 0.094 ± 0.121
        "0.088 [−0.033, 0.209]", "52.7 % 4.3 % 43.0 % no difference", "0.283 [0.162, 0.404]",
        "≥ 3", "94.1 %", "n = 212",
        "dpo+difference against dpo",
        "reward −1.204", "difference −0.881",
        "train.jsonl:104", "identical responses dropped 29", "3 120 rows: 3 088 kept, 32 dropped.",
        "1 312 2 400",
        "41.2 %", "28.7 % negative",
        "32 min 05 s", "5 204 331", "5.03 GiB",  # 1925 s; 5.4e9 / 2^30
        "Example CPU @ 2.0 GHz", "2.13.0", "7.45 GiB", "2025-03-02T10:11:12+00:00",
        "Weighting DPO by differences", "Samples are greedy",
        "source: demo",
    ],
)  # fmt: skip
def test_values_appear(parsed: Page, shown: str) -> None:
    assert shown in parsed.words


def test_where_scorers_are_right(parsed: Page) -> None:
    assert "better is shorter better is longer best of list first" in parsed.words
    assert "64.1 % [57.1, 71.1] 77.8 % [72.8, 82.8] 51.2 % [25.0 %]" in parsed.words
    assert "428 chosen, 428 rejected responses" in parsed.words
    assert "maths 62.5 % [53.5, 71.5] n = 128" in parsed.words
    assert "mean of the parts 68.8 % 68.8 %" in parsed.words
    assert "reward 0 chat 76.7 % [71.7, 81.7] n = 300 75.2 % [70.2, 80.2] n = 300" in parsed.words


def test_reading_order(parsed: Page) -> None:
    ids = [value for name, value in parsed.attributes if name == "id"]
    order = [
        "summary", "strength", "calibration", "slices", "curves", "rewards", "contrasts",
        "samples", "data", "coefficients", "cost", "recipe", "machine",
    ]  # fmt: skip
    assert [name for name in ids if name in order] == order


def test_every_section_has_its_figures(html: str) -> None:
    parts = dict(zip(*[iter(re.split(r'<section id="(\w+)">', html)[1:])] * 2, strict=True))
    assert {key: part.count("<svg") for key, part in parts.items()} == {
        "summary": 0,
        "strength": 1,  # both weighted policies use the same differences
        "calibration": 4,  # two scorers, by |d| and by stated strength
        "slices": 1,  # the reward model's scores; a difference model has none
        "curves": 5,
        "rewards": 2,
        "contrasts": 2,
        "samples": 0,
        "data": 0,
        "coefficients": 2,
        "cost": 1,
        "recipe": 0,
        "machine": 0,
    }


def test_figures_carry_their_numbers_for_those_who_do_not_see_them(parsed: Page) -> None:
    labels = [value for name, value in parsed.attributes if name == "aria-label"]
    assert any("Accuracy by |d|, reward: 0–1: 57.4 %, 1–2: 71.7 %" in label for label in labels)


def test_accuracy_by_ranges_of_its_own_is_a_row_each() -> None:
    """Scorers whose |d| is cut at quartiles have no range in common, so ranges are no columns."""
    results = example.results(1)
    assert strength_table(results).columns == ("scorer", "seed", "0–1", "1–2", "2–3", "≥ 3")
    quarters = [(0, 0.018), (0.018, 0.026), (0.026, None)]
    results["scorers"][1]["evaluation"]["by_bin"] = [
        {"low": low, "high": high, "accuracy": example.share(0.75, 40)} for low, high in quarters
    ]
    table = strength_table(results)
    assert table.columns == ("scorer", "seed", "|d|", "accuracy")
    ranges = [[cell.text for cell in row[:3]] for row in table.rows]
    assert ranges[:4] == [["reward", "0", name] for name in ("0–1", "1–2", "2–3", "≥ 3")]
    assert ranges[4:] == [
        ["difference", "0", name] for name in ("0–0.018", "0.018–0.026", "≥ 0.026")
    ]


def test_held_out_histograms_are_preferred() -> None:
    results = example.results(1)
    for run in results["scorers"]:
        run["evaluation"]["histogram"] = {"edges": [-1, 0, 1], "counts": [30, 70], "negative": 0.3}
    words = Page(page(results)).words
    assert words.count("100 held-out comparisons; 30.0 % negative") == 2
    assert "training comparisons" not in words


def test_runs_without_a_summary_are_listed_one_by_one() -> None:
    results = example.without(example.results(2), "summary")
    assert [str(row[0]) for row in policies_table(results).rows][:3] == [
        "base (seed 0)",
        "base (seed 1)",
        "dpo (seed 0)",
    ]
    assert [str(cell) for cell in policies_table(results).rows[3][-2:]] == [
        "20.0 %",
        "32.0",
    ]  # seed 1 of dpo alone
    marked = {
        str(row[0]): row[2].mark for row in policies_table(results).rows
    }  # of seeds nothing is known
    assert marked["dpo+difference (seed 1)"] == "†"
    assert marked["dpo (seed 0)"] == ""


def test_long_texts_are_folded() -> None:
    text = "word " * 1000
    folded = clip(text)
    assert folded.head + folded.tail == text
    assert len(folded.head) <= 600
    assert clip("short").tail == ""
    assert clip("x" * 700).tail == ""  # a little over is shown whole
    assert clip(" \n").head == "(empty)"
    assert clip(None).head == "(empty)"


# --- gaps in the results ---------------------------------------------------------------------------------------------

SECTIONS = [key for key in example.results(1) if key != "schema"]


def test_nothing_at_all() -> None:
    found = Page(page({}))
    assert not {"svg", "table", "section"} & set(found.tags)
    assert "Nothing was recorded." in found.words
    assert "nan" not in found.words.lower()
    assert "None" not in found.words


@pytest.mark.parametrize(
    "missing", [*SECTIONS, ("data", "ledger"), ("summary", "policies"), ("summary", "scorers")]
)
def test_any_section_may_be_missing(
    missing: str | tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rewarddiff.report.plots._draw", lambda *_: "")
    path = (missing,) if isinstance(missing, str) else missing
    Page(page(example.without(example.results(1), *path)))
    markdown_tables(example.without(example.results(1), *path))


def test_one_scorer_and_no_policy() -> None:
    results = {"name": "small", "scorers": example.results(1)["scorers"][:1]}
    words = Page(page(results)).words
    assert "71.4 % [67.1, 75.7]" in words  # straight from its evaluation: 0.714 ± 0.043
    assert not re.search(
        r"(?i)polic|reward of|\bno\b|samples|seeds and", words.replace("no independent", "")
    )


def blank(value: Any, gap: Any) -> Any:
    """The same shape with every number replaced."""
    if isinstance(value, dict):
        return {key: blank(inner, gap) for key, inner in value.items()}
    if isinstance(value, list):
        return [blank(inner, gap) for inner in value]
    return gap if isinstance(value, (int, float)) and not isinstance(value, bool) else value


@pytest.mark.parametrize("gap", [math.nan, math.inf, -math.inf, None, "?"])
def test_figures_without_data_are_dashes(gap: Any) -> None:
    results = example.without(blank(example.results(1), gap), "recipe")  # shown as it is
    words = Page(page(results)).words
    assert "–" in words
    assert not re.search(r"\b(nan|inf)\b", words.lower())


@pytest.mark.parametrize("number", [0, 0.0, -1, 10**12])
def test_odd_numbers(number: float) -> None:
    Page(page(blank(example.results(1), number)))


def test_a_minus_is_a_minus_everywhere() -> None:
    results = blank(example.without(example.results(1), "recipe"), -1.5)
    for run in results["rewards"]:
        run["mean"] = {"value": -0.7, "low": -1.2, "high": -0.1}
    results["contrasts"][0]["unequal"] = [{"key": "k", "a": -1e-6, "b": -2}]
    html = page(results)
    console = Console(width=300, file=io.StringIO())
    console.print(terminal_table(results))
    console.print(terminal_table(example.results()))
    outside = re.sub(
        r'<style>.*?</style>|<div class="text".*?</div>|2025-03-02T10:11:12\+00:00',
        "",
        html,
        flags=re.DOTALL,
    )
    texts = re.findall(r">([^<]*)<", outside) + re.findall(r'aria-label="([^"]*)"', outside)
    texts.append(console.file.getvalue())  # type: ignore[attr-defined]
    assert not [text for text in texts if re.search(r"(?<![\w.])[-–]\d", text)]
    assert "−1.500" in " ".join(texts)


def test_a_policy_has_one_colour_in_all_figures() -> None:
    from rewarddiff.report import figures

    results = example.results()
    curves = {
        drawing.title: set(re.findall(r"--series-\d", drawing.svg))
        for drawing in figures.curves(results)
    }
    assert all(len(found) == 1 for found in curves.values())
    assert len(set.union(*curves.values())) == 5  # two scorers and three policies, each its own
    only = copy.deepcopy(results)
    only["coefficients"] = [run for run in only["coefficients"] if run["policy"] == "dpo+shuffled"]
    for drawing in figures.spreads(only):
        assert set(re.findall(r"--series-\d", drawing.svg)) == curves["dpo+shuffled"]
    for drawing in figures.accuracies(results):
        assert (
            set(re.findall(r"--series-\d", drawing.svg)) == curves[drawing.title.partition(",")[0]]
        )
    rewards = figures.rewards(results)[0].svg
    for policy in ("dpo", "dpo+difference", "dpo+shuffled"):
        assert curves[policy] < set(re.findall(r"--series-\d", rewards))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:2])
        if isinstance(value, list)
        else ()
    )
    return [found for key, inner in items for found in [(*path, key), *places(inner, (*path, key))]]


@given(
    st.lists(st.sampled_from(places(example.results(1))), min_size=1, max_size=4),
    st.sampled_from([None, math.nan, [], {}, "text", 3, [None], {"value": None}, True]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_broken_the_page_is_whole(
    monkeypatch: pytest.MonkeyPatch, paths: Any, value: Any
) -> None:
    monkeypatch.setattr("rewarddiff.report.plots._draw", lambda *_: "")
    results: Any = copy.deepcopy(example.results(1))
    for *way, last in paths:
        inner = results
        for key in way:
            known = key in (
                inner
                if isinstance(inner, dict)
                else range(len(inner))
                if isinstance(inner, list)
                else ()
            )
            inner = inner[key] if known else None
        if isinstance(inner, dict) or (isinstance(inner, list) and last in range(len(inner))):
            inner[last] = value
    Page(page(results))
    markdown_tables(results)


# --- text ------------------------------------------------------------------------------------------------------------


def test_markdown() -> None:
    results = example.results()
    results["summary"]["scorers"][0]["name"] = "a|b\nc"
    text = markdown_tables(results)
    assert text.startswith(
        "dpo+difference against dpo, by a scorer without a part in their training: reward +0.088"
    )
    assert (
        "The scorer with a part in it says otherwise: difference +0.283 [0.162, 0.404], higher."
        in text
    )
    assert "| a\\|b c | reward | 2 | 70.9 % [67.8, 74.0] |" in text
    assert "| dpo+difference | 2 | 0.266 [0.156, 0.376] | 0.402† [0.292, 0.512] |" in text
    assert "† the scorer this policy was trained with" in text
    for block in text.split("\n\n"):  # every table: as many cells in each row as in its head
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) <= 1
    assert markdown_tables({}) == "Nothing was recorded.\n"


def test_terminal() -> None:
    results = example.results()
    for contrast in results["contrasts"]:
        contrast["a"] = "[red]not markup[/red]"
    results["summary"]["scorers"][0]["name"] = "[bold]x\x1b[0m"
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(terminal_table(results))
    text = " ".join(console.export_text().split())
    assert "[red]not markup[/red]" in text
    assert r"[bold]x\x1b[0m" in text
    assert "70.9 % [67.8, 74.0]" in text
    assert "0.402† [0.292, 0.512]" in text
    console.print(terminal_table({}))
    assert console.export_text().split() == ["Nothing", "was", "recorded."]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_figure_is_lost_on_a_narrow_terminal(width: int) -> None:
    results = example.results()
    results["contrasts"][0]["unequal"] = [{"key": "train.lr", "a": 1e-6, "b": 5e-6}]
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_table(results))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    shown = Counter(re.findall(r"[−+\d.,\u202f]*\d(?: %)?[†]?", text))
    wanted: Counter[str] = Counter()
    for table in summary_tables(results):
        for row in table.rows:
            for cell in row[
                1:
            ]:  # the first column stands again beside the columns that had no room
                wanted += Counter(re.findall(r"[−+\d.,\u202f]*\d(?: %)?[†]?", str(cell)))
    assert not wanted - shown
    for table in summary_tables(results):
        for row in table.rows:
            assert all(cell.minor in text for cell in row)  # an interval is never broken


@given(
    st.lists(
        st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=60),
        min_size=2,
        max_size=7,
    ),
    st.sampled_from([60, 80, 120]),
)
def test_every_cell_is_whole_or_folded_at_any_width(texts: list[str], width: int) -> None:
    table = Table("t", tuple(f"c{i}" for i in range(len(texts))), (tuple(map(Cell, texts)),) * 2)
    console = Console(width=width, file=io.StringIO())
    console.print(Fitted(table))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    for column, cell in enumerate(texts[1:], 1):
        assert f"c{column}" in text
        if len(cell) < width // 2 - 2:  # with half of the width for the first column: in one piece
            assert cell in text
    assert Counter("".join(texts)) <= Counter(text)


# --- values ----------------------------------------------------------------------------------------------------------


def test_reading_values() -> None:
    assert number({"value": 2}) == 2.0
    for absent in (None, True, "3", math.inf, math.nan, {}, []):
        assert math.isnan(number(absent))
    assert interval({"value": 1, "low": 0.5, "high": 2, "n": 7}).excludes_zero
    assert not interval(
        {"value": 1, "low": 0.0, "high": 2}
    ).excludes_zero  # touching zero is not excluding it
    assert not interval(1.0).excludes_zero
    assert mean([1.0, math.nan, 3.0]) == 2.0
    assert math.isnan(mean([]))


def test_writing_values() -> None:
    assert [real(x) for x in (1.2344, -12.345, 1234.56, 0.0, 0.00001234, math.nan)] == [
        "1.234", "−12.35", "1234.6", "0.000", "1.2e−05", "–",
    ]  # fmt: skip
    assert [percent(x) for x in (0.7154, math.nan)] == ["71.5 %", "–"]
    assert [count(x) for x in (1234567.0, 12.0, math.nan)] == ["1\u202f234\u202f567", "12", "–"]
    # 6180 s = 1 h 43 min; 59.6 s rounds within its unit; 245 s = 4 min 5 s
    assert [duration(x) for x in (0.424, 6.18, 42.4, 245.0, 6180.0)] == [
        "0.42 s", "6.2 s", "42 s", "4 min 05 s", "1 h 43 min",
    ]  # fmt: skip
    assert [memory(x) for x in (512, 3 * 2**20, 1.5 * 2**30)] == ["512 B", "3 MiB", "1.50 GiB"]


def test_win_tie_lose_from_shares_or_counts() -> None:
    assert win_tie_lose({"win": 30, "tie": 10, "lose": 10}) == pytest.approx((0.6, 0.2, 0.2))
    assert win_tie_lose({"win": 0.5, "tie": 0.1, "lose": 0.4}) == pytest.approx((0.5, 0.1, 0.4))
    assert all(math.isnan(share) for share in win_tie_lose({"win": 0, "tie": 0, "lose": 0}))


def test_names_of_ranges() -> None:
    entries = [
        {"low": 0, "high": 1},
        {"low": 3, "high": None},
        {"low": 2, "high": 2},
        {"low": 0.5, "high": 1.25},
    ]
    assert [label for label, _ in bins({"by_bin": entries})] == ["0–1", "≥ 3", "2", "0.5–1.25"]
