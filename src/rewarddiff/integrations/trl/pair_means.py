"""The one place of TRL's DPO loss where pairs are averaged, opened for a weight on each.

TRL 1.16 works out the losses of all pairs and averages them in one method of 300 lines, and no
argument, hook or overridable method lies between the two. So that method is compiled once more from
its own source with one call exchanged: `per_sequence_loss.mean()` becomes
`self.pair_mean(per_sequence_loss)`. All else, metrics and every kind of loss included, is TRL's own.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from importlib import metadata
from typing import Any

from rewarddiff.errors import UserError

LOSSES = "per_sequence_loss"
MEAN = ast.unparse(ast.parse(f"{LOSSES}.mean()"))


class _PairMean(ast.NodeTransformer):
    """Exchanges the mean of the pairs' losses for a method's, and counts how often."""

    def __init__(self) -> None:
        self.exchanged = 0

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node) != MEAN:
            return self.generic_visit(node)
        self.exchanged += 1
        exchanged = ast.parse(f"self.pair_mean({LOSSES})", mode="eval").body
        return ast.copy_location(exchanged, node)


def with_pair_mean(trainer: type, name: str) -> Callable[..., Any]:
    """Return a trainer's method with the mean of the pairs' losses left to `self.pair_mean`.

    Raises:
        UserError: it does not average them in exactly one place.
    """
    try:
        method = getattr(trainer, name)
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (AttributeError, OSError):
        raise _unknown(trainer, f"{name} cannot be read") from None
    exchange = _PairMean()
    tree = ast.fix_missing_locations(exchange.visit(tree))
    if exchange.exchanged != 1:
        raise _unknown(trainer, f"{name} averages pairs in {exchange.exchanged} places, expected 1")
    # Tracebacks then point to TRL's own lines.
    ast.increment_lineno(tree, method.__code__.co_firstlineno - 1)
    names = dict(method.__globals__)
    exec(compile(tree, method.__code__.co_filename, "exec"), names)
    exchanged: Callable[..., Any] = names[name]
    return exchanged


def _unknown(trainer: type, what: str) -> UserError:
    version = metadata.version("trl")
    return UserError(
        f"trl {version}: {trainer.__name__}.{what}; install a version that is known here: "
        "pip install 'rewarddiff[trl]'"
    )
