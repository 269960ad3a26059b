"""Objectives on comparisons and labels: what their configs share, and what the loop trains.

A coefficient multiplies what a config's `losses` give for its comparison. The likelihood term `nll`
is a regulariser and is not multiplied: E[c·L_align + λ·L_reg], as in arXiv 2408.09385.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from rewarddiff.config import at_least, positive
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.devices import on_device
from rewarddiff.differences import by_group
from rewarddiff.encoding import Encoder
from rewarddiff.errors import UserError
from rewarddiff.forward import LogProbs, node_sums, recomputed
from rewarddiff.loop.objective import LossOutput, TrainConfig, one_group
from rewarddiff.losses import pointwise
from rewarddiff.losses.reduce import weighted_sum
from rewarddiff.policies.batch import Batch, Column, Context, Probe, Singles
from rewarddiff.policies.items import Pairs, PreferenceItem, preference_items
from rewarddiff.processes import count
from rewarddiff.records import Group
from rewarddiff.trees import Tree, group_tree, microbatches


@dataclass(frozen=True, kw_only=True)
class AlignmentConfig:
    """What every objective on comparisons and labels can be given.

    Attributes:
        nll: weight of −log π of the chosen response (lists: of the best; single responses: of the
            desirable ones), λ of E[L_align + λ·L_reg].
        nll_reduction: its mean over tokens, or their sum (RRHF's L_ft).
        anchored: only where the policy's likelihood fell below the reference's (Uni-DPO).
        per_token: log-ratios are averaged over the response's tokens (IPO's authors' advice;
            LN-DPO).
    """

    name: str = ""
    nll: float = 0.0
    nll_reduction: Literal["mean", "sum"] = "mean"
    anchored: bool = False
    per_token: bool = False

    columns: ClassVar[frozenset[Column]] = frozenset({"reference"})
    probes: ClassVar[Probe | None] = None
    whole_lists: ClassVar[bool] = False
    positive_strength: ClassVar[bool] = False
    compares: ClassVar[bool] = True
    above_zero: ClassVar[tuple[str, ...]] = ()
    at_least_zero: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        at_least(self, 0, "nll", *self.at_least_zero)
        positive(self, *self.above_zero)

    @property
    def reads(self) -> frozenset[Column]:
        if self.anchored or self.per_token:
            return self.columns | {"reference"}
        return self.columns

    # -- its items ----------------------------------------------------------------------------

    def check(self, groups: Iterable[Group]) -> None:
        """Look at the groups before they are trained on.

        Raises:
            UserError: they have labels only, or lone responses, where it needs comparisons, or all
                labels are the same.
        """
        labels: set[bool] = set()
        all_alone = True
        for group in groups:
            if any(not c.tie for c in group.known_comparisons()):
                return
            labels.update(label for _, label in group.known_labels())
            all_alone = all_alone and len(group.responses) == 1
        if all_alone and not labels:
            raise UserError(
                f"objective {self.name}: nothing is compared, the data has one response a prompt and "
                "no labels: bring pairs, lists or labels, or use objective sft"
            )
        if labels and "labels" not in self.reads:
            raise UserError(
                f"objective {self.name} needs comparisons, the data has single labelled responses: "
                "use objective kto"
            )
        if len(labels) == 1:
            present, absent = "undesirable", "desirable"
            if labels == {True}:
                present, absent = absent, present
            raise UserError(
                f"objective {self.name} learns from desirable and undesirable responses, here all are "
                f"{present}: bring {absent} ones as well"
            )

    def items(
        self, groups: Iterable[tuple[Group, Pairs]], encoder: Encoder, ledger: Ledger
    ) -> list[PreferenceItem]:
        """Return the items of `stream` in memory."""
        return list(self.stream(groups, encoder, ledger))

    def stream(
        self, groups: Iterable[tuple[Group, Pairs]], encoder: Encoder, ledger: Ledger
    ) -> Iterator[PreferenceItem]:
        """Yield items of groups; those with nothing for the objective are counted.

        Raises:
            UserError: the objective reads strengths, and a group's comparisons have none.
        """
        readable = self._readable(groups, ledger)
        for group, pairs in encoder.read_ahead(readable, lambda one: one[0]):
            encoded = encoder.group(group, ledger)
            if encoded is not None:
                pairs = pairs.where([encoded.usable(c) for c in pairs.comparisons])
                yield from preference_items(encoded, pairs, whole=self.whole_lists)

    def _readable(
        self, groups: Iterable[tuple[Group, Pairs]], ledger: Ledger
    ) -> Iterator[tuple[Group, Pairs]]:
        """Yield the groups with something for the objective, with the comparisons it can take."""
        for group, pairs in groups:
            read = group
            if group.labels and "labels" not in self.reads:
                read = replace(group, labels=())
            self._count_if_unused(group, read, ledger)
            pairs = self._with_usable_strengths(group, pairs, ledger)
            if pairs.comparisons or any(read.known_labels()):
                if read.comparisons != pairs.comparisons:
                    read = replace(read, comparisons=pairs.comparisons)
                yield read, pairs

    def _count_if_unused(self, group: Group, read: Group, ledger: Ledger) -> None:
        """Count a group without a label to learn from and without an order."""
        has_order = any(not c.tie for c in group.known_comparisons())
        if has_order or any(read.known_labels()):
            return
        detail = "no comparison, or only ties"
        if any(group.known_labels()):
            detail = "labelled, not compared"
        ledger.change(Reason.NO_ORDER, group, f"{detail}: not trained on")

    def _with_usable_strengths(self, group: Group, pairs: Pairs, ledger: Ledger) -> Pairs:
        """Return the comparisons whose strength the objective can take; the others are counted."""
        if "strength" in self.reads and pairs.comparisons and not pairs.strengths:
            raise UserError(
                f"{group.source or group.id}: objective {self.name} reads by how much a response is "
                "better, and no strength is given: train by a recipe with `strength`, or use one "
                "that reads the order alone"
            )
        if not self.positive_strength:
            return pairs
        usable = [strength > 0 for strength in pairs.strengths]
        if not all(usable):
            detail = f"{usable.count(False)} comparisons without a positive strength left out"
            ledger.change(Reason.NO_ORDER, group, detail)
        return pairs.where(usable)

    def count(self, item: PreferenceItem) -> float:
        """Return an item's share of the denominator: its comparisons, or one for a whole list."""
        return 1 if self.whole_lists else len(item.comparisons)

    # -- its loss -----------------------------------------------------------------------------

    def over(
        self, policy: LogProbs, *, signed: bool = False, tokens: int | None = None
    ) -> Alignment:
        return Alignment(policy, self, signed=signed, tokens=tokens)

    def begin(
        self, probed: Sequence[Sequence[float]], state: dict[str, float], training: bool
    ) -> Context:
        """Return what all micro-batches need of what was probed of every item of the global batch.

        Args:
            state: what is carried from batch to batch, and kept in checkpoints.
        """
        return Context()

    def losses(self, batch: Batch) -> Tensor:
        """Return one value per comparison, not weighted, not reduced."""
        raise NotImplementedError

    def weights(self, batch: Batch) -> Tensor:
        """Return the coefficient of every value of `losses`."""
        return batch.coefficients

    def rewards(self, batch: Batch) -> Tensor:
        """Return the implicit reward of every response, for the metrics, (responses,)."""
        scale: float = getattr(self, "beta", 1.0)
        return scale * (batch.ratio if "reference" in self.reads else batch.mean)

    def regulariser(self, batch: Batch) -> Tensor:
        """Return λ·L_reg summed over comparisons, or over lists."""
        places = self.liked(batch)
        logps = batch.mean if self.nll_reduction == "mean" else batch.policy
        if self.anchored:
            policy = batch.policy[places].detach()
            values = pointwise.anchored_nll(logps[places], policy, batch.reference[places])
        else:
            values = pointwise.nll(logps[places])
        return self.nll * values.sum()

    def liked(self, batch: Batch) -> Tensor:
        """Return the places of the responses whose likelihood the regulariser defends."""
        return batch.best if self.whole_lists else batch.chosen


class Alignment:
    """What the loop trains: each comparison's loss times its coefficient (arXiv 2408.09385).

    Args:
        signed: let negative coefficients through.
        tokens: an item of more is read in several trees, one after the other, with the same result;
            None: never. Nor is it by several processes: a module that exchanges gradients must not be
            called again in a backward pass.

    Attributes:
        state: what the objective carries from batch to batch.
    """

    def __init__(
        self,
        policy: LogProbs,
        config: AlignmentConfig,
        *,
        signed: bool = False,
        tokens: int | None = None,
    ) -> None:
        self.module = policy
        self.config = config
        self.signed = signed
        self.tokens = tokens if count() == 1 else None
        self.state: dict[str, float] = {}
        self._context = Context()
        self._keep: dict[int, tuple[float, ...]] = {}

    def size(self, item: PreferenceItem) -> int:
        return len(item.tree)

    def count(self, item: PreferenceItem) -> float:
        return self.config.count(item)

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        return one_group(self.module, config)

    # -- the global batch, before its losses --------------------------------------------------

    @property
    def probes(self) -> bool:
        return self.config.probes is not None

    def probe(self, module: nn.Module, items: Sequence[PreferenceItem]) -> list[Sequence[float]]:
        """Return what the objective wants to know of every item of the global batch."""
        if self.config.probes == "h":
            pairs = [len(item.comparisons) for item in items]
            h = np.array(self.batch(module, items).h.tolist())
            return [of_item.tolist() for of_item in by_group(h, pairs)]
        trees = [item.mismatch for item in items if item.mismatch is not None]
        policy = torch.tensor(self._read(module, trees)[:, 0].tolist(), dtype=torch.float64)
        reference = policy.new_tensor([item.mismatch_reference for item in items])
        return pointwise.log_ratio(policy, reference)[:, None].tolist()

    def begin(
        self, items: Sequence[PreferenceItem], probed: Sequence[Sequence[float]], *, training: bool
    ) -> None:
        """Take notice of the global batch: all its items, and what was probed of each."""
        self._context = self.config.begin(probed, self.state, training)
        # The loop hands over the same objects in micro-batches; items cut from one group share ids.
        self._keep = dict(zip(map(id, items), self._context.keep, strict=False))

    # -- a micro-batch ------------------------------------------------------------------------

    def loss(self, module: nn.Module, items: Sequence[PreferenceItem]) -> LossOutput:
        batch = self.batch(module, items)
        losses, weights = self.config.losses(batch), self.config.weights(batch)
        total = weighted_sum(losses, weights, signed=self.signed)
        if self.config.nll:
            total = total + self.config.regulariser(batch)
        return LossOutput(total, self._metrics(batch, items))

    def batch(self, module: nn.Module, items: Sequence[PreferenceItem]) -> Batch:
        """Read items in one forward pass, and lay out their columns."""
        reads = self.config.reads
        sums = self._read(module, [item.tree for item in items], collision="collision" in reads)
        column = partial(on_device, dtype=sums.dtype, device=sums.device)
        places = partial(on_device, dtype=torch.long, device=sums.device)
        lengths: list[int] = []
        pairs: list[tuple[int, int]] = []
        shares: list[float] = []
        keep: list[float] = []
        best: list[int] = []
        lists: list[tuple[Tensor, Tensor]] = []
        labels: list[tuple[int, bool, float]] = []
        for item in items:
            first = len(lengths)  # the place of the item's first response in the batch
            lengths += [len(node.tokens) for node in item.tree.nodes[1:]]
            pairs += [(first + chosen, first + rejected) for chosen, rejected in item.comparisons]
            shares += [1 / len(item.comparisons) for _ in item.comparisons]
            keep += self._keep.get(id(item), (1.0,) * len(item.comparisons))
            best.append(first + item.best)
            labels += [(first + place, desirable, c) for place, desirable, c in item.labels]
            if "scores" in reads:
                lists.append((places(list(range(first, len(lengths)))), column(item.scores)))
        return Batch(
            policy=sums[:, 0],
            reference=column(_joined(item.reference for item in items)),
            lengths=column(lengths),
            collision=sums[:, 1:].flatten(),
            chosen=places([chosen for chosen, _ in pairs]),
            rejected=places([rejected for _, rejected in pairs]),
            coefficients=column(_joined(item.coefficients for item in items)),
            strength=column(_joined(item.strengths for item in items)),
            share=column(shares),
            keep=column(keep),
            best=places(best),
            lists=tuple(lists),
            labelled=Singles(
                places([place for place, _, _ in labels]),
                on_device([yes for _, yes, _ in labels], dtype=torch.bool, device=sums.device),
                column([coefficient for _, _, coefficient in labels]),
            ),
            context=self._context,
            per_token=self.config.per_token,
        )

    def _read(self, module: nn.Module, trees: Sequence[Tree], *, collision: bool = False) -> Tensor:
        """Return Σ log π of every response, and collisions beside: (responses, 1 or 2)."""
        if self.tokens is None or len(trees) > 1 or len(trees[0]) <= self.tokens:
            return self._sums(module, trees, collision)
        parts = parts_of(trees[0], self.tokens)
        return torch.cat([recomputed(self._sums, module, [part], collision) for part in parts])

    def _sums(self, module: nn.Module, trees: Sequence[Tree], collision: bool) -> Tensor:
        packed = self.module.pack(list(trees))
        values = module(packed, collision=True) if collision else module(packed)
        sums = node_sums(packed, values.reshape(len(values), -1))
        return sums.index_select(0, packed.branches)

    def _metrics(
        self, batch: Batch, items: Sequence[PreferenceItem]
    ) -> dict[str, tuple[float, float]]:
        """Return sums and counts, named as TRL's; rewards in logits. A device is waited for once."""
        places, desirable, _ = batch.singles
        rewards = self.config.rewards(batch).detach()
        logps = batch.policy.detach()[places]
        margins = rewards[batch.chosen] - rewards[batch.rejected]
        accuracies = (margins.sign() + 1) / 2  # a margin of 0 counts one half
        rewards = rewards[places]
        pairs = len(batch.chosen)
        liked = pairs + sum(yes for item in items for _, yes, _ in item.labels)
        disliked = len(places) - liked
        totals = {
            "rewards/chosen": (rewards.where(desirable, 0).sum(), liked),
            "rewards/rejected": (rewards.where(~desirable, 0).sum(), disliked),
            "rewards/margins": (margins.sum(), pairs),
            "rewards/accuracies": (accuracies.sum(), pairs),
            "logps/chosen": (logps.where(desirable, 0).sum(), liked),
            "logps/rejected": (logps.where(~desirable, 0).sum(), disliked),
        }
        values = torch.stack([total for total, _ in totals.values()]).tolist()
        metrics = {}
        for (name, (_, number)), value in zip(totals.items(), values, strict=True):
            if number:
                metrics[name] = (value, float(number))
        for name, value in self._context.values.items():
            metrics[name] = (value, 1.0)
        return metrics


def _joined(columns: Iterable[Sequence[float]]) -> list[float]:
    return [value for column in columns for value in column]


def parts_of(tree: Tree, tokens: int) -> Iterator[Tree]:
    """Yield the prompt with as many of its responses at a time as fit."""
    root, *branches = tree.nodes
    room = max(1, tokens - len(root.tokens))
    for cut in microbatches([len(node.tokens) for node in branches], room):
        yield group_tree(root.tokens, [branches[i].tokens for i in cut])
