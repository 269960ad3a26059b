"""The figures that `eval` prints: a line each, and beside each what simple scorers would get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewarddiff.writing import figure, printable

PART_NAMES = ("subset", "domain", "aspect")
PART_KEYS = ("low", "high", *PART_NAMES)
"""Keys that say which part of the data the other figures are of."""
NOT_SHOWN = ("histogram", "baselines", "trained_on")
"""Parts that are in the files alone, or shown in another place."""


def beside_baselines(figures: Mapping[str, Any]) -> list[str]:
    """Return a scorer's figures, a line each, beside the figures of two baselines.

    One of them knows the lengths of responses alone, and the other one nothing.
    """
    baselines = {}
    for baseline in ("length", "constant"):
        baselines[baseline] = _texts_by_name(figures["baselines"][baseline])
    rows = [["", "", *baselines]]
    for name, text in _texts_by_name(figures).items():
        baseline_texts = [texts.get(name, "") for texts in baselines.values()]
        rows.append([name, text, *baseline_texts])
    return _aligned(rows)


def interval(value: Mapping[str, Any]) -> str:
    """Return a value with its interval, and its number of observations where there is one."""
    low, high = _number(value["low"]), _number(value["high"])
    text = f"{_number(value['value'])} [{low}, {high}]"
    return f"{text} n={value['n']}" if "n" in value else text


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[printable(cell) for cell in row] for row in rows]
    columns = zip(*cells, strict=True)
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = []
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines


def _texts_by_name(results: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the text of every figure that is known, by its name.

    Args:
        prefix: what names begin with.
    """
    texts: dict[str, str] = {}
    for key, value in results.items():
        name = prefix + key
        if key in NOT_SHOWN:
            continue
        if _is_interval(value):
            if value["value"] is not None:
                texts[name] = interval(value)
        elif isinstance(value, Mapping):
            texts |= _texts_by_name(value, f"{name} ")
        elif isinstance(value, list):
            for part in value:
                if isinstance(part, Mapping):
                    # The name of a domain says enough.
                    texts |= _of_part(part, prefix if "domain" in part else f"{name} ")
        elif isinstance(value, (int, float)):
            texts[name] = figure(value, ".6g")
    return texts


def _is_interval(value: Any) -> bool:
    return isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys()


def _of_part(part: Mapping[str, Any], prefix: str) -> dict[str, str]:
    """Return the figures of one part of the data; its accuracy goes by the part's name alone."""
    figures = {key: value for key, value in part.items() if key not in PART_KEYS}
    texts = _texts_by_name(figures, f"{prefix}{_part_name(part)} ")
    return {name.removesuffix(" accuracy"): text for name, text in texts.items()}


def _part_name(part: Mapping[str, Any]) -> str:
    for name in PART_NAMES:
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
