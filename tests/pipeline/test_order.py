"""Lists that a scorer puts in order, RRHF(diff) among them: what a policy is trained on, and what
is said of it."""

import json
import random
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.config import load_recipe
from rewarddiff.errors import UserError
from rewarddiff.evaluation.scored import ScoredComparison
from rewarddiff.pipeline.columns import columns, ordered, part_of
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.data import comparisons
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.results import _calibration_notes
from rewarddiff.pipeline.run import prepare
from rewarddiff.pipeline.scorers import scorer_stage
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.scorers.ranking import scores as scores_by


@pytest.fixture(scope="module")
def recipe(
    policy_folder: Path, encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("ordered")
    data = output / "lists.jsonl"
    rng = random.Random(0)  # no scorer can learn these scores
    rows = [
        {"prompt": f"Say it {i}", "responses": [f"no{i}", f"yes{i}!", f"so{i}?", f"yes{i}!!!"]}
        | {"scores": rng.sample(range(10), 4)}
        for i in range(24)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = {"batch_size": 4, "max_steps": 2, "precision": "fp32", "lr": 1e-3}
    scorer = {
        "backbone": str(encoder_folder),
        "lengths": {"max_response": 48, "max_prompt": 48},
        "train": small,
    }
    rrhf = {"objective": "rrhf", "train": small}
    return {
        "name": "ordered",
        "model": str(policy_folder),
        "output": str(output / "run"),
        "data": {"path": str(data), "splits": {"train": 0.6, "dev": 0.2, "test": 0.2}},
        "lengths": {"max_response": 48},
        "scorers": {
            "reward": {**scorer, "kind": "reward"},
            "difference": {**scorer, "kind": "difference", "head": "segments"},
        },
        "policies": {
            "rrhf": rrhf,
            "rrhf+diff": {**rrhf, "order": {"source": "difference"}},
            "dpo+own": {
                **rrhf,
                "objective": "dpo",
                "order": {"source": "reward"},
                "coefficient": {"source": "grades"},
            },
        },
        "evaluation": {"sampling": {"max_new_tokens": 4, "stop": []}, "prompts": 2},
    }


@pytest.fixture(scope="module")
def folder(recipe: dict[str, Any]) -> Path:
    return run_recipe(recipe)


def test_the_scorer_says_what_a_list_is_trained_on(recipe: dict[str, Any], folder: Path) -> None:
    """Of all pairs of k responses, the potentials are the mean difference to the others (k − 1)/k
    times."""
    run = prepare(load_recipe(recipe, [], Recipe), folder)
    scorer = load_scorer(scorer_stage(run, "difference", 0).folder / "model")
    own = list(run.splits["train"])
    pairs = list(combinations(range(4), 2))
    differences = scorer.differences(own, [pairs] * len(own), orders="both")
    part = ordered(run, "rrhf+diff", 0)
    assert [g.id for g in part.groups] == [g.id for g in own]
    for group, d in zip(part.groups, differences, strict=True):
        matrix = np.zeros((4, 4))
        for (a, b), value in zip(pairs, d.mean, strict=True):
            matrix[a, b], matrix[b, a] = value, -value
        scores = matrix.mean(1)
        np.testing.assert_allclose(group.scores, scores, atol=1e-6)
        found = {(c.chosen, c.rejected) for c in comparisons(group)}
        assert found == {(a, b) for a in range(4) for b in range(4) if scores[a] > scores[b]}


def test_what_is_held_out_keeps_the_order_of_the_data(recipe: dict[str, Any], folder: Path) -> None:
    run = prepare(load_recipe(recipe, [], Recipe), folder)
    assert part_of(run, "rrhf+diff", 0, "dev").groups is run.splits["dev"]


def test_grades_of_another_column_are_the_gaps_of_the_scores(
    recipe: dict[str, Any], folder: Path
) -> None:
    run = prepare(load_recipe(recipe, [], Recipe), folder)
    reward = load_scorer(scorer_stage(run, "reward", 0).folder / "model")
    part = part_of(run, "dpo+own", 0)
    own = columns(run, "dpo+own", 0, part)
    assert own.differences is not None
    gaps_told = [d.mean for d in own.differences]
    assert all((gaps > 0).all() for gaps in gaps_told)
    first = part.groups[0]
    (rewards,) = scores_by(reward, [first])
    gaps = sorted(abs(rewards[a] - rewards[b]) for a, b in combinations(range(4), 2))
    np.testing.assert_allclose(sorted(gaps_told[0]), gaps, atol=1e-6)


def test_the_report_says_how_consistent_it_was(recipe: dict[str, Any], folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    by_policy = {line["policy"]: line for line in results["orders"]}
    assert set(by_policy) == {"rrhf+diff", "dpo+own"}
    found = by_policy["rrhf+diff"]
    train = results["data"]["splits"]["train"]["groups"]
    assert (found["groups"], found["readings"], found["triples"]) == (train, 12 * train, 4 * train)
    assert found["comparisons"] == 6 * train
    assert 0 <= found["cyclic"] <= 1
    assert 0 <= found["inconsistency"] <= 1
    assert 0 < found["agreement"] < 1
    assert (by_policy["dpo+own"]["cyclic"], by_policy["dpo+own"]["readings"]) == (0, 4 * train)
    assert by_policy["dpo+own"]["inconsistency"] == pytest.approx(0, abs=1e-6)
    page = (folder / "report.html").read_text()
    assert "Lists put in order by a scorer" in page
    assert "cyclic triples" in page
    used = {
        (line["policy"], line["scorer"]): line["used_in_training"] for line in results["rewards"]
    }
    assert {pair for pair, told in used.items() if told} == {
        ("rrhf+diff", "difference"),
        ("dpo+own", "reward"),
    }


def test_another_order_trains_another_policy(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    curves = {p["name"]: p["curve"] for p in results["policies"]}
    losses = {
        name: [line["loss"] for line in own if line["split"] == "train"]
        for name, own in curves.items()
    }
    assert losses["rrhf"][0] != losses["rrhf+diff"][0]


@pytest.mark.parametrize(
    ("options", "readings", "triples"),
    [(["design.mode=anchor"], 3, 0), (["design.mode=all", "method=borda"], 6, 4)],
)
def test_another_design_and_another_method(
    recipe: dict[str, Any], options: list[str], readings: int, triples: int
) -> None:
    folder = run_recipe(recipe, [f"policies.rrhf+diff.order.{option}" for option in options])
    (found,) = (
        o
        for o in json.loads((folder / "results.json").read_text())["orders"]
        if o["policy"] == "rrhf+diff"
    )
    assert (found["readings"], found["triples"]) == (
        readings * found["groups"],
        triples * found["groups"],
    )


def test_methods_that_need_every_comparison_have_them(recipe: dict[str, Any]) -> None:
    """Against one response, noise-free, the sum of its differences would put that response wherever
    it likes."""
    given = ["policies.rrhf+diff.order.design.mode=anchor", "policies.rrhf+diff.order.method=sum"]
    with pytest.raises(
        UserError, match="method sum needs every comparison, design anchor leaves some out"
    ):
        run_recipe(recipe, given)


def test_the_pairs_of_the_data_are_turned_not_added_to(
    recipe: dict[str, Any], folder: Path
) -> None:
    """With two comparisons of each list left, these two are trained on, whoever says which way."""
    run = prepare(
        load_recipe(recipe, ["data.max_comparisons=2", f"output={folder}-thin"], Recipe),
        Path(f"{folder}-thin"),
    )
    part = ordered(run, "dpo+own", 0)
    for own, found in zip(run.splits["train"], part.groups, strict=True):
        assert len(list(own.known_comparisons())) == 2
        assert [{c.chosen, c.rejected} for c in found.known_comparisons()] == [
            {c.chosen, c.rejected} for c in own.known_comparisons()
        ]
        assert found.scores is not None
        assert all(
            found.scores[c.chosen] >= found.scores[c.rejected] for c in found.known_comparisons()
        )


def test_what_cannot_be_ordered_is_said_before_anything_is_trained(
    recipe: dict[str, Any], folder: Path
) -> None:
    fresh = f"output={folder}-fresh"
    few = ["policies.rrhf+diff.order.design={mode: budget, budget: 2}", fresh]
    with pytest.raises(UserError, match="2 comparisons cannot join 4 responses"):
        run_recipe(recipe, few)
    strengths = [
        "policies.dpo+own.objective=odpo",
        "policies.dpo+own.strength.source=grades",
        fresh,
    ]
    with pytest.raises(UserError, match="take them from that scorer too"):
        run_recipe(recipe, strengths)
    assert not (Path(f"{folder}-fresh") / "scorers").exists()


def test_a_policy_is_held_against_the_one_in_the_datas_order(folder: Path) -> None:
    contrasts = json.loads((folder / "results.json").read_text())["contrasts"]
    pairs = {(c["a"], c["b"]) for c in contrasts}
    assert pairs == {
        ("rrhf+diff", "rrhf"),
        ("rrhf", "base"),
        ("rrhf+diff", "base"),
        ("dpo+own", "base"),
    }


def test_an_order_without_its_scorer_names_the_key(recipe: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"policies.rrhf\+diff.order.source: no scorer 'judge'"):
        run_recipe(recipe, ["policies.rrhf+diff.order.source=judge"])


def test_calibrated_differences_are_those_over_the_temperature(
    recipe: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """σ(d / T) is then a probability. No scorer learns these scores, so T is given here."""
    strength = {"source": "difference", "calibrated": True}
    policies = {
        "dpo": {"coefficient": strength},
        "mmpo": {"objective": "mmpo", "strength": {**strength, "scale": 2.0}},
    }
    plan = load_recipe({**recipe, "policies": policies}, [], Recipe)
    run = prepare(plan, folder)
    part = part_of(run, "dpo", 0)
    temperature = 2.5
    monkeypatch.setattr("rewarddiff.pipeline.columns.temperature_of", lambda *_: temperature)
    plain = replace(
        plan,
        policies={
            n: replace(p, coefficient=CoefficientConfig(source="difference"))
            for n, p in plan.policies.items()
        },
    )
    d = columns(replace(run, recipe=plain), "dpo", 0, part).differences
    weighted, mmpo = (columns(run, name, 0, part) for name in ("dpo", "mmpo"))
    for plain_d, calibrated, strengths in zip(d, weighted.differences, mmpo.strengths, strict=True):
        np.testing.assert_allclose(calibrated.mean, plain_d.mean / temperature)
        np.testing.assert_allclose(strengths, 2 * plain_d.mean / temperature)


def test_a_scorer_without_a_temperature_is_not_calibrated(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    data = {**recipe["data"], "splits": {"train": 0.6, "test": 0.4}}
    policies = {
        "dpo": {
            "train": recipe["policies"]["rrhf"]["train"],
            "coefficient": {"source": "difference", "calibrated": True},
        }
    }
    scorers = {"difference": recipe["scorers"]["difference"]}
    plan = {
        **recipe,
        "data": data,
        "policies": policies,
        "scorers": scorers,
        "output": str(tmp_path),
    }
    with pytest.raises(
        UserError, match=r"calibrated: scorer 'difference' has no temperature \(data.splits has no"
    ):
        run_recipe(plan)


def test_a_temperature_at_its_bound_is_none(recipe: dict[str, Any], tmp_path: Path) -> None:
    """A scorer that is right on all of dev: the smaller T, the better."""
    scorers = {"difference": recipe["scorers"]["difference"]}
    policies = {
        "dpo": {
            "train": recipe["policies"]["rrhf"]["train"],
            "coefficient": {"source": "difference", "calibrated": True},
        }
    }
    plan = load_recipe(
        {**recipe, "policies": policies, "scorers": scorers}, [f"output={tmp_path}"], Recipe
    )
    run = prepare(plan, tmp_path)
    right = [ScoredComparison(f"p{i}", 0.1, 1, 2, 1.0) for i in range(9)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rewarddiff.pipeline.scorers.compare", lambda *_, **__: right)
        stage = scorer_stage(run, "difference", 0)
    assert stage.manifest["temperature"] is None
    assert load_scorer(stage.folder / "model").temperature is None
    with pytest.raises(
        UserError,
        match=r"calibrated: scorer 'difference' has no temperature \(9 held-out .*: all are right\)",
    ):
        columns(run, "dpo", 0, part_of(run, "dpo", 0))
    (note,) = _calibration_notes(run)
    assert note.startswith(
        "The temperature of difference (seed 0): it has none, 9 held-out comparisons do not tell"
    )


def test_a_strength_that_is_not_finite_reaches_no_policy(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    """Grades up to 9 apart, scaled by 1e308: beyond 1.8e308 there is no number."""
    policy = {"objective": "mmpo", "strength": {"source": "grades", "scale": 1e308}}
    plan = load_recipe(
        {**recipe, "policies": {"mmpo": policy}, "scorers": {}}, [f"output={tmp_path}"], Recipe
    )
    run = prepare(plan, tmp_path)
    with pytest.raises(
        UserError, match=r"policies\.mmpo\.strength: \d+ of \d+ comparisons have no finite strength"
    ):
        columns(run, "mmpo", 0, part_of(run, "mmpo", 0))


def test_grades_have_no_temperature(recipe: dict[str, Any]) -> None:
    policy = {"coefficient": {"source": "grades", "calibrated": True}}
    with pytest.raises(
        UserError, match=r"policies\.dpo\.coefficient\.calibrated: grades have no temperature"
    ):
        load_recipe({**recipe, "policies": {"dpo": policy}}, [], Recipe).check()
