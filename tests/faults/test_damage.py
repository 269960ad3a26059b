"""Damage to files of a finished run; `damage.py` does hundreds, here are some of each kind."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from damage import GOOD, Damage, after, recipe_of

from rewarddiff.pipeline.commands import run_recipe

CHOSEN = [
    Damage("scorers/reward-0/model/model.safetensors", "flipped", 0.9),
    Damage("scorers/difference-0/model/head.safetensors", "deleted", 0.0),
    Damage("policies/dpo-0/manifest.json", "flipped", 0.5),
    Damage("policies/dpo-0/model/model.safetensors", "zeroed", 0.7),
    Damage("samples/dpo-0/samples.json", "cut", 0.5),
    Damage("data/manifest.json", "swapped", 0.0),
    Damage("results.json", "cut", 0.3),
]


@pytest.fixture(scope="module")
def whole(
    policy_folder: Path, encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    place = tmp_path_factory.mktemp("damage") / "whole"
    recipe = recipe_of(str(policy_folder), str(encoder_folder), place)
    run_recipe(recipe, [])
    return recipe, place


@pytest.mark.parametrize("damage", CHOSEN, ids=lambda damage: f"{damage.how} {damage.name}")
def test_a_damaged_file_is_named_and_made_anew(
    damage: Damage, whole: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    recipe, place = whole
    level = logging.getLogger("rewarddiff").level
    verdict = after(damage, recipe, place, tmp_path / "again")
    logging.getLogger("rewarddiff").setLevel(level)
    assert verdict in GOOD
    assert verdict != "not read"
