"""From labelled groups to a trained scorer."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from rewarddiff.data.groups import digest_of
from rewarddiff.data.ledger import Ledger
from rewarddiff.errors import TrainingError, UserError
from rewarddiff.loop.items import Filed, FiledPart
from rewarddiff.loop.optimizers import widen
from rewarddiff.loop.train import TrainResult, train
from rewarddiff.records import Group
from rewarddiff.scorers.neural.backbones import reads_both_ways
from rewarddiff.scorers.neural.build import new_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.items import ScorerItem, ScorerTable
from rewarddiff.scorers.neural.losses import Grades
from rewarddiff.scorers.neural.objectives import objective
from rewarddiff.scorers.neural.objectives.base import ScorerObjective, item_table
from rewarddiff.scorers.neural.readers import RowReader
from rewarddiff.scorers.neural.scorer import NeuralScorer

CHECKED_ITEMS = 64
"""So many items without a single difference, and a scorer is said to tell nothing apart."""


def train_scorer(
    config: ScorerConfig,
    groups: Sequence[Group],
    dev: Sequence[Group] = (),
    *,
    output: Path,
    seed: int = 0,
    ledger: Ledger | None = None,
    max_drop: float = 1.0,
    name: str | None = None,
    cache: Path | None = None,
    made_from: object = None,
) -> tuple[NeuralScorer, TrainResult]:
    """Train a scorer on the comparisons of groups.

    Args:
        output: where metrics and checkpoints are written; saving the scorer is the caller's.
        seed: of head, order of the data, dropout, and the orders in which pairs are read.
        ledger: counts the training groups (those of `dev` are not counted).
        max_drop: largest share of them that may be dropped.
        name: of the progress line and of errors.
        cache: a folder in which the tokens of groups are kept and found again (default: in output).
        made_from: what determines the groups, as JSON can hold it (default: all that they hold).

    Raises:
        UserError: too many groups were dropped, or the loss needs strengths and the data gives
            none.
        TrainingError: training diverged, so that nothing can be read with the scorer that came out.
    """
    name = name or f"{config.kind} model"
    scorer = new_scorer(config, seed=seed)
    _check_aspects(config, groups)
    grades = _grades(config, groups, dev)
    trained = objective(scorer.reader, config, grades=grades, seed=seed)
    ledger = Ledger() if ledger is None else ledger
    if made_from is None:
        made_from = (digest_of(groups), digest_of(dev))
    tabled = partial(item_table, trained, cache=cache or output / "cache")
    table = tabled(groups, ledger, resample=True, made_from=("train", made_from))
    ledger.enforce(max_drop)
    items: Filed[ScorerItem] = table
    places: Sequence[int] = range(len(table))
    if config.comparisons is not None:
        places = _fewer(table, config.comparisons, seed)
        items = FiledPart(table, places)
    dev_items: Sequence[ScorerItem] = ()
    if dev:
        dev_items = tabled(dev, Ledger(), made_from=("dev", made_from))
    result = train(
        trained, items, output=output, config=config.train, dev=dev_items, seed=seed, name=name
    )
    if config.train.weights != "fp32":
        widen(scorer.reader)  # as it is read once it is saved and loaded again
    _check_reads(trained, items, name)
    scorer.trained = result.steps > 0
    _complete(scorer, trained)
    scorer.prompts = table.prompts(places) | (scorer.prompts or frozenset())
    scorer.data = items.digest()
    return scorer, result


def _complete(scorer: NeuralScorer, trained: ScorerObjective) -> None:
    """Let a scorer keep what its loss has learned; what training alone needs is no part of it."""
    scorer.learned = trained.learned()
    scorer.reader.learned = nn.ParameterDict()
    scorer.reader.beside = None


def _grades(config: ScorerConfig, groups: Sequence[Group], dev: Sequence[Group]) -> Grades:
    """Return the grades of the training data, after a check of all strengths that the loss reads.

    Raises:
        UserError: the loss cannot be trained on these strengths.
    """
    strengths = _strengths(config, groups)
    if strengths and all(strength == 0 for strength in strengths):
        raise UserError(
            f"loss {config.loss.name} needs comparisons with a better response, "
            "the data has only ties"
        )
    dev_strengths = _strengths(config, dev)
    config.loss.check(strength for strength in {*strengths, *dev_strengths} if strength)
    return Grades.of(strengths)


def _strengths(config: ScorerConfig, groups: Sequence[Group]) -> list[float | None]:
    """Return the strength of every comparison that trains a head; none where the loss reads none."""
    strengths: list[float | None] = []
    if not config.loss.needs:
        return strengths
    for group in groups:
        if config.learns_from(group.subset):
            strengths += [comparison.strength for comparison in group.known_comparisons()]
    return strengths


def _check_aspects(config: ScorerConfig, groups: Sequence[Group]) -> None:
    """Raise a UserError where there is nothing to train the head of an aspect on."""
    if not config.aspects:
        return
    compared = set()
    for group in groups:
        if any(not comparison.tie for comparison in group.known_comparisons()):
            compared.add(group.subset)
    for name in config.aspects:
        if name not in compared:
            parts = ", ".join(sorted(compared - {""})) or "none"
            raise UserError(
                f"aspects: no comparison to train on is of part '{name}' (the data names: {parts})"
            )


def _fewer(items: ScorerTable, most: int, seed: int) -> list[int]:
    """Draw items of at most so many comparisons in all (one item at least); return their places."""
    places = array("q", range(len(items)))
    random.Random(seed).shuffle(places)
    drawn: list[int] = []
    comparisons = 0
    for place in places:
        comparisons += items.comparisons(place)
        if drawn and comparisons > most:
            break
        drawn.append(place)
    return sorted(drawn)


def _check_reads(trained: ScorerObjective, items: Sequence[ScorerItem], name: str) -> None:
    """Raise a TrainingError where the weights are finite, and yet nothing is read with them."""
    reader = trained.module
    if isinstance(reader, RowReader) and not reads_both_ways(reader.model):
        # Loaded again it would be taken for a decoder.
        cause = "no token of the encoder sees another one"
    elif not _tells_apart(trained, items):
        cause = "all responses have the same score"
    else:
        return
    raise TrainingError(
        f"{name}: after training {cause}: training diverged, and the scorer is not saved; "
        "a lower lr may help"
    )


def _tells_apart(trained: ScorerObjective, items: Sequence[ScorerItem]) -> bool:
    """Whether any better response has another score than the worse one; True where all are ties.

    As a rule the first item tells.
    """
    comparisons = 0.0
    for item in items[:CHECKED_ITEMS]:
        with torch.no_grad():
            squares, decided = trained.loss(trained.module, [item]).metrics["margin^2"]
        if 0 < squares < math.inf:
            return True
        comparisons += decided
    return comparisons == 0
