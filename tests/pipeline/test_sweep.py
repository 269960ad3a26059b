"""Sweeps: what is asked for, what is trained once, and whether the figures are those of single
runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.cli import main
from rewarddiff.errors import UserError
from rewarddiff.pipeline import judging, policies, scorers
from rewarddiff.pipeline.axes import Axis, labels, read_axis
from rewarddiff.pipeline.combinations import Sweep, plan
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.sweep import sweep_recipe
from rewarddiff.results import SweepResults, adapter, read_results


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty prompts with two responses; the better ones have exclamation marks."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    rows = [
        {"prompt": f"Say it {i}", "chosen": f"yes{i}!!!", "rejected": f"no{i}"} for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe(
    policy: object = "m", encoder: object = "e", data: object = "demo", output: object = None
) -> dict[str, Any]:
    small = {"batch_size": 4, "max_steps": 2, "precision": "fp32"}
    scorer = {"backbone": str(encoder), "lengths": {"max_response": 64}, "train": small}
    dpo = {"objective": "dpo", "train": {**small, "lr": 1e-3}}
    weighted = {"source": "difference", "negative": "abs", "normalise": "mean"}
    return {
        "name": "tiny",
        "model": str(policy),
        "output": output and str(output),
        "data": {"path": str(data), "splits": {"train": 0.6, "dev": 0.2, "test": 0.2}},
        "lengths": {"max_response": 64},
        "scorers": {
            "reward": {**scorer, "kind": "reward"},
            "difference": {**scorer, "kind": "difference", "head": "segments"},
        },
        "policies": {
            "dpo": dpo,
            "weighted": {**dpo, "coefficient": weighted},
            "shuffled": {**dpo, "coefficient": {**weighted, "control": "shuffled"}},
        },
        "evaluation": {"sampling": {"max_new_tokens": 6, "stop": []}, "shown": 2},
    }


# --- what is asked for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a=0,0.25 , 1e-3", ("0", "0.25", "1e-3")),
        ("seed=0..4", ("0", "1", "2", "3", "4")),
        ("seed=-1..1,7", ("-1", "0", "1", "7")),
        ("seed=[0,1]", ("[0,1]",)),
        ("a={x: 1, y: [2, 3]},null", ("{x: 1, y: [2, 3]}", "null")),
        ("""a="b, c",'d,e',it's""", ('"b, c"', "'d,e'", "it's")),
        ("a=../x..y", ("../x..y",)),
    ],
)
def test_values_of_a_key(text: str, values: tuple[str, ...]) -> None:
    assert read_axis(text) == Axis(text.partition("=")[0], values)


def told(sweep: Sweep) -> list[tuple[str, str, str | None]]:
    """Every point: its policy, its settings, and the unweighted policy it is or is held against."""
    return [(p.policy, " ".join(p.settings.values()), p.baseline) for p in sweep.points]


def test_the_points_of_a_sweep_by_hand() -> None:
    """α = 0 is the unweighted policy with the same β.

    Keys concern the policies that have them: dpo has no α.
    """
    sweep = plan(recipe(), ["coefficient.alpha=0,2", "objective.beta=0.1,0.5", "seed=3..5"])
    assert sweep.folder == Path("runs/tiny-sweep")
    labels = ["alpha-0-beta-0.1", "alpha-0-beta-0.5", "alpha-2-beta-0.1", "alpha-2-beta-0.5"]
    assert [c.label for c in sweep.combinations] == labels
    assert {c.recipe.seeds for c in sweep.combinations} == {(3, 4, 5)}
    assert {c.recipe.output for c in sweep.combinations} == {"runs/tiny-sweep"}
    assert told(sweep) == [
        ("dpo", "0.1", None),
        ("dpo", "0.5", None),
        ("weighted", "0 0.1", "weighted"),
        ("weighted", "0 0.5", "weighted"),
        ("weighted", "2 0.1", "dpo"),
        ("weighted", "2 0.5", "dpo"),
        ("shuffled", "0 0.1", "shuffled"),
        ("shuffled", "0 0.5", "shuffled"),
        ("shuffled", "2 0.1", "dpo"),
        ("shuffled", "2 0.5", "dpo"),
    ]
    assert [p.controls for p in sweep.points[2:6]] == [[], [], ["shuffled"], ["shuffled"]]
    trained = sweep.points[-1].recipe
    assert (trained.coefficient.alpha, trained.coefficient.control, trained.objective.beta) == (
        2,
        "shuffled",
        0.5,
    )
    unweighted = sweep.points[2].recipe
    assert unweighted == sweep.points[0].recipe  # so both come to the same policy
    # two unweighted policies, two weighted ones and two controls
    assert len({sweep.training_of(point) for point in sweep.points}) == 6


def test_one_value_is_an_override_and_names_nothing() -> None:
    sweep = plan(recipe(), ["coefficient.negative=flip", "coefficient.alpha=0,1", "output=x"])
    assert sweep.folder == Path("x")
    assert [c.label for c in sweep.combinations] == ["alpha-0", "alpha-1"]
    # flipped pairs are flipped at α = 0 too, so nothing is the same as anything
    assert len({sweep.training_of(point) for point in sweep.points}) == len(sweep.points) == 5
    columns = [point.recipe.coefficient for point in sweep.points if point.policy != "dpo"]
    assert {column.negative for column in columns} == {"flip"}


def test_a_key_in_full_concerns_one_policy() -> None:
    sweep = plan(recipe(), ["policies.weighted.coefficient.alpha=0.5,1", "seed=1"])
    assert told(sweep) == [
        ("dpo", "", None),
        ("weighted", "0.5", "dpo"),
        ("weighted", "1", "dpo"),
        ("shuffled", "", "dpo"),
    ]
    assert sweep.points[1].controls == []  # the control has α = 1
    assert sweep.points[2].controls == ["shuffled"]


def test_without_an_unweighted_policy_alpha_0_is_the_baseline() -> None:
    plain = recipe()
    del plain["policies"]["dpo"]
    sweep = plan(plain, ["coefficient.alpha=0,1"])
    assert told(sweep) == [
        ("weighted", "0", "weighted"),
        ("weighted", "1", "weighted-unweighted"),
        ("shuffled", "0", "shuffled"),
        ("shuffled", "1", "weighted-unweighted"),
        ("weighted-unweighted", "", None),
    ]
    assert sweep.training_of(sweep.points[0]) == sweep.training_of(sweep.points[-1])


def test_keys_of_the_recipe_concern_all_policies() -> None:
    sweep = plan(recipe(), ["scorers.difference.train.lr=1e-4,2e-4", "data.limit=20,30"])
    rates = [c.recipe.scorers["difference"].train.lr for c in sweep.combinations]
    assert rates == [1e-4, 1e-4, 2e-4, 2e-4]
    assert [c.recipe.data.limit for c in sweep.combinations] == [20, 30, 20, 30]
    assert len(sweep.points) == 4 * 3


def test_a_policy_with_a_dot_in_its_name() -> None:
    plain = recipe()
    plain["policies"]["dpo.5"] = {**plain["policies"]["dpo"]}
    sweep = plan(plain, ["policies.dpo.5.train.lr=1e-4,2e-4"])
    rates = [point.recipe.train.lr for point in sweep.points if point.policy == "dpo.5"]
    assert rates == [1e-4, 2e-4]


def test_names_stay_folder_names_and_different() -> None:
    axis = Axis("data.path", ("a/b.jsonl", "a b.jsonl", "c.jsonl", "é"))
    assert [axis.short(value) for value in axis.values] == ["1", "2", "c.jsonl", "4"]
    assert labels(["coefficient.alpha", "policies.dpo.lora.alpha", "train.lr"]) == {
        "coefficient.alpha": "coefficient.alpha",
        "policies.dpo.lora.alpha": "lora.alpha",
        "train.lr": "lr",
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["coefficient.alpha=1"],
            "nothing to sweep: give a key several values, as coefficient.alpha=0,0.5,1",
        ),
        ([], "nothing to sweep"),
        (["coefficient.alpha="], "'coefficient.alpha=': an empty list"),
        (["coefficient.alpha=,"], "an empty list"),
        (["coefficient.alpha=0,,1"], "an empty value between its commas"),
        (["coefficient.alpha=0,1", "coefficient.alpha=2"], "coefficient.alpha: stands twice"),
        (["coefficient.alpha=0,1,0.0"], "the value 0.0 stands twice"),
        (["seed=4..0"], "the range 4..0 is empty"),
        (["seed=0..1000000"], "more than 10000 values"),
        (["seed=a,b"], '\'seed\' is ["a", "b"], should be a whole number'),
        (["coefficient.alpha=0,x"], "'coefficient.alpha' is 'x', should be a number"),
        (["coefficient.alpha=0,[1"], "not valid YAML"),
        (["coefficient.alpha=0,-1"], "coefficient.alpha: must be finite and at least 0"),
        (["coefficient.alphx=0,1"], "this key – did you mean 'coefficient.alpha'?"),
        (["alpha=0,1"], "did you mean 'coefficient.alpha'?"),
        (["scorer.difference.reverse=0,1"], "did you mean 'scorers.difference.reverse'?"),
        (["nonsense=0,1"], "nonsense: neither the recipe nor any of its policies has this key"),
        (["strength.scale=1,2"], "strength.scale: neither the recipe nor any of its policies"),
        (["policies.weightd.train.lr=1,2"], "no such policy – did you mean 'weighted'?"),
        (["policies.weighted.train.rl=1,2"], "unknown key 'train.rl' – known here: batch_size"),
        (["scorers.reward.train.rl=1,2"], "unknown key 'scorers.reward.train.rl'"),
        (["data.limit=0,1"], "limit is 0, should be at least 1"),
        (["output=a,b", "seed=0,1"], "output: a sweep has one output"),
        (["model=null", "seed=0,1"], "policies need a model"),
    ],
)
def test_what_cannot_be_swept_is_one_line_and_status_2(
    overrides: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe()))
    assert main(["sweep", str(path), *overrides]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_the_points_can_be_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe()))
    assert main(["sweep", str(path), "coefficient.alpha=0,2", "seed=0..4", "--print"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "sweep of coefficient.alpha (2 values), seed (5 values), in runs/tiny-sweep",
        "2 combinations, 3 policies (2 of 5 points are the same as another), "
        "over all seeds 15 to train",
        "  dpo",
        "  weighted alpha=0  (the same as dpo)",
        "  weighted alpha=2",
        "  shuffled alpha=0  (the same as dpo)",
        "  shuffled alpha=2",
    ]


def test_a_policy_that_was_trained_elsewhere_is_one_point_and_no_training() -> None:
    plan_of = recipe()
    plan_of["policies"]["mine"] = {"trained": "some/folder"}
    sweep = plan(plan_of, ["train.lr=1e-5,1e-4", "coefficient.alpha=1,2"])
    (mine,) = [point for point in sweep.points if point.policy == "mine"]
    assert (mine.settings, mine.baseline, mine.control) == ({}, None, None)
    # dpo at two rates, weighted and shuffled at two rates and two alphas
    assert len(sweep.trainings) == 2 + 4 + 4
    with pytest.raises(UserError, match="neither the recipe nor any of its policies has this key"):
        plan({**plan_of, "policies": {"mine": {"trained": "x"}}}, ["train.lr=1e-5,1e-4"])
    folders = plan(plan_of, ["policies.mine.trained=a,b"])
    assert [p.recipe.trained for p in folders.points if p.policy == "mine"] == ["a", "b"]


# --- what is done ---------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often something is trained or drawn."""
    counts: Counter[str] = Counter()

    def counting(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            counts[what] += 1
            return real(*args, **more)

        return call

    for room, name in (
        (scorers, "train_scorer"),
        (policies, "train_policy"),
        (judging, "read_here"),
    ):
        monkeypatch.setattr(room, name, counting(name, getattr(room, name)))
    return counts


@pytest.mark.slow
def test_scorers_are_trained_once_and_figures_are_those_of_single_runs(
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
    tmp_path: Path,
    counted: Counter[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = recipe(policy_folder, encoder_folder, data, tmp_path / "run")
    ask = ["coefficient.alpha=0,2", "seed=0,1"]
    folder = sweep_recipe(given, ask)
    assert folder == tmp_path / "run-sweep"
    shown = capsys.readouterr().out
    assert "over all seeds 6 to train" in shown
    assert "5 more: about" in shown
    # 2 scorers × 2 seeds; unweighted, weighted and shuffled × 2 seeds; samples of these, and of the
    # base model
    assert counted == {"train_scorer": 4, "train_policy": 6, "read_here": 7}
    sweep = json.loads((folder / "sweep.json").read_text())
    for name in ("sweep.html", "sweep.md", "combinations/alpha-2/results.json"):
        assert (folder / name).is_file()

    counted.clear()
    sweep_recipe(given, ask)
    assert not counted
    again = json.loads((folder / "sweep.json").read_text())
    for changing in ("created", "seconds"):
        del sweep[changing], again[changing]
    assert again == sweep

    alone = read_results(run_recipe(given, ["seed=[0,1]", "policies.weighted.coefficient.alpha=2"]))
    points = {(p["policy"], p["settings"].get("coefficient.alpha")): p for p in sweep["points"]}
    weighted = points["weighted", 2]
    assert points["weighted", 0]["baseline"] is points["shuffled", 0]["baseline"] is None
    assert points["weighted", 0]["models"] == points["dpo", None]["models"]
    assert weighted["baseline"]["policy"] == "dpo"
    for model in weighted["models"]:
        assert (folder / model / "model.safetensors").is_file()
    for contrast in alone.contrasts:
        if (contrast.a, contrast.b, contrast.seed) == ("weighted", "dpo", "all"):
            under = weighted["baseline"]["gaps"][contrast.scorer]
            for part in ("value", "low", "high"):
                single = getattr(contrast.mean_gap, part)
                assert under["gap"][part] == pytest.approx(single, abs=1e-5)
            assert under["used_in_training"] == (contrast.scorer == "difference")
    curves = [policy.curve for policy in alone.policies if policy.name == "weighted"]
    one, other = ([line["loss"] for line in c if line["split"] == "dev"][-1] for c in curves)
    mean = (one + other) / 2
    assert weighted["dev_loss"]["value"] == pytest.approx(mean, abs=1e-6)
    # of two values the 95 % interval is mean ± 12.706 · |a − b| / 2 (Student's t, one degree of
    # freedom)
    half = 12.7062 * abs(one - other) / 2
    assert weighted["dev_loss"]["high"] == pytest.approx(mean + half, abs=1e-4)

    counted.clear()
    sweep_recipe(given, ["coefficient.alpha=0,1,2", "seed=0,1"])
    assert counted == {"train_policy": 4, "read_here": 4}  # weighted and shuffled at α = 1


@pytest.mark.slow
def test_combinations_share_what_is_equal(
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
    tmp_path: Path,
    counted: Counter[str],
) -> None:
    given = recipe(policy_folder, encoder_folder, data)
    del given["policies"]["shuffled"]
    ask = ["scorers.difference.head.duplication=0,0.5", f"output={tmp_path / 's'}"]
    folder = sweep_recipe(given, ask)
    # one reward model and two difference models; the unweighted policy and two weighted ones; their
    # samples
    assert counted == {"train_scorer": 3, "train_policy": 3, "read_here": 4}
    assert len(list((folder / "scorers").glob("reward-0-*"))) == 1
    assert len(list((folder / "scorers").glob("difference-0-*"))) == 2
    sweep = read_sweep(folder)
    losses = {}
    for line in sweep.scorers:
        if line.summary.name == "difference":
            losses[line.settings["scorers.difference.head.duplication"]] = line.dev_loss.value
    mains = {}
    for manifest in (folder / "scorers").glob("difference-0-*/manifest.json"):
        curve = json.loads(manifest.read_text())["curve"]
        last = [line for line in curve if line["split"] == "dev"][-1]
        mains[last["main"]] = last["loss"]
    # what is compared has no part of the regulariser
    assert set(losses.values()) == set(mains)
    assert losses[0.5] < mains[losses[0.5]]
    markdown = (folder / "sweep.md").read_text()
    assert "Scorers on held-out comparisons" in markdown
    least = min(losses, key=losses.__getitem__)
    sentence = "The dev loss of difference, without its regularisers, is least at duplication"
    assert f"{sentence} {least:g}" in markdown
    counted.clear()
    sweep_recipe(given, ask)
    assert not counted


def read_sweep(folder: Path) -> SweepResults:
    return adapter(SweepResults).validate_json((folder / "sweep.json").read_bytes(), strict=True)
