"""What the figures of all parts come to: ratios, a projection, and the goals beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Line = dict[str, Any]

HH_PAIRS = 76_000
"""Pairs in an epoch of HH, helpful and harmless: what the projection is for."""

GOALS = {
    "mfu": ("at least", 0.45),
    "times_trl": ("at least", 2.0),
    "times_packing": ("at least", 1.3),
    "hours_of_an_epoch_of_hh": ("at most", 2.0),
}
"""Of DPO with the largest model; set before anything was measured."""

PEERS = {"times_trl": ("dpo", "trl-dpo"), "times_packing": ("dpo", "dpo-packed")}
MORE = {
    "times_blocks": ("dpo", "dpo-blocks"),
    "compiled_times_dpo": ("dpo-compiled", "dpo"),
    "reward_times_trl": ("reward", "trl-reward"),
}


def summary(lines: Sequence[Line]) -> dict[str, Line]:
    """Return ratios of groups a second and the projection, by model size."""
    done = {line["part"]: line for line in lines if "groups_per_second" in line}
    sizes = dict.fromkeys(name.split("/")[0] for name in done)
    return {size: _of_size(size, done) for size in sizes}


def _of_size(size: str, done: dict[str, Line]) -> Line:
    figures: Line = {}
    for name, (ours, theirs) in {**PEERS, **MORE}.items():
        if {f"{size}/{ours}", f"{size}/{theirs}"} <= done.keys():
            rate = done[f"{size}/{ours}"]["groups_per_second"]
            figures[name] = rate / done[f"{size}/{theirs}"]["groups_per_second"]
    dpo = done.get(f"{size}/dpo")
    if dpo is not None:
        figures["mfu"] = dpo["mfu"]
        figures["hours_of_an_epoch_of_hh"] = projected_hours(
            dpo["groups_per_second"], dpo["notes"]["reference_groups_per_second"]
        )
    return figures


def projected_hours(trained: float, read: float, pairs: int = HH_PAIRS) -> float:
    """Return the hours of an epoch of DPO with coefficients, from pairs a second.

    Every pair is trained on once, read once by the reference, and read once by a scorer of the same
    size, which is taken to be as fast as the reference.

    Example: 20 pairs a second trained and 80 read: 1/20 + 2/80 = 0.075 s a pair.
        >>> projected_hours(20.0, 80.0, pairs=48_000)
        1.0
    """
    return pairs * (1 / trained + 2 / read) / 3600


def outcome_line(line: Line) -> str:
    """Return what a part measured, as a script reads it."""
    name = line["part"]
    if line["status"] != "done":
        return f"gpu {name} {line['status']}: {line['why']}"
    if "groups_per_second" not in line:
        shown = {
            key: value for key, value in line.items() if key not in ("part", "status", "warnings")
        }
        return f"gpu {name} {shown}"
    of_machine = line["of_matmul_rate"]
    share = "" if of_machine is None else f" of_matmul={of_machine:.1%}"
    return (
        f"gpu {name} groups/s={line['groups_per_second']:.4g} "
        f"tokens/s={line['tokens_per_second']:.4g} mfu={line['mfu']:.1%}{share} "
        f"peak={line['peak_bytes'] / 2**30:.1f}GiB"
    )


def summary_lines(figures: dict[str, Line]) -> list[str]:
    """Return a line for every ratio, with the goal where there is one."""
    lines = []
    for size, of_size in figures.items():
        for name, value in of_size.items():
            goal = ""
            if name in GOALS and size == "8b":
                bound, number = GOALS[name]
                goal = f" goal: {bound} {number:g}"
            lines.append(f"gpu {size} {name}={value:.3g}{goal}")
    return lines
