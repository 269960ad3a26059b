"""`rewarddiff designs`: what fewer comparisons cost, measured on lists whose order is known."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rewarddiff.cli import main
from rewarddiff.data import load_groups, prompt_hashes
from rewarddiff.errors import UserError
from rewarddiff.pipeline import designs_of_run, designs_stage, run_recipe
from rewarddiff.report.designs import designs_table
from rewarddiff.results import TrainedOn
from rewarddiff.scorers.neural.build import load_scorer, new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lists") / "lists.jsonl"
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": f"Say {i}", "responses": [f"word {i} {'so ' * j}{j}" for j in range(5)]}
        | {"scores": rng.permutation(5).tolist()}
        for i in range(8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def scorers(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("scorers")
    for seed in (0, 1):
        scorer = new_scorer(
            ScorerConfig(kind="difference", head="segments", backbone=str(encoder_folder)),
            seed=seed,
        )
        scorer.trained = True  # as good as any: nothing is said of what it has learned
        save_scorer(scorer, folder / str(seed))
    return [folder / "0", folder / "1"]


def test_figures_are_means_over_seeds(lists: Path, scorers: list[Path]) -> None:
    """Copeland in both orders, worked out from the differences of every pair."""
    found = designs_stage(scorers, lists, [6])
    rows = {(r.design["mode"], r.method): r for r in found.rows}
    assert {mode for mode, _ in rows} == {"both", "all", "budget", "anchor"}
    assert (
        len(rows) == len(found.rows) == 4 + 4 + 1 + 1
    )  # by the methods that need every pair, and by potentials
    assert [rows[mode, "potentials"].readings for mode in ("both", "all", "budget", "anchor")] == [
        20,
        10,
        6,
        4,
    ]
    assert all(rows["all", m].spearman == pytest.approx(1) for m in ("potentials", "borda", "sum"))
    groups = list(load_groups(lists))
    pairs = list(combinations(range(5), 2))
    hits = []
    for folder in scorers:
        for group, d in zip(
            groups, load_scorer(folder).differences(groups, [pairs] * len(groups)), strict=True
        ):
            wins = np.zeros(5)
            for (a, b), value in zip(pairs, d.mean, strict=True):
                wins[a] += np.sign(value)
                wins[b] -= np.sign(value)
            assert group.scores is not None
            hits += [
                0.5 * (1 + np.sign(wins[a] - wins[b]) * np.sign(group.scores[a] - group.scores[b]))
                for a, b in pairs
            ]
    accuracy = rows["both", "copeland"].accuracy
    assert accuracy.value == pytest.approx(np.mean(hits))
    assert accuracy.n == len(hits) == 160
    assert accuracy.low <= accuracy.value <= accuracy.high


def test_lists_whose_prompts_a_scorer_was_trained_on_are_left_out(
    lists: Path, scorers: list[Path], tmp_path: Path
) -> None:
    knowing = load_scorer(scorers[0])
    for count, left in ((3, 5), (8, 8)):
        knowing.prompts = prompt_hashes(load_groups(lists, limit=count))
        save_scorer(knowing, tmp_path / "knowing")
        found = designs_stage([tmp_path / "knowing"], lists)
        assert found.groups == left
        assert found.trained_on == TrainedOn(True, count, left_out=count < 8)
        assert all(row.accuracy.n == 10 * left for row in found.rows)
        sentence = (
            "3 further lists are left out" if count < 8 else "trained on the prompts of all 8 lists"
        )
        assert sentence in " ".join(designs_table(found).notes)
    assert designs_stage(scorers, lists).trained_on.known is False


def test_potentials_and_sums_order_alike_where_all_are_read(
    lists: Path, scorers: list[Path]
) -> None:
    rows = {(r.design["mode"], r.method): r for r in designs_stage(scorers[:1], lists).rows}
    assert rows["both", "potentials"].accuracy == rows["both", "sum"].accuracy
    assert stats.rankdata(
        [rows[m, "potentials"].tokens for m in ("anchor", "all", "both")]
    ).tolist() == [1, 2, 3]


def test_the_command(
    lists: Path, scorers: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "designs.json"
    assert (
        main(["designs", *map(str, scorers), str(lists), "--budget", "6", "--output", str(output)])
        == 0
    )
    said = capsys.readouterr().out
    assert "Designs on 8 lists of 5 responses" in said
    assert {"budget", "anchor"} <= set(
        said.split()
    )  # names as long as a path fold what stands beside them
    assert len(json.loads(output.read_text())["rows"]) == 10


def test_a_run_with_all_its_scorers_on_its_test_split(
    lists: Path, encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {
        "backbone": str(encoder_folder),
        "train": {"batch_size": 2, "max_steps": 1, "precision": "fp32"},
    }
    scorers = {"reward": {"kind": "reward", **small}, "difference": {"kind": "difference", **small}}
    data = {"path": str(lists), "splits": {"train": 0.5, "test": 0.5}}
    recipe = {
        "name": "r",
        "data": data,
        "scorers": scorers,
        "seed": [0, 1],
        "output": str(tmp_path / "run"),
    }
    folder = run_recipe(recipe)
    found = designs_of_run(folder, [6])
    results = json.loads((folder / "results.json").read_text())
    held_out = results["data"]["splits"]["test"]["groups"]
    assert (found.groups, found.seeds) == (held_out, 2)
    assert [row.scorer for row in found.rows] == ["reward"] + ["difference"] * 10
    (reward,) = (line for line in results["summary"]["scorers"] if line["name"] == "reward")
    assert found.rows[0].accuracy.value == pytest.approx(reward["accuracy"]["value"])
    capsys.readouterr()
    assert main(["designs", str(folder)]) == 0
    assert f"Designs on {held_out} lists" in capsys.readouterr().out
    assert main(["designs", str(folder), "--max-drop", "0.5"]) == 2
    assert "a run reads as its recipe says" in capsys.readouterr().err
    before = (folder / "data/manifest.json").read_bytes()
    lines = lists.read_text().splitlines(True)
    lists.write_text("".join(lines[1:]))
    with pytest.raises(UserError, match=r"is not as it was when .* run the recipe again"):
        designs_of_run(folder)
    lists.write_text("".join(lines))
    assert (folder / "data/manifest.json").read_bytes() == before
    with pytest.raises(UserError, match="give the folder of a finished run"):
        designs_of_run(tmp_path)


def test_a_budget_that_cannot_join_and_lists_without_order(
    lists: Path, scorers: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r"budget: 3 comparisons cannot join 5 responses; give at least 4"
    ):
        designs_stage(scorers, lists, [3])
    unknown = tmp_path / "unknown.jsonl"
    unknown.write_text(json.dumps({"prompt": "p", "responses": ["a", "b"]}) + "\n")
    with pytest.raises(UserError, match="no list has a known order"):
        designs_stage(scorers, unknown)
