"""An objective over token trees: from items to the batch it reads, and from its losses to what the
loop sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rewarddiff.forward import LogProbs, node_sums
from rewarddiff.loop.objective import LossOutput, TrainConfig
from rewarddiff.losses import weighted_sum
from rewarddiff.policies.objectives import KTO, Batch, Context, PolicyObjective
from rewarddiff.policies.preference import PreferenceItem
from rewarddiff.trees import Tree, group_tree, microbatches


class Alignment:
    """Any policy objective, each comparison's loss multiplied by its coefficient (arXiv
    2408.09385).

    Args:
        signed: let negative coefficients through.
        tokens: an item of more is read in several trees, one after the other, with the same result;
            None: never.
    """

    def __init__(
        self,
        policy: LogProbs,
        config: PolicyObjective,
        *,
        signed: bool = False,
        tokens: int | None = None,
    ) -> None:
        self.module = policy
        self.config = config
        self.signed = signed
        self.tokens = tokens
        self.state: dict[str, float] = {}
        self._context = Context()
        self._keep: dict[int, tuple[float, ...]] = {}

    def size(self, item: PreferenceItem) -> int:
        return len(item.tree)

    def count(self, item: PreferenceItem) -> float:
        """Comparisons; lists count one each, and single responses one each."""
        if isinstance(self.config, KTO):
            return 2 * len(item.comparisons) + len(item.labels)
        return 1 if self.config.whole_lists else len(item.comparisons)

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        return [
            {"params": [p for p in self.module.parameters() if p.requires_grad], "lr": config.lr}
        ]

    # -- the global batch, before its losses --------------------------------------------------------------------------

    @property
    def probes(self) -> bool:
        return self.config.probes is not None

    def probe(self, module: torch.nn.Module, items: Sequence[PreferenceItem]) -> list[list[float]]:
        """What the objective wants to know of every item of the global batch; called without
        gradient."""
        if self.config.probes == "h":
            h = self.batch(module, items).h.tolist()
            return [[h.pop(0) for _ in item.comparisons] for item in items]
        trees = [item.mismatch for item in items if item.mismatch is not None]
        sums = self._read(module, trees)[:, 0].tolist()
        return [[value - item.mismatch_reference] for value, item in zip(sums, items, strict=True)]

    def begin(
        self, items: Sequence[PreferenceItem], probed: Sequence[Sequence[float]], *, training: bool
    ) -> None:
        """Take notice of the global batch: all its items, and what was probed of each."""
        self._context = self.config.begin(probed, self.state, training)
        keep = self._context.keep or ()
        self._keep = {id(item): own for item, own in zip(items, keep, strict=False)}

    # -- a micro-batch ------------------------------------------------------------------------------------------------

    def loss(self, module: torch.nn.Module, items: Sequence[PreferenceItem]) -> LossOutput:
        batch = self.batch(module, items)
        total = weighted_sum(
            self.config.losses(batch), self.config.weights(batch), signed=self.signed
        )
        if self.config.nll:
            total = total + self.config.regulariser(batch)
        return LossOutput(total, self._metrics(batch))

    def batch(self, module: torch.nn.Module, items: Sequence[PreferenceItem]) -> Batch:
        reads = self.config.reads
        sums = self._read(module, [item.tree for item in items], collision="collision" in reads)
        device, dtype = sums.device, sums.dtype

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        def places(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=device)

        first, start = [], 0
        for item in items:
            first.append(start)
            start += item.responses
        own = list(zip(first, items, strict=True))
        pairs = [(f + a, f + b) for f, item in own for a, b in item.comparisons]
        labels = [(f + place, yes, c) for f, item in own for place, yes, c in item.labels]
        keep = [k for item in items for k in self._keep.get(id(item), ())] if self._keep else None
        strengths = [s for item in items for s in item.strengths]
        return Batch(
            policy=sums[:, 0],
            lengths=column([len(node.tokens) for item in items for node in item.tree.nodes[1:]]),
            chosen=places([a for a, _ in pairs]),
            rejected=places([b for _, b in pairs]),
            coefficients=column([c for item in items for c in item.coefficients]),
            share=column([1 / len(item.comparisons) for item in items for _ in item.comparisons]),
            best=places([f + item.best for f, item in own]),
            reference=column([v for item in items for v in item.reference])
            if "reference" in reads
            else None,
            strength=column(strengths) if "strength" in reads else None,
            collision=sums[:, 1] if "collision" in reads else None,
            lists=tuple(
                (places(range(f, f + item.responses)), column(item.scores))
                for f, item in own
                if "scores" in reads
            ),
            labelled=(
                places([place for place, _, _ in labels]),
                torch.tensor([yes for _, yes, _ in labels], dtype=torch.bool, device=device),
                column([c for _, _, c in labels]),
            ),
            context=self._context,
            keep=None if keep is None else column(keep),
            per_token=self.config.per_token,
        )

    def _read(
        self, module: torch.nn.Module, trees: Sequence[Tree], *, collision: bool = False
    ) -> Tensor:
        """Summed log-probabilities of every response (and, beside them, collisions), (responses, 1
        or 2)."""
        if self.tokens is not None and len(trees) == 1 and len(trees[0]) > self.tokens:
            parts = list(_parts(trees[0], self.tokens))
            return torch.cat([_later(self._sums, module, [part], collision) for part in parts])
        return self._sums(module, trees, collision)

    def _sums(self, module: torch.nn.Module, trees: Sequence[Tree], collision: bool) -> Tensor:
        packed = self.module.pack(list(trees))
        values = module(packed, collision=True) if collision else module(packed)
        sums = node_sums(packed, values.reshape(len(values), -1))
        responses = torch.ones(packed.nodes, dtype=torch.bool, device=sums.device)
        responses[packed.first] = False
        return sums[responses]

    def _metrics(self, batch: Batch) -> dict[str, tuple[float, float]]:
        """Named as TRL's; rewards in logits."""
        policy, rewards = batch.policy.detach(), self.config.rewards(batch).detach()
        places, desirable, _ = batch.singles
        chosen, rejected = places[desirable], places[~desirable]
        margins = rewards[batch.chosen] - rewards[batch.rejected]
        values = {
            "rewards/chosen": rewards[chosen],
            "rewards/rejected": rewards[rejected],
            "rewards/margins": margins,
            "rewards/accuracies": (margins.sign() + 1) / 2,  # a margin of 0 counts one half
            "logps/chosen": policy[chosen],
            "logps/rejected": policy[rejected],
        }
        found = {
            name: (value.sum().item(), float(len(value)))
            for name, value in values.items()
            if len(value)
        }
        known = {"beta": self._context.beta, "kl": self._context.kl}
        return found | {name: (value, 1.0) for name, value in known.items() if value is not None}


def _parts(tree: Tree, tokens: int) -> list[Tree]:
    """The prompt with as many of its responses at a time as fit."""
    root, *branches = tree.nodes
    room = max(1, tokens - len(root.tokens))
    cuts = microbatches([len(node.tokens) for node in branches], room)
    return [group_tree(root.tokens, [branches[i].tokens for i in cut]) for cut in cuts]


def _later(function: Any, *args: Any) -> Tensor:
    """The same values; what the backward pass needs is computed again then, instead of being
    kept."""
    if not torch.is_grad_enabled():
        result: Tensor = function(*args)
        return result
    kept: Tensor = checkpoint(function, *args, use_reentrant=False)
    return kept
