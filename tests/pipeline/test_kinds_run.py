"""A scorer that is not trained here beside one that is, through the whole pipeline."""

from __future__ import annotations

import json
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewarddiff.config import load_recipe
from rewarddiff.pipeline.columns import columns, part_of
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.data import Run, prepare
from rewarddiff.pipeline.designs import designs_of_run
from rewarddiff.pipeline.recipe import Recipe

LONGER = {"chosen": "yes, yes and ye", "rejected": "no."}
"""d = log(1 + 15) − log(1 + 3) = log 4."""

SHORTER = {"chosen": "y", "rejected": "no!"}
"""d = log(1 + 1) − log(1 + 3) = −log 2."""


def recipe(policy: Path, encoder: Path, folder: Path) -> dict[str, Any]:
    path = folder / "pairs.jsonl"
    rows = []
    for i in range(60):
        pair = SHORTER if i % 4 == 0 else LONGER
        rows.append(json.dumps({"prompt": f"Say it {i}", **pair}))
    path.write_text("\n".join(rows))
    small = {"batch_size": 4, "max_steps": 1, "precision": "fp32"}
    length = {"source": "length", "negative": "abs"}
    return {
        "name": "kinds",
        "model": str(policy),
        "output": str(folder / "run"),
        "data": {"path": str(path), "splits": {"train": 0.4, "dev": 0.3, "test": 0.3}},
        "scorers": {
            "reward": {"backbone": str(encoder), "train": small},
            "length": {"kind": "length"},
            "length-again": {"kind": "length"},
        },
        "policies": {
            "dpo": {"train": small},
            "weighted": {"train": small, "coefficient": length},
            "calibrated": {"train": small, "coefficient": {**length, "calibrated": True}},
            "ordered": {"train": small, "order": {"source": "length"}},
            "mmpo": {"train": small, "objective": "mmpo", "strength": {"source": "length"}},
        },
        "evaluation": {"prompts": 4, "sampling": {"max_new_tokens": 6, "stop": []}},
    }


@pytest.fixture(scope="module")
def plan(
    policy_folder: Path, encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    plan = recipe(policy_folder, encoder_folder, tmp_path_factory.mktemp("kinds"))
    run_recipe(plan)
    return plan


@pytest.fixture(scope="module")
def run(plan: dict[str, Any]) -> Run:
    """The finished run, read again."""
    config = load_recipe(plan, [], Recipe)
    return prepare(config, config.folder, again=True)


@pytest.fixture(scope="module")
def results(plan: dict[str, Any]) -> dict[str, Any]:
    return json.loads(Path(plan["output"], "results.json").read_text())


def longer(run: Run, split: str) -> list[bool]:
    """Of each pair of a split, whether the chosen response is the longer one."""
    return [len(group.responses[0]) == 15 for group in run.splits[split]]


def test_it_is_measured_as_longer_wins(run: Run, results: dict[str, Any]) -> None:
    of_test = longer(run, "test")
    assert 0 < sum(of_test) < len(of_test)
    length = next(line for line in results["scorers"] if line["name"] == "length")
    accuracy = length["evaluation"]["accuracy"]
    assert accuracy["value"] == pytest.approx(sum(of_test) / len(of_test))
    assert accuracy == length["evaluation"]["baselines"]["longer_wins"]
    assert (length["kind"], length["backbone"], length["curve"]) == ("length", "length", [])
    assert length["evaluation"]["trained_on"]["prompts"] == 0


def test_its_stage_holds_a_temperature_and_no_model(run: Run) -> None:
    folder = run.output / "scorers/length-0"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"] == {}
    assert manifest["temperature"] is not None


def test_coefficients_by_hand(run: Run) -> None:
    """|d| of the pairs: log 4 where the longer response is chosen, log 2 where the shorter is."""
    weighed = columns(run, "weighted", 0, part_of(run, "weighted", 0)).weighed
    assert weighed is not None
    expected = [[log(4)] if is_longer else [log(2)] for is_longer in longer(run, "train")]
    assert np.array(weighed.weights) == pytest.approx(np.array(expected))


def test_strengths_and_orders(run: Run) -> None:
    strengths = columns(run, "mmpo", 0, part_of(run, "mmpo", 0)).strengths
    assert strengths is not None
    expected = [log(4) if is_longer else -log(2) for is_longer in longer(run, "train")]
    assert np.concatenate(strengths) == pytest.approx(expected)
    for group in part_of(run, "ordered", 0).groups:
        (comparison,) = group.known_comparisons()
        assert len(group.responses[comparison.chosen]) > len(group.responses[comparison.rejected])


def test_rewards_by_hand(run: Run) -> None:
    rewards = json.loads((run.output / "rewards/0/rewards.json").read_text())
    for policy, place in (("base", "base"), ("weighted", "weighted-0")):
        samples = json.loads((run.output / f"samples/{place}/samples.json").read_text())
        expected = [log(1 + len(sample["text"] or " ")) for sample in samples]
        assert rewards["length"][policy] == pytest.approx(expected)


def test_it_is_no_judge_of_what_it_helped_to_train(results: dict[str, Any]) -> None:
    """Nor is a scorer of another name that answers alike; the reward model is."""
    used = {(r["policy"], r["scorer"]) for r in results["rewards"] if r["used_in_training"]}
    policies = ("weighted", "calibrated", "ordered", "mmpo")
    assert used == {(p, s) for p in policies for s in ("length", "length-again")}


def test_designs_are_measured_for_models(run: Run) -> None:
    assert {row.scorer for row in designs_of_run(run.output).rows} == {"reward"}
