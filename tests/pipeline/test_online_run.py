"""Policies that learn from their own samples, through the whole pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.config import load_recipe
from rewarddiff.config.elsewhere import CALLED_ONLINE
from rewarddiff.errors import UserError
from rewarddiff.pipeline import online_stage
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.policy_recipe import SemiOnlineRecipe
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.policies.objectives.strength import ODPO
from rewarddiff.scorers.length import LengthScorer

SMALL = {"batch_size": 4, "max_steps": 2, "precision": "fp32"}
SAMPLES = {"num_generations": 2, "max_new_tokens": 5}


def recipe(policy: Path, encoder: Path, folder: Path) -> dict[str, Any]:
    path = folder / "pairs.jsonl"
    rows = [{"prompt": f"Say it {i}", "chosen": "yes", "rejected": "no."} for i in range(40)]
    path.write_text("\n".join(map(json.dumps, rows)))
    online = {**SAMPLES, "reward": {"source": "reward"}}
    pairs = {**online, "method": "semi_online", "steps_per_generation": 2}
    against = {
        **SAMPLES,
        "advantage": {"estimator": "reinforce"},
        "reward": {"source": "length", "kind": "contrastive", "scale": {"mode": "absolute_mean"}},
    }
    return {
        "name": "online",
        "model": str(policy),
        "output": str(folder / "run"),
        "data": {"path": str(path), "splits": {"train": 0.4, "dev": 0.3, "test": 0.3}},
        "scorers": {
            "reward": {"backbone": str(encoder), "train": {**SMALL, "max_steps": 1}},
            "length": {"kind": "length"},
        },
        "policies": {
            "dpo": {"train": SMALL},
            "ppo": {"train": SMALL, "online": online},
            "contrastive": {"train": SMALL, "online": against},
            "semi": {"train": SMALL, "online": pairs},
            "weighted": {"train": SMALL, "online": pairs, "coefficient": {"alpha": 0.5}},
        },
        "evaluation": {"prompts": 4, "sampling": {"max_new_tokens": 6, "stop": []}},
    }


@pytest.fixture
def plan(policy_folder: Path, encoder_folder: Path, tmp_path: Path) -> dict[str, Any]:
    return recipe(policy_folder, encoder_folder, tmp_path)


@pytest.mark.slow
def test_online_policies_are_trained_judged_and_not_trained_again(plan: dict[str, Any]) -> None:
    folder = run_recipe(plan)
    results = json.loads((folder / "results.json").read_text())
    methods = {policy["name"]: policy["objective"] for policy in results["policies"]}
    assert methods == {
        "dpo": "dpo",
        "ppo": "online-gae",
        "contrastive": "online-reinforce",
        "semi": "semi-online-dpo",
        "weighted": "semi-online-dpo",
    }
    # Weights are held against none, of the same pairs' trainer and not of another one.
    compared = {(c["a"], c["b"]) for c in results["contrasts"]}
    assert ("weighted", "semi") in compared
    assert ("weighted", "dpo") not in compared
    # The scorer that taught a policy is no independent judge of it.
    used = {(m["policy"], m["scorer"]): m["used_in_training"] for m in results["rewards"]}
    assert used["ppo", "reward"]
    assert not used["ppo", "length"]
    assert used["contrastive", "length"]
    assert used["weighted", "reward"]
    assert not used["weighted", "length"]
    for name in ("ppo", "contrastive", "semi", "weighted"):
        stage = folder / "policies" / f"{name}-0"
        assert (stage / "model" / "model.safetensors").exists()
        lines = (stage / "metrics.jsonl").read_text().splitlines()
        assert ["objective/kl" in json.loads(line) for line in lines] == [True, True]
    assert "ppo" in (folder / "report.html").read_text()
    before = (folder / "policies" / "ppo-0" / "manifest.json").stat().st_mtime_ns
    run_recipe(plan)
    assert (folder / "policies" / "ppo-0" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        (
            "policies.ppo.online.reward.source=rewrad",
            r"policies\.ppo\.online\.reward\.source: no scorer 'rewrad'; name a scorer",
        ),
        (
            "policies.ppo.online.reward.source=null",
            r"policies\.ppo\.online\.reward\.source: is missing",
        ),
        (
            "policies.contrastive.online.advantage.estimator=rloo",
            r"^policies\.contrastive\.online: reward contrastive changes nothing with estimator rloo",
        ),
        (
            "policies.ppo.coefficient={source: reward}",
            r"policies\.ppo\.coefficient: a policy that learns online has no comparisons",
        ),
        ("policies.ppo.train.max_tokens=100", r"policies\.ppo\.online: train\.max_tokens"),
        ("policies.ppo.online.num_generation=3", "did you mean 'num_generations'"),
        ("policies.ppo.online.method=semi", r"method' is 'semi'.*semi_online"),
        ("policies.semi.online.step_per_generation=3", "did you mean 'steps_per_generation'"),
        ("policies.semi.online.kl={kl_coef: 0.1}", r"unknown key 'policies\.semi\.online\.kl'"),
        ("policies.semi.online.reward.source=null", r"semi\.online\.reward\.source: is missing"),
        ("policies.semi.objective=sft", r"policies\.semi: objective sft does not learn from pairs"),
        ("policies.semi.order={source: reward}", r"policies\.semi\.order: whoever scores"),
        (
            "policies.weighted.coefficient.source=length",
            r"policies\.weighted\.coefficient\.source: length, and the samples are read by reward",
        ),
        (
            "policies.weighted.coefficient={source: column, alpha: 1}",
            r"policies\.weighted\.coefficient\.source: column, and the samples",
        ),
        ("policies.weighted.coefficient.orders=one", r"policies\.weighted: coefficient\.orders"),
        ("policies.weighted.coefficient.lower=1", r"weighted\.coefficient\.lower: .*heads to 5"),
        ("policies.ppo.online.loss_type=dapo", r"here it is policies\.ppo\.online\.loss_agg_mode$"),
        ("policies.ppo.online.beta=0.1", r"here it is policies\.ppo\.online\.kl\.kl_coef$"),
        ("policies.ppo.online.kl.clip_ratio=1", r"here it is policies\.ppo\.online\.epsilon$"),
        ("policies.ppo.online.learning_rate=1", r"here it is policies\.ppo\.train\.lr$"),
        ("policies.ppo.beta=0.1", r"here it is policies\.ppo\.objective\.beta$"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_trained(
    override: str, complaint: str, plan: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=complaint):
        load_recipe(plan, [override], Recipe).check()


def test_the_cancelling_baseline_can_be_allowed(plan: dict[str, Any]) -> None:
    overrides = [
        "policies.contrastive.online.advantage.estimator=rloo",
        "policies.contrastive.online.allow_cancelling=true",
    ]
    load_recipe(plan, overrides, Recipe).check()


def test_recipes_without_samples_resolve_as_before(plan: dict[str, Any]) -> None:
    # Their stages are named by their settings: runs that are there are not made anew.
    config = load_recipe(plan, [], Recipe)
    assert "online" not in config.policies["dpo"].settings
    assert "objective" not in config.policies["ppo"].settings


def test_pairs_of_samples_take_the_policys_columns(plan: dict[str, Any]) -> None:
    overrides = [
        "policies.weighted.objective={name: odpo, alpha: 0.5}",
        "policies.weighted.strength={scale: 2.0}",
        "policies.weighted.online.missing_eos_penalty=1.0",
    ]
    recipe = load_recipe(plan, overrides, Recipe)
    recipe.check()
    policy = recipe.policies["weighted"]
    assert policy.method == "semi-online-odpo"
    assert {column.source for column in policy.columns.values()} == {"reward"}
    assert isinstance(policy.online, SemiOnlineRecipe)
    config = policy.online.config(policy)
    assert config.objective == ODPO(alpha=0.5)
    assert config.coefficient == CoefficientConfig(alpha=0.5)
    assert (config.strength_scale, config.missing_eos_penalty) == (2.0, 1.0)
    assert config.train.max_steps == 2
    # Strengths are the scorer's differences as they are, where nothing is said of them.
    load_recipe(plan, ["policies.semi.objective=odpo"], Recipe).check()


def test_the_temperature_of_the_scorer_makes_log_odds_of_differences(
    plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def four(run: Any, scorer: str, seed: int, place: str) -> float:
        asked.append((scorer, seed, place))
        return 4.0

    monkeypatch.setattr(online_stage, "temperature_of", four)
    overrides = [
        "policies.weighted.objective=mmpo",
        "policies.weighted.coefficient.calibrated=true",
        "policies.weighted.strength={scale: 2.0, calibrated: true}",
    ]
    recipe = load_recipe(plan, overrides, Recipe)
    recipe.check()
    options = recipe.policies["weighted"].online
    assert isinstance(options, SemiOnlineRecipe)
    teacher = LengthScorer()
    run: Any = SimpleNamespace(recipe=recipe)
    config, functions = online_stage._of_pairs(run, "weighted", options, teacher, seed=3)
    assert functions.temperature == 4.0  # of coefficients
    assert config.strength_scale == 2.0 / 4.0
    places = ["policies.weighted.coefficient", "policies.weighted.strength"]
    assert asked == [("reward", 3, place) for place in places]


def test_what_trains_pairs_of_samples_names_their_stage(plan: dict[str, Any]) -> None:
    config = load_recipe(plan, [], Recipe)
    assert config.policies["semi"].settings["objective"]["name"] == "dpo"
    assert config.policies["semi"].settings["online"]["method"] == "semi_online"
    assert "method" not in config.policies["ppo"].settings["online"]


def test_every_name_of_a_peer_leads_to_a_key(plan: dict[str, Any]) -> None:
    for name, key in CALLED_ONLINE.items():
        with pytest.raises(UserError, match=rf"here it is policies\.ppo\.online\.{key}$"):
            load_recipe(plan, [f"policies.ppo.online.{name}=1"], Recipe)
        part: Any = load_recipe(plan, [], Recipe).policies["ppo"].online
        for step in key.split("."):
            part = getattr(part, step)
