"""Memory of `rewarddiff score` and `rewarddiff weigh` at so many rows and at ten times as many. One process
a run.

The model is a tiny one: what grows would be the rows'. It is the peak above what is resident once
the model is loaded.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import contest
from benchmarks.contest import Comparison, GroupOutcome, Task, compare, serve
from benchmarks.machine import memory_bytes, reset_peak, touch
from benchmarks.rows import make_rows, write_rows

WAYS = ("score", "weigh")
ROWS = 10_000
FEW = 500
TIMES = 10


def tiny_model(folder: Path, backbone: str) -> Path:
    """Save a reward model of two layers that reads as the backbone's tokenizer writes."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(backbone)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run_streaming(task: Task) -> GroupOutcome:
    """Score or weigh all rows of the task."""
    from rewarddiff.pipeline.scoring import score, weigh_dataset
    from rewarddiff.scorers.neural.build import load_scorer

    scorer = load_scorer(task.model)
    touch(scorer.reader)
    gc.collect()
    model_bytes = reset_peak()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.jsonl"
        run = score if task.way == "score" else weigh_dataset
        run(scorer, task.rows, output)
        with output.open("rb") as lines:
            rows = sum(1 for _ in lines)
    return GroupOutcome(
        groups=rows,
        seconds=time.perf_counter() - start,
        tokens=0,
        values=(),
        model_bytes=model_bytes,
        peak_bytes=memory_bytes("VmHWM"),
    )


def contend(
    backbone: str, *, threads: int, quick: bool, rows: int = ROWS
) -> dict[str, list[GroupOutcome]]:
    """Run both commands on few rows and on many, once each."""
    few = FEW if quick else rows
    with tempfile.TemporaryDirectory() as folder:
        model = str(tiny_model(Path(folder) / "model", backbone))
        contestants = {}
        for count in (few, TIMES * few):
            path = Path(folder) / f"rows-{count}.jsonl"
            write_rows(make_rows(count), path)
            for way in WAYS:
                task = Task(model, path, "fp32", way=way)
                contestants[f"{way}-{count}"] = ("benchmarks.streaming", task)
        return contest.take_turns(
            contestants,
            GroupOutcome,
            rounds=1,
            threads=threads,
            title="streaming",
            require_same=lambda outcomes: None,
        )


def comparisons(outcomes: Mapping[str, Sequence[GroupOutcome]]) -> list[Comparison]:
    """Compare the memory at many rows with that at few."""
    peaks: dict[str, list[list[int]]] = {way: [] for way in WAYS}
    for name, runs in outcomes.items():
        peaks[name.partition("-")[0]].append([run.bytes_above_model for run in runs])
    figures = []
    for way, (few, many) in peaks.items():
        figures.append(compare(f"{way}-memory-{TIMES}x", "bytes-above-model", many, few))
    return figures


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    serve(run_streaming)
