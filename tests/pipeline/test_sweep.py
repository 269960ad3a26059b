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
from rewarddiff.pipeline import judging, points, policies, scorers
from rewarddiff.pipeline import sweep as sweep_stage
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.points import Axis, plan, read_axis
from rewarddiff.pipeline.sweep import sweep_recipe


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


def test_the_points_of_a_sweep_by_hand() -> None:
    """α = 0 is the unweighted policy with the same β; a control stands beside the weighted policy
    at its settings."""
    sweep = plan(recipe(), ["coefficient.alpha=0,2", "objective.beta=0.1,0.5", "seed=3..5"])
    [run] = sweep.variants
    assert (sweep.folder, run.folder, run.recipe.seeds) == (
        Path("runs/tiny-sweep"),
        Path("runs/tiny-sweep"),
        (3, 4, 5),
    )
    low, high = "beta-0.1", "beta-0.5"
    expected = [
        ("dpo", f"dpo-{low}", "base"),
        ("dpo", f"dpo-{high}", "base"),
        ("weighted", f"dpo-{low}", f"dpo-{low}"),
        ("weighted", f"dpo-{high}", f"dpo-{high}"),
        ("weighted", f"weighted-alpha-2-{low}", f"dpo-{low}"),
        ("weighted", f"weighted-alpha-2-{high}", f"dpo-{high}"),
        ("shuffled", f"dpo-{low}", f"dpo-{low}"),
        ("shuffled", f"dpo-{high}", f"dpo-{high}"),
        ("shuffled", f"shuffled-alpha-2-{low}", f"dpo-{low}"),
        ("shuffled", f"shuffled-alpha-2-{high}", f"dpo-{high}"),
    ]
    assert [(p.policy, p.name, p.against) for p in run.points] == expected
    assert run.points[4].settings == {"coefficient.alpha": "2", "objective.beta": "0.1"}
    assert {p.name: p.controls for p in run.points if p.controls} == {
        f"weighted-alpha-2-{beta}": (f"shuffled-alpha-2-{beta}",) for beta in (low, high)
    }
    assert list(run.recipe.policies) == list(dict.fromkeys(name for _, name, _ in expected))
    trained = run.recipe.policies[f"shuffled-alpha-2-{high}"]
    assert (trained.coefficient.alpha, trained.coefficient.control, trained.objective.beta) == (
        2,
        "shuffled",
        0.5,
    )
    assert run.recipe.policies[f"dpo-{low}"].coefficient is None
    assert len(sweep.trainings()) == 6 * 3
    assert run.pairs == [
        (f"dpo-{low}", "base"),
        (f"dpo-{high}", "base"),
        (f"weighted-alpha-2-{low}", f"dpo-{low}"),
        (f"weighted-alpha-2-{high}", f"dpo-{high}"),
        (f"shuffled-alpha-2-{low}", f"dpo-{low}"),
        (f"shuffled-alpha-2-{high}", f"dpo-{high}"),
        (f"weighted-alpha-2-{low}", f"shuffled-alpha-2-{low}"),
        (f"weighted-alpha-2-{high}", f"shuffled-alpha-2-{high}"),
    ]


def test_runs_of_a_sweep_lie_in_its_folder_whatever_its_keys_are_called() -> None:
    plain = recipe()
    plain["data"]["splits"] = {"train": 0.6, "/tmp/x": 0.2}
    sweep = plan(plain, ["data.splits./tmp/x=0.1,0.2"])
    expected = [Path(f"runs/tiny-sweep/runs/tmp_x-{value}") for value in ("0.1", "0.2")]
    assert [variant.folder for variant in sweep.variants] == expected


def test_one_value_is_an_override_and_names_nothing() -> None:
    [run] = plan(
        recipe(), ["coefficient.negative=flip", "coefficient.alpha=0,1", "output=x"]
    ).variants
    assert run.folder == Path("x")
    # flipped pairs are flipped at α = 0 too, so nothing is the same as anything
    assert list(run.recipe.policies) == [
        "dpo", "weighted-alpha-0", "weighted-alpha-1", "shuffled-alpha-0", "shuffled-alpha-1",
    ]  # fmt: skip
    assert {p.coefficient.negative for p in run.recipe.policies.values() if p.coefficient} == {
        "flip"
    }


def test_a_key_in_full_concerns_one_policy() -> None:
    [run] = plan(recipe(), ["policies.weighted.coefficient.alpha=0.5,1", "seed=1"]).variants
    assert list(run.recipe.policies) == [
        "dpo",
        "weighted-alpha-0.5",
        "weighted-alpha-1",
        "shuffled",
    ]
    assert run.points[1].controls == ()  # the control has α = 1
    assert run.points[2].controls == ("shuffled",)


def test_without_an_unweighted_policy_alpha_0_is_the_baseline() -> None:
    plain = recipe()
    del plain["policies"]["dpo"]
    [run] = plan(plain, ["coefficient.alpha=0,1"]).variants
    assert [(p.name, p.against) for p in run.points] == [
        ("weighted-alpha-0", "weighted-alpha-0"),
        ("weighted-alpha-1", "weighted-alpha-0"),
        ("weighted-alpha-0", "weighted-alpha-0"),
        ("shuffled-alpha-1", "weighted-alpha-0"),
    ]


def test_keys_of_the_recipe_make_runs_of_their_own() -> None:
    sweep = plan(
        recipe(),
        ["scorers.difference.head.duplication=0,0.5", "data.limit=20,30", "coefficient.alpha=1,2"],
    )
    assert [v.folder.as_posix() for v in sweep.variants] == [
        f"runs/tiny-sweep/runs/duplication-{d}-limit-{n}" for d in ("0", "0.5") for n in (20, 30)
    ]
    assert [v.recipe.scorers["difference"].head.duplication for v in sweep.variants] == [
        0,
        0,
        0.5,
        0.5,
    ]
    assert all(list(v.recipe.policies)[1] == "weighted-alpha-1" for v in sweep.variants)


def test_names_stay_folder_names_and_different() -> None:
    axis = Axis("data.path", ("a/b.jsonl", "a b.jsonl", "c.jsonl", "é"))
    assert [axis.short(value) for value in axis.values] == ["1", "2", "c.jsonl", "4"]
    assert points._labels(["coefficient.alpha", "policies.dpo.lora.alpha", "train.lr"]) == {
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
    assert lines[0] == "sweep of coefficient.alpha (2 values), seed (5 values), in runs/tiny-sweep"
    assert lines[1].startswith(
        "3 policies (2 of 5 points are the same as another), over all seeds 15 to train, 15 of"
    )
    assert [line.split() for line in lines[2:4]] == [
        ["dpo", "policies/dpo-SEED"],
        ["weighted", "alpha=0", "policies/dpo-SEED"],
    ]


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

    for room, name in ((scorers, "train_scorer"), (policies, "train_policy"), (judging, "sample")):
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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = recipe(policy_folder, encoder_folder, data, tmp_path / "run")
    ask = ["coefficient.alpha=0,2", "seed=0,1"]
    folder = sweep_recipe(given, ask)
    assert folder == tmp_path / "run-sweep"
    shown = capsys.readouterr().out
    assert "over all seeds 6 to train, 6 of them not trained yet" in shown
    assert "5 more: about" in shown
    # 2 scorers × 2 seeds; unweighted, weighted and shuffled × 2 seeds; samples of these, and of the
    # base model
    assert counted == {"train_scorer": 4, "train_policy": 6, "sample": 7}
    sweep = json.loads((folder / "sweep.json").read_text())
    assert {path.name for path in folder.iterdir()} >= {
        "report.html",
        "results.json",
        "sweep.html",
        "sweep.md",
    }

    counted.clear()
    monkeypatch.setattr(
        sweep_stage, "report_stage", lambda run: run
    )  # its pages are seen, and take a while
    sweep_recipe(given, ask)
    assert not counted
    assert "over all seeds 6 to train, 0 of them not trained yet" in capsys.readouterr().out
    again = json.loads((folder / "sweep.json").read_text())
    changing = {"created", "seconds"}
    assert {k: v for k, v in again.items() if k not in changing} == {
        k: v for k, v in sweep.items() if k not in changing
    }

    alone = json.loads(
        (
            run_recipe(given, ["seed=[0,1]", "policies.weighted.coefficient.alpha=2"])
            / "results.json"
        ).read_text()
    )
    of = {(p["policy"], p["settings"].get("coefficient.alpha")): p for p in sweep["points"]}
    assert of["weighted", 0]["name"] == of["shuffled", 0]["name"] == "dpo"
    assert of["weighted", 0]["gaps"] == {}
    for scorer in ("reward", "difference"):
        gap = of["weighted", 2]["gaps"][scorer]
        [single] = [
            c
            for c in alone["contrasts"]
            if (c["a"], c["b"], c["scorer"], c["seed"]) == ("weighted", "dpo", scorer, "all")
        ]
        for part in ("value", "low", "high"):
            assert gap[part] == pytest.approx(single["mean_gap"][part], abs=1e-5)
        assert gap["used_in_training"] == (scorer == "difference")
    curves = [p["curve"] for p in alone["policies"] if p["name"] == "weighted"]
    last = [[line["loss"] for line in curve if line["split"] == "dev"][-1] for curve in curves]
    found = of["weighted", 2]["dev_loss"]
    # of two values the 95 % interval is mean ± 12.706 · |a − b| / 2 (Student's t, one degree of
    # freedom)
    assert found["value"] == pytest.approx(sum(last) / 2, abs=1e-6)
    assert found["high"] == pytest.approx(
        sum(last) / 2 + 12.7062 * abs(last[0] - last[1]) / 2, abs=1e-4
    )

    counted.clear()
    sweep_recipe(given, ["coefficient.alpha=0,1,2", "seed=0,1"])
    assert counted == {"train_policy": 4, "sample": 4}  # weighted and shuffled at α = 1


@pytest.mark.slow
def test_runs_share_what_is_equal(
    policy_folder: Path,
    encoder_folder: Path,
    data: Path,
    tmp_path: Path,
    counted: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = recipe(policy_folder, encoder_folder, data)
    del given["policies"]["shuffled"]
    ask = ["scorers.difference.head.duplication=0,0.5", f"output={tmp_path / 's'}"]
    folder = sweep_recipe(given, ask)
    # one reward model and two difference models; the unweighted policy and two weighted ones; their
    # samples
    assert counted == {"train_scorer": 3, "train_policy": 3, "sample": 4}
    one, two = (folder / "runs" / f"duplication-{value}" for value in ("0", "0.5"))
    shared = "scorers/reward-0/model/model.safetensors"
    assert (one / shared).stat().st_ino == (two / shared).stat().st_ino
    assert (one / "store.sqlite").resolve() == (folder / "store.sqlite").resolve()
    assert all((run / "report.html").exists() for run in (one, two))
    sweep = json.loads((folder / "sweep.json").read_text())
    assert [line["settings"] for line in sweep["scorers"] if line["name"] == "difference"] == [
        {"scorers.difference.head.duplication": 0},
        {"scorers.difference.head.duplication": 0.5},
    ]
    told = (folder / "sweep.md").read_text()
    assert "Scorers on held-out comparisons" in told
    losses = {}
    for value, run in ((0, one), (0.5, two)):
        manifest = json.loads((run / "scorers/difference-0/manifest.json").read_text())
        losses[value] = [line for line in manifest["curve"] if line["split"] == "dev"][-1]
    found = [line["dev_loss"]["value"] for line in sweep["scorers"] if line["name"] == "difference"]
    assert found == [losses[0]["main"], losses[0.5]["main"]]
    assert (
        losses[0.5]["main"] < losses[0.5]["loss"]
    )  # what is compared has no part of the regulariser
    least = min(losses, key=lambda value: losses[value]["main"])
    assert (
        f"The dev loss of difference, without its regularisers, is least at duplication {least}"
        in told
    )
    counted.clear()
    monkeypatch.setattr(
        sweep_stage, "report_stage", lambda run: run
    )  # its pages are seen, and take a while
    sweep_recipe(given, ask)
    assert not counted
