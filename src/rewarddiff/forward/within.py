"""Work on parts of a model, done as the model's own forward pass is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

Value = TypeVar("Value")

METHOD = "do_within"
"""What a model whose weights are divided over processes has (`loop.sharding.divide`). What lies outside
of its layers is whole only while this, or its forward, runs."""


def within(model: nn.Module, work: Callable[..., Value], *args: Any, **options: Any) -> Value:
    """Return `work(*args, **options)`, which calls parts of `model` instead of the model itself.

    Of a divided model all processes call this together.
    """
    do_within: Callable[..., Value] | None = getattr(model, METHOD, None)
    if do_within is None:
        return work(*args, **options)
    return do_within(work, *args, **options)
