"""`weigh`: a row for every comparison, its coefficient worked out by hand, and read back as data."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from safetensors.numpy import load_file

from rewarddiff.cli import main
from rewarddiff.coefficients import CoefficientConfig, weigh
from rewarddiff.data import Ledger, load_groups, prompt_hashes, read
from rewarddiff.data.passing import passing
from rewarddiff.differences import Differences
from rewarddiff.errors import UserError
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.scoring import weigh_dataset
from rewarddiff.scorers.length import LengthScorer
from rewarddiff.scoring import weigh as weigh_module
from rewarddiff.scoring import windows, work
from tests.scoring.conftest import L2, L4, PAIRS, column, read_lines, weighed, write_lines

LEFT_OUT = [
    {"prompt": "P5", "chosen": "tie", "rejected": "d", "margin": 0},
    {"prompt": "P6", "chosen": "same", "rejected": " same"},
    {"prompt": "P7", "chosen": "abc", "rejected": ""},
]


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (windows, work, weigh_module):
        monkeypatch.setattr(module, "WINDOW", 2)


# -- what stands in the columns --------------------------------------------------------------------


def test_coefficients_are_those_of_the_differences(tmp_path: Path) -> None:
    rows, done = weighed([*PAIRS, *LEFT_OUT], tmp_path, alpha=0.5)
    assert column(rows, "difference") == pytest.approx([L2, -L4, L4, -L2])
    assert column(rows, "coefficient") == pytest.approx([math.sqrt(L2), 0, math.sqrt(L4), 0])
    assert column(rows, "margin") == pytest.approx([L2, 0, L4, 0])
    assert column(rows, "chosen_score") == pytest.approx([L4, L2, math.log(8), L2])
    assert column(rows, "row") == [f"rows.jsonl:{i}" for i in range(1, 5)]
    assert (rows[0]["id"], rows[0]["subset"]) == ("one", "easy")
    assert "id" not in rows[1]
    summary = done.summary
    assert (summary.comparisons.kept, summary.comparisons.dropped) == (4, 3)
    report = json.loads(done.beside.report.read_text())
    reasons = {name: tally["count"] for name, tally in report["comparisons"]["dropped"].items()}
    assert reasons == {"no_order": 1, "identical_responses": 1, "empty_response": 1}
    assert report["distribution"]["share_negative"] == 0.5
    assert report["coefficient"]["alpha"] == 0.5


def test_flipped_pairs_are_written_turned(tmp_path: Path) -> None:
    rows, done = weighed(PAIRS, tmp_path, negative="flip")
    assert column(rows, "flipped") == [False, True, False, True]
    assert (rows[1]["chosen"], rows[1]["rejected"]) == ("abcdefg", "d")
    assert (rows[1]["chosen_score"], rows[1]["rejected_score"]) == (math.log(8), L2)
    assert column(rows, "difference") == pytest.approx([L2, L4, L4, L2])
    assert column(rows, "coefficient") == column(rows, "margin") == column(rows, "difference")
    assert any("2 pairs are written the other way" in line for line in done.summary.lines())


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
def test_pairs_that_the_scorer_turned_are_counted_when_they_are_read(
    name: str, tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "rows.jsonl", PAIRS)
    weigh_dataset("length", data, tmp_path / name, CoefficientConfig(negative="flip"))
    ledger = Ledger()
    load_groups(tmp_path / name, ledger=ledger)
    assert (ledger.kept, ledger.dropped) == (4, 0)
    assert ledger.to_dict()["changed"].keys() == {"label_turned_by_a_scorer"}
    assert ledger.count("label_turned_by_a_scorer") == 2
    passed = Ledger()
    for row in passing([tmp_path / name]):
        passed.merge(row.read().ledger)
    assert passed.count("label_turned_by_a_scorer") == 2


def test_margins_are_strengths_where_the_file_is_read_as_trl(tmp_path: Path) -> None:
    rows, _ = weighed(PAIRS, tmp_path, negative="flip")
    groups = load_groups(tmp_path / "out.jsonl", format="trl")
    strengths = [comparison.strength for group in groups for comparison in group.comparisons]
    assert strengths == column(rows, "margin")


def test_dropped_pairs_are_left_out_and_named(tmp_path: Path) -> None:
    rows, done = weighed(PAIRS, tmp_path, negative="drop")
    assert column(rows, "row") == ["rows.jsonl:1", "rows.jsonl:3"]
    written = json.loads(done.beside.report.read_text())["written"]
    places = [example["source"] for example in written["dropped"]["contradictory"]["examples"]]
    assert places == ["rows.jsonl:2", "rows.jsonl:4"]
    assert "weighed       4, of which 2 are written" in done.summary.lines()


def test_every_comparison_is_counted_once_and_a_row_without_any_is_none(tmp_path: Path) -> None:
    # Of four graded responses there are six comparisons, three with the empty one; of the others
    # one is a tie and one of equal texts.
    lists = {"prompt": "P", "responses": ["abc", "d", "", "abc "], "scores": [3, 1, 2, 1]}
    alone = [{"prompt": "Q", "responses": ["abc", "d"]}, {"prompt": "R", "responses": ["abc"]}]
    _, done = weighed([lists, *alone], tmp_path)
    summary = done.summary
    assert (summary.comparisons.kept, summary.comparisons.dropped) == (1, 5)
    for reason, count in (("empty_response", 3), ("no_order", 1), ("identical_responses", 1)):
        assert summary.comparisons.count(reason) == count
    assert (summary.rows.kept, summary.rows.count("no_order")) == (3, 2)
    said = "\n".join(summary.lines())
    assert "comparisons   6, of which 1 can be weighed" in said
    assert re.search(r"changed +2 +no_order +first: rows.jsonl:2 \(nothing is compared\)", said)


def test_scales_and_ranks_are_those_of_all_windows_together(tmp_path: Path) -> None:
    config = CoefficientConfig(squash="rank", normalise="mean", negative="abs")
    rows, _ = weighed(PAIRS, tmp_path, squash="rank", normalise="mean", negative="abs")
    together = weigh([Differences.of(column(rows, "difference"))], config)
    assert column(rows, "coefficient") == together.weights[0].tolist()
    # |d| have the ranks 1½, 3½, 3½, 1½ of 4, whose mean is 2½.
    assert column(rows, "coefficient") == pytest.approx([0.6, 1.4, 1.4, 0.6])


def test_a_list_becomes_a_row_for_each_comparison(tmp_path: Path) -> None:
    rows, _ = weighed(
        [{"prompt": "P", "responses": ["abc", "d", "e"], "scores": [3, 1, 1]}], tmp_path
    )
    # The two that are graded alike are a tie.
    assert [(row["chosen"], row["rejected"]) for row in rows] == [("abc", "d"), ("abc", "e")]


def test_conversations_are_written_as_turns(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "Hi"}]
    row = {"prompt": prompt}
    for side, text in (("chosen", "Hello"), ("rejected", "W")):
        row[side] = [{"role": "assistant", "content": text}]
    rows, _ = weighed([row], tmp_path)
    assert {name: rows[0][name] for name in row} == row


def test_calibrated_ones_and_ensembles(scorer_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = str(scorer_folders["ensemble"])
    rows, _ = weighed(PAIRS, tmp_path, folder, calibrated=True, negative="abs")
    for row in rows:
        assert row["coefficient"] == abs(row["difference"] / 2)  # T = 2
        assert row["probability"] == pytest.approx(1 / (1 + math.exp(-row["difference"] / 2)))
    lower, _ = weighed(PAIRS, tmp_path, folder, lower=0.1, negative="floor", floor=1e-6)
    for row in lower:
        assert row["coefficient"] == max(row["difference"] - 0.1 * row["spread"], 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibrated": True}, "coefficient.calibrated: length has no temperature"),
        ({"lower": 1.0}, "coefficient.lower: length has no spread"),
        ({"source": "length"}, "coefficient.source: the scorer is given by itself"),
    ],
)
def test_what_a_scorer_has_not_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        weighed(PAIRS, tmp_path, **options)
    assert not (tmp_path / "out.jsonl").exists()


def test_too_many_rows_of_no_use_end_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 of 5 rows dropped"):
        weighed([*PAIRS, {"prompt": "P"}], tmp_path)
    with pytest.raises(UserError, match=r"rows\.jsonl: nothing to weigh, none of 3 comparisons"):
        weighed(LEFT_OUT, tmp_path)


# -- files, and what reads them --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet", "out"])
def test_what_is_written_reads_back_as_data(name: str, tmp_path: Path) -> None:
    rows, _ = weighed([*PAIRS, *LEFT_OUT], tmp_path)
    weigh_dataset("length", tmp_path / "rows.jsonl", tmp_path / name)
    ledger = Ledger()
    groups = load_groups(tmp_path / name, ledger=ledger)
    assert (ledger.kept, ledger.dropped) == (4, 0)
    for group, row in zip(groups, rows, strict=True):
        (comparison,) = group.comparisons
        assert (group.prompt, group.responses) == (row["prompt"], (row["chosen"], row["rejected"]))
        assert comparison.coefficient == row["coefficient"]
        # What the scorer says is no strength of the data, or it would be measured by itself.
        assert (comparison.strength, group.scores) == (None, None)
    if name == "out":
        assert datasets.load_from_disk(str(tmp_path / name))["coefficient"][:] == column(
            rows, "coefficient"
        )


@pytest.mark.parametrize("name", ["out.parquet", "out"])
def test_what_a_table_cannot_hold_is_written_as_lines_without_asking_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts that are texts, and from the second window on conversations."""
    talk = {"prompt": [{"role": "user", "content": "Hi"}]}
    for side, text in (("chosen", "Hello"), ("rejected", "W")):
        talk[side] = [{"role": "assistant", "content": text}]
    data = write_lines(tmp_path / "rows.jsonl", [*PAIRS[:2], talk])
    lines = tmp_path / "out.jsonl"
    with pytest.raises(UserError, match=f"--output {lines} goes on with what is done$"):
        weigh_dataset("length", data, tmp_path / name)
    monkeypatch.setattr(weigh_module, "ask_rows", None)
    done = weigh_dataset("length", data, lines)
    assert done.summary.speed.rows == 0
    assert [row["prompt"] for row in read_lines(lines)] == ["P1", "P2", talk["prompt"]]
    assert not list(tmp_path.glob("*.parts"))


def test_a_folder_that_is_no_dataset_is_not_replaced(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "rows.jsonl", PAIRS)
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="mine: is there already, and holds no saved dataset"):
        weigh_dataset("length", data, tmp_path / "mine")
    with pytest.raises(UserError, match="the data lies in it"):
        weigh_dataset("length", data, tmp_path)
    weigh_dataset("length", data, tmp_path / "set")
    weigh_dataset("length", data, tmp_path / "set")
    with pytest.raises(UserError, match="the data lies in it"):
        weigh_dataset("length", tmp_path / "set", tmp_path / "set")


def test_the_data_is_not_replaced_by_what_is_written_beside(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "out.suspicious.jsonl", PAIRS)
    with pytest.raises(UserError, match=r"out\.suspicious\.jsonl: would be replaced"):
        weigh_dataset("length", data, tmp_path / "out.jsonl")
    assert read_lines(data) == PAIRS


def test_hh_keeps_what_must_not_straddle_a_split(tmp_path: Path) -> None:
    dialogue = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Tea?\n\nAssistant:"
    rows = [{"chosen": f"{dialogue} Yes, please", "rejected": f"{dialogue} No"}]
    weighed(rows, tmp_path)
    (before,) = read(tmp_path / "rows.jsonl", ledger=Ledger())
    (after,) = read(tmp_path / "out.jsonl", ledger=Ledger())
    assert after.topic == before.topic != ""
    assert (after.prompt, after.responses, after.id) == (before.prompt, before.responses, before.id)


def test_a_policy_trained_on_the_file_has_the_weights_of_the_recipe_with_the_scorer(
    policy_folder: Path, tmp_path: Path
) -> None:
    rows = []
    for i in range(24):
        texts = ("no" * (i % 5 + 1), "yes" * (i % 7 + 1))
        rows.append({"prompt": f"Question {i}?", "chosen": texts[0], "rejected": texts[1]})
    weighed([*rows, LEFT_OUT[0]], tmp_path)
    recipe: dict[str, Any] = {
        "name": "w",
        "model": str(policy_folder),
        "seed": 0,
        "lengths": {"max_prompt": 32, "max_response": 32},
        "data": {"path": str(tmp_path / "rows.jsonl"), "splits": {"train": 0.8, "test": 0.2}},
        "scorers": {"length": {"kind": "length"}},
        "policies": {
            "dpo": {
                "objective": "dpo",
                "train": {"max_steps": 3, "batch_size": 4, "lr": 1e-2, "precision": "fp32"},
                "coefficient": {"source": "length"},
            }
        },
        "evaluation": {"prompts": 1, "sampling": {"max_new_tokens": 1}},
        "output": str(tmp_path / "scorer"),
    }
    weights = []
    for name in ("scorer", "column", "unweighted"):
        if name != "scorer":
            recipe["scorers"] = {}
            recipe["data"]["path"] = str(tmp_path / "out.jsonl")
            recipe["policies"]["dpo"]["coefficient"] = {"source": "column"}
        if name == "unweighted":
            recipe["policies"]["dpo"]["coefficient"]["alpha"] = 0
        recipe["output"] = str(tmp_path / name)
        (model,) = run_recipe(recipe).glob("policies/dpo-0/model/model.safetensors")
        weights.append(load_file(model))
    by_scorer, by_column, unweighted = weights
    assert all(np.array_equal(by_scorer[key], by_column[key]) for key in by_scorer)
    assert not all(np.array_equal(by_scorer[key], unweighted[key]) for key in by_scorer)


# -- the command -----------------------------------------------------------------------------------


def test_overrides_stand_among_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines(Path("a.jsonl"), PAIRS[:2])
    write_lines(Path("b.jsonl"), PAIRS[2:])
    command = ["weigh", "a.jsonl", "b.jsonl", "alpha=0.5", "--scorer", "length"]
    options = ["--output", "out.jsonl", "coefficient.negative=abs", "suspicious=1"]
    assert main([*command, *options]) == 0
    rows = read_lines(Path("out.jsonl"))
    assert column(rows, "coefficient") == pytest.approx(
        [math.sqrt(L2), math.sqrt(L4), math.sqrt(L4), math.sqrt(L2)]
    )
    assert capsys.readouterr().out.endswith("out.suspicious.html\n")
    assert main([*command, "--output", "out.jsonl", "alphas=1"]) == 2
    assert "did you mean 'alpha'" in capsys.readouterr().err


def test_what_the_scorer_was_trained_on_is_said(tmp_path: Path) -> None:
    """In the summary, the report and on the page: agreement there is no evidence."""
    rows = tmp_path / "rows.jsonl"
    write_lines(rows, PAIRS)
    groups = list(load_groups(rows))
    scorer = LengthScorer(prompts=prompt_hashes(groups[:2]))
    done = weigh_dataset(scorer, rows, tmp_path / "weighed.jsonl")
    sentence = "The scorer was trained on the prompts of 2 rows"
    assert any(sentence in line for line in done.summary.lines())
    assert json.loads(done.beside.report.read_text())["reading"]["learned"] == 2
    assert sentence in done.beside.page.read_text()
