"""A reward model trained by this project and by TRL's RewardTrainer, one process a way.

    ours    token trees: a prompt is read once for both responses, nothing is padded
    trl     RewardTrainer, with its defaults but for what the contest fixes (docs/benchmarks.md)

Both start from one folder, a body with a fresh head, and learn from the same pairs in the same
batches: prompt, response and end token as one text, read at the end token. TRL reads where
transformers does, at the last token that is not padding; the folder's padding is another token than
its end, so that this is the end token. Nothing is centered or dropped out, on either side.

The losses of all steps must agree, the first of which tells that both have the same weights.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks import contest
from benchmarks.contest import (
    BATCH,
    Comparison,
    Outcome,
    Precision,
    Task,
    compare,
    counted,
    serve,
    steps_of,
)
from benchmarks.machine import memory_bytes, reset_peak, touch
from benchmarks.ours import SEED, UNLIMITED, so_that_batches_follow, train_config
from benchmarks.rows import Row, read_rows, write_rows
from benchmarks.throughput import reward_model

WAYS = ("ours", "trl")

TOLERANCE: Mapping[Precision, float] = {"fp32": 1e-4, "bf16": 1e-2}
"""How far apart the losses of a step may be, of their size: rounding adds up over the layers."""

Texts = tuple[Sequence[int], Sequence[int]]
"""The tokens of a pair's two texts, prompts included."""


def shared_and_own(pairs: Iterable[Texts]) -> tuple[int, int]:
    """Return how many tokens the two texts of pairs begin with in common, and how many follow.

    >>> shared_and_own([([1, 2, 3], [1, 2, 4, 5])])
    (2, 3)
    """
    shared = 0
    own = 0
    for chosen, rejected in pairs:
        common = 0
        for a, b in zip(chosen, rejected, strict=False):
            if a != b:
                break
            common += 1
        shared += common
        own += len(chosen) + len(rejected) - 2 * common
    return shared, own


def outcome(
    step_ends: Sequence[float],
    cpu_ends: Sequence[float],
    losses: Sequence[float],
    pairs: Sequence[Texts],
    model_bytes: int,
) -> Outcome:
    """Return what a run has done after its first step, and the losses of all steps."""
    timed, seconds = counted(step_ends, steps_of(len(pairs)), 0)
    _, cpu_seconds = counted(cpu_ends, steps_of(len(pairs)), 0)
    shared, own = shared_and_own(pairs[BATCH:])
    return Outcome(
        pairs=timed,
        seconds=seconds,
        prompt_tokens=shared,
        response_tokens=own,
        model_bytes=model_bytes,
        peak_bytes=memory_bytes("VmHWM"),
        losses=tuple(losses),
        cpu_seconds=cpu_seconds,
    )


def run_ours(task: Task) -> Outcome:
    """Train one epoch on the task's rows by this project's loop."""
    from rewarddiff.data.ledger import Ledger
    from rewarddiff.encoding import LengthConfig
    from rewarddiff.loop import train as loop
    from rewarddiff.records import Comparison as Label
    from rewarddiff.records import Group
    from rewarddiff.scorers.neural.build import new_scorer
    from rewarddiff.scorers.neural.config import ScorerConfig
    from rewarddiff.scorers.neural.objectives import objective

    settings = train_config(task)
    config = ScorerConfig(
        kind="reward",
        warm_start=task.model,
        lengths=LengthConfig(max_prompt=None, max_response=UNLIMITED),
        train=settings,
    )
    scorer = new_scorer(config, seed=SEED)
    touch(scorer.reader)
    gc.collect()
    model_bytes = reset_peak()
    groups = []
    for number, row in enumerate(read_rows(task.rows)):
        responses = (row.chosen, row.rejected)
        groups.append(Group(str(number), row.prompt, responses, comparisons=(Label(0, 1),)))
    trained = objective(scorer.reader, config, seed=SEED)
    ordered = so_that_batches_follow(trained.items(groups, Ledger()), settings)
    cpu_ends: list[float] = []
    step = loop._Run._step

    def timed_step(self: Any, number: int) -> Any:
        done = step(self, number)
        cpu_ends.append(time.process_time())
        return done

    # Training restarts the peak of memory for its own record; here it is that of the whole run.
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("rewarddiff.machine.reset_peak_memory"),
        patch.object(loop._Run, "_step", timed_step),
    ):
        result = loop.train(trained, ordered, output=Path(folder), config=settings, seed=SEED)
    lines = [line for line in result.curve if line["split"] == "train"]
    texts = scorer.reader.texts
    pairs: list[Texts] = []
    for group in groups:
        page = texts.page(group)
        chosen, rejected = (sum(texts.reading(page, place), ()) for place in (0, 1))
        pairs.append((chosen, rejected))
    step_ends = [line["seconds"] for line in lines]
    return outcome(step_ends, cpu_ends, [line["loss"] for line in lines], pairs, model_bytes)


def run_trl(task: Task) -> Outcome:
    """Train one epoch on the task's rows by TRL."""
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    from benchmarks.peer_trl import StepClock, trainer_options

    class Watched(RewardTrainer):
        """RewardTrainer that keeps the loss of every step."""

        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(*args, **kwargs)
            losses.append(loss.item())
            return loss

    disable_progress_bars()
    losses: list[float] = []
    # float32 is the dtype in which TRL itself loads a model given by name.
    model = AutoModelForSequenceClassification.from_pretrained(task.model, dtype=torch.float32)
    touch(model)
    gc.collect()
    model_bytes = reset_peak()
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Watched(
            model,
            args=RewardConfig(folder, **trainer_options(task)),
            train_dataset=Dataset.from_list([row._asdict() for row in read_rows(task.rows)]),
            processing_class=AutoTokenizer.from_pretrained(task.model),
            callbacks=[clock],
        )
        trainer.train()
    dataset: Any = trainer.train_dataset
    pairs = list(zip(dataset["chosen_ids"], dataset["rejected_ids"], strict=True))
    return outcome(clock.ends, clock.cpu_ends, losses, pairs, model_bytes)


def require_same(outcomes: Mapping[str, Outcome], precision: Precision) -> None:
    """Refuse a contest of different work: other tokens, other weights, or another reading.

    Raises:
        RuntimeError: tokens differ, or the losses of a step.
    """
    contest.require_same_tokens(outcomes)
    ours, trl = (outcomes[way] for way in WAYS)
    steps = enumerate(zip(ours.losses, trl.losses, strict=True), 1)
    for step, (one, other) in steps:
        if not abs(one - other) <= TOLERANCE[precision] * abs(other):
            raise RuntimeError(f"contestants learn otherwise: losses of step {step} {one}, {other}")


def contend(
    backbone: str, rows: Sequence[Row], precision: Precision, *, rounds: int, threads: int
) -> dict[str, list[Outcome]]:
    """Train on the same rows in either way once a round."""

    def same(outcomes: Mapping[str, Outcome]) -> None:
        require_same(outcomes, precision)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(rows, path)
        model = str(reward_model(Path(folder) / "model", backbone))
        return contest.take_turns(
            {way: ("benchmarks.reward", Task(model, path, precision, way=way)) for way in WAYS},
            Outcome,
            rounds=rounds,
            threads=threads,
            title=f"reward {precision}",
            require_same=same,
        )


def comparisons(
    precision: Precision, outcomes: Mapping[str, Sequence[Outcome]]
) -> list[Comparison]:
    """Compare speed, by the wall clock and by the processors', and memory."""
    sides = [outcomes[way] for way in WAYS]
    name = f"reward-{precision}-trl"
    speeds = [[run.pairs_per_second for run in runs] for runs in sides]
    cpu_speeds = [[run.pairs / run.cpu_seconds for run in runs] for runs in sides]
    memory = [[run.bytes_above_model for run in runs] for runs in sides]
    return [
        compare(name, "pairs/s", *speeds),
        compare(f"{name}-cpu", "pairs/cpu-second", *cpu_speeds),
        compare(f"{name}-memory", "bytes-above-model", *memory),
    ]


def run(task: Task) -> Outcome:
    return run_ours(task) if task.way == "ours" else run_trl(task)


if __name__ == "__main__":
    serve(run)
