"""What results.json says of figures worked by hand."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.evaluation.side_by_side import side_by_side
from rewarddiff.pipeline import results
from rewarddiff.pipeline.contrasts import reward_gaps, unequal, used_in_training, win_tie_lose
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.results import _lengths
from rewarddiff.results import (
    Cost,
    LedgerCounts,
    PolicyResult,
    SampleLengths,
    Unequal,
    read_results,
)
from rewarddiff.sampling import Sample
from rewarddiff.scorers.neural.build import new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig


def test_lengths_of_samples() -> None:
    drawn = [
        Sample("one two three", True),
        Sample("", True),
        Sample(" ", False),
        Sample("four", False),
    ]
    assert list(_lengths({7: {"dpo": drawn}})) == [
        SampleLengths("dpo", seed=7, n=4, empty=2, unfinished=2, mean_words=1.0)
    ]


def test_the_same_text_is_a_tie() -> None:
    rewards = {"a": [1.0, 2.0, 5.0], "b": [0.0, 2.5, 1.0]}
    samples = {"a": [Sample("x", True)] * 3, "b": [Sample(t, True) for t in ("y", "y", "x")]}
    assert reward_gaps(rewards, samples, "a", "b") == [1.0, -0.5, 0.0]


def test_wins_ties_and_losses_are_shares_of_all_gaps() -> None:
    assert win_tie_lose(np.array([[2.0, -1.0, 0.0, 3.0]] * 3)) == (0.5, 0.25, 0.25)


def test_scorers_are_compared_on_the_same_comparisons(tmp_path: Path) -> None:
    # Two prompts of one and two comparisons, two seeds. The first scorer is right in 1 + 1 (of 3, d
    # = 0 half) and 0 + 2: 2 and 2 of 3. The second, read in both orders, in 1 + 2 and 1 + 2. A tie
    # of the data never counts.
    said = {
        "one": [[1.0, -2.0, 1.5, 9.0], [-1.0, 3.0, 0.5, 9.0]],
        "two": [[1.0, 0.3, 0.3, -9.0], [1.0, 0.1, 2.0, -9.0]],
    }
    run = SimpleNamespace(
        recipe=SimpleNamespace(scorers=dict.fromkeys(said), seeds=(0, 1)),
        held_out={"test": (), "other": ()},
    )

    def stage(_: object, name: str, seed: int) -> SimpleNamespace:
        lines = [
            {
                "group": g,
                "d": d,
                "chosen_length": 1,
                "rejected_length": 1,
                "strength": s,
                "d_swapped": None,
            }
            for g, d, s in zip("abbb", said[name][seed], (None, None, None, 0.0), strict=True)
        ]
        folder = tmp_path / f"{name}-{seed}"
        folder.mkdir(exist_ok=True)
        (folder / "comparisons.json").write_text(json.dumps({"test": lines, "other": lines[:1]}))
        return SimpleNamespace(folder=folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "evaluation_stage", stage)
        compared = results._compared(run)
    (own,) = side_by_side(compared["test", "one"])
    assert (own.right.tolist(), own.sizes.tolist(), own.graded) == ([[1, 1], [0, 2]], [1, 2], 1)
    of_test, of_other = results._scorer_contrasts(run, compared)
    assert (of_test.test, of_other.test) == ("test", "other")
    assert not of_test.spearman_gap.known  # ties alone are no strengths to go by
    assert (of_test.a, of_test.b) == ("two", "one")
    assert of_test.gap.value == pytest.approx((6 - 4) / 6)
    assert of_other.gap.value == 0.5


def trained_scorer(
    backbone: Path, folder: Path, warm_start: str | None = None, seed: int = 0
) -> str:
    scorer = new_scorer(
        ScorerConfig(kind="reward", backbone=str(backbone), warm_start=warm_start), seed=seed
    )
    scorer.trained = True
    save_scorer(scorer, folder)
    return str(folder)


def test_scorers_that_share_a_start_do_not_judge_independently(
    encoder_folder: Path, tmp_path: Path
) -> None:
    mine = trained_scorer(encoder_folder, tmp_path / "mine")
    shutil.copytree(mine, tmp_path / "copy")
    began = trained_scorer(encoder_folder, tmp_path / "began", warm_start=mine)
    other = trained_scorer(encoder_folder, tmp_path / "other", seed=1)
    body = str(encoder_folder)
    scorers = {
        "used": {"kind": "reward", "trained": mine},
        "copy": {"kind": "reward", "trained": str(tmp_path / "copy")},
        "began": {"kind": "reward", "trained": began},
        "warm": {"kind": "reward", "backbone": body, "warm_start": str(tmp_path / "copy")},
        "chain": {"kind": "reward", "backbone": body, "warm_start": "warm"},
        "on-it": {"kind": "reward", "backbone": mine},
        "other": {"kind": "reward", "trained": other},
        "fresh": {"kind": "reward", "backbone": body},
    }
    source = {"source": "used"}
    policies: dict[str, Any] = {
        "dpo": {"objective": "dpo"},
        "weighted": {"objective": "dpo", "coefficient": source},
        "ordered": {"objective": "rrhf", "order": source},
        "offset": {"objective": "odpo", "strength": source},
    }
    recipe = load_recipe({"name": "r", "scorers": scorers, "policies": policies}, [], Recipe)
    for policy in ("weighted", "ordered", "offset"):
        dependent = {scorer for scorer in scorers if used_in_training(recipe, policy, scorer)}
        assert dependent == {"used", "copy", "began", "warm", "chain", "on-it"}, policy
    assert not any(
        used_in_training(recipe, policy, scorer) for policy in ("dpo", "base") for scorer in scorers
    )


def trained_policy(name: str, steps: int, tokens: int) -> PolicyResult:
    measured = {"seconds": 1.0, "tokens": tokens, "tokens_per_second": float(tokens)}
    peaks = {"peak_memory_bytes": None, "peak_gpu_memory_bytes": None}
    return PolicyResult(
        name=name,
        seed=0,
        objective="dpo",
        coefficient=None,
        order=None,
        strength=None,
        curve=({"split": "train", "step": steps},),
        cost=Cost.measured(measured | peaks),
        ledger=LedgerCounts(0, 0, {}, {}),
    )


def test_whatever_else_two_policies_differ_in_is_named() -> None:
    train = {"lr": 5e-6, "max_steps": 1}
    policies: dict[str, Any] = {
        "dpo": {"objective": {"name": "dpo", "beta": 0.1}, "train": train},
        "weighted": {
            "objective": {"name": "dpo", "beta": 0.2},
            "train": {"lr": 1e-6, "max_steps": 6},
            "lora": {"r": 2},
            "coefficient": {"source": "grades"},
        },
        "alike": {
            "objective": {"name": "dpo", "beta": 0.1},
            "train": train,
            "coefficient": {"source": "grades"},
        },
        "ipo": {"objective": {"name": "ipo"}, "train": train, "order": {"source": "x"}},
    }
    recipe = load_recipe({"name": "r", "policies": policies}, [], Recipe).policies
    amounts = {"dpo": (1, 1000), "weighted": (6, 6000), "alike": (1, 1009), "ipo": (1, 1011)}
    trained = [trained_policy(name, *amount) for name, amount in amounts.items()]
    named = {line.key: (line.a, line.b) for line in unequal(recipe, trained, "weighted", "dpo")}
    lora = named.pop("lora")
    assert (lora[0]["r"], lora[1]) == (2, None)
    assert named == {
        "objective.beta": (0.2, 0.1), "train.lr": (1e-6, 5e-6), "train.max_steps": (6, 1),
        "steps": (6, 1), "tokens": (6000, 1000),
    }  # fmt: skip
    assert unequal(recipe, trained, "alike", "dpo") == ()  # 0.9 per cent more tokens
    # another objective has options of its own, which are not compared; 1.1 per cent more tokens
    assert unequal(recipe, trained, "ipo", "dpo") == (
        Unequal("objective.name", "ipo", "dpo"),
        Unequal("tokens", 1011, 1000),
    )


def test_what_holds_no_results_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder" / "results.json").mkdir(parents=True)
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "results.json").write_text("[]")
    causes = {
        "file": "cannot be read",
        "folder": "cannot be read",
        "list": "holds no results",
        "none": "no such file",
    }
    for name, cause in causes.items():
        with pytest.raises(UserError, match=rf"{name}/results.json: .*{cause}"):
            read_results(tmp_path / name)


def written(results: dict[str, Any], folder: Path) -> Path:
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_results_of_another_version_are_refused_in_a_line(tmp_path: Path) -> None:
    older = {"schema": 1, "name": "demo", "version": "0.1.0", "scorers": [], "notes": []}
    with pytest.raises(UserError) as refused:
        read_results(written(older, tmp_path))
    assert str(refused.value) == (
        f"{tmp_path}/results.json: schema is 1, and this version reads 5; run the recipe again to "
        "write it anew"
    )
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"results\.json: is not JSON \(.*\); run the recipe again"):
        read_results(tmp_path)
