"""What an objective is given, a batch, and what every objective has: the terms it may take.

A coefficient multiplies what `losses` gives for its comparison. The likelihood term `nll` is a
regulariser and is not multiplied: E[c·L_align + λ·L_reg], as in arXiv 2408.09385.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rewarddiff.config import at_least

Column = Literal["reference", "strength", "scores", "collision", "mismatch", "labels"]
"""What an objective may read besides the policy's log-probabilities and the order of each pair."""

Probe = Literal["h", "mismatch"]
"""What is read, without gradient, of the whole global batch before its losses: of every pair, of
every item."""


@dataclass(frozen=True)
class Context:
    """What an objective made of the global batch, for all its micro-batches.

    Attributes:
        beta: β of this batch.
        keep: of every item, a factor for each of its comparisons.
        kl: z0.
    """

    beta: float | None = None
    keep: tuple[tuple[float, ...], ...] | None = None
    kl: float | None = None


@dataclass(frozen=True)
class Batch:
    """What one forward pass says of its items.

    Attributes:
        policy: Σ_t log π(y_t), nats, (responses,).
        lengths: tokens of each response, (responses,).
        chosen, rejected: places of each comparison's responses, (pairs,).
        coefficients: (pairs,).
        share: one over the number of comparisons in the pair's item, (pairs,).
        best: place of the best response of each item, (items,).
        reference: as `policy`, of the reference.
        strength: by how much the chosen response is better, signed, in the unit of its source,
            (pairs,).
        collision: Σ_t log Σ_v π(v)², (responses,).
        lists: of each item, the places of its responses and their scores.
        labelled: places of responses that are labelled by themselves, whether they are desirable,
            their coefficients.
        context: what `begin` made of the global batch.
        keep: `context.keep` of these comparisons, (pairs,).
        per_token: log-ratios are averaged over tokens.
    """

    policy: Tensor
    lengths: Tensor
    chosen: Tensor
    rejected: Tensor
    coefficients: Tensor
    share: Tensor
    best: Tensor
    reference: Tensor | None = None
    strength: Tensor | None = None
    collision: Tensor | None = None
    lists: tuple[tuple[Tensor, Tensor], ...] = ()
    labelled: tuple[Tensor, Tensor, Tensor] | None = None
    context: Context = Context()
    keep: Tensor | None = None
    per_token: bool = False

    @cached_property
    def mean(self) -> Tensor:
        """Nats per token, (responses,)."""
        return self.policy / self.lengths

    @cached_property
    def ratio(self) -> Tensor:
        """log π − log ρ, or its mean over tokens, (responses,)."""
        ratio = self.policy - self.known(self.reference)
        return ratio / self.lengths if self.per_token else ratio

    @cached_property
    def h(self) -> Tensor:
        """The log-ratio of the chosen response less that of the rejected one, (pairs,)."""
        return self.ratio[self.chosen] - self.ratio[self.rejected]

    @cached_property
    def singles(self) -> tuple[Tensor, Tensor, Tensor]:
        """Places, whether desirable, coefficients: both members of every pair, then what is
        labelled by itself."""
        yes = torch.ones_like(self.chosen, dtype=torch.bool)
        own = self.labelled or (self.chosen[:0], yes[:0], self.coefficients[:0])
        parts = (
            (self.chosen, yes, self.coefficients),
            (self.rejected, ~yes, self.coefficients),
            own,
        )
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]

    @staticmethod
    def known(column: Tensor | None) -> Tensor:
        """A column the objective says it reads."""
        assert column is not None
        return column


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What every objective can be given.

    Attributes:
        nll: weight of −log π of the chosen response (lists: of the best; single responses: of the
            desirable ones), λ of E[L_align + λ·L_reg].
        nll_reduction: its mean over tokens, or their sum (RRHF's L_ft).
        anchored: only where the policy's likelihood fell below the reference's (Uni-DPO).
        per_token: log-ratios are averaged over the response's tokens (IPO's authors' advice;
            LN-DPO).
    """

    nll: float = 0.0
    nll_reduction: Literal["mean", "sum"] = "mean"
    anchored: bool = False
    per_token: bool = False

    columns: ClassVar[frozenset[Column]] = frozenset({"reference"})
    probes: ClassVar[Probe | None] = None
    whole_lists: ClassVar[bool] = False
    positive_strength: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least(self, 0, "nll")

    @property
    def reads(self) -> frozenset[Column]:
        return self.columns | ({"reference"} if self.anchored or self.per_token else set())

    def losses(self, batch: Batch) -> Tensor:
        """One value per comparison (what `weights` gives a weight to), not weighted, not
        reduced."""
        raise NotImplementedError

    def weights(self, batch: Batch) -> Tensor:
        """The coefficient of every value of `losses`."""
        return batch.coefficients

    def rewards(self, batch: Batch) -> Tensor:
        """The implicit reward of every response, for the metrics, (responses,)."""
        scale = getattr(self, "beta", 1.0)
        return scale * (batch.ratio if batch.reference is not None else batch.mean)

    def regulariser(self, batch: Batch) -> Tensor:
        """λ·L_reg summed over comparisons, or over lists."""
        places = self.liked(batch)
        values = batch.mean[places] if self.nll_reduction == "mean" else batch.policy[places]
        if self.anchored:
            values = values * (batch.policy[places].detach() < batch.known(batch.reference)[places])
        return -self.nll * values.sum()

    def liked(self, batch: Batch) -> Tensor:
        """Places of the responses whose likelihood the regulariser defends."""
        return batch.best if self.whole_lists else batch.chosen

    def begin(
        self, probed: Sequence[Sequence[float]], state: dict[str, float], training: bool
    ) -> Context:
        """From what was probed of every item of the global batch, what all its micro-batches need.

        Args:
            state: what is carried from batch to batch, and kept in checkpoints.
        """
        return Context()
