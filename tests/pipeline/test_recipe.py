"""What a recipe may not say, in which words it is refused, and that the recipes at hand say nothing of the kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.pipeline.recipe import DataConfig, EvaluationConfig, Recipe
from rewarddiff.pipeline.run import prepare
from rewarddiff.sampling import SamplingConfig
from rewarddiff.training.objective import TrainConfig

ROOT = Path(__file__).parents[2]


def plan() -> dict[str, Any]:
    return {
        "name": "r",
        "model": "m",
        "scorers": {"reward": {"kind": "reward"}, "difference": {"kind": "difference", "warm_start": "reward"}},
        "policies": {
            "dpo": {"lora": {}},
            "weighted": {"coefficient": {"source": "difference"}},
            "graded": {"coefficient": {"source": "grades"}},
            "sft": {"objective": "sft"},
        },
    }


def test_the_example_is_in_order() -> None:
    load_recipe(plan(), [], Recipe).check()


@pytest.mark.parametrize("file", sorted(ROOT.glob("recipes/*.yaml")), ids=lambda file: file.stem)
def test_recipes_are_in_order(file: Path) -> None:
    load_recipe(file, [], Recipe).check()


@pytest.mark.parametrize(
    "override",
    [
        "policies.dpo.train.epochs=0",
        "policies.dpo.train.epochs=.inf",
        "policies.dpo.train.max_steps=0",
        "policies.dpo.train.batch_size=0",
        "policies.dpo.train.microbatch_tokens=0",
        "policies.dpo.train.lr=0",
        "policies.dpo.train.lr=.nan",
        "policies.dpo.train.head_lr=-1",
        "policies.dpo.train.warmup=1.1",
        "policies.dpo.train.max_grad_norm=-1",
        "policies.dpo.train.weight_decay=-0.1",
        "policies.dpo.train.eval_every=-1",
        "policies.dpo.train.save_every=-1",
        "policies.dpo.objective.beta=0",
        "policies.dpo.objective.label_smoothing=0.5",
        "policies.dpo.lora.r=0",
        "policies.dpo.lora.alpha=0",
        "scorers.reward.train.batch_size=-1",
        "scorers.reward.lengths.max_prompt=0",
        "lengths.max_response=0",
        "evaluation.sampling.max_new_tokens=0",
        "evaluation.sampling.temperature=-1",
        "evaluation.sampling.batch_size=0",
        "evaluation.prompts=0",
        "evaluation.shown=-1",
        "data.limit=0",
        "data.max_comparisons=0",
        "data.max_drop=1.5",
        "data.splits={test: 1.0}",
        "data.splits={train: 0, test: 1.0}",
    ],
)
def test_values_out_of_range(override: str) -> None:
    """The line names the override and the option."""
    key = override.partition("=")[0].rpartition(".")[2]
    with pytest.raises(UserError, match=rf"^override .*: {key} is .*, should [^\n]+$"):
        load_recipe(plan(), [override], Recipe)


def test_values_at_the_edge() -> None:
    TrainConfig(
        epochs=0.1,
        max_steps=1,
        batch_size=1,
        microbatch_tokens=1,
        warmup=1,
        max_grad_norm=0,
        weight_decay=0,
        eval_every=0,
    )
    SamplingConfig(max_new_tokens=1, temperature=0, batch_size=1)
    DataConfig(limit=1, max_comparisons=1, max_drop=1, splits={"train": 1.0})
    EvaluationConfig(prompts=1, shown=0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policies.sft.coefficient={source: grades}", "policies.sft.coefficient: objective sft"),
        ("policies.weighted.coefficient.scorer=reward", "scorer 'reward' is a reward model; set it to reward"),
        ("policies.graded.coefficient.scorer=reward", "source grades asks no scorer"),
        ("policies.weighted.coefficient.scorer=rewrad", "no scorer 'rewrad'"),
        ("policies.weighted.coefficient.lower=1", "scorer 'difference' has no spread over heads; set scorers.dif"),
        ("policies.graded.coefficient.lower=1", "policies.graded.coefficient.lower: grades have no spread"),
        ("policies.weighted.coefficient={lower: 1, negative: abs}", "negative=abs would take doubt for strength"),
        ("policies.base={}", "policies.base: the model before training has this name"),
        ("scorers.a/b={}", "scorers: 'a/b' names a folder"),
        ("policies.my policy={}", "policies: 'my policy' names a folder"),
        ("scorers.reward.warm_start=difference", "scorers.reward.warm_start: 'difference' does not stand before it"),
        ("scorers.reward.warm_start=reward", "scorers.reward.warm_start: 'reward' does not stand before it"),
    ],
)
def test_refused_before_anything_is_done(override: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        load_recipe(plan(), [override], Recipe).check()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_split_of_several(tmp_path: Path) -> None:
    """A folder with a file for each split: the recipe names the one to read, and has to."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, count in (("train", 30), ("test", 20)):
        rows = [{"prompt": f"{name} {i}", "chosen": "yes", "rejected": "no"} for i in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, count in (("train", 30), ("test", 20)):
        data = DataConfig(path=str(folder), split=name)
        run = prepare(Recipe("r", data), tmp_path / f"run-{name}")
        assert sum(map(len, run.splits.values())) == count
    with pytest.raises(UserError, match="several splits; name one of test, train"):
        prepare(Recipe("r", DataConfig(path=str(folder))), tmp_path / "run")
