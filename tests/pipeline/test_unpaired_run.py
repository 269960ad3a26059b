"""Responses labelled by themselves through the whole pipeline: trained on, shown, or refused with
one line."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

import rewarddiff as rd
from rewarddiff.data import Ledger, load_groups
from rewarddiff.errors import UserError
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.pipeline import augment
from rewarddiff.pipeline.commands import run_recipe, train_policy
from rewarddiff.policies.objectives.lists import KTO
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.objectives.sft import SFTConfig
from rewarddiff.policies.policy import PolicyConfig
from rewarddiff.sampling import Sample

SMALL = {"batch_size": 8, "max_steps": 2, "precision": "fp32", "lr": 1e-3}


def written(path: Path, labels: list[bool]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["prompt", "completion", "label"])
        writer.writerows(
            [f"Say it {i}", f"yes{i}!" if yes else f"no{i}", yes] for i, yes in enumerate(labels)
        )
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty prompts with one response each, all desirable ones first."""
    return written(tmp_path_factory.mktemp("data") / "labels.csv", [i < 20 for i in range(40)])


def recipe(model: Path, data: Path, output: Path, objective: str = "kto") -> dict[str, Any]:
    return {
        "name": "labels",
        "model": str(model),
        "output": str(output),
        "data": {"path": str(data), "splits": {"train": 0.7, "dev": 0.2, "test": 0.1}},
        "policies": {"policy": {"objective": objective, "train": SMALL}},
    }


def test_kto_is_trained_on_labels_and_the_report_counts_them(
    policy_folder: Path, data: Path, tmp_path: Path
) -> None:
    output = run_recipe(recipe(policy_folder, data, tmp_path / "run"))
    results = json.loads((output / "results.json").read_text())
    splits = results["data"]["splits"]
    assert (
        sum(split["labels"] for split in splits.values())
        == sum(split["groups"] for split in splits.values())
        == 40
    )
    assert {split["comparisons"] for split in splits.values()} == {0}
    (policy,) = results["policies"]
    steps = [line for line in policy["curve"] if line["split"] == "train"]
    assert [line["step"] for line in steps] == [1, 2]
    assert all(
        {"rewards/chosen", "rewards/rejected"} <= line.keys() for line in steps
    )  # mixed, and the data is not
    assert steps[0]["loss"] == pytest.approx(0.5)
    assert all(line["grad_norm"] > 0 for line in steps)
    page = re.sub(r"<[^>]+>", " ", (output / "report.html").read_text())
    assert "labelled responses" in page
    assert (output / "policies/policy-0/model/model.safetensors").exists()


def test_other_objectives_name_the_cause_and_the_mend(
    policy_folder: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        run_recipe(recipe(policy_folder, data, tmp_path / "run", "dpo"))
    assert str(error.value) == (
        "objective dpo needs comparisons, the data has single labelled responses: use objective kto"
    )


def test_scorers_have_nothing_to_learn_from(
    policy_folder: Path, encoder_folder: Path, data: Path, tmp_path: Path
) -> None:
    scorers = {"reward": {"kind": "reward", "backbone": str(encoder_folder), "train": SMALL}}
    with pytest.raises(UserError) as error:
        run_recipe(recipe(policy_folder, data, tmp_path / "run") | {"scorers": scorers})
    assert str(error.value) == (
        "scorers.reward: a scorer learns from comparisons, the data has single labelled responses: "
        "bring some, or leave scorers out"
    )
    config = rd.ScorerConfig(
        kind="reward", backbone=str(encoder_folder), train=TrainConfig(**SMALL)
    )  # type: ignore[arg-type]
    with pytest.raises(
        UserError,
        match=r"reward model: there is nothing to train on; `rewarddiff check` shows what",
    ):
        rd.train_scorer(config, load_groups(data), output=tmp_path / "scorer")


def test_labels_that_are_all_the_same_are_refused(policy_folder: Path, tmp_path: Path) -> None:
    data = written(tmp_path / "labels.csv", [True] * 20)
    with pytest.raises(
        UserError, match=r"objective kto learns from desirable and undesirable .* all are desirable"
    ):
        run_recipe(recipe(policy_folder, data, tmp_path / "run"))


def test_from_python(policy_folder: Path, data: Path, tmp_path: Path) -> None:
    groups, train = load_groups(data), TrainConfig(**SMALL)  # type: ignore[arg-type]
    folder = train_policy(
        policy_folder, groups, output=tmp_path / "kto", config=PolicyConfig(KTO(), train=train)
    )
    assert (folder / "model.safetensors").exists()
    (first, *_) = [
        json.loads(line) for line in (tmp_path / "kto" / "metrics.jsonl").read_text().splitlines()
    ]
    assert first["loss"] == pytest.approx(0.5)
    with pytest.raises(UserError, match="objective dpo needs comparisons"):
        train_policy(
            policy_folder, groups, output=tmp_path / "dpo", config=PolicyConfig(DPO(), train=train)
        )
    with pytest.raises(UserError, match="all are desirable"):
        train_policy(
            policy_folder,
            groups[:20],
            output=tmp_path / "one",
            config=PolicyConfig(KTO(), train=train),
        )
    # sft learns the desirable half
    sft = PolicyConfig(SFTConfig(), train=train)
    folder = train_policy(policy_folder, groups, output=tmp_path / "sft", config=sft)
    assert (folder / "model.safetensors").exists()
    with pytest.raises(
        UserError, match="objective sft learns single responses and has no use for them"
    ):
        train_policy(policy_folder, groups, [()] * 40, output=tmp_path / "sft", config=sft)


def test_a_labelled_response_joins_a_list_to_be_scored() -> None:
    """Its label is left behind: the scorer orders the list."""
    group = rd.Group("g", "Why?", ("own",), labels=(False,))
    drawn = [Sample("new", True), Sample("own ", True)]
    joined = augment._joined(group, drawn, augment.AugmentConfig(), Ledger())
    assert joined == {"own": "data", "new": "policy"}
    assert group.with_responses(list(joined)) == rd.Group("g", "Why?", ("own", "new"))
