"""The report: complete, honest, safe to open, the same bytes for the same results."""

import io
import math
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import report_example as example
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rewarddiff import files
from rewarddiff.report import figures, render, terminal_table
from rewarddiff.report.cells import Cell, Table
from rewarddiff.report.document import clip
from rewarddiff.report.page import page
from rewarddiff.report.policy_tables import contrasts_table, policies_table
from rewarddiff.report.scorer_tables import labelled, strength_table
from rewarddiff.report.summary import summary_tables
from rewarddiff.report.text import Fitted, markdown_page
from rewarddiff.report.values import count, duration, mean, memory, percent, real, shortened
from rewarddiff.results import UNKNOWN, Bin, Histogram, Interval, Results, Unequal, plain, read

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
    # To a part of the page, or to the numbers of a figure beside it.
    assert all(re.fullmatch(r"#.*|figures/[a-z0-9-]+\.csv", value) for value in links)
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_texts_of_people_are_escaped(html: str, parsed: Page) -> None:
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>same</b>" not in html
    assert example.HOSTILE in parsed.text  # the parser gives back what was put in
    assert "49" not in parsed.text.split("{{")[1][:10]  # templates inside samples are not run


def renamed(name: str) -> Results:
    """Results in which a scorer, a policy, a stage and a place have this name."""
    values = plain(example.results(1))
    values["name"] = values["scorers"][0]["name"] = values["summary"]["scorers"][0]["name"] = name
    values["contrasts"][0] |= {"a": name, "scorer": name}
    values["contrasts"][1] |= {"a": name}
    values["costs"][0]["stage"] = name
    places = values["data"]["ledger"]["dropped"]["empty_response"]["examples"]
    places[0] |= {"source": name, "detail": name}
    values["notes"] = [name]
    for policy in (values["policies"][1], values["summary"]["policies"][2]):
        policy["name"] = name
    for line in values["rewards"] + values["coefficients"]:
        if line["policy"] == "dpo+difference":
            line["policy"] = name
    return read(Results, values)


def test_hostile_names_stay_text_everywhere() -> None:
    html = page(renamed(example.HOSTILE))
    parsed = Page(html)
    assert "script" not in parsed.tags
    assert "img" not in parsed.tags
    assert not [key for key, _ in parsed.attributes if key.startswith("on")]
    assert example.HOSTILE in parsed.text


def test_anchors_and_references_resolve_once(parsed: Page) -> None:
    ids = [value for name, value in parsed.attributes if name == "id"]
    links = {value for name, value in parsed.attributes if name == "href"}
    targets = {value[1:] for value in links if value.startswith("#")}
    targets |= {value for name, value in parsed.attributes if name == "for"}
    targets |= {
        target for _, value in parsed.attributes for target in re.findall(r"url\(#([^)]*)\)", value)
    }
    assert targets <= set(ids)
    assert len(ids) == len(set(ids))


MARKS = "\u202a\u202e\u2067\u200f"


def test_marks_of_direction_do_not_reach_our_own_words() -> None:
    sample = example.SAMPLES[0]
    responses = {**sample.responses, "dpo": f"a sample may use them: {MARKS}"}
    results = replace(renamed(f"{MARKS}x"), samples=(replace(sample, responses=responses),))
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
    assert {path.name for path in first.parent.iterdir()} == {"report.html", "figures"}
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 1_500_000


def test_an_existing_report_survives_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("old")

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        render(example.empty(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_long_runs_stay_small(tmp_path: Path) -> None:
    curve = example.curve(0.69, 0.5, 5000, 0)
    results = example.results(3)
    results = replace(
        results,
        scorers=tuple(replace(run, curve=curve) for run in results.scorers),
        policies=tuple(replace(run, curve=curve) for run in results.policies),
        samples=results.samples * 20,
    )
    assert render(results, tmp_path).stat().st_size < 1_500_000


def test_importing_is_cheap() -> None:
    code = (
        "import sys, rewarddiff.report; "
        "print(sorted({'torch', 'matplotlib', 'jinja2', 'yaml', 'rich', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_lone_surrogate_does_not_stop_the_report(tmp_path: Path) -> None:
    results = replace(example.empty(), notes=("cut \ud83d",))
    assert r"cut \ud83d" in render(results, tmp_path).read_text("utf-8")


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
        "Example CPU @ 2.0 GHz", "2.13.0", "2025-03-02T10:11:12+00:00",
        "Weighting DPO by differences", "Samples are greedy",
        "source: demo",
    ],
)  # fmt: skip
def test_values_appear(parsed: Page, shown: str) -> None:
    assert shown in parsed.words


def test_where_scorers_are_right(parsed: Page) -> None:
    assert "better is shorter better is longer best of list first" in parsed.words
    assert "64.1 % [57.1, 71.1] 77.8 % [72.8, 82.8] 51.2 % chance 25.0 %" in parsed.words
    assert "428 chosen, 428 rejected responses" in parsed.words
    assert "maths 62.5 % [53.5, 71.5] n = 128" in parsed.words
    assert "mean of the parts 68.8 % 68.8 %" in parsed.words
    assert "reward 0 chat 76.7 % [71.7, 81.7] n = 300 75.2 % [70.2, 80.2] n = 300" in parsed.words


def test_reading_order(parsed: Page) -> None:
    ids = [value for name, value in parsed.attributes if name == "id"]
    order = [
        "words", "summary", "strength", "calibration", "slices", "curves", "rewards",
        "distributions", "contrasts", "cases", "samples", "data", "coefficients", "cost", "recipe", "machine",
    ]  # fmt: skip
    assert [name for name in ids if name in order] == order


def test_every_section_has_its_figures(html: str) -> None:
    parts = dict(zip(*[iter(re.split(r'<section id="(\w+)">', html)[1:])] * 2, strict=True))
    assert {key: part.count("<svg") for key, part in parts.items()} == {
        "words": 0,
        "summary": 0,
        "strength": 1,  # both weighted policies use the same differences
        "calibration": 4,  # two scorers, by |d| and by stated strength
        "slices": 1,  # the reward model's scores; a difference model has none
        "curves": 5,
        "rewards": 2,
        "distributions": 2,
        "contrasts": 2,
        "cases": 0,
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
    quarters = [(0, 0.018), (0.018, 0.026), (0.026, math.inf)]
    by_bin = tuple(Bin(low, high, example.share(0.75, 40)) for low, high in quarters)
    reward, difference = results.scorers
    evaluation = replace(difference.evaluation, by_bin=by_bin)
    results = replace(results, scorers=(reward, replace(difference, evaluation=evaluation)))
    table = strength_table(results)
    assert table.columns == ("scorer", "seed", "|d|", "accuracy")
    ranges = [[cell.text for cell in row[:3]] for row in table.rows]
    assert ranges[:4] == [["reward", "0", name] for name in ("0–1", "1–2", "2–3", "≥ 3")]
    assert ranges[4:] == [
        ["difference", "0", name] for name in ("0–0.018", "0.018–0.026", "≥ 0.026")
    ]


def test_held_out_histograms_are_preferred() -> None:
    results = example.results(1)
    histogram = Histogram((-1.0, 0.0, 1.0), (30, 70), 30)
    scorers = [
        replace(run, evaluation=replace(run.evaluation, histogram=histogram))
        for run in results.scorers
    ]
    words = Page(page(replace(results, scorers=tuple(scorers)))).words
    assert words.count("100 held-out comparisons; 30.0 % negative") == 2
    assert "training comparisons" not in words


def test_one_negative_difference_is_one_of_all() -> None:
    results = example.results(1)
    run = results.scorers[0]
    histogram = Histogram((-1.0, 0.0, 1.0), (1, 199), 1)
    run = replace(run, evaluation=replace(run.evaluation, histogram=histogram))
    (drawing,) = figures.histograms(replace(results, scorers=(run,)))
    assert drawing.caption == "200 held-out comparisons; 0.5 % negative"


def test_policies_that_nobody_judged_are_listed_by_their_seeds() -> None:
    results = example.results(2)
    summary = replace(results.summary, policies=())
    table = policies_table(replace(results, summary=summary, rewards=(), lengths=()))
    assert (table.title, table.columns) == ("Policies", ("policy", "seeds"))
    assert [[str(cell) for cell in row] for row in table.rows] == [
        ["dpo", "2"],
        ["dpo+difference", "2"],
        ["dpo+shuffled", "2"],
    ]


def test_the_column_of_seeds_is_there_where_it_says_something() -> None:
    results = example.results(1)
    assert "seed" not in contrasts_table(results).columns
    assert "seed" in contrasts_table(by_seed(results)).columns
    assert "seed" not in summary_tables(by_seed(results))[-1].columns  # which are over seeds


def by_seed(results: Results) -> Results:
    """The same results with contrasts of a single seed beside those over all."""
    single = [replace(contrast, seed=3) for contrast in results.contrasts]
    return replace(results, contrasts=(*results.contrasts, *single))


def test_long_texts_are_folded() -> None:
    text = "word " * 1000
    folded = clip(text)
    assert folded.head + folded.tail == text
    assert len(folded.head) <= 600
    assert clip("short").tail == ""
    assert clip("x" * 700).tail == ""  # a little over is shown whole
    assert clip(" \n").head == "(empty)"


# --- gaps in the results ---------------------------------------------------------------------------------------------


def test_nothing_at_all() -> None:
    parsed = Page(page(example.empty()))
    assert "svg" not in parsed.tags
    assert "Nothing was recorded." in parsed.words
    assert "nan" not in parsed.words.lower()
    assert "None" not in parsed.words


def test_one_scorer_and_no_policy() -> None:
    results = example.results(1)
    scorer = results.summary.scorers[0]
    results = replace(
        example.empty(),
        scorers=results.scorers[:1],
        summary=replace(results.summary, scorers=(scorer,), policies=()),
    )
    words = Page(page(results)).words
    assert "70.9 % [67.8, 74.0]" in words
    assert not re.search(r"(?i)polic|reward of|samples|seeds and", words)


def blank(results: Results, gap: float) -> Results:
    """The same results with every figure that may be unknown replaced."""

    def blanked(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            is_bin = "accuracy" in value
            fixed = ("low", "high", "seeds") if is_bin else ()
            return {k: v if k in fixed else blanked(v, k) for k, v in value.items()}
        if isinstance(value, list) and key != "edges":
            return [blanked(inner) for inner in value]
        return gap if isinstance(value, float) else value

    return read(Results, blanked(plain(results)))


@pytest.mark.parametrize("gap", [math.nan, math.inf, -math.inf])
def test_figures_without_data_are_dashes(gap: float) -> None:
    words = Page(page(replace(blank(example.results(1), gap), recipe=None))).words
    assert "–" in words
    assert not re.search(r"\b(nan|inf)\b", words.lower())


@pytest.mark.parametrize("number", [0.0, -1.0, 1e12])
def test_odd_numbers(number: float) -> None:
    Page(page(blank(example.results(1), number)))


def test_a_minus_is_a_minus_everywhere() -> None:
    results = replace(blank(example.results(1), -1.5), recipe=None)
    rewards = [replace(line, mean=Interval(-0.7, -1.2, -0.1, 9)) for line in results.rewards]
    first = replace(results.contrasts[0], unequal=(Unequal("k", -1e-6, -2),))
    contrasts = (first, *results.contrasts[1:])
    results = replace(results, rewards=tuple(rewards), contrasts=contrasts)
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
    results = example.results()
    curves = {
        drawing.title: set(re.findall(r"--series-\d", drawing.svg))
        for drawing in figures.curves(results)
    }
    assert all(len(found) == 1 for found in curves.values())
    assert len(set.union(*curves.values())) == 5  # two scorers and three policies, each its own
    shuffled = [run for run in results.coefficients if run.policy == "dpo+shuffled"]
    only = replace(results, coefficients=tuple(shuffled))
    for drawing in figures.spreads(only):
        assert set(re.findall(r"--series-\d", drawing.svg)) == curves["dpo+shuffled"]
    for drawing in figures.accuracies(results):
        assert (
            set(re.findall(r"--series-\d", drawing.svg)) == curves[drawing.title.partition(",")[0]]
        )
    rewards = figures.rewards(results)[0].svg
    for policy in ("dpo", "dpo+difference", "dpo+shuffled"):
        assert curves[policy] < set(re.findall(r"--series-\d", rewards))


# --- text ------------------------------------------------------------------------------------------------------------


def test_markdown() -> None:
    results = example.results()
    first = replace(results.summary.scorers[0], name="a|b\nc")
    summary = replace(results.summary, scorers=(first,))
    text = markdown_page("One <b>.", ["Two."], summary_tables(replace(results, summary=summary)))
    assert text.startswith("One &lt;b>.\n\nTwo.\n\n### Scorers on held-out comparisons\n\n")
    assert "| a\\|b c | reward | 2 | 70.9 % [67.8, 74.0] |" in text
    assert "| dpo+difference | 2 | 0.266 [0.156, 0.376] | 0.402† [0.292, 0.512] |" in text
    assert "† the scorer this policy was trained with" in text
    for block in text.split("\n\n"):  # every table: as many cells in each row as in its head
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) <= 1


def test_terminal() -> None:
    results = example.results()
    contrasts = [replace(line, a="[red]not markup[/red]") for line in results.contrasts]
    scorer = replace(results.summary.scorers[0], name="[bold]x\x1b[0m")
    results = replace(
        results,
        contrasts=tuple(contrasts),
        summary=replace(results.summary, scorers=(scorer,)),
    )
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(terminal_table(results))
    text = " ".join(console.export_text().split())
    assert "[red]not markup[/red]" in text
    assert r"[bold]x\x1b[0m" in text
    assert "70.9 % [67.8, 74.0]" in text
    assert "0.402† [0.292, 0.512]" in text
    assert text.endswith("In brackets: 95 % intervals. The page says what each figure is.")
    console.print(terminal_table(example.empty()))
    assert console.export_text().split() == ["Nothing", "was", "recorded."]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_figure_is_lost_on_a_narrow_terminal(width: int) -> None:
    results = example.results()
    first = replace(results.contrasts[0], unequal=(Unequal("train.lr", 1e-6, 5e-6),))
    results = replace(results, contrasts=(first, *results.contrasts[1:]))
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_table(results))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    left_out = set()
    for columns in re.findall(r"Left out for want of room: ([^.]*)\.", text):
        left_out |= set(" ".join(columns.split()).split(", "))
    assert left_out <= {
        "tie",
        "lose",
        "win",
        "unfinished",
        "words",
        "seeds",
        "asymmetry",
        "T",
        "ECE at T",
    }
    shown = Counter(re.findall(r"[−+\d.,\u202f]*\d(?: %)?[†]?", text))
    wanted: Counter[str] = Counter()
    for table in summary_tables(results):
        for row in table.rows:
            # The first column stands again beside the columns that had no room.
            for column, cell in zip(table.columns[1:], row[1:], strict=True):
                if column not in left_out:
                    wanted += Counter(re.findall(r"[−+\d.,\u202f]*\d(?: %)?[†]?", str(cell)))
                    assert cell.minor in text  # an interval is never broken
    assert not wanted - shown


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


def test_an_interval_that_touches_zero_does_not_exclude_it() -> None:
    assert Interval(1, 0.5, 2, 7).excludes_zero
    assert not Interval(1, 0.0, 2, 7).excludes_zero
    assert not Interval.unbounded(1.0).excludes_zero


def test_a_mean_is_of_what_is_known() -> None:
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


def test_names_of_ranges() -> None:
    ranges = ((0, 1), (3, math.inf), (2, 2), (0.5, 1.25))
    bins = [Bin(low, high, UNKNOWN) for low, high in ranges]
    assert [label for label, _ in labelled(bins)] == ["0–1", "≥ 3", "2", "0.5–1.25"]


@given(
    st.lists(st.text("ab", max_size=12), min_size=2, max_size=5),
    st.text("xy", min_size=20, max_size=80),
    st.integers(12, 40),
)
def test_shortened_texts_stay_short_and_whole_ones_stay_whole(
    ends: list[str], beginning: str, most: int
) -> None:
    texts = [beginning + end for end in ends]
    pieces = shortened(texts, most)
    assert all(len(piece) <= most for piece in pieces)
    for text, piece in zip(texts, pieces, strict=True):
        assert (piece == text) or "…" in piece
    # A whole text that is as long as allowed hides nothing of a longer one.
    whole, longer = shortened(["report-demo", "report-demo2"], 11)
    assert (whole, longer[-1]) == ("report-demo", "2")
    # Two that part a few letters behind a long common beginning are told apart.
    one, other = shortened([f"{beginning}a and more", f"{beginning}b and more"], most)
    assert one != other
