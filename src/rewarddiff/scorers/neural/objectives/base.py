"""What the training loop trains: gaps of a reward model, or differences, under one of `losses`.

Groups become items once, before training; ties teach most losses nothing and are then left out, and
counted.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewarddiff.chat_template import TemplateRefused
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.data.split import prompt_hash
from rewarddiff.devices import on_device
from rewarddiff.errors import UserError
from rewarddiff.loop.filing import LAYOUT, filed
from rewarddiff.loop.objective import LossOutput, TrainConfig
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural import heads
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.items import ScorerItem, ScorerTable, write_items
from rewarddiff.scorers.neural.losses import BatchMargin, Context, Gaps, Grades, Loss
from rewarddiff.scorers.neural.readers import Reader
from rewarddiff.scorers.neural.texts import Page, Reading
from rewarddiff.store import fingerprint

Metrics = dict[str, tuple[float, float]]
"""Sums and counts, see `LossOutput`."""

SHAPE = ("margin_std", "margin_skew", "margin_kurtosis")
"""Names of the metrics that say how gaps are distributed; paper B's figures (arXiv 2404.04932)."""

POWERS = (2, 3, 4)
"""Of gaps, whose means these metrics are made of."""

Shown = tuple[int, ...]
"""The responses of a reading, in their order."""


class Batch:
    """Readings collected for one forward pass, equal ones once."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self._index: dict[Reading, int] = {}

    def add(self, reading: Reading) -> int:
        """Return the place where its value will stand."""
        place = self._index.setdefault(reading, len(self.readings))
        is_new = place == len(self.readings)
        if is_new:
            self.readings.append(reading)
        return place


class ScorerObjective:
    """Items, sizes and parameter groups; the loss is the subclasses' part.

    Args:
        grades: of the training data's strengths, for a loss that reads them.
        seed: decides which comparisons of a large group meet in an item, and for difference models
            which order and which duplicate of a pair is read.
    """

    def __init__(
        self, reader: Reader, config: ScorerConfig, *, grades: Grades | None = None, seed: int = 0
    ) -> None:
        self.module = reader
        self.config = config
        self.grades = grades or Grades()
        self.seed = seed
        self.state: dict[str, float] = {}
        self.context = Context()
        self.besides = {"grades": self.grades, "reading": reader.texts.fingerprint}
        reader.learned = nn.ParameterDict(config.loss.parameters(self.grades))

    def items(
        self, groups: Iterable[Group], ledger: Ledger, *, resample: bool = False
    ) -> list[ScorerItem]:
        """Return the items of `stream` in memory."""
        return list(self.stream(groups, ledger, resample=resample))

    def stream(
        self, groups: Iterable[Group], ledger: Ledger, *, resample: bool = False
    ) -> Iterator[ScorerItem]:
        """Make items of groups; what is cut, tied or dropped goes into the ledger.

        Args:
            resample: whether each of several heads is given its own resample of the comparisons, as
                in training.
        """
        seed = self.seed if resample else None
        for group in self.module.texts.read_ahead(groups):
            yield from self._items(group, ledger, seed)

    def size(self, item: ScorerItem) -> int:
        return item.tokens

    def count(self, item: ScorerItem) -> float:
        return len(item.comparisons)

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        head = self.module.head_parameters()
        head_ids = {id(parameter) for parameter in head}
        body = []
        for parameter in self.module.parameters():
            if parameter.requires_grad and id(parameter) not in head_ids:
                body.append(parameter)
        head_lr = config.lr if config.head_lr is None else config.head_lr
        return [{"params": body, "lr": config.lr}, {"params": head, "lr": head_lr}]

    @property
    def probes(self) -> bool:
        loss = self.config.loss
        return isinstance(loss, BatchMargin) and loss.scope != "device"

    def probe(self, module: nn.Module, items: Sequence[ScorerItem]) -> list[list[float]]:
        """Return the gaps of every item."""
        raise NotImplementedError

    def begin(
        self, items: Sequence[ScorerItem], probed: Sequence[Sequence[float]], *, training: bool
    ) -> None:
        assert isinstance(self.config.loss, BatchMargin)
        gaps = list(chain.from_iterable(probed))
        self.context = self.config.loss.context(gaps, self.state, training=training)

    def summary(self, means: dict[str, float], counts: dict[str, float]) -> dict[str, float]:
        """Show moments of the gap as its standard deviation, skewness and excess kurtosis."""
        kept = {name: value for name, value in means.items() if not name.startswith("margin^")}
        raw = [means["margin"], *(means[f"margin^{k}"] for k in POWERS)]
        moments = shape(*raw, n=counts["margin"])
        return kept | dict(zip(SHAPE, moments, strict=True))

    def learned(self) -> dict[str, list[float]]:
        """Return what the loss learned beside the model."""
        return self.config.loss.learned_values(self.grades, dict(self.module.learned))

    def losses(self, items: Sequence[ScorerItem], gap: Tensor) -> Tensor:
        """Return every head's loss by itself: (comparisons, heads) from gaps of that shape."""
        by_head = [self.config.loss.losses(self._gaps(items, of_head)) for of_head in gap.unbind(1)]
        return torch.stack(by_head, 1)

    def shared(self, items: Sequence[ScorerItem], losses: Tensor) -> Tensor:
        """Sum the losses of the heads, (comparisons, heads), by the comparisons' shares in them."""
        shares = on_device(_shares(items), dtype=losses.dtype, device=losses.device)
        return (shares * losses).sum(1)

    def seen(self, items: Sequence[ScorerItem], values: Tensor) -> Tensor:
        """Return what the log tells of values of the heads, (comparisons, heads).

        That is their mean, or the value of a comparison's own aspect.
        """
        if self.config.aspects:
            return self.shared(items, values.detach())
        return values.detach().mean(1)

    def metrics(self, items: Sequence[ScorerItem], gap: Tensor) -> Metrics:
        """Return what the log tells of gaps, (comparisons, heads)."""
        gaps = self._gaps(items, self.seen(items, gap).cpu())  # here a device is waited for
        values = gaps.gap.double()
        decided = gaps.strength != 0
        metrics = _moments(values[decided])
        if self.config.aspects:
            trains = torch.tensor(_shares(items)) > 0
            for place, name in enumerate(self.config.aspects):
                of_aspect = values[decided & trains[:, place]]
                metrics[f"accuracy/{name}"] = total(_right(of_aspect))
        for name, value in gaps.context.shares.items():
            metrics[name] = (value, 1.0)
        return metrics

    def collect(self, batch: Batch, item: ScorerItem) -> list[tuple[int, ...]]:
        """Add what the item's loss needs to the batch.

        Returns:
            Per comparison, where the values will stand.
        """
        raise NotImplementedError

    def places(self, batch: Batch, items: Sequence[ScorerItem]) -> list[tuple[int, ...]]:
        """Add what the loss of items needs to the batch: `collect` of all of them."""
        places: list[tuple[int, ...]] = []
        for item in items:
            places += self.collect(batch, item)
        return places

    def loss(self, module: nn.Module, items: Sequence[ScorerItem]) -> LossOutput:
        raise NotImplementedError

    def _gaps(self, items: Sequence[ScorerItem], gap: Tensor) -> Gaps:
        """Return what the loss is given: the comparisons of the items with their gaps."""
        strengths = []
        for item in items:
            for comparison in item.comparisons:
                strength = comparison.strength
                strengths.append(math.nan if strength is None else strength)
        loss = self.config.loss
        context = self.context
        if isinstance(loss, BatchMargin) and loss.scope == "device":
            context = loss.context(gap.detach().tolist(), {}, training=False)
        column = on_device(strengths, dtype=gap.dtype, device=gap.device)
        return Gaps(gap, column, self.grades, dict(self.module.learned), context)

    def _items(self, group: Group, ledger: Ledger, seed: int | None) -> list[ScorerItem]:
        if not self.config.learns_from(group.subset):
            detail = f"part '{group.subset}' trains no head"
            ledger.change(Reason.NO_ASPECT, group, detail)
            ledger.keep()
            return []
        comparisons = self._trainable(group, ledger)
        try:
            page = self.module.texts.page(group)
        except TemplateRefused as error:
            ledger.drop(Reason.TEMPLATE_REFUSED, group, error.cause)
            return []
        left_out = self.module.texts.left_out(group.prompt)
        if left_out:
            ledger.change(Reason.TOOLS_LEFT_OUT, group, left_out)
        kept = self._distinct(group, page, comparisons, ledger)
        if comparisons and not kept:
            detail = "alike in what the model reads"
            ledger.drop(Reason.IDENTICAL_AFTER_TRUNCATION, group, detail)
            return []
        if len(kept) < len(comparisons):
            detail = f"{len(comparisons) - len(kept)} of {len(comparisons)} comparisons left out"
            ledger.change(Reason.IDENTICAL_AFTER_TRUNCATION, group, detail)
        ledger.keep()
        size = self.config.item_comparisons
        if len(kept) > size:
            random.Random(f"{self.seed}/{group.id}").shuffle(kept)
        starts = range(0, len(kept), size)
        return [self._item(group, page, kept[start : start + size], seed) for start in starts]

    def _item(
        self, group: Group, page: Page, comparisons: Sequence[Comparison], seed: int | None
    ) -> ScorerItem:
        shares = tuple(heads.shares(self.config, group, c, seed=seed) for c in comparisons)
        prompt = prompt_hash(group)
        item = ScorerItem(group.id, page, tuple(comparisons), shares, prompt=prompt)
        batch = Batch()
        self.collect(batch, item)
        return replace(item, tokens=self.module.cost(batch.readings))

    def _trainable(self, group: Group, ledger: Ledger) -> list[Comparison]:
        """Return the comparisons that the loss learns from; ties that it does not are counted."""
        loss = self.config.loss
        check_strengths([group], loss)
        comparisons = list(group.known_comparisons())
        keeps_ties = loss.keeps_ties(self.grades)
        trainable = [c for c in comparisons if keeps_ties or not c.tie]
        if len(trainable) < len(comparisons) or not comparisons:
            detail = f"{len(comparisons) - len(trainable)} ties are not trained on"
            ledger.change(Reason.NO_ORDER, group, detail)
        return trainable

    def _distinct(
        self, group: Group, page: Page, comparisons: Sequence[Comparison], ledger: Ledger
    ) -> list[Comparison]:
        """Return the comparisons whose two responses still differ where the model reads them.

        Parts that lose tokens are counted.
        """
        texts = self.module.texts
        cut = set(page.cut)
        kept = []
        for comparison in comparisons:
            shown: tuple[Shown, Shown] = ((comparison.chosen,), (comparison.rejected,))
            if texts.joint:
                pair = (comparison.chosen, comparison.rejected)
                shown = (pair, pair[::-1])
            for responses in shown:
                cut |= texts.cut(page, *responses)
            first, second = (texts.reading(page, *responses) for responses in shown)
            if first != second:
                kept.append(comparison)
        detail = "beyond the length limits or the model's context"
        if "prompt" in cut:
            ledger.change(Reason.PROMPT_CUT, group, detail)
        if "response" in cut:
            ledger.change(Reason.RESPONSE_CUT, group, detail)
        return kept


def item_table(
    objective: ScorerObjective,
    groups: Iterable[Group],
    ledger: Ledger,
    *,
    cache: Path,
    made_from: object,
    resample: bool = False,
) -> ScorerTable:
    """Return the items of groups in files; arguments as of `ScorerObjective.stream`.

    Args:
        cache: a folder of tables, in which this one is found again.
        made_from: what determines the groups, as JSON can hold it: it names the table there,
            together with tokenizer, limits, and what the objective makes of groups.
    """
    reader = objective.module
    config = replace(objective.config, backbone="", warm_start=None, train=TrainConfig())
    made_by = (
        repr(config),
        repr(objective.grades),
        objective.seed,
        resample,
        type(reader).__name__,
    )
    key = fingerprint("scorer items", LAYOUT, made_by, reader.texts.fingerprint, made_from)

    def fill(folder: Path, counts: Ledger) -> None:
        items = objective.stream(groups, counts, resample=resample)
        write_items(items, folder, len(reader.texts.tokenizer))

    filled = filed(fill, ledger, cache / f"items-{key}")
    return ScorerTable(filled.folder)


def check_strengths(groups: Iterable[Group], loss: Loss) -> None:
    """Raise a UserError where the loss needs to know by how much and the data gives the order."""
    if not loss.needs:
        return
    for group in groups:
        if any(comparison.strength is None for comparison in group.known_comparisons()):
            raise UserError(
                f"{group.source or group.id}: loss {loss.name} needs strengths, and the data gives "
                "only the order; use loss bradley-terry"
            )


def shape(
    first: float, second: float, third: float, fourth: float, *, n: float
) -> tuple[float, float, float]:
    """Return standard deviation, skewness and excess kurtosis of n values.

    They follow from the means of x, x², x³ and x⁴. NaN where the values are too few to have a
    shape: one has no deviation, two are always symmetrical, and the kurtosis of three is always
    −1.5. Skewness and kurtosis are NaN also where all x are alike.

    >>> shape(0.5, 0.5, 0.5, 0.5, n=4)  # of 0, 0, 1 and 1
    (0.5, 0.0, -2.0)
    """
    if not n >= 2:
        return math.nan, math.nan, math.nan
    variance = second - first**2
    if not variance > 1e-12 * second:
        deviation = math.nan if math.isnan(first) else 0.0
        return deviation, math.nan, math.nan
    cubed = third - 3 * first * second + 2 * first**3
    fourfold = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    skewness = cubed / variance**1.5 if n >= 3 else math.nan
    kurtosis = fourfold / variance**2 - 3 if n >= 4 else math.nan
    return math.sqrt(variance), skewness, kurtosis


def total(values: Tensor) -> tuple[float, float]:
    """Return a metric: the sum of these values, and how many they are."""
    return values.detach().double().sum().item(), len(values)


def _moments(gaps: Tensor) -> Metrics:
    """Return accuracy and moments of the gaps that have a better response."""
    metrics = {"accuracy": total(_right(gaps)), "margin": total(gaps)}
    for power in POWERS:
        metrics[f"margin^{power}"] = total(gaps**power)
    return metrics


def _right(gaps: Tensor) -> Tensor:
    """Return 1 where the better response has the larger score, ½ where both have the same."""
    return (gaps.sign() + 1) / 2


def _shares(items: Sequence[ScorerItem]) -> list[tuple[float, ...]]:
    """Return the shares of all comparisons of items, one behind the other."""
    return list(chain.from_iterable(item.shares for item in items))
