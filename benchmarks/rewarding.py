"""Reward models trained: pairs a second of this project beside TRL's RewardTrainer. One process a run.

    ours          `train_scorer`: a prompt is read once for both responses, pairs of similar length together
    trl           TRL's RewardTrainer with its defaults: 8 pairs at a time in the order of the data, padded to
                  the longest response
    trl-sorted    the same, the pairs of every eight steps in order of length: the best it could do by itself

All start from one model with one head, and train on the same pairs with the same settings; the first two take
the same batches, so their losses are compared step by step. Loading and tokenising are not counted, nor is the
first step, which warms up.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks import contest
from benchmarks.contest import (
    BATCH,
    LEARNING_RATE,
    MAX_GRAD_NORM,
    WEIGHT_DECAY,
    Comparison,
    GroupOutcome,
    Precision,
    Task,
    compare,
    counted,
    serve,
    steps_of,
)
from benchmarks.machine import memory_bytes, reset_peak, touch
from benchmarks.rows import Row, make_rows, read_rows, write_rows
from benchmarks.throughput import reward_model

WAYS = ("ours", "trl", "trl-sorted")
ROWS: dict[Precision, int] = {"bf16": 40, "fp32": 24}
FEW = 16
SORTED = 8 * BATCH
"""Pairs that are put in order together."""
TOLERANCE = {"bf16": 3e-2, "fp32": 1e-3}
"""How far apart the losses of a step may be."""


def run_rewarding(task: Task) -> GroupOutcome:
    """Train one epoch on the task's rows."""
    rows = read_rows(task.rows)
    return by_ours(task, rows) if task.way == "ours" else by_trl(task, rows)


def by_ours(task: Task, rows: Sequence[Row]) -> GroupOutcome:
    from rewarddiff.encoding import LengthConfig
    from rewarddiff.loop.objective import TrainConfig
    from rewarddiff.records import Comparison as Order
    from rewarddiff.records import Group
    from rewarddiff.scorers.neural.config import ScorerConfig
    from rewarddiff.scorers.neural.train import train_scorer

    config = ScorerConfig(
        kind="reward",
        backbone=task.model,
        warm_start=task.model,
        lengths=LengthConfig(max_response=1_000_000),
        train=TrainConfig(
            lr=LEARNING_RATE,
            epochs=1,
            batch_size=BATCH,
            schedule="linear",
            warmup=0,
            max_grad_norm=MAX_GRAD_NORM,
            weight_decay=WEIGHT_DECAY,
            precision=task.precision,
            eval_every=None,
            save_every=0,
        ),
    )
    groups = []
    for number, row in enumerate(rows):
        pair = (row.chosen, row.rejected)
        groups.append(Group(str(number), row.prompt, pair, comparisons=(Order(0, 1),)))
    gc.collect()
    model_bytes = reset_peak()
    # The loop shuffles; here it takes the batches that the peer takes.
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("rewarddiff.machine.reset_peak_memory"),
        patch("rewarddiff.loop.train.batch_at", _in_order),
    ):
        _, result = train_scorer(config, groups, output=Path(folder))
    ends = [float(line["seconds"]) for line in result.curve]
    losses = [float(line["loss"]) for line in result.curve]
    return _outcome(len(rows), ends, losses, model_bytes, tokens=result.cost["tokens"])


def _in_order(items: int, step: int, *_: Any) -> list[int]:
    return list(range(items))[step * BATCH : (step + 1) * BATCH]


def by_trl(task: Task, rows: Sequence[Row]) -> GroupOutcome:
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    from benchmarks.peer_trl import StepClock

    class Noting(RewardTrainer):
        """RewardTrainer that notes the loss of every step."""

        losses: list[float]

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(*args, **kwargs)
            self.losses.append(loss.item())
            return loss

    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(task.model)
    model: Any = AutoModelForSequenceClassification.from_pretrained(task.model, dtype=torch.float32)
    touch(model)
    if task.way == "trl-sorted":
        rows = _by_length(rows)
    gc.collect()
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        settings = RewardConfig(
            folder,
            use_cpu=True,
            bf16=task.precision == "bf16",
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="linear",
            warmup_steps=0,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=MAX_GRAD_NORM,
            max_length=None,  # nothing is truncated
            activation_checkpointing=False,
            train_sampling_strategy="sequential",
            dataloader_num_workers=0,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Noting(
            model,
            args=settings,
            train_dataset=Dataset.from_list([row._asdict() for row in rows]),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.losses = []
        model_bytes = reset_peak()
        trainer.train()
    return _outcome(len(rows), clock.ends, trainer.losses, model_bytes, tokens=0)


def _outcome(
    rows: int, ends: Sequence[float], losses: Sequence[float], model_bytes: int, *, tokens: int
) -> GroupOutcome:
    pairs, seconds = counted(ends, steps_of(rows), 0.0)
    return GroupOutcome(
        groups=pairs,
        seconds=seconds,
        tokens=tokens,
        values=tuple(losses),
        model_bytes=model_bytes,
        peak_bytes=memory_bytes("VmHWM"),
    )


def _by_length(rows: Sequence[Row]) -> list[Row]:
    """Return rows with those of every `SORTED` in order of the longer text's length."""
    ordered: list[Row] = []
    for start in range(0, len(rows), SORTED):
        ordered += sorted(rows[start : start + SORTED], key=_longest)
    return ordered


def _longest(row: Row) -> int:
    return len(row.prompt) + max(len(row.chosen), len(row.rejected))


def contend(
    backbone: str, precision: Precision, *, rounds: int, threads: int, quick: bool
) -> dict[str, list[GroupOutcome]]:
    """Train on the same pairs in every way once a round."""

    def require_same(outcomes: Mapping[str, GroupOutcome]) -> None:
        contest.require_same_values(outcomes["ours"], outcomes["trl"], TOLERANCE[precision])

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(make_rows(FEW if quick else ROWS[precision]), path)
        model = str(reward_model(Path(folder) / "model", backbone))
        tasks = {way: Task(model, path, precision, way=way) for way in WAYS}
        return contest.take_turns(
            {way: ("benchmarks.rewarding", task) for way, task in tasks.items()},
            GroupOutcome,
            rounds=rounds,
            threads=threads,
            title=f"reward {precision}",
            require_same=require_same,
        )


def comparisons(
    precision: Precision, outcomes: Mapping[str, Sequence[GroupOutcome]]
) -> list[Comparison]:
    """Compare with either way of the peer."""
    rates = {}
    for way, runs in outcomes.items():
        rates[way] = [run.groups_per_second for run in runs]
    found = []
    for way in WAYS[1:]:
        name = f"reward-{precision}-{way}"
        found.append(compare(name, "pairs/s", rates["ours"], rates[way]))
    return found


if __name__ == "__main__":
    serve(run_rewarding)
