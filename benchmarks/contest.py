"""What a contestant is given and returns, and how two of them are compared. No torch.

Each run of a contestant is a process of its own, so that no run inherits memory, caches or threads
of another.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Literal, TypeVar, get_args

Precision = Literal["fp32", "bf16"]
"""fp32: float32 throughout. bf16: float32 weights, gradients and optimizer, forward under bfloat16
autocast."""

BATCH = 8
"""Pairs per optimizer step."""

# Both sides: TRL's defaults where it has one. Linear decay to 0 without warm-up, one epoch, rows in
# the given order.
LEARNING_RATE = 1e-6
BETA = 0.1
WEIGHT_DECAY = 0.0
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Task:
    """What one run is given: a model's folder (or hub name), a JSON Lines file of rows, a
    precision."""

    model: str
    rows: Path
    precision: Precision
    precompute: bool = False
    """Reference log-probabilities before training instead of within each step (a peer's choice)."""
    way: str = ""
    """Which of its ways a contestant takes that has several."""


@dataclass(frozen=True)
class Outcome:
    """What one run returns. Pairs, seconds and tokens leave out the first optimizer step (see
    `counted`)."""

    pairs: int
    seconds: float
    prompt_tokens: int
    response_tokens: int
    model_bytes: int
    peak_bytes: int

    @property
    def pairs_per_second(self) -> float:
        return self.pairs / self.seconds

    @property
    def bytes_above_model(self) -> int:
        return self.peak_bytes - self.model_bytes


def counted(
    step_ends: Sequence[float], step_pairs: Sequence[int], reference_seconds: float
) -> tuple[int, float]:
    """Pairs and seconds after the first optimizer step, which warms up kernels, caches and the
    optimizer's state.

    A reference pass made before training covers all pairs; the counted ones are charged their share
    of it.

    Args:
        step_ends: clock at the end of each optimizer step, seconds.
        step_pairs: pairs of each step.
        reference_seconds: time of the reference pass over all pairs before training; 0 where steps
            contain it.

    Example: 16 pairs in 2 steps that ended at 10 s and 14 s, after a reference pass of 6 s: 8
        pairs, 4 + 6/2 s.
        >>> counted([10.0, 14.0], [8, 8], 6.0)
        (8, 7.0)
    """
    if len(step_ends) != len(step_pairs) or len(step_ends) < 2:
        raise ValueError(
            f"need the ends and pairs of at least two steps, got {len(step_ends)} and {len(step_pairs)}"
        )
    if any(b <= a for a, b in pairwise(step_ends)):
        raise ValueError("step ends must rise")
    pairs = sum(step_pairs[1:])
    return pairs, step_ends[-1] - step_ends[0] + reference_seconds * pairs / sum(step_pairs)


@dataclass(frozen=True)
class GroupOutcome:
    """What one run over groups of responses returns; what it did to warm up is left out of all but
    the memory.

    `tokens` went through the model, padding included. `values` are what was computed, for a
    comparison: the differences or scores read, or the loss of every step.
    """

    groups: int
    seconds: float
    tokens: int
    values: tuple[float, ...]
    model_bytes: int
    peak_bytes: int

    @property
    def groups_per_second(self) -> float:
        return self.groups / self.seconds

    @property
    def seconds_per_group(self) -> float:
        return self.seconds / self.groups

    @property
    def bytes_above_model(self) -> int:
        return self.peak_bytes - self.model_bytes


def steps_of(rows: int, batch: int = BATCH) -> list[int]:
    """Pairs of each optimizer step of one epoch: 20 rows are steps of 8, 8 and 4."""
    return [min(batch, rows - start) for start in range(0, rows, batch)]


AnyOutcome = TypeVar("AnyOutcome", Outcome, GroupOutcome)


def serve(run: Callable[[Task], Outcome] | Callable[[Task], GroupOutcome]) -> None:
    """The main function of a contestant's process: read the task from the command line, write the
    outcome."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--precision", choices=get_args(Precision), required=True)
    parser.add_argument("--precompute", action="store_true")
    parser.add_argument("--way", default="")
    parser.add_argument(
        "--outcome", type=Path, help="JSON file to write; standard output where absent"
    )
    given = parser.parse_args()
    outcome = run(Task(given.model, given.rows, given.precision, given.precompute, given.way))
    text = json.dumps(asdict(outcome))
    given.outcome.write_text(text, encoding="utf-8") if given.outcome else print(text)


def execute(command: Sequence[str], threads: int) -> None:
    """Run a command quietly, with so many threads, from the root of the project.

    Raises:
        RuntimeError: it failed; the end of its log is in the message.
    """
    quiet = {
        "TQDM_DISABLE": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    environment = {
        **os.environ,
        **quiet,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)} ended with status {done.returncode}\n{done.stderr[-4000:]}"
        )


def run(module: str, task: Task, threads: int, returns: type[AnyOutcome]) -> AnyOutcome:
    """Run a contestant in a fresh process.

    Args:
        returns: what it writes.

    Raises:
        RuntimeError: it failed; the end of its log is in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcome.json"
        command = [sys.executable, "-m", module, "--outcome", str(path)]
        command += ["--model", task.model, "--rows", str(task.rows), "--precision", task.precision]
        command += ["--precompute"] if task.precompute else []
        command += ["--way", task.way] if task.way else []
        execute(command, threads)
        return returns(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Comparison:
    """One figure of two contestants: medians over the rounds; the ratio is the median of the
    rounds' own ratios."""

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str
    ratios: tuple[float, ...]

    def line(self) -> str:
        """As scripts read it."""
        figures = f"ours={self.ours:.4g} peer={self.peer:.4g} ratio={self.ratio:.3g}"
        return f"bench {self.name} {figures} unit={self.unit}"


def compare(name: str, unit: str, ours: Sequence[float], peer: Sequence[float]) -> Comparison:
    """Compare two contestants, one value a round each, in the order of the rounds."""
    ratios = tuple(a / b for a, b in zip(ours, peer, strict=True))
    return Comparison(name, median(ours), median(peer), median(ratios), unit, ratios)


def comparisons(
    precision: Precision, ours: Sequence[Outcome], peers: Mapping[str, Sequence[Outcome]]
) -> list[Comparison]:
    """Speed and memory of this project against each peer."""
    return [
        comparison
        for peer, theirs in peers.items()
        for comparison in (
            compare(
                f"dpo-{precision}-{peer}",
                "pairs/s",
                [run.pairs_per_second for run in ours],
                [run.pairs_per_second for run in theirs],
            ),
            compare(
                f"dpo-{precision}-{peer}-memory",
                "bytes-above-model",
                [run.bytes_above_model for run in ours],
                [run.bytes_above_model for run in theirs],
            ),
        )
    ]


def require_same_tokens(outcomes: Mapping[str, Outcome], tolerance: float = 0.01) -> None:
    """Refuse a contest whose contestants did not read the same text.

    Raises:
        RuntimeError: pairs differ, or prompt or response tokens by more than `tolerance` of the
            largest.
    """
    for field in ("pairs", "prompt_tokens", "response_tokens"):
        counts = {name: getattr(outcome, field) for name, outcome in outcomes.items()}
        slack = 0 if field == "pairs" else tolerance * max(counts.values())
        if max(counts.values()) - min(counts.values()) > slack:
            raise RuntimeError(f"contestants read different rows: {field} {counts}")


def require_same_values(one: GroupOutcome, other: GroupOutcome, tolerance: float) -> None:
    """Refuse a contest whose contestants did not compute the same.

    Raises:
        RuntimeError: groups differ, or values by more than `tolerance` of their size (root mean
            square).
    """
    size = sum(value**2 for value in one.values)
    gap = sum((a - b) ** 2 for a, b in zip(one.values, other.values, strict=False))
    if (
        one.groups != other.groups
        or len(one.values) != len(other.values)
        or not gap <= tolerance**2 * size
    ):
        raise RuntimeError(
            f"contestants computed different values: {len(one.values)} and {len(other.values)} of them, "
            f"apart by {(gap / size) ** 0.5 if size else gap:.1e} of their size"
        )
