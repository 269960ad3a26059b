"""What several processes share, run as processes."""

from __future__ import annotations

from pathlib import Path

from process_groups import on_processes


def test_the_group_is_closed_before_the_interpreter_ends(tmp_path: Path) -> None:
    """An open Gloo group aborts now and then a process whose work is done."""
    code = """
import atexit
import torch
# Handlers run in reverse order: this one, registered first, sees what the others left.
def tell():
    print("open" if torch.distributed.is_initialized() else "closed", file=sys.stderr)
atexit.register(tell)
from rewarddiff.processes import from_every_process, processes
assert processes().num_processes == 2
assert sorted(from_every_process(processes().process_index)) == [0, 1]
assert torch.distributed.is_initialized()
"""
    for status, error in on_processes(tmp_path, code):
        assert status == 0, error
        assert error.splitlines()[-1] == "closed"
