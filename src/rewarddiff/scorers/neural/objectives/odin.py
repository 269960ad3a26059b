"""ODIN: a reward model that learns length beside quality, and keeps quality alone.

Source: Chen et al. 2024, arXiv 2402.07319.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from rewarddiff.differences import by_group
from rewarddiff.loop.objective import LossOutput
from rewarddiff.losses import grading
from rewarddiff.losses.correlation import Correlation
from rewarddiff.scorers.neural.backbones import fresh_head
from rewarddiff.scorers.neural.items import ScorerItem
from rewarddiff.scorers.neural.objectives.base import Batch, total
from rewarddiff.scorers.neural.objectives.reward import RewardObjective


class OdinObjective(RewardObjective):
    """The loss of the gap of q + l, + λ_L·(|ρ(q, length)| − ρ(l, length)) + λ_O·|cos(W_q, W_l)|.

    q is the reward that is kept, l that of a head beside it in training. ρ is over both responses
    of every comparison of the global batch, whatever micro-batches and processes there are: all are
    read first (`probe`), and then each micro-batch gives its responses' share of the gradient,
    c_i·r_i, where c_i = ∂ρ/∂r_i. With dropout, or in bf16, the two readings of a response differ a
    little. Penalties count once per comparison, and so once in the batch's mean.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        assert self.config.odin is not None
        self.odin = self.config.odin
        self.module.beside = fresh_head(self.module.model).to(self.module.device)
        self.correlations: tuple[Correlation, ...] = ()
        self.total = 0.0

    @property
    def probes(self) -> bool:
        return True

    def probe(self, module: nn.Module, items: Sequence[ScorerItem]) -> list[Any]:
        """Return length, q and l of both responses of every comparison of each item."""
        lengths = self.lengths(items)[..., None]
        columns = torch.cat([lengths, self._rewards(module, items).detach().double().cpu()], -1)
        sizes = (len(item.comparisons) for item in items)
        # (comparisons, 2, 3) of an item become one row per response.
        return [rows.reshape(-1, 3).tolist() for rows in by_group(columns.numpy(), sizes)]

    def begin(self, items: Sequence[ScorerItem], probed: Sequence[Any], *, training: bool) -> None:
        responses = np.concatenate([np.array(rows) for rows in probed])
        lengths, *rewards = responses.T
        self.correlations = tuple(Correlation.of(of_head, lengths) for of_head in rewards)
        self.total = sum(map(self.count, items))

    def loss(self, module: nn.Module, items: Sequence[ScorerItem]) -> LossOutput:
        rewards = self._rewards(module, items)
        gap = rewards[:, 0] - rewards[:, 1]  # (comparisons, 2): of q and of l
        quality = rewards[..., 0]
        losses = self.losses(items, gap.sum(1, keepdim=True))[:, 0]
        main = total(losses)
        center = self.config.loss.center
        if center:
            losses = losses + center * grading.centering(*quality.unbind(1))
        cosine = cosine_similarity(self.module.head.weight, self._length_head.weight).squeeze()
        of_quality, of_length = self.correlations
        metrics = {
            **self.metrics(items, gap[:, :1]),
            "main": main,
            "mean_reward": (quality.detach().double().sum().item(), quality.numel()),
            "correlation/quality": _unless_nan(of_quality.value),
            "correlation/length": _unless_nan(of_length.value),
            "cosine": _unless_nan(cosine.item()),
        }
        penalties = self.odin.correlation * self._disentangled(items, rewards)
        penalties = penalties + self.odin.orthogonal * len(gap) * cosine.abs()
        return LossOutput(losses.sum() + penalties, metrics)

    def lengths(self, items: Sequence[ScorerItem]) -> Tensor:
        """Return the lengths of both responses of every comparison: (comparisons, 2), float64.

        They are in tokens as they are read.
        """
        batch = Batch()
        lengths = []
        for chosen, rejected in self.places(batch, items):
            lengths.append((len(batch.readings[chosen][-1]), len(batch.readings[rejected][-1])))
        return torch.tensor(lengths, dtype=torch.float64)

    @property
    def _length_head(self) -> nn.Linear:
        assert self.module.beside is not None
        return self.module.beside

    def _rewards(self, module: nn.Module, items: Sequence[ScorerItem]) -> Tensor:
        """Return q and l of the chosen and of the rejected response: (comparisons, 2, 2)."""
        return torch.stack(self.read(module, items), 1)[..., 0]

    def _disentangled(self, items: Sequence[ScorerItem], rewards: Tensor) -> Tensor:
        """Return |ρ(q, length)| − ρ(l, length) once per comparison.

        Its gradient is these responses' part of the batch's.
        """
        lengths = self.lengths(items).flatten().to(rewards)
        of_quality, _ = self.correlations
        # The penalty grows with |ρ(q, length)|, and falls with ρ(l, length).
        signs = (float(np.nan_to_num(np.sign(of_quality.value))), -1.0)
        penalty = rewards.new_zeros(())
        by_head = rewards.flatten(0, 1).T
        for values, correlation, sign in zip(by_head, self.correlations, signs, strict=True):
            pull = correlation.gradient(values.detach(), lengths)
            value = 0.0 if math.isnan(correlation.value) else correlation.value
            # The second term is 0, and has the gradient.
            moved = self.total * (pull * (values - values.detach())).sum()
            penalty = penalty + sign * (len(rewards) * value + moved)
        return penalty


def _unless_nan(value: float) -> tuple[float, float]:
    """Return a metric of one value, or of none where it is NaN."""
    return (0.0, 0.0) if math.isnan(value) else (value, 1.0)
