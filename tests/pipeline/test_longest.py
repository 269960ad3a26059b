"""A row that has no room by itself is refused before anything is trained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.pipeline import Recipe, run_recipe
from rewarddiff.pipeline.planning import fitting, machines
from rewarddiff.pipeline.planning.machines import FIRST, SECOND, Device

LONG = 700
"""Bytes of the long row's prompt: the tiny tokenizer makes a token of each."""


@pytest.fixture
def recipe(policy_folder: Path, tmp_path: Path) -> dict[str, Any]:
    rows = []
    for i in range(30):
        prompt = "x" * LONG if i == 6 else f"Say it {i}"
        rows.append({"prompt": prompt, "chosen": f" yes {i}", "rejected": " no"})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = {"batch_size": 2, "max_steps": 1, "precision": "fp32", "microbatch_tokens": 64}
    return {
        "name": "long",
        "output": str(tmp_path / "run"),
        "data": {"path": str(path), "splits": {"train": 1.0}},
        "model": str(policy_folder),
        "policies": {"dpo": {"train": train}},
    }


def between(recipe: dict[str, Any]) -> float:
    """Return bytes that are enough for a pass of 64 tokens, and not for one of the long row."""
    (training,) = fitting.trainings(load_recipe(recipe, [], Recipe))
    device = Device("a machine", None)
    usual, longest = (training.peak(device, tokens).total for tokens in (64, LONG))
    assert usual < longest
    return (usual + longest) / 2


def test_the_row_is_named_with_its_tokens_and_what_would_need_less(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "free_memory", lambda: between(recipe))
    with pytest.raises(UserError) as refused:
        run_recipe(recipe)
    line = str(refused.value)
    found = re.match(r".*pairs\.jsonl:7: policies\.dpo reads (\d+) tokens of it at once", line)
    assert found
    assert LONG < int(found[1]) < LONG + 20  # the prompt and one response
    assert "GiB are free on" in line
    assert re.search(r"set policies\.dpo\.train\.gradient_checkpointing=true|cut texts", line)
    assert "\n" not in line
    assert not (tmp_path / "run/policies").exists()


def test_it_is_let_through_where_it_is_cut_or_where_there_is_room(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = between(recipe)
    monkeypatch.setattr(machines, "free_memory", lambda: free)
    assert run_recipe(recipe, ["lengths.max_prompt=40"]).is_dir()
    monkeypatch.setattr(machines, "free_memory", lambda: 2 * free)
    assert run_recipe(recipe).is_dir()


def test_a_control_groups_limit_is_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both versions, also where the group above sets the limit; contents of files are given up."""
    for number, files in enumerate((FIRST, SECOND)):
        group = tmp_path / str(number) / "outer" / "inner"
        group.mkdir(parents=True)
        (group.parent / files.limit).write_text("3000000\n")
        (group.parent / files.used).write_text("2500000\n")
        (group.parent / "memory.stat").write_text(f"cache 7\n{files.kept} 100000\n")
        placed = files._replace(root=tmp_path / str(number))
        left = [
            *machines._left_by_group(group, placed),
            *machines._left_by_group(group.parent, placed),
        ]
        assert left == [600_000.0]
