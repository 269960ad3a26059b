"""Who is no independent judge: whoever trained a policy, under whatever name, form or place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from judging_examples import outputs

from rewarddiff.config import load_recipe
from rewarddiff.data.vote_files import write_votes
from rewarddiff.data.votes import Vote
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.contestants import contestants
from rewarddiff.pipeline.contrasts import used_in_training
from rewarddiff.pipeline.independence import used_by
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.results import PEOPLE
from rewarddiff.sums import sealed_json

SERVED = {"kind": "judge", "url": "http://127.0.0.1:9", "model": "large"}


def is_used(source: dict[str, Any], judge: dict[str, Any], **more: dict[str, Any]) -> bool:
    """Tell whether a judge counts as used where `source` gave a policy its coefficients."""
    recipe = {
        "name": "r",
        "model": "none",
        "scorers": {"source": source, **more, "judge": judge},
        "policies": {"weighted": {"coefficient": {"source": "source"}}, "dpo": {}},
    }
    loaded = load_recipe(recipe, [], Recipe)
    assert not used_in_training(loaded, "dpo", "judge")
    return used_in_training(loaded, "weighted", "judge")


@pytest.mark.parametrize(
    "otherwise",
    [
        {"form": "grades"},
        {"prompt": "helpful"},
        {"seed": 1},
        {"temperature": 0.7},
        {"orders": "one"},
        {"max_tokens": 32},
        {"url": "http://127.0.0.1:10"},
    ],
)
def test_a_model_that_is_asked_otherwise_is_the_same_judge(otherwise: dict[str, Any]) -> None:
    assert is_used(SERVED, {**SERVED, **otherwise})


def test_another_model_is_another_judge() -> None:
    assert not is_used(SERVED, {**SERVED, "model": "small"})


def test_a_panel_has_a_part_where_a_member_has_one() -> None:
    same, other = {**SERVED, "seed": 1}, {**SERVED, "model": "small"}
    further = {**SERVED, "model": "tiny"}
    panel = {"kind": "panel", "of": ["a", "b"]}
    assert is_used(SERVED, panel, a=same, b=other)
    assert not is_used(SERVED, panel, a=further, b=other)


def write(votes: list[Vote], path: Path) -> str:
    write_votes(votes, path, "votes")
    return str(path)


def test_people_are_the_same_however_their_votes_are_combined(tmp_path: Path) -> None:
    votes = [Vote("Why?", "x", "y", 2, "ann"), Vote("Why?", "x", "y", -1, "bob")]
    file = write(votes, tmp_path / "votes.jsonl")
    copy = write(votes, tmp_path / "copy.jsonl")
    others = write(votes[:1], tmp_path / "others.jsonl")
    people = {"kind": "people", "path": file}
    assert is_used(people, {**people, "path": copy, "combine": "majority"})
    assert not is_used(people, {**people, "path": others})


def test_a_local_model_is_the_same_judge_in_a_copy_of_its_folder(
    policy_folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(policy_folder, tmp_path / "copy")
    local = {"kind": "judge", "local": str(policy_folder)}
    assert is_used(local, {**local, "local": str(copy), "form": "grades"})


# --- of the command -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose policies were weighed by people, and trained on nothing but labels."""
    folder = tmp_path_factory.mktemp("independence")
    rows = [{"prompt": f"P{i}", "chosen": f"yes {i}", "rejected": "no"} for i in range(20)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    votes = [Vote(f"P{i}", f"yes {i}", "no", 1 + i % 2, "ann") for i in range(20)]
    small = {"max_steps": 1, "precision": "fp32"}
    recipe = {
        "name": "r",
        "model": str(policy_folder),
        "output": str(folder / "run"),
        "data": {"path": str(folder / "pairs.jsonl"), "splits": {"train": 0.6, "test": 0.4}},
        "scorers": {
            "ours": {"kind": "people", "path": write(votes, folder / "votes.jsonl")},
            "remote": {"kind": "length"},
        },
        "policies": {
            "dpo": {"train": small},
            "weighted": {"train": small, "coefficient": {"source": "ours"}},
        },
        "evaluation": {"prompts": 2, "sampling": {"max_new_tokens": 2, "stop": []}},
    }
    return run_recipe(recipe)


def test_people_who_weighed_a_policy_are_no_independent_judge_of_it(
    run: Path, tmp_path: Path
) -> None:
    votes = str(run.parent / "votes.jsonl")
    others = write([Vote("P1", "a", "b", 1, "bob")], tmp_path / "others.jsonl")
    file = outputs(tmp_path / "theirs.jsonl", ["x"])
    named = contestants([f"{run}:weighted", f"{run}:dpo", file])
    used = used_by(named, {PEOPLE: votes, "others": others, "length": "length"})
    found = {(one.name, judge) for one in named for judge in (PEOPLE, "others", "length")
             if used(one.name, judge)}  # fmt: skip
    assert found == {("weighted", PEOPLE)}


def test_votes_that_are_gone_are_nobody_who_can_be_named(run: Path, tmp_path: Path) -> None:
    """A run whose votes were moved away can still be judged."""
    moved = Path(shutil.copytree(run, tmp_path / "run"))
    recipe = json.loads((moved / "results.json").read_text())
    recipe["recipe"]["scorers"]["ours"]["path"] = str(tmp_path / "gone.jsonl")
    del recipe["sha256"]
    (moved / "results.json").write_text(sealed_json("results.json", recipe))
    named = contestants([f"{moved}:weighted", f"{moved}:dpo"])
    assert not used_by(named, {"length": "length"})("weighted", "length")
