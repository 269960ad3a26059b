"""The data stage: which files are read for `data.tests`, and what is told of them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rewarddiff.data import Ledger
from rewarddiff.pipeline.data import Run, prepare
from rewarddiff.pipeline.recipe import DataConfig, Recipe
from rewarddiff.report.bookkeeping import ledger_table
from rewarddiff.results import Data, read


def pairs(prompts: list[Any], good: str = "good") -> str:
    rows = [
        {"prompt": prompt, "chosen": f"{good} {n}", "rejected": f"bad {n}"}
        for n, prompt in enumerate(prompts)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def conversations(prompts: list[str]) -> str:
    rows = [
        {
            "prompt": [{"role": "user", "content": prompt}],
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
        }
        for prompt in prompts
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def prepared(tmp_path: Path, **tests: str) -> Run:
    (tmp_path / "train.jsonl").write_text(pairs([f"Prompt {n}" for n in range(40)]))
    data = DataConfig(path=str(tmp_path / "train.jsonl"), tests=tests)
    return prepare(Recipe("t", data=data), tmp_path / "run")


def test_prompts_of_a_test_file_that_are_trained_on_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All 40 prompts and 3 new ones, with other answers: as many are trained on as the training
    split holds."""
    prompts = [f"Prompt {n}" for n in range(40)] + ["New 1", "New 2", "New 3"]
    (tmp_path / "same.jsonl").write_text(pairs(prompts, good="better"))
    (tmp_path / "spaced.jsonl").write_text(pairs([f" {prompt}\n" for prompt in prompts]))
    (tmp_path / "chats.jsonl").write_text(conversations(prompts))
    (tmp_path / "new.jsonl").write_text(pairs(["New 1", "New 2"]))
    run = prepared(
        tmp_path,
        **{name: str(tmp_path / f"{name}.jsonl") for name in ("same", "spaced", "chats", "new")},
    )
    ledgers = {name: Ledger.from_dict(ledger) for name, ledger in run.prepared["tests"].items()}
    trained_on = len(run.splits["train"])
    assert 0 < trained_on < 40
    counts = {name: ledger.count("in_training") for name, ledger in ledgers.items()}
    assert counts == {"same": trained_on, "spaced": trained_on, "chats": trained_on, "new": 0}
    assert (ledgers["same"].kept, ledgers["same"].dropped) == (43, 0)
    printed = capsys.readouterr().out
    assert f"same: 43 rows: 43 kept, 0 dropped\n  changed  {trained_on:>7}  in_training" in printed
    assert "new: " not in printed
    counted = {key: run.prepared[key] for key in ("splits", "ledger", "tests")}
    data = read(Data, {**counted, "contents": {}, "prompts": ""})
    table = ledger_table(SimpleNamespace(data=data))  # type: ignore[arg-type]
    assert ["same: in training", "changed", str(trained_on)] in [
        [cell.text for cell in row[:3]] for row in table.rows
    ]


def test_a_test_may_be_a_split_of_a_saved_dataset_or_a_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"prompt": f"New {n}", "chosen": "a", "rejected": "b"} for n in range(5)]
    data = datasets.Dataset.from_list(rows)
    datasets.DatasetDict(train=data, test=data.select([0, 1])).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "train.jsonl").write_text(pairs(["Other 1"]))
    (tmp_path / "folder" / "test.jsonl").write_text(pairs(["Other 2", "Other 3", "Other 4"]))
    run = prepared(
        tmp_path, saved=f"{tmp_path / 'saved'}#test", folder=f"{tmp_path / 'folder'}#test"
    )
    prompts = {name: [group.prompt for group in groups] for name, groups in run.tests.items()}
    assert prompts == {"saved": ["New 0", "New 1"], "folder": ["Other 2", "Other 3", "Other 4"]}


def test_the_order_in_which_splits_are_dealt_out_makes_other_data(tmp_path: Path) -> None:
    """With equal shares the splits change places: who was trained on before is tested on now."""
    (tmp_path / "train.jsonl").write_text(pairs([f"Prompt {n}" for n in range(40)]))
    runs = []
    for splits in ({"train": 0.5, "test": 0.5}, {"test": 0.5, "train": 0.5}):
        data = DataConfig(path=str(tmp_path / "train.jsonl"), splits=splits)
        runs.append(prepare(Recipe("t", data=data), tmp_path / "run"))
    one, other = runs
    trained_on = [group.prompt for group in one.splits["train"]]
    assert trained_on == [group.prompt for group in other.splits["test"]]
    assert one.data != other.data
    assert other.stages["data"].anew


def test_what_a_killed_run_began_to_write_is_removed(tmp_path: Path) -> None:
    cache = tmp_path / "run" / "cache"
    cache.mkdir(parents=True)
    (cache / "0123.arrowabcdefgh.part").write_bytes(b"half of the rows")
    prepared(tmp_path)
    assert not list(cache.glob("*.part"))
