"""`score`: the user's rows, in their order, with what the scorer says of each, whatever happens."""

from __future__ import annotations

import csv
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from rewarddiff.cli import main
from rewarddiff.data import Reason
from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.errors import UserError
from rewarddiff.pipeline.scoring import score
from rewarddiff.records import Group, Message
from rewarddiff.scorers.length import LengthScorer
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.scorers.neural.scorer import RewardModel
from rewarddiff.scoring import score as score_module
from rewarddiff.scoring import windows, work
from tests.scoring.conftest import read_lines, write_lines

PAIR = {"prompt": "Tea?", "chosen": "With milk.", "rejected": "No", "mine": [1, {"a": None}]}
TURNS: dict[str, Any] = {
    "prompt": [{"role": "user", "content": "Tea?"}],
    "chosen": [{"role": "assistant", "content": "Please."}],
    "rejected": [{"role": "assistant", "content": "Tea is a drink made of leaves."}],
}
LIST = {"prompt": "A colour", "responses": ["Red", "Blue-green", "Dog"], "scores": [3, 1, 2]}
LONE = {"prompt": "A colour", "response": "Red"}


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (windows, work, score_module):
        monkeypatch.setattr(module, "WINDOW", 3)


def scored(scorer: Any, rows: Sequence[Any], folder: Path, **options: Any) -> list[dict[str, Any]]:
    data = write_lines(folder / "rows.jsonl", rows)
    score(scorer, data, folder / "out.jsonl", **options)
    return read_lines(folder / "out.jsonl")


# -- what stands in the columns --------------------------------------------------------------------


def test_a_reward_models_numbers_are_its_own(
    scorer_folders: dict[str, Path], tmp_path: Path
) -> None:
    rows = [PAIR, TURNS | {"mine": "ü"}, PAIR | {"chosen": "Milk", "margin": 0}]
    lines = scored(scorer_folders["reward"], rows, tmp_path)
    for row, line in zip(rows, lines, strict=True):
        assert {column: line[column] for column in row} == row
    scorer = load_scorer(scorer_folders["reward"])
    assert isinstance(scorer, RewardModel)
    groups = [
        Group("", "Tea?", ("With milk.", "No")),
        Group("", (Message("user", "Tea?"),), ("Please.", "Tea is a drink made of leaves.")),
    ]
    rewards = [values.tolist() for values in scorer.rewards(groups)]
    assert [line["scores"] for line in lines[:2]] == rewards
    for line in lines:
        (chosen, rejected), (d,) = line["scores"], line["differences"]
        assert d == chosen - rejected
        assert line["comparisons"] == [[0, 1]]
        assert line["probability"][0] == pytest.approx(1 / (1 + math.exp(-d / 2)), rel=1e-12)
        assert "spread" not in line


def test_lists_and_lone_responses(scorer_folders: dict[str, Path], tmp_path: Path) -> None:
    lists = scored(scorer_folders["reward"], [LIST], tmp_path)[0]
    assert lists["scores"] == [3, 1, 2]  # the user's
    assert lists["comparisons_2"] == [[0, 1], [0, 2], [2, 1]]  # better before worse
    r = lists["scores_2"]
    assert lists["differences_2"] == [r[0] - r[1], r[0] - r[2], r[2] - r[1]]
    (lone,) = scored(scorer_folders["reward"], [LONE], tmp_path)
    assert lone["scores"] == [r[0]]  # the same response to the same prompt
    assert lone.keys() == {*LONE, "scores"}


def test_a_difference_model_has_no_score_of_a_response_alone(
    scorer_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = scorer_folders["difference"]
    with pytest.raises(UserError, match="one response to each prompt"):
        scored(folder, [LONE], tmp_path)
    # Beside rows that are scored, such a one stays, and is counted.
    _, lone = scored(folder, [PAIR, LONE], tmp_path)
    assert lone == LONE | {"scores": None}
    data = write_lines(tmp_path / "l.jsonl", [LIST])
    summary = score(folder, data, tmp_path / "o.jsonl")
    (line,) = read_lines(tmp_path / "o.jsonl")
    group = Group("", "A colour", ("Red", "Blue-green", "Dog"))
    (stated,) = load_scorer(folder).differences([group], [[(0, 1), (0, 2), (2, 1)]])
    a, b, c = stated.mean.tolist()
    assert line["differences_2"] == [a, b, c]
    # The mean over both others: of response 1 it is −d(0, 1) and −d(2, 1), of 2 −d(0, 2) and d(2, 1).
    expected = [(a + b) / 2, (-a - c) / 2, (-b + c) / 2]
    assert line["scores_2"] == pytest.approx(expected, rel=1e-12)
    assert any("scores no response by itself" in text for text in summary.lines())


def test_an_ensemble_states_its_spread(scorer_folders: dict[str, Path], tmp_path: Path) -> None:
    (line,) = scored(scorer_folders["ensemble"], [PAIR], tmp_path)
    group = Group("", "Tea?", ("With milk.", "No"))
    (stated,) = load_scorer(scorer_folders["ensemble"]).differences([group], [[(0, 1)]])
    heads = stated.by_head[0]
    assert line["spread"] == [pytest.approx(float(np.std(heads, ddof=1)), rel=1e-12)]
    assert line["spread"][0] > 0


def test_rows_that_cannot_be_used_stay_and_empty_responses_have_no_score(tmp_path: Path) -> None:
    rows = ["{broken", PAIR, {"prompt": "P", "mine": 1}, PAIR | {"rejected": " "}]
    data = write_lines(tmp_path / "rows.jsonl", rows)
    summary = score("length", data, tmp_path / "out.jsonl")
    lines = read_lines(tmp_path / "out.jsonl")
    assert len(lines) == 3  # what is no JSON cannot be written either
    assert lines[1] == {"prompt": "P", "mine": 1, "scores": None}
    assert lines[2]["scores"] == [math.log1p(len("With milk.")), None]
    assert "differences" not in lines[2]
    assert (summary.ledger.kept, summary.ledger.dropped) == (2, 2)
    assert summary.ledger.count(Reason.UNREADABLE) == 1
    with pytest.raises(UserError, match="2 of 4 rows dropped"):
        score("length", data, tmp_path / "out.jsonl", max_drop=0.25)


def test_a_conversation_that_the_template_refuses_has_no_score(
    scorer_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "strict"
    shutil.copytree(scorer_folders["reward"], folder)
    template = folder / "chat_template.jinja"
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    template.write_text(refusal + template.read_text())
    refused = TURNS | {"prompt": [{"role": "system", "content": "Be brief."}, *TURNS["prompt"]]}
    rows = [TURNS, PAIR, refused, LONE | {"chosen": "a", "rejected": "b"}, TURNS]
    data = write_lines(tmp_path / "rows.jsonl", rows)
    summary = score(folder, data, tmp_path / "out.jsonl")
    lines = read_lines(tmp_path / "out.jsonl")
    assert [line["scores"] is None for line in lines] == [False, False, True, False, False]
    assert lines[0]["scores"] == lines[4]["scores"]
    (alone,) = scored(folder, [PAIR], tmp_path)
    assert lines[1]["scores"] == alone["scores"]
    assert (summary.ledger.kept, summary.ledger.count(Reason.TEMPLATE_REFUSED)) == (4, 1)


def test_every_text_is_read_once(scorer_folders: dict[str, Path], tmp_path: Path) -> None:
    scorer = load_scorer(scorer_folders["reward"])
    asked: list[int] = []
    read = scorer._compute

    def counting(readings: Any, progress: Any) -> Iterator[tuple[int, float]]:
        asked.append(len(readings))
        return read(readings, progress)

    scorer._compute = counting  # type: ignore[method-assign]
    rows = [PAIR, PAIR | {"prompt": "Milk?"}, LIST | {"scores": [1, None, None]}]
    data = write_lines(tmp_path / "rows.jsonl", rows[:2])
    lists = write_lines(tmp_path / "lists.jsonl", rows[2:])
    score(scorer, [data, lists], tmp_path / "out.jsonl")
    # Two pairs and a list of three, of which one alone is graded: all are scored.
    assert sum(asked) == 2 + 2 + 3


def test_names_that_the_data_has_are_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], small_windows: None
) -> None:
    lines = scored("length", [PAIR, PAIR | {"differences": "mine", "scores_2": 0}], tmp_path)
    assert {"scores_3", "differences_3"} <= lines[0].keys()
    assert lines[1]["differences"] == "mine"
    assert "ours end in _3" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"rows\.jsonl:5: has a column scores"):
        scored("length", [PAIR] * 4 + [PAIR | {"scores": 1}], tmp_path)


def test_a_number_that_is_none_ends_the_work(tmp_path: Path) -> None:
    class Broken(LengthScorer):
        def differences(
            self, groups: Sequence[Group], pairs: Sequence[Sequence[Pair]], **options: Any
        ) -> list[Differences]:
            return [Differences.of([math.nan] * len(some), some) for some in pairs]

        def rewards(self, groups: Sequence[Group], **options: Any) -> list[Array]:
            return [np.zeros(len(group.responses)) for group in groups]

    data = write_lines(tmp_path / "rows.jsonl", [PAIR])
    with pytest.raises(UserError, match=r"not finite of rows\.jsonl:1"):
        score(Broken(), data, tmp_path / "out.jsonl")


# -- files -----------------------------------------------------------------------------------------


def test_files_of_every_kind_hold_the_same(tmp_path: Path) -> None:
    rows = [PAIR | {"id": i, "chosen": "x" * (i + 1), "mine": [i, None]} for i in range(5)]
    (tmp_path / "deep").mkdir()
    data = write_lines(tmp_path / "deep" / "a.jsonl", rows[:2])
    more = write_lines(tmp_path / "b.jsonl", rows[2:])
    for suffix in ("jsonl", "csv", "parquet"):
        score("length", [data.parent, more], tmp_path / f"out.{suffix}")
    expected = [np.log1p([i + 1, 2]).tolist() for i in range(5)]
    lines = read_lines(tmp_path / "out.jsonl")
    assert [line["scores"] for line in lines] == expected
    assert [line["id"] for line in lines] == list(range(5))
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["scores"] for row in table] == expected
    assert [row["mine"] for row in table] == [[i, None] for i in range(5)]
    with (tmp_path / "out.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [row["scores"] for row in cells] == [str(scores) for scores in expected]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "b.jsonl", "deep", "out.csv", "out.jsonl", "out.parquet",
    ]  # fmt: skip


# -- stopped and started again ---------------------------------------------------------------------


class Fails(LengthScorer):
    """Stops in the window that holds a response."""

    def rewards(self, groups: Sequence[Group], **options: Any) -> list[Array]:
        for group in groups:
            if "stop here" in group.responses:
                raise KeyboardInterrupt
        return super().rewards(groups, **options)


def test_what_was_done_is_not_done_again(tmp_path: Path, small_windows: None) -> None:
    rows = [{"prompt": f"P{i}", "chosen": "a" * i, "rejected": "b"} for i in range(1, 11)]
    rows[7]["chosen"] = "stop here"
    data = write_lines(tmp_path / "rows.jsonl", rows)
    whole = tmp_path / "whole.jsonl"
    score(LengthScorer(), data, whole)
    with pytest.raises(KeyboardInterrupt):
        score(Fails(), data, tmp_path / "out.jsonl")
    parts = tmp_path / "out.jsonl.parts"
    assert len(list(parts.glob("window-*.jsonl"))) == 2
    first = parts / "window-00000000.jsonl"
    assert whole.read_bytes().startswith(first.read_bytes())  # readable at every moment
    with pytest.raises(KeyboardInterrupt):
        score(Fails(), data, tmp_path / "out.jsonl")
    made_at = first.stat().st_mtime_ns
    # The same scorer again, which by now stops nowhere.
    Fails.rewards = LengthScorer.rewards  # type: ignore[method-assign]
    summary = score(Fails(), data, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == whole.read_bytes()
    assert summary.rows == 10
    assert summary.scores.count == 20
    assert summary.speed.rows == 4  # of this call
    assert made_at < (tmp_path / "out.jsonl").stat().st_mtime_ns
    assert not parts.exists()


@pytest.mark.slow
def test_killed_and_in_several_processes_the_bytes_are_the_same(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"P{i}", "chosen": "a" * (i % 97 + 1), "rejected": "b" * (i % 89 + 1)}
        for i in range(12_000)
    ]
    data = write_lines(tmp_path / "rows.jsonl", rows)
    whole = tmp_path / "whole.jsonl"
    score("length", data, whole)
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "rewarddiff", "score", "length", str(data), "--output"]
    with subprocess.Popen([*command, str(output)], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while len(list(output.parent.glob("out.jsonl.parts/window-*.json"))) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not output.exists()
    done = len(list(output.parent.glob("out.jsonl.parts/window-*.json")))
    summary = score("length", data, output, processes=2)
    assert output.read_bytes() == whole.read_bytes()
    assert summary.rows == 12_000
    assert summary.speed.rows <= 12_000 - (done - 1) * windows.WINDOW


def test_what_fails_in_a_process_is_one_line(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "rows.jsonl", [PAIR | {"margin": 1}, PAIR])
    with pytest.raises(UserError, match="the data gives only the order of 1 of 2"):
        score("grades", data, tmp_path / "out.jsonl", processes=2)
    with pytest.raises(UserError, match="stays in one process"):
        score(LengthScorer(), data, tmp_path / "out.jsonl", processes=2)


# -- the command -----------------------------------------------------------------------------------


def test_the_command_says_what_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [PAIR, PAIR | {"chosen": "o", "rejected": "longer"}, PAIR | {"prompt": ""}]
    # Of equal texts neither is better: such a pair is neither right nor wrong, nor half of both.
    rows.append(PAIR | {"chosen": "same", "rejected": "same "})
    write_lines(Path("rows.jsonl"), rows)
    assert main(["score", "length", "rows.jsonl"]) == 0
    said = capsys.readouterr().out
    assert "4, of which 3 can be used" in said
    assert "2, the scorer agrees with 50.0 %; left out: 1 of equal texts" in said
    assert "missing_field" in said
    assert said.endswith("rows.length.scores.jsonl\n")
    assert main(["score", "no/such/folder", "rows.jsonl"]) == 2
    assert main(["score", "length", "rows.jsonl", "--output", "scores.txt"]) == 2
    assert "scores.txt: cannot be written by its name" in capsys.readouterr().err
    assert not Path("scores.txt").exists()
