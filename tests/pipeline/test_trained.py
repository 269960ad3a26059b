"""Scorers that were trained before take part in a run as they are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewarddiff.data import load_groups
from rewarddiff.errors import UserError
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.results import read_results
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.identity import answers_fingerprint


@pytest.fixture
def trained(encoder_folder: Path, tmp_path: Path) -> Path:
    scorer = new_scorer(ScorerConfig(kind="difference", backbone=str(encoder_folder)), seed=3)
    scorer.trained, scorer.temperature = True, 0.5
    save_scorer(scorer, tmp_path / "mine")
    return tmp_path / "mine"


def recipe(policy: Path, trained: Path, tmp_path: Path) -> dict[str, Any]:
    small = {"batch_size": 4, "max_steps": 1, "precision": "fp32"}
    return {
        "name": "trained",
        "model": str(policy),
        "output": str(tmp_path / "run"),
        "data": {"path": "demo", "limit": 12, "splits": {"train": 0.6, "test": 0.4}},
        "lengths": {"max_response": 32},
        "scorers": {"mine": {"kind": "difference", "trained": str(trained)}},
        "policies": {
            "dpo": {
                "objective": "dpo",
                "train": small,
                "coefficient": {"source": "mine", "negative": "abs"},
            }
        },
        "evaluation": {"sampling": {"max_new_tokens": 4, "stop": []}, "prompts": 2},
    }


def test_its_differences_weigh_the_comparisons(
    policy_folder: Path, trained: Path, tmp_path: Path
) -> None:
    folder = run_recipe(recipe(policy_folder, trained, tmp_path))
    own, copy = load_scorer(trained), load_scorer(folder / "scorers/mine-0/model")
    groups = list(load_groups("demo", limit=3))
    pairs = [[(0, 1)]] * 3
    for kept, copied in zip(
        own.differences(groups, pairs), copy.differences(groups, pairs), strict=True
    ):
        assert np.array_equal(kept.mean, copied.mean)
    assert copy.temperature == 0.5
    results = json.loads((folder / "results.json").read_text())
    (scorer,) = results["scorers"]
    assert (scorer["backbone"], scorer["curve"]) == (str(trained), [])
    (weighed,) = results["coefficients"]
    assert weighed["report"]["n"] == sum(
        part["comparisons"] for part in [results["data"]["splits"]["train"]]
    )


def test_what_a_scorer_answers_by_is_the_same_wherever_it_lies(
    policy_folder: Path, trained: Path, tmp_path: Path, encoder_folder: Path
) -> None:
    """The run's copy, with the temperature fitted there, answers alike; other weights do not."""
    plan = recipe(policy_folder, trained, tmp_path) | {"policies": {}}
    folder = run_recipe(plan)
    copy = folder / "scorers/mine-0/model"
    (scorer,) = read_results(folder).scorers
    assert scorer.fingerprint == answers_fingerprint(trained) == answers_fingerprint(copy)
    tempered = load_scorer(trained)
    tempered.temperature, tempered.prompts = 3.0, frozenset({"00000000000000ff"})
    save_scorer(tempered, tmp_path / "tempered")
    assert answers_fingerprint(tmp_path / "tempered") == scorer.fingerprint
    other = new_scorer(ScorerConfig(kind="difference", backbone=str(encoder_folder)), seed=4)
    other.trained = True
    save_scorer(other, tmp_path / "other")
    assert answers_fingerprint(tmp_path / "other") != scorer.fingerprint


def test_the_other_kind_and_a_folder_that_is_none_are_refused(
    policy_folder: Path, trained: Path, tmp_path: Path
) -> None:
    asked = recipe(policy_folder, trained, tmp_path)
    with pytest.raises(
        UserError, match=r"scorers.mine.trained: .* is a difference model; set kind to difference"
    ):
        run_recipe(asked, ["scorers.mine.kind=reward"])
    with pytest.raises(UserError, match="nowhere"):
        run_recipe(asked, [f"scorers.mine.trained={tmp_path}/nowhere"])
