"""Scorers with several heads in a run: what they say, how far their heads are apart, and weights
from lower bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewarddiff.data import load_groups
from rewarddiff.errors import UserError
from rewarddiff.evaluation.calibration import Calibration
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig

SMALL = {"batch_size": 4, "max_steps": 1, "precision": "fp32"}


def recipe(policy: Path, encoder: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "name": "heads",
        "model": str(policy),
        "output": str(tmp_path / "run"),
        "data": {"path": "demo", "limit": 12, "splits": {"train": 0.5, "dev": 0.25, "test": 0.25}},
        "lengths": {"max_response": 32},
        "scorers": {
            "five": {"kind": "difference", "heads": 5, "backbone": str(encoder), "train": SMALL}
        },
        "policies": {
            "dpo": {
                "objective": "dpo",
                "train": SMALL,
                "coefficient": {"source": "five", "lower": 0.5, "negative": "floor"},
            }
        },
        "evaluation": {"sampling": {"max_new_tokens": 4, "stop": []}, "prompts": 2},
    }


def calibrated_at(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let dev splits tell this temperature, which those of so few steps and prompts do not."""
    monkeypatch.setattr("rewarddiff.pipeline.scorers.calibrate", lambda _: Calibration(temperature))


def test_a_run_weighs_by_lower_bounds(
    policy_folder: Path, encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated_at(3.0, monkeypatch)
    folder = run_recipe(recipe(policy_folder, encoder_folder, tmp_path))
    (kept,) = folder.glob("differences/*")
    by_head = np.load(kept / "train.npy")
    d, s = by_head.mean(1), by_head.std(1, ddof=1)
    results = json.loads((folder / "results.json").read_text())
    (weighed,) = results["coefficients"]
    # the floor takes the place of every bound below it
    assert weighed["report"]["after"]["mean"] == pytest.approx(np.maximum(d - 0.5 * s, 1e-3).mean())
    assert weighed["report"]["spread"]["mean"] == pytest.approx(s.mean())
    (scorer,) = results["scorers"]
    assert scorer["evaluation"]["spread"]["mean"] > 0
    assert "Doubt of scorers with several heads" in (folder / "report.html").read_text()

    loaded = load_scorer(folder / "scorers/five-0/model")
    groups = list(load_groups("demo", limit=12))
    pairs = [[(c.chosen, c.rejected) for c in g.known_comparisons() if not c.tie] for g in groups]
    spreads = np.concatenate([stated.spread for stated in loaded.differences(groups, pairs)])
    assert all(np.isclose(spreads, own, rtol=1e-4).any() for own in s)

    calibrated = run_recipe(
        recipe(policy_folder, encoder_folder, tmp_path),
        ["policies.dpo.coefficient.calibrated=true"],
    )
    (other,) = json.loads((calibrated / "results.json").read_text())["coefficients"]
    spread = other["report"]["spread"]["mean"]
    assert spread == pytest.approx(s.mean() / 3.0)


def test_a_trained_scorer_of_one_head_is_refused(
    policy_folder: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    single = new_scorer(ScorerConfig(kind="difference", backbone=str(encoder_folder)))
    single.trained = True
    save_scorer(single, tmp_path / "single")
    asked = recipe(policy_folder, encoder_folder, tmp_path)
    asked["scorers"] = {"one": {"kind": "difference", "trained": str(tmp_path / "single")}}
    asked["policies"]["dpo"]["coefficient"]["source"] = "one"
    with pytest.raises(
        UserError, match=r"policies\.dpo\.coefficient\.lower: scorer 'one' has no spread"
    ):
        run_recipe(asked)


def test_aspects_of_a_trained_scorer_are_weighed_by_the_recipe(
    policy_folder: Path, encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated_at(3.0, monkeypatch)
    config = ScorerConfig(
        kind="difference", aspects={"a": 1.0, "b": 1.0}, backbone=str(encoder_folder)
    )
    scorer = new_scorer(config)
    scorer.trained, scorer.temperature = True, 2.0
    save_scorer(scorer, tmp_path / "two")
    asked = recipe(policy_folder, encoder_folder, tmp_path)
    asked["scorers"] = {"two": {"kind": "difference", "trained": str(tmp_path / "two")}}
    asked["policies"] = {}
    plain = load_scorer(run_recipe(asked) / "scorers/two-0/model")
    assert (dict(plain.config.aspects), plain.temperature) == ({"a": 1.0, "b": 1.0}, 2.0)
    other = load_scorer(
        run_recipe(asked, ["scorers.two.aspects={b: 3, a: 0}"]) / "scorers/two-0/model"
    )
    assert dict(other.config.aspects) == {"a": 0, "b": 3}
    assert (
        other.temperature == 3.0
    )  # what was fitted with other weights is forgotten, and fitted anew
    with pytest.raises(UserError, match="the scorer's aspects are: a, b"):
        run_recipe(asked, ["scorers.two.aspects={c: 3, a: 1}"])


def test_aspects_in_another_order_are_trained_anew(encoder_folder: Path, tmp_path: Path) -> None:
    """A head begins by its place, so what was trained in another order is another scorer."""
    rows = []
    for n in range(16):
        row = {"prompt": f"Prompt {n}", "chosen": "good", "rejected": "bad", "subset": "ab"[n % 2]}
        rows.append(json.dumps(row) + "\n")
    (tmp_path / "data.jsonl").write_text("".join(rows))
    orders = []
    for names in ("ab", "ba"):
        aspects = dict.fromkeys(names, 1.0)
        scorer = {"aspects": aspects, "backbone": str(encoder_folder), "train": SMALL}
        content = {
            "name": "aspects",
            "output": str(tmp_path / "run"),
            "data": {"path": str(tmp_path / "data.jsonl"), "splits": {"train": 1.0}},
            "scorers": {"two": scorer},
        }
        folder = run_recipe(content)
        orders.append(list(load_scorer(folder / "scorers/two-0/model").config.aspects))
    assert orders == [["a", "b"], ["b", "a"]]
