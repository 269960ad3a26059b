"""Columns under other names: one option for every command, a recipe's key, LLaMA-Factory's file."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.check import check
from rewarddiff.cli import main
from rewarddiff.config import load_recipe
from rewarddiff.data import Ledger, load_groups, read
from rewarddiff.data.columns import MISSING, names_read, taken
from rewarddiff.data.formats import FORMATS, Format
from rewarddiff.data.read import NOT_AS_EXPECTED
from rewarddiff.data.unread import _WatchedRow, unread_columns
from rewarddiff.errors import UserError
from rewarddiff.pipeline import Recipe
from rewarddiff.pipeline.data import prepare
from rewarddiff.records import Comparison, Message
from tests.data.test_formats_page import EXAMPLES

QUESTIONS = {"prompt": "q", "chosen": "good", "rejected": "bad"}


def row(n: int, **more: Any) -> dict[str, Any]:
    return {"q": f"question {n}", "good": f"yes {n}", "bad": f"no {n}", **more}


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("a.b", 1),  # a column of this name goes before a path
        ("c.d", 2),
        ("c.e.1", 4),
        ("c.e.2", MISSING),
        ("c.x", MISSING),
        ("f", None),
        ("f.g", MISSING),
        ("c.e.f.0", MISSING),
        ("h", MISSING),
    ],
)
def test_a_dotted_name_reaches_into_objects_and_lists(column: str, cell: Any) -> None:
    values = {"a.b": 1, "a": {"b": 0}, "c": {"d": 2, "e": [3, 4]}, "f": None}
    assert taken(values, column) is cell or taken(values, column) == cell


def test_a_column_that_has_our_name_gives_way(tmp_path: Path) -> None:
    """A file's own `prompt` may be anything where another column is named as the prompt."""
    path = written(tmp_path / "rows.jsonl", [row(0, prompt=["template"], chosen="model-a")])
    (group,) = load_groups(path, columns=QUESTIONS)
    assert (group.prompt, group.responses) == ("question 0", ("yes 0", "no 0"))
    assert group.comparisons == (Comparison(0, 1),)


def test_two_columns_may_change_places(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": "worse", "rejected": "better"}]
    path = written(tmp_path / "rows.jsonl", rows)
    (group,) = load_groups(path, columns={"chosen": "rejected", "rejected": "chosen"})
    assert group.responses == ("better", "worse")


def test_a_conversation_under_another_name_is_one(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Hi"}]
    path = written(tmp_path / "rows.jsonl", [row(0) | {"q": turns}])
    (group,) = load_groups(path, columns=QUESTIONS)
    assert group.prompt == (Message("user", "Hi"),)


def test_a_column_that_no_row_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [row(n) for n in range(150)])
    columns = QUESTIONS | {"chosen": "goood"}
    with pytest.raises(
        UserError, match=f"^{path}:1: no column 'goood' to read chosen from – did you mean 'good'?"
    ):
        load_groups(path, columns=columns)
    nested = written(tmp_path / "nested.jsonl", [{"meta": {"question": "x"}, "a": ["y", "n"]}])
    with pytest.raises(UserError, match=r"no column 'meta.quest' .* did you mean 'meta.question'?"):
        load_groups(nested, columns={"prompt": "meta.quest"})


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("prompts", r"no format reads a column 'prompts' – did you mean 'prompt'\?"),
        ("nope", "'nope' – known here: .*chosen, .*margin, .*prompt, .*rejected"),
    ],
)
def test_a_name_that_no_format_reads_is_refused(name: str, near: str, tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [row(0)])
    with pytest.raises(UserError, match=f"^columns: {name}=q: .*{near}.*; ours stand first"):
        load_groups(path, columns={"chosen": "good", name: "q"})


@pytest.mark.parametrize("first", [1, 60, 100])
def test_a_column_that_only_some_rows_have_is_read_where_it_is(tmp_path: Path, first: int) -> None:
    """It is told by the first hundred rows whether there is such a column."""
    rows = [row(n) for n in range(first - 1)] + [row(n, gap=2) for n in range(first, 120)]
    path = written(tmp_path / "rows.jsonl", rows)
    groups = load_groups(path, columns=QUESTIONS | {"margin": "gap"})
    strengths = [group.comparisons[0].strength for group in groups]
    assert strengths == [None] * (first - 1) + [2.0] * (120 - first)
    if first > 1:
        with pytest.raises(UserError, match="no column 'gap' to read margin from"):
            load_groups(written(path, rows[: first - 1]), columns=QUESTIONS | {"margin": "gap"})


def test_rows_that_lack_a_column_are_counted(tmp_path: Path) -> None:
    rows = [row(0), {"q": "alone", "good": "a"}, row(2)]
    ledger = Ledger()
    path = written(tmp_path / "rows.jsonl", rows)
    assert len(list(read(path, columns=QUESTIONS, ledger=ledger))) == 2
    (example,) = ledger.to_dict()["dropped"]["missing_field"]["examples"]
    assert (example["source"], example["detail"]) == ("rows.jsonl:2", "no rejected")


def test_what_is_left_of_an_object_is_told_as_not_read(tmp_path: Path) -> None:
    path = written(
        tmp_path / "rows.jsonl", [{"meta": {"q": "x", "lang": "en"}, "a": ["y", "n"], "more": 1}]
    )
    columns = {"prompt": "meta.q", "chosen": "a.0", "rejected": "a.1"}
    assert unread_columns(path, columns=columns) == ["meta", "more"]


def test_the_cache_tells_columns_apart(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [row(0)])
    turned = QUESTIONS | {"chosen": "bad", "rejected": "good"}
    for columns, better in ((QUESTIONS, "yes 0"), (turned, "no 0"), (QUESTIONS, "yes 0")):
        (group,) = load_groups(path, columns=columns, cache=tmp_path / "cache")
        assert group.responses[0] == better


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_every_column_that_a_format_reads_is_a_name(form: Format) -> None:
    """As far as its lines in docs/formats.md go."""
    read_of_rows = set()
    for line in EXAMPLES.get(form.name, "").splitlines():
        values = _WatchedRow(json.loads(line))
        with suppress(UserError, *NOT_AS_EXPECTED):  # one format needs a file beside its rows
            form.converter(None)(values)
        read_of_rows |= values.columns_read
    assert read_of_rows <= names_read()


# -- the command line and recipes ---------------------------------------------------------------------------


def test_check_takes_columns_once_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "rows.jsonl", [row(n, gap=3) for n in range(2)])
    options = ["--columns", "prompt=q,chosen=good", "--columns", "rejected=bad", "--columns"]
    assert main(["check", str(path), *options, "margin=gap"]) == 0
    all_groups = next(line for line in capsys.readouterr().out.splitlines() if line[:3] == "all")
    assert all_groups.split()[1:7] == ["2", "4", "2", "0", "2", "3"]


@pytest.mark.parametrize("text", ["prompt", "prompt=", "=q", "prompt=q,"])
def test_a_pair_that_names_nothing_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["check", str(tmp_path), "--columns", text])
    assert "names no column, should be as prompt=question" in capsys.readouterr().err


@pytest.mark.parametrize(
    "overrides", [["data.columns={prompt: q, chosen: good, rejected: bad}"], None]
)
def test_a_recipe_names_columns_also_of_those_test_files_that_have_them(
    tmp_path: Path, overrides: list[str] | None
) -> None:
    same = written(tmp_path / "same.jsonl", [row(n) for n in range(100, 103)])
    usual = written(
        tmp_path / "usual.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b", "good": "?"}]
    )
    data: dict[str, Any] = {
        "path": str(written(tmp_path / "rows.jsonl", [row(n) for n in range(40)])),
        "tests": {"same": str(same), "usual": str(usual)},
    }
    if overrides is None:
        data["columns"] = QUESTIONS
    recipe = load_recipe({"name": "r", "data": data}, overrides or [], Recipe)
    run = prepare(recipe, tmp_path / "run")
    assert sum(map(len, run.splits.values())) == 40
    assert run.tests["same"][0].responses == ("yes 100", "no 100")


# -- dataset_info.json ---------------------------------------------------------------------------------------


def test_named_columns_go_before_dataset_info(tmp_path: Path) -> None:
    info = {"mine": {"file_name": "rows.jsonl", "ranking": True, "columns": {"prompt": "good"}}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    path = written(tmp_path / "rows.jsonl", [row(0)])
    assert load_groups(path, columns=QUESTIONS)[0].prompt == "question 0"


def test_what_dataset_info_says_is_told_and_is_part_of_the_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "rows.jsonl", [row(0)])
    for prompt, better in (("q", "good"), ("bad", "q")):
        columns = {"prompt": prompt, "chosen": better, "rejected": "bad"}
        info = {"mine": {"file_name": "rows.jsonl", "ranking": True, "columns": columns}}
        (tmp_path / "dataset_info.json").write_text(json.dumps(info))
        (group,) = load_groups(path, cache=tmp_path / "cache")
        assert group.prompt == (Message("user", row(0)[prompt]),)
    check(str(path))
    assert "columns as mine in dataset_info.json has them" in capsys.readouterr().out


@pytest.mark.parametrize(
    "info",
    [
        [],
        {"description": "", "features": {"prompt": {"dtype": "string"}}, "splits": {}},
        {"other": {"file_name": "other.json", "columns": {"prompt": "x"}}},
        {"mine": {"file_name": "rows.jsonl", "columns": ["prompt"], "tags": 3}},
        {"mine": "rows.jsonl"},
    ],
)
def test_other_files_of_this_name_say_nothing(tmp_path: Path, info: Any) -> None:
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    path = written(tmp_path / "rows.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    ledger = Ledger()
    assert load_groups(path, ledger=ledger)[0].prompt == "p"
    assert ledger.changed == 0


def test_a_broken_dataset_info_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("{")
    path = written(tmp_path / "rows.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    with pytest.raises(UserError, match=r"dataset_info\.json: not valid JSON .*; mend it, or move"):
        load_groups(path)
