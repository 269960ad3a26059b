"""What a scorer is and how it is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rewarddiff.config import at_least, checked
from rewarddiff.encoding import LengthConfig
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.losses.scoring import Penalty
from rewarddiff.scorers.neural.losses import BradleyTerry, Loss


@checked
@dataclass(frozen=True)
class OdinConfig:
    """Length learnt beside quality, so that quality need not be length (ODIN, arXiv 2402.07319).

    Attributes:
        correlation: λ_L, weight of |ρ(q, length)| − ρ(l, length), where q is the reward that is
            kept, l that of the length head, which training alone has, and ρ is over the responses
            of a batch: use large batches.
        orthogonal: λ_O, weight of |cos| of the angle between the two heads.
    """

    correlation: float = 1.0
    orthogonal: float = 1.0

    def __post_init__(self) -> None:
        at_least(self, 0, "correlation", "orthogonal")


@checked
@dataclass(frozen=True)
class ScorerConfig:
    """A reward model or a difference model on any Hugging Face backbone.

    Attributes:
        kind: reward scores a response by itself, r(x, y); difference gives d(x, y1, y2) of two, and
            `head` says how.
        backbone: short name, folder or hub name of a decoder (causal) or an encoder (BERT-like);
            which of the two is found by running it.
        head: of a difference model; how they compare at small scale is told in docs/results.md.
            general: each response is read by itself, into a reward and a vector, d = r1 − r2 +
            v1ᵀSv2 with S skew-symmetric: exactly antisymmetric, at the price of a reward model, of
            which it is one where v = 0; v holds what goes round (GPM, arXiv 2410.02197). segments:
            responses are read together, and one head reads each one's own segment of the joint
            text, d = f(y1) − f(y2); it holds the reward model as the special case in which neither
            segment heeds the other. On a causal body the first segment cannot see the second;
            reading both orders makes up for it. last (the paper): d is read once, at the end of the
            joint text.
        rank: of head general: pairs of entries of v, the planes in which preferences can go round.
        heads: so many heads on one body, an ensemble: each begins by itself and is trained on its
            own resample of the comparisons, each of which weighs Poisson(1) in a head's loss (Oza
            and Russell 2001). r and d are the means over the heads; their standard deviation says
            how sure the scorer is. Costs no more readings.
        aspects: a head for each part of a collection that rates something of its own, with its
            weight in the scorer's r and d, as in {helpful: 0.5, harmless: 0.5}. A comparison trains
            the head of its group's `subset`; parts that are no aspect are left out of training, and
            counted. Other weights need no new training (`Scorer.weigh`).
        pooling: of an encoder. mean: over the tokens of the response (of the whole text for head
            last) into a linear head; cls: the architecture's own classification head, which keeps a
            reward model loadable with AutoModelForSequenceClassification. Decoders are read at the
            last token.
        orders: of a difference model in training. both: each pair is read both ways, and both are
            trained on; one (the paper): one order per pair, drawn by the seed; average: the loss is
            of d̄ = ½(d(1, 2) − d(2, 1)), so that what is trained is what is used, antisymmetric to
            the bit. Where `reverse` is not 0 the other order is read anyway, so that both costs
            nothing more.
        duplication: λ1, weight of d(y, y)², for one of the two responses, drawn by the seed.
        reverse: λ2, weight of (d(1, 2) + d(2, 1))². The paper trains with both regularisers. They
            are off here unless asked for: with both orders read, d̄ has either property anyway, and
            neither showed a gain (docs/results.md).
        regulariser: the square, the absolute value, or Huber's between them, in these two.
        warm_start: folder of a trained scorer; its body and, where it fits, its head are where
            training starts.
        loss: what a gap is trained on: the order alone (bradley-terry), or with a margin, a weight,
            a soft label or a grade from the data's strengths, with ties, with a margin from the
            batch (see `scorers.losses`).
        odin: of a reward model: keep the length of responses out of their rewards; null: as they
            come.
        comparisons: train on at most so many, whole items drawn by the seed: fewer ones are among
            more. For learning curves, as in `rewarddiff sweep RECIPE
            scorers.NAME.comparisons=400,1600,6400`.
        item_comparisons: a group with more comparisons is cut into training items of so many.
        train: the loop's settings.
        lengths: token limits of a prompt and of a response, and so of a difference model's text
            twice that of a reward model's. A text beyond the model's context loses tokens where it
            is longest: a prompt at its beginning, responses at their end.
    """

    kind: Literal["reward", "difference"] = "reward"
    backbone: str = "all-minilm-l6-v2"
    head: Literal["general", "segments", "last"] = "general"
    rank: int = 2
    heads: int = 1
    aspects: Mapping[str, float] = field(default_factory=dict)
    pooling: Literal["mean", "cls"] = "mean"
    orders: Literal["both", "one", "average"] = "both"
    duplication: float = 0.0
    reverse: float = 0.0
    regulariser: Penalty = "square"
    warm_start: str | None = None
    loss: Loss = field(default_factory=BradleyTerry)
    odin: OdinConfig | None = None
    comparisons: int | None = None
    item_comparisons: int = 8
    lengths: LengthConfig = field(default_factory=LengthConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(lr=5e-5, head_lr=1e-3, microbatch_tokens=2048)
    )

    def __post_init__(self) -> None:
        if self.kind == "difference" and self.head != "last" and self.pooling == "cls":
            raise ValueError(
                f"pooling cls is the architecture's own head of one number: head {self.head} needs mean"
            )
        ordered = self.duplication or self.reverse or self.orders != "both"
        if self.kind == "difference" and self.head == "general" and ordered:
            cause = f"head {self.head} is antisymmetric as it is"
            raise ValueError(
                f"{cause}: leave out orders, duplication and reverse, or use head segments"
            )
        if min(self.duplication, self.reverse) < 0:
            raise ValueError("duplication and reverse are weights, at least 0")
        at_least(self, 1, "comparisons")
        if min(self.item_comparisons, self.rank, self.heads) < 1:
            raise ValueError("item_comparisons, rank and heads must be at least 1")
        if not self.pointwise and (self.loss.batch or self.loss.center):
            raise ValueError(
                f"loss {'batch-margin' if self.loss.batch else 'center'} is for reward models"
            )
        if self.aspects and (len(self.aspects) < 2 or self.heads > 1):
            raise ValueError(
                "aspects are two or more, each with one head: name another, and leave heads at 1"
            )
        if not all(map(math.isfinite, self.head_weights)) or not any(self.head_weights):
            raise ValueError(
                f"aspects is {dict(self.aspects)}, should be finite weights that are not all 0"
            )
        if self.head_count > 1 and self.pooling == "cls":
            raise ValueError(
                "pooling cls is the architecture's own head of one number: several heads need mean"
            )
        if self.head_count > 1 and self.loss.batch:
            raise ValueError(
                "loss batch-margin has one mean gap, for one head: leave out heads and aspects"
            )
        if self.odin is not None and (self.kind != "reward" or self.head_count > 1):
            raise ValueError(
                "odin is for reward models with one head: leave out odin, or heads and aspects"
            )
        if self.odin is not None and (self.pooling == "cls" or self.loss.batch):
            raise ValueError("odin needs pooling mean, and another loss than batch-margin")

    @property
    def pointwise(self) -> bool:
        """Whether each response is read by itself."""
        return self.kind == "reward" or self.head == "general"

    def learns_from(self, subset: str) -> bool:
        """Whether a part of a collection trains any head."""
        return not self.aspects or subset in self.aspects

    @property
    def head_count(self) -> int:
        """Heads on the body."""
        return len(self.aspects) or self.heads

    @property
    def spreads(self) -> bool:
        """Whether several heads say the same thing, so that their spread tells how sure they
        are."""
        return self.heads > 1

    @property
    def head_width(self) -> int:
        """Numbers that each of them gives for a reading."""
        return 1 + 2 * self.rank if self.kind == "difference" and self.head == "general" else 1

    @property
    def head_weights(self) -> tuple[float, ...]:
        """What each counts in the scorer's r and d, which are sums over the heads."""
        return tuple(self.aspects.values()) or (1 / self.head_count,) * self.head_count

    @property
    def width(self) -> int:
        """Numbers that all heads together give for a reading."""
        return self.head_count * self.head_width
