"""A disk that runs full; `disk.py` does dozens of sizes and whole runs, here is a short command on two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from disk import LARGE, Command, failure, obstacle, on_a_disk_of, small_disk

from rewarddiff.pipeline.scoring import score

WHY_NOT = obstacle()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_a_full_disk_is_one_line_and_the_command_goes_on_once_there_is_room(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"prompt": "a question", "chosen": "a longer answer", "rejected": "an answer"}
    rows.write_text(f"{json.dumps(row)}\n" * 600)
    command = Command(
        lambda place: score("length", rows, place / "s.jsonl"),
        lambda place: (place / "s.jsonl").read_bytes(),
    )
    disk = tmp_path / "disk"
    with small_disk(disk, LARGE):
        assert failure(command, disk) is None
        whole = command.made(disk)
    for windows in (0.1, 0.7):  # in the first of three, and behind the second
        size = max(1, int(windows * len(whole)) // 4096) * 4096
        said, line = on_a_disk_of(size, command, whole, disk)
        assert said == "one line, then equal", line
