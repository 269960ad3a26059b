"""The contests on groups of responses: which ways run, and which of them are compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contest, rrhf, scoring
from benchmarks.contest import Comparison, GroupOutcome, Precision, Task, compare
from benchmarks.groups import Lengths, make_groups, write_groups

Outcomes = Mapping[str, Sequence[GroupOutcome]]

TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.1}
"""How far apart two ways may compute the same values, of their size: rounding adds up over the
layers."""


@dataclass(frozen=True)
class Contest:
    """Ways of one module to do the same work.

    Attributes:
        groups: how many are made, by precision; `few` for a quick run.
        same: pairs of ways that must compute the same values.
        compare: the figures of all rounds, from a name's beginning.
    """

    module: str
    ways: tuple[str, ...]
    groups: Mapping[Precision, int]
    few: int
    same: tuple[tuple[str, str], ...]
    compare: Callable[[str, Outcomes], list[Comparison]]


def _differences(name: str, runs: Outcomes) -> list[Comparison]:
    speed = {way: [run.groups_per_second for run in own] for way, own in runs.items()}
    time = {way: [run.seconds_per_group for run in own] for way, own in runs.items()}
    ours, peer = "differences-trees", "differences-rows"
    return [
        compare(f"{name}-unshared", "groups/s", speed[ours], speed[peer]),
        compare(f"{name}-reward", "seconds/group", time[ours], time["reward-rows"]),
        compare(f"{name}-anchor", "seconds/group", time["anchor-trees"], time["reward-trees"]),
    ]


def _rrhf(name: str, runs: Outcomes) -> list[Comparison]:
    ours, peer = runs["trees"], runs["rows"]
    memory = [[run.bytes_above_model for run in own] for own in (ours, peer)]
    return [
        compare(
            f"{name}-rows",
            "groups/s",
            *([run.groups_per_second for run in own] for own in (ours, peer)),
        ),
        compare(f"{name}-rows-memory", "bytes-above-model", *memory),
    ]


CONTESTS = {
    "differences": Contest(
        "benchmarks.scoring",
        scoring.WAYS,
        {"bf16": 11, "fp32": 7},
        3,
        (("differences-trees", "differences-rows"), ("reward-trees", "reward-rows")),
        _differences,
    ),
    "rrhf": Contest(
        "benchmarks.rrhf", rrhf.WAYS, {"bf16": 16, "fp32": 12}, 8, (("trees", "rows"),), _rrhf
    ),
}


def contend(
    name: str,
    model: str,
    precision: Precision,
    lengths: Lengths,
    *,
    rounds: int,
    threads: int,
    quick: bool,
    say: Callable[[str], None],
) -> dict[str, list[GroupOutcome]]:
    """Every way once a round, alternately, so that a slow spell of the machine falls on all of
    them."""
    own = CONTESTS[name]
    outcomes: dict[str, list[GroupOutcome]] = {way: [] for way in own.ways}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "groups.jsonl"
        write_groups(make_groups(own.few if quick else own.groups[precision], lengths), path)
        for turn in range(rounds):
            for way in own.ways:
                task = Task(model, path, precision, way=way)
                outcome = contest.run(own.module, task, threads, GroupOutcome)
                outcomes[way].append(outcome)
                say(
                    f"{name} {precision} {lengths} round {turn + 1}/{rounds} {way}: {outcome.seconds_per_group:.3f} s "
                    f"and {outcome.tokens / outcome.groups:.0f} tokens a group"
                )
            for one, other in own.same:
                contest.require_same_values(
                    outcomes[one][-1], outcomes[other][-1], TOLERANCE[precision]
                )
    return outcomes
