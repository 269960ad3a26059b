"""Plans of recipes: their tokens against a run's, what is done, calls, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.cli import main
from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.footprint import shapes
from rewarddiff.pipeline import run_recipe
from rewarddiff.pipeline.planning import (
    Plan,
    amounts,
    fitting,
    machines,
    plan_recipe,
    stages,
)
from rewarddiff.pipeline.planning import plan as plans
from rewarddiff.pipeline.planning.costs import Planned
from rewarddiff.pipeline.planning.machines import Device
from rewarddiff.policies.names import OBJECTIVES
from rewarddiff.policies.objectives import BY_NAME

ROWS = 40


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products are not measured, which takes a second."""
    monkeypatch.setattr(machines, "matmul_rate", lambda *_: 1e11)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plans") / "pairs.jsonl"
    rows = []
    for i in range(ROWS):
        better, worse = f"yes {i}{'!' * (i % 7)}", f"no {i}"
        rows.append({"prompt": f"Say it {i}", "chosen": better, "rejected": worse})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe(policy: Path, encoder: Path, data: Path, output: Path) -> dict[str, Any]:
    small = {"batch_size": 4, "precision": "fp32"}
    return {
        "name": "planned",
        "output": str(output),
        "data": {"path": str(data), "splits": {"train": 0.6, "dev": 0.2, "test": 0.2}},
        "model": str(policy),
        "scorers": {"reward": {"backbone": str(encoder), "train": small}},
        "policies": {
            "dpo": {"train": {**small, "epochs": 2}},
            "dpo+reward": {
                "train": small,
                "lora": {"r": 2},
                "coefficient": {"source": "reward", "negative": "clip"},
            },
        },
        "evaluation": {"prompts": 4, "sampling": {"max_new_tokens": 4}},
    }


@pytest.fixture(scope="module")
def carried_out(
    tmp_path_factory: pytest.TempPathFactory, policy_folder: Path, encoder_folder: Path, data: Path
) -> dict[str, Any]:
    """A recipe that was run."""
    output = tmp_path_factory.mktemp("planned") / "run"
    content = recipe(policy_folder, encoder_folder, data, output)
    run_recipe(content)
    return content


def without_policies(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != "policies"}


def by_folder(plan: Plan) -> dict[str, Planned]:
    return {stage.folder: stage for stage in plan.stages}


def test_the_tokens_of_a_plan_are_those_of_the_run(carried_out: dict[str, Any]) -> None:
    planned = by_folder(plan_recipe(carried_out, ["output=runs/none"]))
    run = Path(carried_out["output"])
    costs = {}
    for name in ("dpo-0", "dpo+reward-0"):
        manifest = json.loads((run / "policies" / name / "manifest.json").read_text())
        costs[name] = manifest["cost"]
    # The reference reads train and dev once, for the first policy; two epochs read train twice, and dev is
    # read at both ends of training.
    first = costs["dpo-0"]
    dev = first["reference_tokens"] - first["tokens"] / 2
    expected = first["tokens"] + first["reference_tokens"] + 2 * dev
    assert planned["policies/dpo-0"].tokens == pytest.approx(expected)
    second = costs["dpo+reward-0"]
    assert second["reference_tokens"] == 0
    assert planned["policies/dpo+reward-0"].tokens == pytest.approx(second["tokens"] + 2 * dev)
    cost = json.loads((run / "scorers/reward-0/manifest.json").read_text())["cost"]
    assert planned["scorers/reward-0"].tokens > cost["tokens"]


def test_every_stage_of_the_run_is_planned_and_no_other(carried_out: dict[str, Any]) -> None:
    run = Path(carried_out["output"])
    made = {path.parent.relative_to(run).as_posix() for path in run.rglob("manifest.json")}
    scored = {"data", "scorers/reward-0"}
    assert by_folder(plan_recipe(carried_out)).keys() | scored == made


def test_what_is_there_is_done_and_costs_nothing_more(carried_out: dict[str, Any]) -> None:
    plan = plan_recipe(carried_out)
    assert plan.left == []
    # Another training of the policy: it and what is made of it are to be done.
    again = plan_recipe(carried_out, ["policies.dpo.train.lr=1e-3"])
    left = {stage.folder for stage in again.left}
    assert left == {"policies/dpo-0", "samples/dpo-0", "rewards/0"}
    # Other data: nothing is done.
    other = plan_recipe(carried_out, ["data.limit=30"])
    assert len(other.left) == len(other.stages)


def test_planning_writes_nothing(
    tmp_path: Path, policy_folder: Path, encoder_folder: Path, data: Path
) -> None:
    plan_recipe(recipe(policy_folder, encoder_folder, data, tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_a_sample_is_scaled_to_the_whole(
    tmp_path: Path,
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
) -> None:
    content = recipe(policy_folder, encoder_folder, data, tmp_path / "run")
    whole = by_folder(plan_recipe(content))
    config = load_recipe(content, [], plans.Recipe)
    groups = plans._groups(config.data)
    splits = plans.split(groups, config.data.splits, config.data.seed)
    planner = stages.Planner(
        config, splits, {}, Device("any", None), folder=config.folder, data="", most=8
    )
    part = {stage.folder: stage for stage in planner.stages()}
    assert planner.sampled == 8
    for folder in ("policies/dpo-0", "scorers/reward-0", "evaluations/reward-0"):
        assert part[folder].tokens == pytest.approx(whole[folder].tokens, rel=0.1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_is_planned(
    objective: str, tmp_path: Path, policy_folder: Path, encoder_folder: Path, data: Path
) -> None:
    content = recipe(policy_folder, encoder_folder, data, tmp_path / "run")
    policy: dict[str, Any] = {"objective": objective, "train": {"precision": "fp32"}}
    if "strength" in BY_NAME[objective]().reads:
        policy["strength"] = {"source": "reward"}
    content["policies"] = {"one": policy}
    planned = by_folder(plan_recipe(content))["policies/one-0"]
    assert planned.tokens > 0
    assert planned.operations > 0


def test_calls_of_a_judge_and_their_price(tmp_path: Path, policy_folder: Path, data: Path) -> None:
    judge = {
        "kind": "judge", "url": "http://nowhere.invalid", "model": "m",
        "price_in": 1.0, "price_out": 10.0, "max_tokens": 100,
    }  # fmt: skip
    content = {
        "name": "judged",
        "output": str(tmp_path / "run"),
        "data": {"path": str(data), "splits": {"train": 0.5, "test": 0.5}},
        "model": str(policy_folder),
        "scorers": {"judge": judge},
        "policies": {"dpo": {"train": {"precision": "fp32"}}},
        "evaluation": {"prompts": 4, "sampling": {"max_new_tokens": 4}},
    }
    plan = plan_recipe(content)
    planned = by_folder(plan)
    config = load_recipe(content, [], plans.Recipe)
    splits = plans.split(plans._groups(config.data), config.data.splits, 0)
    evaluated = planned["evaluations/judge-0"].calls
    assert evaluated.calls == 2 * len(splits["test"])  # each pair in both orders
    # Half of 100 tokens is written for each, at 10 a million, and what is read at 1 a million.
    written = 50 * evaluated.calls
    assert evaluated.price == pytest.approx((evaluated.prompt_tokens + 10 * written) / 1e6)
    # Four prompts: the policy against the base model and against two canaries, in both orders.
    assert planned["verdicts/0"].calls.calls == 2 * (4 + 2 * 4)


# --- the command ----------------------------------------------------------------------------------


def written(content: dict[str, Any], folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(content))
    return path


def test_the_command_shows_a_table(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    path = written(recipe(policy_folder, encoder_folder, data, tmp_path / "run"), tmp_path)
    main(["plan", str(path), "--gpu", "h100", "--count", "8"])
    shown = capsys.readouterr().out
    assert "planned on 8 × h100" in shown
    assert "projected" in shown
    assert "Times are those of the work alone: starting comes on top" in shown
    assert "989 TFLOP/s in bf16, 67 TFLOP/s in fp32, as published; 40 % of that" in shown
    for folder in ("scorers/reward-0", "policies/dpo+reward-0", "differences/reward-both-0"):
        assert folder in shown


def test_gpus_divide_weights_where_the_recipe_says_so(
    tmp_path: Path, policy_folder: Path, encoder_folder: Path, data: Path
) -> None:
    content = recipe(policy_folder, encoder_folder, data, tmp_path / "run")
    one = by_folder(plan_recipe(content, gpu="h100"))["policies/dpo-0"]
    sharding = ["policies.dpo.train.sharding=fsdp"]
    eight = by_folder(plan_recipe(content, sharding, gpu="h100", count=8))["policies/dpo-0"]
    assert one.memory is not None
    assert eight.memory is not None
    assert eight.memory.moments == pytest.approx(one.memory.moments / 8)
    assert eight.seconds == pytest.approx(one.seconds / 8)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--gpu", "h1000"], "there is no 'h1000' – did you mean 'h100'?"),
        (["--count", "2"], "--count is of GPUs: name their kind with --gpu"),
    ],
)
def test_what_cannot_be_planned_for_is_refused_in_one_line(
    argv: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
) -> None:
    path = written(recipe(policy_folder, encoder_folder, data, tmp_path / "run"), tmp_path)
    assert main(["plan", str(path), *argv]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# --- what has no room -----------------------------------------------------------------------------


def test_a_run_without_room_is_refused_before_anything_is_trained(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
) -> None:
    content = recipe(policy_folder, encoder_folder, data, tmp_path / "run")
    monkeypatch.setattr(machines, "free_memory", lambda: 1e6)
    with pytest.raises(UserError) as refused:
        run_recipe(content)
    line = str(refused.value)
    assert line.startswith("scorers.reward: training it is planned to take")
    assert "0.0 GiB are free" in line
    assert "\n" not in line
    assert not (tmp_path / "run" / "scorers").exists()
    monkeypatch.setenv("REWARDDIFF_MEMORY", "ignore")
    assert run_recipe(without_policies(content)).is_dir()


def test_a_run_is_refused_only_where_it_clearly_has_no_room(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
) -> None:
    content = without_policies(recipe(policy_folder, encoder_folder, data, tmp_path / "run"))
    plan = by_folder(plan_recipe(content))
    peak = plan["scorers/reward-0"].memory
    assert peak is not None
    # 20 % short of the plan is within its error.
    monkeypatch.setattr(machines, "free_memory", lambda: 0.81 * peak.total)
    assert run_recipe(content).is_dir()
    monkeypatch.setattr(machines, "free_memory", lambda: 0.79 * peak.total)
    with pytest.raises(UserError, match="planned to take"):
        run_recipe(content, [f"output={tmp_path / 'other'}"])
    # What is done needs no room.
    assert run_recipe(content).is_dir()


def test_where_memory_is_not_known_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, carried_out: dict[str, Any]
) -> None:
    monkeypatch.setattr(machines, "free_memory", lambda: None)
    monkeypatch.setattr(fitting, "trainings", lambda recipe: pytest.fail("nothing to compare with"))
    run_recipe(carried_out)


def test_nothing_is_tokenised_where_all_fits(
    monkeypatch: pytest.MonkeyPatch, carried_out: dict[str, Any]
) -> None:
    monkeypatch.setattr(machines, "free_memory", lambda: 1e12)
    monkeypatch.setattr(amounts, "of_policy", lambda *_: pytest.fail("it fits anyway"))
    run_recipe(carried_out)


def test_a_model_that_cannot_be_planned_is_not_refused(
    monkeypatch: pytest.MonkeyPatch, carried_out: dict[str, Any]
) -> None:
    def foreign(config: object) -> None:
        raise ValueError("only its own code knows")

    shapes.shape_of.cache_clear()
    monkeypatch.setattr(shapes.AutoModel, "from_config", foreign)
    monkeypatch.setattr(shapes.AutoModelForCausalLM, "from_config", foreign)
    monkeypatch.setattr(machines, "free_memory", lambda: 1.0)
    run_recipe(carried_out)
    with pytest.raises(UserError, match="does not tell its sizes"):
        plan_recipe(carried_out)
