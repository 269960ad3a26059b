"""What figures show: one value holds it, drawn for the page and written as rows for a file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from rewarddiff.report import gap_plots, plots
from rewarddiff.results import Histogram, Interval, RewardHistograms
from rewarddiff.writing import csv_line

Entry = str | float | int | None


@dataclass(frozen=True)
class Sheet:
    """The rows of a CSV file under a head; what is not known is left empty."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]

    def csv(self) -> str:
        """Return the file's text, as RFC 4180 has it but for plain line feeds."""
        lines = [csv_line(self.columns)]
        for row in self.rows:
            lines.append(csv_line(map(_known, row)))
        return "".join(lines)


def _known(entry: Entry) -> Entry:
    is_unknown = isinstance(entry, float) and not math.isfinite(entry)
    return None if is_unknown else entry


class Chart(Protocol):
    """One figure's content."""

    def svg(self, label: str) -> str:
        """Return the drawing, `label` for those who do not see it."""

    def sheet(self) -> Sheet:
        """Return all that is drawn."""


def _interval(interval: Interval) -> tuple[Entry, ...]:
    return interval.value, interval.low, interval.high, interval.n


INTERVAL = ("value", "low", "high", "n")


@dataclass(frozen=True)
class Differences:
    """A histogram of differences oriented by the label."""

    histogram: Histogram
    colour: str

    def svg(self, label: str) -> str:
        return plots.histogram(self.histogram, self.colour, label)

    def sheet(self) -> Sheet:
        bins = _bins(self.histogram.edges)
        rows = [(*ends, n) for ends, n in zip(bins, self.histogram.counts, strict=True)]
        return Sheet(("from", "to", "comparisons"), tuple(rows))


def _bins(edges: Sequence[float]) -> list[tuple[float, float]]:
    return list(pairwise(edges))


@dataclass(frozen=True)
class ChosenAndRejected:
    """The rewards of chosen and of rejected responses."""

    rewards: RewardHistograms

    def svg(self, label: str) -> str:
        return plots.two_histograms(self.rewards, label)

    def sheet(self) -> Sheet:
        rows = []
        counts = zip(self.rewards.chosen, self.rewards.rejected, strict=True)
        for ends, (chosen, rejected) in zip(_bins(self.rewards.edges), counts, strict=True):
            rows.append((*ends, chosen, rejected))
        return Sheet(("from", "to", "chosen", "rejected"), tuple(rows))


@dataclass(frozen=True)
class Ridges:
    """Histograms of several policies on one axis, and their means."""

    rows: Sequence[gap_plots.Ridge]
    colours: Mapping[str, str]
    axis: str

    def svg(self, label: str) -> str:
        return gap_plots.ridges(self.rows, self.colours, label, self.axis)

    def sheet(self) -> Sheet:
        rows: list[tuple[Entry, ...]] = []
        for name, histogram, _ in self.rows:
            bins = _bins(histogram.edges)
            rows += [(name, *ends, n) for ends, n in zip(bins, histogram.counts, strict=True)]
        return Sheet(("policy", "from", "to", "responses"), tuple(rows))


@dataclass(frozen=True)
class Accuracies:
    """Accuracy over ranges of something."""

    bins: Sequence[tuple[str, Interval]]
    colour: str
    axis: str

    def svg(self, label: str) -> str:
        return plots.accuracy_bars(self.bins, self.colour, label, self.axis)

    def sheet(self) -> Sheet:
        rows = [(name, *_interval(accuracy)) for name, accuracy in self.bins]
        return Sheet((self.axis, *INTERVAL), tuple(rows))


@dataclass(frozen=True)
class Curves:
    """Learning curves, a panel a metric."""

    panels: Sequence[plots.Panel]
    colour: str

    def svg(self, label: str) -> str:
        return plots.curves(self.panels, self.colour, label)

    def sheet(self) -> Sheet:
        rows: list[tuple[Entry, ...]] = []
        for metric, train, dev in self.panels:
            for split, lines in (("train", train), ("dev", dev)):
                for number, points in enumerate(lines):
                    rows += [(metric, split, number, *point) for point in points]
        return Sheet(("metric", "split", "line", "step", "value"), tuple(rows))


@dataclass(frozen=True)
class Dots:
    """Figures with intervals, a row each; hollow where they are no independent evidence."""

    rows: Sequence[plots.Dot]
    colours: Mapping[str, str]
    axis: str

    def svg(self, label: str) -> str:
        return plots.dots(self.rows, self.colours, label, self.axis)

    def sheet(self) -> Sheet:
        rows = []
        for name, interval, _, hollow in self.rows:
            rows.append((name, *_interval(interval), _yes(not hollow)))
        return Sheet(("name", *INTERVAL, "independent"), tuple(rows))


def _yes(value: bool) -> str:
    return "yes" if value else "no"


@dataclass(frozen=True)
class Forest:
    """Gaps with intervals on one axis, in groups under a name each, about a line at no gap."""

    panels: Sequence[gap_plots.ForestPanel]

    def svg(self, label: str) -> str:
        return gap_plots.forest(self.panels, label)

    def sheet(self) -> Sheet:
        rows: list[tuple[Entry, ...]] = []
        for panel in self.panels:
            for row in panel.rows:
                figures = _interval(row.interval)
                rows.append((panel.axis, row.group, row.name, *figures, _yes(not row.hollow)))
        return Sheet(("axis", "compared", "by", *INTERVAL, "independent"), tuple(rows))


@dataclass(frozen=True)
class Lines:
    """Figures with intervals along something; see `plots.lines`."""

    rows: Sequence[plots.Line]
    ticks: Sequence[tuple[float, str]]
    levels: Sequence[tuple[str, float]]
    colours: Mapping[str, str]
    axes: tuple[str, str]

    def svg(self, label: str) -> str:
        return plots.lines(self.rows, self.ticks, self.levels, self.colours, label, self.axes)

    def sheet(self) -> Sheet:
        places = dict(self.ticks)
        rows: list[tuple[Entry, ...]] = []
        for name, points, _ in self.rows:
            rows += [(name, places[x], *_interval(interval)) for x, interval in points]
        for name, height in self.levels:
            if name:
                rows.append((name, "everywhere", height, None, None, None))
        return Sheet(("line", self.axes[0], *INTERVAL), tuple(rows))


@dataclass(frozen=True)
class Spreads:
    """Quantiles and means, a row a name."""

    rows: Sequence[plots.Spread]
    colours: Mapping[str, str]
    axis: str

    def svg(self, label: str) -> str:
        return plots.spreads(self.rows, self.colours, label, self.axis)

    def sheet(self) -> Sheet:
        rows: list[tuple[Entry, ...]] = []
        for name, quantiles, mean in self.rows:
            rows.append((name, *quantiles, mean))
        return Sheet(("name", "5 %", "25 %", "50 %", "75 %", "95 %", "mean"), tuple(rows))


@dataclass(frozen=True)
class HeadToHead:
    """Shares of won, tied and lost prompts, a row a comparison."""

    rows: Sequence[gap_plots.Shares]

    def svg(self, label: str) -> str:
        return gap_plots.head_to_head(self.rows, label)

    def sheet(self) -> Sheet:
        rows: list[tuple[Entry, ...]] = []
        for name, shares in self.rows:
            for outcome, share in zip(("win", "tie", "lose"), shares, strict=True):
                rows.append((name, outcome, *_interval(share)))
        return Sheet(("compared", "outcome", *INTERVAL), tuple(rows))


@dataclass(frozen=True)
class Bars:
    """Lengths with what is written at their ends."""

    rows: Sequence[tuple[str, float, str]]
    columns: tuple[str, str]

    def svg(self, label: str) -> str:
        return plots.bars(self.rows, label)

    def sheet(self) -> Sheet:
        return Sheet(self.columns, tuple((name, length) for name, length, _ in self.rows))


def file_names(titles: Iterable[str]) -> list[str]:
    """Return file names of these titles: small letters, digits and hyphens, no two alike."""
    taken: set[str] = set()
    names = []
    for title in titles:
        name = _plain(title)
        number = 2
        while name in taken:
            name = f"{_plain(title)}-{number}"
            number += 1
        taken.add(name)
        names.append(name)
    return names


LONGEST = 60
"""Characters of a file's name that come from a title."""


def _plain(title: str) -> str:
    letters = [c if c.isascii() and c.isalnum() else " " for c in title.lower()]
    return "-".join("".join(letters).split())[:LONGEST].strip("-") or "figure"
