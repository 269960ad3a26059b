"""Metrics of a training: exact means over all its parts, and the lines of metrics.jsonl."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from rewarddiff import files
from rewarddiff.processes import from_every_process
from rewarddiff.room import room_for
from rewarddiff.store import finite

BOOKKEEPING = ("step", "epoch", "split", "tokens", "seconds")
"""What a line of metrics holds besides the metrics."""

Line = dict[str, Any]
"""One line of metrics: of a step of training, or of an evaluation on the dev set."""


class Sums:
    """Running (sum, count) per metric."""

    def __init__(self) -> None:
        self._totals: dict[str, tuple[float, float]] = {}

    def add(self, metrics: Mapping[str, tuple[float, float]]) -> None:
        """Add the sums and counts of a micro-batch."""
        for name, (value, count) in metrics.items():
            earlier_value, earlier_count = self._totals.get(name, (0.0, 0.0))
            self._totals[name] = (earlier_value + value, earlier_count + count)

    def means(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the mean of every metric over all processes, and what it is over.

        A mean of nothing is NaN.
        """
        names = sorted(set().union(*from_every_process(list(self._totals))))
        rows = [self._totals.get(name, (0.0, 0.0)) for name in names]
        totals = torch.tensor(from_every_process(rows), dtype=torch.float64).sum(0).tolist()
        means = {}
        counts = {}
        for name, (value, count) in zip(names, totals, strict=True):
            means[name] = value / count if count else math.nan
            counts[name] = count
        return means, counts


class MetricsFile:
    """The lines of a training, in memory and in a file that a later call goes on with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []

    def add(self, line: Line, *, write: bool) -> None:
        """Keep a line; `write` it too, which one process does for all."""
        self.lines.append(line)
        if write:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = _as_json(line)
            with room_for(self.path, len(text)), self.path.open("a") as file:
                file.write(text)

    def take_back(self, lines: Iterable[Line]) -> None:
        """Keep these lines and no others: those of the step that a training goes on from."""
        self.lines = [{k: math.nan if v is None else v for k, v in line.items()} for line in lines]

    def rewrite(self) -> None:
        """Let the file hold the lines that are kept, and no others; without a line no file is made."""
        if self.lines or self.path.exists():
            files.write_text(self.path, "".join(map(_as_json, self.lines)))

    def of_dev(self) -> list[Line]:
        """Return the lines of evaluations on the dev set."""
        return [line for line in self.lines if line["split"] == "dev"]

    def last_dev_metrics(self) -> dict[str, float]:
        """Return the metrics of the last evaluation on the dev set; empty where there was none."""
        lines = self.of_dev()
        if not lines:
            return {}
        return {name: value for name, value in lines[-1].items() if name not in BOOKKEEPING}


def _as_json(line: Line) -> str:
    return json.dumps(finite(line), allow_nan=False) + "\n"
