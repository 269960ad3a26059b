"""Every objective through the whole pipeline, by one key of a recipe."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from rewarddiff.errors import UserError
from rewarddiff.pipeline import stage
from rewarddiff.pipeline.commands import run_recipe, train_stage
from rewarddiff.policies import policy
from rewarddiff.policies.objectives import BY_NAME

NAMES = [name for name in BY_NAME if name != "sft"]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def recipe(policy_folder: Path, encoder_folder: Path, output: Path) -> dict[str, Any]:
    small = {"batch_size": 4, "max_steps": 2, "precision": "fp32", "lr": 1e-3}
    return {
        "name": "every",
        "model": str(policy_folder),
        "output": str(output),
        "data": {"path": "demo", "limit": 16, "splits": {"train": 0.5, "dev": 0.2, "test": 0.3}},
        "lengths": {"max_response": 48},
        "scorers": {
            "difference": {"kind": "difference", "backbone": str(encoder_folder), "train": small}
            | {"lengths": {"max_response": 48, "max_prompt": 48}},
        },
        "policies": {
            "policy": {
                "objective": "dpo",
                "train": small,
                "coefficient": {"source": "difference", "alpha": 0.5, "negative": "abs"},
                "strength": {"source": "grades", "scale": 0.2},
            }
        },
        "evaluation": {"sampling": {"max_new_tokens": 4, "stop": []}, "prompts": 2},
    }


@pytest.mark.parametrize("name", NAMES)
def test_one_key_changes_the_objective(recipe: dict[str, Any], name: str) -> None:
    folder = run_recipe(recipe, [f"policies.policy.objective={name}"])
    results = json.loads((folder / "results.json").read_text())
    (policy,) = results["policies"]
    assert policy["objective"] == name
    steps = [line for line in policy["curve"] if line["split"] == "train"]
    assert [line["step"] for line in steps] == [1, 2]
    assert all(line["grad_norm"] > 0 for line in steps)
    assert (folder / "policies/policy-0/model/model.safetensors").exists()


def test_a_policy_that_could_not_be_saved_goes_on_from_its_checkpoint(
    recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = [f"output={tmp_path / 'run'}", "policies.policy.train.save_every=1"]

    def full(*_: object, **options: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(policy, "save_policy", full)
        with pytest.raises(OSError, match="no space left"):
            run_recipe(recipe, changes)
    with caplog.at_level(logging.INFO, "rewarddiff"):
        run_recipe(recipe, changes)
    assert "policy (seed 0): going on from step 1 of 2" in caplog.messages
    assert not (tmp_path / "run/policies/policy-0/checkpoint").exists()


def test_a_training_killed_while_its_model_is_summed_does_only_its_last_step_again(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bringing a large model to the disk and summing it takes minutes, and hours stand behind it."""
    output = tmp_path / "run"
    every = "train.save_every=1"
    changes = [f"output={output}", f"scorers.difference.{every}", f"policies.policy.{every}"]
    summed, update = stage.sums.of_files, torch.optim.AdamW.step

    def updates_until_killed(part: str) -> int:
        """Run until what a stage of this part wrote is summed; return the updates that were made."""
        updates = 0

        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal updates
            updates += 1
            return update(*arguments, **options)

        def killed(folder: Path, names: Any) -> Any:
            if folder.parent.name == part:
                raise KeyboardInterrupt
            return summed(folder, names)

        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", counted)
            patch.setattr(stage.sums, "of_files", killed)
            with pytest.raises(KeyboardInterrupt):
                run_recipe(recipe, changes)
        return updates

    # Each has two steps, and its last checkpoint lies between them.
    assert updates_until_killed("scorers") == 2
    assert updates_until_killed("policies") == 1 + 2
    assert updates_until_killed("samples") == 1
    assert not list((output / "policies/policy-0").glob("*checkpoint*"))


def test_one_policy_by_name_with_its_options(policy_folder: Path, tmp_path: Path) -> None:
    options = [
        "gamma_ratio=0.3",
        "max_steps=1",
        "precision=fp32",
        "lengths.max_response=32",
        "data.limit=12",
    ]
    train_stage("simpo", str(policy_folder), "demo", tmp_path, options)
    objective = json.loads((tmp_path / "run/results.json").read_text())["recipe"]["policies"][
        "simpo"
    ]["objective"]
    assert (objective["name"], objective["gamma_ratio"], objective["beta"]) == ("simpo", 0.3, 2.5)
    assert (tmp_path / "model.safetensors").exists()


def test_an_objective_without_its_column_names_the_mend(recipe: dict[str, Any]) -> None:
    with pytest.raises(
        UserError,
        match=r"objective odpo reads strengths; .* policies.policy.strength.source=grades",
    ):
        run_recipe(recipe, ["policies.policy.objective=odpo", "policies.policy.strength=null"])
