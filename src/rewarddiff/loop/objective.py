"""What the loop needs to know about the thing it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from rewarddiff.config import at_least, checked, positive
from rewarddiff.loop.precision import faster_precision
from rewarddiff.writing import figure

Item = TypeVar("Item", contravariant=True)

AUTO_TOKENS = 2048
"""Tokens of a forward pass where `microbatch_tokens` is auto; on a GPU those of the first step."""


@checked
@dataclass(frozen=True)
class TrainConfig:
    """How one thing is trained. Defaults are for a DPO policy; scorers set their own.

    Attributes:
        lr: peak learning rate of the body. head_lr: of a new head, where there is one (None: as the
            body).
        epochs, max_steps, max_tokens: training ends with whichever comes first. max_tokens counts
            what is read, so that things of different appetite can be given the same (but not a look
            at the whole batch before its losses).
        batch_size: items (groups) per optimizer step, over all processes.
        microbatch_tokens: tokens per forward pass; changes memory and speed, and without dropout
            never the result. auto begins with 2048, and on a GPU doubles them after a step for as
            long as its memory allows.
        schedule: shape after the linear warm-up, down to 0 for cosine and linear.
        warmup: share of the steps.
        max_grad_norm: gradients of a larger norm are scaled down to it; 0: never.
        weight_decay: of AdamW.
        optimizer: AdamW by torch, or by bitsandbytes (`pip install 'rewarddiff[bnb]'`): with moments
            in 8 bits, 2 bytes a weight instead of 8 (those of embeddings and of weights below 4096
            numbers stay in float32), and paged, so that moments move to host memory where a GPU's
            is short.
        weights: how the model's own weights are held while they are trained; new heads are float32.
            bf16 halves weights and gradients: an update is made in float32 and rounded by chance to
            one of the two neighbours. bf16-master keeps them in float32 beside. A policy is then
            saved in bf16.
        precision: bf16 runs autocast over the weights. auto is the one of the two whose products
            are faster on this machine, found out when the configuration is read. Where that changes,
            what was trained in the other precision is made anew.
        gradient_checkpointing: compute activations again in the backward pass: less memory, a third
            more work.
        dropout: on only where asked for; policies are trained without, as their reference is read.
            What is dropped is drawn by forward pass, so that another microbatch_tokens or number of
            processes drops other things.
        eval_every: steps between evaluations on the dev set; 0 = at the start and the end only;
            null = never.
        save_every: steps between checkpoints, from which an interrupted training goes on; null: as
            often as writing them takes less than 2 % of the time, at most twice a minute; 0 = none
            but on an interrupt. A checkpoint holds what is trained and two moments of it: 12 bytes
            a weight, 1.6 GB for 135 million, twice that while one replaces another.
        sharding: fsdp divides weights, gradients and moments over the processes (FSDP2), for a model
            whose training no process could hold. A checkpoint is gone on with by any number of them.
        track: an Accelerate tracker's name (tensorboard, wandb, trackio, …).
    """

    lr: float = 1e-6
    head_lr: float | None = None
    epochs: float = 1.0
    max_steps: int | None = None
    max_tokens: int | None = None
    batch_size: int = 8
    microbatch_tokens: int | Literal["auto"] = AUTO_TOKENS
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.1
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"] = "adamw"
    weights: Literal["fp32", "bf16", "bf16-master"] = "fp32"
    precision: Literal["bf16", "fp32", "auto"] = "bf16"
    gradient_checkpointing: bool = False
    dropout: bool = False
    eval_every: int | None = 0
    save_every: int | None = None
    sharding: Literal["none", "fsdp"] = "none"
    track: str | None = None

    def __post_init__(self) -> None:
        if self.precision == "auto":
            # What follows hangs on it: keys of what is stored, the precision of frozen weights.
            object.__setattr__(self, "precision", faster_precision())
        positive(self, "lr", "head_lr", "epochs")
        at_least(self, 1, "max_steps", "max_tokens", "batch_size")
        if self.microbatch_tokens != "auto":
            at_least(self, 1, "microbatch_tokens")
        at_least(self, 0, "max_grad_norm", "weight_decay", "eval_every", "save_every")
        if not 0 <= self.warmup <= 1:
            raise ValueError(
                f"warmup is {self.warmup}, should be a share of the steps, from 0 to 1"
            )
        self._check_memory()

    def _check_memory(self) -> None:
        """Raise a ValueError where what saves memory does not go together."""
        if self.weights != "fp32" and self.precision != "bf16":
            raise ValueError(
                f"weights {self.weights} are computed with in bf16: set precision to bf16"
            )
        if self.weights == "bf16-master" and self.optimizer != "adamw":
            raise ValueError(
                f"weights bf16-master are kept by adamw, and optimizer is {self.optimizer}: "
                "set weights to bf16"
            )
        is_plain = self.weights == "fp32" and self.optimizer == "adamw"
        if self.sharding != "none" and not is_plain:
            raise ValueError(
                "sharding divides AdamW's moments of float32 weights: leave out optimizer and weights"
            )

    @property
    def pass_tokens(self) -> int:
        """Tokens of a forward pass; of auto those that it begins with."""
        return AUTO_TOKENS if self.microbatch_tokens == "auto" else self.microbatch_tokens


@dataclass(frozen=True)
class LossOutput:
    """Losses summed over comparisons, and metrics as (sum, count).

    Means of sums and counts are exact however a batch was cut.
    """

    loss: Tensor
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def fault(self) -> str:
        """The loss, or else the first metric, that is not finite, by name and value; "" where all are.

        A loss alone does not tell: of a gap of infinity it is 0.
        """
        values = {"loss": self.loss.item()}
        for name, (total, count) in self.metrics.items():
            if count:
                values[name] = total
        for name, value in values.items():
            if not math.isfinite(value):
                return f"{name} {value}"
        return ""


class Objective(Protocol[Item]):
    """A module and the loss it is trained on; the loop divides a batch's summed loss by its count.

    A checkpoint is refused by an objective whose `config` differs (of one without that: any attribute), or
    what it names in `besides`, a dictionary, where it has that.
    """

    @property
    def module(self) -> nn.Module:
        """What is trained. It can be set: a divided copy takes its place while it is trained."""
        ...

    def size(self, item: Item) -> int:
        """Tokens of one item, for cutting micro-batches."""
        ...

    def count(self, item: Item) -> float:
        """Comparisons in one item: its share of the denominator."""
        ...

    def loss(self, module: nn.Module, items: Sequence[Item]) -> LossOutput:
        """Loss summed over the comparisons of `items`.

        Args:
            module: the module to call, wrapped or not.
        """
        ...

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        """Groups for AdamW: one with the body's rate, and one with the head's where there is one."""
        ...


def one_group(module: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Return all trained parameters as one group for AdamW."""
    return [{"params": [p for p in module.parameters() if p.requires_grad], "lr": config.lr}]


@runtime_checkable
class Probing(Protocol):
    """An objective that wants to see the whole global batch before its losses.

    Attributes:
        state: what it carries from batch to batch; kept in checkpoints.
    """

    state: dict[str, float]

    @property
    def probes(self) -> bool:
        """Whether it asks at all."""
        ...

    def probe(self, module: nn.Module, items: Sequence[Any]) -> list[Any]:
        """One value per item, without gradient; JSON-able, since processes exchange them."""
        ...

    def begin(self, items: Sequence[Any], probed: Sequence[Any], *, training: bool) -> None:
        """All items of the global batch (or of the dev set), with what was probed of each."""
        ...


@runtime_checkable
class Summing(Protocol):
    """An objective whose metrics are shown in another form than as means."""

    def summary(self, means: dict[str, float], counts: dict[str, float]) -> dict[str, float]:
        """Metrics of a step or of the dev set, from their means over all micro-batches.

        Args:
            counts: what each mean is over.
        """
        ...


@runtime_checkable
class Noting(Protocol):
    """An objective whose progress other figures tell better than its loss."""

    def note(self, line: Mapping[str, float]) -> str:
        """Return what stands beside the progress of a step, whose metrics these are."""
        ...


def note_of(objective: object, line: Mapping[str, float]) -> str:
    """Return what stands beside the progress of a step: the loss, or what the objective shows."""
    if isinstance(objective, Noting):
        return objective.note(line)
    return f"loss {figure(line['loss'], '.4f')}"


class Turns(NamedTuple):
    """How often the same items are trained on before they are made anew.

    Attributes:
        minibatches: optimizer steps in which all of them are seen once.
        iterations: how often all are seen.
    """

    minibatches: int = 1
    iterations: int = 1

    @property
    def updates(self) -> int:
        """Optimizer steps of one turn."""
        return self.minibatches * self.iterations


@runtime_checkable
class Renewing(Protocol):
    """An objective that makes what it trains on as training goes, as a policy its own samples.

    The data's items are then only what it makes them of, a turn's `minibatches · batch_size` at a
    time. `size`, `count` and `loss` are of what it makes.
    """

    @property
    def turns(self) -> Turns: ...

    def renew(self, module: nn.Module, items: Sequence[Any], turn: int) -> Sequence[Any]:
        """Return what to train on in a turn (from 0), without gradient.

        Every process calls it with the same items, and has to be given the same. Where it is fewer
        than the turn has minibatches, steps that are left without any are skipped. Where it raises,
        what `kept` says has not changed.
        """
        ...

    def kept(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold of it, ready for JSON."""
        ...

    def go_on(self, state: dict[str, Any]) -> Sequence[Any]:
        """Return what is trained on in the turn that was interrupted; `state` is what was kept."""
        ...
