"""Damage to files that commands go on from; `damage.py` does hundreds, here are some of each kind.

No pickle is read meanwhile: the referee is Python's own audit hook.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from damage import GOOD, Case, Damage, of_run, stopped_at

CHOSEN = [
    Damage("scorers/reward-0/model/model.safetensors", "flipped", 0.9),
    Damage("scorers/difference-0/model/head.safetensors", "deleted", 0.0),
    Damage("policies/dpo-0/manifest.json", "flipped", 0.5),
    Damage("policies/dpo-0/model/model.safetensors", "zeroed", 0.7),
    Damage("policies/dpo-0/started.json", "cut", 0.7),
    Damage("samples/dpo-0/samples.json", "cut", 0.5),
    Damage("data/manifest.json", "swapped", 0.0),
    Damage("results.json", "cut", 0.3),
]
OF_INTERRUPTED = [
    Damage("scorers/reward-0/checkpoint/model.safetensors", "flipped", 0.6),
    Damage("scorers/reward-0/checkpoint/.rewarddiff-sums.json", "deleted", 0.0),
    Damage("scorers/reward-0/started.json", "cut", 0.5),
    Damage("scorers/reward-0/started.json", "deleted", 0.0),
]

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt")

watched: list[str] | None = None
"""Where the hook writes what it sees; None while nobody asks (a hook cannot be taken away)."""


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if watched is None:
        return
    if event == "pickle.find_class":
        watched.append(f"unpickled {args}")
    if event == "open" and str(args[0]).endswith(PICKLES):
        watched.append(f"opened {args[0]}")


sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def _no_pickle_is_read() -> Iterator[None]:
    global watched
    watched = seen = []
    yield
    watched = None
    assert seen == []


@pytest.fixture(scope="module")
def whole(
    policy_folder: Path, encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    folder = tmp_path_factory.mktemp("damage") / "whole"
    models = {"policy": str(policy_folder), "encoder": str(encoder_folder)}
    case = of_run("whole", folder, tiny.recipe(models, folder))
    case.left()
    return case


@pytest.fixture(scope="module")
def interrupted(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A run that was stopped in the second step of its only training."""
    folder = tmp_path_factory.mktemp("damage") / "interrupted"
    models = {"policy": "", "encoder": str(encoder_folder)}
    reward = tiny.scorers(models, kinds=["reward"])
    recipe = tiny.recipe(models, folder, scorers=reward, policies={})
    case = of_run("interrupted", folder, recipe)
    case.left(stopped_at(2, torch.optim.AdamW, "step"))
    return case


def named(damage: Damage) -> str:
    return f"{damage.how} {damage.name}"


@pytest.mark.parametrize("damage", CHOSEN, ids=named)
def test_a_damaged_file_is_named_and_made_anew(damage: Damage, whole: Case) -> None:
    verdict = whole.after(damage)
    assert verdict in GOOD
    assert verdict != "not read"


@pytest.mark.parametrize("damage", OF_INTERRUPTED, ids=named)
def test_what_an_interrupted_run_goes_on_from_is_named_and_made_anew(
    damage: Damage, interrupted: Case
) -> None:
    assert interrupted.after(damage) == "made anew"


def test_a_value_of_a_store_is_named_and_computed_again(whole: Case) -> None:
    """All stages are lost as well, so that every value is asked for."""
    assert whole.after(Damage("store.sqlite", "values swapped", 0.5)) == "made anew"
