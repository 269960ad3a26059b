"""recipes/table-4-decoder.yaml: one command makes the table and its learning curves, here of a tiny model."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from rewarddiff.cli.looking import _named_in_recipe
from rewarddiff.pipeline.combinations import plan
from rewarddiff.pipeline.sweep import sweep_recipe
from rewarddiff.results import SweepResults, adapter

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "table-4-decoder.yaml"
KINDS = ("reward", "last", "segments", "general")
BUDGETS = (600, 1800)
"""Tokens: an item has some 150 of the tiny tokenizer."""


def pairs(path: Path) -> Path:
    rows = []
    for number in range(30):
        prompt = f"Say it {number}"
        rows.append({"prompt": prompt, "chosen": "yes! " * 4, "rejected": f"no {number}, never"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
def test_one_command_makes_the_table_and_a_learning_curve(
    policy_folder: Path, tmp_path: Path
) -> None:
    folder = sweep_recipe(
        RECIPE,
        [
            f"scorers.*.train.max_tokens={','.join(map(str, BUDGETS))}",
            f"data.path={pairs(tmp_path / 'pairs.jsonl')}",
            f"scorers.*.backbone={policy_folder}",
            "scorers.*.train.precision=fp32",
            "scorers.*.train.batch_size=2",
            "seed=0",
            f"output={tmp_path / 'table'}",
        ],
    )
    sweep = adapter(SweepResults).validate_json((folder / "sweep.json").read_bytes(), strict=True)
    (axis,) = sweep.axes
    table = {(s.summary.name, s.settings[axis.key]): s.summary.accuracy for s in sweep.scorers}
    assert set(table) == {(kind, budget) for kind in KINDS for budget in BUDGETS}
    assert all(accuracy.bounded for accuracy in table.values())
    # Every kind reads up to the budget, and none beyond it.
    read: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for manifest in folder.glob("scorers/*/manifest.json"):
        kind, *_ = manifest.parent.name.split("-")
        read[kind].append(json.loads(manifest.read_text())["cost"]["tokens"])
    small, large = BUDGETS
    for tokens in read.values():
        few, many = sorted(tokens)
        assert small / 2 < few <= small < large / 2 < many <= large
    assert (folder / "sweep.md").read_text().count("\n| segments |") == len(BUDGETS)
    assert (folder / "sweep.html").read_text().count("along max_tokens: reward ") == 1


def test_the_recipe_gives_every_kind_the_same_training_on_every_data_set() -> None:
    sweep = plan(RECIPE, ["scorers.*.train.max_tokens=100000,400000", "data.path=a.jsonl,b.jsonl"])
    settings = set()
    for combination in sweep.combinations:
        scorers = combination.recipe.scorers
        assert tuple(scorers) == KINDS
        assert len({scorer.train for scorer in scorers.values()}) == 1
        assert combination.recipe.seeds == (0, 1, 2)
        settings.add((combination.recipe.data.path, scorers["last"].train.max_tokens))
    assert settings == {(path, n) for path in ("a.jsonl", "b.jsonl") for n in (100_000, 400_000)}


def test_what_is_looked_for_first_is_what_the_command_line_leaves() -> None:
    """Several data sets are not one file, and a backbone that is replaced is not asked for."""

    def named(*overrides: str) -> tuple[str | None, dict[str, str]]:
        return _named_in_recipe(
            Namespace(command="sweep", recipe=str(RECIPE), overrides=list(overrides))
        )

    backbones = {f"scorers.{kind}.backbone": "smollm2-135m-instruct" for kind in KINDS}
    assert named("data.path=a.jsonl") == ("a.jsonl", backbones)
    assert named("data.path=a.jsonl,b.jsonl", "scorers.*.backbone=mine") == (None, {})
    one = Namespace(command="run", recipe=str(RECIPE), overrides=["data.path=a,b.jsonl"])
    assert _named_in_recipe(one)[0] == "a,b.jsonl"


def test_a_star_is_the_long_way_to_write_a_key_of_all_policies() -> None:
    recipe = {
        "name": "x",
        "model": "m",
        "data": {"path": "demo"},
        "policies": {"a": {"objective": "dpo"}, "b": {"objective": "sft"}},
    }
    sweeps = [plan(recipe, [f"{key}=1e-6,1e-5"]) for key in ("train.lr", "policies.*.train.lr")]
    short, long = ([c.recipe.policies for c in sweep.combinations] for sweep in sweeps)
    assert short == long
    assert {policies["b"].train.lr for policies in long} == {1e-6, 1e-5}
