"""What a policy objective's equations read: the columns of a micro-batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rewarddiff.losses import pointwise

Column = Literal["reference", "strength", "scores", "collision", "mismatch", "labels"]
"""What an objective may read besides the policy's log-probabilities and the order of each pair."""

Probe = Literal["h", "mismatch"]
"""What is read of the whole global batch before its losses: of every pair, or of every item."""


@dataclass(frozen=True)
class Context:
    """What an objective made of the global batch, for all its micro-batches.

    Attributes:
        values: numbers by name (β of this batch, z0), which the log shows too.
        keep: of every item, a factor for each of its comparisons; () where all are 1.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    keep: tuple[tuple[float, ...], ...] = ()


class Singles(NamedTuple):
    """Responses judged by themselves: their places, whether they are desirable, coefficients."""

    places: Tensor
    desirable: Tensor
    coefficients: Tensor


@dataclass(frozen=True)
class Batch:
    """What one forward pass says of its items. Columns that the objective does not read are empty.

    Attributes:
        policy: Σ_t log π(y_t), nats, (responses,).
        reference: as `policy`, of the reference.
        lengths: tokens of each response, (responses,).
        collision: Σ_t log Σ_v π(v)², (responses,).
        chosen, rejected: places of each comparison's responses, (pairs,).
        coefficients: (pairs,).
        strength: by how much the chosen response is better, signed, in the unit of its source,
            (pairs,).
        share: one over the number of comparisons in the pair's item, (pairs,).
        keep: `context.keep` of these comparisons, (pairs,).
        best: place of the best response of each item, (items,).
        lists: of each item, the places of its responses and their scores.
        labelled: responses that are labelled by themselves.
        context: what the objective made of the global batch.
        per_token: log-ratios are averaged over tokens.
    """

    policy: Tensor
    reference: Tensor
    lengths: Tensor
    collision: Tensor
    chosen: Tensor
    rejected: Tensor
    coefficients: Tensor
    strength: Tensor
    share: Tensor
    keep: Tensor
    best: Tensor
    lists: tuple[tuple[Tensor, Tensor], ...]
    labelled: Singles
    context: Context
    per_token: bool

    @cached_property
    def mean(self) -> Tensor:
        """log π in nats per token, (responses,)."""
        return self.policy / self.lengths

    @cached_property
    def ratio(self) -> Tensor:
        """log π/ρ, or its mean over tokens, (responses,)."""
        lengths = self.lengths if self.per_token else None
        return pointwise.log_ratio(self.policy, self.reference, lengths=lengths)

    @cached_property
    def h(self) -> Tensor:
        """The log-ratio of the chosen response less that of the rejected one, (pairs,)."""
        return self.ratio[self.chosen] - self.ratio[self.rejected]

    @cached_property
    def singles(self) -> Singles:
        """Both responses of every pair, and behind them what is labelled by itself."""
        yes = torch.ones_like(self.chosen, dtype=torch.bool)
        labelled = self.labelled
        return Singles(
            torch.cat([self.chosen, self.rejected, labelled.places]),
            torch.cat([yes, ~yes, labelled.desirable]),
            torch.cat([self.coefficients, self.coefficients, labelled.coefficients]),
        )
