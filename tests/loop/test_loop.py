"""The loop on a straight line: what stops it, what it goes on from, what is counted."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import logging
import math
import os
import re
import signal
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from online_examples import learn, short
from preference_examples import EXACT, made, tiny
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from rewarddiff import files, machine
from rewarddiff.errors import TrainingError, UserError
from rewarddiff.loop import checkpoint, parts, prepared, schedule
from rewarddiff.loop.checkpoint import discard_checkpoint
from rewarddiff.loop.objective import LossOutput, TrainConfig
from rewarddiff.loop.origin import origin
from rewarddiff.loop.pace import Pace
from rewarddiff.loop.train import TrainResult, train
from rewarddiff.policies import reference
from rewarddiff.policies.objectives.pairs import DPO, SimPO
from rewarddiff.policies.policy import LoraConfig, PolicyConfig, train_policy, with_adapter
from rewarddiff.store import Store
from rewarddiff.sums import fault_of_sealed

CONFIG = TrainConfig(precision="fp32", lr=0.05, batch_size=2, eval_every=2)


@pytest.fixture(autouse=True)
def _no_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting garbage before a measurement takes longer than these trainings."""
    monkeypatch.setattr(machine, "release_memory", lambda: None)


@dataclass(frozen=True)
class Point:
    """A place on the line y = 2x − 1, 10 tokens long."""

    id: str
    x: float
    y: float


def points(count: int) -> list[Point]:
    return [Point(f"p{i}", i / 4, i / 2 - 1) for i in range(count)]


class Line:
    """Least squares, the smallest thing to train; `read` is called with every micro-batch."""

    config = None  # a checkpoint of it need not know who reads along

    def __init__(self, read: Callable[[Sequence[Point]], None] = lambda _: None) -> None:
        torch.manual_seed(0)
        self.module = nn.Linear(1, 1)
        self.read = read

    def size(self, item: Point) -> int:
        return 10

    def count(self, item: Point) -> float:
        return 1

    def loss(self, module: nn.Module, items: Sequence[Point]) -> LossOutput:
        self.read(items)
        x, y = torch.tensor([[p.x, p.y] for p in items]).T
        return LossOutput(
            (module(x[:, None])[:, 0] - y).square().sum(), {"odd": (0.0, 0.0)}
        )  # a mean of nothing: NaN

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        return [{"params": list(self.module.parameters()), "lr": config.lr}]


@dataclass
class Ended:
    """A training at its end: weights, and lines of metrics without their times."""

    weights: list[float]
    lines: list[dict[str, Any]]
    result: TrainResult


def strict(text: str) -> list[dict[str, Any]]:
    """JSON lines as the standard has them: without NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def trained(
    output: Path, line: Line | None = None, config: TrainConfig = CONFIG, dev: int = 3
) -> Ended:
    """Six steps of two points each, evaluated at 0, 2, 4 and 6."""
    line = line or Line()
    result = train(line, points(12), dev=points(dev), output=output, config=config)
    lines = strict((output / "metrics.jsonl").read_text())
    weights = [p.item() for p in line.module.parameters()]
    return Ended(
        weights, [{k: v for k, v in own.items() if k != "seconds"} for own in lines], result
    )


class Killed(BaseException):
    """What stands for SIGKILL: nobody catches it."""


def at_call(number: int, action: Callable[[], None]) -> Callable[[Any], None]:
    """Something to be called that acts the `number`-th time."""
    calls = itertools.count(1)

    def count(_: Any) -> None:
        if next(calls) == number:
            action()

    return count


@contextmanager
def optimizers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Any]]]:
    """Note every optimizer that a training makes, while nothing looks for circles of references."""
    noted: list[weakref.ref[Any]] = []
    make = prepared.optimizer_for

    def noting(*args: Any, **options: Any) -> Any:
        optimizer = make(*args, **options)
        noted.append(weakref.ref(optimizer))
        return optimizer

    monkeypatch.setattr(prepared, "optimizer_for", noting)
    gc.disable()
    try:
        yield noted
    finally:
        gc.enable()


def test_moments_are_given_up_before_what_was_trained_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are twice the weights, and saving may read a base once more."""
    with optimizers(monkeypatch) as noted:
        trained(tmp_path)
        assert [optimizer() for optimizer in noted] == [None]


def test_moments_of_a_policy_that_learns_from_its_samples_are_given_up_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    with optimizers(monkeypatch) as noted:
        learn(tiny_tokenizer, tmp_path, short(), max_steps=1)
        assert [optimizer() for optimizer in noted] == [None]


# --- what is not finite ---------------------------------------------------------------------------------------------


def test_weights_that_the_last_update_spoiled_are_not_given_back(tmp_path: Path) -> None:
    # AdamW's first step is lr itself: 1e39 is beyond float32, and no loss reads the weights again.
    with pytest.raises(
        TrainingError, match=r"weights are not finite after step 1: training diverged"
    ):
        train(Line(), points(2), output=tmp_path, config=replace(CONFIG, lr=1e39, warmup=0.0))


def test_a_dev_row_without_a_finite_loss_is_named(tmp_path: Path) -> None:
    dev = [*points(3), Point("broken", 1.0, math.nan), *points(2)]
    with pytest.raises(
        TrainingError, match=r"loss nan on dev items broken after step 0; look at these rows"
    ):
        train(Line(), points(12), dev=dev, output=tmp_path, config=CONFIG)


def test_a_training_row_without_a_finite_loss_is_named(tmp_path: Path) -> None:
    items = [*points(3), Point("broken", 1.0, math.inf)]
    config = replace(CONFIG, batch_size=4, microbatch_tokens=10)  # one item at a time
    with pytest.raises(
        TrainingError, match=r"loss inf on items broken at step 1; stopped before the update"
    ):
        train(Line(), items, output=tmp_path, config=config)


def test_a_mean_of_nothing_is_null_in_the_file_and_nan_in_the_curve_also_after_an_interruption(
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, Line(at_call(4, lambda: signal.raise_signal(signal.SIGINT))))
    ended = trained(tmp_path)
    assert all(line["odd"] is None for line in ended.lines)
    assert all(math.isnan(line["odd"]) for line in ended.result.curve)


# --- stopping and going on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "call"),
    [
        (signal.SIGINT, 1),
        (signal.SIGTERM, 5),
        (signal.SIGINT, 7),
        (signal.SIGTERM, 9),
        (signal.SIGINT, 10),
    ],
)
def test_a_signal_stops_wherever_it_comes_and_the_same_call_goes_on(
    tmp_path: Path, number: signal.Signals, call: int
) -> None:
    # What is read: dev, steps 1 and 2, dev (the 4th), steps 3 and 4, dev (7th), steps 5 and 6
    # (9th), dev (10th, last).
    straight = trained(tmp_path / "straight")
    line = Line(at_call(call, lambda: signal.raise_signal(number)))
    with pytest.raises(KeyboardInterrupt, match="goes on from there"):
        trained(tmp_path / "stopped", line)
    ended = trained(tmp_path / "stopped")
    assert ended.weights == straight.weights
    assert ended.lines == straight.lines
    assert ended.result.dev["loss"] == straight.result.dev["loss"]


class Listing:
    """`os.scandir` in an order of our own, as file systems differ in it."""

    def __init__(self, entries: Any, *, backwards: bool) -> None:
        with entries:
            self._entries = sorted(entries, key=lambda entry: str(entry.name), reverse=backwards)

    def __enter__(self) -> Iterator[Any]:
        return iter(self._entries)

    def __exit__(self, *_: object) -> None:
        pass


@contextmanager
def dying_at(number: int, names: Sequence[str], *, backwards: bool) -> Iterator[None]:
    """Let the `number`-th of these calls of `os` kill, and all after it; fix the order of listings."""
    calls, scandir = itertools.count(1), os.scandir

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if next(calls) >= number:  # nothing that a killed process still meant to do is done
                raise Killed
            return function(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", lambda place: Listing(scandir(place), backwards=backwards))
        for name in names:
            patch.setattr(os, name, dying(getattr(os, name)))
        yield


@pytest.mark.parametrize("backwards", [False, True])
def test_a_kill_between_any_two_calls_of_the_system_loses_no_checkpoint(
    tmp_path: Path, backwards: bool
) -> None:
    identity = {"seed": 0}

    def process(folder: Path) -> float:
        """Three updates with a checkpoint after each, which goes when all are done."""
        torch.manual_seed(0)
        module = nn.Linear(1, 1)
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
        state = checkpoint.load(folder, module, optimizer, identity)
        for step in range(state["step"] if state else 0, 3):
            (module(torch.ones(1, 1)) - step).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            checkpoint.save(folder, module, optimizer, {"step": step + 1, "identity": identity})
        files.remove(folder)
        return module.weight.item()

    straight = process(tmp_path / "straight")
    calls = ("rename", "replace", "unlink", "rmdir", "mkdir")
    for number in itertools.count(1):
        folder = tmp_path / str(number) / "checkpoint"
        try:
            with dying_at(number, calls, backwards=backwards):
                process(folder)
        except Killed:
            assert process(folder) == straight, number
        else:
            break
    assert number > 20  # each checkpoint is made, renamed, and removed file by file


@pytest.mark.parametrize("backwards", [False, True])
def test_a_kill_while_the_last_checkpoint_is_removed_blocks_nothing(
    tmp_path: Path, backwards: bool
) -> None:
    config = replace(CONFIG, save_every=5)
    straight = trained(tmp_path, config=config)
    with dying_at(2, ["unlink"], backwards=backwards), pytest.raises(Killed):
        discard_checkpoint(tmp_path)
    ended = trained(tmp_path, config=config)
    assert (ended.weights, ended.lines) == (straight.weights, straight.lines)
    discard_checkpoint(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_folder_that_no_training_wrote_is_not_discarded(tmp_path: Path) -> None:
    theirs = tmp_path / "checkpoint" / "notes.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    discard_checkpoint(tmp_path)
    assert theirs.read_text() == "mine"


def test_what_was_trained_and_not_saved_is_not_trained_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(CONFIG, save_every=4)
    straight = trained(tmp_path, config=config)
    with caplog.at_level(logging.INFO, "rewarddiff"):
        ended = trained(tmp_path, config=config)
    assert caplog.messages == ["training: going on from step 4 of 6"]
    assert (ended.weights, ended.lines) == (straight.weights, straight.lines)


def test_a_checkpoint_is_written_by_itself_and_the_log_says_where_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rewarddiff.loop.pace.LEAST_SECONDS", 0.0)
    monkeypatch.setattr("rewarddiff.loop.pace.SHARE", 0)
    straight = trained(tmp_path / "straight")

    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        trained(tmp_path / "killed", Line(at_call(8, kill)))  # in the fifth step
    with caplog.at_level(logging.INFO, "rewarddiff"):
        ended = trained(tmp_path / "killed")
    assert caplog.messages == ["training: going on from step 4 of 6"]
    assert (ended.weights, ended.lines) == (straight.weights, straight.lines)


def test_checkpoints_take_a_fiftieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("rewarddiff.loop.pace.time.monotonic", lambda: now[0])
    pace = Pace(None, 2 * 10**9)  # at 250 MB/s its writing takes 8 s: 50 · 8 s = 400 s

    def waits() -> float:
        start = now[0]
        while not pace.due(1):
            now[0] += 1
        return now[0] - start

    assert waits() == 400
    pace.written(7.0)
    assert waits() == 350
    pace.written(0.01)
    assert waits() == 30
    assert [step for step in range(1, 8) if Pace(3, 0).due(step)] == [3, 6]
    assert not any(Pace(0, 0).due(step) for step in range(8))


def test_a_checkpoint_nobody_asked_for_is_no_reason_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts, "save_file", full)
    monkeypatch.setattr("rewarddiff.loop.pace.LEAST_SECONDS", 0.0)
    monkeypatch.setattr("rewarddiff.loop.pace.SHARE", 0)
    assert trained(tmp_path / "a").result.steps == 6
    said, *again = [message for message in caplog.messages if "No space left" in message]
    assert len(again) == 5  # it is tried before each of six steps
    assert said.startswith(f"training: no checkpoint can be written ({tmp_path}/a/")
    assert "No space left on device: 8 bytes to write, " in said  # two weights of 4 bytes
    assert said.endswith(" free): going on without, and trying again in 0 s")
    assert not list((tmp_path / "a").glob("checkpoint*"))  # what was begun gives its room back
    with pytest.raises(OSError, match="No space left"):
        trained(tmp_path / "b", config=replace(CONFIG, save_every=1))


def test_a_disk_that_was_full_for_a_moment_gets_the_next_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    straight = trained(tmp_path / "straight")
    calls: list[int] = []
    save_file = parts.save_file

    def full_at_first(*args: Any) -> None:
        calls.append(1)
        if len(calls) <= 2:
            raise OSError(28, "No space left on device")
        save_file(*args)

    monkeypatch.setattr(parts, "save_file", full_at_first)
    monkeypatch.setattr("rewarddiff.loop.pace.LEAST_SECONDS", 0.0)
    monkeypatch.setattr("rewarddiff.loop.pace.SHARE", 0)

    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        trained(tmp_path / "killed", Line(at_call(8, kill)))  # in the fifth step
    assert sum("No space left" in message for message in caplog.messages) == 2
    with caplog.at_level(logging.INFO, "rewarddiff"):
        ended = trained(tmp_path / "killed")
    assert "training: going on from step 4 of 6" in caplog.messages
    assert ended.weights == straight.weights


def test_what_found_no_room_waits_twice_as_long_and_an_hour_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("rewarddiff.loop.pace.time.monotonic", lambda: now[0])
    pace = Pace(None, 0)  # 30 s, the least
    assert [pace.failed() for _ in range(8)] == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    now[0] += 3599
    assert not pace.due(1)
    now[0] += 1
    assert pace.due(1)
    pace.written(1.0)
    now[0] += 50
    assert pace.due(1)  # as if nothing had been: 50 times a second
    large = Pace(None, 5e10)  # 50 times 200 s
    assert large.failed() == 10_000


def damaged(name: str, how: str, folder: Path) -> None:
    """Flip a bit in the middle of a file, cut its end off, delete it, or let zeros stand in it."""
    path = folder / name
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if how == "flipped":
        content[middle] ^= 1
    elif how == "cut":
        del content[-4:]
    elif how == "zeroed":
        content[middle : middle + 8] = bytes(8)
    path.unlink()
    if how != "deleted":
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["flipped", "cut", "zeroed", "deleted"])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", ".rewarddiff-sums.json"]
)
def test_a_damaged_checkpoint_is_named_and_not_gone_on_from(
    tmp_path: Path, name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    straight = trained(tmp_path / "straight")
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        trained(folder, Line(at_call(4, lambda: signal.raise_signal(signal.SIGINT))))
    damaged(name, how, folder / "checkpoint")
    with caplog.at_level(logging.WARNING, "rewarddiff"):
        ended = trained(folder)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert re.search(rf"{name} .*starting anew, without this checkpoint", caplog.text)
    assert (ended.weights, ended.lines) == (straight.weights, straight.lines)


def test_what_was_changed_in_the_metrics_of_an_interrupted_training_is_not_taken_over(
    tmp_path: Path,
) -> None:
    straight = trained(tmp_path / "straight")
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        trained(folder, Line(at_call(4, lambda: signal.raise_signal(signal.SIGINT))))
    damaged("metrics.jsonl", "flipped", folder)
    assert trained(folder).lines == straight.lines


def test_what_differs_from_a_checkpoint_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, Line(at_call(4, lambda: signal.raise_signal(signal.SIGINT))))
    config = replace(CONFIG, lr=2 * CONFIG.lr, batch_size=3)
    with pytest.raises(UserError, match=rf"batch_size {CONFIG.batch_size}, now 3, lr .*, now "):
        trained(tmp_path, config=config)


# --- which checkpoint is there --------------------------------------------------------------------------------------


def kill() -> None:
    raise Killed


def killed_in(step: int, output: Path) -> Path:
    """Train with a checkpoint after every step, be killed in this one, and return the place of the checkpoint."""
    reads = {2: 3, 3: 5, 4: 6}  # the dev set is read at 0, 2 and 4 as well
    with pytest.raises(Killed):
        trained(output, Line(at_call(reads[step], kill)), replace(CONFIG, save_every=1))
    return output / "checkpoint"


@pytest.mark.parametrize("step", [2, 3, 4])
def test_the_newest_checkpoint_is_there_alone_and_whole(step: int, tmp_path: Path) -> None:
    folder = killed_in(step, tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["checkpoint", "metrics.jsonl"]
    assert fault_of_sealed(folder) == ""
    assert json.loads((folder / "state.json").read_text())["step"] == step - 1


@pytest.mark.parametrize("before", ["whole", "damaged", "gone"])
def test_of_a_damaged_checkpoint_the_one_before_is_gone_on_from_if_a_kill_has_left_it(
    before: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    straight = trained(tmp_path / "straight")
    older = killed_in(3, tmp_path / "older")
    newest = killed_in(4, tmp_path / "stopped")
    _, earlier, _ = files.names(newest)
    if before != "gone":
        older.rename(earlier)  # as a kill between the renames of two checkpoints leaves it
    if before == "damaged":
        damaged("model.safetensors", "flipped", earlier)
    damaged("optimizer.safetensors", "flipped", newest)
    with caplog.at_level(logging.INFO, "rewarddiff"):
        ended = trained(tmp_path / "stopped")
    goes_on = before == "whole"
    says = "going on from the checkpoint before it" if goes_on else "starting anew"
    assert "optimizer.safetensors does not hold what was written to it" in caplog.text
    assert says in caplog.text
    assert ("going on from step 2 of 6" in caplog.text) == goes_on
    assert (ended.weights, ended.lines) == (straight.weights, straight.lines)


def test_even_a_damaged_checkpoint_stays_until_the_next_one_is_whole(tmp_path: Path) -> None:
    folder = killed_in(3, tmp_path)
    damaged("model.safetensors", "cut", folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "sync_all", full)
        with pytest.raises(OSError, match="No space left"):
            trained(tmp_path, config=replace(CONFIG, save_every=1))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["checkpoint", "metrics.jsonl"]


# --- of what a checkpoint is ----------------------------------------------------------------------------------------


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SIGINT come in the `step`-th update of the trainings that follow."""
    update, calls = torch.optim.AdamW.step, itertools.count(1)

    def interrupted(self: torch.optim.AdamW, *args: Any, **options: Any) -> Any:
        if next(calls) == step:
            signal.raise_signal(signal.SIGINT)
        return update(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)


SMALL = replace(EXACT, batch_size=2)
WHOLE = PolicyConfig(SimPO(), None, SMALL)
ADAPTED = PolicyConfig(SimPO(), LoraConfig(r=2, alpha=4, targets=["q_proj"]), SMALL)


@pytest.mark.parametrize(
    ("begun", "other", "seed"),
    [
        (WHOLE, WHOLE, 1),
        (ADAPTED, ADAPTED, 1),
        (ADAPTED, replace(ADAPTED, lora=LoraConfig(r=2, alpha=8, targets=["q_proj"])), 0),
        (ADAPTED, replace(ADAPTED, lora=LoraConfig(r=4, alpha=8, targets=["q_proj"])), 0),
        (ADAPTED, replace(ADAPTED, lora=LoraConfig(r=2, alpha=4, targets=["q_proj", "v_proj"])), 0),
        (
            ADAPTED,
            replace(ADAPTED, lora=LoraConfig(r=2, alpha=4, targets=["q_proj"], dora=True)),
            0,
        ),
        (ADAPTED, WHOLE, 0),
        (WHOLE, ADAPTED, 0),
    ],
    ids=["base", "base of an adapter", "alpha", "rank", "targets", "dora", "no adapter", "adapter"],
)
def test_a_checkpoint_of_another_model_or_adapter_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begun: PolicyConfig,
    other: PolicyConfig,
    seed: int,
) -> None:
    def run(config: PolicyConfig, seed: int) -> None:
        train_policy(
            with_adapter(tiny(seed), config), made(6), config, output=tmp_path, weights="hand-made"
        )

    stop_after(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(begun, 0)
    with pytest.raises(UserError, match=r"is of another training \(.*\); remove it"):
        run(other, seed)


def test_an_adapter_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(output: Path) -> list[float]:
        model = with_adapter(tiny(), ADAPTED)
        train_policy(model, made(6), ADAPTED, output=output, weights="hand-made")
        return [p.sum().item() for p in model.parameters()]

    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped")
    assert run(tmp_path / "stopped") == run(tmp_path / "straight")


def test_the_origin_sees_every_weight_and_no_place() -> None:
    def origin_after(change: Callable[[nn.Module], object]) -> str:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(100, 40), nn.Linear(40, 3).to(torch.bfloat16))
        with torch.no_grad():
            change(module)
        return origin(module)

    same = origin_after(lambda m: None)
    assert origin_after(lambda m: m[0].weight.view(-1)[0].mul_(-1)) != same
    assert origin_after(lambda m: m[0].weight.view(-1)[-1].mul_(1 + 2**-23)) != same
    assert origin_after(lambda m: m[1].bias[2:].add_(1)) != same  # in a tensor of 6 bytes
    assert origin_after(lambda m: m[0].requires_grad_(False)) != same
    moved = torch.zeros(4001)[1:].view(
        40, 100
    )  # the same numbers, not at the beginning of their storage
    assert (
        origin_after(lambda m: setattr(m[0], "weight", nn.Parameter(moved.copy_(m[0].weight))))
        == same
    )


def plus_and_minus(weight: Tensor) -> None:
    """Add to two words of two rows, and take from the two others: all sums of rows and columns stay."""
    words = weight.view(torch.int32)
    words[:2, [0, 2]] += torch.tensor([[1 << 20, -1 << 20], [-1 << 20, 1 << 20]], dtype=torch.int32)


@pytest.mark.parametrize(
    ("dtype", "change"),
    [
        (torch.float32, plus_and_minus),
        (torch.float32, lambda w: w[:2, 1::2].neg_()),
        (torch.bfloat16, lambda w: w[:, 3::4].neg_()),
        (torch.float64, lambda w: w.neg_()),
    ],
)
def test_the_origin_sees_what_sums_do_not(
    dtype: torch.dtype, change: Callable[[Tensor], object]
) -> None:
    """Words of 64 bits of rows of 4096 bytes add up to the same before and after."""
    module = nn.Linear(4096 // dtype.itemsize, 8, bias=False, dtype=dtype)
    before = origin(module)
    with torch.no_grad():
        change(module.weight)
    assert origin(module) != before


def test_the_origin_sees_every_block_and_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewarddiff.loop.origin.BLOCK", 64)
    module = nn.Linear(32, 3, bias=False)
    origins = {origin(module)}
    for change in (
        lambda w: w[1].copy_(w[0].clone()),
        lambda w: w[2, -1].add_(1),
        lambda w: w.copy_(w.flip(0)),
    ):
        with torch.no_grad():
            change(module.weight)
        origins.add(origin(module))
    assert len(origins) == 4


def test_an_adapters_checkpoint_holds_the_adapter_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train_policy(
            with_adapter(tiny(), ADAPTED), made(6), ADAPTED, output=tmp_path, weights="hand-made"
        )
    # q_proj of two layers, 32 → 32, in rank 2: 2 · (2 · 32 + 32 · 2) numbers of 8 bytes, and two
    # moments of each
    numbers = 2 * (2 * 32 + 32 * 2)
    sizes = {f.name: f.stat().st_size for f in (tmp_path / "checkpoint").iterdir()}
    assert 8 * numbers <= sizes["model.safetensors"] < 8 * numbers + 1000
    assert 16 * numbers <= sizes["optimizer.safetensors"] < 16 * numbers + 2000


# --- what both parts cost -------------------------------------------------------------------------------------------


def test_an_interrupted_training_costs_what_it_costs_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(machine.time, "perf_counter", lambda: now[0])

    def slow(items: Sequence[Point]) -> None:
        now[0] += len(items)  # a second a point

    def interrupted(items: Sequence[Point], stop: Callable[[Any], None]) -> None:
        slow(items)
        stop(items)

    straight = trained(tmp_path / "straight", Line(slow)).result
    stop = at_call(6, lambda: signal.raise_signal(signal.SIGINT))  # in the fourth step
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", Line(lambda items: interrupted(items, stop)))
    now[0] += 1000
    ended = trained(tmp_path / "stopped", Line(slow)).result
    # Six steps of two points and four evaluations of three: 12 · 1 s + 4 · 3 s; 120 tokens in
    # training.
    assert (straight.cost["seconds"], straight.cost["tokens"]) == (24.0, 120)
    for name in ("seconds", "tokens", "tokens_per_second"):
        assert ended.cost[name] == straight.cost[name]
    assert [line["seconds"] for line in ended.curve] == [line["seconds"] for line in straight.curve]


@pytest.mark.parametrize("where", ["training", "reference"])
def test_the_reference_costs_the_same_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    config = PolicyConfig(DPO(), None, replace(SMALL, microbatch_tokens=40))

    def run(name: str) -> dict[str, Any]:
        with Store(tmp_path / f"{name}.sqlite") as store:
            result = train_policy(
                tiny(),
                made(6),
                config,
                output=tmp_path / name,
                weights="hand-made",
                dev=made(3),
                store=store,
            )
        return result.cost

    straight = run("straight")
    tokens = sum(len(item.tree) for item in made(6))  # the dev set's three are among them
    assert straight["reference_tokens"] == tokens
    assert straight["reference_seconds"] > 0
    with monkeypatch.context() as patch:
        if where == "training":
            stop_after(2, patch)
        else:
            stop_the_reference(2, patch)
        with pytest.raises(KeyboardInterrupt):
            run("stopped")
    assert run("stopped")["reference_tokens"] == tokens


def stop_the_reference(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an interrupt come after so many micro-batches of the reference pass."""
    node_sums, calls = reference.node_sums, itertools.count(1)

    def interrupted(*args: Any) -> Any:
        if next(calls) > call:
            raise KeyboardInterrupt
        return node_sums(*args)

    monkeypatch.setattr(reference, "node_sums", interrupted)


# --- batches --------------------------------------------------------------------------------------------------------


def test_an_epoch_is_shuffled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    draws, items, seed = [], 1003, 11
    draw = np.random.default_rng

    def counted(key: Sequence[int]) -> np.random.Generator:
        draws.append(key)
        return draw(key)

    monkeypatch.setattr(schedule.np.random, "default_rng", counted)
    config = TrainConfig(batch_size=10, epochs=2)
    batches = [schedule.batch_at(items, step, config, seed) for step in range(202)]
    assert draws == [[seed, 0], [seed, 1]]
    for epoch in range(2):
        order = draw([seed, epoch]).permutation(items).tolist()
        assert list(itertools.chain(*batches[101 * epoch : 101 * (epoch + 1)])) == order
    assert len(batches[100]) == 3


def test_accuracies_of_policies_that_are_the_reference_are_one_half(tmp_path: Path) -> None:
    config = PolicyConfig(DPO(), None, replace(SMALL, max_steps=1))
    result = train_policy(
        tiny(), made(6), config, output=tmp_path, weights="hand-made", dev=made(5)
    )
    assert result.curve[0]["split"] == "dev"
    assert result.curve[0]["rewards/margins"] == 0
    assert (
        result.curve[0]["rewards/accuracies"] == 0.5
    )  # as of scorers: a difference of 0 says nothing
