"""The objective of scorers that read each response by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rewarddiff.devices import to_device
from rewarddiff.differences import by_group
from rewarddiff.loop.objective import LossOutput
from rewarddiff.losses import grading, scoring
from rewarddiff.scorers.neural import heads
from rewarddiff.scorers.neural.items import ScorerItem
from rewarddiff.scorers.neural.objectives.base import Batch, ScorerObjective, total


class RewardObjective(ScorerObjective):
    """The loss of r_w − r_l (of head general, of its d), by default −log σ.

    Each response of an item is read once.
    """

    def collect(self, batch: Batch, item: ScorerItem) -> list[tuple[int, ...]]:
        """Add the item's readings to the batch; return the places of chosen and rejected."""
        texts = self.module.texts
        places: list[tuple[int, ...]] = []
        for comparison in item.comparisons:
            chosen = batch.add(texts.reading(item.page, comparison.chosen))
            rejected = batch.add(texts.reading(item.page, comparison.rejected))
            places.append((chosen, rejected))
        return places

    def probe(self, module: nn.Module, items: Sequence[ScorerItem]) -> list[list[float]]:
        chosen, rejected = self.read(module, items)
        gaps = scoring.general_gap(chosen, rejected)[:, 0].detach().cpu().numpy()
        sizes = (len(item.comparisons) for item in items)
        return [of_item.tolist() for of_item in by_group(gaps, sizes)]

    def loss(self, module: nn.Module, items: Sequence[ScorerItem]) -> LossOutput:
        chosen, rejected = self.read(module, items)
        gap = scoring.general_gap(chosen, rejected)
        losses = self.losses(items, gap)
        metrics = {**self.metrics(items, gap), "main": total(self.shared(items, losses))}
        chosen_rewards, rejected_rewards = chosen[..., 0], rejected[..., 0]
        center = self.config.loss.center
        if center:
            losses = losses + center * grading.centering(chosen_rewards, rejected_rewards)
        rewards = torch.cat([chosen_rewards, rejected_rewards])
        metrics["mean_reward"] = total(self.seen([*items, *items], rewards))
        return LossOutput(self.shared(items, losses).sum(), metrics)

    def read(self, module: nn.Module, items: Sequence[ScorerItem]) -> tuple[Tensor, Tensor]:
        """Read the chosen and the rejected response of every comparison.

        Returns:
            (comparisons, heads, numbers of a head), twice.
        """
        batch = Batch()
        places = torch.tensor(self.places(batch, items))
        numbers = heads.cut(module(batch.readings), self.config.head_width)
        chosen, rejected = to_device(places, numbers.device).T
        return numbers[chosen], numbers[rejected]
