"""What was scored, in a few lines: figures over all windows that take no memory for each row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rewarddiff.chat_template import as_they_stand
from rewarddiff.data.ledger import Ledger
from rewarddiff.records import Group
from rewarddiff.scorers.overlap import count_trained_on
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.writing import counted, figure, percent

KEPT = 65_536
"""Numbers up to which quantiles are exact; of more, they are those of so many drawn at random."""

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass
class Distribution:
    """Numbers that went by: how many, their mean and standard deviation, and their quantiles."""

    count: int = 0
    _mean: float = 0.0
    _squares: float = 0.0
    _low: float = math.inf
    _high: float = -math.inf
    _kept: list[float] = field(default_factory=list)
    _draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add(self, numbers: Sequence[float]) -> None:
        for number in numbers:
            self.count += 1
            self._low = min(self._low, number)
            self._high = max(self._high, number)
            # Welford's way: sums of squares far from 0 would lose the digits that count.
            gap = number - self._mean
            self._mean += gap / self.count
            self._squares += gap * (number - self._mean)
            self._keep(number)

    def _keep(self, number: float) -> None:
        """Keep the number, or in the place of another one, so that all are kept alike often."""
        if len(self._kept) < KEPT:
            self._kept.append(number)
            return
        place = int(self._draw.integers(self.count))
        if place < KEPT:
            self._kept[place] = number

    @property
    def mean(self) -> float:
        return self._mean if self.count else math.nan

    @property
    def std(self) -> float:
        """The standard deviation of these numbers (population)."""
        return math.sqrt(self._squares / self.count) if self.count else math.nan

    @property
    def quantiles(self) -> dict[str, float]:
        """Quantiles by their share; the least and the greatest are always exact."""
        if not self.count:
            return {}
        values = dict(
            zip(map(str, QUANTILES), np.quantile(self._kept, QUANTILES).tolist(), strict=True)
        )
        return values | {"0.0": self._low, "1.0": self._high}

    def line(self) -> str:
        """Return the figures as a line of text."""
        quantiles = self.quantiles
        parts = []
        for name, label in (
            ("0.0", "min"), ("0.05", "5 %"), ("0.25", "25 %"), ("0.5", "50 %"),
            ("0.75", "75 %"), ("0.95", "95 %"), ("1.0", "max"),
        ):  # fmt: skip
            parts.append(f"{label} {figure(quantiles[name], '.3g')}")
        return f"mean {figure(self.mean, '.4g')}, sd {figure(self.std, '.3g')}; " + ", ".join(parts)


@dataclass
class Agreement:
    """Comparisons with an order that a scorer shares; responses it rates alike count a half.

    Attributes:
        equal_texts: comparisons that are left out, since both responses say the same.
    """

    compared: int = 0
    agreeing: float = 0.0
    equal_texts: int = 0

    def add(self, differences: Iterable[float]) -> None:
        """Count differences of comparisons, (chosen, rejected), that are no ties."""
        for d in differences:
            self.compared += 1
            self.agreeing += 0.5 if d == 0 else float(d > 0)

    def line(self) -> str:
        share = self.agreeing / self.compared
        line = f"{self.compared:,}, the scorer agrees with {percent(share)}"
        if self.equal_texts:
            line += f"; left out: {self.equal_texts:,} of equal texts"
        return line


@runtime_checkable
class TextReader(Protocol):
    """A scorer that makes tokens of texts, and tells what it did to them."""

    def cut(self, groups: Sequence[Group]) -> dict[str, int]:
        """Count the groups of which a `prompt` or a `response` is read in part."""
        ...

    def untemplated(self, groups: Sequence[Group]) -> int:
        """Count the groups whose prompt is read without the model's chat template."""
        ...


@dataclass
class Reading:
    """How a scorer read rows, where a user should know.

    Attributes:
        cut: rows of which a prompt or a response was read in part.
        untemplated: rows whose prompt is a text, though the model has a chat template.
        learned: rows of prompts that the scorer was trained on, where it agrees without being
            evidence; None where it is not known what it was trained on.
    """

    cut: dict[str, int] = field(default_factory=dict)
    untemplated: int = 0
    learned: int | None = 0

    @classmethod
    def of(cls, scorer: Scorer, groups: Sequence[Group]) -> Reading:
        """Return how a scorer reads these."""
        reading = cls(learned=count_trained_on(scorer, groups))
        if isinstance(scorer, TextReader):
            reading.cut = scorer.cut(groups)
            reading.untemplated = scorer.untemplated(groups)
        return reading

    def add(self, window: Mapping[str, Any]) -> None:
        """Count a window: the fields of its reading."""
        for part, count in window["cut"].items():
            self.cut[part] = self.cut.get(part, 0) + count
        self.untemplated += window["untemplated"]
        known = self.learned is not None and window["learned"] is not None
        self.learned = self.learned + window["learned"] if known else None

    def sentences(self) -> list[str]:
        """Return what is to be said of it."""
        sentences = []
        cut = [f"{counted(count, 'row')} a {part}" for part, count in self.cut.items() if count]
        if cut:
            sentences.append(f"Of {' and of '.join(cut)} was read in part: too long.")
        if self.untemplated:
            sentences.append(as_they_stand(self.untemplated, "row"))
        if self.learned:
            sentences.append(
                f"The scorer was trained on the prompts of {counted(self.learned, 'row')}: of these it may know "
                "no more than their labels."
            )
        return sentences

    def lines(self) -> list[str]:
        """Return the sentences as lines of a summary."""
        lines = []
        for place, sentence in enumerate(self.sentences()):
            label = "" if place else "reading"
            lines.append(f"{label:<13} {sentence}")
        return lines


def ledger_lines(name: str, ledger: Ledger, kept: str) -> list[str]:
    """Return how many were kept, and below it why others were not."""
    line = f"{name:<13} {ledger.total:,}, of which {ledger.kept:,} {kept}"
    return [line, *ledger.table().splitlines()[1:]]
