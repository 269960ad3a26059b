"""Pairs scored a second, from a file to numbers: this project beside transformers and TRL. One process a
way.

    ours          `rewarddiff.score`: a file of rows in, a file of rows with scores out
    pipeline-N    transformers' text-classification pipeline over the same texts, N at a time
    trl-grpo      what TRL's GRPOTrainer does with a reward model: 8 texts at a time
    trl-reward    what TRL's RewardTrainer does in evaluation: 8 pairs at a time, padded to the longest

All read the same texts: prompt, response and end token of either response of every pair. Loading
the model is not counted, nor the first pair, which warms up; tokenising is, on every side.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import contest
from benchmarks.contest import Comparison, GroupOutcome, Task, compare, serve
from benchmarks.machine import memory_bytes, reset_peak, touch
from benchmarks.rows import Row, make_rows, read_rows, write_rows

PIPELINES = ("pipeline-1", "pipeline-8", "pipeline-32")
TRL = ("trl-grpo", "trl-reward")
WAYS = ("ours", *PIPELINES, *TRL)
BATCH = 8
"""TRL's default, per device."""
PAIRS = 24
FEW = 12
TOLERANCE = 1e-3
"""How far apart the scores of two ways may be, of their size."""

Values = list[float]


def reward_model(folder: Path, backbone: str) -> Path:
    """Save a reward model of a body and a fresh head, as any trainer saves one."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from rewarddiff.scorers.neural.backbones import use_distinct_padding

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone, num_labels=1, dtype=torch.float32
    )
    # Another padding than the end token, which would else be taken for padding.
    use_distinct_padding(model, tokenizer, {tokenizer.eos_token_id})
    model.config.problem_type = "regression"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def texts_of(rows: Sequence[Row], end: str) -> list[str]:
    """Return what is read of every pair: first the chosen response's text, then the other's."""
    texts = []
    for row in rows:
        texts += [row.prompt + response + end for response in (row.chosen, row.rejected)]
    return texts


def by_ours(model: str) -> Callable[[Sequence[Row]], Values]:
    from rewarddiff.pipeline.scoring import score
    from rewarddiff.scorers.opening import open_scorer

    scorer: Any = open_scorer(model)
    touch(scorer.reader)

    def read(rows: Sequence[Row]) -> Values:
        with tempfile.TemporaryDirectory() as folder:
            data, output = Path(folder) / "rows.jsonl", Path(folder) / "scores.jsonl"
            write_rows(rows, data)
            score(scorer, data, output)
            values: Values = []
            for line in output.read_text("utf-8").splitlines():
                values += json.loads(line)["scores"]
            return values

    return read


def by_pipeline(model: str, batch: int) -> Callable[[Sequence[Row]], Values]:
    from transformers import pipeline

    device = "cuda" if torch.cuda.is_available() else "cpu"
    classify = pipeline("text-classification", model=model, dtype=torch.float32, device=device)
    touch(classify.model)
    tokenizer: Any = classify.tokenizer

    def read(rows: Sequence[Row]) -> Values:
        texts = texts_of(rows, tokenizer.eos_token)
        labels = classify(texts, batch_size=batch, function_to_apply="none")
        return [label["score"] for label in labels]

    return read


def by_trl(model: str, way: str) -> Callable[[Sequence[Row]], Values]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl.trainer.reward_trainer import DataCollatorForPreference

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(model)
    scorer: Any = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32)
    scorer = scorer.to(device).eval()
    touch(scorer)
    collate = DataCollatorForPreference(tokenizer.pad_token_id)

    def grpo(rows: Sequence[Row]) -> Values:
        values: Values = []
        texts = texts_of(rows, tokenizer.eos_token)
        for start in range(0, len(texts), BATCH):
            inputs = tokenizer(
                text=texts[start : start + BATCH],
                return_tensors="pt",
                padding=True,
                padding_side="right",
                add_special_tokens=False,
            ).to(device)
            values += scorer(**inputs).logits[:, 0].tolist()
        return values

    def reward(rows: Sequence[Row]) -> Values:
        values: Values = []
        for start in range(0, len(rows), BATCH):
            texts = texts_of(rows[start : start + BATCH], tokenizer.eos_token)
            ids = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
            pairs = zip(ids[::2], ids[1::2], strict=True)
            batch = collate([{"chosen_ids": a, "rejected_ids": b} for a, b in pairs])
            logits = scorer(**{name: value.to(device) for name, value in batch.items()}).logits
            chosen, rejected = torch.chunk(logits.squeeze(-1), chunks=2)
            values += torch.stack([chosen, rejected], 1).flatten().tolist()
        return values

    return torch.no_grad()(grpo if way == "trl-grpo" else reward)


def reader_of(task: Task) -> Callable[[Sequence[Row]], Values]:
    if task.way == "ours":
        return by_ours(task.model)
    if task.way in PIPELINES:
        return by_pipeline(task.model, int(task.way.removeprefix("pipeline-")))
    return by_trl(task.model, task.way)


def run_throughput(task: Task) -> GroupOutcome:
    """Score the task's pairs in one way; the first one warms up."""
    first, *rows = read_rows(task.rows)
    read = reader_of(task)
    gc.collect()
    model_bytes = reset_peak()
    read([first])
    start = time.perf_counter()
    values = read(rows)
    seconds = time.perf_counter() - start
    return GroupOutcome(
        groups=len(rows),
        seconds=seconds,
        tokens=0,
        values=tuple(values),
        model_bytes=model_bytes,
        peak_bytes=memory_bytes("VmHWM"),
    )


def contend(
    backbone: str, *, rounds: int, threads: int, quick: bool, pairs: int = PAIRS
) -> dict[str, list[GroupOutcome]]:
    """Score the same pairs in every way once a round."""

    def require_same(outcomes: Mapping[str, GroupOutcome]) -> None:
        for way in WAYS[1:]:
            contest.require_same_values(outcomes["ours"], outcomes[way], TOLERANCE)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(make_rows(1 + (FEW if quick else pairs)), path)
        model = str(reward_model(Path(folder) / "model", backbone))
        return contest.take_turns(
            {way: ("benchmarks.throughput", Task(model, path, "fp32", way=way)) for way in WAYS},
            GroupOutcome,
            rounds=rounds,
            threads=threads,
            title="throughput",
            require_same=require_same,
        )


def comparisons(outcomes: Mapping[str, Sequence[GroupOutcome]]) -> list[Comparison]:
    """Compare with every other way."""
    rates = {}
    for way, runs in outcomes.items():
        rates[way] = [run.groups_per_second for run in runs]
    return [compare(f"score-{way}", "pairs/s", rates["ours"], rates[way]) for way in WAYS[1:]]


if __name__ == "__main__":
    serve(run_throughput)
