"""Commands that would write over each other: the second is refused, and says by whom."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rewarddiff.cli import main
from rewarddiff.outputs import held_file_for, run_folder_for


@pytest.mark.parametrize("command", ["augment", "baseline", "eval", "bestof"])
def test_a_second_command_with_the_same_output_is_refused(
    command: str,
    policy_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"prompt": "Why?", "chosen": "yes!", "rejected": "no"}
    Path("data.jsonl").write_text(json.dumps(row) + "\n")
    model = ["--model", str(policy_folder)]
    arguments = {
        "augment": ["data.jsonl", *model, "--scorer", "length", "--output", "o.jsonl"],
        "baseline": ["data.jsonl", *model, "--scorer", "length", "--output", "o.jsonl"],
        "eval": ["length", "data.jsonl", "--output", "o"],
        "bestof": ["data.jsonl", *model, "--scorer", "length", "--gold", "length", "--output", "o"],
    }[command]
    into_a_folder = command in ("eval", "bestof")
    held = run_folder_for(Path("o")) if into_a_folder else held_file_for(Path("o.jsonl"))
    with held:
        before = sorted(tmp_path.rglob("*"))
        assert main([command, *arguments]) == 2
        error = capsys.readouterr().err
        place = "in o" if into_a_folder else "to o.jsonl"
        assert f"error: another run is writing {place} (process {os.getpid()} on " in error
        assert error.endswith("); wait until it ends, or choose another output\n")
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["augment", "baseline"])
def test_a_store_is_not_made_where_a_link_beside_the_output_leads(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.jsonl").write_text('{"prompt": "Why?", "chosen": "yes!", "rejected": "no"}\n')
    Path("o.jsonl.store.sqlite").symlink_to("elsewhere")
    options = ["--model", "nosuch/model", "--scorer", "length", "--output", "o.jsonl"]
    assert main([command, "data.jsonl", *options]) == 2
    line = "error: o.jsonl.store.sqlite: a link, and would be written through; remove it\n"
    assert capsys.readouterr().err.endswith(line)
    assert not Path("elsewhere").exists()
