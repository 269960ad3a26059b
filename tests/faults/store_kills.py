"""SIGKILL at every system call with which SQLite writes the store: nothing acknowledged is lost.

    python tests/faults/store_kills.py  # needs strace

A process writes twenty values one after the other, and says so after each. It is killed before its first, second, …
write, sync or removal of a file. What it had acknowledged is then in the store, at most one value more, each as it
was written; and what is left is written by the next process.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tally import Tally

from rewarddiff.store import Store

COUNT = 20

CALLS = "pwrite64,fdatasync,fsync,unlink,ftruncate"
"""What SQLite changes files with; Python's own start needs none of them."""

WRITER = f"""
import sys
from pathlib import Path
from rewarddiff.store import Store
with Store(Path(sys.argv[1])) as store:
    for number in range({COUNT}):
        key = str(number)
        if not store.get([key]):
            store.put({{key: [number] * 500}})
            print(number, flush=True)
"""


def acknowledged(place: Path, call: int) -> tuple[int, list[int]]:
    """Write values until killed at a call, counted from 1; return the status and what was acknowledged."""
    trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}"]
    trace += ["-e", f"inject={CALLS}:signal=SIGKILL:when={call}"]
    command = [*trace, sys.executable, "-c", WRITER, str(place)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.returncode, [int(line) for line in done.stdout.split()]


def kept(place: Path) -> set[int]:
    """Return the values that a store has."""
    with Store(place) as store:
        values = store.get(map(str, range(COUNT)))
    assert all(value == [int(key)] * 500 for key, value in values.items())
    return {int(key) for key in values}


def verdict(place: Path, numbers: list[int]) -> str:
    """Return "kept", or what is wrong with what a killed process left, and with what the next one makes of it."""
    held = kept(place)
    if not set(numbers) <= held or len(held) > len(numbers) + 1:
        return f"{sorted(held)} are kept, {numbers} were acknowledged"
    subprocess.run(
        [sys.executable, "-c", WRITER, str(place)], stdout=subprocess.DEVNULL, check=True
    )
    if len(kept(place)) < COUNT:
        return "the next process does not write what is left"
    left = sorted(path.name for path in place.parent.iterdir())
    return "kept" if left == [place.name] else f"{left} are left"


def main() -> None:
    if shutil.which("strace") is None:
        sys.exit("strace is not installed")
    tally = Tally(["kept"])
    for call in itertools.count(1):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "store.sqlite"
            status, numbers = acknowledged(place, call)
            if status == 0:
                break
            came_of_it = verdict(place, numbers)
        tally.add(f"killed at call {call}, {len(numbers)} acknowledged", came_of_it)
    tally.end()


if __name__ == "__main__":
    main()
