"""A SIGKILL at file operations of a small training and of a judging; `kills.py` kills hundreds of whole runs."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import compare
import going_on
import pytest
import torch
from forks import ended, forked
from judging_examples import by_taste, good, outputs
from operations import WRITES, Kill, Operation, killing, watch
from scorers.chat_server import MODEL, serving
from torch import nn

from rewarddiff import machine
from rewarddiff.loop.objective import LossOutput, TrainConfig
from rewarddiff.loop.train import train
from rewarddiff.pipeline.judge import judge_stage
from rewarddiff.pipeline.stage import Stage, write_array
from rewarddiff.results import read_results

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="a fork cannot train where a GPU is"),
]

POINTS = [(0.0, -1.0), (1.0, 1.0), (2.0, 3.0), (3.0, 5.0)]
"""On the line y = 2x − 1."""

EVERY = 7
"""Of the operations, one in so many."""


@pytest.fixture(autouse=True)
def _no_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting garbage before a measurement takes longer than these trainings."""
    monkeypatch.setattr(machine, "release_memory", lambda: None)


class Line:
    """Least squares."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = nn.Linear(1, 1)

    def size(self, item: Any) -> int:
        return 10

    def count(self, item: Any) -> float:
        return 1

    def loss(self, module: nn.Module, items: Sequence[Any]) -> LossOutput:
        x, y = torch.tensor(items).T
        return LossOutput((module(x[:, None])[:, 0] - y).square().sum())

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        return [{"params": list(self.module.parameters()), "lr": config.lr}]


def trained(folder: Path) -> int:
    """Train a line in a stage, with a checkpoint after each step; again, go on or do nothing."""
    stage = Stage(folder / "line", "policy", {"seed": 0})
    if not stage.done:
        config = TrainConfig(precision="fp32", lr=0.1, batch_size=2, epochs=2, save_every=1)
        line = Line()
        train(line, POINTS, output=stage.folder, config=config)
        weights = torch.cat([p.detach().flatten() for p in line.module.parameters()])
        write_array(stage.folder / "weights.npy", weights.double().numpy())
        stage.finish()
    return 0


def left(folder: Path) -> dict[str, Any]:
    """Every file below a folder: what it holds, but for notes, and metrics without their times."""
    files: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        files[name] = ""
        if path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            files[name] = [line | {"seconds": 0} for line in lines]
        elif path.suffix == ".npy":
            files[name] = compare.hashed(path)
    return files


def child(work: Callable[[], int], log: Path) -> int:
    return ended(forked(work, log))


def killed(folder: Path, kill: Kill) -> None:
    """Train in a process that is killed."""

    def work() -> int:
        going_on.tell(folder, notes_of(folder))
        killing(folder, kill)
        return trained(folder)

    assert child(work, folder.with_suffix(".log")) == -signal.SIGKILL
    assert not going_on.lost(folder, going_on.notes(notes_of(folder)))


def notes_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}, notes")


def goes_on(folder: Path) -> int:
    """Train to the end, from the checkpoint that is there; return the step that it is of."""
    due = going_on.due(folder, {"line": 0})
    earlier = len(going_on.notes(notes_of(folder)))

    def work() -> int:
        going_on.tell(folder, notes_of(folder))
        return trained(folder)

    assert child(work, folder.with_suffix(".log")) == 0
    assert going_on.begun(going_on.notes(notes_of(folder))[earlier:]) == due
    return due.get("line", 0)


def operations(folder: Path) -> list[Operation]:
    """Train to the end, and return what was done to files."""
    file = folder.with_suffix(".operations")

    def work() -> int:
        with file.open("a", buffering=1) as lines:
            watch(folder, lambda operation: print(json.dumps(operation), file=lines))
            return trained(folder)

    assert child(work, folder.with_suffix(".log")) == 0
    return [Operation(*json.loads(line)) for line in file.read_text().splitlines()]


def test_a_training_killed_at_an_operation_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    done = operations(tmp_path / "whole")
    whole = left(tmp_path / "whole")
    kinds = {operation.kind for operation in done}
    assert kinds == {"mkdir", "open", "append", "safetensors", "rename", "remove", "rmdir"}
    # Weights and moments, before the first step and between any two of four.
    assert len([path for kind, path in done if kind == "safetensors"]) == 2 * 4
    kills = [Kill(at) for at in range(len(done))]
    kills += [Kill(at, half=True) for at, (kind, _) in enumerate(done) if kind in WRITES]
    begun = set()
    for kill in kills[::EVERY]:
        folder = tmp_path / f"killed at {kill}"
        killed(folder, kill)
        begun.add(goes_on(folder))
        assert left(folder) == whole, (kill, done[kill.at])
    assert begun == {0, 1, 2, 3}  # of four steps


def test_a_training_killed_again_and_again_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    operations(tmp_path / "whole")
    folder = tmp_path / "again"
    for at in (40, 5, 13, 21, 30):  # from the third step on; then while it goes on
        killed(folder, Kill(at))
    assert goes_on(folder) == 3
    assert left(folder) == left(tmp_path / "whole")


def test_what_a_judge_was_asked_before_a_kill_is_neither_asked_again_nor_forgotten(
    tmp_path: Path,
) -> None:
    """Results tell of every answer that is kept, whichever process has paid for it."""
    first = outputs(tmp_path / "a.jsonl", [f"it is good {number}" for number in range(8)])
    second = outputs(tmp_path / "b.jsonl", [f"it is {number}" for number in range(8)])
    settings = ["canaries=0", "concurrency=2", "max_tokens=20", "price_in=1e6", "price_out=1e6"]
    with serving(by_taste(good)) as server:

        def judged(folder: Path) -> int:
            judge = f"{MODEL}@{server.url}"
            judge_stage([first, second], [judge], output=folder, overrides=settings)
            return 0

        def dies_at_the_tenth_answer(folder: Path) -> int:
            begun = 0

            def see(operation: Operation) -> None:
                nonlocal begun
                begun += operation.kind == "begin"
                if begun == 10:
                    os.kill(os.getpid(), signal.SIGKILL)

            watch(folder, see)
            return judged(folder)

        def status(work: Callable[[Path], int], folder: str) -> int:
            return child(lambda: work(tmp_path / folder), tmp_path / "log")

        assert status(judged, "whole") == 0
        assert server.calls == 16  # 8 pairs in two orders
        server.posted.clear()
        assert status(dies_at_the_tenth_answer, "out") == -signal.SIGKILL
        assert 9 <= server.calls <= 9 + 2  # nine are kept, and two are under way together
        assert status(judged, "out") == 0
        asked = server.calls
    (whole,) = read_results(tmp_path / "whole").judges.uses
    (use,) = read_results(tmp_path / "out").judges.uses
    assert 16 == whole.calls <= use.calls <= asked <= 16 + 2
    assert use.price == use.prompt_tokens + use.completion_tokens >= whole.price
    assert use.estimated_price >= whole.estimated_price
