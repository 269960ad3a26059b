"""A plan for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rewarddiff.pipeline.planning.costs import Planned
from rewarddiff.pipeline.planning.machines import GPU_EFFICIENCY
from rewarddiff.pipeline.planning.plan import Plan
from rewarddiff.report.cells import Cell, Table, filled, texts
from rewarddiff.report.text import terminal_page
from rewarddiff.report.values import DASH
from rewarddiff.writing import counted

if TYPE_CHECKING:
    from rich.console import Group

COLUMNS = ("stage", "tokens", "FLOP", "memory", "time", "disk", "calls", "price")
UNITS = ("", "k", "M", "G", "T", "P", "E", "Z")


STARTING = (
    "Times are those of the work alone: starting comes on top, importing libraries, loading models, "
    "and on a GPU building its kernels."
)


def plan_table(plan: Plan) -> Group:
    """Return a plan as one rich renderable: the sum, what it rests on, and a line for each stage."""
    rows = [_row(stage) for stage in plan.stages]
    columns, rows_with_figures = filled(COLUMNS, rows)
    table = Table(f"Plan of {plan.name}", columns, rows_with_figures, lesser=("disk", "FLOP"))
    return terminal_page(verdict(plan), remarks(plan), [table])


def verdict(plan: Plan) -> str:
    """Say what is left of a recipe takes."""
    left = plan.left
    if not left:
        return f"{plan.name}: every stage is done."
    seconds = sum(stage.seconds for stage in left)
    peaks = [stage.memory.total for stage in left if stage.memory is not None]
    peak = f", {size(max(peaks))} at its peak" if peaks else ""
    done = len(plan.stages) - len(left)
    so_far = f" ({done} of {len(plan.stages)} stages are done)" if done else ""
    projected = "" if plan.device.is_measured else ", projected"
    return f"{plan.name} on {plan.device.name}: {duration(seconds)}{peak}{projected}{so_far}."


def remarks(plan: Plan) -> list[str]:
    """Say what the figures rest on, and where room is short."""
    device = plan.device
    reading = "tokens are counted on all of them"
    if plan.sampled is not None:
        reading = f"tokens are scaled up from {plan.sampled:,} prompts of a split"
    rates = ", ".join(f"{rate / 1e12:.3g} TFLOP/s in {name}" for name, rate in device.rates.items())
    how = f"as published; {100 * GPU_EFFICIENCY:.0f} % of that is taken to be reached"
    if device.is_measured:
        how = "measured just now"
    lines = [f"{counted(plan.prompts, 'prompt')}; {reading}. Products: {rates}, {how}."]
    if plan.left:
        lines.append(STARTING)
        if not device.is_gpu:
            lines.append("Memory is above the half GiB that Python and its libraries take.")
    if device.memory is not None:
        lines.append(f"Free memory: {size(device.memory)}{' on each' * (device.count > 1)}.")
        short = [s for s in plan.left if s.memory and s.memory.total > device.memory]
        lines += [f"No room: {s.folder} needs {size(s.memory.total)}." for s in short if s.memory]
    kept = max((stage.checkpoint for stage in plan.left), default=0.0)
    if kept:
        lines.append(f"While training, checkpoints take up to {size(kept)} of disk beside it.")
    return lines


def _row(stage: Planned) -> tuple[Cell, ...]:
    if stage.done:
        return texts(stage.folder, DASH, DASH, DASH, "done", DASH, DASH, DASH)
    calls = stage.calls
    return texts(
        stage.folder,
        si(stage.tokens) if stage.tokens else DASH,
        si(stage.operations) if stage.operations else DASH,
        size(stage.memory.total) if stage.memory is not None else DASH,
        duration(stage.seconds) if stage.seconds else DASH,
        size(stage.disk) if stage.disk else DASH,
        f"{calls.calls:,}" if calls.calls else DASH,
        DASH if calls.price is None else f"{calls.price:,.2f}",
    )


def si(value: float) -> str:
    """Return a number with two digits and a unit's prefix.

    >>> si(999), si(12_345), si(1.26e15)
    ('999', '12k', '1.3P')
    """
    place = 0
    while value >= 999.5 and place < len(UNITS) - 1:
        value /= 1000
        place += 1
    digits = 1 if value < 9.95 and place else 0
    return f"{value:.{digits}f}{UNITS[place]}"


def size(count: float) -> str:
    """Return bytes as MiB or GiB."""
    if count < 2**30:
        return f"{count / 2**20:,.0f} MiB"
    return f"{count / 2**30:,.1f} GiB"


def duration(seconds: float) -> str:
    """Return a time to about two digits.

    >>> duration(0.2), duration(75), duration(5000), duration(200_000)
    ('under 1 s', '75 s', '83 min', '56 h')
    """
    if math.isnan(seconds):
        return "not known"
    if seconds < 1:
        return "under 1 s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.0f} h"
