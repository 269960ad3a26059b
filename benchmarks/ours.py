"""DPO by this project, with the settings the contest fixes for both sides."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

from benchmarks.contest import (
    BATCH,
    BETA,
    LEARNING_RATE,
    MAX_GRAD_NORM,
    WEIGHT_DECAY,
    Outcome,
    Task,
    counted,
    serve,
    steps_of,
)
from benchmarks.machine import memory_bytes, reset_peak, touch
from benchmarks.rows import Row, read_rows
from rewarddiff.encoded import Encoded
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.schedule import batch_at
from rewarddiff.models import load_causal_lm
from rewarddiff.policies.items import Pairs, preference_items
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.policy import PolicyConfig, train_policy
from rewarddiff.records import Comparison, Group

Item = TypeVar("Item")

SEED = 0
UNLIMITED = 1_000_000


def train_config(task: Task) -> TrainConfig:
    """This project's settings of training: its own defaults but for these."""
    return TrainConfig(
        lr=LEARNING_RATE,
        epochs=1,
        batch_size=BATCH,
        schedule="linear",
        warmup=0,
        max_grad_norm=MAX_GRAD_NORM,
        weight_decay=WEIGHT_DECAY,
        precision=task.precision,
        gradient_checkpointing=False,
    )


def config(task: Task) -> PolicyConfig:
    return PolicyConfig(objective=DPO(beta=BETA), train=train_config(task))


def encoded(row: Row, name: str, encoder: Encoder) -> Encoded:
    """One pair as token ids; nothing is cut."""
    group = Group(name, row.prompt, (row.chosen, row.rejected), comparisons=(Comparison(0, 1),))
    prompt, responses = (
        encoder.prompt(row.prompt),
        tuple(encoder.response(row.prompt, text) for text in row[1:]),
    )
    return Encoded(group, prompt, responses)


def so_that_batches_follow(items: Sequence[Item], train: TrainConfig) -> list[Item]:
    """Items placed so that the loop, which shuffles, takes them in the given order: the batches the
    peer takes."""
    placed, steps = list(items), len(steps_of(len(items), train.batch_size))
    taken = [place for step in range(steps) for place in batch_at(len(items), step, train, SEED)]
    for place, item in zip(taken, items, strict=True):
        placed[place] = item
    return placed


def run_ours(task: Task) -> Outcome:
    """Train one epoch of DPO on the task's rows."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does
    rows = read_rows(task.rows)
    model, tokenizer = load_causal_lm(task.model)
    touch(model)
    gc.collect()
    model_bytes = reset_peak()
    encoder = Encoder(tokenizer, LengthConfig(max_prompt=None, max_response=UNLIMITED))
    pairs_encoded = [encoded(row, str(i), encoder) for i, row in enumerate(rows)]
    items = [
        item
        for pair in pairs_encoded
        for item in preference_items(pair, Pairs.unweighted(pair.group.comparisons))
    ]
    settings = config(task)
    # Training restarts the process's memory peak for its own record; here the peak is that of the
    # whole run.
    with tempfile.TemporaryDirectory() as folder, patch("rewarddiff.machine.reset_peak_memory"):
        ordered = so_that_batches_follow(items, settings.train)
        result = train_policy(
            model, ordered, settings, output=Path(folder), weights="base", seed=SEED
        )
    step_ends = [float(line["seconds"]) for line in result.curve if line["split"] == "train"]
    pairs, seconds = counted(
        step_ends, steps_of(len(rows)), float(result.cost["reference_seconds"])
    )
    timed = pairs_encoded[BATCH:]
    return Outcome(
        pairs=pairs,
        seconds=seconds,
        prompt_tokens=sum(len(pair.prompt) for pair in timed),
        response_tokens=sum(len(response) for pair in timed for response in pair.responses),
        model_bytes=model_bytes,
        peak_bytes=memory_bytes("VmHWM"),
    )


if __name__ == "__main__":
    serve(run_ours)
