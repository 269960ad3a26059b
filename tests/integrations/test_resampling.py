"""Repetitions in place of weights."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.data import Ledger, load_groups
from rewarddiff.errors import UserError
from rewarddiff.integrations.llamafactory import Ranking, write_ranking
from rewarddiff.integrations.resampling import resampled_rows
from rewarddiff.records import Message

coefficients = st.lists(st.floats(0, 1e6), min_size=1, max_size=30).filter(lambda c: sum(c) > 1e-3)


@given(coefficients, st.integers(1, 100), st.integers(0, 5))
def test_copies_are_the_share_rounded_down_or_up(c: list[float], rows: int, seed: int) -> None:
    copies = np.bincount(resampled_rows(c, rows=rows, seed=seed), minlength=len(c))
    shares = rows * np.array(c) / sum(c)
    assert copies.sum() == rows
    assert (copies >= np.floor(shares - 1e-6)).all()
    assert (copies <= np.ceil(shares + 1e-6)).all()


@given(st.integers(1, 50), st.floats(1e-3, 1e3), st.integers(0, 5))
def test_equal_coefficients_repeat_nothing(n: int, c: float, seed: int) -> None:
    assert resampled_rows([c] * n, seed=seed).tolist() == list(range(n))


def test_the_mean_over_seeds_is_the_weighted_loss() -> None:
    """Σᵢ cᵢ·lᵢ / Σ c = (0.3·1 + 0·2 + 2.2·3 + 0.5·4) / 3 = 8.9 / 3, what rows average to."""
    losses = np.array([1.0, 2.0, 3.0, 4.0])
    means = [losses[resampled_rows([0.3, 0, 2.2, 0.5], seed=seed)].mean() for seed in range(4000)]
    assert np.mean(means) == pytest.approx(8.9 / 3, abs=0.02)


@pytest.mark.parametrize("c", [[-1.0, 2.0], [float("nan")], [0.0, 0.0], []])
def test_what_is_no_coefficient_is_refused(c: list[float]) -> None:
    with pytest.raises(UserError, match="coefficients: expected finite numbers of at least 0"):
        resampled_rows(c)


PAIRS: list[dict[str, Any]] = [
    {"prompt": "Name a colour.", "chosen": "Red", "rejected": "No\n", "coefficient": 2.0},
    {"prompt": "Why?", "chosen": "So.", "rejected": "–", "coefficient": 0.0},
    {
        "prompt": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2+2?"}],
        "chosen": [{"role": "assistant", "content": "4"}],
        "rejected": [{"role": "assistant", "content": "five"}],
        "coefficient": 1.0,
    },
]


def read_as_llamafactory_does(folder: Path, name: str) -> list[tuple[Any, ...]]:
    """Its converter for `formatting: sharegpt`, from data/README.md: columns and tags by name."""
    entry = json.loads((folder / "dataset_info.json").read_text())[name]
    columns, tags = entry["columns"], entry["tags"]
    assert entry["formatting"] == "sharegpt"
    assert entry["ranking"] is True
    rows = []
    for line in (folder / entry["file_name"]).read_text("utf-8").splitlines():
        row = json.loads(line)
        turns = row[columns["messages"]]
        system = ""
        if turns[0][tags["role_tag"]] == tags["system_tag"]:
            system, turns = turns[0][tags["content_tag"]], turns[1:]
        speakers = [turn[tags["role_tag"]] for turn in turns]
        assert speakers == [tags["user_tag"], tags["assistant_tag"]] * (len(turns) // 2) + [
            tags["user_tag"]
        ]
        answers = [row[columns[side]] for side in ("chosen", "rejected")]
        assert all(answer[tags["role_tag"]] == tags["assistant_tag"] for answer in answers)
        texts = [answer[tags["content_tag"]] for answer in answers]
        rows.append((system, turns[-1][tags["content_tag"]], *texts))
    return rows


def test_a_ranking_file_repeats_pairs_in_proportion(tmp_path: Path) -> None:
    written = write_ranking(PAIRS, tmp_path, "weighted", rows=6)
    assert written == Ranking(rows=6, pairs=2, left_out=1)
    assert Counter(read_as_llamafactory_does(tmp_path, "weighted")) == {
        ("", "Name a colour.", "Red", "No\n"): 4,
        ("Be short.", "2+2?", "4", "five"): 2,
    }


def test_a_ranking_file_reads_back_here(tmp_path: Path) -> None:
    """Also by the reader of LLaMA-Factory's own files, which reads the entry beside the file."""
    write_ranking(PAIRS, tmp_path, "weighted", rows=3)
    ledger = Ledger()
    groups = load_groups(tmp_path / "weighted.jsonl", ledger=ledger)
    expected = [
        ((Message("user", "Name a colour."),), ("Red", "No\n")),
        ((Message("system", "Be short."), Message("user", "2+2?")), ("4", "five")),
    ]
    assert [(group.prompt, group.responses) for group in groups] == expected
    assert "columns as weighted in dataset_info.json has them" in ledger.table()


def test_other_data_sets_keep_their_entries(tmp_path: Path) -> None:
    other = {"alpaca_en_demo": {"file_name": "alpaca_en_demo.json"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(other))
    write_ranking(PAIRS, tmp_path, "weighted")
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert list(info) == ["alpaca_en_demo", "weighted"]
    assert info["alpaca_en_demo"] == other["alpaca_en_demo"]


def test_nothing_is_written_where_something_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match=r"dataset_info\.json: no JSON"):
        write_ranking(PAIRS, tmp_path, "weighted")
    (tmp_path / "dataset_info.json").unlink()
    with pytest.raises(UserError, match="pairs: row 1: 'rejected'; expected prompt, chosen"):
        write_ranking([PAIRS[0], {"prompt": "a", "chosen": "b"}], tmp_path, "weighted")
    assert list(tmp_path.iterdir()) == []
