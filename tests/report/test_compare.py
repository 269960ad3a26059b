"""Runs side by side: what is of the same thing stands together, what is not is said first."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import report_example as example
from rich.console import Console

from rewarddiff.cli import main
from rewarddiff.pipeline.comparing import _labels
from rewarddiff.pipeline.stage import write_results
from rewarddiff.report.compare import page, remarks, terminal_comparison, verdict
from rewarddiff.report.compare_tables import (
    costs_table,
    policies_tables,
    recipes_table,
    scorers_tables,
    win_rates_table,
)
from rewarddiff.report.side_by_side import NamedRun, differing_keys
from rewarddiff.results import Data, Results, ScorerResult, plain, read


def with_scorers(results: Results, fingerprints: dict[str, str]) -> Results:
    """Return results whose scorers are other ones."""

    def other(line: ScorerResult) -> ScorerResult:
        return replace(line, fingerprint=fingerprints.get(line.scorer, line.fingerprint))

    return replace(results, scorers=tuple(map(other, results.scorers)))


def with_data(results: Results, **changes: object) -> Results:
    data: Data = replace(results.data, **changes)
    return replace(results, data=data)


def named(*results: Results) -> list[NamedRun]:
    return [NamedRun(f"run{place}", result) for place, result in enumerate(results)]


def titles(runs: Sequence[NamedRun]) -> list[str]:
    return [table.title for table in scorers_tables(runs)]


def test_runs_of_the_same_data_scorers_and_prompts_compare() -> None:
    runs = named(example.results(), example.results())
    assert verdict(runs) == (
        "All scorers are measured on the same held-out comparisons; policies answer the same prompts."
    )
    assert remarks(runs) == []
    assert titles(runs) == ["Scorers on the same held-out comparisons"]
    (policies,) = policies_tables(runs)
    assert policies.columns == ("policy", "run", "under reward", "under difference")
    assert [row[1].text for row in policies.rows[:2]] == ["run0", "run1"]
    assert policies.rows[0][2:] == policies.rows[1][2:]  # the same results
    assert recipes_table(runs).rows == ()


def test_rewards_under_another_scorer_are_not_laid_side_by_side() -> None:
    other = with_scorers(example.results(), {"difference": "another"})
    runs = named(example.results(), other)
    (policies,) = policies_tables(runs)
    assert policies.columns == ("policy", "run", "under reward")
    assert remarks(runs) == [
        "Not the same in all runs, by weights, settings or the base model that it compares with: "
        "difference. Rewards under different scorers do not compare."
    ]
    neither = with_scorers(example.results(), {"difference": "another", "reward": "a third"})
    assert list(policies_tables(named(example.results(), neither))) == []


def test_a_difference_model_judges_against_the_base_model() -> None:
    """So its rewards compare only where samples of the same base model stand against it."""
    runs = named(
        replace(example.results(), recipe={"model": "a"}),
        replace(example.results(), recipe={"model": "b"}),
    )
    (policies,) = policies_tables(runs)
    assert policies.columns == ("policy", "run", "under reward")


def test_a_scorer_is_known_by_what_it_is_and_not_by_its_name() -> None:
    first = example.results()
    renamed = json.loads(json.dumps(plain(first)).replace('"reward"', '"gold"'))
    (policies,) = policies_tables(named(first, read(Results, renamed)))
    assert policies.columns == ("policy", "run", "under reward = gold", "under difference")


def test_other_data_and_other_prompts_are_said_first() -> None:
    other = with_data(example.results(), contents={"test": "other"}, prompts="other")
    runs = named(example.results(), example.results(), other)
    assert verdict(runs) == (
        "Not all are measured on the same held-out comparisons: run0 and run1 are, and figures of "
        "the others do not compare with theirs; policies answer different prompts, so that their "
        "rewards do not compare."
    )
    assert titles(runs) == [
        "Scorers on the same held-out comparisons",
        "Scorers on comparisons that run2 alone has",
    ]
    (policies,) = policies_tables(runs)
    assert {row[1].text for row in policies.rows} == {"run0", "run1"}
    assert verdict(runs[1:]).startswith("No two are measured on the same held-out comparisons:")
    assert page(runs).count("<figcaption><bdi>Accuracy") == 2


def test_only_keys_that_differ_are_shown() -> None:
    """Worked out by hand: lr in one, beta missing in one, a whole policy in one alone."""
    recipes: list[dict[str, Any]] = [
        {"name": "a", "output": "x", "seed": 0, "policies": {"dpo": {"lr": 1e-6, "beta": 0.1}}},
        {
            "name": "b",
            "output": "y",
            "seed": 0,
            "policies": {"dpo": {"lr": 5e-6}, "own": {"lr": 1}},
        },
    ]
    recipes[0]["scorers"] = {"rm": {"kind": "reward", "lr": 1, "heads": 1}, "new": {}}
    recipes[1]["scorers"] = {"rm": {"kind": "reward", "trained": "folder"}}
    runs = named(*(replace(example.results(), recipe=recipe) for recipe in recipes))
    assert list(differing_keys(runs)) == [
        ("policies.dpo.lr", [1e-6, 5e-6]),
        ("policies.dpo.beta", [0.1, None]),
        ("policies.own", [None, {"lr": 1}]),
        ("scorers.rm", [recipes[0]["scorers"]["rm"], {"kind": "reward", "trained": "folder"}]),
    ]
    rows = [[cell.text for cell in row] for row in recipes_table(runs).rows]
    assert rows[0] == ["policies.dpo.lr", "1e−6", "5e−6"]
    assert rows[2] == ["policies.own", "–", "{lr: 1}"]


def test_an_evaluation_has_scorers_alone() -> None:
    evaluation = replace(
        with_data(example.results(), prompts=""),
        command="eval", recipe=None, policies=(), rewards=(), contrasts=(), samples=(),
    )  # fmt: skip
    runs = named(example.results(), evaluation)
    assert verdict(runs) == "All scorers are measured on the same held-out comparisons."
    assert remarks(runs) == ["run1 is an evaluation of scorers and has no recipe."]
    assert list(policies_tables(runs)) == []


def test_cost_is_that_of_all_stages_by_room() -> None:
    """2 + 3 + 60 + 5 seconds, of which 2 + 3 are of scorers and none of samples."""
    times = {"scorers/a-0": 2.0, "scorers/b-0": 3.0, "policies/dpo-0": 60.0, "rewards/0": 5.0}
    (first, *_) = example.results().costs
    costs = tuple(replace(first, stage=stage, seconds=time) for stage, time in times.items())
    run = replace(example.results(), costs=costs)
    (row,) = costs_table(named(run)).rows
    assert [cell.text for cell in row[:5]] == ["run0", "1 min 10 s", "5.0 s", "1 min 00 s", "–"]


def test_of_judges_alone_it_says_whether_win_rates_compare() -> None:
    ours = example.judging()
    there = replace(ours, data=replace(ours.data, prompts="8a1d"))
    elsewhere = replace(ours, data=replace(ours.data, prompts="77aa"))
    alike = verdict(named(there, there))
    assert alike == "Policies answer the same prompts: win rates of the same judge compare."
    apart = verdict(named(there, elsewhere))
    assert apart == "Policies do not answer the same prompts: win rates hold within each run."
    assert "held-out comparisons" not in f"{alike}{apart}"
    assert any("a win rate of 53.5 %" in text for text in remarks(named(there, elsewhere)))


def test_cost_counts_what_judges_read_and_wrote() -> None:
    """Two judges of 611 204 tokens read and 48 110 written: 1 318 628; nothing was trained."""
    run = replace(example.judging(), costs=())
    table = costs_table(named(run))
    assert table.columns[-2:] == ("tokens of judges", "peak memory")
    assert "tokens" not in table.columns
    assert table.rows[0][-2].text == "1\u202f318\u202f628"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)


def test_the_page_runs_nothing_and_shows_hostile_text_as_text() -> None:
    hostile = replace(example.results(), recipe={"note": example.HOSTILE})
    runs = [NamedRun(example.HOSTILE, example.results()), NamedRun("b", hostile)]
    text = page(runs)
    tags = Tags()
    tags.feed(text)
    assert not tags.names & {"script", "img", "link", "iframe"}
    assert "default-src 'none'" in text
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_results(tmp_path / name, example.results())
    output = tmp_path / "page.html"
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == f"page  {output}"
    assert "Policies on the same prompts: mean reward" in said
    assert "<h1" in output.read_text()


def test_report_of_several_runs_is_the_same_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = []
    for name in ("a", "b", "c"):
        folder = tmp_path / name
        folder.mkdir()
        write_results(folder, example.results(1))
        folders.append(str(folder))
    pages = {}
    for command in ("report", "compare"):
        place = tmp_path / command / "page.html"
        assert main([command, *folders, "--output", str(place)]) == 0
        pages[command] = place.read_text()
    assert pages["report"] == pages["compare"]
    assert "a and b and c" in pages["report"]
    # Each figure's numbers lie beside the page, in a folder of its name.
    links = re.findall(r'href="(page-figures/[^"]*)"', pages["report"])
    assert len(links) == pages["report"].count("<svg") > 0
    assert all((tmp_path / "report" / link).is_file() for link in links)
    capsys.readouterr()
    assert main(["report", folders[0], "--output", str(tmp_path / "x.html")]) == 2
    error = capsys.readouterr().err
    assert error == (
        "rewarddiff: error: report: of one run the page lies in its folder; leave --output out, or "
        "give several\n"
    )
    assert not (tmp_path / "x.html").exists()


def test_win_rates_of_runs_stand_together_by_what_is_compared() -> None:
    runs = named(example.judging(), replace(example.results(), judges=example.judges()))
    rows = [[str(cell) for cell in row[:3]] for row in win_rates_table(runs).rows]
    assert len(rows) == 16  # two runs, two pairs, three judges and the majority
    assert [row[:2] for row in rows[:8]] == [["dpo against base", "run0"]] * 4 + [
        ["dpo against base", "run1"]
    ] * 4
    assert rows[1][2] == "prometheus†"
    assert "Win rates by judges, within each run" in page(runs)


def test_long_values_are_cut_where_they_differ() -> None:
    """A third run without the policy leaves two whole ones, alike in their first 60 characters."""
    policy = {
        "objective": {"name": "dpo", "beta": 0.1, "label_smoothing": 0.0, "length_norm": False}
    }
    recipes: list[dict[str, Any]] = [
        {"policies": {"dpo+long": {**policy, "coefficient": {"source": "judge", "alpha": 0.5}}}},
        {"policies": {"dpo+long": {**policy, "coefficient": {"source": "reward", "alpha": 0.5}}}},
        {"policies": {}},
    ]
    runs = named(*(replace(example.results(), recipe=recipe) for recipe in recipes))
    (row,) = recipes_table(runs).rows
    first, second, third = (cell.text for cell in row[1:])
    assert "source: judge" in first
    assert "source: reward" in second
    assert third == "–"
    assert max(map(len, (first, second))) <= 48


def test_rows_of_figures_keep_what_tells_runs_apart() -> None:
    labels = ("a-run-with-a-very-long-name-1", "a-run-with-a-very-long-name-2")
    runs = [NamedRun(label, example.results()) for label in labels]
    shown = re.findall(r">([^<>]*)</text>", page(runs))
    of_policy = {text for text in shown if text.endswith(("name-1", "name-2"))}
    assert {text[-6:] for text in of_policy} == {"name-1", "name-2"}


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["a"], "compare: needs two runs or more"),
        (["a", "./a"], "given twice; name every run once"),
        (
            ["a", "none"],
            "none/results.json: there is no such file; give the folder of a finished run",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    folders: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    write_results(tmp_path / "a", example.results())
    assert main(["compare", *folders]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "compare.html").exists()


def test_a_run_beside_a_trained_model_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`train` leaves the model in a folder and its run in `run` there."""
    (tmp_path / "mine/run").mkdir(parents=True)
    write_results(tmp_path / "mine/run", example.results())
    assert main(["report", str(tmp_path / "mine")]) == 0
    assert capsys.readouterr().out == f"report  {tmp_path / 'mine/run/report.html'}\n"


def test_names_are_as_short_as_tells_runs_apart(tmp_path: Path) -> None:
    assert _labels([tmp_path / "a/x", tmp_path / "b/y"]) == ["x", "y"]
    assert _labels([tmp_path / "a/x", tmp_path / "b/x"]) == ["a/x", "b/x"]


def test_the_terminal_shows_what_the_page_shows() -> None:
    runs = named(example.results(), example.results(seeds=3))
    console = Console(width=160, file=io.StringIO())
    console.print(terminal_comparison(runs))
    shown = console.file.getvalue()
    for table in [*scorers_tables(runs), *policies_tables(runs), costs_table(runs)]:
        assert table.title in shown


def test_scorers_that_leave_out_other_prompts_are_named_as_measured_on_other_comparisons() -> None:
    first, second = example.results(), example.results()
    fewer = []
    for line in second.scorers:
        fewer.append(replace(line, evaluation=replace(line.evaluation, n=line.evaluation.n - 9)))
    runs = named(first, replace(second, scorers=tuple(fewer)))
    (remark,) = remarks(runs)
    assert remark.startswith("Some scorers leave out prompts that they were trained on")
