"""SIGKILL at random moments of a run: the same command then ends as if nothing had happened.

    python tests/faults/kills.py 100        # a hundred runs, each killed once and run again

Compared are every file that holds weights or numbers, by its SHA-256, the metrics of every training and the
results, but for what tells of the moment.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from damage import recipe_of, results

from benchmarks.trace import _models, differences

NUMBERS = (".safetensors", ".npy", ".arrow")

OBJECTIVES = ("dpo", "rrhf", "kto")


def recipe(models: dict[str, str], output: Path) -> dict[str, Any]:
    """Return a recipe with a scorer of each kind, an offline policy of each kind, and one online."""
    content = recipe_of(models["policy"], models["encoder"], output)
    trained = content["policies"].pop("dpo")
    for name in OBJECTIVES:
        content["policies"][name] = {**trained, "objective": name}
    content["policies"]["rloo"] = {
        "train": trained["train"] | {"batch_size": 2},
        "online": {
            "reward": {"source": "reward"},
            "advantage": {"estimator": "rloo"},
            "num_generations": 2,
            "max_new_tokens": 4,
        },
    }
    return content


def started(content: dict[str, Any], place: Path) -> subprocess.Popen[bytes]:
    """Start the command on a recipe."""
    file = place / f"{Path(content['output']).name}.json"
    file.write_text(json.dumps(content))  # JSON is YAML
    log = (place / "log.txt").open("ab")
    command = [sys.executable, "-m", "rewarddiff", "run", str(file)]
    return subprocess.Popen(command, stdout=log, stderr=log, cwd=place)


def finished(content: dict[str, Any], place: Path) -> int:
    """Run the command to its end, and return its status."""
    return started(content, place).wait()


def numbers(run: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a run that holds weights or numbers."""
    sums = {}
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.suffix in NUMBERS:
            sums[path.relative_to(run).as_posix()] = sha256(path.read_bytes()).hexdigest()
    return sums


def metrics(run: Path) -> dict[str, Any]:
    """Return every line of metrics of a run."""
    return {
        path.relative_to(run).as_posix(): [json.loads(text) for text in path.open()]
        for path in sorted(run.rglob("metrics.jsonl"))
    }


def verdict(whole: Path, again: Path) -> str:
    """Return "equal", or what differs of two runs."""
    if numbers(whole) != numbers(again):
        before, after = numbers(whole), numbers(again)
        names = [
            name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
        ]
        return f"other numbers in {sorted(names)[:3]}"
    found = differences([metrics(whole), results(whole)], [metrics(again), results(again)])
    return f"other results: {found[:3]}" if found else "equal"


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    rng = random.Random(0)
    verdicts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        models = _models(place)
        begun = time.monotonic()
        if finished(recipe(models, place / "whole"), place):
            sys.exit((place / "log.txt").read_text()[-2000:])
        seconds = time.monotonic() - begun
        for number in range(1, count + 1):
            again = place / f"run-{number}"
            content = recipe(models, again)
            process = started(content, place)
            moment = rng.uniform(0, seconds)
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
            process.wait()
            status = finished(content, place)
            said = verdict(place / "whole", again) if status == 0 else f"status {status}"
            verdicts[said] += 1
            print(
                f"{number}/{count} killed after {moment:.1f} of {seconds:.1f} s: {said}", flush=True
            )
    print(dict(verdicts))
    sys.exit(verdicts.keys() != {"equal"})


if __name__ == "__main__":
    main()
