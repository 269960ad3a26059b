"""What is said of values: the same of those that act alike, and another thing of those that do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rewarddiff.loop.contents import contents

FACTOR = 2


@dataclass(frozen=True)
class Item:
    """An item as a user may write it."""

    id: str
    values: Any

    @cached_property
    def worked_out(self) -> int:
        return 1


class Counting:
    """An object with an attribute, and a method."""

    def __init__(self, by: int) -> None:
        self.by = by

    def count(self, text: str) -> int:
        return self.by * len(text)


def by_factor(text: str) -> int:
    return FACTOR * helped(text)


def helped(text: str) -> int:
    return len(text)


def times(factor: float) -> Callable[[str], float]:
    return lambda text: factor * len(text)


def layer(weight: float) -> nn.Module:
    module = nn.Linear(2, 2)
    nn.init.constant_(module.weight, weight)
    nn.init.zeros_(module.bias)
    return module


LONG = torch.zeros(5000)
CHANGED = torch.zeros(5000).index_fill(0, torch.tensor([2500]), 1.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            Item("a", LONG),
            Item("a", CHANGED),
        ),  # whose text forms are equal: they leave out the middle
        (Item("a", LONG.numpy()), Item("a", CHANGED.numpy())),
        (torch.tensor(0.123456789), torch.tensor(0.123456999)),  # and so are these: four digits
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (layer(0.5), layer(0.25)),
        (times(1.0), times(2.0)),
        (partial(by_factor, "a"), partial(by_factor, "b")),
        (Counting(1), Counting(2)),
        (Counting(1).count, Counting(2).count),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        ([1, "2"], [1, 2]),
        (("ab", "c"), ("a", "bc")),
        ([[1], 2], [1, [2]]),
        (1, True),
        (1, 1.0),
        (None, "None"),
        (lambda text: len(text), lambda text: len(text) + 1),
        (np.array(["a", None], dtype=object), np.array(["b", None], dtype=object)),
    ],
)
def test_what_differs_is_told_apart(one: object, other: object) -> None:
    assert contents(one) != contents(other)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Item("a", np.arange(3)),
        lambda: Item("é\ud800", [1, None, 2.5, "x"]),
        lambda: layer(0.5),
        lambda: times(3.0),
        lambda: partial(times, 3.0),
        lambda: Counting(3).count,
        lambda: {"b": {3, 1, 2}, "a": (object, len, print)},
        lambda: {f"k{i}" for i in range(50)},
        lambda: by_factor,
        lambda: torch.zeros(2, dtype=torch.bfloat16),
    ],
)
def test_what_is_made_alike_is_the_same(make: Callable[[], object]) -> None:
    assert contents(make()) == contents(make())


def test_what_was_worked_out_on_the_way_says_nothing() -> None:
    item, other = Item("a", 1), Item("a", 1)
    assert item.worked_out == 1
    assert contents(item) == contents(other)


def test_the_order_of_a_dictionary_says_nothing_and_that_of_a_list_does() -> None:
    assert contents({"a": 1, "b": 2}) == contents({"b": 2, "a": 1})
    assert contents([1, 2]) != contents([2, 1])


@pytest.mark.parametrize("name", ["FACTOR", "helped"])
def test_a_function_is_also_what_it_refers_to(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(by_factor)
    monkeypatch.setitem(globals(), name, 3 if name == "FACTOR" else by_factor)
    assert contents(by_factor) != before


def test_what_holds_itself_comes_to_an_end() -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    assert contents(circle) == contents(circle)
