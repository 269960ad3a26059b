"""What several processes share, run as processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="starves threads by Linux' idle scheduler")
def test_threads_of_gloo_come_to_rest_before_the_interpreter_ends(tmp_path: Path) -> None:
    """A divided tensor keeps a closed group's threads, here the last that a busy processor turns to."""
    code = """
import os, subprocess
import sys
from pathlib import Path
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from rewarddiff.processes import from_every_process, processes
mesh = init_device_mesh("cpu", (processes().num_processes,))
kept = distribute_tensor(torch.zeros(4), mesh, [Shard(0)])
assert len((kept + kept).full_tensor()) == 4
processor = {min(os.sched_getaffinity(0))}
for thread in Path("/proc/self/task").iterdir():
    os.sched_setaffinity(int(thread.name), processor)
    if (thread / "comm").read_text().strip() == "pt_gloo_runloop":
        os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
subprocess.Popen(["timeout", "8", "sh", "-c", "while :; do :; done"], stderr=subprocess.DEVNULL)
from_every_process("a")
"""
    for status, error in on_processes(tmp_path, code):
        assert status == 0, error
