"""The recipes of policies that learn from their own samples, run whole on tiny models."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.pipeline.commands import run_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
POLICIES = {
    "online-small": {"rloo": "online-rloo", "ppo-contrastive": "online-gae"},
    "semi-online-small": {
        "dpo": "dpo",
        "semi-online": "semi-online-dpo",
        "semi-online+difference": "semi-online-dpo",
    },
}


def small(name: str, policy: Path, encoder: Path, output: Path) -> list[str]:
    """Return overrides for tiny models and two turns."""
    overrides = [
        f"model={policy}",
        f"output={output}",
        "data.limit=40",
        "evaluation.prompts=4",
        "evaluation.sampling.max_new_tokens=4",
    ]
    for scorer in ("reward", "judge"):
        overrides += [f"scorers.{scorer}.backbone={encoder}", f"scorers.{scorer}.train.max_steps=1"]
    for policy_name, method in POLICIES[name].items():
        overrides.append(f"policies.{policy_name}.train.max_steps=5")
        if method != "dpo":
            overrides.append(f"policies.{policy_name}.online.max_new_tokens=4")
            overrides.append(f"policies.{policy_name}.online.num_generations=2")
    return overrides


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_the_recipe_runs_and_its_page_shows_what_was_sampled(
    name: str, policy_folder: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    overrides = small(name, policy_folder, encoder_folder, tmp_path / "run")
    folder = run_recipe(RECIPES / f"{name}.yaml", overrides)
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    assert {p["name"]: p["objective"] for p in results["policies"]} == POLICIES[name]
    page = (folder / "report.html").read_text()
    assert 'id="online"' in page
    sheets = sorted(sheet.name for sheet in (folder / "figures").glob("online-*.csv"))
    expected = []
    for policy in results["policies"]:
        if policy["objective"] != "dpo":
            expected.append(f"online-{policy['name'].replace('+', '-')}.csv")
            steps = [line for line in policy["curve"] if line["split"] == "train"]
            assert len(steps) == 5
            assert all(math.isfinite(line["objective/kl"]) for line in steps)
    assert sheets == sorted(expected)
    # Samples of the model before its training stand beside those after it.
    assert set(results["samples"][0]["responses"]) == {"base", *POLICIES[name]}
