"""What a contestant is given and returns, who runs when, and how two are compared. No torch.

Each run of a contestant is a process of its own, so that no run inherits memory, caches or threads
of another.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Literal, TypeVar

Precision = Literal["fp32", "bf16"]
"""fp32: float32 throughout. bf16: only the forward pass, under bfloat16 autocast."""

BATCH = 8
"""Pairs per optimizer step."""

# For both sides, TRL's defaults where it has one. Linear decay to 0 without warm-up, one epoch, rows
# in the given order.
LEARNING_RATE = 1e-6
BETA = 0.1
WEIGHT_DECAY = 0.0
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Task:
    """What one run is given.

    Attributes:
        model: its folder, or its hub name.
        rows: a JSON Lines file.
        precompute: reference log-probabilities before training instead of within each step (a
            peer's choice).
        way: which of its ways a contestant takes that has several.
    """

    model: str
    rows: Path
    precision: Precision
    precompute: bool = False
    way: str = ""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What every run measures."""

    seconds: float
    model_bytes: int
    peak_bytes: int

    @property
    def bytes_above_model(self) -> int:
        return self.peak_bytes - self.model_bytes


@dataclass(frozen=True, kw_only=True)
class Outcome(Measured):
    """What one run over pairs returns; the first optimizer step is left out (see `counted`).

    Attributes:
        losses: of every step, the first included, where the contest compares them.
        cpu_seconds: of all threads, in the same time; 0 where not measured. On a machine that others
            use, seconds are not a contestant's own.
    """

    pairs: int
    prompt_tokens: int
    response_tokens: int
    losses: tuple[float, ...] = ()
    cpu_seconds: float = 0.0

    @property
    def pairs_per_second(self) -> float:
        return self.pairs / self.seconds

    def __str__(self) -> str:
        above = self.bytes_above_model / 2**30
        told = f"{self.pairs_per_second:.3f} pairs/s, {above:.2f} GiB above the model"
        if self.cpu_seconds:
            told += f", {self.cpu_seconds / self.pairs:.1f} processor seconds a pair"
        return told


@dataclass(frozen=True, kw_only=True)
class GroupOutcome(Measured):
    """What one run over groups of responses returns; only its memory counts the warm-up.

    Attributes:
        tokens: that went through the model, padding included.
        values: what was computed, for a comparison: the differences or scores read, or the loss of
            every step.
    """

    groups: int
    tokens: int
    values: tuple[float, ...]

    @property
    def groups_per_second(self) -> float:
        return self.groups / self.seconds

    @property
    def seconds_per_group(self) -> float:
        return self.seconds / self.groups

    def __str__(self) -> str:
        tokens = self.tokens / self.groups
        return f"{self.seconds_per_group:.3f} s and {tokens:.0f} tokens a group"


AnyOutcome = TypeVar("AnyOutcome", Outcome, GroupOutcome)


def counted(
    step_ends: Sequence[float], step_pairs: Sequence[int], reference_seconds: float
) -> tuple[int, float]:
    """Return pairs and seconds after the first optimizer step.

    That step warms up kernels, caches and the optimizer's state. A reference pass made before
    training covers all pairs; the counted ones are charged their share of it.

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
            "need the ends and pairs of at least two steps, "
            f"got {len(step_ends)} and {len(step_pairs)}"
        )
    if any(later <= earlier for earlier, later in pairwise(step_ends)):
        raise ValueError("step ends must rise")
    pairs = sum(step_pairs[1:])
    reference_share = reference_seconds * pairs / sum(step_pairs)
    return pairs, step_ends[-1] - step_ends[0] + reference_share


def steps_of(rows: int, batch: int = BATCH) -> list[int]:
    """Return the pairs of each optimizer step of one epoch: 20 rows are steps of 8, 8 and 4."""
    return [min(batch, rows - start) for start in range(0, rows, batch)]


def serve(run: Callable[[Task], Measured]) -> None:
    """Do what a contestant's process does: read the task, run it, write the outcome.

    The command line is the task as JSON, and the file for the outcome.
    """
    given, path = sys.argv[1:]
    fields = json.loads(given)
    task = Task(**{**fields, "rows": Path(fields["rows"])})
    Path(path).write_text(json.dumps(asdict(run(task))), encoding="utf-8")


def execute(command: Sequence[str], threads: int) -> None:
    """Run a command quietly, with so many threads, from the root of the project.

    Raises:
        RuntimeError: it failed; the end of its log is in the message.
    """
    environment = {
        **os.environ,
        "TQDM_DISABLE": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    root = Path(__file__).parents[1]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
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
        given = json.dumps(asdict(task), default=str)
        execute([sys.executable, "-m", module, given, str(path)], threads)
        return returns(**json.loads(path.read_text(encoding="utf-8")))


def take_turns(
    contestants: Mapping[str, tuple[str, Task]],
    returns: type[AnyOutcome],
    *,
    rounds: int,
    threads: int,
    title: str,
    require_same: Callable[[Mapping[str, AnyOutcome]], None],
) -> dict[str, list[AnyOutcome]]:
    """Run every contestant once a round, so that a slow spell of the machine falls on all of them.

    Args:
        contestants: name → its module, and its task.
        require_same: raises where the outcomes of a round are not of the same work.
    """
    outcomes: dict[str, list[AnyOutcome]] = {name: [] for name in contestants}
    for turn in range(1, rounds + 1):
        for name, (module, task) in contestants.items():
            outcome = run(module, task, threads, returns)
            outcomes[name].append(outcome)
            say(f"{title} round {turn}/{rounds} {name}: {outcome}")
        require_same({name: runs[-1] for name, runs in outcomes.items()})
    return outcomes


def say(message: str) -> None:
    """Tell who watches how far the contest is."""
    print(message, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Comparison:
    """One figure of two contestants.

    Attributes:
        ours, peer: medians over the rounds.
        ratio: the median of `ratios`, each round's own.
    """

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str
    ratios: tuple[float, ...]

    def line(self) -> str:
        """Return the figures as scripts read them."""
        figures = f"ours={self.ours:.4g} peer={self.peer:.4g} ratio={self.ratio:.3g}"
        return f"bench {self.name} {figures} unit={self.unit}"


def compare(name: str, unit: str, ours: Sequence[float], peer: Sequence[float]) -> Comparison:
    """Compare two contestants, one value a round each, in the order of the rounds."""
    ratios = tuple(a / b for a, b in zip(ours, peer, strict=True))
    return Comparison(name, median(ours), median(peer), median(ratios), unit, ratios)


def comparisons(
    precision: Precision, ours: Sequence[Outcome], peers: Mapping[str, Sequence[Outcome]]
) -> list[Comparison]:
    """Compare speed and memory of this project with each peer's."""
    figures = []
    for peer, theirs in peers.items():
        name = f"dpo-{precision}-{peer}"
        speeds = [[run.pairs_per_second for run in runs] for runs in (ours, theirs)]
        memory = [[run.bytes_above_model for run in runs] for runs in (ours, theirs)]
        figures.append(compare(name, "pairs/s", *speeds))
        figures.append(compare(f"{name}-memory", "bytes-above-model", *memory))
    return figures


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


def require_same_values(a: GroupOutcome, b: GroupOutcome, tolerance: float) -> None:
    """Refuse a contest whose contestants did not compute the same.

    Raises:
        RuntimeError: groups differ, or values by more than `tolerance` of their size (root mean
            square).
    """
    if a.groups != b.groups or len(a.values) != len(b.values):
        raise RuntimeError(
            f"contestants computed different values: {len(a.values)} and {len(b.values)} of them"
        )
    size = math.sqrt(sum(value**2 for value in a.values))
    gap = math.dist(a.values, b.values)
    if not gap <= tolerance * size:
        raise RuntimeError(f"contestants computed different values: {gap:.1e} apart, of {size:.1e}")
