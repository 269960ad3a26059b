"""The figures that `eval` prints: a line each, and beside each what simple scorers would get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewarddiff.writing import figure, printable

PARTS = ("subset", "domain", "aspect")
RANGE = ("low", "high", *PARTS)
"""What says which part of the data the other figures are of."""
NOT_SHOWN = ("histogram", "baselines", "trained_on")
"""Parts that are in the files alone, or shown in another place."""


def beside_baselines(figures: Mapping[str, Any]) -> list[str]:
    """Return a scorer's figures, a line each, beside those of one that knows length, or nothing."""
    baselines = {
        name: _by_name(results)
        for name, results in figures["baselines"].items()
        if name != "longer_wins"
    }
    rows = [["", "", *baselines]]
    for name, text in _by_name(figures).items():
        rows.append([name, text, *(baseline.get(name, "") for baseline in baselines.values())])
    return _aligned(rows)


def interval(value: Mapping[str, Any]) -> str:
    """Return a value with its interval, and its number of observations where there is one."""
    low, high = _number(value["low"]), _number(value["high"])
    text = f"{_number(value['value'])} [{low}, {high}]"
    return f"{text} n={value['n']}" if "n" in value else text


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def _by_name(results: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return the figures and intervals among results that are known, by name.

    Args:
        before: what names begin with.
    """
    texts: dict[str, str] = {}
    for key, value in results.items():
        name = before + key
        if isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys():
            if value["value"] is not None:
                texts[name] = interval(value)
        elif isinstance(value, Mapping) and key not in NOT_SHOWN:
            texts |= _by_name(value, f"{name} ")
        elif isinstance(value, list):
            for part in value:
                if isinstance(part, Mapping):
                    texts |= _of_part(part, before if "domain" in part else f"{name} ")
        elif isinstance(value, (int, float)):
            texts[name] = figure(value, ".6g")
    return texts


def _of_part(part: Mapping[str, Any], before: str) -> dict[str, str]:
    """Return the figures of one part of the data; its accuracy goes by the part's name alone."""
    figures = {key: value for key, value in part.items() if key not in RANGE}
    texts = _by_name(figures, f"{before}{_part_name(part)} ")
    return {name.removesuffix(" accuracy"): text for name, text in texts.items()}


def _part_name(part: Mapping[str, Any]) -> str:
    for name in PARTS:
        if name in part:
            return str(part[name])
    low, high = part["low"], part["high"]
    if high is None:
        return f"≥{figure(low, 'g')}"
    if low == high:
        return figure(low, "g")
    return f"{figure(low, 'g')}–{figure(high, 'g')}"


def _number(value: float | None) -> str:
    return "–" if value is None else figure(value, ".4g")
