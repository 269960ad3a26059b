"""What a scorer is trained to say of a gap: small frozen configs, each with its own loss.

A recipe names one of them. The gap Δ of a comparison is r_w − r_l of a reward model, or d of a
difference model, oriented by the label.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from rewarddiff.config import at_least, checked, positive
from rewarddiff.errors import UserError
from rewarddiff.losses import grading, scoring

MAX_GRADES = 12
"""More distinct strengths than this are no grades: a loss that wants grades gets quantiles."""

NEAR = 1e-5
"""Strengths that differ by less, relatively, are the same.

They are differences of scores, and pass through float32.
"""


@dataclass(frozen=True)
class Grades:
    """The strengths of the training data, as far as losses need to know them.

    Attributes:
        edges: least strength of each grade above a tie, rising; a strength is of the last grade it
            reaches.
        largest, mean: of the strengths, without ties.
        ties: whether there are any.
    """

    edges: tuple[float, ...] = ()
    largest: float = 1.0
    mean: float = 1.0
    ties: bool = False

    @classmethod
    def of(cls, strengths: Iterable[float | None]) -> Grades:
        """Return the grades of these strengths; None is unknown, 0 a tie."""
        known = [strength for strength in strengths if strength is not None]
        # Rounded, so that 4.2 − 3.9 is 3.3 − 3.0.
        rounded = [float(f"{strength:.6g}") for strength in known if strength > 0]
        if not rounded:
            return cls(ties=bool(known))
        decided = np.array(rounded)
        levels = np.unique(decided)
        if levels.size > MAX_GRADES:
            shares = np.linspace(0, 1, MAX_GRADES + 1)[:-1]
            levels = np.unique(np.quantile(decided, shares))
        return cls(
            edges=tuple(levels.tolist()),
            largest=float(decided.max()),
            mean=float(decided.mean()),
            ties=len(rounded) < len(known),
        )

    def levels(self, strengths: Tensor) -> Tensor:
        """Return the grade of every strength: 0 a tie, 1 the least, …"""
        edges = torch.tensor(self.edges, dtype=strengths.dtype, device=strengths.device)
        levels = torch.bucketize(strengths, edges * (1 - NEAR), right=True)
        return torch.where(strengths > 0, levels.clamp(min=1), 0)


@dataclass(frozen=True)
class Context:
    """What was made of the whole global batch, for all its micro-batches.

    Attributes:
        mean: μ. threshold: below it a pair is shifted. pull: of a μ that is not detached, the
            derivative of the batch's summed loss with respect to μ over the number of its pairs:
            what reaches every gap through μ.
        shares: what the log says of it.
    """

    mean: float = 0.0
    threshold: float = math.inf
    pull: float = 0.0
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Gaps:
    """Comparisons of a micro-batch.

    Attributes:
        gap: Δ, logits, (pairs,).
        strength: in the data's own unit, 0 of a tie; NaN where unknown, (pairs,).
        grades: of the training data. learned: the loss's own parameters. context: of the global
            batch.
    """

    gap: Tensor
    strength: Tensor
    grades: Grades
    learned: Mapping[str, Tensor]
    context: Context = Context()


@dataclass(frozen=True, kw_only=True)
class ScorerLoss:
    """What every loss has.

    Attributes:
        center: weight of (r_w + r_l)², of reward models (arXiv 2312.09244: 0.01).
    """

    center: float = 0.0

    needs: ClassVar[bool] = False
    """Whether it reads strengths."""
    ties: ClassVar[bool] = False
    """Whether it learns from ties too."""
    batch: ClassVar[bool] = False
    """Whether it reads a mean over the batch."""

    def __post_init__(self) -> None:
        at_least(self, 0, "center")

    def check(self, strengths: Iterable[float]) -> None:
        """Look at all strengths above 0 before training. Raises UserError."""

    def keeps_ties(self, grades: Grades) -> bool:
        """Whether it is trained on ties, of such data."""
        return self.ties

    def parameters(self, grades: Grades) -> dict[str, nn.Parameter]:
        """Return what it learns by itself, at its start."""
        return {}

    def learned_values(
        self, grades: Grades, learned: Mapping[str, Tensor]
    ) -> dict[str, list[float]]:
        """Return what it learned by itself, in the unit of Δ."""
        return {}

    def losses(self, batch: Gaps) -> Tensor:
        """Return one value per comparison."""
        raise NotImplementedError


@checked
@dataclass(frozen=True, kw_only=True)
class BradleyTerry(ScorerLoss):
    """−log σ(Δ): the order alone."""

    name: Literal["bradley-terry"] = "bradley-terry"

    def losses(self, batch: Gaps) -> Tensor:
        return scoring.bradley_terry(batch.gap)


@checked
@dataclass(frozen=True, kw_only=True)
class Margin(ScorerLoss):
    """−log σ(Δ − m): a fixed margin from the data's strengths (Llama 2, arXiv 2307.09288).

    Attributes:
        margins: strength: m is the strength itself; large: 0 for the least grade of the data, 1 for
            the next, and so on (of four grades Llama 2's large scale); small: the same from 0 to 1
            (Llama 2's small scale); or a map from every strength to its margin. Of more than
            `MAX_GRADES` distinct strengths the grades are quantiles.
        scale: what margins are multiplied by.
    """

    name: Literal["margin"] = "margin"
    margins: Literal["strength", "small", "large"] | Mapping[float, float] = "strength"
    scale: float = 1.0
    needs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "scale")

    def losses(self, batch: Gaps) -> Tensor:
        return scoring.bradley_terry(batch.gap, self.scale * self._margins(batch))

    def check(self, strengths: Iterable[float]) -> None:
        for strength in strengths:
            self._listed(strength)

    def _listed(self, strength: float) -> float:
        """Return the key of the map that a strength has."""
        if not isinstance(self.margins, Mapping):
            return strength
        for key in self.margins:
            if math.isclose(key, strength, rel_tol=NEAR):
                return key
        raise UserError(f"loss.margins: strength {strength:g} is not in the map; add it")

    def _margins(self, batch: Gaps) -> Tensor:
        if self.margins == "strength":
            return batch.strength
        if isinstance(self.margins, Mapping):
            keys = map(self._listed, batch.strength.tolist())
            return batch.gap.new_tensor([self.margins[key] for key in keys])
        steps = (batch.grades.levels(batch.strength) - 1).to(batch.gap.dtype)
        if self.margins == "large":
            return steps
        return steps / max(1, len(batch.grades.edges) - 1)


@checked
@dataclass(frozen=True, kw_only=True)
class Scaled(ScorerLoss):
    """−m·log σ(Δ): the strength is the weight (HelpSteer2-Preference, arXiv 2410.01257).

    Attributes:
        normalise: none: m as it is; mean: over its mean in the training data, which leaves the
            loss's size alone.
    """

    name: Literal["scaled"] = "scaled"
    normalise: Literal["none", "mean"] = "mean"
    needs: ClassVar[bool] = True

    def losses(self, batch: Gaps) -> Tensor:
        mean = batch.grades.mean if self.normalise == "mean" else 1.0
        return grading.scaled(batch.gap, batch.strength / mean)


@checked
@dataclass(frozen=True, kw_only=True)
class Soft(ScorerLoss):
    """Cross-entropy against the probability z that the label was meant (arXiv 2411.12843).

    Attributes:
        target: linear: z = ½ + ½·min(1, m/scale); sigmoid: z = σ(m/scale).
        scale: the strength at which the label is certain (linear; None: the largest of the training
            data), or that is one logit (sigmoid; None: 1).
    """

    name: Literal["soft"] = "soft"
    target: Literal["linear", "sigmoid"] = "linear"
    scale: float | None = None
    needs: ClassVar[bool] = True
    ties: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "scale")

    def losses(self, batch: Gaps) -> Tensor:
        if self.target == "sigmoid":
            scale = 1.0 if self.scale is None else self.scale
            return grading.soft(batch.gap, (batch.strength / scale).sigmoid())
        scale = batch.grades.largest if self.scale is None else self.scale
        certain = (batch.strength / scale).clamp(max=1)
        return grading.soft(batch.gap, 0.5 + 0.5 * certain)


@checked
@dataclass(frozen=True, kw_only=True)
class Ties(ScorerLoss):
    """Bradley–Terry where neither may be better; τ is learned.

    Source: Rao and Kupper 1967; arXiv 2410.05328.

    Attributes:
        tau: where τ starts.
    """

    name: Literal["ties"] = "ties"
    tau: float = 0.5
    ties: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "tau")

    def parameters(self, grades: Grades) -> dict[str, nn.Parameter]:
        return {"tau": nn.Parameter(_inverse_softplus(torch.tensor(self.tau)))}

    def learned_values(
        self, grades: Grades, learned: Mapping[str, Tensor]
    ) -> dict[str, list[float]]:
        return {"tau": [softplus(learned["tau"]).item()]}

    def losses(self, batch: Gaps) -> Tensor:
        return grading.rao_kupper(batch.gap, batch.strength == 0, softplus(batch.learned["tau"]))


@checked
@dataclass(frozen=True, kw_only=True)
class Ordinal(ScorerLoss):
    """Grades as an ordered response with learned cut-points, symmetric about 0 (arXiv 2603.02232).

    Of more distinct strengths than `MAX_GRADES` their quantiles are the grades.
    """

    name: Literal["ordinal"] = "ordinal"
    needs: ClassVar[bool] = True
    ties: ClassVar[bool] = True

    def parameters(self, grades: Grades) -> dict[str, nn.Parameter]:
        steps = len(grades.edges)
        if steps and not grades.ties:
            # The first cut-point stands at 0.
            steps -= 1
        return {"steps": nn.Parameter(_inverse_softplus(torch.full((steps,), 0.5)))}

    def keeps_ties(self, grades: Grades) -> bool:
        # Else there is no place between the cut-points for a tie of the dev set.
        return grades.ties

    def learned_values(
        self, grades: Grades, learned: Mapping[str, Tensor]
    ) -> dict[str, list[float]]:
        return {"cuts": self.cuts(grades, learned).tolist()}

    def losses(self, batch: Gaps) -> Tensor:
        levels = batch.grades.levels(batch.strength)
        return grading.ordinal(batch.gap, levels, self.cuts(batch.grades, batch.learned))

    @staticmethod
    def cuts(grades: Grades, learned: Mapping[str, Tensor]) -> Tensor:
        """Return the cut-points above 0, rising."""
        cuts = softplus(learned["steps"]).cumsum(0)
        if grades.ties:
            return cuts
        return torch.cat([cuts.new_zeros(1), cuts])


@checked
@dataclass(frozen=True, kw_only=True)
class BatchMargin(ScorerLoss):
    """−log σ(Δ − F·μ), μ the batch's mean gap: pairs below a threshold are pushed further.

    Source: arXiv 2404.04932.

    Attributes:
        threshold: F = 1 where a gap is below the mean μ (`batch_mean`, the paper's method) or below
            a `quantile` of the batch's gaps, else 0; with `none` F = 1 for every pair.
        quantile: which one, from 0 to 1.
        scope: whose mean. global: of the whole global batch, whatever micro-batches and processes
            there are (costs one more forward pass); ema: a running mean of those; device: of what
            is read at a time.
        momentum: of ema.
        detach: whether μ is a constant to the gradient.
        clamp: whether μ is at least 0.
    """

    name: Literal["batch-margin"] = "batch-margin"
    threshold: Literal["batch_mean", "quantile", "none"] = "batch_mean"
    quantile: float = 0.5
    scope: Literal["global", "ema", "device"] = "global"
    momentum: float = 0.9
    detach: bool = True
    clamp: bool = False
    batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile is {self.quantile}, should be between 0 and 1")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}, should be at least 0 and below 1")
        if not self.detach and self.scope == "ema":
            raise ValueError(
                "scope ema is a mean over earlier batches too, which no gradient reaches: set detach"
            )

    def losses(self, batch: Gaps) -> Tensor:
        context = batch.context
        losses = grading.batch_margin(batch.gap, context.mean, context.threshold)
        # This adds nothing but its gradient.
        return losses + context.pull * (batch.gap - batch.gap.detach())

    def context(self, gaps: Sequence[float], state: dict[str, float], *, training: bool) -> Context:
        """Make μ, the threshold, and what the log says of all gaps of a batch.

        Args:
            state: carried from batch to batch; a running mean is changed by training only.
        """
        values = np.array(gaps, dtype=np.float64)
        mean = float(values.mean())
        if self.scope == "ema":
            running = self.momentum * state.get("mean", mean) + (1 - self.momentum) * mean
            if training:
                state["mean"] = running
            mean = running
        if self.clamp:
            mean = max(0.0, mean)
        threshold = math.inf
        if self.threshold == "batch_mean":
            threshold = mean
        elif self.threshold == "quantile":
            threshold = float(np.quantile(values, self.quantile))
        below = values < threshold
        pull = 0.0
        is_clamped = self.clamp and mean == 0
        if not self.detach and not is_clamped:
            # ∂/∂μ of Σ −log σ(Δ − Fμ) is Σ F·σ(Fμ − Δ); every Δ has a share of 1/n in μ.
            pull = float((below / (1 + np.exp(values - below * mean))).mean())
        shares = {"batch_margin": mean, "shifted": float(below.mean())}
        return Context(mean, threshold, pull, shares)


Loss = BradleyTerry | Margin | Scaled | Soft | Ties | Ordinal | BatchMargin


def _inverse_softplus(value: Tensor) -> Tensor:
    return value.expm1().log()
