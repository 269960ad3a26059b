"""From groups to a trained scorer. The loop is handed in: scorers know nothing of how training
runs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from rewarddiff.data import prompt_hashes
from rewarddiff.data.ledger import Ledger
from rewarddiff.errors import TrainingError, UserError
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.records import Group
from rewarddiff.scorers.neural.backbones import reads_both_ways
from rewarddiff.scorers.neural.build import new_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.losses import Grades
from rewarddiff.scorers.neural.objectives import objective
from rewarddiff.scorers.neural.objectives.base import ScorerItem, ScorerObjective
from rewarddiff.scorers.neural.readers import RowReader
from rewarddiff.scorers.neural.scorer import Scorer
from rewarddiff.store import fingerprint


class Trained(Protocol):
    """`rewarddiff.loop.train.TrainResult`, as far as it matters here."""

    @property
    def steps(self) -> int: ...


Result = TypeVar("Result", bound=Trained, covariant=True)


class Loop(Protocol[Result]):
    """`rewarddiff.loop.train.train`."""

    def __call__(
        self,
        objective: Any,
        items: Sequence[Any],
        *,
        output: Path,
        config: TrainConfig,
        dev: Sequence[Any] = (),
        seed: int = 0,
        name: str = "training",
    ) -> Result: ...


def train_scorer(
    config: ScorerConfig,
    train: Sequence[Group],
    dev: Sequence[Group] = (),
    *,
    loop: Loop[Result],
    output: Path,
    seed: int = 0,
    ledger: Ledger | None = None,
    max_drop: float = 1.0,
    name: str | None = None,
) -> tuple[Scorer, Result]:
    """Train a scorer on the comparisons of `train`.

    Args:
        loop: `rewarddiff.loop.train.train`.
        output: where the loop writes its metrics and checkpoints; saving the scorer is the
            caller's.
        seed: of head, order of the data, dropout, and the orders in which pairs are read.
        ledger: counts the training groups (those of `dev` are not counted).
        max_drop: largest share of them that may be dropped.

    Returns:
        The scorer, and what the loop returned.

    Raises:
        UserError: too many groups were dropped, or the loss needs strengths and the data gives
            none.
        TrainingError: training diverged, so that nothing can be read with the scorer that came out.
    """
    scorer = new_scorer(config, seed=seed)
    _check_aspects(config, train)
    strengths, further = (_strengths(config, groups) for groups in (train, dev))
    if strengths and all(s == 0 for s in strengths):
        raise UserError(
            f"loss {config.loss.name} needs comparisons with a better response, the data has only ties"
        )
    config.loss.check(s for s in {*strengths, *further} if s)
    trained = objective(scorer.reader, config, grades=Grades.of(strengths), seed=seed)
    ledger = Ledger() if ledger is None else ledger
    items = trained.items(train, ledger, resample=True)
    ledger.enforce(max_drop)
    if config.comparisons is not None:
        items = _fewer(items, config.comparisons, seed)
    held_out = trained.items(dev, Ledger())
    name = name or f"{config.kind} model"
    result = loop(
        trained, items, output=output, config=config.train, dev=held_out, seed=seed, name=name
    )
    _check_reads(trained, items, name)
    scorer.trained, scorer.learned = result.steps > 0, trained.learned()
    scorer.reader.learned, scorer.reader.beside = nn.ParameterDict(), None
    trained_ids = {item.id for item in items}
    prompts = prompt_hashes(group for group in train if group.id in trained_ids)
    scorer.prompts = prompts | (
        scorer.prompts or frozenset()
    )  # those of the scorer that it started from
    pairs = [[(c.chosen, c.rejected) for c in item.comparisons] for item in items]
    scorer.data = fingerprint([(item.page.prompt, item.page.responses) for item in items], pairs)
    return scorer, result


LOOKED_AT = 64
"""Items that must all be without a difference before a scorer is said to tell nothing apart."""


def _check_reads(trained: ScorerObjective, items: Sequence[ScorerItem], name: str) -> None:
    """Raise a TrainingError where what came out of training is finite, and yet reads nothing any
    more."""
    cause = None
    if isinstance(trained.module, RowReader) and not reads_both_ways(trained.module.model):
        cause = "no token of the encoder sees another one"  # it would be taken for a decoder when it is loaded
    elif not _tells_apart(trained, items):
        cause = "all responses have the same score"
    if cause is not None:
        raise TrainingError(
            f"{name}: after training {cause}: training diverged, and the scorer is not saved; a lower lr may help"
        )


def _tells_apart(trained: ScorerObjective, items: Sequence[ScorerItem]) -> bool:
    """Whether any better response has another score than the worse one, as a rule of the first
    item; ties do not tell.

    True where the items have ties alone.
    """
    compared = 0.0
    for item in items[:LOOKED_AT]:
        with torch.no_grad():
            squares, pairs = trained.loss(trained.module, [item]).metrics["margin^2"]
        if 0 < squares < math.inf:
            return True
        compared += pairs
    return compared == 0


def _fewer(items: Sequence[ScorerItem], most: int, seed: int) -> list[ScorerItem]:
    """Items of at most so many comparisons in all (one at least), drawn by the seed, in their
    order."""
    order, drawn, held = list(range(len(items))), list[int](), 0
    random.Random(seed).shuffle(order)
    for i in order:
        held += len(items[i].comparisons)
        if drawn and held > most:
            break
        drawn.append(i)
    return [items[i] for i in sorted(drawn)]


def _strengths(config: ScorerConfig, groups: Sequence[Group]) -> list[float | None]:
    """Of every comparison that a head is trained on, where the loss reads them."""
    used = [group for group in groups if config.loss.needs and config.learns_from(group.subset)]
    return [c.strength for group in used for c in group.known_comparisons()]


def _check_aspects(config: ScorerConfig, train: Sequence[Group]) -> None:
    """Raise a UserError where there is nothing to train the head of an aspect on."""
    parts = {group.subset for group in train if any(not c.tie for c in group.known_comparisons())}
    for name in config.aspects:
        if name not in parts:
            known = ", ".join(sorted(parts - {""})) or "none"
            raise UserError(
                f"aspects: no comparison to train on is of part '{name}' (the data names: {known})"
            )
