"""The objective of scorers that read each response by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rewarddiff.loop.objective import LossOutput
from rewarddiff.losses import grading, scoring
from rewarddiff.scorers.neural import heads
from rewarddiff.scorers.neural.objectives.base import Batch, ScorerItem, ScorerObjective, total


class RewardObjective(ScorerObjective):
    """The loss of r_w − r_l (of head general, of its d), by default −log σ. Each response of an
    item is read once."""

    def collect(self, batch: Batch, item: ScorerItem) -> list[tuple[int, ...]]:
        texts = self.module.texts
        return [
            (
                batch.add(texts.reading(item.page, c.chosen)),
                batch.add(texts.reading(item.page, c.rejected)),
            )
            for c in item.comparisons
        ]

    def probe(self, module: nn.Module, items: Sequence[ScorerItem]) -> list[list[float]]:
        chosen, rejected = self.read(module, items)
        values = iter(scoring.general_gap(chosen, rejected)[:, 0].tolist())
        return [[next(values) for _ in item.comparisons] for item in items]

    def loss(self, module: nn.Module, items: Sequence[ScorerItem]) -> LossOutput:
        chosen, rejected = self.read(module, items)
        gap, center = scoring.general_gap(chosen, rejected), self.config.loss.center
        losses = self.losses(items, gap)
        metrics = {**self.metrics(items, gap), "main": total(self.shared(items, losses))}
        chosen, rejected = chosen[..., 0], rejected[..., 0]
        if center:
            losses = losses + center * grading.centering(chosen, rejected)
        metrics["mean_reward"] = total(self.seen([*items, *items], torch.cat([chosen, rejected])))
        return LossOutput(self.shared(items, losses).sum(), metrics)

    def read(self, module: nn.Module, items: Sequence[ScorerItem]) -> tuple[Tensor, Tensor]:
        """Of the chosen and of the rejected response of every comparison, (comparisons, heads,
        numbers of a head)."""
        batch = Batch()
        places = torch.tensor([place for item in items for place in self.collect(batch, item)])
        values = heads.cut(module(batch.readings), self.config.head_width)
        chosen, rejected = (values[column.to(values.device)] for column in places.T)
        return chosen, rejected
