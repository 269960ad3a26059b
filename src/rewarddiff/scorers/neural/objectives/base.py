"""What the training loop trains: gaps of a reward model, or differences, under one of
`scorers.losses`.

Groups become items once, before training; ties teach most losses nothing and are then left out, and
counted.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rewarddiff.chat_template import TemplateRefused
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.errors import UserError
from rewarddiff.loop.objective import LossOutput, TrainConfig
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural import heads
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.losses import BatchMargin, Context, Gaps, Grades, Loss
from rewarddiff.scorers.neural.readers import Reader
from rewarddiff.scorers.neural.texts import Page, Reading

Metrics = dict[str, tuple[float, float]]
"""Sums and counts, see `LossOutput`."""

SHAPE = ("margin_std", "margin_skew", "margin_kurtosis")
"""Names of the metrics that say how gaps are distributed; paper B's figures (arXiv 2404.04932)."""


@dataclass(frozen=True)
class ScorerItem:
    """Comparisons of one group.

    Attributes:
        tokens: what its readings take.
        shares: of every comparison, what it counts in each head's part of the loss.
    """

    id: str
    page: Page
    comparisons: tuple[Comparison, ...]
    shares: tuple[tuple[float, ...], ...]
    tokens: int = 0


class Batch:
    """Readings collected for one forward pass, equal ones once."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self._index: dict[Reading, int] = {}

    def add(self, reading: Reading) -> int:
        """Where its value will stand."""
        place = self._index.setdefault(reading, len(self.readings))
        if place == len(self.readings):
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
        reader.learned = nn.ParameterDict(config.loss.parameters(self.grades))

    def items(
        self, groups: Iterable[Group], ledger: Ledger, *, resample: bool = False
    ) -> list[ScorerItem]:
        """Groups as items; what is cut, tied or dropped goes into the ledger.

        Args:
            resample: whether each of several heads is given its own resample of the comparisons, as
                in training.
        """
        return [
            item
            for group in groups
            for item in self._items(group, ledger, self.seed if resample else None)
        ]

    def size(self, item: ScorerItem) -> int:
        return item.tokens

    def count(self, item: ScorerItem) -> float:
        return len(item.comparisons)

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        head = self.module.head_parameters()
        known = {id(p) for p in head}
        body = [p for p in self.module.parameters() if p.requires_grad and id(p) not in known]
        return [
            {"params": body, "lr": config.lr},
            {"params": head, "lr": config.head_lr or config.lr},
        ]

    @property
    def probes(self) -> bool:
        loss = self.config.loss
        return isinstance(loss, BatchMargin) and loss.scope != "device"

    def probe(self, module: nn.Module, items: Sequence[ScorerItem]) -> list[list[float]]:
        """The gaps of every item."""
        raise NotImplementedError

    def begin(
        self, items: Sequence[ScorerItem], probed: Sequence[Sequence[float]], *, training: bool
    ) -> None:
        assert isinstance(self.config.loss, BatchMargin)
        gaps = [gap for own in probed for gap in own]
        self.context = self.config.loss.context(gaps, self.state, training=training)

    def summary(self, means: dict[str, float], counts: dict[str, float]) -> dict[str, float]:
        """Moments of the gap as its standard deviation, skewness and excess kurtosis."""
        raw = [means[f"margin^{k}"] for k in (2, 3, 4)]
        kept = {name: value for name, value in means.items() if not name.startswith("margin^")}
        return kept | dict(
            zip(SHAPE, shape(means["margin"], *raw, n=counts["margin"]), strict=True)
        )

    def learned(self) -> dict[str, list[float]]:
        """What the loss learned beside the model."""
        return self.config.loss.told(self.grades, dict(self.module.learned))

    def gaps(self, items: Sequence[ScorerItem], gap: Tensor) -> Gaps:
        """What the loss is given: the comparisons of the items with their gaps."""
        strengths = [
            math.nan if c.strength is None else c.strength
            for item in items
            for c in item.comparisons
        ]
        loss, context = self.config.loss, self.context
        if isinstance(loss, BatchMargin) and loss.scope == "device":
            context = loss.context(gap.detach().tolist(), {}, training=False)
        return Gaps(gap, gap.new_tensor(strengths), self.grades, dict(self.module.learned), context)

    def losses(self, items: Sequence[ScorerItem], gap: Tensor) -> Tensor:
        """Every head's loss by itself: (comparisons, heads) from gaps of that shape."""
        return torch.stack(
            [self.config.loss.losses(self.gaps(items, own)) for own in gap.unbind(1)], 1
        )

    def shared(self, items: Sequence[ScorerItem], losses: Tensor) -> Tensor:
        """What every comparison counts: the losses of the heads, (comparisons, heads), by its
        shares in them."""
        return (losses.new_tensor([own for item in items for own in item.shares]) * losses).sum(1)

    def seen(self, items: Sequence[ScorerItem], values: Tensor) -> Tensor:
        """What the log tells of values of the heads, (comparisons, heads): their mean, or that of
        its own aspect."""
        return (
            self.shared(items, values.detach()) if self.config.aspects else values.detach().mean(1)
        )

    def metrics(self, items: Sequence[ScorerItem], gap: Tensor) -> Metrics:
        """What the log tells of gaps, (comparisons, heads)."""
        gaps = self.gaps(items, self.seen(items, gap))
        decided = gaps.strength != 0
        found = _moments(gaps.gap.double()[decided])
        for name, own in self._aspects(items).items():
            found[f"accuracy/{name}"] = _moments(
                gaps.gap.double()[decided & own.to(decided.device)]
            )["accuracy"]
        return found | {name: (value, 1.0) for name, value in gaps.context.shares.items()}

    def _aspects(self, items: Sequence[ScorerItem]) -> dict[str, Tensor]:
        """Of every aspect, which comparisons train it."""
        shares = torch.tensor([own for item in items for own in item.shares])
        return dict(zip(self.config.aspects, shares.T > 0, strict=False))

    def collect(self, batch: Batch, item: ScorerItem) -> list[tuple[int, ...]]:
        """Add what the item's loss needs to the batch; per comparison, where the values will
        stand."""
        raise NotImplementedError

    def loss(self, module: nn.Module, items: Sequence[ScorerItem]) -> LossOutput:
        raise NotImplementedError

    def _items(self, group: Group, ledger: Ledger, seed: int | None) -> list[ScorerItem]:
        if not self.config.learns_from(group.subset):
            ledger.change(Reason.NO_ASPECT, group, f"part '{group.subset}' trains no head")
            ledger.keep()
            return []
        known, loss = list(group.known_comparisons()), self.config.loss
        check_strengths([group], loss)
        decided = [c for c in known if loss.keeps_ties(self.grades) or not c.tie]
        if len(decided) < len(known) or not known:
            detail = f"{len(known) - len(decided)} ties are not trained on"
            ledger.change(Reason.NO_ORDER, group, detail)
        try:
            page = self.module.texts.page(group)
        except TemplateRefused as error:
            ledger.drop(Reason.TEMPLATE_REFUSED, group, error.cause)
            return []
        if left_out := self.module.texts.left_out(group.prompt):
            ledger.change(Reason.TOOLS_LEFT_OUT, group, left_out)
        kept, cut = self._distinct(page, decided)
        for part, reason in (("prompt", Reason.PROMPT_CUT), ("response", Reason.RESPONSE_CUT)):
            if part in cut:
                ledger.change(
                    reason,
                    group,
                    "beyond the length limits or the model's context",
                )
        if decided and not kept:
            ledger.drop(
                Reason.IDENTICAL_AFTER_TRUNCATION,
                group,
                "alike in what the model reads",
            )
            return []
        if len(kept) < len(decided):
            detail = f"{len(decided) - len(kept)} of {len(decided)} comparisons left out"
            ledger.change(Reason.IDENTICAL_AFTER_TRUNCATION, group, detail)
        ledger.keep()
        size = self.config.item_comparisons
        if len(kept) > size:
            random.Random(f"{self.seed}/{group.id}").shuffle(kept)
        parts = [kept[k : k + size] for k in range(0, len(kept), size)]
        return [self._item(group, page, part, seed) for part in parts]

    def _item(
        self, group: Group, page: Page, comparisons: Sequence[Comparison], seed: int | None
    ) -> ScorerItem:
        shares = tuple(heads.shares(self.config, group, c, seed=seed) for c in comparisons)
        item, batch = ScorerItem(group.id, page, tuple(comparisons), shares), Batch()
        self.collect(batch, item)
        return replace(item, tokens=self.module.cost(batch.readings))

    def _distinct(
        self, page: Page, comparisons: Sequence[Comparison]
    ) -> tuple[list[Comparison], set[str]]:
        """Comparisons whose two responses still differ where the model reads them, and which parts
        lost tokens."""
        texts, cut, kept = self.module.texts, set(page.cut), []
        for c in comparisons:
            shown: tuple[tuple[int, ...], ...] = ((c.chosen,), (c.rejected,))
            if texts.joint:
                shown = ((c.chosen, c.rejected), (c.rejected, c.chosen))
            cut.update(*(texts.cut(page, *responses) for responses in shown))
            first, second = (texts.reading(page, *responses) for responses in shown)
            if first != second:
                kept.append(c)
        return kept, cut


def check_strengths(groups: Iterable[Group], loss: Loss) -> None:
    """Raise UserError where the data gives only the order and the loss needs to know by how
    much."""
    for group in groups if loss.needs else ():
        if any(c.strength is None for c in group.known_comparisons()):
            place = group.source or group.id
            raise UserError(
                f"{place}: loss {loss.name} needs strengths, and the data gives only the order; use loss bradley-terry"
            )


def shape(
    first: float, second: float, third: float, fourth: float, *, n: float
) -> tuple[float, float, float]:
    """Standard deviation, skewness and excess kurtosis from the means of x, x², x³, x⁴ over n
    values.

    NaN where the values are too few to have a shape: one has no deviation, two are always
    symmetrical, and the kurtosis of three is always −1.5. Skewness and kurtosis are NaN also where
    all x are alike.

    >>> shape(0.5, 0.5, 0.5, 0.5, n=4)  # of 0, 0, 1 and 1
    (0.5, 0.0, -2.0)
    """
    if not n >= 2:
        return math.nan, math.nan, math.nan
    variance = second - first**2
    if not variance > 1e-12 * second:
        return (math.nan if math.isnan(first) else 0.0), math.nan, math.nan
    cubed = third - 3 * first * second + 2 * first**3
    fourfold = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    skewness = cubed / variance**1.5 if n >= 3 else math.nan
    kurtosis = fourfold / variance**2 - 3 if n >= 4 else math.nan
    return math.sqrt(variance), skewness, kurtosis


def _moments(decided: Tensor) -> Metrics:
    """Accuracy (a gap of 0 counts one half) and moments of the gaps that have a better response."""
    found = {"accuracy": total((decided.sign() + 1) / 2), "margin": total(decided)}
    return found | {f"margin^{k}": total(decided**k) for k in (2, 3, 4)}


def total(values: Tensor) -> tuple[float, float]:
    """A metric: the sum of these values, and how many they are."""
    return values.detach().double().sum().item(), len(values)
