"""What a scorer is and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rewarddiff.encoding import LengthConfig
from rewarddiff.losses.scoring import Penalty
from rewarddiff.scorers.losses import BradleyTerry, Loss
from rewarddiff.training.objective import TrainConfig


@dataclass(frozen=True)
class ScorerConfig:
    """A reward model or a difference model on any Hugging Face backbone.

    Attributes:
        kind: reward scores a response by itself, r(x, y); difference reads two together, d(x, y1, y2).
        backbone: short name, folder or hub name of a decoder (causal) or an encoder (BERT-like); which of the two is
            found by running it.
        head: of a difference model. last (the paper): d is read once, at the end of the joint text. segments: one
            head reads each response's own segment of the joint text, d = f(y1) − f(y2); it holds the reward model as
            the special case in which neither segment heeds the other. On a causal body the first segment cannot
            see the second; reading both orders makes up for it.
        pooling: of an encoder. mean: over the tokens of the response (of the whole text for head last) into a linear
            head; cls: the architecture's own classification head, which keeps a reward model loadable with
            AutoModelForSequenceClassification. Decoders are read at the last token.
        orders: of a difference model in training. both: each pair is read both ways, and both are trained on; one
            (the paper): one order per pair, drawn by the seed. Where `reverse` is not 0 the other order is read
            anyway, so that both costs nothing more.
        duplication: λ1, weight of d(y, y)², for one of the two responses, drawn by the seed.
        reverse: λ2, weight of (d(1, 2) + d(2, 1))². The paper trains with both regularisers. They are off here unless
            asked for: with both orders read, d̄ has either property anyway, and neither showed a gain (docs/results.md).
        regulariser: the square, or the absolute value, in these two.
        warm_start: folder of a trained scorer; its body and, where it fits, its head are where training starts.
        loss: what a gap is trained on: the order alone (bradley-terry), or with a margin, a weight, a soft label or a
            grade from the data's strengths, with ties, with a margin from the batch (see `scorers.losses`).
        item_comparisons: a group with more comparisons is cut into training items of so many.
        train: the loop's settings.
        lengths: token limits of a prompt and of a response, and so of a difference model's text twice that of a reward
            model's. A text beyond the model's context loses tokens where it is longest: a prompt at its beginning,
            responses at their end.
    """

    kind: Literal["reward", "difference"] = "reward"
    backbone: str = "all-minilm-l6-v2"
    head: Literal["last", "segments"] = "segments"
    pooling: Literal["mean", "cls"] = "mean"
    orders: Literal["both", "one"] = "both"
    duplication: float = 0.0
    reverse: float = 0.0
    regulariser: Penalty = "square"
    warm_start: str | None = None
    loss: Loss = field(default_factory=BradleyTerry)
    item_comparisons: int = 8
    lengths: LengthConfig = field(default_factory=LengthConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(lr=5e-5, head_lr=1e-3, microbatch_tokens=2048, dropout=True)
    )

    def __post_init__(self) -> None:
        if self.kind == "difference" and self.head == "segments" and self.pooling == "cls":
            raise ValueError("pooling cls reads one state of the whole text: head segments needs pooling mean")
        if min(self.duplication, self.reverse) < 0:
            raise ValueError("duplication and reverse are weights, at least 0")
        if self.item_comparisons < 1:
            raise ValueError("item_comparisons must be at least 1")
        if self.kind == "difference" and (self.loss.batch or self.loss.center):
            raise ValueError(f"loss {'batch-margin' if self.loss.batch else 'center'} is for reward models")
