"""ODIN: a reward model that learns length beside quality, and keeps quality alone (arXiv
2402.07319)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from rewarddiff.loop.objective import LossOutput
from rewarddiff.losses import grading
from rewarddiff.losses.correlation import Correlation
from rewarddiff.scorers.neural.backbones import fresh_head
from rewarddiff.scorers.neural.objectives.base import Batch, ScorerItem, total
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
        """Of each item, for both responses of every comparison: length, q and l."""
        columns = torch.cat(
            [self.lengths(items)[..., None], self._rewards(module, items).double().cpu()], -1
        )
        rows = iter(columns.tolist())
        return [[response for _ in item.comparisons for response in next(rows)] for item in items]

    def begin(self, items: Sequence[ScorerItem], probed: Sequence[Any], *, training: bool) -> None:
        lengths, *rewards = np.array([response for own in probed for response in own]).T
        self.correlations = tuple(Correlation.of(own, lengths) for own in rewards)
        self.total = sum(map(self.count, items))

    def loss(self, module: nn.Module, items: Sequence[ScorerItem]) -> LossOutput:
        rewards, center = self._rewards(module, items), self.config.loss.center
        gap = rewards[:, 0] - rewards[:, 1]  # (comparisons, 2): of q and of l
        losses = self.losses(items, gap.sum(1, keepdim=True))[:, 0]
        main, quality = total(losses), rewards[..., 0]
        if center:
            losses = losses + center * grading.centering(*quality.unbind(1))
        cosine = cosine_similarity(self.module.head.weight, self._length_head.weight).squeeze()
        told = zip(("quality", "length"), self.correlations, strict=True)
        metrics = {
            **self.metrics(items, gap[:, :1]),
            "main": main,
            "mean_reward": (quality.detach().double().sum().item(), quality.numel()),
            **{f"correlation/{name}": _told(found.value) for name, found in told},
            "cosine": _told(cosine.item()),
        }
        penalties = self.odin.correlation * self._disentangled(items, rewards)
        penalties = penalties + self.odin.orthogonal * len(gap) * cosine.abs()
        return LossOutput(losses.sum() + penalties, metrics)

    def lengths(self, items: Sequence[ScorerItem]) -> Tensor:
        """Of both responses of every comparison, in tokens as they are read: (comparisons, 2),
        float64."""
        batch = Batch()
        places = [place for item in items for place in self.collect(batch, item)]
        return torch.tensor(
            [[len(batch.readings[i][-1]) for i in pair] for pair in places], dtype=torch.float64
        )

    @property
    def _length_head(self) -> nn.Linear:
        assert self.module.beside is not None
        return self.module.beside

    def _rewards(self, module: nn.Module, items: Sequence[ScorerItem]) -> Tensor:
        """(comparisons, 2, 2): of the chosen and of the rejected response, q and l."""
        return torch.stack(self.read(module, items), 1)[..., 0]

    def _disentangled(self, items: Sequence[ScorerItem], rewards: Tensor) -> Tensor:
        """|ρ(q, length)| − ρ(l, length) once per comparison; its gradient is these responses' part
        of the batch's."""
        lengths = self.lengths(items).flatten().to(rewards)
        penalty = rewards.new_zeros(())
        for own, found, sign in zip(
            rewards.flatten(0, 1).T, self.correlations, self._signs(), strict=True
        ):
            pull = found.gradient(own.detach(), lengths)
            value = 0.0 if math.isnan(found.value) else found.value
            penalty = penalty + sign * (
                len(rewards) * value + self.total * (pull * (own - own.detach())).sum()
            )
        return penalty

    def _signs(self) -> tuple[float, float]:
        """By which |ρ(q, length)| − ρ(l, length) grows with either correlation."""
        return float(np.nan_to_num(np.sign(self.correlations[0].value))), -1.0


def _told(value: float) -> tuple[float, float]:
    return (0.0, 0.0) if math.isnan(value) else (value, 1.0)
