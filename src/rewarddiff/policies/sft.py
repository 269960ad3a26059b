"""Supervised fine-tuning on the best response of each group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from rewarddiff.config import checked
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.encoding import Encoded, Encoder
from rewarddiff.forward import LogProbs
from rewarddiff.loop.objective import LossOutput, TrainConfig
from rewarddiff.records import Group
from rewarddiff.trees import Tree, group_tree


@dataclass(frozen=True)
class SFTItem:
    """A prompt with one response."""

    id: str
    tree: Tree

    @property
    def tokens(self) -> int:
        """Response tokens: what is learned."""
        return len(self.tree.nodes[1].tokens)


def best_response(group: Group) -> int | None:
    """The response with the highest score, or the one that is never rejected, or else the only one
    labelled desirable.

    None where none stands out.
    """
    if group.scores is not None:
        return max(range(len(group.responses)), key=lambda i: group.scores[i])  # type: ignore[index]
    known = [c for c in group.known_comparisons() if not c.tie]
    best = {c.chosen for c in known} - {c.rejected for c in known}
    if not known:
        best = {i for i, desirable in group.known_labels() if desirable}
    return best.pop() if len(best) == 1 else None


def sft_item(encoded: Encoded) -> SFTItem | None:
    """The best response as an item; None where none stands out, or where it does not fit."""
    alone = len(encoded.responses) == 1 and not any(encoded.group.known_labels())
    best = 0 if alone else best_response(encoded.group)
    if best is None or not encoded.responses[best]:
        return None
    return SFTItem(encoded.group.id, group_tree(encoded.prompt, [encoded.responses[best]]))


def sft_items(groups: Iterable[Group], encoder: Encoder, ledger: Ledger) -> Iterator[SFTItem]:
    """The best response of every group that has one; the others are counted."""
    for encoded in encoder.groups(groups, ledger):
        if (item := sft_item(encoded)) is not None:
            yield item
        else:
            ledger.change(
                Reason.NO_ORDER,
                encoded.group,
                "no single best response to learn from",
            )


@checked
@dataclass(frozen=True)
class SFTConfig:
    """Learn the best response of each group."""

    name: Literal["sft"] = "sft"


class SFT:
    """−log π(token), averaged over the response tokens of the global batch; prompts are not
    learned."""

    def __init__(self, policy: LogProbs) -> None:
        self.module = policy

    def size(self, item: SFTItem) -> int:
        return len(item.tree)

    def count(self, item: SFTItem) -> float:
        return item.tokens

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        return [
            {"params": [p for p in self.module.parameters() if p.requires_grad], "lr": config.lr}
        ]

    def loss(self, module: torch.nn.Module, items: Sequence[SFTItem]) -> LossOutput:
        return LossOutput(-module(self.module.pack([item.tree for item in items])).sum())
