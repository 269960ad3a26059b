"""A text that there is no memory to read is refused with its row, by whatever reads it with a scorer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rewarddiff as rd
from rewarddiff.cli import main
from rewarddiff.errors import UserError
from rewarddiff.footprint import refusing
from rewarddiff.scorers.neural.build import new_scorer
from rewarddiff.scorers.neural.scorer import RewardModel

LONG = 700
"""Bytes of the long row's prompt: the tiny tokenizer makes a token of each."""

A_TOKEN = 4 * 16 * 32
"""Bytes: 16 float32 for each of the 32 units of the tiny model; its wide layer, 2·32 + 4·48, takes less."""


@pytest.fixture
def scorer(policy_folder: Path, tmp_path: Path) -> Path:
    """A reward model."""
    fresh = new_scorer(rd.ScorerConfig(kind="reward", backbone=str(policy_folder)))
    fresh.trained = True
    rd.save_scorer(fresh, tmp_path / "scorer")
    return tmp_path / "scorer"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Thirty rows, of which the seventh is long."""
    rows = []
    for i in range(30):
        prompt = "x" * LONG if i == 6 else f"Say it {i}"
        rows.append({"prompt": prompt, "chosen": f" yes {i}", "rejected": " no"})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for 0.8 times the long prompt's tokens, short of the factor that plans are off by."""
    monkeypatch.setattr(refusing, "LOOKED_AT", 0)
    monkeypatch.setattr(refusing, "free_memory", lambda: 0.8 * LONG * A_TOKEN)


@pytest.mark.parametrize("command", ["score", "eval", "weigh"])
def test_the_row_is_named_with_its_tokens_and_what_would_need_less(
    command: str, scorer: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(scorer), str(data)]
    output = "out" if command == "eval" else "out.jsonl"
    if command == "weigh":
        arguments = [str(data), "--scorer", str(scorer)]
    assert main([command, *arguments, "--output", str(tmp_path / output)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"pairs.jsonl:7: {scorer} reads 7" in line
    assert "GiB are free on" in line
    assert "cut it to about 560 tokens, leave the row out, or set REWARDDIFF_MEMORY=ignore" in line


def test_it_is_read_where_there_is_room_and_where_one_insists(
    scorer: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = rd.load_scorer(scorer)
    assert isinstance(model, RewardModel)
    groups = rd.load_groups(data)
    with pytest.raises(UserError, match=r"pairs\.jsonl:7: "):
        model.rewards(groups)
    monkeypatch.setenv(refusing.SWITCH, "ignore")
    rewards = model.rewards(groups)
    monkeypatch.delenv(refusing.SWITCH)
    # With 20 tokens more for template and response the row takes 1.25 times as much as this.
    monkeypatch.setattr(refusing, "free_memory", lambda: 0.8 * (LONG + 20) * A_TOKEN)
    assert [each.tolist() for each in model.rewards(groups)] == [r.tolist() for r in rewards]


def test_what_this_process_has_freed_is_given_back_before_a_row_is_refused(
    scorer: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[bool] = []
    monkeypatch.setattr(refusing.machine, "release_memory", lambda: freed.append(True))
    monkeypatch.setattr(refusing, "free_memory", lambda: 2.0**31 if freed else 0.0)
    model = rd.load_scorer(scorer)
    model.differences(rd.load_groups(data)[6:7], [[(0, 1)]])
    assert freed == [True]
