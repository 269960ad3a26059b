"""A disk that runs full; `disk.py` does dozens of sizes and whole runs, here is a short command on two."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import disk
import pytest
from commands import Command, of_file
from disk import LARGE, completed, failure, lost, obstacle, on_a_disk_of, small_disk

from rewarddiff import files

WHY_NOT = obstacle()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_a_full_disk_is_one_line_and_the_command_goes_on_once_there_is_room(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"prompt": "a question", "chosen": "a longer answer", "rejected": "an answer"}
    rows.write_text(f"{json.dumps(row)}\n" * 600)
    command = Command(f"score length {rows} --output {{at}}/s.jsonl", of_file("s.jsonl"))
    disk = tmp_path / "disk"
    with small_disk(disk, LARGE):
        assert failure(command, disk) is None
        whole = command.made(disk)
    for windows in (0.1, 0.7):  # in the first of three, and behind the second
        size = max(1, int(windows * len(whole)) // 4096) * 4096
        verdict, line = on_a_disk_of(size, command, whole, disk)
        assert verdict == "one line, then equal", line


def checkpoint(folder: Path, content: str) -> Path:
    fresh = files.begin(folder)
    (fresh / "weights").write_text(content)
    files.replace(fresh, folder, sealed=True)
    return folder


def test_a_checkpoint_that_is_gone_or_another_is_found(tmp_path: Path) -> None:
    with completed() as held:
        folder = checkpoint(tmp_path / "checkpoint", "of step 1")
        checkpoint(folder, "of step 2")
    assert lost(held) == ""
    (folder / "weights").write_text("of step 1")
    assert str(folder) in lost(held)
    shutil.rmtree(folder)
    assert str(folder) in lost(held)


def test_a_checkpoint_may_give_way_to_its_successor_and_to_its_model(tmp_path: Path) -> None:
    with completed() as held:
        folder = checkpoint(tmp_path / "checkpoint", "of step 1")
    checkpoint(folder, "of step 2")
    assert lost(held) == ""
    shutil.rmtree(folder)
    with completed() as of_model:
        checkpoint(tmp_path / "model", "trained")
    assert lost(held)
    assert lost(held | of_model) == ""


def test_where_nothing_can_be_tried_the_status_says_so(tmp_path: Path) -> None:
    program = (
        "import disk, sys; sys.argv = ['disk.py']; disk.obstacle = lambda: 'no rights'; disk.main()"
    )
    folder = Path(disk.__file__).parent
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (77, b"skipped, nothing was tried: no rights\n")
