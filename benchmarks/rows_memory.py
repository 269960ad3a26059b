"""Time and memory from a file of rows to the first step of a training, by the number of rows.

    python -m benchmarks.rows_memory --rows 2000 20000 --ways dpo reward

Rows are made, with HH's lengths, and no two are alike. Models are tiny, with the tokenizers of real
ones: what grows is the rows'. Each training runs in a process of its own, then again in another one
that finds what the first has kept. Memory is counted above what is resident once the model is
loaded: all of it at its peak (files that are mapped count, though the system may drop them), and
the anonymous part, which it may not.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import memory_bytes, reset_peak, touch
from benchmarks.rows import TURN, Row, make_rows

DIFFERENT = 10_000
"""Rows that are made; beyond them they come again, each time with another number in the prompt."""

WAYS = {"dpo": "smollm2-135m-instruct", "reward": "all-minilm-l6-v2"}
"""What is trained → the model whose tokenizer it reads with."""


def rows(count: int) -> Iterator[Row]:
    """Yield so many rows with HH's lengths, no two prompts alike."""
    made = make_rows(min(count, DIFFERENT))
    for number in range(count):
        row = made[number % len(made)]
        yield row._replace(prompt=row.prompt.replace(TURN, f"{TURN} {number}", 1))


def write(count: int, path: Path) -> Path:
    """Write rows as JSON Lines, unless they are there."""
    if not path.exists():
        with path.open("w", encoding="utf-8") as file:
            for row in rows(count):
                file.write(json.dumps(row._asdict()) + "\n")
    return path


def tiny_model(folder: Path, way: str) -> Path:
    """Save a model of two layers that reads as a real one's tokenizer writes."""
    from transformers import AutoTokenizer, BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

    from rewarddiff.models import resolve

    tokenizer = AutoTokenizer.from_pretrained(resolve(WAYS[way]))
    size = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if way == "dpo":
        model = LlamaForCausalLM(LlamaConfig(**size, max_position_embeddings=2048))
    else:
        model = BertModel(BertConfig(**size, max_position_embeddings=512))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class AnonymousPeak:
    """The most anonymous memory of this process, looked at every 10 ms: the system keeps no peak."""

    def __init__(self) -> None:
        self.start = self.peak = memory_bytes("RssAnon")
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> AnonymousPeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def above_start(self) -> int:
        return self.peak - self.start

    def _watch(self) -> None:
        while not self._is_over.wait(0.01):
            self.peak = max(self.peak, memory_bytes("RssAnon"))


class Clock:
    """Seconds of the wall clock and of the processors since the last look."""

    def __init__(self) -> None:
        self._wall, self._processors = time.perf_counter(), time.process_time()

    def lap(self) -> dict[str, float]:
        before = self._wall, self._processors
        self._wall, self._processors = time.perf_counter(), time.process_time()
        return {
            "seconds": round(self._wall - before[0], 2),
            "cpu_seconds": round(self._processors - before[1], 2),
        }


class FirstStep(Exception):
    """Raised where the second step would begin."""


def run(way: str, model: Path, path: Path, folder: Path) -> dict[str, Any]:
    """Read rows, and train until the first step is done."""
    import torch

    import rewarddiff as rd
    from rewarddiff import models
    from rewarddiff.loop import train as loop
    from rewarddiff.scorers.neural.build import new_scorer

    torch.set_num_threads(1)
    # Small batches: it is the memory of rows that is asked for, not that of a step.
    config = rd.TrainConfig(
        precision="fp32",
        max_steps=2,
        batch_size=2,
        microbatch_tokens=256,
        eval_every=None,
        save_every=0,
    )
    scorer_config = rd.ScorerConfig(kind="reward", backbone=str(model), train=config)
    if way == "dpo":
        touch(models.load_causal_lm(model)[0])
    else:
        touch(new_scorer(scorer_config, seed=0).reader)
    gc.collect()
    resident = reset_peak()
    original = loop._Run._step
    laps: dict[str, Any] = {}

    def until_the_first(self: Any, step: int) -> Any:
        if step:
            raise FirstStep
        laps["to_first_step"] = {**clock.lap(), "anonymous_bytes": anonymous.above_start}
        return original(self, step)

    loop._Run._step = until_the_first  # type: ignore[method-assign]
    with AnonymousPeak() as anonymous:
        clock = Clock()
        groups = rd.load_groups(path, cache=folder / "groups")
        laps["reading"] = clock.lap()
        laps["reading"]["anonymous_bytes"] = anonymous.above_start
        with reached_first_step():
            if way == "dpo":
                settings = rd.PolicyConfig(train=config)
                rd.train_policy(model, groups, output=folder / way, config=settings)
            else:
                rd.train_scorer(scorer_config, groups, output=folder / way)
        laps["first_step"] = clock.lap()
    return {
        "way": way,
        "rows": len(groups),
        **laps,
        "peak_bytes": memory_bytes("VmHWM") - resident,
        "anonymous_bytes": anonymous.above_start,
    }


def in_a_process(way: str, model: Path, path: Path, folder: Path) -> dict[str, Any]:
    """Return what `run` does in a process of its own."""
    places = [str(model), str(path), str(folder)]
    command = [sys.executable, "-m", "benchmarks.rows_memory", "--one", way, *places]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


@contextmanager
def reached_first_step() -> Iterator[None]:
    try:
        yield
    except FirstStep:
        return
    raise RuntimeError("the training ended before its second step")


def line(outcome: dict[str, Any]) -> str:
    reading, training = outcome["reading"], outcome["to_first_step"]
    return (
        f"{outcome['way']:7} {outcome['rows']:>9} rows  "
        f"reading {reading['seconds']:8.1f} s ({reading['cpu_seconds']:.1f} cpu)  "
        f"to the first step {training['seconds']:8.1f} s ({training['cpu_seconds']:.1f} cpu)  "
        f"above the model: anonymous {reading['anonymous_bytes'] / 1e6:.1f} MB while reading, "
        f"{training['anonymous_bytes'] / 1e6:.1f} before the first step, "
        f"{outcome['anonymous_bytes'] / 1e6:.1f} with it; "
        f"resident at its peak {outcome['peak_bytes'] / 1e6:.1f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument(
        "--folder", type=Path, help="for rows and caches (default: a temporary one)"
    )
    parser.add_argument("--output", type=Path, help="a file for the figures, as JSON")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        way, *places = given.one
        print(json.dumps(run(way, *map(Path, places))))
        return
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        for way in given.ways:
            model = tiny_model(folder / f"model-{way}", way)
            for count in given.rows:
                path = write(count, folder / f"rows-{count}.jsonl")
                for time_of in ("first", "second"):
                    outcome = in_a_process(way, model, path, folder / f"{way}-{count}")
                    outcomes.append({**outcome, "time": time_of})
                    print(f"{time_of:6} {line(outcome)}", flush=True)
    if given.output:
        given.output.write_text(json.dumps(outcomes, indent=1) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
