"""Rows in passing: every row once, in order and as it stands, with the group that it reads as."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewarddiff.data import Ledger, Reason, read
from rewarddiff.data.passing import PassingRow, count_rows, filled, passing


def lines(path: Path, *rows: dict[str, Any] | str) -> Path:
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def rows_of(*sources: Path | str, **reading: Any) -> list[PassingRow]:
    return [row.read() for row in passing(sources, **reading)]


def ledger_of(rows: list[PassingRow]) -> Ledger:
    ledger = Ledger()
    for row in rows:
        ledger.merge(row.ledger)
    return ledger


PAIR = {"prompt": "Say yes", "chosen": "yes", "rejected": "no", "mine": {"a": [1, None]}}


def test_repeats_stay_and_values_are_the_users(tmp_path: Path) -> None:
    file = lines(tmp_path / "pairs.jsonl", PAIR, PAIR, PAIR | {"chosen": "no", "rejected": "yes"})
    rows = rows_of(file)
    assert [row.place for row in rows] == ["pairs.jsonl:1", "pairs.jsonl:2", "pairs.jsonl:3"]
    assert rows[1].values == PAIR
    assert [row.groups[0].responses for row in rows] == [
        ("yes", "no"),
        ("yes", "no"),
        ("no", "yes"),
    ]
    assert len(list(read(file, ledger=Ledger()))) == 1


def test_a_row_that_cannot_be_used_keeps_its_place(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "pairs.jsonl",
        "{broken",
        PAIR,
        {"prompt": "P", "chosen": "no rejected one"},
        "[1]",
        PAIR | {"prompt": "  "},
        PAIR | {"chosen": " ", "rejected": ""},
        PAIR | {"chosen": ""},
        PAIR | {"chosen": 5},
    )
    rows = rows_of(file)
    assert [row.place.partition(":")[2] for row in rows] == list("12345678")
    assert [row.values is None for row in rows] == [True, False, False, True] + [False] * 4
    assert [row.groups == () for row in rows] == [True, False, True, True, True, True, False, True]
    assert filled(rows[6].groups[0]) == [1]
    ledger = ledger_of(rows)
    assert (ledger.kept, ledger.dropped, ledger.total) == (2, 6, 8)
    assert ledger.count(Reason.UNREADABLE) == 2
    assert ledger.count(Reason.EMPTY_RESPONSE) == 2  # one dropped, one changed
    assert ledger.count(Reason.MISSING_FIELD) == 3


def test_prompts_are_cut_off_responses_as_in_training(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"Question {i}?",
            "chosen": f"Question {i}? yes",
            "rejected": f"Question {i}? no",
        }
        for i in range(120)
    ]
    file = lines(tmp_path / "pairs.jsonl", *rows)
    trained_on = [group.responses for group in read(file, ledger=Ledger())]
    in_passing = rows_of(file)
    assert [row.groups[0].responses for row in in_passing] == trained_on
    assert trained_on[119] == (" yes", " no")
    assert ledger_of(in_passing).count(Reason.PROMPT_IN_RESPONSE) == 120


def test_lists_without_some_scores_become_comparisons(tmp_path: Path) -> None:
    row = {"prompt": "P", "responses": ["a", "b", "c"], "scores": [1.0, None, 3.0]}
    (passed,) = rows_of(lines(tmp_path / "lists.jsonl", row))
    (comparison,) = passed.groups[0].known_comparisons()
    assert (comparison.chosen, comparison.rejected, comparison.strength) == (2, 0, 2.0)


def test_votes_on_one_prompt_stay_rows(tmp_path: Path) -> None:
    folder = tmp_path / "ukp"
    folder.mkdir()
    arguments = [{"id": f"a{i}", "title": "T", "stance": "S", "text": f"t{i}"} for i in range(3)]
    lines(folder / "arguments.jsonl", *arguments)
    votes = {"topic": "T", "votes_a1": 3, "votes_equal": 0, "votes_a2": 1}
    lines(
        folder / "pairs.jsonl",
        votes | {"a1": "a0", "a2": "a1"},
        votes | {"a1": "a2", "a2": "a1"},
    )
    groups = [row.groups[0] for row in rows_of(folder)]
    assert [group.responses for group in groups] == [("t0", "t1"), ("t2", "t1")]


def test_columns_under_other_names_stay_the_users(tmp_path: Path) -> None:
    row = {"ask": {"text": "Say yes"}, "good": "yes", "bad": "no", "prompt": "of another column"}
    file = lines(tmp_path / "pairs.jsonl", "{broken", row, row)
    columns = {"prompt": "ask.text", "chosen": "good", "rejected": "bad"}
    rows = rows_of(file, columns=columns)
    assert [row.values for row in rows] == [None, row, row]
    assert rows[2].groups[0].prompt == "Say yes"
    assert rows[2].groups[0].responses == ("yes", "no")


def test_a_row_that_says_several_things_stays_one_row(tmp_path: Path) -> None:
    row = {"prompt": "P", "response_0": "a", "response_1": "b", "better_response_id": 0}
    file = lines(tmp_path / "pku.jsonl", row | {"safer_response_id": 1})
    (passed,) = rows_of(file, format="pku-saferlhf-both")
    assert passed.ledger.kept == 1
    stated = [(group.subset, group.comparisons[0].chosen) for group in passed.groups]
    assert stated == [("better", 0), ("safer", 1)]


def test_rows_are_counted_without_being_read(tmp_path: Path) -> None:
    text = json.dumps(PAIR) + "\n"
    (tmp_path / "a.jsonl").write_text(text * 3)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((text * 4).encode()))
    pq.write_table(
        pa.Table.from_pylist([{"prompt": "P", "chosen": "a"}] * 5), tmp_path / "c.parquet"
    )
    (tmp_path / "d.csv").write_text('prompt,chosen,rejected\n"two\nlines",a,b\nP,a,b\n')
    saved = tmp_path / "saved"
    datasets.Dataset.from_list([PAIR] * 6).save_to_disk(str(saved))
    names = ("a.jsonl", "b.jsonl.gz", "c.parquet", "d.csv", "saved")
    assert [count_rows([tmp_path / name]) for name in names] == [3, 4, 5, 2, 6]
    assert count_rows([tmp_path / "a.jsonl", tmp_path / "saved"]) == 9


@pytest.mark.shared
def test_real_rows_read_as_in_training(shared_data: Path) -> None:
    """What training keeps of HH, whose rows are never changed, stands in passing as well."""
    rows = rows_of(shared_data / "hh")
    assert len(rows) == count_rows([shared_data / "hh"])
    by_place = {row.place: row.groups for row in rows}
    for group in read(shared_data / "hh", ledger=Ledger()):
        (passed,) = by_place[group.source]
        assert (passed.prompt, passed.topic) == (group.prompt, group.topic)
        if len(filled(passed)) == len(passed.responses):
            assert passed.responses == group.responses


def test_rows_keep_the_names_that_their_columns_have(tmp_path: Path) -> None:
    """Whether an option or LLaMA-Factory's file says what is what, a row is written as it was."""
    row = {"q": "2+2?", "good": "4", "bad": "5", "more": 1}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    (by_option,) = passing([path], columns=columns)
    info = {"mine": {"file_name": path.name, "ranking": True, "columns": columns}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    (by_file,) = passing([path])
    for unread in (by_option, by_file):
        passed = unread.read()
        assert passed.values == row
        assert passed.groups[0].responses == ("4", "5")
