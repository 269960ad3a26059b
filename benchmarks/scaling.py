"""How time and memory grow: with the rows of the data, and with the responses of a prompt.

    python -m benchmarks.scaling                       # some minutes; writes results/scaling.json and the pictures
    python -m benchmarks.scaling --draw                # the pictures again, from the figures that are there

Rows: DPO from a file to its first step, a process for each number of rows (`rows_memory`).

Responses: an optimizer step of RRHF on four prompts of HH's lengths, in token trees and in padded rows
(`rrhf`), on a small random model, a process each. Trees read p + k·r tokens of a prompt, rows at least
k·(p + r).

Seconds are the processor's, on one thread, so that other work on the machine hardly counts. What is fitted
is the slope of log y over log x: 1 where y grows in proportion, 0 where it does not grow.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from math import log
from pathlib import Path
from statistics import linear_regression
from typing import Any

from benchmarks import rows

RESULTS = Path(__file__).parent / "results" / "scaling.json"
IMAGES = Path(__file__).parents[1] / "docs" / "images"

ROWS = (1_000, 10_000, 100_000)
RESPONSES = (2, 4, 8, 16, 32)
WAYS = ("trees", "rows")
STEPS = 2
VOCABULARY = 2048

BEFORE: Mapping[str, float] = {"rows": 1e6, "cpu_seconds": 151 + 490, "anonymous_bytes": 215e6}
"""A million rows, measured once by `rows_memory` on another day and an earlier revision (docs/scale.md)."""

TOLERANCE = 1e-3
"""How far apart the losses of the two ways may be, of their size."""

Figures = dict[str, Any]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the straight line through (log x, log y), by least squares.

    >>> round(slope([(1, 3), (10, 30), (100, 300)]), 6)
    1.0
    """
    fit = linear_regression([log(x) for x, _ in points], [log(y) for _, y in points])
    return fit.slope


def of_rows(counts: Sequence[int], folder: Path) -> list[Figures]:
    """Measure DPO from a file to its first step at so many rows each."""
    from benchmarks import rows_memory

    model = rows_memory.tiny_model(folder / "model", "dpo")
    measured = []
    for count in counts:
        path = rows_memory.write(count, folder / f"rows-{count}.jsonl")
        outcome = rows_memory.in_a_process("dpo", model, path, folder / f"dpo-{count}")
        parts = (outcome["reading"], outcome["to_first_step"])
        seconds = sum(part["cpu_seconds"] for part in parts)
        memory = max(part["anonymous_bytes"] for part in parts)
        measured.append({"rows": count, "cpu_seconds": seconds, "anonymous_bytes": memory})
        say(f"{count} rows: {seconds:.1f} s, {memory / 1e6:.0f} MB")
    return measured


def lists(responses: int, prompts: int) -> list[Any]:
    """Return encoded groups of random tokens with HH's lengths; the prompts are the same for any k."""
    from rewarddiff.encoded import Encoded
    from rewarddiff.records import Group

    rng = random.Random(0)
    lengths = rows.lengths(rows.PROMPT_TOKENS, prompts, rng)
    questions = [tuple(rng.choices(range(3, VOCABULARY), k=length)) for length in lengths]
    answers = rows.lengths(rows.RESPONSE_TOKENS, prompts * responses, rng)
    encoded = []
    for number, question in enumerate(questions):
        texts = tuple(map(str, range(responses)))
        scores = tuple(map(float, rng.sample(range(responses), responses)))
        sizes = answers[number * responses : (number + 1) * responses]
        tokens = [tuple(rng.choices(range(3, VOCABULARY), k=size)) for size in sizes]
        encoded.append(Encoded(Group(str(number), "", texts, scores), question, tuple(tokens)))
    return encoded


def small_model() -> Any:
    """Return a random decoder of 4 million weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=2048,
    )
    return LlamaForCausalLM(config)


def run(way: str, responses: int, steps: int = STEPS) -> Figures:
    """Measure optimizer steps of RRHF on so many responses a prompt, after a short one that warms up."""
    import torch

    from benchmarks.contest import Task
    from benchmarks.machine import memory_bytes, reset_peak
    from benchmarks.rrhf import LISTS, train_rows, train_trees

    torch.set_num_threads(1)
    task = Task("", Path(), "fp32")
    model = small_model()
    train = train_trees if way == "trees" else train_rows
    groups = lists(responses, LISTS * steps)
    train(model, groups[:1], task)
    gc.collect()
    resident = reset_peak()
    start = time.process_time()
    _, losses, _ = train(model, groups, task)
    seconds = time.process_time() - start
    return {
        "responses": responses,
        "cpu_seconds": seconds / steps,
        "peak_bytes": memory_bytes("VmHWM") - resident,
        "losses": losses,
    }


def of_responses(counts: Sequence[int]) -> dict[str, list[Figures]]:
    """Measure both ways at so many responses a prompt each, and see that they compute the same."""
    measured: dict[str, list[Figures]] = {way: [] for way in WAYS}
    for count in counts:
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.scaling", "--one", way, str(count)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            figures = json.loads(done.stdout.splitlines()[-1])
            measured[way].append(figures)
            seconds, memory = figures["cpu_seconds"], figures["peak_bytes"]
            say(f"{count} responses, {way}: {seconds:.2f} s a step, {memory / 1e6:.0f} MB")
        require_same(*(measured[way][-1].pop("losses") for way in WAYS))
    return measured


def require_same(trees: Sequence[float], padded: Sequence[float]) -> None:
    """Refuse figures of two ways that did not compute the same losses.

    Raises:
        RuntimeError: losses differ.
    """
    for one, other in zip(trees, padded, strict=True):
        if not abs(one - other) <= TOLERANCE * abs(other):
            raise RuntimeError(f"trees and rows have different losses: {one}, {other}")


def slopes(measured: Figures) -> dict[str, float]:
    """Return the slopes of every line that is drawn: over all of it, and between its last two points."""
    by_rows = measured["rows"]
    drawn = {
        "seconds by rows": [(f["rows"], f["cpu_seconds"]) for f in by_rows],
        "memory by rows": [(f["rows"], f["anonymous_bytes"]) for f in by_rows],
    }
    prompt, response = mean_lengths()
    for way, figures in measured["responses"].items():
        seconds = []
        memory = []
        tokens = []
        for f in figures:
            k = f["responses"]
            seconds.append((k, f["cpu_seconds"]))
            memory.append((k, f["peak_bytes"]))
            tokens.append((k, prompt + k * response if way == "trees" else k * (prompt + response)))
        drawn[f"seconds by responses, {way}"] = seconds
        drawn[f"memory by responses, {way}"] = memory
        drawn[f"tokens by responses, {way}, without padding"] = tokens
    fitted = {}
    for name, points in drawn.items():
        fitted[name] = slope(points)
        fitted[f"{name}, at the end"] = slope(points[-2:])
    return fitted


def mean_lengths() -> tuple[float, float]:
    """Return the mean length of a prompt and of a response, tokens."""
    n = 1000
    rng = random.Random(0)
    tables = (rows.PROMPT_TOKENS, rows.RESPONSE_TOKENS)
    prompt, response = (sum(rows.lengths(table, n, rng)) / n for table in tables)
    return prompt, response


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--responses", type=int, nargs="+", default=RESPONSES)
    parser.add_argument("--output", type=Path, default=RESULTS, help="a file for the figures")
    parser.add_argument("--images", type=Path, default=IMAGES, help="a folder for the pictures")
    parser.add_argument("--draw", action="store_true", help="draw what --output holds")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        way, count = given.one
        print(json.dumps(run(way, int(count))))
        return
    if not given.draw:
        given.output.write_text(json.dumps(measure(given.rows, given.responses), indent=2) + "\n")
    from benchmarks.scaling_chart import draw_all

    measured = json.loads(given.output.read_text())
    for path in draw_all(measured, given.images):
        say(f"written: {path}")
    for name, value in slopes(measured).items():
        print(f"slope {value:.2f}  {name}")


def measure(row_counts: Sequence[int], response_counts: Sequence[int]) -> Figures:
    """Return all figures, with the machine they are of."""
    from benchmarks import machine

    with tempfile.TemporaryDirectory() as folder:
        by_rows = of_rows(row_counts, Path(folder))
    measured: Figures = {"rows": by_rows, "responses": of_responses(response_counts)}
    described = machine.describe()
    return {"schema": 1, "machine": described, **measured, "slopes": slopes(measured)}


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
