"""A disk that runs full; `disk.py` does dozens of sizes, here is a run on two small ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from disk import LARGE, commands, failure, obstacle, on_a_disk_of, small_disk

WHY_NOT = obstacle()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(
    policy_folder: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    models = {"policy": str(policy_folder), "encoder": str(encoder_folder)}
    command = commands(models, tmp_path)["run"]
    disk = tmp_path / "disk"
    with small_disk(disk, LARGE):
        assert failure(command, disk) is None
        whole = command.made(disk)
    for size in (200 << 10, 900 << 10):
        said, line = on_a_disk_of(size, command, whole, disk)
        assert said == "one line, then equal", line
