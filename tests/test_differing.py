"""What differs is named; what a name would not tell is said in other words."""

from __future__ import annotations

from typing import Any

import pytest

from rewarddiff.differing import differing


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"a": 1, "b": {"c": [2]}}, {"a": 1, "b": {"c": [2]}}, ""),
        ({"lr": 0.1}, {"lr": 0.2}, "lr 0.1, now 0.2"),
        ({"b": {"c": 1, "d": 2}}, {"b": {"c": 1, "d": 3}}, "b.d 2, now 3"),
        ({"b": None}, {"b": {"r": 2}}, "b null, now {'r': 2}"),
        ({}, {"b": 1}, "b nothing, now 1"),
        ({"b": 1}, {}, "b 1, now nothing"),
        ({"k": "a" * 32}, {"k": "b" * 32}, "another k"),
        ({"b": {"k": "x" * 99}}, {"b": {"k": "y"}}, "another b.k"),
        ({"data": "a"}, {"data": "b"}, "other rows"),
        (
            {str(i): 0 for i in range(8)},
            {str(i): 1 for i in range(8)},
            "0 0, now 1, 1 0, now 1, 2 0, now 1, 3 0, now 1, 4 0, now 1, 5 0, now 1, and 2 more",
        ),
    ],
)
def test_in_words(before: dict[str, Any], now: dict[str, Any], said: str) -> None:
    assert differing(before, now, {"data": "other rows"}) == said
