"""Scoring groups of responses: differences and rewards, in token trees and as padded rows. One
process a way.

What a group of six takes, with a prompt of p = 164 tokens and responses of r = 145 (labels and end
tokens, up to six a response, come on top), in tokens that go through the body:

    differences-rows   15 comparisons, one row each          15·(p + 2r) = 6,810
    differences-trees  the same in one tree                  p + 6r + 15r = 3,209
    anchor-trees       5 comparisons with one response       p + r + 5r = 1,034
    reward-rows        6 scores, one row each                6·(p + r) = 1,854, and the padding
    reward-trees       the same in one tree                  p + 6r = 1,034

So trees read 2.12 times fewer tokens for the same differences, and all 15 differences take 1.73
times the tokens of six rewards scored the usual way; padding, where lengths vary, works for the
trees in both. Five differences against one response take as many as six rewards. A token takes 2
FLOP per weight of the body, and 4·hidden per layer and key it attends to: here 470 keys at most in
a difference and 310 in a reward, if attention reads each response's own path only; a mask over the
whole tree computes 3,209.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from benchmarks.contest import BATCH, GroupOutcome, Task, serve
from benchmarks.groups import read_groups
from benchmarks.machine import memory_bytes, reset_peak, touch
from rewarddiff.designs import DesignConfig, comparisons
from rewarddiff.encoding import LengthConfig
from rewarddiff.records import Group
from rewarddiff.scorers.neural.build import new_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.ranking import rank, scores

SEED = 0
UNLIMITED = 1_000_000
DESIGNS = {"differences-trees": DesignConfig("all"), "anchor-trees": DesignConfig("anchor")}
WAYS = (*DESIGNS, "differences-rows", "reward-trees", "reward-rows")

Values = list[float]


def make_scorer(task: Task) -> NeuralScorer:
    """The paper's: the text read once, at its end. The head is fresh and the same in every
    process."""
    kind: Any = "reward" if task.way.startswith("reward") else "difference"
    lengths = LengthConfig(max_prompt=None, max_response=UNLIMITED)
    scorer = new_scorer(
        ScorerConfig(kind=kind, backbone=task.model, head="last", lengths=lengths), seed=SEED
    )
    scorer.precision = task.precision
    return scorer


def in_trees(scorer: NeuralScorer, way: str) -> Callable[[Sequence[Group]], Values]:
    def read(groups: Sequence[Group]) -> Values:
        if way == "reward-trees":
            return np.concatenate(scores(scorer, groups)).tolist()
        return [
            d
            for ranking in rank(scorer, groups, DESIGNS[way])
            for d in ranking.differences.tolist()
        ]

    return read


def in_rows(scorer: NeuralScorer, counted: list[int]) -> Callable[[Sequence[Group]], Values]:
    """The usual way: transformers' own model and attention over rows padded to the longest of
    eight.

    Args:
        counted: gets the tokens of every batch, padding included.
    """
    model: Any = scorer.reader.model
    model.set_attn_implementation("sdpa")
    pad = model.config.get_text_config().pad_token_id

    def read(groups: Sequence[Group]) -> Values:
        rows = [torch.tensor(row) for group in groups for row in texts(scorer, group)]
        values: Values = []
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            ids = pad_sequence(batch, batch_first=True, padding_value=pad)
            mask = torch.arange(ids.shape[1]) < torch.tensor([[len(row)] for row in batch])
            with (
                torch.no_grad(),
                torch.autocast("cpu", torch.bfloat16, enabled=scorer.precision == "bf16"),
            ):
                values += (
                    model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
                    .logits[:, 0]
                    .tolist()
                )
            counted.append(ids.numel())
        return values

    return read


def texts(scorer: NeuralScorer, group: Group) -> list[list[int]]:
    """The rows of a group: each response's, or each comparison's."""
    shown = scorer.reader.texts
    page = shown.page(group)
    n = len(group.responses)
    asked = (
        comparisons(n, DESIGNS["differences-trees"], group.id)
        if shown.joint
        else [(i,) for i in range(n)]
    )
    return [
        [token for part in shown.reading(page, *indices) for token in part] for indices in asked
    ]


def tree_tokens(scorer: NeuralScorer, way: str, groups: Sequence[Group]) -> int:
    pairs = [
        comparisons(len(group.responses), DESIGNS.get(way, DesignConfig()), group.id)
        for group in groups
    ]
    return sum(map(scorer.tokens, groups, pairs))


def run_scoring(task: Task) -> GroupOutcome:
    """Read the task's groups in one way; the first one warms up."""
    first, *groups = read_groups(task.rows)
    scorer = make_scorer(task)
    touch(scorer.reader)
    gc.collect()
    model_bytes = reset_peak()
    counted: list[int] = []
    read = in_rows(scorer, counted) if task.way.endswith("rows") else in_trees(scorer, task.way)
    read([first])
    counted.clear()
    start = time.perf_counter()
    values = read(groups)
    seconds = time.perf_counter() - start
    return GroupOutcome(
        groups=len(groups),
        seconds=seconds,
        tokens=sum(counted) or tree_tokens(scorer, task.way, groups),
        values=tuple(values),
        model_bytes=model_bytes,
        peak_bytes=memory_bytes("VmHWM"),
    )


if __name__ == "__main__":
    serve(run_scoring)
