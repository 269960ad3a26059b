"""RRHF on groups of six responses, in token trees and the plain way, one process a way.

The plain way is that of RRHF's own code: a prompt's responses are a batch of rows, each with the
prompt in front and padded to the longest; the model gives all logits, their log-softmax is gathered
at the responses' tokens, and the gradients of a few prompts are added up before a step. The loss is
the same: Σ max(0, p_j − p_i) over the pairs in which i is better, p the mean log-probability of a
response's tokens, less the summed log-probability of the best response.

What a prompt of p = 164 tokens with six responses of r = 145 (and an end token each) takes, in
tokens:

             body                  head
    trees    p + 6r   = 1,034      6r       = 870 rows     6(p + r) = 1,854      6(p + r) = 1,854,
    and the padding: with lengths spread as HH's 1.7 times as many

At 6 FLOP per weight and token, and 8 in the head of the trees (whose logits are computed again in
the backward pass), SmolLM2-135M with 106 M weights in the body and 28 M in the head takes 0.86
TFLOP in trees and 1.50 in rows, 2.5 with the padding: 1.7 and 2.9 times as many. What is left is
memory: all logits of one prompt are 1,854 · 49,152 · 4 bytes, 365 MB (610 with the padding), and so
are their log-softmax and the gradients of both.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.contest import (
    LEARNING_RATE,
    MAX_GRAD_NORM,
    WEIGHT_DECAY,
    GroupOutcome,
    Task,
    counted,
    serve,
    steps_of,
)
from benchmarks.groups import read_groups
from benchmarks.machine import memory_bytes, reset_peak, touch
from benchmarks.ours import SEED, UNLIMITED, so_that_batches_follow
from rewarddiff.encoded import Encoded
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.models import load_causal_lm
from rewarddiff.policies.items import Pairs, preference_items
from rewarddiff.policies.objectives.lists import RRHF
from rewarddiff.policies.policy import PolicyConfig, train_policy

WAYS = ("trees", "rows")
LISTS = 4
"""Prompts per optimizer step."""

Run = tuple[list[float], list[float], int]
"""Clock at the end of every step, loss of every step (mean over its prompts), tokens after one."""


def train_trees(model: Any, lists: Sequence[Encoded], task: Task) -> Run:
    """Train by this project's loop, with its defaults but for what is fixed here for both."""
    items = []
    for encoded in lists:
        pairs = Pairs.unweighted(list(encoded.group.known_comparisons()))
        items += preference_items(encoded, pairs, whole=True)
    train = TrainConfig(
        lr=LEARNING_RATE,
        epochs=1,
        batch_size=LISTS,
        schedule="linear",
        warmup=0,
        max_grad_norm=MAX_GRAD_NORM,
        weight_decay=WEIGHT_DECAY,
        precision=task.precision,
    )
    ordered = so_that_batches_follow(items, train)
    # Training restarts the peak of memory for its own record; here it is that of the whole run.
    with tempfile.TemporaryDirectory() as folder, patch("rewarddiff.machine.reset_peak_memory"):
        settings = PolicyConfig(objective=RRHF(), train=train)
        result = train_policy(
            model, ordered, settings, output=Path(folder), weights="base", seed=SEED
        )
    lines = [line for line in result.curve if line["split"] == "train"]
    size = sum(len(item.tree) for item in items[LISTS:])
    return [line["seconds"] for line in lines], [line["loss"] for line in lines], size


def train_rows(model: Any, lists: Sequence[Encoded], task: Task) -> Run:
    """Train on one padded row per response, with all logits."""
    model.eval()  # no dropout
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )
    steps = steps_of(len(lists), LISTS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(steps))
    ends: list[float] = []
    losses: list[float] = []
    size = 0
    for step, count in enumerate(steps):
        total = 0.0
        for encoded in lists[step * LISTS : step * LISTS + count]:
            ids, mask, labels = padded(encoded)
            with torch.autocast("cpu", torch.bfloat16, enabled=task.precision == "bf16"):
                logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            loss = rrhf(logits, labels, torch.tensor(encoded.group.scores))
            (loss / count).backward()
            total += loss.item()
            if step > 0:
                size += ids.numel()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        ends.append(time.perf_counter())
        losses.append(total / count)
    return ends, losses, size


def padded(encoded: Encoded) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, mask, and labels that are −100 outside responses; (responses, longest) each."""
    rows = [torch.tensor(encoded.prompt + response) for response in encoded.responses]
    ids = pad_sequence(rows, batch_first=True, padding_value=0)
    column = torch.arange(ids.shape[1])
    inside = column < torch.tensor([[len(row)] for row in rows])
    labels = ids.masked_fill(~inside | (column < len(encoded.prompt)), -100)
    return ids, inside.long(), labels


def rrhf(logits: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
    """Return the loss of one prompt.

    Args:
        logits: (responses, longest, vocabulary). labels: (responses, longest).
        scores: (responses,).
    """
    logps = logits[:, :-1].float().log_softmax(-1)
    target = labels[:, 1:]
    answer = target != -100
    token_logps = logps.gather(-1, target.clamp(min=0)[..., None])[..., 0] * answer
    sums = token_logps.sum(-1)
    means = sums / answer.sum(-1)
    better = scores[:, None] > scores  # i better than j
    rank_loss = torch.relu(means[None, :] - means[:, None])[better].sum()
    return rank_loss - sums[scores.argmax()]


def run_rrhf(task: Task) -> GroupOutcome:
    """Train one epoch of RRHF on the task's groups; the first step warms up."""
    groups = read_groups(task.rows)
    model, tokenizer = load_causal_lm(task.model)
    touch(model)
    gc.collect()
    model_bytes = reset_peak()
    encoder = Encoder(tokenizer, LengthConfig(max_prompt=None, max_response=UNLIMITED))
    lists = []
    for group in groups:
        responses = tuple(encoder.response(group.prompt, text) for text in group.responses)
        lists.append(Encoded(group, encoder.prompt(group.prompt), responses))
    train = train_trees if task.way == "trees" else train_rows
    ends, losses, size = train(model, lists, task)
    timed, seconds = counted(ends, steps_of(len(lists), LISTS), 0)
    return GroupOutcome(
        groups=timed,
        seconds=seconds,
        tokens=size,
        values=tuple(losses),
        model_bytes=model_bytes,
        peak_bytes=memory_bytes("VmHWM"),
    )


if __name__ == "__main__":
    serve(run_rrhf)
