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
"""How far apart two ways' values may be, of their size: rounding adds up over the layers."""


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


def _differences(name: str, outcomes: Outcomes) -> list[Comparison]:
    speed = {}
    time = {}
    for way, runs in outcomes.items():
        speed[way] = [run.groups_per_second for run in runs]
        time[way] = [run.seconds_per_group for run in runs]
    trees = "differences-trees"
    return [
        compare(f"{name}-unshared", "groups/s", speed[trees], speed["differences-rows"]),
        compare(f"{name}-reward", "seconds/group", time[trees], time["reward-rows"]),
        compare(f"{name}-anchor", "seconds/group", time["anchor-trees"], time["reward-trees"]),
    ]


def _rrhf(name: str, outcomes: Outcomes) -> list[Comparison]:
    sides = (outcomes["trees"], outcomes["rows"])
    speed = [[run.groups_per_second for run in runs] for runs in sides]
    memory = [[run.bytes_above_model for run in runs] for runs in sides]
    return [
        compare(f"{name}-rows", "groups/s", *speed),
        compare(f"{name}-rows-memory", "bytes-above-model", *memory),
    ]


CONTESTS = {
    "differences": Contest(
        module="benchmarks.scoring",
        ways=scoring.WAYS,
        groups={"bf16": 11, "fp32": 7},
        few=3,
        same=(("differences-trees", "differences-rows"), ("reward-trees", "reward-rows")),
        compare=_differences,
    ),
    "rrhf": Contest(
        module="benchmarks.rrhf",
        ways=rrhf.WAYS,
        groups={"bf16": 16, "fp32": 12},
        few=8,
        same=(("trees", "rows"),),
        compare=_rrhf,
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
) -> dict[str, list[GroupOutcome]]:
    """Run every way of a contest once a round."""
    asked = CONTESTS[name]

    def require_same(outcomes: Mapping[str, GroupOutcome]) -> None:
        for a, b in asked.same:
            contest.require_same_values(outcomes[a], outcomes[b], TOLERANCE[precision])

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "groups.jsonl"
        count = asked.few if quick else asked.groups[precision]
        write_groups(make_groups(count, lengths), path)
        return contest.take_turns(
            {way: (asked.module, Task(model, path, precision, way=way)) for way in asked.ways},
            GroupOutcome,
            rounds=rounds,
            threads=threads,
            title=f"{name} {precision} {lengths}",
            require_same=require_same,
        )
