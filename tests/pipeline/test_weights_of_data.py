"""Coefficients that the data brings may be anybody's: no scorer counts as surely independent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.cli import main
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.scoring import weigh_dataset
from rewarddiff.pipeline.sweep import sweep_recipe
from rewarddiff.report.statements import head
from rewarddiff.results import SweepResults, Unequal, adapter, read_results

UNKNOWN = "weighted has coefficients that the data brings: which scorer made them is not known"


@pytest.fixture(scope="module")
def plan(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A recipe on what `weigh` wrote with the very scorer that judges it."""
    folder = tmp_path_factory.mktemp("weights")
    pairs = [{"prompt": f"Say it {i}", "chosen": "yes, yes", "rejected": "no"} for i in range(30)]
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    weigh_dataset("length", rows, folder / "ws.jsonl")
    small = {"batch_size": 4, "max_steps": 1, "precision": "fp32", "lr": 1e-2}
    return {
        "name": "weights",
        "model": str(policy_folder),
        "output": str(folder / "run"),
        "data": {"path": str(folder / "ws.jsonl"), "splits": {"train": 0.7, "test": 0.3}},
        "lengths": {"max_response": 32},
        "scorers": {"length": {"kind": "length"}},
        "policies": {
            "dpo": {"train": small},
            "weighted": {"train": small, "coefficient": {"source": "column"}},
        },
        "evaluation": {"prompts": 3, "sampling": {"max_new_tokens": 8, "stop": []}},
    }


def test_results_and_a_comparison_say_that_their_maker_is_not_known(
    plan: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_recipe(plan)
    results = read_results(folder)
    unequal = {(line.a, line.b): line.unequal for line in results.contrasts}
    assert unequal["weighted", "dpo"] == (Unequal("coefficient.source", "column", None),)
    assert unequal["weighted", "base"] == (Unequal("coefficient.source", "column", None),)
    assert unequal["dpo", "base"] == ()
    said = head(results)
    assert said.result.startswith(
        "weighted against dpo, by a scorer without a known part in their training: length "
    )
    assert f"{UNKNOWN}." in said.limits
    (note,) = [note for note in results.notes if note.startswith("weighted against dpo")]
    assert note.endswith(f"; {UNKNOWN}.")
    assert "unequally" not in " ".join([said.result, *said.limits, *said.further])
    assert f"‡ weighted − dpo: {UNKNOWN}." in (folder / "report.html").read_text()

    capsys.readouterr()
    page = tmp_path / "compare.html"
    again = shutil.copytree(folder, tmp_path / "again")
    assert main(["compare", str(folder), str(again), "--output", str(page)]) == 0
    assert UNKNOWN in " ".join(capsys.readouterr().out.split())
    assert UNKNOWN in page.read_text()


def test_a_sweep_says_so_too(plan: dict[str, Any], tmp_path: Path) -> None:
    sweep = plan | {"output": str(tmp_path / "sweep")}
    folder = sweep_recipe(sweep, ["objective.beta=0.1,0.2"])
    results = adapter(SweepResults).validate_json((folder / "sweep.json").read_text())
    assert all(point.baseline is not None for point in results.points if point.control == "none")
    page = (folder / "sweep.html").read_text()
    assert "scorers without a known part in their training" in page
    assert UNKNOWN in page
    assert "trained unequally" not in page
