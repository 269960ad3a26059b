"""The objective of scorers that read two responses together: the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rewarddiff.devices import to_device
from rewarddiff.hashing import number
from rewarddiff.loop.objective import LossOutput
from rewarddiff.losses import scoring
from rewarddiff.records import Comparison
from rewarddiff.scorers.neural import heads
from rewarddiff.scorers.neural.config import JointHead
from rewarddiff.scorers.neural.items import ScorerItem
from rewarddiff.scorers.neural.objectives.base import Batch, ScorerObjective, total


class DifferenceObjective(ScorerObjective):
    """L_main + λ1·L_duplication + λ2·L_reverse.

    L_main is the loss of the difference oriented by the label, by default −log σ: of the one order
    that is drawn for a pair, with `orders` both the mean over the two, or with average that of
    their mean d̄. "main" among the metrics is what λ1 and λ2 are to be chosen by, on dev data: the
    whole loss always favours small ones.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        assert isinstance(self.config.head, JointHead)
        self.head = self.config.head

    def collect(self, batch: Batch, item: ScorerItem) -> list[tuple[int, ...]]:
        """Add the item's readings to the batch.

        Returns:
            Per comparison, the places of the first reading, of the other order (or −1), of one
            response twice (or −1), and whether the first reading has the chosen response first.
        """
        texts = self.module.texts
        page = item.page
        reads_backward = self.head.orders != "one" or self.head.reverse > 0
        places: list[tuple[int, ...]] = []
        for comparison in item.comparisons:
            draw = self._draw(item, comparison)
            first, second = comparison.chosen, comparison.rejected
            if draw & 1:
                first, second = second, first
            forward = batch.add(texts.reading(page, first, second))
            backward = same = -1
            if reads_backward:
                backward = batch.add(texts.reading(page, second, first))
            if self.head.duplication > 0:
                twice = comparison.chosen if draw & 2 else comparison.rejected
                same = batch.add(texts.reading(page, twice, twice))
            places.append((forward, backward, same, int(first == comparison.chosen)))
        return places

    def loss(self, module: nn.Module, items: Sequence[ScorerItem]) -> LossOutput:
        head = self.head
        batch = Batch()
        places = torch.tensor(self.places(batch, items))
        d = heads.cut(module(batch.readings), 1)[..., 0]  # (readings, heads)
        forward, backward, same, chosen_first = to_device(places, d.device).T
        sign = 2.0 * chosen_first[:, None] - 1.0
        oriented = [sign * d[forward]]
        if head.orders != "one":
            oriented.append(-sign * d[backward])
        mean = torch.stack(oriented).mean(0)
        losses = self._main(items, oriented, mean)
        metrics = {**self.metrics(items, mean), "main": total(self.shared(items, losses))}
        if head.duplication > 0:
            duplication = scoring.duplication(d[same], kind=head.regulariser)
            losses = losses + head.duplication * duplication
            metrics["duplication"] = total(self.shared(items, duplication))
        if head.reverse > 0:
            reverse = scoring.reverse(d[forward], d[backward], kind=head.regulariser)
            losses = losses + head.reverse * reverse
            metrics["reverse"] = total(self.shared(items, reverse))
        return LossOutput(self.shared(items, losses).sum(), metrics)

    def _main(
        self, items: Sequence[ScorerItem], oriented: Sequence[Tensor], mean: Tensor
    ) -> Tensor:
        """Return L_main of every head, (comparisons, heads)."""
        trained = [mean] if self.head.orders == "average" else oriented
        return torch.stack([self.losses(items, gap) for gap in trained]).mean(0)

    def _draw(self, item: ScorerItem, comparison: Comparison) -> int:
        """Draw two bits, the same in every epoch and however the data is cut."""
        text = f"{self.seed}/{item.id}/{comparison.chosen}/{comparison.rejected}"
        return number(text, bits=8)
