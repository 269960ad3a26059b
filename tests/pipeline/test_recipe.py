"""What a recipe may not say, in which words it is refused, and that the recipes at hand say nothing
of the kind."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.config import load_recipe, to_dict
from rewarddiff.config.elsewhere import CALLED_HERE
from rewarddiff.errors import UserError
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.pipeline.policy_recipe import StrengthConfig
from rewarddiff.pipeline.recipe import DataConfig, EvaluationConfig, Recipe
from rewarddiff.pipeline.run import prepare
from rewarddiff.policies.objectives import BY_NAME
from rewarddiff.sampling import SamplingConfig
from rewarddiff.scorers.neural.config import Last, OdinConfig, ScorerConfig, Segments
from rewarddiff.scorers.neural.losses import Loss

ROOT = Path(__file__).parents[2]


def plan() -> dict[str, Any]:
    return {
        "name": "r",
        "model": "m",
        "scorers": {
            "reward": {"kind": "reward"},
            "difference": {"kind": "difference", "warm_start": "reward"},
        },
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


def float_keys(cls: Any) -> list[str]:
    """The keys of a dataclass that hold one number that may be a fraction."""
    hints = get_type_hints(cls)
    return [f.name for f in fields(cls) if hints[f.name] in (float, float | None)]


HOLDERS = [
    ("data", DataConfig),
    ("policies.dpo.train", TrainConfig),
    ("policies.weighted.coefficient", CoefficientConfig),
    ("policies.graded.strength", StrengthConfig),
    ("scorers.reward.train", TrainConfig),
    ("scorers.reward.odin", OdinConfig),
    ("evaluation.sampling", SamplingConfig),
    *((f"policies.dpo.objective={name}", cls) for name, cls in BY_NAME.items() if name != "sft"),
    *((f"scorers.reward.loss={cls().name}", cls) for cls in get_args(Loss)),
    *((f"scorers.reward.head={cls().name}", cls) for cls in (Segments, Last)),
]


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize(("place", "cls"), HOLDERS, ids=[place for place, _ in HOLDERS])
def test_every_number_is_finite(place: str, cls: type[Any], number: str) -> None:
    keys = float_keys(cls)
    assert keys
    place, named, name = place.partition("=")
    for key in keys:
        chosen = [f"{place}={name}"] if named else []
        with pytest.raises(UserError, match=key):
            load_recipe(plan(), [*chosen, f"{place}.{key}={number}"], Recipe)


@pytest.mark.parametrize(
    "override",
    [
        "scorers.reward.aspects={a: 1, b: .nan}",
        "scorers.reward.loss={name: margin, margins: {1: .inf}}",
    ],
)
def test_numbers_in_a_mapping_are_finite(override: str) -> None:
    with pytest.raises(UserError, match="finite"):
        load_recipe(plan(), [override], Recipe)


def test_numbers_are_finite_in_python() -> None:
    with pytest.raises(UserError, match=r"ScorerConfig: .* should be a finite number"):
        ScorerConfig(train={"weight_decay": math.inf})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"Last: .* should be a finite number"):
        Last(duplication=math.inf)


def test_old_spellings_are_answered_in_python_too() -> None:
    with pytest.raises(UserError, match=r"ScorerConfig: reverse: is now an option of the head"):
        ScorerConfig(kind="difference", reverse=0.1)  # type: ignore[call-arg]
    with pytest.raises(UserError, match=r"scorer: is now source; write source: mine"):
        CoefficientConfig(scorer="mine")  # type: ignore[call-arg]


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
        (
            "policies.weighted.coefficient.scorer=reward",
            "policies.weighted.coefficient.scorer: is now source; write source: reward",
        ),
        (
            "policies.dpo.order={source: reward, scorer: mine}",
            "policies.dpo.order.scorer: is now source; write source: mine",
        ),
        (
            "policies.weighted.coefficient.source=rewrad",
            "coefficient.source: no scorer 'rewrad' (there are: reward, difference)",
        ),
        (
            "policies.weighted.coefficient.source=null",
            "is missing; name a scorer (there are: reward, difference), or grades",
        ),
        ("policies.dpo.order={source: grades}", "policies.dpo.order.source: no scorer 'grades'"),
        ("scorers.grades={}", "scorers.grades: the data's own strengths have this name"),
        (
            "scorers.reward.kind=lengths",
            "'lengths', should be 'reward' or 'difference' or 'length' or 'remote' or 'judge' or 'panel' "
            "or 'people' – did you mean 'length'?",
        ),
        (
            "scorers.reward={kind: length, train: {}}",
            "key 'scorers.reward.train' – known here: kind",
        ),
        ("scorers.reward={trains: {}}", "'scorers.reward.trains' – did you mean 'train'?"),
        ("scorers.reward=7", "'scorers.reward' is 7, should be a mapping of keys to values"),
        ("scorers.reward=length", "warm_start: 'reward' is of kind length and no model"),
        ("scorers.difference.head=mixed", "'mixed', should be 'general' or 'segments' or 'last'"),
        (
            "scorers.difference.duplication=0.1",
            "write it there, as in head: {name: segments, duplication: 0.1}",
        ),
        (
            "scorers.difference.rank=3",
            "write it there, as in head: {name: general, rank: 3}",
        ),
        (
            "policies.weighted.coefficient.lower=1",
            "scorer 'difference' has no spread over heads; set scorers.dif",
        ),
        (
            "policies.graded.coefficient.lower=1",
            "policies.graded.coefficient.lower: grades have no spread",
        ),
        (
            "policies.weighted.coefficient={lower: 1, negative: abs}",
            "negative=abs would take doubt for strength",
        ),
        ("policies.base={}", "policies.base: the model before training has this name"),
        ("scorers.a/b={}", "scorers: 'a/b' names a folder"),
        ("policies.my policy={}", "policies: 'my policy' names a folder"),
        (
            "scorers.reward.warm_start=difference",
            "scorers.reward.warm_start: 'difference' does not stand before it",
        ),
        (
            "scorers.reward.warm_start=reward",
            "scorers.reward.warm_start: 'reward' does not stand before it",
        ),
    ],
)
def test_refused_before_anything_is_done(override: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        load_recipe(plan(), [override], Recipe).check()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policies.dpo.learning_rate=1e-5", "here it is policies.dpo.train.lr"),
        ("policies.dpo.train.learning_rate=1e-5", "here it is policies.dpo.train.lr"),
        ("scorers.reward.num_train_epochs=2", "here it is scorers.reward.train.epochs"),
        ("learning_rate=1e-5", "here it is policies.NAME.train.lr"),
        ("policies.dpo.beta=0.1", "here it is policies.dpo.objective.beta"),
        ("policies.dpo.lora_r=8", "here it is policies.dpo.lora.r"),
        (
            "policies.dpo.gradient_accumulation_steps=4",
            "here it is policies.dpo.train.batch_size and policies.dpo.train.microbatch_tokens",
        ),
        ("scorers.reward.model_name_or_path=x", "here it is scorers.reward.backbone"),
        ("policies.dpo.model_name_or_path=x", "here it is model"),
        ("policies.dpo.max_prompt_length=9", "here it is lengths.max_prompt"),
        ("output_dir=x", "here it is output"),
    ],
)
def test_keys_of_other_toolkits_are_answered_with_ours(override: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        load_recipe(plan(), [override], Recipe)
    assert str(refused.value).endswith(message)


def test_every_key_that_is_answered_exists() -> None:
    """Read into the recipe of the example, each is a key of the policy, the scorer or the recipe."""
    recipe = to_dict(load_recipe(plan(), ["policies.dpo.lora={}"], Recipe))
    parts = [recipe, recipe["policies"]["dpo"], recipe["scorers"]["reward"]]
    for name, keys in CALLED_HERE.items():
        for key in keys:
            places = [_at(part, key.split(".")) for part in parts]
            assert any(places), f"{name}: {key}"


def _at(part: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(part, dict) or key not in part:
            return False
        part = part[key]
    return True


def test_a_start_that_is_no_longer_among_the_scorers_is_named() -> None:
    with pytest.raises(UserError) as refused:
        load_recipe(plan(), ["scorers.reward=null"], Recipe).check()
    assert str(refused.value) == (
        "scorers.difference.warm_start: 'reward' is no scorer that stands before it (there are: "
        "none), and no folder; name one, or leave warm_start out"
    )


def test_a_kind_that_names_no_scorer_is_answered_with_the_scorer_of_that_kind() -> None:
    recipe = plan()
    recipe["scorers"] = {"pairs": {"kind": "difference"}, "rm": {"kind": "reward"}}
    with pytest.raises(UserError, match=r"are: pairs, rm\); write source: pairs$"):
        load_recipe(recipe, [], Recipe).check()


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


def test_a_run_lies_in_its_output_or_under_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    folders = {output: Recipe("r", output=output).folder for output in (None, "a/b", "~/x", "a~")}
    assert folders == {
        None: Path("runs/r"),
        "a/b": Path("a/b"),
        "~/x": Path("/home/me/x"),
        "a~": Path("a~"),
    }
