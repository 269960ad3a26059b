"""What a scorer is and how it is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from rewarddiff.config import at_least, checked
from rewarddiff.encoding import LengthConfig
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.losses.scoring import Penalty
from rewarddiff.scorers.neural.losses import BradleyTerry, Loss

MOST_HEADS = 1000


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
@dataclass(frozen=True, kw_only=True)
class General:
    """Each response is read by itself, into a reward and a vector: d = r1 − r2 + v1ᵀSv2.

    S is skew-symmetric, so d is exactly antisymmetric, at the price of a reward model, of which it
    is one where v = 0; v holds what goes round (GPM, arXiv 2410.02197).

    Attributes:
        rank: pairs of entries of v, the planes in which preferences can go round.
    """

    name: Literal["general"] = "general"
    rank: int = 2

    def __post_init__(self) -> None:
        at_least(self, 1, "rank")


@dataclass(frozen=True, kw_only=True)
class JointHead:
    """Two responses are read together.

    Attributes:
        orders: in training. both: each pair is read both ways, and both are trained on; one (the
            paper): one order per pair, drawn by the seed; average: the loss is of
            d̄ = ½(d(1, 2) − d(2, 1)), so that what is trained is what is used, antisymmetric to the
            bit. Where `reverse` is not 0 the other order is read anyway, so that both costs nothing
            more.
        duplication: λ1, weight of d(y, y)², for one of the two responses, drawn by the seed.
        reverse: λ2, weight of (d(1, 2) + d(2, 1))². The paper trains with both regularisers. They
            are off here unless asked for: with both orders read, d̄ has either property anyway, and
            neither showed a gain (docs/results.md).
        regulariser: the square, the absolute value, or Huber's between them, in these two.
    """

    orders: Literal["both", "one", "average"] = "both"
    duplication: float = 0.0
    reverse: float = 0.0
    regulariser: Penalty = "square"

    def __post_init__(self) -> None:
        at_least(self, 0, "duplication", "reverse")


@checked
@dataclass(frozen=True, kw_only=True)
class Segments(JointHead):
    """One head reads each response's own segment of the joint text: d = f(y1) − f(y2).

    It holds the reward model as the special case in which neither segment heeds the other. On a
    causal body the first segment cannot see the second; reading both orders makes up for it.
    """

    name: Literal["segments"] = "segments"


@checked
@dataclass(frozen=True, kw_only=True)
class Last(JointHead):
    """The paper's: d is read once, at the end of the joint text."""

    name: Literal["last"] = "last"


Head = General | Segments | Last


def _of_head(name: str, option: str) -> str:
    """Return how an option that was once the scorer's is answered; `{given}` is its value."""
    return (
        "is now an option of the head; write it there, as in "
        f"head: {{{{name: {name}, {option}: {{given}}}}}}"
    )


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
        heads: so many heads on one body, an ensemble: each begins by itself and is trained on its
            own resample of the comparisons, each of which weighs Poisson(1) in a head's loss (Oza
            and Russell 2001). r and d are the means over the heads; their standard deviation says
            how sure the scorer is. Costs no more readings.
        aspects: a head for each part of a collection that rates something of its own, with its
            weight in the scorer's r and d, as in {helpful: 0.5, harmless: 0.5}. A comparison trains
            the head of its group's `subset`; parts that are no aspect are left out of training, and
            counted. Other weights need no new training (`NeuralScorer.weigh`).
        pooling: of an encoder. mean: over the tokens of the response (of the whole text for head
            last) into a linear head; cls: the architecture's own classification head, which keeps a
            reward model loadable with AutoModelForSequenceClassification. Decoders are read at the
            last token.
        warm_start: folder of a trained scorer; its body and, where it fits, its head are where
            training starts.
        loss: what a gap is trained on: the order alone (bradley-terry), or with a margin, a weight,
            a soft label or a grade from the data's strengths, with ties, with a margin from the
            batch (see `scorers.neural.losses`).
        odin: of a reward model: keep the length of responses out of their rewards; null: as they
            come.
        comparisons: train on at most so many, whole items drawn by the seed: fewer ones are among
            more. For learning curves, as in `rewarddiff sweep RECIPE
            scorers.NAME.comparisons=400,1600,6400`.
        item_comparisons: a group with more comparisons is cut into training items of so many.
        lengths: token limits of a prompt and of a response, and so of a difference model's text
            twice that of a reward model's. A text beyond the model's context loses tokens where it
            is longest: a prompt at its beginning, responses at their end.
        train: the loop's settings.
    """

    kind: Literal["reward", "difference"] = "reward"
    backbone: str = "all-minilm-l6-v2"
    head: Head = field(default_factory=General)
    heads: int = 1
    aspects: Mapping[str, float] = field(default_factory=dict)
    pooling: Literal["mean", "cls"] = "mean"
    warm_start: str | None = None
    loss: Loss = field(default_factory=BradleyTerry)
    odin: OdinConfig | None = None
    comparisons: int | None = None
    item_comparisons: int = 8
    lengths: LengthConfig = field(default_factory=LengthConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(lr=5e-5, head_lr=1e-3, microbatch_tokens=2048)
    )

    replaced: ClassVar[Mapping[str, str]] = {
        "rank": _of_head("general", "rank"),
        "orders": _of_head("segments", "orders"),
        "duplication": _of_head("segments", "duplication"),
        "reverse": _of_head("segments", "reverse"),
        "regulariser": _of_head("segments", "regulariser"),
    }

    def __post_init__(self) -> None:
        at_least(self, 1, "comparisons", "item_comparisons", "heads")
        if self.train.sharding != "none":
            raise ValueError("train.sharding is for policies: a scorer is trained whole")
        self._check_pooling()
        self._check_loss()
        self._check_heads()
        self._check_odin()

    def _check_pooling(self) -> None:
        if self.pooling != "cls":
            return
        if self.kind == "difference" and self.head.name != "last":
            raise ValueError(
                "pooling cls is the architecture's own head of one number: "
                f"head {self.head.name} needs mean"
            )
        if self.head_count > 1:
            raise ValueError(
                "pooling cls is the architecture's own head of one number: several heads need mean"
            )

    def _check_loss(self) -> None:
        if not self.reads_apart and self.loss.batch:
            raise ValueError("loss batch-margin is for reward models")
        if not self.reads_apart and self.loss.center:
            raise ValueError("loss center is for reward models")
        if self.head_count > 1 and self.loss.batch:
            raise ValueError(
                "loss batch-margin has one mean gap, for one head: leave out heads and aspects"
            )

    def _check_heads(self) -> None:
        if self.heads > MOST_HEADS:
            raise ValueError(f"heads is {self.heads:,}, should be at most {MOST_HEADS:,}")
        if self.aspects and (len(self.aspects) < 2 or self.heads > 1):
            raise ValueError(
                "aspects are two or more, each with one head: name another, and leave heads at 1"
            )
        if not all(map(math.isfinite, self.head_weights)) or not any(self.head_weights):
            raise ValueError(
                f"aspects is {dict(self.aspects)}, should be finite weights that are not all 0"
            )

    def _check_odin(self) -> None:
        if self.odin is None:
            return
        if self.kind != "reward" or self.head_count > 1:
            raise ValueError(
                "odin is for reward models with one head: leave out odin, or heads and aspects"
            )
        if self.pooling == "cls" or self.loss.batch:
            raise ValueError("odin needs pooling mean, and another loss than batch-margin")

    @property
    def reads_apart(self) -> bool:
        """Whether each response is read by itself."""
        return self.kind == "reward" or isinstance(self.head, General)

    def learns_from(self, subset: str) -> bool:
        """Whether a part of a collection trains any head."""
        return not self.aspects or subset in self.aspects

    @property
    def head_count(self) -> int:
        """Heads on the body."""
        return len(self.aspects) or self.heads

    @property
    def head_width(self) -> int:
        """Numbers that each of them gives for a reading."""
        if self.kind == "difference" and isinstance(self.head, General):
            return 1 + 2 * self.head.rank
        return 1

    @property
    def head_weights(self) -> tuple[float, ...]:
        """What each counts in the scorer's r and d, which are sums over the heads."""
        if self.aspects:
            return tuple(self.aspects.values())
        return (1 / self.heads,) * self.heads

    @property
    def width(self) -> int:
        """Numbers that all heads together give for a reading."""
        return self.head_count * self.head_width
