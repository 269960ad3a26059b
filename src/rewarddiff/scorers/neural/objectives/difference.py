"""The objective of scorers that read two responses together: the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import nn

from rewarddiff.loop.objective import LossOutput
from rewarddiff.losses import scoring
from rewarddiff.records import Comparison
from rewarddiff.scorers.neural import heads
from rewarddiff.scorers.neural.objectives.base import Batch, ScorerItem, ScorerObjective, total


class DifferenceObjective(ScorerObjective):
    """L_main + λ1·L_duplication + λ2·L_reverse.

    L_main is the loss of the difference oriented by the label, by default −log σ: of the one order
    that is drawn for a pair, with `orders` both the mean over the two, or with average that of
    their mean d̄. "main" among the metrics is what λ1 and λ2 are to be chosen by, on dev data: the
    whole loss always favours small ones.
    """

    def collect(self, batch: Batch, item: ScorerItem) -> list[tuple[int, ...]]:
        """Per comparison: the first reading, the other order (or −1), one response twice (or −1),
        and the label.

        The label is 1 where the first reading has the chosen response first, else 0.
        """
        texts, config, page = self.module.texts, self.config, item.page
        twice = config.orders != "one" or config.reverse > 0
        places: list[tuple[int, ...]] = []
        for c in item.comparisons:
            draw = self._draw(item, c)
            first, second = (c.rejected, c.chosen) if draw & 1 else (c.chosen, c.rejected)
            same = c.chosen if draw & 2 else c.rejected
            places.append(
                (
                    batch.add(texts.reading(page, first, second)),
                    batch.add(texts.reading(page, second, first)) if twice else -1,
                    batch.add(texts.reading(page, same, same)) if config.duplication > 0 else -1,
                    int(first == c.chosen),
                )
            )
        return places

    def loss(self, module: nn.Module, items: Sequence[ScorerItem]) -> LossOutput:
        config, batch = self.config, Batch()
        places = torch.tensor([place for item in items for place in self.collect(batch, item)])
        d = heads.cut(module(batch.readings), 1)[..., 0]  # (readings, heads)
        forward, backward, same, first = places.to(d.device).T
        sign = 2.0 * first[:, None] - 1.0
        orders = (
            [sign * d[forward]]
            if config.orders == "one"
            else [sign * d[forward], -sign * d[backward]]
        )
        mean = torch.stack(orders).mean(0)
        trained = [mean] if config.orders == "average" else orders
        losses = torch.stack([self.losses(items, gap) for gap in trained]).mean(0)
        metrics = {**self.metrics(items, mean), "main": total(self.shared(items, losses))}
        if config.duplication > 0:
            duplication = scoring.duplication(d[same], kind=config.regulariser)
            losses = losses + config.duplication * duplication
            metrics["duplication"] = total(self.shared(items, duplication))
        if config.reverse > 0:
            reverse = scoring.reverse(d[forward], d[backward], kind=config.regulariser)
            losses = losses + config.reverse * reverse
            metrics["reverse"] = total(self.shared(items, reverse))
        return LossOutput(self.shared(items, losses).sum(), metrics)

    def _draw(self, item: ScorerItem, c: Comparison) -> int:
        """Two random bits, the same in every epoch and however the data is cut."""
        text = f"{self.seed}/{item.id}/{c.chosen}/{c.rejected}"
        return blake2b(text.encode(), digest_size=1).digest()[0]
